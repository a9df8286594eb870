package sqlstore

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// settleScene is a database with a key of every state there is, which was
// written two hours ago: some of its marks are over since an hour.
func settleScene(t *testing.T, open openStore) (s *Store, now time.Time) {
	now = time.Now().UTC().Truncate(time.Microsecond) // the database's clock counts, too
	before := open(Options{Now: func() time.Time { return now.Add(-2 * time.Hour) }})
	times := []time.Time{{}, now.Add(-time.Hour), now.Add(time.Hour)}
	var keys []gateway.Key
	for _, expires := range times {
		for _, disabled := range times {
			for _, failed := range times {
				for _, rests := range times {
					for _, reason := range []gateway.DisabledReason{gateway.NotDisabled, gateway.DisabledAuto, gateway.DisabledManual} {
						keys = append(keys, gateway.Key{
							Secret: secretOf(len(keys)), Username: fmt.Sprintf("%04d", len(keys)), CreatedAt: now, ExpiresAt: expires,
							State: gateway.KeyState{
								FailedUntil: failed, DisabledUntil: disabled, RestsUntil: rests, Disabled: reason,
								ConsecutiveFailures: len(keys) % 5, RestStep: len(keys) % 3, LastError: fmt.Sprint("error ", len(keys)%7),
							},
						})
					}
				}
			}
		}
	}
	add(t, before, gateway.Ollama, keys...)
	add(t, before, gateway.OpenRouter, gateway.Key{Secret: secretOf(0), State: gateway.KeyState{RestsUntil: times[1]}})
	id := gateway.IDOfKey(secretOf(1))
	apply(t, before, gateway.Delta{Provider: gateway.Ollama, States: []gateway.StateChange{{Key: id, State: gateway.KeyState{RestsUntil: times[1], RestStep: 2}, Forced: true}}})
	for n, row := range []struct{ expires, until any }{{nil, at(times[1])}, {nil, at(times[2])}, {at(times[1]), nil}, {at(times[1]), at(times[2])}} {
		if _, err := before.writer.ExecContext(t.Context(), "insert into ollama_api_keys (api_key, username, status, expires_at, disabled_until) values (?, ?, 'disabled', ?, ?)",
			secretOf(1000+n).Reveal(), fmt.Sprint("foreign ", n), row.expires, row.until); err != nil {
			t.Fatal(err)
		}
	}
	if err := before.Adopt(t.Context()); err != nil {
		t.Fatal(err)
	}
	return open(Options{Now: func() time.Time { return now }}), now
}

// unended is a state without the marks that are over.
func unended(s gateway.KeyState, now time.Time) gateway.KeyState {
	if !s.FailedUntil.After(now) {
		s.FailedUntil = time.Time{}
	}
	if !s.RestsUntil.After(now) {
		s.RestsUntil = time.Time{}
	}
	if !s.DisabledUntil.IsZero() && !s.DisabledUntil.After(now) {
		s.Disabled, s.DisabledUntil = gateway.NotDisabled, time.Time{}
	}
	return s
}

// columns reads what other programs see of every key.
func columns(t *testing.T, s *Store, table string) map[gateway.KeyID]keyRow {
	t.Helper()
	rows, err := s.reader.QueryContext(t.Context(), "select key_id, status, failed_until, disabled_until, rests_until, expires_at from "+table)
	if err != nil {
		t.Fatal(err)
	}
	all, err := collect(rows, func(r *keyRow) []any { return []any{&r.id, &r.stored, &r.failed, &r.disabled, &r.rests, &r.expires} })
	if err != nil {
		t.Fatal(err)
	}
	by := map[gateway.KeyID]keyRow{}
	for _, r := range all {
		by[gateway.KeyID(r.id.String)] = r
	}
	return by
}

