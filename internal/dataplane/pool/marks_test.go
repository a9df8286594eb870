package pool

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestRefusedKeyFailsThenIsDisabledAndReturns(t *testing.T) {
	s := newScene(t)
	id := s.put(1, "")[0]
	for failures := 1; failures <= 2; failures++ {
		s.try(refused("unauthorized"))
		s.wantStatus(id, gateway.KeyFailed)
		st := s.state(id)
		if st.ConsecutiveFailures != failures || st.LastError != "unauthorized" || !st.FailedUntil.Equal(s.now.Add(time.Hour)) {
			t.Fatalf("after %d failures: %+v", failures, st)
		}
		s.wantNone(&Want{}, AllOut, time.Hour)
		s.wait(time.Hour)
		s.wantStatus(id, gateway.KeyActive)
	}
	s.try(refused("unauthorized"))
	s.wantStatus(id, gateway.KeyDisabled)
	if st := s.state(id); st.Disabled != gateway.DisabledAuto || !st.DisabledUntil.Equal(s.now.Add(2*time.Hour)) || !st.FailedUntil.IsZero() {
		t.Fatalf("disabled: %+v", st)
	}
	s.wantNone(&Want{}, AllOut, 2*time.Hour)
	s.wait(2 * time.Hour)
	s.wantStatus(id, gateway.KeyActive)
	s.try(served)
	s.wantUntouched(id)
}

// Who gives a key back learns when it returns.
func TestUntil(t *testing.T) {
	s := newScene(t)
	s.put(1, "ada")
	for i, tt := range []struct {
		v    gateway.Verdict
		want time.Duration
	}{
		{served, 0},
		{fault, 0},
		{refused("unauthorized"), time.Hour},
		{gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Reason: "quota"}, firstRest},
		{gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Reason: "quota", For: time.Minute}, time.Minute},
		{refused("unauthorized"), time.Hour},
		{refused("unauthorized"), 2 * time.Hour}, // the third in a row
	} {
		l := s.lend(&Want{})
		if !l.Until().IsZero() {
			t.Errorf("%d: a key that was lent is out", i)
		}
		l.Release(&tt.v, s.now)
		var want time.Time
		if tt.want != 0 {
			want = s.now.Add(tt.want)
		}
		if got := l.Until(); !got.Equal(want) {
			t.Errorf("%d: until %v, want %v", i, got, want)
		}
		s.wait(tt.want)
	}
}

func TestSuccessEndsTheRowOfFailures(t *testing.T) {
	s := newScene(t)
	id := s.put(1, "")[0]
	for range 5 {
		s.try(refused("unauthorized"))
		s.wait(time.Hour)
		s.try(refused("unauthorized"))
		s.wait(time.Hour)
		s.try(served)
	}
	s.wantUntouched(id)
}

func TestWhatLeavesTheKeyAlone(t *testing.T) {
	for _, v := range []gateway.Verdict{served, fault, badRequest, unknown, wentAway} {
		s := newScene(t)
		ids := s.put(2, "ada")
		s.try(v)
		s.wantUntouched(ids...)
	}
}

func TestNoCreditFailsTheAccount(t *testing.T) {
	s := newScene(t)
	ids := s.put(3, "ada")
	other := s.put(1, "bob")
	s.tryKey(ids[1], noCredit)
	for _, id := range ids {
		s.wantStatus(id, gateway.KeyFailed)
		if got := s.state(id).LastError; got != "no credit" {
			t.Errorf("last error %q", got)
		}
	}
	s.wantUntouched(other...)
}

func TestParallelFailuresCountOnce(t *testing.T) {
	s := newScene(t)
	id := s.put(1, "")[0]
	var leases []*Lease
	for range 10 {
		leases = append(leases, s.lend(&Want{}))
	}
	v := refused("unauthorized")
	for _, l := range leases {
		l.Release(&v, s.now)
	}
	if got := s.state(id).ConsecutiveFailures; got != 1 {
		t.Errorf("%d failures in a row", got)
	}
	s.wantStatus(id, gateway.KeyFailed)
}

// An attempt that began before a change of state cannot change it again.
func TestStaleAttemptChangesNothing(t *testing.T) {
	changes := map[string]func(s *scene, id gateway.KeyID){
		"enabled by hand": func(s *scene, id gateway.KeyID) { s.p.SetState(id, gateway.KeyState{}, s.now) },
		"failed":          func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("forbidden")) },
		"failed and back": func(s *scene, id gateway.KeyID) { s.tryKey(id, refused("forbidden")); s.wait(time.Hour) },
		"rested and back": func(s *scene, id gateway.KeyID) { s.tryKey(id, quota(s.now.Add(time.Minute))); s.wait(time.Minute) },
		"sibling rests": func(s *scene, id gateway.KeyID) {
			s.tryKey(s.put(1, "ada")[0], quota(s.now.Add(time.Minute)))
			s.wantStatus(id, gateway.KeyResting)
		},
	}
	verdicts := map[string]func(s *scene) gateway.Verdict{
		"served":    func(*scene) gateway.Verdict { return served },
		"refused":   func(*scene) gateway.Verdict { return refused("unauthorized") },
		"no credit": func(*scene) gateway.Verdict { return noCredit },
		"quota":     func(*scene) gateway.Verdict { return unknownEnd },
		"told quota, where the key does not rest": func(s *scene) gateway.Verdict { return quota(s.now.Add(5 * time.Hour)) },
		"plan": func(*scene) gateway.Verdict { return plan },
	}
	for change, do := range changes {
		for answer, v := range verdicts {
			if change == "sibling rests" && answer == "told quota, where the key does not rest" {
				continue // a later end counts while a rest lasts
			}
			t.Run(change+", then "+answer, func(t *testing.T) {
				s := newScene(t)
				id := s.put(1, "ada")[0]
				s.put(1, "bob")
				stale := s.lendKey(id, "large")
				do(s, id)
				before := s.state(id)
				late := v(s)
				stale.Release(&late, s.now)
				if after := s.state(id); after != before {
					t.Errorf("state %+v, was %+v", after, before)
				}
				if len(s.p.models) != 0 {
					t.Error("the key is passed over for the model")
				}
			})
		}
	}
}

