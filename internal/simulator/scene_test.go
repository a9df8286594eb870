package simulator

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// curtain is a Friday evening.
var curtain = time.Date(2026, 3, 6, 18, 40, 10, 0, time.UTC)

// played is a scene whose clients have tokens.
func played(now time.Time, keys int) (*Scene, Past) {
	s := NewScene(now, keys, "1.2.3", func(model string) string { return "family of " + model })
	for _, c := range s.Clients() {
		c.Token.Hash = "sha256:" + c.Token.Name
	}
	return s, s.Past()
}

func TestTablesAddUp(t *testing.T) {
	sum := func(what string, n, want int) {
		t.Helper()
		if n != want {
			t.Errorf("the shares of %s add up to %d, want %d", what, n, want)
		}
	}
	n := 0
	for i := range roles {
		n += roles[i].share
	}
	sum("roles", n, 1000)
	n = 0
	for i := range errands {
		n += errands[i].share
	}
	sum("errands", n, 1000)
	n = 0
	for i := range mishaps {
		n += mishaps[i].share
	}
	sum("mishaps", n, 100)
	for p, habits := range habitsOf {
		n = 0
		for _, h := range habits {
			n += h.share
			if m, ok := find(p, h.model); !ok || m.embeds != (h.out == 0) {
				t.Errorf("%s is asked for %s", p, h.model)
			}
		}
		sum("habits of "+string(p), n, 100)
		batches := 0.0
		for _, b := range importsOf[p] {
			batches += b.share
		}
		sum("imports of "+string(p), int(batches*1000+.5), 1000)
		shares := 0.0
		for _, c := range newClients(curtain) {
			if c.silent == 0 {
				shares += c.share[p]
			}
			if c.share[p] > 0 != c.Token.ValidFor(p) && c.Token.Name != "demo" {
				t.Errorf("%s asks %s: %v", c.Token.Name, p, c.share[p])
			}
		}
		sum("clients of "+string(p), int(shares*1000+.5), 1000)
	}
}

func TestScenesAreAlike(t *testing.T) {
	_, one := played(curtain, MinSceneKeys)
	_, other := played(curtain, MinSceneKeys)
	if !reflect.DeepEqual(one, other) {
		t.Error("two scenes that end at the same time differ")
	}
}

func TestSceneKeys(t *testing.T) {
	s, past := played(curtain, SceneKeys)
	fates, accounts := s.Fates(), s.Accounts()
	for p, want := range map[gateway.ProviderName]int{gateway.Ollama: SceneKeys, gateway.OpenRouter: 140} {
		keys := past.Keys[p]
		if len(keys) != want || len(s.NewKeys(p)) != want {
			t.Errorf("%s has %d keys, %d new ones; want %d", p, len(keys), len(s.NewKeys(p)), want)
		}
		states, categories, resting := map[gateway.KeyStatus]int{}, map[string]int{}, map[string]time.Time{}
		soon, shared := 0, map[string]int{}
		for i := range keys {
			k := &keys[i]
			status := k.State.StatusAt(curtain, k.ExpiresAt)
			states[status]++
			categories[k.Category]++
			shared[k.Username]++
			if wrong := gateway.CheckKey(k.Secret.Reveal()); wrong != "" {
				t.Errorf("%s: %s", k.Secret.Reveal(), wrong)
			}
			if fates[k.Secret.Reveal()] == "" || k.CreatedAt.After(curtain) || curtain.Sub(k.CreatedAt) > sceneDays*sceneDay {
				t.Errorf("%s: fate %q, since %v", k.Secret.Reveal(), fates[k.Secret.Reveal()], k.CreatedAt)
			}
			if name := gateway.AccountOf(k.Username); name != "" && (!strings.HasSuffix(name, ".invalid") || !strings.HasSuffix(accounts[k.Secret.Reveal()], name)) {
				t.Errorf("account %q", name)
			}
			if left := k.ExpiresAt.Sub(curtain); left > 0 && left < 7*sceneDay {
				soon++
			}
			if before, known := resting[k.Username]; status == gateway.KeyResting && known && !before.Equal(k.State.RestsUntil) {
				t.Errorf("%s comes back at %v and at %v", k.Username, before, k.State.RestsUntil)
			}
			if status == gateway.KeyResting {
				resting[k.Username] = k.State.RestsUntil
			}
		}
		for _, status := range gateway.KeyStatuses() {
			if states[status] == 0 {
				t.Errorf("no key of %s is %s: %v", p, status, states)
			}
		}
		several := 0
		for name, n := range shared {
			if n > 1 && strings.Contains(name, "@") {
				several++
			}
		}
		if 2*states[gateway.KeyActive] < want || len(categories) < 6 || soon == 0 || several < 5 {
			t.Errorf("%s: %v, %d categories, %d expire soon, %d accounts with several keys", p, states, len(categories), soon, several)
		}
	}
}

// TestSmallScenes has a key in every state, however few there are.
func TestSmallScenes(t *testing.T) {
	_, past := played(curtain, MinSceneKeys)
	for p, keys := range past.Keys {
		states := map[gateway.KeyStatus]int{}
		for i := range keys {
			states[keys[i].State.StatusAt(curtain, keys[i].ExpiresAt)]++
		}
		if len(states) != len(gateway.KeyStatuses()) {
			t.Errorf("%s: %v", p, states)
		}
	}
}

