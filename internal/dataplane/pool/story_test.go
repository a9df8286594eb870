package pool

import (
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestStoryOfAKey(t *testing.T) {
	s := newScene(t)
	anna := s.put(3, "anna")
	lone := s.put(1, "")[0]
	s.p.SetState(anna[1], gateway.KeyState{RestsUntil: s.now.Add(time.Hour), RestStep: 2, LastError: "quota"}, s.now)
	s.p.SetState(anna[2], gateway.KeyState{RestsUntil: s.now.Add(time.Hour), FailedUntil: s.now.Add(time.Minute), LastError: "401"}, s.now)
	s.p.PutRefusal(gateway.Refusal{Key: anna[0], Model: "large", Until: s.now.Add(time.Hour)}, s.now)
	s.p.PutRefusal(gateway.Refusal{Key: anna[0], Model: "huge", Until: s.now.Add(2 * time.Hour)}, s.now)

	if keys, rest := s.p.Account(anna[0]); keys != 3 || rest != 1 {
		t.Errorf("the account has %d keys, %d rest", keys, rest)
	}
	if keys, rest := s.p.Account(lone); keys != 1 || rest != 0 {
		t.Errorf("a key of its own: %d, %d", keys, rest)
	}
	refused := s.p.Refusals(anna[0])
	if len(refused) != 2 || refused[0].Model != "huge" || !refused[0].Until.Equal(s.now.Add(2*time.Hour)) || refused[1].Model != "large" {
		t.Errorf("refusals %v", refused)
	}
	if s.p.Refusals(lone) != nil || s.p.Refusals("0123456789abcdef") != nil {
		t.Error("refusals of keys without any")
	}
	if state, cleared := s.p.ClearRest(anna[1], s.now); !cleared || state != (gateway.KeyState{}) {
		t.Errorf("cleared %v: %+v", cleared, state)
	}
	if _, cleared := s.p.ClearRest(anna[1], s.now); cleared {
		t.Error("a rest was cleared twice")
	}
	state, cleared := s.p.ClearRest(anna[2], s.now)
	if !cleared || !state.RestsUntil.IsZero() || !state.FailedUntil.Equal(s.now.Add(time.Minute)) || state.LastError != "401" {
		t.Errorf("the mark of failure is part of it: %+v", state)
	}
	if _, cleared := s.p.ClearRest("0123456789abcdef", s.now); cleared {
		t.Error("a rest of a key that is not there")
	}
	if n := s.p.Counts(); n[gateway.KeyActive] != 3 || n[gateway.KeyFailed] != 1 {
		t.Errorf("counts %v", n)
	}
}
