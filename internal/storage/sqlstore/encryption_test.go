package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// leaks counts the occurrences of a text in all files beside path. No store may
// be open.
func leaks(t *testing.T, path, text string) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		n += bytes.Count(b, []byte(text))
	}
	return n
}

func TestReencrypt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "pool.db")
	former(t, path)
	now := func() time.Time { return noon }
	s := mustOpen(t, Options{Path: path, Now: now})
	add(t, s, gateway.Ollama, someKeys(0, 600)...)
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, Keys: []gateway.KeyDelta{{Key: gateway.IDOfKey(secretOf(3)), Counts: gateway.KeyCounts{Total: 3}}}})
	want := map[gateway.ProviderName]map[gateway.Secret]gateway.Key{}
	for _, p := range gateway.Providers() {
		want[p] = all(t, s, p)
	}
	mustClose(t, s)
	if leaks(t, path, "former-key-deleted") == 0 {
		t.Fatal("the file has no remains of deleted keys to be rid of")
	}
	for _, step := range []struct {
		name     string
		from, to []byte
	}{
		{"on", nil, masterKey(1)},
		{"rotate", masterKey(1), masterKey(2)},
		{"off", masterKey(2), nil},
	} {
		var last [2]int
		calls := 0
		err := Reencrypt(t.Context(), path, step.from, step.to, func(done, total int) { calls++; last = [2]int{done, total} })
		if err != nil {
			t.Fatal(step.name, err)
		}
		if last != [2]int{610, 610} || calls < 2 {
			t.Errorf("%s: progress ends with %v after %d calls", step.name, last, calls)
		}
		if n := leaks(t, path, "former-key-deleted"); n != 0 {
			t.Errorf("%s: %d remains of deleted keys", step.name, n)
		}
		plain := leaks(t, path, "fake-key-") + leaks(t, path, "former-key-")
		if sealed := leaks(t, path, sealedPrefix); step.to != nil && (plain != 0 || sealed < 610) || step.to == nil && (plain < 610 || sealed != 0) {
			t.Errorf("%s: %d plain keys and %d sealed ones in the file", step.name, plain, sealed)
		}
		s := mustOpen(t, Options{Path: path, EncryptionKey: step.to, Now: now})
		for _, p := range gateway.Providers() {
			if got := all(t, s, p); !maps.Equal(got, want[p]) {
				t.Errorf("%s: %s has other keys than before: %d", step.name, p, len(got))
			}
		}
		mustClose(t, s)
		for _, wrong := range [][]byte{nil, masterKey(1), masterKey(2), masterKey(9)} {
			if !bytes.Equal(wrong, step.to) {
				wantRefused(t, path, wrong)
			}
		}
	}
}

// wantRefused opens a store with a key that does not fit.
func wantRefused(t *testing.T, path string, key []byte) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Options{Path: path, EncryptionKey: key})
	wantLine(t, err, path, "ENCRYPTION_KEY", "`ollama-api-pool encryption ")
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("a key that does not fit changed the file: %v", err)
	}
}

func TestEncryptedFromTheStart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pool.db")
	mustClose(t, mustOpen(t, Options{Path: path})) // plain, but without keys
	s := mustOpen(t, Options{Path: path, EncryptionKey: masterKey(1)})
	if !s.Encrypted() {
		t.Error("a store with a key says that it is plain")
	}
	add(t, s, gateway.Ollama, someKeys(0, 100)...)
	add(t, s, gateway.OpenRouter, someKeys(0, 100)...)
	if _, err := s.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{gateway.IDOfKey(secretOf(1))}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if n := leaks(t, path, "fake-key-"); n != 0 {
		t.Errorf("%d plain keys in the file", n)
	}
	wantRefused(t, path, nil)
	wantRefused(t, path, masterKey(2))
}

func TestFormerDatabaseRefusesKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool.db")
	former(t, path)
	wantRefused(t, path, masterKey(1))
}

func TestReencryptRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain, sealed := filepath.Join(dir, "plain.db"), filepath.Join(dir, "sealed.db")
	for path, key := range map[string][]byte{plain: nil, sealed: masterKey(1)} {
		s := mustOpen(t, Options{Path: path, EncryptionKey: key})
		add(t, s, gateway.Ollama, someKeys(0, 3)...)
		mustClose(t, s)
	}
	for _, c := range []struct {
		path     string
		from, to []byte
		words    string
	}{
		{plain, masterKey(1), masterKey(2), "stored plain"},
		{plain, masterKey(1), nil, "stored plain already"},
		{sealed, nil, masterKey(2), "encrypted already"},
		{sealed, nil, masterKey(1), "with the new key already"},
		{sealed, masterKey(3), masterKey(2), "old key is not the one"},
		{sealed, masterKey(3), nil, "old key is not the one"},
		{filepath.Join(dir, "missing.db"), nil, masterKey(1), "there is no store"},
	} {
		wantLine(t, Reencrypt(t.Context(), c.path, c.from, c.to, nil), c.path, "change the encryption", c.words)
	}
	wantKind(t, "no keys", Reencrypt(t.Context(), plain, nil, nil, nil), gateway.KindInvalid)
	wantKind(t, "one key", Reencrypt(t.Context(), plain, masterKey(1), masterKey(1), nil), gateway.KindInvalid)
	wantKind(t, "a short key", Reencrypt(t.Context(), plain, nil, []byte("short"), nil), gateway.KindInvalid)
	if _, err := os.Stat(filepath.Join(dir, "missing.db")); err == nil {
		t.Error("a missing file was made")
	}
	s := mustOpen(t, Options{Path: plain})
	wantLine(t, Reencrypt(t.Context(), plain, nil, masterKey(1), nil), plain, "another process")
	add(t, s, gateway.Ollama, someKeys(3, 4)...)
}

