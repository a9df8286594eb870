package testkit

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

const soon = 5 * time.Second

// client returns an HTTP client with connections of its own that trusts u.
func client(tb testing.TB, u *Upstream) *http.Client {
	tb.Helper()
	transport := &http.Transport{TLSClientConfig: u.ClientTLS(), ForceAttemptHTTP2: true, DisableCompression: true}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post sends a body with a key and returns the answer and its body.
func post(ctx context.Context, tb testing.TB, c *http.Client, url, key, body string) (*http.Response, string, error) {
	tb.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

func TestUpstreamRecordsCalls(t *testing.T) {
	for _, secure := range []bool{false, true} {
		opts, proto := []Option(nil), "HTTP/1.1"
		if secure {
			opts, proto = []Option{WithTLS()}, "HTTP/2.0"
		}
		t.Run(proto, func(t *testing.T) {
			u := NewUpstream(t, opts...)
			c := client(t, u)
			for _, key := range []string{"fake-key-one", "fake-key-two"} {
				resp, body, err := post(t.Context(), t, c, u.URL+"/v1/a%2Fb?beta=true", key, "hello "+key)
				if err != nil || resp.StatusCode != http.StatusOK || body != "{}" {
					t.Fatalf("got %v, %q, %v", resp, body, err)
				}
			}
			calls := u.Calls()
			if len(calls) != 2 || calls[0].N != 1 || calls[1].N != 2 {
				t.Fatalf("calls: %+v", calls)
			}
			if calls[0].Conn != calls[1].Conn {
				t.Errorf("connections %d and %d: the second call did not reuse the first one's", calls[0].Conn, calls[1].Conn)
			}
			got := u.CallsFor("fake-key-two")
			if len(got) != 1 {
				t.Fatalf("calls of the second key: %+v", got)
			}
			if c := got[0]; c.Proto != proto || c.Method != http.MethodPost || c.Path != "/v1/a/b" || c.EscapedPath != "/v1/a%2Fb" ||
				c.RawQuery != "beta=true" || string(c.Body) != "hello fake-key-two" || c.Host != u.Addr || c.Canceled {
				t.Errorf("call: %+v", c)
			}
			got[0].Header.Set("Authorization", "changed")
			if u.Calls()[1].Header.Get("Authorization") != "Bearer fake-key-two" {
				t.Error("a copy of a call changes what is remembered")
			}
		})
	}
}

func TestHandleDecidesPerCall(t *testing.T) {
	u := NewUpstream(t)
	c := client(t, u)
	status := func(key string) int {
		t.Helper()
		resp, _, err := post(t.Context(), t, c, u.URL, key, "x")
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	u.Handle(ByKey(map[string]Answer{"bad-key": JSON(401, `{"error":"unauthorized"}`)}, JSON(418, "{}")))
	if a, b := status("bad-key"), status("good-key"); a != 401 || b != 418 {
		t.Errorf("by key: %d and %d", a, b)
	}
	u.Handle(InTurn(JSON(500, "{}"), JSON(429, "{}")))
	if a, b, c := status("k"), status("k"), status("k"); a != 500 || b != 429 || c != 429 {
		t.Errorf("in turn: %d, %d, %d", a, b, c)
	}
	u.Always(JSON(204, ""))
	if got := status("k"); got != 204 {
		t.Errorf("always: %d", got)
	}
	u.Handle(func(*Call) Answer { return nil })
	if got := status("k"); got != 200 {
		t.Errorf("default: %d", got)
	}
}

func TestCanceledTellsWhoLeft(t *testing.T) {
	for name, opts := range map[string][]Option{"HTTP/1.1": nil, "HTTP/2": {WithTLS()}} {
		t.Run(name, func(t *testing.T) {
			u := NewUpstream(t, opts...)
			c := client(t, u)
			gate := NewGate()
			for _, answer := range []Answer{Silent(), After(gate, JSON(200, "{}")), Stream("text/plain", Text("a"), Wait(gate), Text("b"))} {
				before := u.Canceled()
				u.Always(answer)
				ctx, cancel := context.WithCancel(t.Context())
				left := make(chan error, 1)
				go func() {
					_, _, err := post(ctx, t, c, u.URL, "fake-key", "x")
					left <- err
				}()
				u.AwaitCalls(before+1, soon)
				cancel()
				if err := <-left; !errors.Is(err, context.Canceled) {
					t.Fatalf("client ended with %v", err)
				}
				u.AwaitCanceled(before+1, soon)
				u.AwaitIdle(soon)
				if calls := u.Calls(); !calls[before].Canceled {
					t.Errorf("call %d is not marked: %+v", before, calls[before])
				}
			}
			gate.Open()
			if _, body, err := post(t.Context(), t, c, u.URL, "fake-key", "x"); err != nil || body != "ab" {
				t.Errorf("after the gate opened: %q, %v", body, err)
			}
			if got := u.Canceled(); got != 3 {
				t.Errorf("canceled %d, want 3: a call that ended well counts", got)
			}
		})
	}
}

func TestClientThatLeavesABusyStreamIsNoticed(t *testing.T) {
	u := NewUpstream(t)
	var pieces []Piece
	for range 1000 {
		pieces = append(pieces, Text(strings.Repeat("x", 64<<10)))
	}
	u.Always(Stream("text/plain", pieces...)) // more than the sockets hold
	c := DialRaw(t, u.Addr)
	c.Send(HTTP11("GET", "/", ""))
	if b, err := c.Next(); err == nil {
		t.Fatalf("got %d bytes before the header", len(b))
	}
	if head := c.Head(); head.Status != 200 {
		t.Fatalf("head: %+v", head)
	}
	c.Close()
	u.AwaitCanceled(1, soon)
	u.AwaitIdle(soon)
}

func TestGateHoldsAStream(t *testing.T) {
	u := NewUpstream(t)
	gate := NewGate()
	u.Always(Stream("text/event-stream", Event("one"), Wait(gate), Event("two"), Event("[DONE]")))
	c := DialRaw(t, u.Addr)
	c.Send(HTTP11("POST", "/", "{}"))
	if head := c.Head(); head.Status != 200 || head.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("head: %+v", head)
	}
	if b, err := c.Next(); err != nil || string(b) != "data: one\n\n" {
		t.Fatalf("first event: %q, %v", b, err)
	}
	gate.AwaitReached(t)
	if got := u.InFlight(); got != 1 {
		t.Errorf("in flight: %d", got)
	}
	gate.Open()
	rest := ""
	for {
		b, err := c.Next()
		rest += string(b)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if rest != "data: two\n\ndata: [DONE]\n\n" {
		t.Errorf("rest: %q", rest)
	}
	u.AwaitIdle(soon)
	if got := u.PeakInFlight(); got != 1 {
		t.Errorf("peak: %d", got)
	}
}

func TestDownRefusesAndUpReturns(t *testing.T) {
	u := NewUpstream(t)
	u.Always(Stream("text/plain", Text("a"), Wait(NewGate())))
	open := DialRaw(t, u.Addr)
	open.Send(HTTP11("GET", "/", ""))
	if head := open.Head(); head.Status != 200 {
		t.Fatalf("head: %+v", head)
	}
	if b, err := open.Next(); string(b) != "a" || err != nil {
		t.Fatalf("first piece: %q, %v", b, err)
	}
	u.Down()
	u.Down()
	if _, err := open.Next(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("an open answer ended with %v, want a broken connection", err)
	}
	if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Addr); !errors.Is(err, syscall.ECONNREFUSED) {
		if err == nil {
			_ = c.Close()
		}
		t.Fatalf("connecting gave %v, want a refusal", err)
	}
	u.AwaitIdle(soon)
	u.Up()
	u.Up()
	u.Always(JSON(200, `{"back":true}`))
	if got := RawRequest(t, u.Addr, HTTP11("GET", "/", "")); got.Status != 200 || !got.CleanEnd {
		t.Errorf("after Up: %+v", got)
	}
	if got := u.Canceled(); got != 0 {
		t.Errorf("canceled %d: nobody left, the upstream went down", got)
	}
}

func TestFreezeAcceptsAndKeepsSilent(t *testing.T) {
	u := NewUpstream(t)
	warm := DialRaw(t, u.Addr)
	warm.Send(HTTP11("GET", "/warm", ""))
	if got := warm.Response(); got.Status != 200 {
		t.Fatalf("before: %+v", got)
	}
	u.Freeze()
	u.Freeze()
	fresh := DialRaw(t, u.Addr) // is accepted
	fresh.Send(HTTP11("GET", "/fresh", ""))
	warm.Send(HTTP11("GET", "/frozen", ""))
	u.AwaitCalls(2, soon)
	if calls := u.Calls(); len(calls) != 2 || calls[1].Path != "/frozen" || u.InFlight() != 1 {
		t.Errorf("calls while frozen: %+v", calls)
	}
	u.Thaw()
	u.Thaw()
	for _, c := range []*RawConn{warm, fresh} {
		if got := c.Response(); got.Status != 200 || !got.CleanEnd {
			t.Errorf("after Thaw: %+v", got)
		}
	}
}

func TestFrozenTLSHandshakeWaits(t *testing.T) {
	u := NewUpstream(t, WithTLS())
	u.Freeze()
	transport := &http.Transport{TLSClientConfig: u.ClientTLS(), TLSHandshakeTimeout: 50 * time.Millisecond}
	t.Cleanup(transport.CloseIdleConnections)
	if _, _, err := post(t.Context(), t, &http.Client{Transport: transport}, u.URL, "fake-key", ""); err == nil || !strings.Contains(err.Error(), "handshake timeout") {
		t.Errorf("got %v, want a timeout of the handshake", err)
	}
	u.Thaw()
	if _, _, err := post(t.Context(), t, client(t, u), u.URL, "fake-key", ""); err != nil {
		t.Errorf("after Thaw: %v", err)
	}
}

func TestWithoutHTTP2(t *testing.T) {
	u := NewUpstream(t, WithTLS(), WithoutHTTP2())
	if _, _, err := post(t.Context(), t, client(t, u), u.URL, "fake-key", ""); err != nil {
		t.Fatal(err)
	}
	if got := u.Calls()[0].Proto; got != "HTTP/1.1" {
		t.Errorf("spoke %s", got)
	}
}

func TestUntrustedCertificateIsRefused(t *testing.T) {
	u := NewUpstream(t, WithTLS())
	other := NewUpstream(t, WithTLS())
	if _, _, err := post(t.Context(), t, client(t, other), u.URL, "fake-key", ""); err == nil {
		t.Error("a client that trusts another authority got through")
	}
}

// witness is a testing.TB that keeps what would fail the test.
type witness struct {
	testing.TB
	log  SafeBuffer
	ends []func()
}

func (w *witness) Helper() {}

func (w *witness) Errorf(format string, args ...any) {
	_, _ = w.log.Write([]byte("failed: " + format))
	_ = args
}

func (w *witness) Cleanup(f func()) { w.ends = append(w.ends, f) }

func (w *witness) end() {
	for i := len(w.ends) - 1; i >= 0; i-- {
		w.ends[i]()
	}
}

func TestEndReleasesWhatWaits(t *testing.T) {
	w := &witness{TB: t}
	u := NewUpstream(w)
	u.Always(Silent())
	c := DialRaw(t, u.Addr)
	c.Send(HTTP11("GET", "/", ""))
	u.AwaitCalls(1, soon)
	w.end()
	if got := c.Response(); got.End == nil {
		t.Errorf("the client got %+v from an upstream that ended", got)
	}
	if got := w.log.String(); got != "" {
		t.Errorf("the upstream complains: %s", got)
	}
	if u.Canceled() != 0 {
		t.Error("the end of the test counts as a client that left")
	}
}

func TestHandlerThatHangsFailsTheTest(t *testing.T) {
	w := &witness{TB: t}
	u := NewUpstream(w)
	u.patience = 10 * time.Millisecond
	release := make(chan struct{})
	u.Handle(func(*Call) Answer {
		<-release
		return nil
	})
	DialRaw(t, u.Addr).Send(HTTP11("GET", "/", ""))
	u.AwaitCalls(1, soon)
	w.end()
	close(release)
	if got := w.log.String(); !strings.Contains(got, "hangs") {
		t.Errorf("complaint: %q", got)
	}
}
