package pool

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestReturnsAndMasked(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p := New(gateway.Ollama, Settings{FailedFor: time.Hour, DisableThreshold: 3, DisabledFor: time.Hour})
	if next, n := p.Returns(); !next.IsZero() || n != 0 {
		t.Errorf("an empty pool: %v, %d", next, n)
	}
	put := func(secret string, s gateway.KeyState) {
		p.Put(gateway.Key{Secret: gateway.Secret(secret), State: s}, now)
	}
	put("fake-key-active-0001", gateway.KeyState{})
	put("fake-key-resting-0002", gateway.KeyState{RestsUntil: now.Add(time.Minute)})
	put("fake-key-failed-0003", gateway.KeyState{FailedUntil: now.Add(40 * time.Second)})
	put("fake-key-by-hand-0004", gateway.KeyState{Disabled: gateway.DisabledManual})
	if next, n := p.Returns(); !next.Equal(now.Add(40*time.Second)) || n != 2 {
		t.Errorf("returns: %v, %d", next, n)
	}
	if got, ok := p.Masked(gateway.IDOfKey("fake-key-active-0001")); got != "fake-k…0001" || !ok {
		t.Errorf("masked: %q, %v", got, ok)
	}
	if got, ok := p.Masked(gateway.IDOfKey("fake-key-that-is-not-there")); got != "" || ok {
		t.Errorf("a key that is not there: %q, %v", got, ok)
	}
}

func TestGroups(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p := New(gateway.Ollama, Settings{FailedFor: time.Hour, DisableThreshold: 3, DisabledFor: 80 * time.Minute})
	n := 0
	put := func(user string, s gateway.KeyState, expires time.Time) {
		n++
		p.Put(gateway.Key{Secret: gateway.Secret(fmt.Sprintf("fake-key-%06d", n)), Username: user, State: s, ExpiresAt: expires}, now)
	}
	rest := func(in time.Duration, why string) gateway.KeyState {
		return gateway.KeyState{RestsUntil: now.Add(in), LastError: why}
	}
	for range 600 { // more than one hold of the lock
		put("", gateway.KeyState{}, time.Time{})
	}
	put("a@fake.example", rest(10*time.Second, "quota: hourly"), time.Time{})
	put("b@fake.example", rest(20*time.Second, "quota: hourly"), time.Time{})
	put("b@fake.example", rest(20*time.Second, "quota: hourly"), time.Time{})
	put("c@fake.example", rest(20*time.Second, "quota: weekly"), time.Time{})
	put("d@fake.example", rest(2*time.Minute, "quota: hourly"), time.Time{})
	refused := func(in time.Duration) gateway.KeyState {
		return gateway.KeyState{FailedUntil: now.Add(in), LastError: "401 unauthorized"}
	}
	put("e@fake.example", refused(time.Hour), time.Time{})
	put("e@fake.example", refused(time.Minute), time.Time{})
	put("N/A", refused(2*time.Hour), time.Time{})
	put("", gateway.KeyState{Disabled: gateway.DisabledManual, LastError: "disabled by the operator"}, time.Time{})
	put("", gateway.KeyState{Disabled: gateway.DisabledAuto, DisabledUntil: now.Add(time.Hour), LastError: "402 no credit"}, time.Time{})
	put("f@fake.example", gateway.KeyState{LastError: "401 unauthorized"}, now.Add(-time.Hour))

	rests, outs := p.Groups()
	wantRests := []gateway.RestGroup{
		{Until: now.Add(20 * time.Second), Reason: "quota: hourly", Keys: 3, Accounts: 2},
		{Until: now.Add(20 * time.Second), Reason: "quota: weekly", Keys: 1, Accounts: 1},
		{Until: now.Add(2 * time.Minute), Reason: "quota: hourly", Keys: 1, Accounts: 1},
	}
	wantOuts := []gateway.OutGroup{
		{Status: gateway.KeyFailed, Reason: "401 unauthorized", Keys: 3, Accounts: 1, Since: now.Add(-59 * time.Minute), Returns: now.Add(time.Minute)},
		{Status: gateway.KeyDisabled, Disabled: gateway.DisabledAuto, Reason: "402 no credit", Keys: 1, Since: now.Add(-20 * time.Minute), Returns: now.Add(time.Hour)},
		{Status: gateway.KeyDisabled, Disabled: gateway.DisabledManual, Reason: "disabled by the operator", Keys: 1},
		{Status: gateway.KeyExpired, Reason: "401 unauthorized", Keys: 1, Accounts: 1},
	}
	if !reflect.DeepEqual(rests, wantRests) {
		t.Errorf("rests:\n got %v\nwant %v", rests, wantRests)
	}
	if !reflect.DeepEqual(outs, wantOuts) {
		t.Errorf("outs:\n got %v\nwant %v", outs, wantOuts)
	}
}

func BenchmarkGroups(b *testing.B) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	p := New(gateway.Ollama, Settings{})
	p.Grow(100_000)
	for i := range 100_000 {
		s := gateway.KeyState{RestsUntil: now.Add(time.Duration(i%5000+1) * time.Minute), LastError: "quota: weekly"}
		if i%2 == 0 {
			s = gateway.KeyState{FailedUntil: now.Add(time.Hour), LastError: "401 unauthorized"}
		}
		p.Put(gateway.Key{Secret: gateway.Secret(fmt.Sprintf("fake-key-%06d", i)), Username: fmt.Sprint("user", i/3), State: s}, now)
	}
	for b.Loop() {
		p.Groups()
	}
}
