package sqlstore

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// localStore is a store in the place of local.db.
func localStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Path = filepath.Join(t.TempDir(), "local.db"); o.Now == nil {
		o.Now = func() time.Time { return noon }
	}
	return mustOpen(t, o)
}

func mirrorOnce(t *testing.T, to, from *Store, want int) {
	t.Helper()
	if n, err := to.Mirror(t.Context(), from); err != nil || n != want {
		t.Errorf("Mirror = %d, %v; want %d", n, err, want)
	}
}

// sameAs compares everything that a mirror has with what it is made of.
func sameAs(t *testing.T, mirror, from *Store) {
	t.Helper()
	for _, p := range gateway.Providers() {
		want := all(t, from, p)
		for secret, k := range want { // but counts
			k.Counts = gateway.KeyCounts{}
			want[secret] = k
		}
		wantEqual(t, string(p)+": keys", all(t, mirror, p), want)
		marks := func(s *Store) map[gateway.KeyID]gateway.KeyMark {
			list, err := s.KeyMarks(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			byID := map[gateway.KeyID]gateway.KeyMark{}
			for _, m := range list {
				byID[m.Key] = m
			}
			return byID
		}
		wantEqual(t, string(p)+": marks", marks(mirror), marks(from))
		refusals := func(s *Store) map[gateway.Refusal]bool {
			found := map[gateway.Refusal]bool{}
			if err := s.EachRefusal(t.Context(), p, func(r gateway.Refusal) error { found[r] = true; return nil }); err != nil {
				t.Fatal(err)
			}
			return found
		}
		wantEqual(t, string(p)+": refusals", refusals(mirror), refusals(from))
	}
	tokens := func(s *Store) []gateway.Token {
		list, err := s.Tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			list[i].RequestCount, list[i].LastUsed, list[i].Plain = 0, time.Time{}, ""
		}
		return list
	}
	wantEqual(t, "tokens", tokens(mirror), tokens(from))
}

