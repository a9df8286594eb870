package simulator

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Reasons as the program gives them, by what the simulator answers.
var restReasons = map[gateway.ProviderName]map[Fate]string{
	gateway.Ollama:     {FateHourly: "quota: hourly", FateSession: "quota: session", FateOverWeek: "quota: weekly"},
	gateway.OpenRouter: {FateHourly: "quota", FateSession: "quota: spending limit", FateOverWeek: "quota: daily"},
}

const (
	reasonRevoked  = "401 unauthorized"
	reasonNoCredit = "402 no credit" //nolint:gosec // no credential
	reasonPlan     = "plan lacks the model"
	byOperator     = "by an operator"
)

// luck is chance that all keys of an account share.
func (a *actor) luck() *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(a.Username))
	return rand.New(rand.NewPCG(sceneSeed, h.Sum64())) //nolint:gosec // it has to be the same every time
}

func within(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

// live makes the key of an actor: when it came, how it stands and what happened
// to it on the way.
func (s *Scene) live(p gateway.ProviderName, a *actor) {
	a.key = gateway.Key{Secret: a.Secret, Username: a.Username, CreatedAt: s.now.UTC()}
	if a.added < 0 {
		return
	}
	b := importsOf[p][a.added]
	a.key.CreatedAt = s.ago(b.before - within(s.rnd, 0, b.took))
	a.key.Category = s.category(FirstModel(p, a.Secret))
	s.memories(p, a)
	if a.role.out != nil {
		a.role.out(s, p, a)
	}
}

// memories are what happened to a key and is over.
func (s *Scene) memories(p gateway.ProviderName, a *actor) {
	age := s.now.Sub(a.key.CreatedAt) - sceneDay
	switch a.Fate {
	case FateHourly, FateSession:
		for range 1 + s.rnd.IntN(4) {
			at := s.ago(sceneDay + within(s.rnd, 0, age))
			s.happened(p, a, gateway.EventRested, at, restReasons[p][a.Fate], at.Add(s.between(2*time.Minute, 40*time.Minute)))
		}
	case FateOK:
		at := s.ago(sceneDay + within(s.rnd, 0, age))
		switch s.rnd.IntN(16) {
		case 0: // refused once, and returned
			s.happened(p, a, gateway.EventRefused, at, reasonRevoked, at.Add(time.Hour))
		case 1: // an operator knew better
			s.happened(p, a, gateway.EventRefused, at, reasonRevoked, at.Add(time.Hour))
			s.happened(p, a, gateway.EventEnabled, at.Add(s.between(5*time.Minute, 50*time.Minute)), byOperator, time.Time{})
		case 2:
			s.happened(p, a, gateway.EventDisabled, at, byOperator, at.Add(8*time.Hour))
		case 3: // so did a check
			s.happened(p, a, gateway.EventRefused, at, reasonRevoked, at.Add(time.Hour))
			s.happened(p, a, gateway.EventCheckedOK, at.Add(s.between(5*time.Minute, 50*time.Minute)), "the upstream accepts it", time.Time{})
		}
	}
}

// happened notes an event; most happen in a request of some client.
func (s *Scene) happened(p gateway.ProviderName, a *actor, what gateway.KeyEventKind, at time.Time, detail string, until time.Time) {
	e := gateway.KeyEvent{Key: a.id, At: at, What: what, Detail: detail, Until: until}
	switch what {
	case gateway.EventRested, gateway.EventRefused, gateway.EventPassed:
		e.RequestID, e.Attempt, e.Model = s.hex(), 1, habitsOf[p][s.rnd.IntN(4)].model
	}
	d := s.written[p]
	d.Events = append(d.Events, e)
}

// goesOut takes a key out some time ago.
func (s *Scene) goesOut(p gateway.ProviderName, a *actor, what gateway.KeyEventKind, at time.Time, detail string, until time.Time) {
	s.happened(p, a, what, at, detail, until)
	a.outAt, a.key.State.LastError = at, detail
}

func (s *Scene) rests(p gateway.ProviderName, a *actor, at, until time.Time) {
	s.goesOut(p, a, gateway.EventRested, at, restReasons[p][a.Fate], until)
	a.key.State.RestsUntil = until
}

// restsAtHour lets an account come back within minutes, each at its own time.
func restsAtHour(s *Scene, p gateway.ProviderName, a *actor) {
	r := a.luck()
	s.rests(p, a, s.ago(within(r, time.Minute, 20*time.Minute)), s.ago(-within(r, 15*time.Second, 14*time.Minute)))
}

// restsAtSession lets it come back with the next session of Ollama Cloud.
func restsAtSession(s *Scene, p gateway.ProviderName, a *actor) {
	const session = 5 * time.Hour
	began := time.Unix(s.now.Unix()/int64(session/time.Second)*int64(session/time.Second), 0).UTC()
	s.rests(p, a, later(began, s.ago(within(a.luck(), 5*time.Minute, 3*time.Hour))), began.Add(session))
}

// restsForWeek lets it come back on Monday; at OpenRouter, where the limit is
// that of a day, at midnight.
func restsForWeek(s *Scene, p gateway.ProviderName, a *actor) {
	day := s.now.UTC().Truncate(sceneDay)
	began, until := day, day.Add(sceneDay)
	if p == gateway.Ollama {
		began = day.AddDate(0, 0, -(int(day.Weekday())+6)%7)
		until = began.AddDate(0, 0, 7)
	}
	s.rests(p, a, later(began, s.ago(within(a.luck(), time.Hour, 20*time.Hour))), until)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// lacksModel lets a key be passed over for a model that costs extra.
func lacksModel(s *Scene, p gateway.ProviderName, a *actor) {
	if p == gateway.OpenRouter || s.rnd.IntN(3) == 0 {
		return // OpenRouter would say so in another way
	}
	at := s.ago(s.between(10*time.Minute, 20*time.Hour))
	until := at.Add(sceneDay)
	s.happened(p, a, gateway.EventPassed, at, reasonPlan, until)
	d := s.written[p]
	e := &d.Events[len(d.Events)-1]
	e.Model = []string{"kimi-k2:1t", "deepseek-v3.1:671b"}[s.rnd.IntN(2)]
	d.Refusals = append(d.Refusals, gateway.Refusal{Key: a.id, Model: e.Model, Until: until})
}

// refusedFor is how long a refused key is out, and disabledAfter how many
// refusals it takes until it is disabled for as long: the program's defaults.
const (
	refusedFor    = time.Hour
	disabledAfter = 3
)

func failed401(s *Scene, p gateway.ProviderName, a *actor) { s.fails(p, a, reasonRevoked) }

func failed402(s *Scene, p gateway.ProviderName, a *actor) { s.fails(p, a, reasonNoCredit) }

func (s *Scene) fails(p gateway.ProviderName, a *actor, reason string) {
	at := s.ago(s.between(4*time.Minute, refusedFor-2*time.Minute))
	s.goesOut(p, a, gateway.EventRefused, at, reason, at.Add(refusedFor))
	a.key.State.FailedUntil, a.key.State.ConsecutiveFailures = at.Add(refusedFor), 1
}

func disabledByFailures(s *Scene, p gateway.ProviderName, a *actor) {
	first := s.ago(s.between(2*refusedFor+10*time.Minute, 3*refusedFor-10*time.Minute))
	for n := range time.Duration(disabledAfter) {
		at := first.Add(n * (refusedFor + time.Minute))
		s.goesOut(p, a, gateway.EventRefused, at, reasonRevoked, at.Add(refusedFor))
		if n > 0 { // the first time is in the counts of its hour
			d := s.written[p]
			d.Keys = append(d.Keys, gateway.KeyDelta{Key: a.id, Counts: gateway.KeyCounts{Total: 1, Failure: 1, LastUsed: at, LastFailure: at}})
		}
		a.key.State = gateway.KeyState{
			Disabled: gateway.DisabledAuto, DisabledUntil: at.Add(refusedFor), ConsecutiveFailures: disabledAfter, LastError: reasonRevoked,
		}
	}
	a.outAt = first
}

func disabledByHand(s *Scene, p gateway.ProviderName, a *actor) {
	at := s.ago(s.between(2*time.Hour, 30*time.Hour))
	s.goesOut(p, a, gateway.EventDisabled, at, byOperator, time.Time{})
	a.key.State = gateway.KeyState{Disabled: gateway.DisabledManual, LastError: "disabled by the operator"}
}

func expiresSoon(s *Scene, _ gateway.ProviderName, a *actor) {
	a.key.ExpiresAt = s.ago(-s.between(9*time.Hour, 7*sceneDay-time.Hour))
}

func expired(s *Scene, _ gateway.ProviderName, a *actor) {
	a.key.ExpiresAt = s.ago(s.between(time.Hour, sceneDay+20*time.Hour))
	a.outAt = a.key.ExpiresAt
}

// misses is the share of a key's attempts that fail, by its fate.
var misses = map[Fate]float64{
	FateOK: .004, FateHourly: .25, FateSession: .16, FatePlan: .06, FateFlaky: .33, FateLeaving: .004, FateOverWeek: .01, FateRevoked: .004, FateNoCredit: .004,
}

// attempts counts what the keys of a provider did: of the last day by the hour,
// of the time before in a sum.
func (s *Scene) attempts(p gateway.ProviderName) {
	serving := 0
	for _, a := range s.cast[p] {
		if a.outAt.IsZero() {
			serving++
		}
	}
	const hours = 24
	begin := s.now.Truncate(time.Hour).Add(-(hours - 1) * time.Hour)
	var loads [hours]float64
	for h := range loads {
		at := begin.Add(time.Duration(h) * time.Hour)
		loads[h] = s.requestsIn(p, at, min(time.Hour, s.now.Sub(at))) / float64(serving)
	}
	before := s.requestsIn(p, begin.Add(-12*time.Hour), sceneDay) / float64(serving)
	for _, a := range s.cast[p] {
		if a.added < 0 {
			continue
		}
		var all gateway.KeyCounts
		for h, n := range loads {
			s.worked(p, a, begin.Add(time.Duration(h)*time.Hour), n, &all)
		}
		n := int64(before * max(0, begin.Sub(a.key.CreatedAt).Hours()/24))
		bad := int64(float64(n) * misses[a.Fate])
		d := s.written[p]
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: a.id, Counts: gateway.KeyCounts{Total: n, Success: n - bad, Failure: bad}})
		var t gateway.Tally
		s.count(&t, &habitsOf[p][s.rnd.IntN(3)], n-bad+all.Success, 0)
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: gateway.OfKey, Name: string(a.id), Tally: t})
		a.key.Counts = all
	}
}

