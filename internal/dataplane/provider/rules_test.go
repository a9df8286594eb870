package provider

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// now is a Wednesday, in the middle of an hour and of one of Ollama's sessions.
var now = time.Date(2026, 10, 14, 9, 20, 30, 0, time.UTC)

func newAdapter(t testing.TB, name gateway.ProviderName) *Adapter {
	t.Helper()
	base := map[gateway.ProviderName]string{
		gateway.Ollama:     "https://ollama.com",
		gateway.OpenRouter: "https://openrouter.ai/api",
	}[name]
	a, err := New(name, Options{BaseURL: base, AppURL: "https://pool.example", AppTitle: "Pool", Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for pair := range slices.Chunk(pairs, 2) {
		h.Add(pair[0], pair[1])
	}
	return h
}

// golden is an answer, the rule that must judge it, and the whole verdict.
type golden struct {
	rule   string
	status int
	header http.Header
	body   string
	want   gateway.Verdict
}

// What follows from the common outcomes.
var (
	worked     = gateway.Verdict{OK: true}
	delivered  = gateway.Verdict{Scope: gateway.ScopeRequest, Next: gateway.NextDeliver}
	keyFailed  = gateway.Verdict{Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey}
	struck     = gateway.Verdict{Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause}
	unknown    = gateway.Verdict{Scope: gateway.ScopeUnknown, Next: gateway.NextKey}
	passedOver = gateway.Verdict{
		Scope: gateway.ScopeKeyModel, Action: gateway.ActionPassOver, Next: gateway.NextKeyOnce, For: 24 * time.Hour,
		Reason: "plan lacks the model",
	}
	rests    = gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey}
	keyRests = gateway.Verdict{Scope: gateway.ScopeKey, Action: gateway.ActionRestKey, Next: gateway.NextKey}
	ofModel  = gateway.Verdict{
		Scope: gateway.ScopeModel, Next: gateway.NextDeliver, Reason: "429 of the model's provider",
	}
)

func because(v gateway.Verdict, reason string) gateway.Verdict {
	v.Reason = reason
	return v
}

func until(v gateway.Verdict, reason, end string) gateway.Verdict {
	v.Reason = reason
	if end != "" {
		t, err := time.Parse(time.RFC3339Nano, end)
		if err != nil {
			panic(err)
		}
		v.Until = t
	}
	return v
}

var (
	asHTML = header("Content-Type", "text/html; charset=UTF-8")
	asJSON = header("Content-Type", "application/json")
)

// anyGolden hold for both providers.
var anyGolden = []golden{
	{"any-2xx", 200, asJSON, `{"choices":[]}`, worked},
	{"any-2xx", 204, nil, ``, worked},
	{"any-2xx", 200, asJSON, `{"error":"in a body that the stream's reader judges"}`, worked},
	{"any-3xx", 301, header("Location", "https://elsewhere.example/"), ``, because(delivered, "redirect")},
	{"any-3xx", 304, nil, ``, because(delivered, "redirect")},

	{"any-401", 401, asJSON, `{"error":"unauthorized"}`, because(keyFailed, "401 unauthorized")},
	{"any-401", 401, asJSON, `{"error":{"message":"User not found.","code":401}}`, because(keyFailed, "401 unauthorized")},
	{"any-401", 401, asHTML, `<html>please sign in</html>`, because(keyFailed, "401 unauthorized")},
	{"any-401", 401, nil, ``, because(keyFailed, "401 unauthorized")},
	{"any-402", 402, asJSON, `{"error":{"message":"Insufficient credits","code":402}}`, because(keyFailed, "402 no credit")},
	{"any-402", 402, nil, ``, because(keyFailed, "402 no credit")},

	{"any-403-page", 403, asHTML, `<p>Sorry, your account has been blocked`, because(struck, "403 web page")},
	{"any-403-page", 403, nil, "\n <!DOCTYPE html><title>Attention Required! | Cloudflare</title>", because(struck, "403 web page")},
	{"any-403-page", 403, header("Content-Type", "text/plain"), `<HTML><body>invalid api key`, because(struck, "403 web page")},
	{"any-403-page", 403, header("Content-Type", "text/html", "Content-Encoding", "gzip"), "\x1f\x8b\x08", because(struck, "403 web page")},

	{"any-403-input", 403, asJSON, `{"error":"Your input was flagged by moderation"}`, because(delivered, "403 input refused")},
	{"any-403-input", 403, asJSON, `{"error":{"message":"Request blocked: prompt injection patterns detected","code":403}}`, because(delivered, "403 input refused")},
	{"any-403-input", 403, asJSON, `{"type":"error","error":{"type":"permission_error","message":"this violates our usage policy"}}`, because(delivered, "403 input refused")},

	{"any-403-banned", 403, asJSON, `{"error":"Your account has been suspended."}`, because(keyFailed, "403 key refused")},
	{"any-403-banned", 403, asJSON, `{"error":{"message":"This organization was banned"}}`, because(keyFailed, "403 key refused")},
	{"any-403-banned", 403, asJSON, `{"error":{"message":"Forbidden","code":"invalid_api_key"}}`, because(keyFailed, "403 key refused")},
	{"any-403-banned", 403, asJSON, `{"message":"user disabled"}`, because(keyFailed, "403 key refused")},
	{"any-403-banned", 403, asJSON, `{"detail":"API key revoked"}`, because(keyFailed, "403 key refused")},
	{"any-403-banned", 403, nil, `unauthorized`, because(keyFailed, "403 key refused")},
	{"any-403-banned", 403, asJSON, `"invalid api key"`, because(keyFailed, "403 key refused")},

	{"any-403-plan", 403, asJSON, `{"error":{"message":"You do not have access to this model"}}`, passedOver},
	{"any-403-plan", 403, asJSON, `{"error":"Your API key is not allowed to use the model \"secret/one\""}`, passedOver},
	{"any-403-plan", 403, asJSON, `{"error":"please upgrade your plan"}`, passedOver},

	{"any-403-key", 403, asJSON, `{"error":"this API-key may not do that"}`, because(keyFailed, "403 key refused")},
	{"any-403-key", 403, asJSON, `{"error":{"type":"authentication_error","message":"no"}}`, because(keyFailed, "403 key refused")},
	{"any-403-key", 403, asJSON, `{"error":{"message":"Your account is not allowed here"}}`, because(keyFailed, "403 key refused")},

	{"any-403", 403, asJSON, `{"error":"Forbidden"}`, because(unknown, "403 unexplained")},
	{"any-403", 403, nil, `Forbidden`, because(unknown, "403 unexplained")},
	{"any-403", 403, nil, ``, because(unknown, "403 unexplained")},
	{"any-403", 403, asJSON, `{"error":"this model is disabled"}`, because(unknown, "403 unexplained")},
	{"any-403", 403, asJSON, `{"error":"Country, region, or territory not supported"}`, because(unknown, "403 unexplained")},

	{"any-408", 408, asJSON, `{"error":"timeout"}`, because(struck, "408 upstream timeout")},
	{"any-429", 429, asJSON, `{"error":"slow down"}`, because(rests, "quota")},
	{"any-429", 429, nil, ``, because(rests, "quota")},
	{"any-429", 429, asHTML, `<html>weekly usage limit`, because(rests, "quota")},
	{"any-429", 429, header("Retry-After", "90"), ``, until(rests, "quota", "2026-10-14T09:22:00Z")},
	{"any-429", 429, header("Retry-After", "Wed, 14 Oct 2026 10:00:00 GMT"), ``, until(rests, "quota", "2026-10-14T10:00:00Z")},
	{"any-429", 429, header("X-RateLimit-Reset", "1791972000000"), ``, until(rests, "quota", "2026-10-14T10:00:00Z")},

	{"any-4xx", 400, asJSON, `{"error":"invalid api key in the prompt"}`, because(delivered, "request refused")},
	{"any-4xx", 404, asHTML, `<html>nothing here</html>`, because(delivered, "request refused")},
	{"any-4xx", 405, nil, ``, because(delivered, "request refused")},
	{"any-4xx", 413, nil, ``, because(delivered, "request refused")},
	{"any-4xx", 415, nil, ``, because(delivered, "request refused")},
	{"any-4xx", 422, asJSON, `{"detail":[{"msg":"field required"}]}`, because(delivered, "request refused")},
	{"any-4xx", 451, nil, ``, because(delivered, "request refused")},

	{"any-5xx", 500, asJSON, `{"error":"Internal Server Error (ref: 413f0a6e)"}`, because(struck, "upstream fault")},
	{"any-5xx", 502, asHTML, `<html>Bad Gateway</html>`, because(struck, "upstream fault")},
	{"any-5xx", 503, asJSON, `{"error":"Server overloaded, please retry shortly (ref: 06d81c91)"}`, because(struck, "upstream fault")},
	{"any-5xx", 504, nil, ``, because(struck, "upstream fault")},
	{"any-5xx", 529, asJSON, `{"type":"error","error":{"type":"overloaded_error"}}`, because(struck, "upstream fault")},

	{"any", 999, nil, ``, because(unknown, "no rule knows it")},
	{"any", 101, nil, ``, because(unknown, "no rule knows it")},
	{"any", 0, nil, ``, because(unknown, "no rule knows it")},
}

var ollamaGolden = []golden{
	{"ollama-plan", 403, asJSON, `{"error":"this model requires a subscription, upgrade for access: https://ollama.com/upgrade (ref: b7b9f6f9)"}`, passedOver},
	{"ollama-plan", 403, asJSON, "{\"type\":\"error\",\"error\":{\"type\":\"permission_error\",\"message\":\"this model\\n  requires a subscription, upgrade for access:\"}}", passedOver},
	{"ollama-plan", 402, asJSON, `{"error":{"message":"this model is not included in your free usage","type":"api_error","code":null}}`, passedOver},

	{"ollama-429-hourly", 429, asJSON, `{"error":"you've reached your hourly usage limit, please wait or upgrade to continue"}`, until(rests, "quota: hourly", "2026-10-14T10:00:00Z")},
	{"ollama-429-hourly", 429, asJSON, `{"error":{"message":"you’ve reached your hourly usage limit","type":"api_error","param":null,"code":null}}`, until(rests, "quota: hourly", "2026-10-14T10:00:00Z")},
	{"ollama-429-hourly", 429, header("Retry-After", "60"), `{"error":"you've reached your hourly usage limit"}`, until(rests, "quota: hourly", "2026-10-14T09:21:30Z")},
	{"ollama-429-session", 429, asJSON, `{"error":"you (somebody) have reached your session usage limit, upgrade for higher limits: https://ollama.com/upgrade"}`, until(rests, "quota: session", "2026-10-14T10:00:00Z")},
	{"ollama-429-daily", 429, nil, `you've reached your daily usage limit`, until(rests, "quota: daily", "2026-10-15T00:00:00Z")},
	{"ollama-429-weekly", 429, asJSON, `{"error":"you've reached your weekly usage limit, please wait or upgrade to continue"}`, until(rests, "quota: weekly", "2026-10-19T00:00:00Z")},
	{"ollama-429-weekly", 429, asJSON, `{"type":"error","error":{"type":"rate_limit_error","message":"you (x) have reached your weekly usage limit"}}`, until(rests, "quota: weekly", "2026-10-19T00:00:00Z")},
	{"ollama-429-monthly", 429, asJSON, `{"error":"you (somebody) have reached your monthly usage limit, upgrade for higher limits or add usage credits"}`, because(rests, "quota: monthly")},
	{"ollama-429-slots", 429, asJSON, `{"error":"timed out waiting for a concurrent request slot"}`, because(rests, "quota: requests at once")},

	{"ollama-404-path", 404, asJSON, `{"error":"path \"/v1/embeddings\" not found"}`, because(delivered, "404 address unknown upstream")},
	{"ollama-404-path", 404, header("Content-Type", "text/plain"), `404 page not found`, because(delivered, "404 address unknown upstream")},
	{"ollama-404-model", 404, asJSON, `{"error":"model 'qwen3' not found, try pulling it first"}`, because(delivered, "404 model unknown upstream")},
	{"ollama-404-model", 404, asJSON, `{"error":{"message":"model \"gpt-oss-120b\" not found","type":"not_found_error","code":null}}`, because(delivered, "404 model unknown upstream")},
	{"any-4xx", 404, asJSON, `{"error":"not found"}`, because(delivered, "request refused")},
}

var openRouterGolden = []golden{
	{"openrouter-weight", 402, asJSON, `{"error":{"code":402,"message":"Too dear","metadata":{"reason":"weight_exceeds_budget","limit_source":"openrouter_credits"}}}`, gateway.Verdict{Scope: gateway.ScopeKey, Next: gateway.NextKey, Reason: "request over the key's budget"}},
	{"openrouter-in-flight", 402, asJSON, `{"error":{"code":402,"message":"This request would exceed your available credits given your current in-flight requests.","metadata":{"reason":"in_flight_budget_exhausted","limit_source":"openrouter_in_flight_budget"}}}`, gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRestKey, Next: gateway.NextKey, For: 5 * time.Second, Reason: "quota: budget in flight"}},
	{"openrouter-in-flight", 402, header("Retry-After", "2"), `{"error":{"code":"402","metadata":{"limit_source":"openrouter_in_flight_budget"}}}`, gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionRestKey, Next: gateway.NextKey, Until: now.Add(2 * time.Second), Reason: "quota: budget in flight"}},
	{"openrouter-credits", 402, asJSON, `{"error":{"code":402,"message":"Insufficient credits","metadata":{"limit_source":"openrouter_credits"}}}`, gateway.Verdict{Scope: gateway.ScopeAccount, Action: gateway.ActionFail, Next: gateway.NextKey, Reason: "402 no credit"}},
	{"openrouter-limit-until", 402, asJSON, `{"error":{"code":402,"metadata":{"limit_source":"openrouter_key_limit","resets_at":"2026-10-20T00:00:00Z"}}}`, until(keyRests, "quota: spending limit", "2026-10-20T00:00:00Z")},
	{"openrouter-limit-until", 403, asJSON, `{"error":{"code":403,"metadata":{"limit_source":"openrouter_workspace_budget","resets_at":1792454400}}}`, until(keyRests, "quota: spending limit", "2026-10-20T00:00:00Z")},
	{"openrouter-limit-until", 403, asJSON, `{"error":{"code":403,"metadata":{"limit_source":"openrouter_guardrail_budget","resets_at":"1792454400000"}}}`, until(keyRests, "quota: spending limit", "2026-10-20T00:00:00Z")},
	{"openrouter-limit-daily", 403, asJSON, `{"error":{"message":"Key limit exceeded (daily limit). Manage it using https://openrouter.ai/settings/keys","code":403}}`, until(keyRests, "quota: spending limit, daily", "2026-10-15T00:00:00Z")},
	{"openrouter-limit-weekly", 403, asJSON, `{"error":{"message":"Key limit exceeded (weekly limit)","code":403}}`, until(keyRests, "quota: spending limit, weekly", "2026-10-19T00:00:00Z")},
	{"openrouter-limit-monthly", 403, asJSON, `{"error":{"message":"Key limit exceeded (monthly limit)","code":403,"metadata":{"limit_source":"openrouter_key_limit","resets_at":null}}}`, until(keyRests, "quota: spending limit, monthly", "2026-11-01T00:00:00Z")},
	{"openrouter-limit", 402, asJSON, `{"error":{"code":402,"metadata":{"limit_source":"openrouter_key_limit","resets_at":null}}}`, because(keyFailed, "402 no credit: spending limit")},
	{"openrouter-limit", 402, asJSON, `{"error":{"code":402,"metadata":{"limit_source":"openrouter_key_limit","resets_at":"2020-01-01T00:00:00Z"}}}`, because(keyFailed, "402 no credit: spending limit")},
	{"openrouter-limit-words", 403, asJSON, `{"error":{"message":"Key limit exceeded (total limit). Manage it using https://openrouter.ai/settings/keys","code":403}}`, because(keyFailed, "402 no credit: spending limit")},
	{"openrouter-403-moderation", 403, asJSON, `{"error":{"code":403,"message":"openai/gpt requires moderation on OpenAI. Your input was flagged","metadata":{"reasons":["violence"],"flagged_input":"the api key of an account ...","provider_name":"OpenAI","model_slug":"openai/gpt"}}}`, because(delivered, "403 input refused")},
	{"openrouter-403-moderation", 403, asJSON, `{"error":{"code":403,"message":"No","metadata":{"patterns":["ignore all previous instructions"]}}}`, because(delivered, "403 input refused")},
	{"openrouter-403-policy", 403, asJSON, `{"error":{"code":403,"message":"No","metadata":{"error_type":"content_policy_violation","provider_name":"OpenAI"}}}`, because(delivered, "403 input refused")},
	{"openrouter-403-policy", 403, asJSON, `{"type":"error","error":{"type":"api_error","message":"No","error_type":"refusal"}}`, because(delivered, "403 input refused")},
	{"openrouter-foreign", 401, asJSON, `{"error":{"message":"Provider returned error","code":401,"metadata":{"raw":"{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"invalid x-api-key\"}}","provider_name":"Anthropic"}}}`, because(unknown, "refused by the model's provider")},
	{"openrouter-foreign", 402, asJSON, `{"error":{"message":"Upstream error from Minimax: insufficient balance (1008)","code":402,"metadata":{"provider_name":"Minimax"}}}`, because(unknown, "refused by the model's provider")},
	{"openrouter-foreign", 403, asJSON, `{"error":{"message":"Provider returned error","code":403,"metadata":{"raw":"{\"error\":{\"code\":\"unsupported_country_region_territory\",\"message\":\"your account is not in a supported country\"}}","provider_name":"OpenAI","reasons":[]}}}`, because(unknown, "refused by the model's provider")},
	{"openrouter-429-daily", 429, asJSON, `{"error":{"message":"Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day","code":429,"metadata":{"headers":{"X-RateLimit-Limit":"50","X-RateLimit-Remaining":"0","X-RateLimit-Reset":"1791972000000"},"provider_name":null}}}`, until(rests, "quota: daily", "2026-10-14T10:00:00Z")},
	{"openrouter-429-daily", 429, asJSON, `{"error":{"message":"Rate limit exceeded: free-models-per-day-high-balance.","type":"rate_limit_error","code":"429"}}`, until(rests, "quota: daily", "2026-10-15T00:00:00Z")},
	{"openrouter-429-daily-source", 429, header("X-RateLimit-Reset", "1792022400000"), `{"error":{"message":"Rate limit exceeded","code":429,"metadata":{"limit_source":"openrouter_free_tier_daily"}}}`, until(rests, "quota: daily", "2026-10-15T00:00:00Z")},
	{"openrouter-429-account", 429, asJSON, `{"error":{"message":"Rate limit exceeded","code":429,"metadata":{"limit_source":"openrouter_free_tier_minute","provider_name":"X"}}}`, because(rests, "quota")},
	{"openrouter-429-model", 429, asJSON, `{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"z-ai/glm is temporarily rate-limited upstream.","provider_name":"BaseTen","limit_source":"upstream_provider_shared_pool"}}}`, ofModel},
	{"openrouter-429-model", 429, asJSON, `{"error":{"message":"Rate limit exceeded","code":429,"metadata":{"error_type":"rate_limit_exceeded","provider_code":"rate_limited"}}}`, ofModel},
	{"openrouter-429-upstream", 429, asJSON, `{"type":"error","error":{"type":"rate_limit_error","message":"z-ai/glm is temporarily rate-limited upstream."}}`, ofModel},
	{"any-429", 429, asJSON, `{"error":{"message":"Rate limit exceeded","code":429,"metadata":{"error_type":"rate_limit_exceeded"}}}`, because(rests, "quota")},
	{"any-429", 429, asJSON, `{"error":{"message":"you've reached your weekly usage limit","code":429}}`, because(rests, "quota")},
	{"any-4xx", 404, asJSON, `{"error":{"message":"No allowed providers are available for the selected model.","code":404}}`, because(delivered, "request refused")},
}