func TestReencryptCutOff(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pool.db")
	s := mustOpen(t, Options{Path: path})
	add(t, s, gateway.Ollama, someKeys(0, 600)...)
	mustClose(t, s)

	ctx, cancel := context.WithCancel(t.Context())
	err := Reencrypt(ctx, path, nil, masterKey(1), func(int, int) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cut-off change gives %v", err)
	}
	s = mustOpen(t, Options{Path: path})
	if n := len(all(t, s, gateway.Ollama)); n != 600 {
		t.Errorf("%d keys after a cut-off change, want 600", n)
	}

	// The process ends between the transaction and the scrubbing of the file.
	next, err := newSeal(masterKey(1))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.write(t.Context(), "test", func(ctx context.Context, tx *sql.Tx) error {
		return s.resealAll(ctx, tx, next, func(int, int) {})
	}); err != nil {
		t.Fatal(err)
	}
	// What had the store open with the former key notices and writes nothing.
	_, _, err = s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(700, 701), nil), nil)
	wantLine(t, err, path, "encryption was changed", "start again")
	wantLine(t, s.EachKey(t.Context(), gateway.Ollama, func(gateway.Key) error { return nil }), path, "encryption was changed")
	mustClose(t, s)

	s = mustOpen(t, Options{Path: path, EncryptionKey: masterKey(1)})
	if left, err := meta(t.Context(), s.reader, metaScrub); left != "" || err != nil {
		t.Errorf("the scrubbing is left %q, %v", left, err)
	}
	if n := len(all(t, s, gateway.Ollama)); n != 600 {
		t.Errorf("%d keys, want 600", n)
	}
	mustClose(t, s)
	if n := leaks(t, path, "fake-key-"); n != 0 {
		t.Errorf("%d plain keys are left", n)
	}
}

func TestUnreadableRow(t *testing.T) {
	t.Parallel()
	id := string(gateway.IDOfKey(secretOf(2)))
	for name, c := range map[string]struct{ set, named string }{
		"garbled":              {"api_key = substr(api_key, 1, 20) || 'AAAA' || substr(api_key, 25)", id},
		"no base64":            {"api_key = 'enc:v1:%%%'", id},
		"too short":            {"api_key = 'enc:v1:AAAA'", id},
		"of another provider":  {"api_key = (select api_key from openrouter_api_keys)", id},
		"without its own name": {"api_key = 'enc:v1:AAAA', key_id = null", "enc:v1:AAAA"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "pool.db"), EncryptionKey: masterKey(1)})
			add(t, s, gateway.Ollama, someKeys(0, 5)...)
			add(t, s, gateway.OpenRouter, someKeys(2, 3)...)
			if _, err := s.writer.ExecContext(t.Context(), "update ollama_api_keys set "+c.set+" where key_id = ?", id); err != nil {
				t.Fatal(err)
			}
			err := s.EachKey(t.Context(), gateway.Ollama, func(gateway.Key) error { return nil })
			wantLine(t, err, s.dialect.place(), "cannot be decrypted", c.named, "restore")
			_, _, err = s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{})
			wantLine(t, err, s.dialect.place(), c.named)
			if _, found, err := s.Key(t.Context(), gateway.Ollama, gateway.KeyID(id)); c.named == id || found {
				wantLine(t, err, s.dialect.place(), id)
			}
		})
	}
}

func TestSeal(t *testing.T) {
	a, err := newSeal(masterKey(1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := newSeal(masterKey(2))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, secret := range []gateway.Secret{"12345678", secretOf(1), gateway.Secret(strings.Repeat("x", gateway.MaxKeyLen))} {
		for _, p := range gateway.Providers() {
			stored := a.stored(p, secret)
			if stored != a.stored(p, secret) || seen[stored] || !strings.HasPrefix(stored, sealedPrefix) || strings.Contains(stored, secret.Reveal()) {
				t.Errorf("%s: stored form %q", p, stored)
			}
			seen[stored] = true
			if got, err := a.plain(p, stored); got != secret || err != nil {
				t.Errorf("%s: got back %q, %v", p, got.Reveal(), err)
			}
			if _, err := b.plain(p, stored); err == nil {
				t.Error("another key opens it")
			}
		}
	}
	if a.markOf() == b.markOf() || slices.Contains([]string{a.markOf(), b.markOf()}, "") {
		t.Error("the marks do not tell keys apart")
	}
}

func FuzzSealedRow(f *testing.F) {
	s, err := newSeal(masterKey(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s.stored(gateway.Ollama, secretOf(1)))
	f.Add(sealedPrefix)
	f.Add(sealedPrefix + "AAAA")
	f.Add("plain")
	f.Fuzz(func(t *testing.T, stored string) {
		key, err := s.plain(gateway.Ollama, stored)
		if err == nil && strings.HasPrefix(stored, sealedPrefix) && s.stored(gateway.Ollama, key) != stored {
			t.Errorf("%q opens but is not the stored form of what it holds", stored)
		}
	})
}
