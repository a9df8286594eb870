package app_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// Within SHUTDOWN_DELAY a request is served, while a load balancer is told to
// send no more; the end of the context is the end of the delay.
func TestRequestsDuringTheDelay(t *testing.T) {
	p := start(t, "SHUTDOWN_DELAY=1h")
	p.addKeys(gateway.Ollama, 1)
	p.up.Always(testkit.JSON(http.StatusOK, done))
	ready := func() int {
		return testkit.RawRequest(t, p.addr, testkit.HTTP11(http.MethodGet, "/health/ready", "")).Status
	}
	equal(t, "ready before", ready(), http.StatusOK)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- p.app.Stop(ctx) }()
	for deadline := time.Now().Add(soon); ready() == http.StatusOK; {
		if time.Now().After(deadline) {
			t.Fatal("still ready")
		}
	}
	equal(t, "a new request", p.post("/v1/chat/completions", chat).Status, http.StatusOK)
	cancel()
	select {
	case err := <-stopped:
		equal(t, "stop", err, nil)
	case <-time.After(soon):
		t.Fatal("the delay does not end")
	}
	p.app = nil
}
