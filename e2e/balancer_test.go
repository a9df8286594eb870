package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// balancer is HAProxy as a process, with the very file that deploy has for it.
type balancer struct {
	URL string
	Log testkit.SafeBuffer // which instances it takes out and in
}

// startBalancer starts one in front of three instances, host:port each.
func startBalancer(tb testing.TB, instances ...string) *balancer {
	tb.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path = "/usr/sbin/haproxy" // which is not on everybody's PATH
	}
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }() // HAProxy has its own from then on
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	b := &balancer{URL: "http://" + l.Addr().String()}
	cmd := exec.Command(path, "-db", "-f", "../deploy/haproxy.cfg") //nolint:noctx // the cleanup ends it
	cmd.Env = []string{"LISTEN=fd@3", "POOL_1=" + instances[0], "POOL_2=" + instances[1], "POOL_3=" + instances[2]}
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = []*os.File{socket}, &b.Log, &b.Log
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start the load balancer (Debian package haproxy): %v", err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // ended by the signal
		if tb.Failed() {
			tb.Logf("the load balancer said:\n%s", b.Log.String())
		}
	})
	return b
}

// standIn plays an instance: it is as ready as it is told to be, and counts
// what it is asked.
type standIn struct {
	addr   string
	stop   func()
	ready  atomic.Pointer[readiness]
	served atomic.Int64
	handle http.HandlerFunc // of everything but the health; nil: 200
}

type readiness struct {
	status int
	word   string
}

func newStandIn(tb testing.TB, handle http.HandlerFunc) *standIn {
	s := &standIn{handle: handle}
	s.say(http.StatusOK, "ok")
	server := httptest.NewServer(s)
	tb.Cleanup(server.Close)
	s.addr, s.stop = server.Listener.Addr().String(), server.Close
	return s
}

func (s *standIn) say(status int, word string) { s.ready.Store(&readiness{status, word}) }

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/health/ready" {
		is := s.ready.Load()
		w.WriteHeader(is.status)
		_ = json.NewEncoder(w).Encode(map[string]string{"status": is.word})
		return
	}
	s.served.Add(1)
	if s.handle != nil {
		s.handle(w, r)
	}
}

// spread sends requests one after the other, all of which must be served, and
// tells how many each stand-in got.
func (b *balancer) spread(tb testing.TB, requests int, instances ...*standIn) (got []int64) {
	tb.Helper()
	for _, s := range instances {
		got = append(got, -s.served.Load())
	}
	for range requests {
		if status, answer, err := do(tb.Context(), http.MethodPost, b.URL+"/v1/chat/completions", "", chatBody); err != nil || status != http.StatusOK {
			tb.Fatalf("a request while an instance is ready: %d %s %v", status, answer, err)
		}
	}
	for n, s := range instances {
		got[n] += s.served.Load()
	}
	return got
}

// TestBalancerFollowsReadiness takes an instance out that is not ready, without
// breaking off what it serves, and keeps one in that is degraded.
func TestBalancerFollowsReadiness(t *testing.T) {
	t.Parallel()
	reached, release := make(chan struct{}), make(chan struct{})
	held := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			close(reached)
			<-release
		}
		_, _ = io.WriteString(w, "whole")
	}
	all := []*standIn{newStandIn(t, held), newStandIn(t, nil), newStandIn(t, nil)}
	b := startBalancer(t, all[0].addr, all[1].addr, all[2].addr)
	if got := b.spread(t, 30, all...); slices.Min(got) < 8 {
		t.Errorf("30 requests went to the instances as %v", got)
	}

	heldAnswer := make(chan string, 1)
	all[1].say(http.StatusServiceUnavailable, "not ready")
	all[2].say(http.StatusServiceUnavailable, "not ready")
	awaitOut(t, b, all, 1, 2)
	go func() {
		status, answer, err := do(t.Context(), http.MethodGet, b.URL+"/held", "", nil)
		heldAnswer <- fmt.Sprint(status, string(answer), err)
	}()
	awaitClosed(t, reached, patience, "the only instance that is ready gets the request")
	all[1].say(http.StatusOK, "degraded")
	all[2].say(http.StatusOK, "ok")
	all[0].say(http.StatusServiceUnavailable, "not ready")
	awaitOut(t, b, all, 0)
	await(t, "requests at the instance that is degraded", func() bool { return b.spread(t, 4, all[1])[0] > 0 })
	await(t, "requests at the instance that is back", func() bool { return b.spread(t, 4, all[2])[0] > 0 })
	if got := b.spread(t, 20, all...); got[0] != 0 || got[1] < 8 || got[2] < 8 {
		t.Errorf("one out, one degraded, one ready: 20 requests went to them as %v", got)
	}
	close(release)
	if got := <-heldAnswer; got != "200whole<nil>" {
		t.Errorf("the request that ran at the instance when it was taken out: %s", got)
	}
}

