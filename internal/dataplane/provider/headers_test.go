package provider

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// lent is what the pool hands over with a key.
const lent = "Bearer not-a-real-key"

func TestSetHeaders(t *testing.T) {
	f := func(name gateway.ProviderName, client, want http.Header) {
		t.Helper()
		before := client.Clone()
		got := http.Header{}
		newAdapter(t, name).SetHeaders(got, client, lent)
		want.Set("Authorization", lent)
		want.Set("Accept-Encoding", "identity")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", name, got, want)
		}
		if !reflect.DeepEqual(before, client) {
			t.Errorf("the client's header was changed: %v", client)
		}
	}
	pass := []string{
		"Content-Type", "application/json", "Accept", "text/event-stream", "Accept", "*/*",
		"User-Agent", "client/2", "Accept-Language", "de", "anthropic-version", "2023-06-01",
		"anthropic-beta", "a", "anthropic-beta", "b", "OpenAI-Beta", "responses=v1",
		"HTTP-Referer", "https://client.example", "X-Title", "Client",
	}
	stay := []string{
		"Authorization", "Bearer sk-client", "X-Api-Key", "sk-client", "Cookie", "a=b",
		"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "https", "Forwarded", "for=192.0.2.1",
		"Cf-Connecting-Ip", "192.0.2.1", "Cf-Ray", "1", "Connection", "keep-alive, X-Private", "X-Private", "1",
		"Keep-Alive", "timeout=5", "Te", "trailers", "Transfer-Encoding", "chunked", "Upgrade", "h2c",
		"Proxy-Authorization", "Basic x", "Accept-Encoding", "gzip, br", "Content-Length", "12", "Host", "evil.example",
		"Content-Encoding", "gzip", "Origin", "https://client.example", "Referer", "https://client.example/secret",
		"X-Request-Id", "1", "X-Real-Ip", "192.0.2.1", "Expect", "100-continue", "Range", "bytes=0-1",
	}
	for _, name := range gateway.Providers() {
		f(name, header(append(stay, pass...)...), header(pass...))
	}
	f(gateway.Ollama, http.Header{}, header("User-Agent", "ollama-api-pool/1.2.3"))
	f(gateway.Ollama, nil, header("User-Agent", "ollama-api-pool/1.2.3"))
	f(gateway.OpenRouter, header("User-Agent", "", "Content-Type", "text/plain"),
		header("User-Agent", "ollama-api-pool/1.2.3", "Content-Type", "text/plain", "HTTP-Referer", "https://pool.example", "X-Title", "Pool"))
	f(gateway.OpenRouter, header("X-Title", "Mine"),
		header("User-Agent", "ollama-api-pool/1.2.3", "HTTP-Referer", "https://pool.example", "X-Title", "Mine"))
	f(gateway.Ollama, header("User-Agent", "x", "Accept", "*/*", "Accept-Language", "de", "Connection", "close , accept-language"),
		header("User-Agent", "x", "Accept", "*/*"))
}

