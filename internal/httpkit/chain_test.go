package httpkit

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// serve starts a real server for h and returns its address.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL
}

// ask sends a GET with the given headers (name, value, …). The body comes
// back read; err is what broke while it was read.
func ask(t *testing.T, url string, header ...string) (res *http.Response, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err = http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(res.Body)
	if cerr := res.Body.Close(); cerr != nil {
		t.Fatal(cerr)
	}
	return res, string(b), err
}

func TestChainOrder(t *testing.T) {
	var order []string
	step := func(name string) Middleware {
		return func(next Handler) Handler {
			return func(w http.ResponseWriter, r *http.Request) error {
				order = append(order, name)
				return next(w, r)
			}
		}
	}
	h := Chain(func(http.ResponseWriter, *http.Request) error {
		order = append(order, "handler")
		return nil
	}, step("first"), step("second"))
	if err := h(nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(order, " "); got != "first second handler" {
		t.Errorf("order: %s", got)
	}
}

func TestEntryAnswersAnError(t *testing.T) {
	h := Chain(func(http.ResponseWriter, *http.Request) error {
		return gateway.Errorf(gateway.KindNotFound, "no such thing")
	}, Identify, NoStore)
	res, body, err := ask(t, serve(t, Entry(h, WriteAdminError)), "X-Request-Id", "req-1")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"error":{"message":"no such thing","type":"invalid_request_error","code":"not_found","param":null}}` + "\n"
	if res.StatusCode != 404 || body != want {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
	if got := res.Header.Get("X-Request-Id"); got != "req-1" {
		t.Errorf("X-Request-Id %q", got)
	}
}

func TestEntryHidesUnknownErrors(t *testing.T) {
	h := Chain(func(http.ResponseWriter, *http.Request) error {
		return errors.New("password=hunter2")
	}, Identify)
	res, body, err := ask(t, serve(t, Entry(h, WriteAdminError)), "X-Request-Id", "req-2")
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 500 || strings.Contains(body, "hunter2") || !strings.Contains(body, "req-2") {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}

func TestEntryAbortsHalfAnAnswer(t *testing.T) {
	h := func(w http.ResponseWriter, _ *http.Request) error {
		if _, err := io.WriteString(w, "half"); err != nil {
			return err
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		return errors.New("the rest is missing")
	}
	_, body, err := ask(t, serve(t, Entry(h, WriteAdminError)))
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut answer ended with %v after %q", err, body)
	}
}

func TestResponseKeepsTheWritersPowers(t *testing.T) {
	proceed := make(chan struct{})
	h := func(w http.ResponseWriter, _ *http.Request) error {
		rc := http.NewResponseController(w)
		if err := rc.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			return err
		}
		w.WriteHeader(http.StatusEarlyHints)
		if res := responseOf(w); res.Status() != 0 {
			return errors.New("an informational head counted as the answer")
		}
		w.WriteHeader(http.StatusAccepted)
		w.(http.Flusher).Flush()
		<-proceed
		_, err := io.WriteString(w, "late")
		return err
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, serve(t, Entry(h, WriteAdminError)), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req) // returns only because the head was flushed
	close(proceed)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	line, err := bufio.NewReader(res.Body).ReadString('\n')
	if res.StatusCode != http.StatusAccepted || line != "late" || !errors.Is(err, io.EOF) {
		t.Errorf("got %d %q %v", res.StatusCode, line, err)
	}
}

func TestResponseReadsFrom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := func(w http.ResponseWriter, r *http.Request) error {
		http.ServeFile(w, r, path)
		if got := responseOf(w).Status(); got != http.StatusOK {
			t.Errorf("status %d", got)
		}
		return nil
	}
	_, body, err := ask(t, serve(t, Entry(h, WriteAdminError)))
	if err != nil || body != "from a file" {
		t.Errorf("got %q, %v", body, err)
	}
}

type layer struct{ http.ResponseWriter }

func (l layer) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func TestResponseIsFoundUnderLayers(t *testing.T) {
	rec := httptest.NewRecorder()
	res := borrowResponse(rec)
	if got := responseOf(layer{layer{res}}); got != res {
		t.Errorf("found %v", got)
	}
	if got := responseOf(layer{rec}); got != nil {
		t.Errorf("found %v where there is none", got)
	}
	if got := bottom(layer{res}); got != http.ResponseWriter(rec) {
		t.Errorf("the bottom is %v", got)
	}
}

func TestEntryAllocatesNothingOfItsOwn(t *testing.T) {
	h := Entry(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}, WriteAdminError)
	w := &nullWriter{}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	// The race detector makes pools forget now and then, hence not 0.
	if n := testing.AllocsPerRun(1000, func() { h.ServeHTTP(w, r) }); n >= 1 {
		t.Errorf("%v allocations a request", n)
	}
}

// nullWriter is a ResponseWriter that costs nothing.
type nullWriter struct{ header http.Header }

func (w *nullWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}
func (*nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (*nullWriter) WriteHeader(int)             {}