// awaitOut waits until instances get no more requests.
func awaitOut(t *testing.T, b *balancer, all []*standIn, out ...int) {
	t.Helper()
	for _, n := range out {
		await(t, fmt.Sprintf("end of requests at instance %d", n+1), func() bool { return b.spread(t, 9, all[n])[0] == 0 })
	}
}

// TestBalancerSendsOnce: where no connection comes about another instance
// serves; a request that was sent is not sent again.
func TestBalancerSendsOnce(t *testing.T) {
	t.Parallel()
	dead := newStandIn(t, nil)
	dead.stop()
	ready := []*standIn{newStandIn(t, nil), newStandIn(t, nil)}
	b := startBalancer(t, dead.addr, ready[0].addr, ready[1].addr)
	if got := b.spread(t, 20, ready...); got[0]+got[1] != 20 {
		t.Errorf("20 requests went to the two that are there as %v", got)
	}

	broken := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	all := []*standIn{newStandIn(t, broken), newStandIn(t, broken), newStandIn(t, broken)}
	b = startBalancer(t, all[0].addr, all[1].addr, all[2].addr)
	answerOf(t, b, http.StatusBadGateway, "upstream_error", "")
	if n := all[0].served.Load() + all[1].served.Load() + all[2].served.Load(); n != 1 {
		t.Errorf("a request that was not answered was sent %d times", n)
	}
	for _, s := range all {
		s.stop()
	}
	answerOf(t, b, http.StatusServiceUnavailable, "no_instance", "2")
}

// answerOf expects an error of the balancer's own, in the form of the pool's.
func answerOf(t *testing.T, b *balancer, status int, code, retryAfter string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL+"/v1/chat/completions", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := plain.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var said struct {
		Error struct {
			Message, Type, Code string
			Retryable           bool
		}
	}
	err = json.NewDecoder(resp.Body).Decode(&said)
	if err != nil || resp.StatusCode != status || resp.Header.Get("Content-Type") != "application/json" || resp.Header.Get("Retry-After") != retryAfter ||
		said.Error.Code != code || said.Error.Message == "" || said.Error.Type == "" || !said.Error.Retryable {
		t.Errorf("%d %v %+v %v, want %d %s", resp.StatusCode, resp.Header, said, err, status, code)
	}
}

