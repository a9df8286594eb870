package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
)

// result is what one command line did.
type result struct {
	out, err string // the streams; what main would print of an error is in err too
	code     int
}

// call is one command line.
type call struct {
	env  []string
	in   string
	args []string
}

func (c call) run(t *testing.T) result {
	t.Helper()
	return c.runIn(t.Context())
}

func (c call) runIn(ctx context.Context) result {
	var out, errs bytes.Buffer
	err := Run(ctx, append([]string{"ollama-api-pool"}, c.args...), c.env, Streams{In: strings.NewReader(c.in), Out: &out, Err: &errs})
	r := result{out: out.String(), err: errs.String()}
	if err != nil {
		r.err += err.Error() + "\n"
		r.code = ExitCode(err)
	}
	return r
}

// place is where commands work: the environment and the further arguments with
// which they reach an instance.
type place struct {
	env  []string
	args []string
	url  string // where the instance serves; "": it does not
}

func (p place) run(t *testing.T, in string, args ...string) result {
	t.Helper()
	return call{p.env, in, append(args, p.args...)}.run(t)
}

// ok runs a command that must succeed.
func (p place) ok(t *testing.T, in string, args ...string) result {
	t.Helper()
	r := p.run(t, in, args...)
	if r.code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, r.code, r.err)
	}
	return r
}

// part runs a command of which not everything can be done.
func (p place) part(t *testing.T, in string, args ...string) result {
	t.Helper()
	r := p.run(t, in, args...)
	if r.code != exitPart {
		t.Fatalf("%v: exit code %d: %s", args, r.code, r.err)
	}
	return r
}

// fails runs a command that must fail with a code and words on the standard error.
func (p place) fails(t *testing.T, code int, words, in string, args ...string) result {
	t.Helper()
	r := p.run(t, in, args...)
	if r.code != code || !strings.Contains(r.err, words) {
		t.Errorf("%v: exit code %d, %q; want %d and %q", args, r.code, r.err, code, words)
	}
	return r
}

const testAdminToken = "fake-admin-token-0123456789"

// emptied is a data directory of which no instance runs, with a store that holds
// nothing.
func emptied(t *testing.T) place {
	t.Helper()
	p := stopped(t)
	id := fromJSON[newToken](t, p.ok(t, "", "tokens", "create", "first", "--json").out).ID
	p.ok(t, "", "tokens", "revoke", id)
	return p
}

// stopped is a data directory that is not there yet.
func stopped(t *testing.T) place {
	t.Helper()
	return place{env: []string{"DATA_DIR=" + filepath.Join(t.TempDir(), "data")}}
}

// start starts the instance of a place and gives its address.
func start(t *testing.T, p place, more ...string) string {
	t.Helper()
	url, _ := startAndStop(t, p, more...)
	return url
}

// startAndStop starts the instance of a place; stop ends it before the test does.
func startAndStop(t *testing.T, p place, more ...string) (url string, stop func()) {
	t.Helper()
	env := append([]string{"LISTEN_ADDR=127.0.0.1:0", "SHUTDOWN_GRACE=1s"}, append(more, p.env...)...)
	cfg, _, err := config.Load(env, "")
	if err != nil {
		t.Fatal(err)
	}
	a, err := app.Start(t.Context(), cfg, app.Deps{Log: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		if err := a.Stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	t.Cleanup(stop)
	return a.URL(), stop
}

// everyPlace calls f with an instance that does not run, with one that runs in
// the same data directory, and with one that runs elsewhere.
func everyPlace(t *testing.T, f func(t *testing.T, p place)) {
	t.Run("stopped", func(t *testing.T) { f(t, emptied(t)) })
	t.Run("running", func(t *testing.T) {
		p := stopped(t)
		p.url = start(t, p)
		f(t, p)
	})
	t.Run("elsewhere", func(t *testing.T) {
		p := stopped(t)
		p.url = start(t, p, "ADMIN_TOKEN="+testAdminToken)
		f(t, place{env: []string{"DATA_DIR=/nonexistent/data", "ADMIN_TOKEN=" + testAdminToken}, args: []string{"--server", p.url + "/"}, url: p.url})
	})
}

func wantText(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

// wantNone looks for what must not be there.
func wantNone(t *testing.T, text string, forbidden ...string) {
	t.Helper()
	for _, f := range forbidden {
		if strings.Contains(text, f) {
			t.Errorf("%q is in:\n%s", f, text)
		}
	}
}

func wantAll(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

func fromJSON[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return v
}

// writeTemp writes a file and gives its path.
func writeTemp(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var wholeToken = regexp.MustCompile(`sk-[A-Za-z0-9]{48}`)