func TestSetHeadersWithoutOptions(t *testing.T) {
	a, err := New(gateway.OpenRouter, Options{BaseURL: "https://openrouter.ai/api"})
	if err != nil {
		t.Fatal(err)
	}
	got := http.Header{}
	a.SetHeaders(got, http.Header{}, lent)
	want := header("Authorization", lent, "Accept-Encoding", "identity", "User-Agent", "ollama-api-pool")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCopyResponseHeaders(t *testing.T) {
	f := func(dst, src, want http.Header) {
		t.Helper()
		for range 8 { // the order of a map must not matter
			got, before := maps.Clone(dst), src.Clone()
			CopyResponseHeaders(got, src)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %v\nwant %v", got, want)
			}
			if !reflect.DeepEqual(before, src) {
				t.Errorf("the upstream's header was changed: %v", src)
			}
		}
	}
	pass := []string{
		"Content-Type", "text/event-stream", "Content-Length", "12", "Content-Encoding", "br", "Cache-Control", "no-store",
		"Date", "Wed, 14 Oct 2026 09:20:30 GMT", "Server", "cloudflare", "Cf-Ray", "1", "Set-Cookie", "a=b", "Set-Cookie", "c=d",
		"Retry-After", "5", "X-Ratelimit-Reset", "1", "Location", "https://elsewhere.example", "Www-Authenticate", "Bearer",
		"Etag", "x", "Openai-Processing-Ms", "7",
	}
	drop := []string{
		"Connection", "close, X-Hop", "Connection", "x-another", "X-Hop", "1", "X-Another", "1", "Keep-Alive", "timeout=5",
		"Proxy-Authenticate", "Basic", "Proxy-Connection", "close", "Te", "trailers", "Trailer", "X-Sum",
		"Transfer-Encoding", "chunked", "Upgrade", "h2c",
		"Access-Control-Allow-Origin", "https://ollama.com", "Access-Control-Expose-Headers", "x", "Access-Control-Max-Age", "1",
	}
	f(http.Header{}, header(append(drop, pass...)...), header(pass...))
	f(header("X-Request-Id", "ours", "Access-Control-Allow-Origin", "*"),
		header("X-Request-Id", "theirs", "Access-Control-Allow-Origin", "https://ollama.com"),
		header("X-Request-Id", "ours", "Access-Control-Allow-Origin", "*", "X-Upstream-Request-Id", "theirs"))
	f(header(), header("X-Request-Id", "near", "X-Upstream-Request-Id", "far"), header("X-Upstream-Request-Id", "near"))
	f(header(), header("X-Upstream-Request-Id", "far"), header("X-Upstream-Request-Id", "far"))
	f(header(), header("X-Request-Id", "1", "Connection", "x-request-id"), header())
	f(header("Vary", "Origin"), header("Vary", "Accept-Encoding", "Vary", "Accept"), header("Vary", "Origin", "Vary", "Accept-Encoding", "Vary", "Accept"))
	f(header(), header("Vary", "Accept"), header("Vary", "Accept"))
	f(header("Content-Type", "ours"), header("Content-Type", "theirs"), header("Content-Type", "theirs"))
}

// TestVaryIsNotShared: adding the upstream's Vary must not write into what a
// middleware holds.
func TestVaryIsNotShared(t *testing.T) {
	shared := make([]string, 1, 4)
	shared[0] = "Origin"
	CopyResponseHeaders(http.Header{"Vary": shared}, header("Vary", "Accept"))
	if slices.Contains(shared[:cap(shared)], "Accept") {
		t.Error("wrote into a shared value")
	}
}

func BenchmarkHeaders(b *testing.B) {
	a := newAdapter(b, gateway.OpenRouter)
	client := header("Content-Type", "application/json", "Accept", "*/*", "User-Agent", "client/1", "Connection", "keep-alive",
		"Authorization", "Bearer sk-client", "Accept-Encoding", "gzip", "Content-Length", "300")
	upstream := header("Content-Type", "application/json", "Content-Length", "600", "Date", "Wed, 14 Oct 2026 09:20:30 GMT",
		"Server", "cloudflare", "Cf-Ray", "1", "Connection", "keep-alive", "X-Request-Id", "1", "Access-Control-Allow-Origin", "*")
	up, down := http.Header{}, http.Header{}
	b.ReportAllocs()
	for b.Loop() {
		clear(up)
		clear(down)
		a.SetHeaders(up, client, lent)
		CopyResponseHeaders(down, upstream)
	}
}

// TestHeadersAllocate: a request costs one allocation for the key's header.
func TestHeadersAllocate(t *testing.T) {
	a := newAdapter(t, gateway.OpenRouter)
	client := header("Content-Type", "application/json", "User-Agent", "client/1", "Connection", "keep-alive")
	upstream := header("Content-Type", "application/json", "Connection", "keep-alive", "X-Request-Id", "1")
	up, down := http.Header{}, http.Header{}
	n := testing.AllocsPerRun(100, func() {
		clear(up)
		clear(down)
		a.SetHeaders(up, client, lent)
		CopyResponseHeaders(down, upstream)
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
}
