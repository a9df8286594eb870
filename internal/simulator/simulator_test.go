package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

const good = "fake-good-key"

var testKeys = map[string]Fate{
	good: FateOK, "fake-revoked-key": FateRevoked, "fake-poor-key": FateNoCredit, "fake-quota-key": FateOverQuota,
	"fake-week-key": FateOverWeek, "fake-plan-key": FatePlan, "fake-flaky-key": FateFlaky,
}

var noon = time.Date(2025, 11, 3, 12, 0, 0, 0, time.UTC)

func newSimulator() *Simulator {
	return New(Options{Keys: testKeys, Now: func() time.Time { return noon }})
}

// do asks the simulator without a socket.
func do(s *Simulator, method, path, key, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(context.Background(), method, path, strings.NewReader(body))
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// spoke is an address that answers with words.
type spoke struct {
	path, body string // the body without stream, open at its end
	last       string // what ends the stream
}

func spokes() []spoke {
	const chat = `"messages":[{"role":"user","content":"Why is the sky blue?"}]`
	const router = `"model":"openai/gpt-oss-20b:free"`
	return []spoke{
		{"/api/chat", `{"model":"gpt-oss:20b",` + chat, `"done":true,"done_reason":"stop"`},
		{"/api/generate", `{"model":"gpt-oss:20b","prompt":"Why is the sky blue?"`, `"done":true,"done_reason":"stop"`},
		{"/v1/chat/completions", `{"model":"gpt-oss:20b",` + chat, "data: [DONE]\n\n"},
		{"/v1/completions", `{"model":"gpt-oss:20b","prompt":"Why is the sky blue?"`, "data: [DONE]\n\n"},
		{"/v1/responses", `{"model":"gpt-oss:20b","input":"Why is the sky blue?"`, `event: response.completed`},
		{"/v1/messages", `{"model":"gpt-oss:20b","max_tokens":1000,` + chat, `event: message_stop`},
		{"/openrouter/v1/chat/completions", `{` + router + `,` + chat, "data: [DONE]\n\n"},
		{"/openrouter/v1/completions", `{` + router + `,"prompt":["Why is the sky blue?"]`, "data: [DONE]\n\n"},
		{"/openrouter/v1/responses", `{` + router + `,"input":[{"role":"user","content":[{"type":"input_text","text":"Why is the sky blue?"}]}]`, `event: response.completed`},
		{"/openrouter/v1/messages", `{` + router + `,` + chat, `event: message_stop`},
	}
}

// payloads are the JSON values of an answer of any kind.
func payloads(tb testing.TB, body string) []map[string]any {
	tb.Helper()
	var out []map[string]any
	for line := range strings.Lines(body) {
		line = strings.TrimPrefix(strings.TrimRight(line, "\n"), "data: ")
		if !strings.HasPrefix(line, "{") {
			continue
		}
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			tb.Fatalf("%v in %q", err, line)
		}
		out = append(out, v)
	}
	return out
}

// words gathers what a streamed answer says, wherever its dialect puts it.
func words(parts []map[string]any) string {
	var b strings.Builder
	for _, p := range parts {
		for _, path := range [][]string{{"message", "content"}, {"response"}, {"choices", "delta", "content"}, {"choices", "text"}, {"delta", "text"}, {"delta"}} {
			if s, ok := dig(p, path).(string); ok {
				b.WriteString(s)
			}
		}
	}
	return b.String()
}

