package app

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// settings are those of an instance with a data directory of its own.
func settings(t *testing.T, dir string) *config.Config {
	t.Helper()
	cfg, _, err := config.Load([]string{"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + dir}, "")
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// openRoster opens the store of a data directory; the function closes it.
func openRoster(t *testing.T, dir string) (*Offline, func()) {
	t.Helper()
	o, err := OpenOffline(t.Context(), settings(t, dir), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return o, sync.OnceFunc(func() {
		if err := o.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestEnablingOutlastsARestart(t *testing.T) {
	dir := t.TempDir()
	o, closeStore := openRoster(t, dir)
	defer closeStore()
	k := gateway.Key{Secret: "fake-upstream-key-00", CreatedAt: time.Now()}
	if _, _, err := o.AddKeys(t.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) { yield(k, nil) }); err != nil {
		t.Fatal(err)
	}
	// The plan lacks the model, and then the key is refused.
	pl := o.pools[gateway.Ollama]
	for _, v := range []gateway.Verdict{
		{Scope: gateway.ScopeKeyModel, Action: gateway.ActionPassOver, Reason: "plan"},
		{Scope: gateway.ScopeKey, Action: gateway.ActionFail, Reason: "401"},
	} {
		want := pool.Want{Model: "large"}
		if v.Action == gateway.ActionFail {
			want.Model = "small"
		}
		lease, err := pl.Acquire(&want, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		lease.Release(&v, time.Now())
	}
	if err := o.writer.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	id := gateway.IDOfKey(k.Secret)
	found, err := o.EnableKeys(t.Context(), gateway.Ollama, []gateway.KeyID{id, "0123456789abcdef"})
	if err != nil || !slices.Equal(found, []gateway.KeyID{id}) {
		t.Fatalf("EnableKeys = %v, %v", found, err)
	}
	serves := func(o *Offline, when string) {
		t.Helper()
		if _, err := o.pools[gateway.Ollama].Acquire(&pool.Want{Model: "large"}, time.Now()); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	serves(o, "after enabling")
	closeStore()
	again, closeAgain := openRoster(t, dir)
	defer closeAgain()
	serves(again, "after a restart")
}

// The store tells a change once; what could not be loaded then is loaded later.
func TestFollowAfterAnError(t *testing.T) {
	dir := t.TempDir()
	o, closeStore := openRoster(t, dir)
	defer closeStore()
	other, err := sqlstore.Open(t.Context(), sqlstore.Options{Path: StorePath(dir)})
	if err != nil {
		t.Fatal(err)
	}
	k := gateway.Key{Secret: "fake-upstream-key-00"}
	_, _, err = other.AddKeys(t.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) { yield(k, nil) }, nil)
	if err := errors.Join(err, other.Close()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.now = func() time.Time { cancel(); return time.Now() } // asked for when loading begins
	if err := o.follow(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("follow = %v, want it broken off", err)
	}
	if err := o.follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !o.HasKey(gateway.Ollama, gateway.IDOfKey(k.Secret)) {
		t.Error("a key that another process added is not there")
	}
}

// Rows of other programs that hold no key are never lent.
func TestRowsThatAreNoKeys(t *testing.T) {
	dir := t.TempDir()
	_, made := openRoster(t, dir)
	made()
	db, err := sql.Open("sqlite", StorePath(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{"", "x", "two words, no key", "fake-upstream-key-01"} {
		if _, err := db.ExecContext(t.Context(), "insert into ollama_api_keys (api_key) values (?)", row); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	o, closeStore := openRoster(t, dir)
	defer closeStore()
	if n := o.pools[gateway.Ollama].Len(); n != 1 {
		t.Errorf("%d keys are lent, want 1", n)
	}
}

// A plain token that is revoked while it is due to be replaced by its hash
// must not come back with it.
func TestRevokedWhileRehashed(t *testing.T) {
	dir := t.TempDir()
	_, made := openRoster(t, dir)
	made()
	db, err := sql.Open("sqlite", StorePath(dir))
	if err != nil {
		t.Fatal(err)
	}
	tokens := make([]string, 40)
	for i := range tokens {
		tokens[i] = "sk-fake-plain-" + strings.Repeat("x", i+1)
		if _, err := db.ExecContext(t.Context(), "insert into ollama_api_client_tokens (token, name) values (?, 'old')", tokens[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	o, closeStore := openRoster(t, dir)
	defer closeStore()
	for _, token := range tokens {
		if _, err := o.tokens.Verify(token, gateway.Ollama, time.Now()); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			if err := o.rehash(t.Context()); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if err := o.RevokeToken(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		if _, err := o.tokens.Verify(token, gateway.Ollama, time.Now()); err == nil {
			t.Fatal("a revoked token is valid")
		}
	}
}