func TestRules(t *testing.T) {
	for name, own := range map[gateway.ProviderName][]golden{gateway.Ollama: ollamaGolden, gateway.OpenRouter: openRouterGolden} {
		t.Run(string(name), func(t *testing.T) {
			a := newAdapter(t, name)
			hit := map[string]bool{}
			for _, g := range slices.Concat(own, anyGolden) {
				answer := Answer{Status: g.status, Header: g.header, Body: []byte(g.body), Now: now}
				rule, got := a.Explain(answer)
				if rule.Name != g.rule || got != g.want {
					t.Errorf("%d %s:\n got %s %+v\nwant %s %+v", g.status, g.body, rule.Name, got, g.rule, g.want)
				}
				if judged := a.Judge(answer); judged != got {
					t.Errorf("%d %s: Judge says %+v, Explain %+v", g.status, g.body, judged, got)
				}
				hit[rule.Name] = true
			}
			for _, r := range a.Rules() {
				if !hit[r.Name] {
					t.Errorf("rule %s is hit by no case", r.Name)
				}
			}
		})
	}
}

// TestRuleTables keeps the rows well formed.
func TestRuleTables(t *testing.T) {
	for _, name := range gateway.Providers() {
		seen := map[string]bool{}
		for _, r := range newAdapter(t, name).Rules() {
			if seen[r.Name] || r.Name == "" {
				t.Errorf("%s: the name %q is used twice or empty", name, r.Name)
			}
			seen[r.Name] = true
			if r.Why == "" || r.Reason == "" && r.Scope != gateway.ScopeNone {
				t.Errorf("%s: has no reason", r.Name)
			}
			if len(r.Values) > 0 && len(r.Fields) == 0 {
				t.Errorf("%s: values of no field", r.Name)
			}
			rests := r.Action == gateway.ActionRest || r.Action == gateway.ActionRestKey
			if r.Window != NoWindow && !rests {
				t.Errorf("%s: a window without a rest", r.Name)
			}
			for _, w := range slices.Concat(r.Words, r.Unless) {
				if w != plain(w) || strings.HasPrefix(w, "…") || strings.HasSuffix(w, "…") {
					t.Errorf("%s: %q can never be found in plain text", r.Name, w)
				}
			}
			for _, f := range r.Fields {
				if f != strings.ToLower(f) {
					t.Errorf("%s: field %q must be lower case", r.Name, f)
				}
			}
		}
	}
}

