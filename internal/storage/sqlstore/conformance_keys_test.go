package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func conformRoundTrip(t *testing.T, open openStore) {
	s := open(Options{})
	micro := noon.Add(123456 * time.Microsecond)
	full := gateway.Key{
		Secret: "sk-or-v1-fake~key!with{odd}marks", Username: "Ünï Cödé <u@example.com>", Category: "kimi",
		CreatedAt: micro, ExpiresAt: noon.Add(time.Hour),
		State: gateway.KeyState{
			FailedUntil: noon.Add(time.Minute + 5*time.Microsecond), DisabledUntil: noon.Add(2 * time.Minute), RestsUntil: noon.Add(3 * time.Minute),
			Disabled: gateway.DisabledAuto, ConsecutiveFailures: 3, RestStep: 2, LastError: "401: unauthorized",
		},
	}
	bare := gateway.Key{Secret: "12345678"}
	local := gateway.Key{Secret: "with-a-local-time", CreatedAt: time.Date(2030, 1, 31, 1, 2, 3, 0, time.FixedZone("", 5*3600))}
	far := gateway.Key{Secret: "far-in-the-future", CreatedAt: noon, ExpiresAt: time.Date(300000, 1, 1, 0, 0, 0, 0, time.UTC)}
	add(t, s, gateway.Ollama, full, bare, local, far)
	add(t, s, gateway.OpenRouter, full)

	bare.CreatedAt = noon
	local.CreatedAt = local.CreatedAt.UTC()
	far.ExpiresAt = time.Date(lastYear, 12, 31, 23, 59, 59, 0, time.UTC)
	want := map[gateway.Secret]gateway.Key{full.Secret: full, bare.Secret: bare, local.Secret: local, far.Secret: far}
	wantEqual(t, "loaded keys", all(t, s, gateway.Ollama), want)
	wantEqual(t, "the other provider's", all(t, s, gateway.OpenRouter), map[gateway.Secret]gateway.Key{full.Secret: full})

	got, found, err := s.Key(t.Context(), gateway.Ollama, gateway.IDOfKey(full.Secret))
	if err != nil || !found {
		t.Fatalf("Key: found %v, %v", found, err)
	}
	wantEqual(t, "one key", got, full)
	if _, found, err := s.Key(t.Context(), gateway.Ollama, "0123456789abcdef"); found || err != nil {
		t.Errorf("Key that is not there: found %v, %v", found, err)
	}
	if err := s.SetCategory(t.Context(), gateway.Ollama, gateway.IDOfKey(bare.Secret), "llama"); err != nil {
		t.Fatal(err)
	}
	again := open(Options{})
	if c := all(t, again, gateway.Ollama)[bare.Secret].Category; c != "llama" {
		t.Errorf("category %q after opening again, want llama", c)
	}
	stop := errors.New("enough")
	seen := 0
	err = s.EachKey(t.Context(), gateway.Ollama, func(gateway.Key) error { seen++; return stop })
	if !errors.Is(err, stop) || seen != 1 {
		t.Errorf("a visitor's error: got %v after %d keys", err, seen)
	}
}

func conformDuplicates(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 3)...)
	mine := gateway.Key{Secret: secretOf(7), Username: "first", CreatedAt: noon}
	other := mine
	other.Username = "second"
	var calls []string
	n, existing, err := s.AddKeys(t.Context(), gateway.Ollama, yield(append(someKeys(1, 5), mine, other), nil), func(k gateway.Key) {
		calls = append(calls, k.Username)
	})
	if n != 3 || existing != 3 || err != nil {
		t.Errorf("AddKeys = %d, %d, %v; want 3, 3", n, existing, err)
	}
	wantEqual(t, "reported as added", calls, []string{"user3@example.com", "user4@example.com", "first"})
	if u := all(t, s, gateway.Ollama)[mine.Secret].Username; u != "first" {
		t.Errorf("a duplicate changed the user name to %q", u)
	}
	_, _, err = s.AddKeys(t.Context(), gateway.Ollama, yield([]gateway.Key{{Secret: "short"}}, nil), nil)
	wantKind(t, "a key that is none", err, gateway.KindInvalid)
	if err == nil || strings.Contains(err.Error(), `"short"`) {
		t.Errorf("error %v repeats the key", err)
	}
}

func conformAllOrNone(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 2)...)
	broken := errors.New("line 4 broke off")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cuts := map[string]struct {
		ctx  context.Context
		keys iter.Seq2[gateway.Key, error]
		want error
	}{
		"the sequence fails": {t.Context(), yield(someKeys(0, 400), broken), broken},
		"the context ends": {ctx, func(yield func(gateway.Key, error) bool) {
			for i, k := range someKeys(0, 400) {
				if i == 300 {
					cancel()
				}
				if !yield(k, nil) {
					return
				}
			}
		}, context.Canceled},
	}
	for name, c := range cuts {
		n, existing, err := s.AddKeys(c.ctx, gateway.Ollama, c.keys, nil)
		if !errors.Is(err, c.want) || n != 0 || existing != 0 {
			t.Errorf("%s: AddKeys = %d, %d, %v", name, n, existing, err)
		}
		if left := all(t, s, gateway.Ollama); len(left) != 2 {
			t.Errorf("%s: %d keys in the store, want the 2 from before", name, len(left))
		}
	}
	func() {
		defer func() { _ = recover() }()
		_, _, _ = s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(2, 3), nil), func(gateway.Key) { panic("in the caller") })
	}()
	add(t, s, gateway.Ollama, someKeys(2, 4)...) // neither the lock nor a key was left behind
}

