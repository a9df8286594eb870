package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

func (p place) dir() string { return strings.TrimPrefix(p.env[0], "DATA_DIR=") }

// An instance that has served loses its data directory, and with a backup that
// was made while it served everything is there again.
func TestLostDataDirectory(t *testing.T) {
	p := stopped(t).with(append(upstreamEnv(simulated(t)), "ENCRYPTION_KEY="+testEncryptionKey)...)
	file := filepath.Join(t.TempDir(), "pool.backup")
	p.ok(t, samples(gateway.Ollama), "keys", "import", "-")
	p.ok(t, samples(gateway.OpenRouter), "keys", "import", "-", "--provider", "openrouter")
	url, stop := startAndStop(t, p)
	token := p.makeToken(t)
	p.makeToken(t, "--provider", "openrouter", "--expires", "30d")
	manual := gateway.IDOfKey(sampleOf(t, simulator.FateOK))
	p.ok(t, "", "keys", "disable", string(manual))
	for range 25 {
		if status := chat(t, url, token, "gpt-oss:20b"); status != 200 {
			t.Fatalf("status %d", status)
		}
	}
	before := p.ok(t, "", "keys", "list", "--json", "--limit", "0").out
	tokens := p.ok(t, "", "tokens", "list", "--json").out
	admin := mustRead(t, filepath.Join(p.dir(), "admin-token"))
	for _, state := range []string{"active", "resting", "failed", "disabled"} {
		wantAll(t, before, `"status": "`+state+`"`)
	}

	// The store is written meanwhile: whole or not at all.
	var busy sync.WaitGroup
	for range 4 {
		busy.Go(func() {
			for range 10 {
				chat(t, url, token, "gpt-oss:20b")
			}
		})
	}
	said := p.ok(t, "", "backup", file)
	busy.Wait()
	wantAll(t, said.out, "Backed up to "+file+": 20 ollama keys, 8 openrouter keys, 2 client tokens, keys ")
	stop()
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.RemoveAll(p.dir()); err != nil {
		t.Fatal(err)
	}

	look := p.ok(t, "", "restore", file, "--dry-run")
	wantAll(t, look.out, "The backup is sound.", "20 ollama keys, 8 openrouter keys, 2 client tokens")
	if _, err := os.Stat(p.dir()); err == nil {
		t.Error("a dry run made the data directory")
	}
	done := p.ok(t, "", "restore", file)
	wantAll(t, done.out, "Restored what was backed up 20", "20 ollama keys")
	wantAll(t, done.err, "The admin token is that of the backup, in "+filepath.Join(p.dir(), "admin-token"))
	wantNone(t, said.out+said.err+look.out+look.err+done.out+done.err, token, string(bytes.TrimSpace(admin)), "demo-ollama")

	again, _ := startAndStop(t, p)
	if got := mustRead(t, filepath.Join(p.dir(), "admin-token")); !bytes.Equal(got, admin) {
		t.Error("the admin token is another")
	}
	wantSameStates(t, before, p.ok(t, "", "keys", "list", "--json", "--limit", "0").out)
	was, is := fromJSON[listedTokensJSON](t, tokens), fromJSON[listedTokensJSON](t, p.ok(t, "", "tokens", "list", "--json").out)
	for i := range is.Tokens {
		if is.Tokens[i].RequestCount < was.Tokens[i].RequestCount {
			t.Errorf("token %s: %d requests, there were %d", is.Tokens[i].ID, is.Tokens[i].RequestCount, was.Tokens[i].RequestCount)
		}
		is.Tokens[i].RequestCount, is.Tokens[i].LastUsed = was.Tokens[i].RequestCount, was.Tokens[i].LastUsed
	}
	if !reflect.DeepEqual(is, was) {
		t.Errorf("tokens %+v, there were %+v", is, was)
	}
	if status := chat(t, again, token, "gpt-oss:20b"); status != 200 {
		t.Errorf("status %d", status)
	}
}

