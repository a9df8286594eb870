package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

// serverWith is a place whose instance answers as a test wants.
func serverWith(t *testing.T, h http.HandlerFunc) place {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return place{env: []string{"ADMIN_TOKEN=" + testAdminToken}, args: []string{"--server", s.URL}, url: s.URL}
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestRefusals(t *testing.T) {
	form := func(message string) string {
		return `{"error":{"message":"` + message + `","type":"x","code":"x","param":null}}`
	}
	for _, c := range []struct {
		status int
		body   string
		want   string // without the server's address
	}{
		{400, form("sort must be one of username"), "sort must be one of username\n"},
		{401, form("wrong admin token"), "wrong admin token\nIt was ADDRESS that was asked. Its admin token is ADMIN_TOKEN in its settings, else in its DATA_DIR/admin-token.\n"},
		{429, form("too many wrong admin tokens"), "too many wrong admin tokens\n"},
		{500, form("internal error, request id abc"), "internal error, request id abc\n"},
		{503, form(`sta\u001b[2Jrting`), "sta·[2Jrting\n"},
		{404, "<html>not here", "ADDRESS does not answer as an instance does: status 404\n"},
		{502, "", "ADDRESS does not answer as an instance does: status 502\n"},
		{403, `{"error":"forbidden"}`, "ADDRESS does not answer as an instance does: status 403\n"},
		{200, "<html>welcome", "ADDRESS does not answer as an instance does: invalid character '<' looking for beginning of value\n"},
		{200, `{"tokens":[{"id":`, "ADDRESS does not answer as an instance does: unexpected EOF\n"},
		{204, "", "ADDRESS does not answer as an instance does: EOF\n"},
	} {
		p := serverWith(t, answer(c.status, c.body))
		r := p.fails(t, exitFailed, "", "", "tokens", "list")
		wantText(t, fmt.Sprint(c.status), r.err, strings.ReplaceAll(c.want, "ADDRESS", p.url))
		wantText(t, "standard output", r.out, "")
	}
}

// A redirect must not take the admin token elsewhere.
func TestRedirect(t *testing.T) {
	var asked atomic.Int32
	elsewhere := serverWith(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	p := serverWith(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.url, http.StatusTemporaryRedirect)
	})
	p.fails(t, exitFailed, "status 307", "", "tokens", "list")
	p.fails(t, exitFailed, "status 307", keyA, "keys", "import", "-")
	if asked.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestUnreachable(t *testing.T) {
	p := serverWith(t, nil)
	gone := httptest.NewServer(nil)
	gone.Close()
	p.args[1] = gone.URL
	r := p.fails(t, exitFailed, "ask "+gone.URL+": ", "", "keys", "list", "--search", keyA)
	wantNone(t, r.err, keyA, testAdminToken)
	p.fails(t, exitFailed, "ask "+gone.URL+": ", keyA, "keys", "import", "-")
}

// Passwords and sessions stay here; only user names and keys are sent.
func TestWhatAnImportSends(t *testing.T) {
	var body bytes.Buffer
	p := serverWith(t, func(w http.ResponseWriter, r *http.Request) {
		if got := r.Method + " " + r.URL.String(); got != "POST /admin/api-keys/import?provider=openrouter" {
			t.Errorf("asked for %s", got)
		}
		if r.Header.Get("Authorization") != "Bearer "+testAdminToken || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("header %v", r.Header)
		}
		_, _ = body.ReadFrom(r.Body)
		_, _ = io.WriteString(w, `{"total":9,"added":1,"existing":1,"invalid":[]}`)
	})
	text := "a@x.example----canary----canary----" + keyA + "\n" + keyB + "\nshort\n"
	wantText(t, "import", p.part(t, text, "keys", "import", "-", "--provider", "openrouter").out, "1 added, 1 already there, 1 bad line\n")
	wantText(t, "body", body.String(), `{"keys":[{"api_key":"`+keyA+`","username":"a@x.example"},{"api_key":"`+keyB+`"}]}`+"\n")

	body.Reset()
	p.fails(t, exitFailed, "no key", "# nothing", "keys", "import", "-")
	wantText(t, "body of nothing", body.String(), "")

	odd := serverWith(t, answer(200, `{"total":1,"added":1,"existing":0,"invalid":[{"line":2,"reason":"canary"}]}`))
	odd.fails(t, exitFailed, "did not take 1 key", text, "keys", "import", "-")
}

