package provider

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"syscall"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func TestJudgeError(t *testing.T) {
	f := func(err error, timedOut bool, want gateway.Verdict) {
		t.Helper()
		for _, name := range gateway.Providers() {
			if got := newAdapter(t, name).JudgeError(err, timedOut); got != want {
				t.Errorf("%v, timed out %v: %+v, want %+v", err, timedOut, got, want)
			}
		}
	}
	f(nil, false, because(struck, "no answer"))
	f(nil, true, because(struck, "no answer in time"))
	f(context.Canceled, true, because(struck, "no answer in time"))
	f(fmt.Errorf("wait: %w", context.DeadlineExceeded), false, because(struck, "no answer in time"))
	f(&url.Error{Op: "Post", URL: "https://ollama.com", Err: os.ErrDeadlineExceeded}, false, because(struck, "no answer in time"))
	f(&url.Error{Op: "Post", URL: "https://ollama.com", Err: syscall.ECONNREFUSED}, false, because(struck, "connection refused"))
	f(errors.New("dial tcp: connectex: connection refused"), false, because(struck, "connection refused"))
	f(fmt.Errorf("read: %w", syscall.ECONNRESET), false, because(struck, "connection broken"))
	f(io.ErrUnexpectedEOF, false, because(struck, "connection broken"))
	f(&url.Error{Op: "Post", URL: "https://ollama.com", Err: io.EOF}, false, because(struck, "connection broken"))
	f(errors.New("lookup secret.example: no such host"), false, because(struck, "no connection"))
	gone := gateway.Verdict{Scope: gateway.ScopeClient, Next: gateway.NextStop, Reason: "client closed"}
	f(context.Canceled, false, gone)
	f(&url.Error{Op: "Post", URL: "https://ollama.com", Err: context.Canceled}, false, gone)
}

func TestProbe(t *testing.T) {
	f := func(name gateway.ProviderName, status int, body string, want Validity) {
		t.Helper()
		if got := newAdapter(t, name).ProbeVerdict(status, []byte(body)); got != want {
			t.Errorf("%s %d %s: %v, want %v", name, status, body, got, want)
		}
	}
	f(gateway.Ollama, 400, `{"error":{"message":"model is required"}}`, Valid)
	f(gateway.Ollama, 400, ``, Valid)
	f(gateway.Ollama, 401, `{"error":"unauthorized"}`, Invalid)
	f(gateway.OpenRouter, 200, `{"data":{"label":"x"}}`, Valid)
	f(gateway.OpenRouter, 401, `{"error":{"message":"User not found.","code":401}}`, Invalid)
	for _, name := range gateway.Providers() {
		for _, status := range []int{0, 301, 402, 403, 404, 408, 429, 500, 502, 503} {
			f(name, status, `{"error":"unauthorized"}`, Inconclusive)
		}
		for _, status := range []int{200, 400, 401} {
			f(name, status, ` <!DOCTYPE html><html>`, Inconclusive)
		}
	}
	f(gateway.Ollama, 200, `{}`, Inconclusive)
	f(gateway.OpenRouter, 400, `{}`, Inconclusive)

	if m, p, b := newAdapter(t, gateway.Ollama).Probe(); m != "POST" || p != "/v1/chat/completions" || string(b) != "{}" {
		t.Errorf("Ollama's probe is %s %s %s", m, p, b)
	}
	if m, p, b := newAdapter(t, gateway.OpenRouter).Probe(); m != "GET" || p != "/v1/key" || b != nil {
		t.Errorf("OpenRouter's probe is %s %s %s", m, p, b)
	}
	if Inconclusive.String() != "inconclusive" || Valid.String() != "valid" || Invalid.String() != "invalid" {
		t.Error("names of results")
	}
}
