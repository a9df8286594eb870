package provider

import (
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func TestJudgeEvent(t *testing.T) {
	f := func(name gateway.ProviderName, payload string, want gateway.Verdict) {
		t.Helper()
		got, is := newAdapter(t, name).JudgeEvent([]byte(payload), now)
		if !is || got != want {
			t.Errorf("%s: %s\n got %v %+v\nwant %+v", name, payload, is, got, want)
		}
	}
	fault := because(struck, "upstream fault")
	refused := because(delivered, "request refused")
	unauthorized := because(keyFailed, "401 unauthorized")

	// Ollama: a line with the error as a string.
	f(gateway.Ollama, `{"error":"an error was encountered while running the model"}`, fault)
	f(gateway.Ollama, `{"error":"you've reached your weekly usage limit"}`, until(rests, "quota: weekly", "2026-10-19T00:00:00Z"))
	f(gateway.Ollama, `{"error":{"message":"timed out waiting for a concurrent request slot","type":"api_error","param":null,"code":null}}`, because(rests, "quota: requests at once"))
	f(gateway.Ollama, `{"error":"this model requires a subscription, upgrade for access: https://ollama.com/upgrade"}`, passedOver)
	f(gateway.Ollama, `{"error":"unauthorized","signin_url":"https://ollama.com/connect"}`, unauthorized)
	f(gateway.Ollama, `{"error":"model 'x' not found"}`, because(delivered, "404 model unknown upstream"))
	f(gateway.Ollama, `{"error":"Server overloaded, please retry shortly"}`, fault)
	f(gateway.Ollama, `{"error":"no","status_code":401}`, unauthorized)
	f(gateway.Ollama, `{"error":true}`, fault)

	// OpenRouter: a chunk with an error object, code as a number or a string.
	f(gateway.OpenRouter, `{"id":"gen-1","object":"chat.completion.chunk","provider":"OpenAI","error":{"code":429,"message":"Rate limit exceeded","metadata":{"error_type":"rate_limit_exceeded"}},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}`, because(rests, "quota"))
	f(gateway.OpenRouter, `{"error":{"code":"429","message":"Provider returned error","metadata":{"provider_name":"X"}}}`, ofModel)
	f(gateway.OpenRouter, `{"error":{"code":502,"message":"Provider disconnected"}}`, fault)
	f(gateway.OpenRouter, `{"error":{"code":402,"message":"no","metadata":{"limit_source":"openrouter_credits"}}}`, gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: "402 no credit"})
	f(gateway.OpenRouter, `{"error":{"code":403,"message":"no","metadata":{"reasons":["x"]}}}`, because(delivered, "403 input refused"))
	f(gateway.OpenRouter, `{"error":{"code":400,"message":"no"}}`, refused)
	f(gateway.OpenRouter, `{"error":{"message":"no","metadata":{"error_type":"provider_overloaded"}}}`, fault)
	f(gateway.OpenRouter, `{"choices":[{"message":{"content":"half"},"finish_reason":"error","error":{"code":502,"message":"Provider disconnected mid-stream"}}]}`, fault)
	f(gateway.OpenRouter, `{"type":"response.failed","response":{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"Invalid credentials"},"error_type":"authentication"}}`, unauthorized)
	f(gateway.OpenRouter, `{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"x"},"error_type":"context_length_exceeded"}`, refused)

	// OpenAI's and Anthropic's.
	for _, name := range gateway.Providers() {
		f(name, `{"type":"response.failed","response":{"error":{"code":"server_error","message":"no"}}}`, fault)
		f(name, `{"type":"error","code":"rate_limit_exceeded","message":"no","param":null}`, because(rests, "quota"))
		f(name, `{"type":"error","message":"no"}`, fault)
		f(name, `{"type":"error","error":{"code":"invalid_api_key","message":"no","type":"invalid_request_error"}}`, unauthorized)
		f(name, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, fault)
		f(name, `{"type":"error","error":{"type":"invalid_request_error","message":"no"}}`, refused)
		f(name, `{"type":"error","error":{"type":"permission_error","message":"no"}}`, because(unknown, "403 unexplained"))
		f(name, `{"error": {"message":"no","code":999}}`, fault)
		f(name, `{"error" : "cut off in the mid`+strings.Repeat("d", 5000)+`"}`, fault)
		f(name, ` {"error":{"code":200,"message":"no"}}`, fault)
	}
}

func TestNoErrorEvent(t *testing.T) {
	for _, payload := range []string{
		``, ` `, `[DONE]`, `null`, `"error"`, `{}`, `[]`, `{"error`, `{"error"`, `{"error":`, `{"error":"`,
		`{"id":"x","choices":[{"delta":{"content":"an \"error\": {\"code\":401}"}}]}`,
		`{"error":null,"choices":[]}`,
		`{"error":{},"choices":[]}`,
		`{"error":"","choices":[]}`,
		`{"error":false}`,
		`{"error":[]}`,
		`{"type":"response.completed","response":{"id":"x","error":null,"output":[{"content":"x"}]}}`,
		`{"type":"response.output_item.done","item":{"type":"mcp_call","error":{"code":401}}}`,
		`{"choices":[{"delta":{"tool_calls":[{"function":{"name":"error"}}]}}]}`,
		`{"errors":[{"message":"x"}],"model":"error"}`,
		`{"message":{"content":"","error":"x"},"done":false}`,
	} {
		for _, name := range gateway.Providers() {
			if v, is := newAdapter(t, name).JudgeEvent([]byte(payload), now); is || v != (gateway.Verdict{}) {
				t.Errorf("%s: taken for an error: %+v", payload, v)
			}
		}
	}
}

// TestStatusNames: a name that stands for a status must be found as it is written.
func TestStatusNames(t *testing.T) {
	for name, status := range statusNames {
		if name != strings.ToLower(name) || status < 400 || status > 599 {
			t.Errorf("%s: %d", name, status)
		}
	}
	for _, w := range statusWords {
		for _, p := range w.words {
			if p != plain(p) {
				t.Errorf("%q can never be found in plain text", p)
			}
		}
	}
}
