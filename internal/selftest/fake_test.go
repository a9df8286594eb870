package selftest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

const (
	goodToken  = "sk-fakefakefakefakefakefakefakefakefakefakefakefake"
	adminToken = "admin-fake-0123456789"
)

// deployment is what answers a test: the handlers of its addresses, by path.
type deployment map[string]http.HandlerFunc

// fine is a deployment of which everything works.
func fine() deployment {
	served := 0
	d := deployment{}
	d["/health"] = says(`{"status":"ok","service":"ollama-api-pool","version":"v1.2.3","uptime":90,"providers":{"ollama":{},"openrouter":{}}}`)
	d["/health/ready"] = d["/health"]
	d["/openapi.json"] = says(`{"openapi":"3.1.0","paths":{"/v1/chat/completions":{},"/admin/public-stats":{}}}`)
	d["/admin/api-keys"] = status(401, `{"error":{"message":"the admin token is missing"}}`)
	prompt := `{"id":"hello","label":"l","description":"d","systemPrompt":"s","userMessage":"u","temperature":0,"stream":true}`
	d["/api/test-templates"] = says(`{"templates":[` + strings.Repeat(prompt+",", 7) + prompt + `]}`)
	d["/v1/models"] = says(`{"data":[{"id":"large"},{"id":"small"},{"id":"embed"}]}`)
	d["/api/tags"] = tokened("native", says(`{"models":[{"name":"large","size":20},{"name":"small","size":10},{"name":"embed","size":1}]}`))
	count := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { served++; h(w, r) }
	}
	d["/v1/chat/completions"] = tokened("openai", count(func(w http.ResponseWriter, r *http.Request) {
		var ask chatAsk
		if json.NewDecoder(r.Body).Decode(&ask) != nil || !ask.Stream {
			says(`{"choices":[{"message":{"content":"one"}}]}`)(w, r)
			return
		}
		events(0, 3, "data: [DONE]\n\n")(w, r)
	}))
	d["/v1/messages"] = tokened("anthropic", count(says(`{"type":"message","content":[{"text":"one"}]}`)))
	d["/api/chat"] = tokened("native", count(says(`{"message":{"content":"one"}}`+"\n"+`{"done":true}`)))
	d["/admin/public-stats"] = func(w http.ResponseWriter, r *http.Request) { says(stats(served))(w, r) }
	d["/admin/stats"] = says(`{"total_api_keys":2,"active_keys":1,"total_requests":0,"success_rate":"0.00","storage":"sqlite"}`)
	d["/metrics"] = says("# TYPE a counter\n")
	return d
}

// with is the deployment with another handler.
func (d deployment) with(path string, h http.HandlerFunc) deployment {
	d = maps.Clone(d)
	d[path] = h
	return d
}

func (d deployment) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := d[r.URL.Path]; h != nil {
		h(w, r)
		return
	}
	status(404, `{"error":{"message":"no such address","type":"invalid_request_error"}}`)(w, r)
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_, _ = w.Write([]byte(body))
	}
}

func says(body string) http.HandlerFunc { return status(200, body) }

// events streams n words, one each pause, and then the last word.
func events(pause time.Duration, n int, last string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range n {
			time.Sleep(pause)
			_, _ = fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":\"word%d \"}}]}\n\n", i)
			_ = http.NewResponseController(w).Flush()
		}
		_, _ = w.Write([]byte(last))
	}
}

// tokened lets only the good token pass.
func tokened(dialect string, h http.HandlerFunc) http.HandlerFunc {
	refusal := map[string]string{
		"openai":    `{"error":{"message":"wrong","type":"authentication_error","code":"authentication_error"}}`,
		"anthropic": `{"type":"error","error":{"message":"wrong","type":"authentication_error"}}`,
		"native":    `{"error":"wrong"}`,
	}[dialect]
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+goodToken && r.Header.Get("x-api-key") != goodToken {
			status(401, refusal)(w, r)
			return
		}
		h(w, r)
	}
}

func stats(requests int) string {
	hour := `{"hour":"01:00","requests":0,"success":0,"failure":0}`
	return fmt.Sprintf(`{"global":{"totalRequests":%d,"successCount":0,"failureCount":0,"successRate":"0.00","lastUpdated":"x","totalApiKeys":2,"activeKeys":1,"failedKeys":0,"storage":"sqlite"},
"topModels":[],"recentTopModels":[],"hourlyTrend":[%s],"storage":"sqlite","meta":{},"timestamp":"x"}`, requests, strings.Repeat(hour+",", 23)+hour)
}

// test runs the test against a deployment, on a clock of its own.
func test(t *testing.T, h http.Handler, change ...func(*Options)) (report *Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{Handler: h}
		go func() { _ = server.Serve(l) }()
		transport := &http.Transport{DialContext: l.dial}
		o := &Options{
			URL: "http://pool.example", Token: goodToken, AdminToken: adminToken, Providers: []gateway.ProviderName{gateway.Ollama},
			Agent: "selftest/1", Timeout: 20 * time.Second, Transport: transport,
		}
		for _, f := range change {
			f(o)
		}
		var seen []Step
		report = Run(t.Context(), o, func(s Step) { seen = append(seen, s) })
		transport.CloseIdleConnections()
		_ = server.Close()
		synctest.Wait()
		if len(seen) != len(report.Steps) {
			t.Errorf("%d steps were told of %d", len(seen), len(report.Steps))
		}
		if text := fmt.Sprintf("%+v", report) + report.Markdown(); strings.Contains(text, goodToken) || strings.Contains(text, adminToken) {
			t.Errorf("a token is in %s", text)
		}
	})
	return report
}

// pipes is a listener whose connections are in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	close(l.closed)
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// step finds a step of a report.
func step(t *testing.T, r *Report, name string) Step {
	t.Helper()
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no step %q in %+v", name, r.Steps)
	return Step{}
}