// dig follows a path of fields; of a list it takes the first.
func dig(v any, path []string) any {
	for _, name := range path {
		if list, ok := v.([]any); ok {
			if len(list) == 0 {
				return nil
			}
			v = list[0]
		}
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	return v
}

// used finds the input and output tokens of an answer.
func used(parts []map[string]any) (in, out float64) {
	for _, p := range parts {
		for _, path := range [][]string{{}, {"usage"}, {"response", "usage"}, {"message", "usage"}} {
			for _, name := range []string{"prompt_tokens", "input_tokens", "prompt_eval_count"} {
				if n, ok := dig(p, append(slices.Clone(path), name)).(float64); ok {
					in = n
				}
			}
			for _, name := range []string{"completion_tokens", "output_tokens", "eval_count"} {
				if n, ok := dig(p, append(slices.Clone(path), name)).(float64); ok {
					out = n
				}
			}
		}
	}
	return in, out
}

func TestEveryDialectSaysTheSame(t *testing.T) {
	for _, tt := range spokes() {
		t.Run(tt.path, func(t *testing.T) {
			s := newSimulator()
			whole := do(s, "POST", tt.path, good, tt.body+`,"stream":false}`)
			if whole.Code != 200 || !strings.HasPrefix(whole.Header().Get("Content-Type"), "application/json") {
				t.Fatalf("got %d %v: %s", whole.Code, whole.Header(), whole.Body)
			}
			for _, want := range []string{"This is a simulated answer", "You wrote: “Why is the sky blue?”"} {
				if !strings.Contains(whole.Body.String(), want) {
					t.Errorf("the answer lacks %q: %s", want, whole.Body)
				}
			}
			stream := do(s, "POST", tt.path, good, tt.body+`,"stream":true,"stream_options":{"include_usage":true}}`)
			if got := stream.Header().Get("Content-Type"); got != "text/event-stream" && got != "application/x-ndjson" {
				t.Errorf("a stream of type %q", got)
			}
			if !strings.Contains(stream.Body.String(), tt.last) {
				t.Errorf("the stream does not end with %q: %s", tt.last, stream.Body)
			}
			parts := payloads(t, stream.Body.String())
			if len(parts) < 20 {
				t.Errorf("a stream of %d parts", len(parts))
			}
			if said := words(parts); !strings.Contains(whole.Body.String(), said) || !strings.HasPrefix(said, "This is a simulated answer") {
				t.Errorf("the stream says %q, the whole answer is %s", said, whole.Body)
			}
			in, out := used(payloads(t, whole.Body.String()))
			streamIn, streamOut := used(parts)
			if in == 0 || out == 0 || in != streamIn || out != streamOut {
				t.Errorf("tokens %v and %v, in the stream %v and %v", in, out, streamIn, streamOut)
			}
		})
	}
}

func TestStreamingIsTheDefaultOfTheNativeAPIOnly(t *testing.T) {
	for _, tt := range spokes() {
		got := do(newSimulator(), "POST", tt.path, good, tt.body+"}")
		native := strings.HasPrefix(tt.path, "/api/")
		if streamed := got.Header().Get("Content-Type") == "application/x-ndjson"; streamed != native {
			t.Errorf("%s: streamed %v", tt.path, streamed)
		}
	}
}

func TestUsageInAStream(t *testing.T) {
	const body = `{"model":"%s","stream":true,"messages":[{"role":"user","content":"hi"}]%s}`
	for _, tt := range []struct {
		path, model, more string
		want              bool
	}{
		{"/v1/chat/completions", "gpt-oss:20b", "", false},
		{"/v1/chat/completions", "gpt-oss:20b", `,"stream_options":{"include_usage":true}`, true},
		{"/openrouter/v1/chat/completions", "qwen/qwen3-coder", "", true},
	} {
		got := do(newSimulator(), "POST", tt.path, good, fmt.Sprintf(body, tt.model, tt.more))
		if has := strings.Contains(got.Body.String(), `"usage"`); has != tt.want {
			t.Errorf("%s%s: usage %v, want %v", tt.path, tt.more, has, tt.want)
		}
	}
	got := do(newSimulator(), "POST", "/openrouter/v1/chat/completions", good, fmt.Sprintf(body, "qwen/qwen3-coder", ""))
	if !strings.HasPrefix(got.Body.String(), ": OPENROUTER PROCESSING\n\n") || !strings.HasPrefix(got.Header().Get("X-Generation-Id"), "gen-") {
		t.Errorf("not like OpenRouter: %v %.80s", got.Header(), got.Body)
	}
}

func TestAnswersEndAtTheLimit(t *testing.T) {
	for _, tt := range []struct{ path, body, reason string }{
		{"/api/chat", `{"model":"gpt-oss:20b","stream":false,"options":{"num_predict":3},"messages":[{"content":"x"}]}`, `"done_reason":"length"`},
		{"/v1/chat/completions", `{"model":"gpt-oss:20b","max_tokens":3,"messages":[{"content":"x"}]}`, `"finish_reason":"length"`},
		{"/v1/chat/completions", `{"model":"gpt-oss:20b","max_completion_tokens":3,"stream":true,"messages":[{"content":"x"}]}`, `"finish_reason":"length"`},
		{"/v1/responses", `{"model":"gpt-oss:20b","max_output_tokens":3,"input":"x"}`, `"incomplete_details":{"reason":"max_output_tokens"}`},
		{"/v1/responses", `{"model":"gpt-oss:20b","max_output_tokens":3,"stream":true,"input":"x"}`, `event: response.incomplete`},
		{"/v1/messages", `{"model":"gpt-oss:20b","max_tokens":3,"messages":[{"content":"x"}]}`, `"stop_reason":"max_tokens"`},
	} {
		got := do(newSimulator(), "POST", tt.path, good, tt.body).Body.String()
		if !strings.Contains(got, tt.reason) {
			t.Errorf("%s %s: no %s in %s", tt.path, tt.body, tt.reason, got)
		}
		if _, out := used(payloads(t, got)); out != 3 && out != 0 {
			t.Errorf("%s %s: %v tokens", tt.path, tt.body, out)
		}
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	tests := []struct {
		name, method, path, key, body string
		status                        int
		want                          string
	}{
		{"check of a good key", "POST", "/v1/chat/completions", good, "{}", 400, `{"error":{"message":"model is required","type":"invalid_request_error","param":null,"code":null}}`},
		{"check of a bad key", "POST", "/v1/chat/completions", "fake-unknown-key", "{}", 401, `"message":"unauthorized"`},
		{"check of a key out of quota", "POST", "/v1/chat/completions", "fake-quota-key", "{}", 400, "model is required"},
		{"no key", "POST", "/api/chat", "", "{}", 401, `{"error":"unauthorized"}`},
		{"bad key of messages", "POST", "/v1/messages", "fake-revoked-key", "{}", 401, `"type":"authentication_error"`},
		{"not JSON", "POST", "/api/chat", good, "{", 400, `{"error":"invalid request body: `},
		{"wrong type", "POST", "/v1/chat/completions", good, `{"model":7}`, 400, "invalid request body"},
		{"unknown model", "POST", "/api/generate", good, `{"model":"nonsense"}`, 404, `{"error":"model 'nonsense' not found"}`},
		{"unknown model of OpenAI", "POST", "/v1/chat/completions", good, `{"model":"nonsense"}`, 404, `{"error":{"message":"model 'nonsense' not found","type":"not_found_error"`},
		{"unknown model of Anthropic", "POST", "/v1/messages", good, `{"model":"nonsense"}`, 404, `{"type":"error","error":{"type":"not_found_error","message":"model 'nonsense' not found"}`},
		{"unknown model of OpenRouter", "POST", "/openrouter/v1/chat/completions", good, `{"model":"a/b"}`, 400, `{"error":{"message":"a/b is not a valid model ID","code":400}}`},
		{"no messages", "POST", "/v1/chat/completions", good, `{"model":"gpt-oss:20b"}`, 400, "messages is required"},
		{"no prompt", "POST", "/v1/completions", good, `{"model":"gpt-oss:20b"}`, 400, "prompt is required"},
		{"no input", "POST", "/v1/responses", good, `{"model":"gpt-oss:20b"}`, 400, "input is required"},
		{"no max_tokens", "POST", "/v1/messages", good, `{"model":"gpt-oss:20b","messages":[{"content":"x"}]}`, 400, "max_tokens is required and must be positive"},
		{"nothing to embed", "POST", "/api/embed", good, `{"model":"embeddinggemma:300m"}`, 400, "input is required"},
		{"nothing to embed, older", "POST", "/api/embeddings", good, `{"model":"embeddinggemma:300m"}`, 400, "prompt is required"},
		{"nothing to embed, OpenAI", "POST", "/v1/embeddings", good, `{"model":"embeddinggemma:300m"}`, 400, "input is required"},
		{"chat with vectors", "POST", "/api/chat", good, `{"model":"embeddinggemma:300m","messages":[{"content":"x"}]}`, 400, "does not support chat"},
		{"generate with vectors", "POST", "/api/generate", good, `{"model":"embeddinggemma:300m","prompt":"x"}`, 400, "does not support generate"},
		{"completions with vectors", "POST", "/v1/completions", good, `{"model":"embeddinggemma:300m","prompt":"x"}`, 400, "does not support chat"},
		{"show of nothing", "POST", "/api/show", "", `{}`, 400, "model is required"},
		{"show of an unknown model", "POST", "/api/show", "", `{"model":"nonsense"}`, 404, "not found"},
		{"search for nothing", "POST", "/api/web_search", good, `{}`, 400, "query is required"},
		{"search without a key", "POST", "/api/web_search", "", `{"query":"x"}`, 401, "unauthorized"},
		{"fetch of nothing", "POST", "/api/web_fetch", good, `{}`, 400, "url is required"},
		{"unknown entry", "GET", "/v1/models/nonsense", good, "", 404, "not found"},
		{"unknown path", "GET", "/api/ps", good, "", 404, `{"error":"path \"/api/ps\" not found"}`},
		{"unknown path of OpenRouter", "GET", "/openrouter/v1/nonsense", good, "", 404, `"code":404`},
		{"wrong method", "GET", "/api/chat", good, "", 405, `{"error":"method not allowed"}`},
		{"key of OpenRouter, none", "GET", "/openrouter/v1/key", "", "", 401, `{"error":{"message":"No auth credentials found","code":401}}`},
		{"key of OpenRouter, bad", "GET", "/openrouter/v1/key", "fake-revoked-key", "", 401, `{"error":{"message":"User not found.","code":401}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := do(newSimulator(), tt.method, tt.path, tt.key, tt.body)
			if got.Code != tt.status || !strings.Contains(got.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d with %s", got.Code, got.Body, tt.status, tt.want)
			}
			if !json.Valid(got.Body.Bytes()) {
				t.Errorf("not JSON: %s", got.Body)
			}
			if tt.status == 405 && got.Header().Get("Allow") != "POST" {
				t.Errorf("Allow: %q", got.Header().Get("Allow"))
			}
		})
	}
}

func TestFates(t *testing.T) {
	const free, extra = `{"model":"gpt-oss:20b","prompt":"x"}`, `{"model":"kimi-k2:1t","prompt":"x"}`
	const routerFree, routerExtra = `{"model":"qwen/qwen3-coder:free","prompt":"x"}`, `{"model":"qwen/qwen3-coder","prompt":"x"}`
	tests := []struct {
		key, path, body string
		status          int
		want            string
	}{
		{good, "/api/generate", extra, 200, "simulated"},
		{"fake-poor-key", "/api/generate", free, 402, "payment required"},
		{"fake-quota-key", "/api/generate", free, 429, `{"error":"you've reached your hourly usage limit, please wait or upgrade to continue"}`},
		{"fake-week-key", "/v1/completions", free, 429, "you've reached your weekly usage limit"},
		{"fake-plan-key", "/api/generate", free, 200, "simulated"},
		{"fake-plan-key", "/api/generate", extra, 403, "this model requires a subscription, upgrade for access: https://ollama.com/upgrade (ref: "},
		{"fake-quota-key", "/api/web_search", `{"query":"x"}`, 429, "hourly usage limit"},
		{good, "/openrouter/v1/completions", routerExtra, 200, "simulated"},
		{"fake-poor-key", "/openrouter/v1/completions", routerFree, 402, `"limit_source":"openrouter_credits"`},
		{"fake-quota-key", "/openrouter/v1/completions", routerFree, 429, `"X-RateLimit-Reset":"1762214400000"`},
		{"fake-plan-key", "/openrouter/v1/completions", routerFree, 200, "simulated"},
		{"fake-plan-key", "/openrouter/v1/completions", routerExtra, 402, `"limit_source":"openrouter_key_limit","resets_at":"2025-11-04T00:00:00Z"`},
	}
	for _, tt := range tests {
		t.Run(tt.key+tt.path, func(t *testing.T) {
			got := do(newSimulator(), "POST", tt.path, tt.key, tt.body)
			if got.Code != tt.status || !strings.Contains(got.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d with %s", got.Code, got.Body, tt.status, tt.want)
			}
		})
	}
	got := do(newSimulator(), "POST", "/openrouter/v1/completions", "fake-quota-key", routerFree)
	if reset := got.Header().Get("X-RateLimit-Reset"); reset != fmt.Sprint(time.Date(2025, 11, 4, 0, 0, 0, 0, time.UTC).UnixMilli()) {
		t.Errorf("X-RateLimit-Reset: %q", reset)
	}
}

func TestFlakyKeysFailEveryThirdTime(t *testing.T) {
	s := newSimulator()
	var got []int
	for range 7 {
		got = append(got, do(s, "POST", "/api/generate", "fake-flaky-key", `{"model":"gpt-oss:20b","prompt":"x"}`).Code)
	}
	if want := []int{200, 200, 503, 200, 200, 503, 200}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	want := map[Call]int{{"fake-flaky-key", 200}: 5, {"fake-flaky-key", 503}: 2}
	if calls := s.Calls(); !maps.Equal(calls, want) {
		t.Errorf("calls: %v, want %v", calls, want)
	}
}

func TestKeyOfOpenRouter(t *testing.T) {
	for key, want := range map[string]string{
		good: `"limit_remaining":null`, "fake-plan-key": `"limit_remaining":0`, "fake-quota-key": `"is_free_tier":true`, "fake-poor-key": `"label":"fa…"`,
	} {
		got := do(newSimulator(), "GET", "/openrouter/v1/key", key, "")
		if got.Code != 200 || !strings.Contains(got.Body.String(), want) {
			t.Errorf("%s: %d %s", key, got.Code, got.Body)
		}
	}
}

func TestPaceAndLeaving(t *testing.T) {
	for _, tt := range spokes() {
		t.Run(tt.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{Keys: testKeys, Pace: time.Second})
				began := time.Now()
				whole := do(s, "POST", tt.path, good, tt.body+`,"stream":false}`)
				spent := time.Since(began)
				if whole.Code != 200 || spent < 20*time.Second {
					t.Errorf("a whole answer took %v", spent)
				}
				began = time.Now()
				do(s, "POST", tt.path, good, tt.body+`,"stream":true}`)
				if time.Since(began) != spent {
					t.Errorf("the stream took %v, the whole answer %v", time.Since(began), spent)
				}
				for _, stream := range []string{`,"stream":true}`, `,"stream":false}`} {
					ctx, cancel := context.WithTimeout(t.Context(), 3500*time.Millisecond)
					began = time.Now()
					r := httptest.NewRequestWithContext(ctx, "POST", tt.path, strings.NewReader(tt.body+stream))
					r.Header.Set("Authorization", "Bearer "+good)
					w := httptest.NewRecorder()
					s.ServeHTTP(w, r)
					cancel()
					if time.Since(began) != 3500*time.Millisecond || strings.Contains(w.Body.String(), tt.last) {
						t.Errorf("after the client left: %v, %s", time.Since(began), w.Body)
					}
				}
			})
		})
	}
}

func TestOverASocket(t *testing.T) {
	s := New(Options{Keys: SampleFates()})
	server := httptest.NewServer(s)
	defer server.Close()
	var clients sync.WaitGroup
	for _, sample := range SampleKeys(gateway.Ollama) {
		clients.Go(func() {
			for range 3 {
				req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/v1/chat/completions",
					strings.NewReader(`{"model":"gpt-oss:120b","stream":true,"messages":[{"role":"user","content":"hi"}]}`))
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+sample.Secret.Reveal())
				resp, err := server.Client().Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || (resp.StatusCode == 200) != strings.HasSuffix(string(body), "data: [DONE]\n\n") {
					t.Errorf("%s: %d, %v, %s", sample.Fate, resp.StatusCode, err, body)
				}
			}
		})
	}
	clients.Wait()
	total := 0
	for _, n := range s.Calls() {
		total += n
	}
	if want := 3 * len(SampleKeys(gateway.Ollama)); total != want {
		t.Errorf("%d calls, want %d", total, want)
	}
}

// FuzzBodies sends any bytes to the addresses that read a body: the answer is
// one of the known statuses and, where it comes whole, JSON.
func FuzzBodies(f *testing.F) {
	for _, tt := range spokes() {
		f.Add(tt.body + "}")
	}
	f.Add(`{"model":"embeddinggemma:300m","input":["a",["b"],{"text":"c"},1,null],"dimensions":3,"encoding_format":"base64"}`)
	f.Add(`{"model":"gpt-oss:20b","messages":[{"content":[{"type":"text","text":"\ud800"}]}],"max_tokens":1}`)
	f.Add(`{"query":"x","max_results":-1,"url":"%"}`)
	f.Fuzz(func(t *testing.T, body string) {
		s := newSimulator()
		for _, path := range []string{
			"/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show", "/api/web_search", "/api/web_fetch",
			"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/openrouter/v1/messages",
		} {
			got := do(s, "POST", path, good, body)
			if got.Code != 200 && got.Code != 400 && got.Code != 404 {
				t.Errorf("%s: %d", path, got.Code)
			}
			if strings.HasPrefix(got.Header().Get("Content-Type"), "application/json") && !json.Valid(got.Body.Bytes()) {
				t.Errorf("%s: not JSON: %q", path, got.Body)
			}
		}
	})
}