func conformMirror(t *testing.T, open openStore) {
	ctx := t.Context()
	from := open(Options{})
	to := localStore(t, Options{EncryptionKey: masterKey(7)})
	full := someKeys(0, 5)
	full[0].Username, full[0].Category, full[0].ExpiresAt = "Ünï <u@example.com>", "kimi", noon.Add(time.Hour)
	full[1].State = gateway.KeyState{
		FailedUntil: noon.Add(time.Minute), DisabledUntil: noon.Add(2 * time.Minute), RestsUntil: noon.Add(3 * time.Minute),
		Disabled: gateway.DisabledAuto, ConsecutiveFailures: 3, RestStep: 2, LastError: "401",
	}
	add(t, from, gateway.Ollama, full...)
	add(t, from, gateway.OpenRouter, someKeys(3, 6)...)
	id := func(n int) gateway.KeyID { return gateway.IDOfKey(secretOf(n)) }
	day := noon.Add(24 * time.Hour)
	apply(t, from, gateway.Delta{Provider: gateway.Ollama, Refusals: []gateway.Refusal{{Key: id(1), Model: "a", Until: day}, {Key: id(1), Model: "b", Until: day}}, Keys: []gateway.KeyDelta{{Key: id(1), Counts: gateway.KeyCounts{Total: 3, Success: 3, LastUsed: noon}}}})
	limited := gateway.Token{Hash: gateway.HashToken("sk-fake-1"), Name: "limited", Preview: "sk-fak…ke-1", Providers: gateway.Providers(), CreatedAt: noon, ExpiresAt: day, Limits: gateway.Limits{Models: []string{"kimi*"}, RequestsPerDay: 5}}
	if err := from.AddToken(ctx, limited); err != nil {
		t.Fatal(err)
	}
	if _, err := from.writer.ExecContext(ctx, "insert into ollama_api_client_tokens (token, name, created_at) values ('sk-plain-and-old', 'plain', ?)", at(noon.Add(-time.Hour))); err != nil {
		t.Fatal(err)
	}

	if of, when, err := to.MirrorOf(ctx); of != "" || !when.IsZero() || err != nil {
		t.Errorf("before: of %q at %v, %v", of, when, err)
	}
	mirrorOnce(t, to, from, 8+2+3) // keys, refusals, rows of tokens
	sameAs(t, to, from)
	if of, when, err := to.MirrorOf(ctx); of != from.Fingerprint() || !when.Equal(noon) || err != nil {
		t.Errorf("after: of %q at %v, %v", of, when, err)
	}
	var stored string
	if err := to.reader.QueryRowContext(ctx, "select token from ollama_api_client_tokens where name = 'plain'").Scan(&stored); err != nil || !gateway.IsTokenHash(stored) {
		t.Errorf("the plain token is mirrored as %q, %v", stored, err)
	}
	mirrorOnce(t, to, from, 0)

	// Differences, each found alone.
	name := "renamed"
	steps := map[string]struct {
		do   func() error
		want int
	}{
		"a state": {func() error {
			return from.Apply(ctx, []gateway.Delta{{Provider: gateway.Ollama, States: []gateway.StateChange{{Key: id(2), State: gateway.KeyState{RestsUntil: day}}}}})
		}, 1},
		"an operator's act, which ends refusals": {func() error { return from.EnableKeys(ctx, gateway.Ollama, []gateway.KeyID{id(1)}) }, 3},
		"a category":                             {func() error { return from.SetCategory(ctx, gateway.OpenRouter, id(4), "qwen") }, 1},
		"a user name": {func() error {
			_, err := from.writer.ExecContext(ctx, "update ollama_api_keys set username = 'other' where key_id = ?", string(id(0)))
			return err
		}, 1},
		"the end of a life": {func() error {
			_, err := from.writer.ExecContext(ctx, "update ollama_api_keys set expires_at = ? where key_id = ?", at(day), string(id(3)))
			return err
		}, 1},
		"keys that come and go": {func() error {
			_, err := from.DeleteKeys(ctx, gateway.OpenRouter, []gateway.KeyID{id(3)})
			_, _, added := from.AddKeys(ctx, gateway.OpenRouter, yield(someKeys(6, 8), nil), nil)
			return errors.Join(err, added)
		}, 3},
		"a refusal": {func() error {
			return from.Apply(ctx, []gateway.Delta{{Provider: gateway.Ollama, Refusals: []gateway.Refusal{{Key: id(4), Model: "c", Until: day, Version: 9}}}})
		}, 1},
		"a token": {func() error {
			_, _, err := from.UpdateToken(ctx, limited.Hash, gateway.TokenChange{Name: &name, Limits: &gateway.Limits{Concurrent: 3}})
			return err
		}, 2},
		"a token's hash": {func() error { return from.HashPlainToken(ctx, gateway.Token{Plain: "sk-plain-and-old"}) }, 0},
		"counts": {func() error {
			return from.Apply(ctx, []gateway.Delta{{Provider: gateway.Ollama, Tokens: []gateway.TokenDelta{{Hash: limited.Hash, LastUsed: noon, Counts: gateway.Counts{Requests: 1}}}}})
		}, 0},
	}
	for what, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n, err := to.Mirror(ctx, from); err != nil || n != step.want {
			t.Errorf("%s: Mirror = %d, %v; want %d", what, n, err, step.want)
		}
	}
	sameAs(t, to, from)
	if _, err := from.DeleteToken(ctx, limited.Hash); err != nil {
		t.Fatal(err)
	}
	mirrorOnce(t, to, from, 2)
	sameAs(t, to, from)
}

