package simulator

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// TestTraffic lets the clients ask a server that looks at their requests, over
// real sockets, until every kind of request was made.
func TestTraffic(t *testing.T) {
	kinds := map[string]bool{}
	for _, e := range errands {
		kinds[e.path] = true
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	clients := newClients(time.Now())
	byToken := map[string]*Client{}
	for _, c := range clients {
		c.Secret = gateway.Secret("sk-fake-" + c.Token.Name)
		byToken["Bearer "+c.Secret.Reveal()] = c
	}
	var mu sync.Mutex
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has left
		}
		var a ask
		c := byToken[r.Header.Get("Authorization")]
		if err := json.Unmarshal(body, &a); err != nil || c == nil || a.Model == "" || r.Method != http.MethodPost {
			t.Errorf("%s %s by %+v: %v, %s", r.Method, r.URL.Path, c, err, body)
			return
		}
		p := gateway.Ollama
		if strings.HasPrefix(r.URL.Path, OpenRouterPath+"/") {
			p = gateway.OpenRouter
		}
		if _, found := find(p, a.Model); !c.Token.ValidFor(p) || !c.Token.Limits.AllowsModel(a.Model) || !found && a.Model != notThere && a.Model != "nobody/knows-this" {
			t.Errorf("%s asks %s for %s", c.Token.Name, p, a.Model)
		}
		if got := r.Header.Get("User-Agent"); got != "ollama-api-pool-demo/1.2.3 (simulated client "+c.Token.Name+")" {
			t.Errorf("User-Agent: %s", got)
		}
		mu.Lock()
		defer mu.Unlock()
		if asked[r.URL.Path]++; len(asked) == len(kinds) && asked["/v1/chat/completions"] > 100 {
			stop()
		}
	}))
	defer server.Close()
	traffic := Traffic{URL: server.URL, Version: "1.2.3", Clients: clients, Faster: 1000}
	traffic.Run(ctx)
	for path := range asked {
		if !kinds[path] {
			t.Errorf("somebody asked %s", path)
		}
	}
}

// TestTrafficLeaves ends while nobody answers: all clients leave at once.
func TestTrafficLeaves(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	waiting := make(chan struct{}, mostAtOnce)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		waiting <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	go func() {
		for range 3 {
			<-waiting
		}
		stop()
	}()
	traffic := Traffic{URL: server.URL, Clients: newClients(time.Now()), Faster: 1000}
	traffic.Run(ctx) // or the test does not end
}

func TestPace(t *testing.T) {
	for hour := range 24 {
		now := time.Date(2026, 3, 6, hour, 0, 0, 0, time.UTC)
		traffic := Traffic{Now: func() time.Time { now = now.Add(time.Second); return now }}
		var sum time.Duration
		const times = 2000
		for range times {
			pause := traffic.pause()
			if pause < 0 || pause > 1500*time.Millisecond {
				t.Fatalf("a pause of %v", pause)
			}
			sum += pause
		}
		if rate := times / sum.Seconds(); rate < 1.8 || rate > 4.6 {
			t.Errorf("at %d:00 there are %.1f requests a second", hour, rate)
		}
	}
}
