package app

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
	"ollama-api-pool/internal/testkit/servers"
)

// onDatabase opens a new shared database as a command does, which follows it, and
// as another instance.
func onDatabase(t *testing.T) (*Offline, *sqlstore.Store) {
	t.Helper()
	url := servers.SharedPostgres(t).Database(t)
	cfg, _, err := config.Load([]string{"LISTEN_ADDR=127.0.0.1:0", "DATA_DIR=" + t.TempDir(), "DATABASE_URL=" + url}, "")
	if err != nil {
		t.Fatal(err)
	}
	o, err := OpenOffline(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	other, err := sqlstore.Open(t.Context(), sqlstore.Options{URL: gateway.Secret(url), Instance: "other"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	return o, other
}

// comes waits until something holds.
func comes(t *testing.T, what string, within time.Duration, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !holds(); {
		if time.Now().After(end) {
			t.Fatalf("it did not come about within %v: %s", within, what)
		}
		pause := time.NewTimer(5 * time.Millisecond)
		<-pause.C
	}
}

// While an instance has much to write, tokens that another one revokes end all
// the same, and what it announces is done. Keys follow when there is time.
func TestTokensFollowWithoutTheTurn(t *testing.T) {
	o, other := onDatabase(t)
	_, secret, err := o.IssueToken(t.Context(), gateway.Token{Name: "test", Providers: gateway.Providers()})
	if err != nil {
		t.Fatal(err)
	}
	valid := func() bool {
		_, err := o.tokens.Verify(secret.Reveal(), gateway.Ollama, time.Now())
		return err == nil
	}
	if !valid() {
		t.Fatal("the token is not valid")
	}
	f, cancelled := newFollower(o.Roster, o.app.standing, slog.New(slog.DiscardHandler)), ""
	f.cancel = func(job string) { cancelled = job }
	if err := f.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := o.writer.enter(t.Context()); err != nil { // as a large import does
		t.Fatal(err)
	}
	k := gateway.Key{Secret: "fake-upstream-key-00", CreatedAt: time.Now()}
	if _, _, err := other.AddKeys(t.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) { yield(k, nil) }, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := other.DeleteToken(t.Context(), gateway.HashToken(secret)); err != nil {
		t.Fatal(err)
	}
	comes(t, "the token is revoked", 3*time.Second, func() bool { return !valid() })
	if err := other.Announce(t.Context(), gateway.Change{Kind: gateway.ChangeJob, Detail: "job"}); err != nil {
		t.Fatal(err)
	}
	if err := f.runOnce(t.Context()); err != nil || cancelled != "job" {
		t.Errorf("%q was cancelled, %v", cancelled, err)
	}
	if o.HasKey(gateway.Ollama, gateway.IDOfKey(k.Secret)) {
		t.Error("a key was taken over without the turn")
	}
	o.writer.leave()
	comes(t, "the key is there", 5*time.Second, func() bool { return o.HasKey(gateway.Ollama, gateway.IDOfKey(k.Secret)) })
}

// What is changed here while tokens are read holds, whatever was read.
func TestTokensChangedWhileRead(t *testing.T) {
	b := newTokenBook()
	tokens := []gateway.Token{{Hash: "a"}, {Hash: "b", Name: "old"}, {Hash: "c"}}
	b.begin()
	b.note("a", nil)
	b.note("b", &gateway.Token{Hash: "b", Name: "new"})
	names := map[string]string{}
	for _, t := range b.with(tokens) {
		names[t.Hash] = t.Name
	}
	if len(names) != 2 || names["b"] != "new" {
		t.Errorf("%v", names)
	}
	b.begin()
	if n := len(b.with(tokens)); n != 3 {
		t.Errorf("%d tokens", n)
	}
}