// conformMirrorCopied mirrors a store into one that keeps keys in the same way:
// they are copied as they are.
func conformMirrorCopied(t *testing.T, open openStore) {
	from := open(Options{})
	to := localStore(t, Options{EncryptionKey: masterKey(1)})
	if from.Encrypted() {
		to.seal.aead = nil // whoever decrypts or encrypts a key fails
	}
	add(t, from, gateway.Ollama, someKeys(0, 3)...)
	mirrorOnce(t, to, from, 3)
	mirrorOnce(t, to, from, 0)
}

// conformMirrorOfAnother: what a local store has of another database is deleted,
// and what waits for that one is not sent to this one.
func conformMirrorOfAnother(t *testing.T, open openStore) {
	ctx := t.Context()
	first, second := localStore(t, Options{}), open(Options{})
	to := localStore(t, Options{})
	add(t, first, gateway.Ollama, someKeys(0, 3)...)
	add(t, second, gateway.Ollama, someKeys(2, 4)...)
	spooled := func() (writers []string) {
		t.Helper()
		list, err := to.Spooled(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range list {
			writers = append(writers, one.Batch.Writer)
		}
		return writers
	}
	spool := func(writer string) {
		t.Helper()
		if err := to.Spool(ctx, one(writer, 1)); err != nil {
			t.Fatal(err)
		}
	}
	spool("early")
	mirrorOnce(t, to, first, 3)
	spool("for the first")
	if got := spooled(); !slices.Equal(got, []string{"early", "for the first"}) {
		t.Errorf("waiting for the first: %v", got)
	}
	mirrorOnce(t, to, second, 2)
	sameAs(t, to, second)
	if got := spooled(); got != nil {
		t.Errorf("waiting for the second: %v", got)
	}
	spool("for the second")
	if err := to.BelongTo(ctx, first); err != nil {
		t.Fatal(err)
	}
	if _, when, err := to.MirrorOf(ctx); err != nil || !when.IsZero() || len(all(t, to, gateway.Ollama)) != 0 {
		t.Errorf("the mirror of another is kept: compared at %v, %v", when, err)
	}
	if got := spooled(); !slices.Equal(got, []string{"early", "for the first"}) {
		t.Errorf("waiting for the first again: %v", got)
	}
}

// TestMirrorInSteps mirrors more keys than are compared at a time, is cut off in
// between and goes on.
func TestMirrorInSteps(t *testing.T) {
	t.Parallel()
	const step = 40
	const n = 2*step + 10
	from, to := localStore(t, Options{}), localStore(t, Options{mirrorKeys: step})
	add(t, from, gateway.Ollama, someKeys(0, n)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	steps := 0
	to.now = func() time.Time { // asked once in every write
		if steps++; steps == 2 {
			cancel()
		}
		return noon
	}
	if _, err := to.Mirror(ctx, from); !errors.Is(err, context.Canceled) {
		t.Fatalf("cut off: %v", err)
	}
	part := len(all(t, to, gateway.Ollama))
	if _, when, err := to.MirrorOf(t.Context()); part == 0 || part >= n || !when.IsZero() || err != nil {
		t.Errorf("cut off with %d of %d keys, compared at %v, %v", part, n, when, err)
	}
	mirrorOnce(t, to, from, n-part)
	if _, err := from.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{gateway.IDOfKey(secretOf(0)), gateway.IDOfKey(secretOf(n - 1))}); err != nil {
		t.Fatal(err)
	}
	add(t, to, gateway.Ollama, someKeys(n, n+3)...) // which from never had
	mirrorOnce(t, to, from, 5)
	sameAs(t, to, from)
}

func BenchmarkMirrorUnchanged(b *testing.B) {
	from, to := localStore(b, Options{}), localStore(b, Options{})
	if _, _, err := from.AddKeys(b.Context(), gateway.Ollama, yield(someKeys(0, 100_000), nil), nil); err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	if _, err := to.Mirror(b.Context(), from); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(time.Since(begin).Seconds(), "s/first")
	for b.Loop() {
		if n, err := to.Mirror(b.Context(), from); err != nil || n != 0 {
			b.Fatal(n, err)
		}
	}
}