// A success that began before a mark does not wipe it, one that began after does.
func TestSuccessAndNewerMark(t *testing.T) {
	s := newScene(t)
	id := s.put(1, "")[0]
	old := s.lend(&Want{})
	s.try(refused("unauthorized"))
	old.Settle(&served, s.now)
	old.Release(&served, s.now)
	s.wantStatus(id, gateway.KeyFailed)
	if got := s.state(id).ConsecutiveFailures; got != 1 {
		t.Fatalf("%d failures in a row", got)
	}
	s.wait(time.Hour)
	s.try(served)
	s.wantUntouched(id)
}

func TestManualDisableIsNotShortenedByFailures(t *testing.T) {
	for _, span := range []time.Duration{0, 10 * time.Hour} { // 0: until enabled
		s := newScene(t)
		id := s.put(1, "ada")[0]
		byHand := gateway.KeyState{Disabled: gateway.DisabledManual, ConsecutiveFailures: 1}
		if span > 0 {
			byHand.DisabledUntil = s.now.Add(span)
		}
		s.p.SetState(id, byHand, s.now)
		sibling := s.put(1, "ada")[0]
		for range 3 { // the account is out of credit again and again
			s.tryKey(sibling, noCredit)
			s.p.SetState(sibling, gateway.KeyState{}, s.now)
			if st := s.state(id); st.Disabled != gateway.DisabledManual || !st.DisabledUntil.Equal(byHand.DisabledUntil) {
				t.Fatalf("the operator's word is now %+v", st)
			}
			s.wait(time.Hour)
		}
		s.wantStatus(id, gateway.KeyDisabled)
		s.wait(10 * time.Hour)
		if _, got, _ := s.p.State(id); (got == gateway.KeyDisabled) != (span == 0) {
			t.Errorf("disabled for %v, %s after that", span, got)
		}
	}
}

func TestSetState(t *testing.T) {
	s := newScene(t)
	ids := s.put(2, "")
	s.p.SetState(ids[0], gateway.KeyState{Disabled: gateway.DisabledManual}, s.now)
	s.wantStatus(ids[0], gateway.KeyDisabled)
	for range 4 {
		if got := s.try(served); got == ids[0] {
			t.Fatal("a disabled key was lent")
		}
	}
	s.wait(1000 * time.Hour)
	s.wantStatus(ids[0], gateway.KeyDisabled)
	s.p.SetState(ids[0], gateway.KeyState{}, s.now)
	s.wantUntouched(ids...)
	s.lendKey(ids[0], "")
	if d := s.p.Drain(); len(d.States) != 0 {
		t.Errorf("the caller's own change is handed back: %+v", d.States)
	}
	if s.p.SetState("0123456789abcdef", gateway.KeyState{}, s.now) || s.p.SetState("nonsense", gateway.KeyState{}, s.now) {
		t.Error("a key was found that is not there")
	}
}

// Of several marks the gravest shows; as each ends the next one does.
func TestSeveralMarks(t *testing.T) {
	s := newScene(t)
	in := func(d time.Duration) time.Time { return s.now.Add(d) }
	id := s.putKey(gateway.Key{
		ExpiresAt: in(4 * time.Hour),
		State:     gateway.KeyState{FailedUntil: in(2 * time.Hour), RestsUntil: in(3 * time.Hour), Disabled: gateway.DisabledAuto, DisabledUntil: in(time.Hour)},
	})
	for _, want := range []gateway.KeyStatus{gateway.KeyDisabled, gateway.KeyFailed, gateway.KeyResting, gateway.KeyActive, gateway.KeyExpired, gateway.KeyExpired} {
		s.wantStatus(id, want)
		if got := s.p.Counts()[want]; got != 1 {
			t.Fatalf("counts: %v, want one %s", s.p.Counts(), want)
		}
		if want == gateway.KeyFailed {
			s.wantNone(&Want{}, AllOut, 2*time.Hour)
		}
		s.wait(time.Hour)
	}
}

func TestStateRoundTrip(t *testing.T) {
	s := newScene(t)
	for _, want := range []gateway.KeyState{
		{},
		{FailedUntil: s.now.Add(time.Hour), ConsecutiveFailures: 2, LastError: "unauthorized"},
		{RestsUntil: s.now.Add(time.Hour), RestStep: 5, LastError: "quota"},
		{Disabled: gateway.DisabledManual},
		{Disabled: gateway.DisabledManual, DisabledUntil: s.now.Add(time.Hour)},
		{Disabled: gateway.DisabledAuto, DisabledUntil: s.now.Add(time.Hour), ConsecutiveFailures: 7},
	} {
		id := s.putKey(gateway.Key{State: want})
		if got := s.state(id); got != want {
			t.Errorf("put %+v, is %+v", want, got)
		}
		if d := s.p.Drain(); !d.Empty() {
			t.Errorf("putting a key made something to write down: %+v", d)
		}
	}
}