func conformDelete(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 4)...)
	add(t, s, gateway.OpenRouter, someKeys(0, 1)...)
	id := func(n int) gateway.KeyID { return gateway.IDOfKey(secretOf(n)) }
	apply(t, s, gateway.Delta{
		Provider: gateway.Ollama,
		Keys:     []gateway.KeyDelta{{Key: id(0), Counts: gateway.KeyCounts{Total: 5}}},
		Refusals: []gateway.Refusal{{Key: id(0), Model: "m", Until: noon.Add(time.Hour)}},
	})
	deleted, err := s.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{id(0), "not-there", id(2), id(0)})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "deleted", deleted, []gateway.KeyID{id(0), id(2)})
	if left := all(t, s, gateway.Ollama); len(left) != 2 {
		t.Errorf("%d keys left, want 2", len(left))
	}
	if left := all(t, s, gateway.OpenRouter); len(left) != 1 {
		t.Errorf("%d keys of the other provider left, want 1", len(left))
	}
	add(t, s, gateway.Ollama, someKeys(0, 1)...)
	if c := all(t, s, gateway.Ollama)[secretOf(0)].Counts; c.Total != 0 {
		t.Errorf("a deleted key came back with its counts: %+v", c)
	}
	if err := s.EachRefusal(t.Context(), gateway.Ollama, func(r gateway.Refusal) error { return fmt.Errorf("refusal %+v is left", r) }); err != nil {
		t.Error(err)
	}
}

func conformForeign(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 1)...)
	exec := func(text string, args ...any) {
		t.Helper()
		if _, err := s.writer.ExecContext(t.Context(), text, args...); err != nil {
			t.Fatal(err)
		}
	}
	for n, row := range []struct {
		status         string
		expires, until any
	}{
		{"active", nil, nil},
		{"disabled", nil, at(noon.Add(time.Hour))},
		{"disabled", nil, nil},
		{"disabled", nil, at(noon.Add(-time.Hour))},
		{"active", at(noon.Add(-time.Hour)), nil},
	} {
		exec("insert into ollama_api_keys (api_key, username, status, expires_at, disabled_until) values (?, ?, ?, ?, ?)",
			secretOf(n+1).Reveal(), "foreign", row.status, row.expires, row.until)
		exec("insert into ollama_api_key_stats (api_key, total_requests, success_count) values (?, ?, null)", secretOf(n+1).Reveal(), n)
	}
	keys := all(t, s, gateway.Ollama)
	for n, want := range []struct {
		status gateway.KeyStatus
		reason gateway.DisabledReason
	}{
		{gateway.KeyActive, ""},
		{gateway.KeyDisabled, gateway.DisabledAuto},
		{gateway.KeyDisabled, gateway.DisabledManual},
		{gateway.KeyActive, gateway.DisabledAuto},
		{gateway.KeyExpired, ""},
	} {
		k, found := keys[secretOf(n+1)]
		if status := k.State.StatusAt(noon, k.ExpiresAt); !found || status != want.status || k.State.Disabled != want.reason ||
			k.Counts.Total != int64(n) || !k.CreatedAt.Equal(noon) {
			t.Errorf("foreign row %d: found %v, %s, %+v", n+1, found, status, k)
		}
		listed, found, err := s.Key(t.Context(), gateway.Ollama, gateway.IDOfKey(secretOf(n+1)))
		if err != nil || !found || !reflect.DeepEqual(listed, k) {
			t.Errorf("foreign row %d by its id: %v, %v, %+v", n+1, found, err, listed)
		}
		if _, total := list(t, s, gateway.KeyQuery{Status: want.status, Search: string(gateway.IDOfKey(secretOf(n + 1)))}); total != 1 {
			t.Errorf("foreign row %d is not listed as %s", n+1, want.status)
		}
	}
	var plain int
	if err := s.reader.QueryRowContext(t.Context(), "select count(*) from ollama_api_keys where api_key like 'fake-key-%'").Scan(&plain); err != nil {
		t.Fatal(err)
	}
	if s.Encrypted() && plain > 0 {
		t.Errorf("%d keys are left plain in an encrypted store", plain)
	}
	if s.Encrypted() {
		exec("insert into ollama_api_keys (api_key, username) values (?, 'again')", secretOf(0).Reveal())
		if again := all(t, s, gateway.Ollama); len(again) != 6 || again[secretOf(0)].Username == "again" {
			t.Errorf("a key that was there came in twice: %d keys", len(again))
		}
	}
	if deleted, err := s.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{gateway.IDOfKey(secretOf(1))}); err != nil || len(deleted) != 1 {
		t.Errorf("a foreign row cannot be deleted: %v, %v", deleted, err)
	}
}