// TestEveryWord: each phrase leads by itself to its rule, or to one that says
// the same before it, and each exception leads away from it.
func TestEveryWord(t *testing.T) {
	for _, name := range gateway.Providers() {
		a := newAdapter(t, name)
		judgedBy := func(r *Rule, text string) (name string, same bool) {
			rule, _ := a.Explain(Answer{Status: r.To, Body: []byte(text), Now: now})
			return rule.Name, rule.Scope == r.Scope && rule.Action == r.Action && rule.Next == r.Next && rule.Reason == r.Reason
		}
		for _, r := range a.Rules() {
			for _, w := range r.Words {
				text := "So " + strings.ReplaceAll(w, "…", "something") + "!"
				if got, same := judgedBy(&r, text); !same {
					t.Errorf("%s: %q is judged by %s", r.Name, text, got)
				}
				for _, u := range r.Unless {
					if got, _ := judgedBy(&r, text+" The "+u+"."); got == r.Name {
						t.Errorf("%s: %q makes no exception for %q", r.Name, w, u)
					}
				}
			}
		}
	}
}

// TestWhatTheClientSees: what is left when the attempts are used up follows
// from the verdict.
func TestWhatTheClientSees(t *testing.T) {
	f := func(name gateway.ProviderName, status int, body string, refused, quota bool) {
		t.Helper()
		v := newAdapter(t, name).Judge(Answer{Status: status, Header: asJSON, Body: []byte(body), Now: now})
		if v.RefusesKey() != refused || v.OutOfQuota() != quota {
			t.Errorf("%d %s: refuses the key %v, out of quota %v", status, body, v.RefusesKey(), v.OutOfQuota())
		}
	}
	// 503 no_available_keys.
	f(gateway.Ollama, 401, `{"error":"unauthorized"}`, true, false)
	f(gateway.Ollama, 403, `{"error":"Forbidden"}`, true, false)
	f(gateway.OpenRouter, 402, `{"error":{"metadata":{"reason":"weight_exceeds_budget"}}}`, true, false)
	f(gateway.OpenRouter, 402, `{"error":{"metadata":{"limit_source":"openrouter_credits"}}}`, true, false)
	f(gateway.OpenRouter, 401, `{"error":{"metadata":{"provider_name":"X"}}}`, true, false)
	// 429 with Retry-After.
	f(gateway.Ollama, 429, `{"error":"weekly usage limit"}`, false, true)
	f(gateway.OpenRouter, 402, `{"error":{"metadata":{"limit_source":"openrouter_in_flight_budget"}}}`, false, true)
	// Passed on as it came.
	f(gateway.Ollama, 403, `<html>blocked</html>`, false, false)
	f(gateway.Ollama, 403, `{"error":"this model requires a subscription"}`, false, false)
	f(gateway.Ollama, 500, `{"error":"no"}`, false, false)
	f(gateway.OpenRouter, 429, `{"error":{"metadata":{"provider_name":"X"}}}`, false, false)
	f(gateway.OpenRouter, 403, `{"error":{"metadata":{"reasons":["x"]}}}`, false, false)
}
