package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

// A check or an import goes on at a server when the command is broken off, and
// the operator is told so.
func TestInterruptedJobs(t *testing.T) {
	for name, c := range map[string]struct {
		in, words string
		args      []string
	}{
		"check":  {"", "interrupted: the check goes on", []string{"keys", "check", "--all"}},
		"import": {keyA, "interrupted: the import goes on", []string{"keys", "import", "-", "--validate"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			p := serverWith(t, func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
					t.Errorf("accepts %q", r.Header.Get("Accept"))
				}
				_, _ = io.Copy(io.Discard, r.Body)
				for r.Context().Err() == nil { // shown now and then
					_, _ = io.WriteString(w, "event: progress\ndata: {\"done\":1,\"total\":9}\n\n")
					_ = http.NewResponseController(w).Flush()
					select {
					case <-r.Context().Done():
					case <-time.After(progressEvery / 10):
					}
				}
			})
			watched := &seenStep{cancel: cancel}
			pr := &program{Streams: Streams{In: strings.NewReader(c.in), Out: io.Discard, Err: watched}, name: "x", environ: p.env}
			pr.watched = func(stream any) bool { return stream == any(watched) }
			err := pr.run(ctx, append(append([]string{"x"}, c.args...), p.args...))
			if err == nil || !strings.Contains(err.Error(), c.words) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// seenStep cancels when progress is shown on the terminal.
type seenStep struct{ cancel context.CancelFunc }

func (s *seenStep) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "1 of 9 keys") {
		s.cancel()
	}
	return len(b), nil
}

// silent is the body of an answer that stops in the middle.
type silent struct {
	text io.Reader
	ctx  context.Context
}

func (s *silent) Read(b []byte) (int, error) {
	if n, err := s.text.Read(b); n > 0 || err == nil {
		return n, nil
	}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (*silent) Close() error { return nil }

// A stream may last as long as it likes, but not be silent.
func TestSilenceInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRemote("http://pool.example", testAdminToken, nil)
		r.client.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: &silent{strings.NewReader("event: progress\ndata: {}\n\n"), req.Context()}}, nil
		})
		began := time.Now()
		_, err := r.CheckKeys(t.Context(), &keySet{provider: gateway.Ollama, refs: []string{id(keyA)}}, func(step) {})
		if !errors.Is(err, errSilent) || time.Since(began) != stallTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		began = time.Now()
		err = r.ExportKeys(t.Context(), gateway.Ollama, gateway.KeyFilter{}, "txt", false, io.Discard)
		if !errors.Is(err, errSilent) || time.Since(began) != stallTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

// What breaks off says so, and an export that breaks off leaves no file.
func TestStreamsThatBreakOff(t *testing.T) {
	cut := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, text)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	p := serverWith(t, cut("event: progress\ndata: {\"done\":1}\n\nevent: result\ndata: {\"healthy\":1"))
	p.fails(t, exitFailed, "unexpected EOF", "", "keys", "check", "--all")
	p = serverWith(t, cut("alice----fake…\n"))
	dir := t.TempDir()
	p.fails(t, exitFailed, "unexpected EOF", "", "keys", "export", "-o", dir+"/keys.txt")
	wantNoFile(t, dir)
	p = serverWith(t, answer(200, "event: error\ndata: {\"error\":{\"message\":\"no way\"}}\n\n"))
	p.fails(t, exitFailed, "no way", "", "keys", "check", "--all")
	p = serverWith(t, answer(200, "event: result\ndata: nonsense\n\n"))
	p.fails(t, exitFailed, "does not answer as an instance does", "", "keys", "check", "--all")
	p = serverWith(t, answer(409, `{"error":{"message":"job 1 is running","code":"conflict"}}`))
	p.fails(t, exitFailed, "job 1 is running", "", "keys", "check", "--all")
	p.fails(t, exitFailed, "job 1 is running", keyA, "keys", "import", "-", "--validate")
	p = serverWith(t, answer(404, `{"error":{"message":"no such address","code":"not_found"}}`))
	p.fails(t, exitFailed, "is it an older version?", "", "jobs", "list")
}