// wantSameStates compares lists of keys. What was counted may have grown.
func wantSameStates(t *testing.T, before, after string) {
	t.Helper()
	was, is := fromJSON[listedKeysJSON](t, before), fromJSON[listedKeysJSON](t, after)
	if len(is.Keys) != len(was.Keys) {
		t.Fatalf("%d keys, there were %d", len(is.Keys), len(was.Keys))
	}
	at := map[gateway.KeyID]keyRow{}
	for _, k := range was.Keys {
		at[k.ID] = k
	}
	for _, k := range is.Keys {
		former := at[k.ID]
		if k.TotalRequests < former.TotalRequests {
			t.Errorf("key %s: %d requests, there were %d", k.ID, k.TotalRequests, former.TotalRequests)
		}
		if former.Status == gateway.KeyActive {
			continue // a flaky one may have failed since
		}
		k.TotalRequests, k.SuccessCount, k.FailureCount, k.LastUsed = former.TotalRequests, former.SuccessCount, former.FailureCount, former.LastUsed
		if !reflect.DeepEqual(k, former) {
			t.Errorf("key %+v, it was %+v", k, former)
		}
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBackupWhenStopped(t *testing.T) {
	p := stopped(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "pool.backup")
	p.fails(t, exitFailed, "there is no store yet", "", "backup", file)
	wantNoFile(t, dir)

	p.ok(t, keyA+"\n"+keyB, "keys", "import", "-")
	got := fromJSON[backupJSON](t, p.ok(t, "", "backup", file, "--json").out)
	if info, err := os.Stat(file); err != nil || got.Bytes != info.Size() || got.File != file || got.Keys[gateway.Ollama] != 2 || got.Encrypted || got.Format != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	first := mustRead(t, file)
	p.fails(t, exitFailed, file+" is there already: --force replaces it", "", "backup", file)
	if !bytes.Equal(mustRead(t, file), first) {
		t.Error("the backup was changed")
	}
	p.ok(t, keyC, "keys", "import", "-")
	wantAll(t, p.ok(t, "", "backup", file, "--force").out, "3 ollama keys, 0 client tokens, keys not encrypted, no admin token (there is none in DATA_DIR)")
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("there is %v", files)
	}
	p.fails(t, exitFailed, "is not a file", "", "backup", dir, "--force")
	p.fails(t, exitFailed, "is not a file", "", "backup", os.DevNull, "--force")
	p.fails(t, exitFailed, "no such file or directory", "", "backup", filepath.Join(dir, "none", "x"))

	piped := p.ok(t, "", "backup", "-")
	wantAll(t, piped.err, "Backed up: 3 ollama keys")
	other := stopped(t)
	wantAll(t, other.ok(t, piped.out, "restore", "-").out, "3 ollama keys")
	wantAll(t, other.ok(t, "", "keys", "list").out, "fake-k…aaaa", "fake-k…bbbb", "fake-k…cccc")
}

func wantNoFile(t *testing.T, dir string) {
	t.Helper()
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("there is %v, %v", files, err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	from, to := stopped(t), stopped(t)
	file := filepath.Join(t.TempDir(), "pool.backup")
	from.ok(t, keyA, "keys", "import", "-")
	from.ok(t, "", "backup", file)

	to.ok(t, keyB, "keys", "import", "-")
	to.fails(t, exitFailed, "there is a store already in "+to.dir()+": --force moves it aside", "", "restore", file)
	r := to.fails(t, exitFailed, "it could not be restored now: there is a store already", "", "restore", file, "--dry-run")
	wantAll(t, r.out, "The backup is sound.", "1 ollama key,")
	look := fromJSON[restoreJSON](t, to.ok(t, "", "restore", file, "--dry-run", "--force", "--json").out)
	if !look.DryRun || look.Restored || len(look.Hinders) != 0 || look.Keys[gateway.Ollama] != 1 {
		t.Errorf("%+v", look)
	}
	wantAll(t, to.ok(t, "", "keys", "list").out, "fake-k…bbbb")

	_, stop := startAndStop(t, to)
	to.fails(t, exitFailed, "another instance holds the data directory", "", "restore", file, "--force")
	to.fails(t, exitFailed, "an instance or another command holds DATA_DIR", "", "restore", file, "--force", "--dry-run")
	wantAll(t, to.ok(t, "", "keys", "list").out, "fake-k…bbbb")
	stop()

	sealed := to.with("ENCRYPTION_KEY=" + testEncryptionKey)
	sealed.fails(t, exitFailed, "stored plain and ENCRYPTION_KEY is set", "", "restore", file, "--force")
	sealed.fails(t, exitFailed, "stored plain and ENCRYPTION_KEY is set", "", "restore", file, "--force", "--dry-run")
	to.fails(t, exitFailed, "not a backup of this program", "hello", "restore", "-", "--force")
	to.fails(t, exitFailed, "ends too early", string(mustRead(t, file)[:200]), "restore", "-", "--force")
	to.fails(t, exitFailed, "no such file", "", "restore", "/nonexistent/pool.backup", "--force")
	wantAll(t, to.ok(t, "", "keys", "list").out, "fake-k…bbbb")

	done := fromJSON[restoreJSON](t, to.ok(t, "", "restore", file, "--force", "--json").out)
	if !done.Restored || done.DryRun || done.Aside == "" {
		t.Errorf("%+v", done)
	}
	wantAll(t, to.ok(t, "", "keys", "list").out, "fake-k…aaaa")
	aside := place{env: []string{"DATA_DIR=" + done.Aside}}
	wantAll(t, aside.ok(t, "", "keys", "list").out, "fake-k…bbbb")
	wantAll(t, to.ok(t, "", "restore", file, "--force").err, "What was there before is in "+to.dir())
}

func TestBackupUsage(t *testing.T) {
	p := stopped(t)
	for _, c := range []struct {
		args  string
		words string
	}{
		{"backup", "FILE (or - for the standard output) is missing"},
		{"backup a b", "2 arguments where one is wanted"},
		{"backup - --json", "--json is for a FILE"},
		{"backup x --server http://127.0.0.1:1", "unknown flag"},
		{"restore", "FILE (or - for the standard input) is missing"},
		{"restore a b", "2 arguments where one is wanted"},
	} {
		p.fails(t, exitUsage, c.words, "", strings.Fields(c.args)...)
	}
	if _, err := os.Stat(p.dir()); err == nil {
		t.Error("a data directory was made")
	}
}

// Of two that write one file one is first, and neither leaves half of one.
func TestOutFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	a, errA := createOut(path, false)
	b, errB := createOut(path, false)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	_, _ = a.WriteString("a")
	_, _ = b.WriteString("b")
	if err := b.keep(); err != nil {
		t.Fatal(err)
	}
	if err := a.keep(); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("error %v", err)
	}
	a.drop()
	b.drop()
	c, err := createOut(path, true)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.WriteString("c")
	c.drop()
	if files, _ := os.ReadDir(dir); len(files) != 1 || string(mustRead(t, path)) != "b" {
		t.Errorf("there is %v", files)
	}
}