// conformSettle: what other programs see is brought up to date, and nobody who
// derives it sees a difference.
func conformSettle(t *testing.T, open openStore) {
	s, now := settleScene(t, open)
	marks := func() map[gateway.KeyID]gateway.KeyMark {
		t.Helper()
		list, err := s.KeyMarks(t.Context(), gateway.Ollama, nil)
		if err != nil {
			t.Fatal(err)
		}
		by := map[gateway.KeyID]gateway.KeyMark{}
		for _, m := range list {
			m.State = unended(m.State, now)
			by[m.Key] = m
		}
		return by
	}
	counts := func() map[gateway.KeyStatus]int {
		t.Helper()
		n, err := s.CountKeys(t.Context(), gateway.Ollama)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	wantMarks, wantCounts, late := marks(), counts(), 0
	for id, r := range columns(t, s, "ollama_api_keys") {
		m := wantMarks[id]
		if r.stored != string(m.State.StatusAt(now, m.ExpiresAt)) {
			late++
		}
	}
	last, err := s.LastChange(t.Context())
	if err != nil || late < 100 {
		t.Fatalf("the columns of %d keys are behind: too few to tell; %v", late, err)
	}
	if n, err := s.SettleStates(t.Context()); err != nil || n != late+1 { // and one of the other provider
		t.Errorf("SettleStates = %d, %v; want %d", n, err, late+1)
	}
	if n, err := s.SettleStates(t.Context()); err != nil || n != 0 {
		t.Errorf("once more: %d, %v", n, err)
	}
	wantEqual(t, "counts by status", counts(), wantCounts)
	for id, m := range marks() {
		if !reflect.DeepEqual(m, wantMarks[id]) {
			t.Errorf("who derives it sees a difference:\n got %+v\nwant %+v", m, wantMarks[id])
		}
	}
	for id, r := range columns(t, s, "ollama_api_keys") {
		m := wantMarks[id]
		status := m.State.StatusAt(now, m.ExpiresAt)
		if r.stored != string(status) {
			t.Errorf("the column says %s of a key that is %s", r.stored, status)
		}
		if status == gateway.KeyActive && (r.failed.Time.After(now) || r.disabled.Time.After(now) && m.State.Disabled != "" || r.rests.Time.After(now)) {
			t.Errorf("the columns of an active key: %+v", r)
		}
	}
	if r := columns(t, s, "openrouter_api_keys")[gateway.IDOfKey(secretOf(0))]; r.stored != "active" || !r.rests.IsZero() {
		t.Errorf("the other provider's: %+v", r)
	}
	if now, err := s.LastChange(t.Context()); err != nil || now != last {
		t.Errorf("others are told: change %d after %d, %v", now, last, err)
	}
	id := gateway.IDOfKey(secretOf(1))
	after := gateway.KeyState{ConsecutiveFailures: 1, FailedUntil: now.Add(time.Minute), LastError: "401"}
	wantStale(t, "a change from the version before", send(t, s, learn("w", 1, gateway.StateChange{Key: id, Version: wantMarks[id].Version, State: after})))
	if m := stateNow(t, s, id); m.Version != wantMarks[id].Version+1 || m.State != after || m.Forced != wantMarks[id].Forced || m.Forced == 0 {
		t.Errorf("after that change: %+v", m)
	}
}

// conformSettleMany: after a quota is back for all keys at once.
func conformSettleMany(t *testing.T, open openStore) {
	const n = 2*settleRows + 17
	now := time.Now().UTC()
	before := open(Options{Now: func() time.Time { return now.Add(-2 * time.Hour) }})
	keys := someKeys(0, n)
	for i := range keys {
		keys[i].State = gateway.KeyState{RestsUntil: now.Add(-time.Hour), RestStep: 3}
	}
	add(t, before, gateway.Ollama, keys...)
	stores := []*Store{open(Options{Now: func() time.Time { return now }}), open(Options{Now: func() time.Time { return now }})}
	sum := make(chan int, len(stores))
	for _, s := range stores { // both think that it is theirs to do
		go func() {
			n, err := s.SettleStates(t.Context())
			if err != nil {
				t.Error(err)
			}
			sum <- n
		}()
	}
	if got := <-sum + <-sum; got != n {
		t.Errorf("%d keys were brought up to date, want %d", got, n)
	}
	for _, r := range columns(t, before, "ollama_api_keys") {
		if r.stored != "active" || !r.rests.IsZero() {
			t.Fatalf("the columns of a key that is back: %+v", r)
		}
	}
	counts, err := stores[0].CountKeys(t.Context(), gateway.Ollama)
	if _, total := list(t, stores[1], gateway.KeyQuery{Status: gateway.KeyActive, Limit: 1}); err != nil || total != n || counts[gateway.KeyActive] != n {
		t.Errorf("%d keys are listed as active, %v are counted, %v", total, counts, err)
	}
	// Where clocks differ, the one that is behind counts.
	rest := gateway.StateChange{Key: gateway.IDOfKey(secretOf(5)), State: gateway.KeyState{RestsUntil: now.Add(-time.Hour)}, Forced: true}
	apply(t, before, gateway.Delta{Provider: gateway.Ollama, States: []gateway.StateChange{rest}})
	if n, err := before.SettleStates(t.Context()); err != nil || n != 0 {
		t.Errorf("a rest is ended before its time: %d, %v", n, err)
	}
}