// An import that is refused ends at once, however much there is still to read.
func TestImportRefusedEarly(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"before the body": answer(http.StatusRequestEntityTooLarge, `{"error":{"message":"the body is larger than 9 bytes"}}`),
		"within the body": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 10)
			answer(http.StatusRequestEntityTooLarge, `{"error":{"message":"the body is larger than 9 bytes"}}`)(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := serverWith(t, h)
			endless := &endlessKeys{}
			var out, errs bytes.Buffer
			err := Run(t.Context(), append([]string{"x", "keys", "import", "-"}, p.args...), p.env, Streams{In: endless, Out: &out, Err: &errs})
			if err == nil || !strings.Contains(err.Error(), "larger than 9 bytes") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// endlessKeys is a text that never ends.
type endlessKeys struct{ n int }

func (e *endlessKeys) Read(b []byte) (int, error) {
	e.n++
	return copy(b, fmt.Sprintf("fake-key-number-%012d\n", e.n)), nil
}

func TestInterruptedImport(t *testing.T) {
	everyPlace(t, func(t *testing.T, p place) {
		ctx, cancel := context.WithCancel(t.Context())
		in, feed := io.Pipe()
		ended := make(chan error)
		go func() {
			ended <- Run(ctx, append([]string{"x", "keys", "import", "-"}, p.args...), p.env, Streams{In: in, Out: io.Discard, Err: io.Discard})
		}()
		_, _ = io.WriteString(feed, keyA+"\n"+keyB+"\n") // taken when the import has begun
		cancel()
		if err := <-ended; err == nil || err.Error() != "interrupted: nothing was added" {
			t.Errorf("error %v", err)
		}
		_ = feed.Close()
		wantAll(t, p.ok(t, "", "keys", "list").out, "is empty")
	})
}

// roundTrip is a transport made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A silent instance is given up after a while.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote("http://pool.example", testAdminToken, nil)
		r.client.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		})
		began := time.Now()
		_, err := r.Tokens(t.Context())
		if err == nil || err.Error() != "ask http://pool.example: no answer in time" || time.Since(began) != callTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		began = time.Now()
		if err := r.ready(t.Context()); err == nil || time.Since(began) != readyTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		// An import may take longer, but not without reading on.
		began = time.Now()
		_, _, err = r.AddKeys(t.Context(), &newKeys{provider: gateway.Ollama, keys: func(yield func(gateway.Key, error) bool) {
			for yield(gateway.Key{Secret: keyA}, nil) { //nolint:revive // until nobody wants more
			}
		}})
		if err == nil || !strings.Contains(err.Error(), errStalled.Error()) || time.Since(began) != stallTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		g := &progress{w: &b, now: time.Now, next: time.Now().Add(progressEvery)}
		tick := func(text string) {
			<-time.After(progressEvery / 2)
			g.show(func() string { return text })
		}
		for _, text := range []string{"a", "b", "c", "d"} {
			tick(text)
		}
		g.end()
		tick("e")
		tick("f")
		g.end()
		wantText(t, "terminal", b.String(), "\r\x1b[Kb\r\x1b[Kd\r\x1b[K")
	})
	var none progress
	none.show(func() string { return "x" })
	none.end()
	if isTerminal(&bytes.Buffer{}) || isTerminal(nil) {
		t.Error("a buffer is no terminal")
	}
}

func TestWithin(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", time.Millisecond: "1s", 59 * time.Second: "59s", time.Minute: "1m", time.Hour - time.Second: "59m",
		time.Hour: "1h", 90 * time.Minute: "1h30m", 24*time.Hour - time.Second: "1d", 25 * time.Hour: "1d1h", 720*time.Hour - time.Second: "30d",
	} {
		wantText(t, d.String(), within(d), want)
	}
}

func TestUploadOfBrokenKeys(t *testing.T) {
	broken := errors.New("broken")
	r := newRemote("http://pool.example", testAdminToken, nil)
	r.client.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		_, err := io.Copy(io.Discard, req.Body)
		return nil, err
	})
	for n := range 3 {
		_, _, err := r.AddKeys(t.Context(), &newKeys{provider: gateway.Ollama, keys: func(yield func(gateway.Key, error) bool) {
			for range n {
				if !yield(gateway.Key{Secret: keyA}, nil) {
					return
				}
			}
			yield(gateway.Key{}, broken)
		}})
		if err != broken { //nolint:errorlint // it is not wrapped in what the transport says
			t.Errorf("after %d keys: %v", n, err)
		}
	}
}
