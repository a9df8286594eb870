package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ollama-api-pool/internal/app"
)

const otherEncryptionKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8=" // the same but for its end, as base64

// leak reports whether a text stands in a file of a data directory.
func leak(t *testing.T, p place, text string) bool {
	t.Helper()
	dir := strings.TrimPrefix(p.env[0], "DATA_DIR=")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

func (p place) with(env ...string) place {
	p.env = append(append([]string{}, p.env...), env...)
	return p
}

func TestEncryption(t *testing.T) {
	plain := stopped(t)
	first, second := plain.with("ENCRYPTION_KEY="+testEncryptionKey), plain.with("ENCRYPTION_KEY="+otherEncryptionKey)
	var said strings.Builder
	status := func(p place, words string, exists, encrypted, fits bool) {
		t.Helper()
		r := p.ok(t, "", "encryption", "status")
		wantAll(t, r.out, words)
		got := fromJSON[encryptionJSON](t, p.ok(t, "", "encryption", "status", "--json").out)
		if got.Exists != exists || got.Encrypted != encrypted || got.KeyFits != fits || filepath.Base(got.Store) != "pool.db" {
			t.Errorf("%+v", got)
		}
		said.WriteString(r.out + r.err)
	}
	do := func(p place, words, what string) {
		t.Helper()
		r := p.ok(t, "", "encryption", what)
		wantAll(t, r.out, words)
		said.WriteString(r.out + r.err)
	}
	fails := func(p place, words, what string) {
		t.Helper()
		r := p.fails(t, exitFailed, words, "", "encryption", what)
		wantText(t, "standard output", r.out, "")
		said.WriteString(r.err)
	}

	fails(plain, "ENCRYPTION_KEY is not set: one that is made will not be encrypted.", "status")
	fails(first, "ENCRYPTION_KEY is set: one that is made will be encrypted.", "status")
	absent := first.fails(t, exitFailed, "there is no store yet in", "", "encryption", "status", "--json")
	if got := fromJSON[encryptionJSON](t, absent.out); got.Exists || !got.KeySet || !got.KeyFits {
		t.Errorf("%+v", got)
	}
	fails(first, "there is no store yet in", "on")
	if _, err := os.Stat(strings.TrimPrefix(plain.env[0], "DATA_DIR=")); err == nil {
		t.Error("a data directory was made")
	}

	plain.ok(t, keyA+"\n"+keyB, "keys", "import", "-")
	status(plain, "openssl rand -hex 32", true, false, true)
	status(first, "are plain although ENCRYPTION_KEY is set", true, false, false)
	fails(first.with("NEW_ENCRYPTION_KEY="+otherEncryptionKey), "encryption on", "rotate")
	fails(plain, "ENCRYPTION_KEY is not set: make one with 'openssl rand -hex 32'", "on")
	fails(plain, "ENCRYPTION_KEY is not set", "off")
	fails(plain, "ENCRYPTION_KEY is not set", "rotate")
	fails(first, "stored plain already", "off")

	do(first, "The keys are encrypted.", "on")
	if leak(t, plain, "aaaaaaaa") || leak(t, plain, "bbbbbbbb") {
		t.Error("the keys are still in the data directory")
	}
	status(first, "encrypted, and ENCRYPTION_KEY fits", true, true, true)
	status(second, "not with this ENCRYPTION_KEY", true, true, false)
	status(plain, "encrypted, and ENCRYPTION_KEY is not set", true, true, false)
	wantAll(t, first.ok(t, "", "keys", "list").out, "fake-k…aaaa", "fake-k…bbbb")
	plain.fails(t, exitFailed, "ENCRYPTION_KEY is not set", "", "keys", "list")
	fails(first, "already", "on")

	fails(first, "NEW_ENCRYPTION_KEY, the key that is to replace ENCRYPTION_KEY, is not set", "rotate")
	fails(first.with("NEW_ENCRYPTION_KEY=canary"), "NEW_ENCRYPTION_KEY must be 32 bytes", "rotate")
	fails(first.with("NEW_ENCRYPTION_KEY="+strings.ToUpper(testEncryptionKey)), "the same as ENCRYPTION_KEY", "rotate")
	fails(second.with("NEW_ENCRYPTION_KEY="+testEncryptionKey), "already", "rotate")
	do(first.with("NEW_ENCRYPTION_KEY="+otherEncryptionKey), "encrypted with the new key", "rotate")
	fails(first, "not the one it was encrypted with", "off")
	wantAll(t, second.ok(t, "", "keys", "list").out, "fake-k…aaaa", "fake-k…bbbb")

	do(second, "The keys are stored plain.", "off")
	wantAll(t, plain.ok(t, "", "keys", "list").out, "fake-k…aaaa", "fake-k…bbbb")
	wantNone(t, said.String(), "canary", testEncryptionKey, otherEncryptionKey, keyA, keyB)
}

func TestEncryptionWhileRunning(t *testing.T) {
	p := stopped(t)
	p.ok(t, keyA, "keys", "import", "-")
	start(t, p)
	first := p.with("ENCRYPTION_KEY="+testEncryptionKey, "NEW_ENCRYPTION_KEY="+otherEncryptionKey)
	for _, what := range []string{"on", "off", "rotate"} {
		first.fails(t, exitFailed, app.ErrHeld.Error(), "", "encryption", what)
	}
	wantAll(t, p.ok(t, "", "encryption", "status").out, "are plain")
	wantAll(t, p.ok(t, "", "keys", "list").out, "fake-k…aaaa")
	p.fails(t, exitUsage, "unknown command", "", "encryption", "onn")
}