func TestSceneCounts(t *testing.T) {
	_, past := played(curtain, MinSceneKeys)
	var hours [24]int64 // of working days
	var week [7]int64
	var failed, asked int64
	for _, d := range past.Deltas {
		sums := map[gateway.Subject]gateway.Counts{}
		for i := range d.Tallies {
			t := &d.Tallies[i]
			c := sums[t.Of]
			c.Add(t.Tally.Counts)
			sums[t.Of] = c
			if t.Of != gateway.OfProvider {
				continue
			}
			if day := t.Minute.Weekday(); curtain.Sub(t.Minute) < 7*sceneDay {
				week[day] += t.Tally.Requests
				if day != time.Saturday && day != time.Sunday {
					hours[t.Minute.Hour()] += t.Tally.Requests
				}
			}
			if d.Provider == gateway.Ollama && t.Minute.Equal(curtain.Add(-incidentBefore).Truncate(time.Hour)) {
				failed, asked = t.Tally.Failure, t.Tally.Requests
			}
		}
		for _, of := range []gateway.Subject{gateway.OfModel, gateway.OfToken} {
			if sums[of] != sums[gateway.OfProvider] || sums[of] != d.Global {
				t.Errorf("%s by %s: %+v, of the provider %+v, in all %+v", d.Provider, of, sums[of], sums[gateway.OfProvider], d.Global)
			}
		}
	}
	if hours[15] < 2*hours[3] || hours[15] < hours[9] {
		t.Errorf("requests by hour: %v", hours)
	}
	if week[time.Sunday] > week[time.Tuesday]*4/5 || week[time.Saturday] > week[time.Tuesday]*4/5 {
		t.Errorf("requests by day, from Sunday on: %v", week)
	}
	if asked == 0 || failed*100/asked < 30 {
		t.Errorf("in the incident %d of %d failed", failed, asked)
	}
}

func TestSceneLog(t *testing.T) {
	s, past := played(curtain, MinSceneKeys)
	known := map[gateway.KeyID]bool{}
	for _, cast := range s.cast {
		for _, a := range cast {
			known[a.id] = true
		}
	}
	entries := map[string]gateway.LogEntry{}
	last := time.Time{}
	retried, lost := 0, 0
	for _, d := range past.Deltas {
		for _, e := range d.Log {
			entries[e.ID] = e
			ended := e.StartedAt.Add(e.Duration)
			if ended.Before(last) || ended.After(curtain) {
				t.Errorf("a request that ended at %v after one at %v", ended, last)
			}
			last = ended
			if len(e.Trail) > 1 {
				retried++
			}
			if e.Failed() {
				lost++
			}
			for _, step := range e.Trail {
				if !known[step.Key] {
					t.Errorf("request %s tried an unknown key", e.ID)
				}
			}
		}
	}
	if retried < 20 || lost < 20 {
		t.Errorf("%d requests were retried, %d failed, of %d", retried, lost, len(entries))
	}
	for _, d := range past.Deltas {
		for _, e := range d.Events {
			if !known[e.Key] || e.At.After(curtain) {
				t.Errorf("event %+v", e)
			}
			if e.RequestID == "" || curtain.Sub(e.At) >= loggedEvents {
				continue
			}
			if in, ok := entries[e.RequestID]; !ok || in.Trail[0].Key != e.Key || in.Model != e.Model || in.Provider != d.Provider {
				t.Errorf("event %+v happened in %+v", e, in)
			}
		}
	}
}

func TestSceneJobs(t *testing.T) {
	_, past := played(curtain, SceneKeys)
	kinds, added := map[gateway.JobKind]int{}, 0
	for _, j := range past.Jobs {
		kinds[j.Kind]++
		added += j.Counts["added"]
		for _, n := range j.Counts {
			if n < 0 {
				t.Errorf("%+v", j)
			}
		}
		if j.Done > j.Total || j.FinishedAt.After(curtain) || j.State == gateway.JobRunning {
			t.Errorf("%+v", j)
		}
	}
	// The sample keys came by hand.
	want := SceneKeys + 140 - len(SampleKeys(gateway.Ollama)) - len(SampleKeys(gateway.OpenRouter))
	if kinds[gateway.JobImport] != 5 || kinds[gateway.JobCheck] != 4 || added != want {
		t.Errorf("%v, %d keys came by imports, want %d", kinds, added, want)
	}
}

// TestScenesAtAnyTime plays when a week, a session or a day has just begun, and
// where clocks are changed: nothing may lie ahead.
func TestScenesAtAnyTime(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, now := range []time.Time{
		time.Date(2026, 3, 9, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 9, 0, 0, 1, 0, time.UTC), time.Date(2026, 3, 29, 3, 5, 0, 0, berlin),
		time.Unix(18_000*98_000, 0), time.Date(2028, 2, 29, 23, 59, 59, 0, time.FixedZone("far", 12*3600+45*60)),
	} {
		_, past := played(now, MinSceneKeys)
		for _, d := range past.Deltas {
			for _, e := range d.Events {
				if e.At.After(now) {
					t.Errorf("at %v something happened at %v", now, e.At)
				}
			}
			for i := range d.Tallies {
				if d.Tallies[i].Minute.After(now.Add(12 * time.Hour)) {
					t.Errorf("at %v requests were counted at %v", now, d.Tallies[i].Minute)
				}
			}
			for _, k := range d.Keys {
				if k.Counts.Total < 0 || k.Counts.Success < 0 || k.Counts.LastUsed.After(now) {
					t.Errorf("at %v: %+v", now, k)
				}
			}
		}
	}
}