// worked counts what a key did in an hour in which each of them did n attempts.
func (s *Scene) worked(p gateway.ProviderName, a *actor, hour time.Time, n float64, all *gateway.KeyCounts) {
	end := s.now
	if next := hour.Add(time.Hour); next.Before(end) {
		end = next
	}
	total, out := s.about(n*(.8+.4*s.rnd.Float64())), !a.outAt.IsZero()
	bad := s.about(float64(total) * misses[a.Fate])
	switch {
	case out && !a.outAt.After(hour):
		return
	case out && a.outAt.Before(end):
		total = int64(float64(total) * a.outAt.Sub(hour).Hours())
		bad = min(bad, total)
		end = a.outAt
		if a.key.ExpiresAt.IsZero() && a.key.State.Disabled != gateway.DisabledManual { // it was refused then
			total++
			bad++
		}
	}
	if total == 0 {
		return
	}
	c := gateway.KeyCounts{Total: total, Success: total - bad, Failure: bad, LastUsed: end.UTC()}
	if !out || end != a.outAt {
		c.LastUsed = end.Add(-within(s.rnd, time.Second, min(6*time.Minute, end.Sub(hour)+time.Minute))).UTC()
	}
	if c.Success > 0 {
		c.LastSuccess = c.LastUsed
	}
	if c.Failure > 0 {
		c.LastFailure = c.LastUsed
		if c.Success > 0 && out {
			c.LastSuccess = c.LastUsed.Add(-time.Minute)
		}
	}
	d := s.written[p]
	d.Keys = append(d.Keys, gateway.KeyDelta{Key: a.id, Counts: c})
	all.Success += c.Success
	all.LastSuccess = later(all.LastSuccess, c.LastSuccess)
}

// about rounds up or down by chance, so that sums come out right.
func (s *Scene) about(x float64) int64 {
	whole, part := math.Modf(max(x, 0))
	if s.rnd.Float64() < part {
		whole++
	}
	return int64(whole)
}