// TestBalancerPassesEventsAsTheyCome: the upstream says nothing more until the
// client has what it said so far.
func TestBalancerPassesEventsAsTheyCome(t *testing.T) {
	t.Parallel()
	up := testkit.NewUpstream(t)
	i := newInstance(t, "OLLAMA_BASE_URL="+up.URL, "OPENROUTER_BASE_URL="+up.URL)
	i.Start()
	i.AddKeys("ollama", fakeKey("ollama", 1))
	token := i.CreateToken("streams", "ollama")
	addr := strings.TrimPrefix(i.URL(), "http://")
	b := startBalancer(t, addr, addr, addr)
	for _, tt := range []struct {
		path, kind string
		events     []string
	}{
		{"/v1/chat/completions", "text/event-stream", []string{"data: {\"choices\":[]}\n\n", ": waiting\n\n", "data: {\"choices\":[]}\n\n", "data: [DONE]\n\n"}},
		{"/v1/messages", "text/event-stream", []string{"event: ping\ndata: {\"type\":\"ping\"}\n\n", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"}},
		{"/api/chat", "application/x-ndjson", []string{"{\"done\":false}\n", "{\"done\":false}\n", "{\"done\":true}\n"}},
		{"/v1/embeddings", "application/json", []string{`{"data":`, `[]}`}},
	} {
		var script []testkit.Piece
		var gates []*testkit.Gate
		for _, event := range tt.events {
			gates = append(gates, testkit.NewGate())
			script = append(script, testkit.Text(event), testkit.Wait(gates[len(gates)-1]))
		}
		up.Always(testkit.Stream(tt.kind, script...))
		resp, err := postVia(t, plain, b.URL+tt.path, token, `{"model":"gpt-oss:20b","stream":true}`)
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != tt.kind {
			t.Fatalf("%s: %v %v", tt.path, resp, err)
		}
		for n, event := range tt.events {
			got := make([]byte, len(event))
			if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != event {
				t.Fatalf("%s: event %d is %q, %v", tt.path, n, got, err)
			}
			gates[n].Open()
		}
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
			t.Errorf("%s: after the last event %q, %v", tt.path, rest, err)
		}
		_ = resp.Body.Close()
	}
	i.Stop()
}

func postVia(tb testing.TB, client *http.Client, url, token, body string, headers ...string) (*http.Response, error) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for n := 0; n < len(headers); n += 2 {
		req.Header.Add(headers[n], headers[n+1])
	}
	return client.Do(req)
}

// TestBalancerTellsWhoAsks: an instance that trusts the balancer counts clients
// by their own addresses, whatever they say of themselves; and what a trusted
// proxy in front of the balancer says is believed as well.
func TestBalancerTellsWhoAsks(t *testing.T) {
	t.Parallel()
	_, i, token := serving(t, healthy, "TRUSTED_PROXIES=127.0.0.1", "ENABLE_RATE_LIMIT=true", "RATE_LIMIT_REQUESTS=2", "RATE_LIMIT_WINDOW=3600")
	addr := strings.TrimPrefix(i.URL(), "http://")
	b := startBalancer(t, addr, addr, addr)
	for _, tt := range []struct {
		name, from string
		said       []string // X-Forwarded-For
		seen       bool     // the address has used up its requests before
	}{
		{"client", "127.0.0.8", nil, false},
		{"the same, as somebody else", "127.0.0.8", []string{"192.0.2.8"}, true},
		{"the same, as several", "127.0.0.8", []string{"192.0.2.8, 127.0.0.1", "192.0.2.9"}, true},
		{"another", "127.0.0.9", []string{"127.0.0.8"}, false},
		{"behind a proxy", "127.0.0.1", []string{"192.0.2.7"}, false},
		{"the same, lying to the proxy", "127.0.0.1", []string{"192.0.2.1, 192.0.2.7"}, true},
		{"another behind it", "127.0.0.1", []string{"192.0.2.8"}, false},
	} {
		client := &http.Client{Timeout: patience, Transport: &http.Transport{
			DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(tt.from)}}).DialContext,
		}}
		var headers []string
		for _, said := range tt.said {
			headers = append(headers, "X-Forwarded-For", said)
		}
		want := []int{200, 200, 429}
		if tt.seen {
			want = []int{429, 429, 429}
		}
		var got []int
		for range want {
			resp, err := postVia(t, client, b.URL+"/v1/chat/completions", token, `{"model":"gpt-oss:20b","messages":[{"role":"user","content":"Hello"}]}`, headers...)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.Copy(io.Discard, resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil {
				t.Fatal(err)
			}
			got = append(got, resp.StatusCode)
		}
		client.CloseIdleConnections()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", tt.name, got, want)
		}
	}
	i.Stop()
}
