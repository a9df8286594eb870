package kv

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

const (
	keyA   = "0123456789abcdef0123456789abcdef.fakeFakeFakeFakeFakeFake"
	keyB   = "fedcba9876543210fedcba9876543210.fakeFakeFakeFakeFakeFake"
	keyOR  = "sk-or-v1-0000000000000000000000000000000000000000000000000000fake"
	tokenA = "sk-FAKEfakeFAKEfakeFAKEfakeFAKEfakeFAKEfakeFAKEfake"
	tokenB = "sk-fakeFAKEfakeFAKEfakeFAKEfakeFAKEfakeFAKEfakeFAKE"
)

func read(t *testing.T, text string) *Export {
	t.Helper()
	e, err := Read(strings.NewReader(text), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func keysOf(e *Export, p gateway.ProviderName) map[string]gateway.Key {
	found := map[string]gateway.Key{}
	for _, k := range e.Keys[p] {
		found[k.Secret.Reveal()] = k
	}
	return found
}

func tokensOf(e *Export) map[string]gateway.Token {
	found := map[string]gateway.Token{}
	for _, tok := range e.Tokens {
		found[tok.Hash] = tok
	}
	return found
}

// Every way in which an export holds the same pairs gives the same.
func TestFormsOfExports(t *testing.T) {
	value := `{"username":"anna@example.com","status":"active","createdAt":"2025-01-02T03:04:05Z"}`
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	want := keysOf(read(t, `[{"key":"apikey:`+keyA+`","value":`+value+`}]`), gateway.Ollama)
	if len(want) != 1 || want[keyA].Username != "anna@example.com" || want[keyA].CreatedAt.IsZero() {
		t.Fatalf("%+v", want)
	}
	for name, doc := range map[string]string{
		"bulk put":                  `[{"key":"apikey:` + keyA + `","value":` + string(text) + `,"expiration_ttl":60}]`,
		"array with names":          `[{"name":"apikey:` + keyA + `","value":` + string(text) + `}]`,
		"bulk get":                  "{\n  \"apikey:" + keyA + "\": {\n \"value\": " + string(text) + "\n }\n}\n\nSuccess!\n",
		"bulk get, newer":           `{"values":{"apikey:` + keyA + `":{"value":` + string(text) + `,"metadata":null}}}`,
		"the API's answer":          `{"success":true,"errors":[],"messages":[],"result":{"values":{"apikey:` + keyA + `":` + string(text) + `}}}`,
		"names and values":          `{"apikey:` + keyA + `":` + string(text) + `}`,
		"names and objects":         `{"apikey:` + keyA + `":` + value + `}`,
		"a banner before it":        "\ufeff\n ⛅️ wrangler 4.1.0\n-----\n[{\"key\":\"apikey:" + keyA + "\",\"value\":" + string(text) + "}]",
		"two documents":             `[]` + "\n" + `{"apikey:` + keyA + `":` + value + "}\nSuccess!\n",
		"base64":                    `[{"key":"apikey:` + keyA + `","base64":true,"value":"eyJ1c2VybmFtZSI6ImFubmFAZXhhbXBsZS5jb20iLCJzdGF0dXMiOiJhY3RpdmUiLCJjcmVhdGVkQXQiOiIyMDI1LTAxLTAyVDAzOjA0OjA1WiJ9"}]`,
		"metadata in place of it":   `[{"name":"apikey:` + keyA + `","metadata":` + value + `}]`,
		"metadata as text":          `[{"name":"apikey:` + keyA + `","metadata":` + string(text) + `}]`,
		"a list of keys":            `[{"key":"api_keys","value":[{"api_key":"` + keyA + `","username":"anna@example.com","created_at":"2025-01-02T03:04:05Z"}]}]`,
		"an object of keys":         `{"api_keys":{"` + keyA + `":` + value + `}}`,
		"the key in the value":      `{"key_1":{"apiKey":"` + keyA + `","email":"anna@example.com","createdAt":1735787045}}`,
		"a text, its user in front": `{"ollama:apikey:` + keyA + `":{"value":"1","metadata":{"username":"anna@example.com","created_at":1735787045000}}}`,
	} {
		if got := keysOf(read(t, doc), gateway.Ollama); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func TestKeysInAllForms(t *testing.T) {
	e := read(t, `{
		"api_keys": ["`+keyA+`"],
		"key_status:`+keyA+`": {"status":"disabled","disabled_until":"2031-01-01T00:00:00Z","consecutive_failures":"3","username":"anna"},
		"failed_until:`+keyA+`": 1900000000000,
		"stats:`+keyA+`": {"totalRequests":10,"successCount":7,"failureCount":3,"lastUsed":"2025-05-05T05:05:05Z"},
		"openrouter:api_keys": "[\"`+keyOR+`\"]",
		"keys:`+keyB+`": "bert",
		"stats:`+keyB[:20]+`missing": {"totalRequests":1},
		"unrelated": "x", "apikey:short": {"username":"y"}, "config": null
	}`)
	ollama := keysOf(e, gateway.Ollama)
	want := gateway.Key{
		Secret: keyA, Username: "anna",
		State: gateway.KeyState{
			Disabled: gateway.DisabledAuto, DisabledUntil: time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC),
			FailedUntil: time.UnixMilli(1900000000000).UTC(), ConsecutiveFailures: 3,
		},
		Counts: gateway.KeyCounts{Total: 10, Success: 7, Failure: 3, LastUsed: time.Date(2025, 5, 5, 5, 5, 5, 0, time.UTC)},
	}
	if !reflect.DeepEqual(ollama[keyA], want) {
		t.Errorf("%+v, want %+v", ollama[keyA], want)
	}
	if len(ollama) != 2 || ollama[keyB].Username != "bert" {
		t.Errorf("%+v", ollama)
	}
	if len(e.Keys[gateway.OpenRouter]) != 1 || e.Keys[gateway.OpenRouter][0].Secret != keyOR {
		t.Errorf("%+v", e.Keys[gateway.OpenRouter])
	}
	var unknown []string
	for _, u := range e.Unknown {
		unknown = append(unknown, fmt.Sprintf("%d %s: %s", u.Pairs, u.Name, u.Reason))
	}
	if got, want := strings.Join(unknown, "\n"), strings.Join([]string{
		"1 apikey:…: " + reasonUnknown, "1 config: " + reasonNoValue, "1 stats:…: " + reasonNoKey, "1 …: " + reasonUnknown,
	}, "\n"); !sameLines(got, want) {
		t.Errorf("unknown:\n%s\nwant:\n%s", got, want)
	}
}

func sameLines(a, b string) bool {
	count := map[string]int{}
	for l := range strings.Lines(a + "\n") {
		count[l]++
	}
	for l := range strings.Lines(b + "\n") {
		count[l]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

func TestTokensInAllForms(t *testing.T) {
	created, ends := time.Unix(1735787045, 0).UTC(), time.Unix(1900000000, 0).UTC()
	want := map[string]gateway.Token{gateway.HashToken(tokenA): {
		Hash: gateway.HashToken(tokenA), Preview: gateway.PreviewToken(tokenA), Name: "my app", Plain: tokenA,
		Providers: []gateway.ProviderName{gateway.Ollama}, CreatedAt: created, ExpiresAt: ends,
	}}
	fields := `{"name":"my app","created_at":1735787045,"expires_at":1900000000}`
	for name, doc := range map[string]string{
		"the token in the name":     `{"token:` + tokenA + `":` + fields + `}`,
		"with another prefix":       `{"client_token:` + tokenA + `":` + fields + `}`,
		"the name alone":            `{"` + tokenA + `":` + fields + `}`,
		"in the metadata":           `[{"name":"token:` + tokenA + `","metadata":` + fields + `}]`,
		"expiring with its pair":    `[{"name":"token:` + tokenA + `","expiration":1900000000,"metadata":{"name":"my app","createdAt":1735787045}}]`,
		"a list":                    `{"client_tokens":[{"token":"` + tokenA + `","name":"my app","createdAt":"2025-01-02T03:04:05Z","expiresAt":"2030-03-17T17:46:40Z"}]}`,
		"an object":                 `{"client_tokens":{"` + tokenA + `":` + fields + `}}`,
		"the token is the value":    `[{"key":"client:my app","value":"` + tokenA + `","expiration":1900000000,"metadata":{"created":1735787045}}]`,
		"its name is the value":     `[{"key":"tokens:` + tokenA + `","value":"my app","expiration":1900000000,"metadata":{"created":1735787045}}]`,
		"hashed, but for its plain": `{"token:` + gateway.HashToken(tokenA) + `":` + fields + `}`,
	} {
		got := tokensOf(read(t, doc))
		if strings.HasPrefix(name, "hashed") {
			tok := got[gateway.HashToken(tokenA)]
			if tok.Plain != "" || tok.Name != "my app" {
				t.Errorf("%s: %+v", name, tok)
			}
			continue
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	both := tokensOf(read(t, `{"token:`+tokenA+`":{"provider":"all"},"token:`+tokenB+`":{"providers":["openrouter"],"requestCount":7}}`))
	if got := both[gateway.HashToken(tokenA)].Providers; len(got) != 2 {
		t.Errorf("providers %v", got)
	}
	if tok := both[gateway.HashToken(tokenB)]; len(tok.Providers) != 1 || tok.Providers[0] != gateway.OpenRouter || tok.RequestCount != 7 {
		t.Errorf("%+v", tok)
	}
}

func TestCounters(t *testing.T) {
	e := read(t, `{
		"global_stats": {"totalRequests":100,"successCount":90,"failureCount":10},
		"openrouter:stats:global": {"total_requests":"5","success_count":5},
		"model_stats:kimi-k2:1t": {"requests":8,"success":6,"failure":2,"lastUsed":1735787045},
		"stats:models": {"gpt-oss:20b":{"totalRequests":3,"successCount":3}},
		"stats:2025-01-01": {"totalRequests":4}
	}`)
	if want := map[gateway.ProviderName]Counts{
		gateway.Ollama: {Requests: 100, Success: 90, Failure: 10}, gateway.OpenRouter: {Requests: 5, Success: 5},
	}; !reflect.DeepEqual(e.Totals, want) {
		t.Errorf("totals %+v, want %+v", e.Totals, want)
	}
	if want := map[string]Counts{
		"kimi-k2:1t": {Requests: 8, Success: 6, Failure: 2, LastUsed: time.Unix(1735787045, 0).UTC()}, "gpt-oss:20b": {Requests: 3, Success: 3},
	}; !reflect.DeepEqual(e.Models[gateway.Ollama], want) {
		t.Errorf("models %+v, want %+v", e.Models[gateway.Ollama], want)
	}
	if want := []Pattern{{"stats:#", reasonAmbiguous, 1}}; !reflect.DeepEqual(e.Unknown, want) {
		t.Errorf("unknown %+v, want %+v", e.Unknown, want)
	}
}

func TestWhatIsNoExport(t *testing.T) {
	for text, words := range map[string]string{
		"":                           "no JSON document",
		"hello\nworld":               "no JSON document",
		`{"a":`:                      "ends in the middle",
		`[{"key":"a","value":"b"`:    "ends in the middle",
		`{"` + tokenA + `" "secret"`: "not the JSON",
		`[1,2,}`:                     "not the JSON",
	} {
		_, err := Read(strings.NewReader(text), Options{})
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), tokenA) {
			t.Errorf("%q: %v, want %q", text, err, words)
		}
	}
}

func TestPatterns(t *testing.T) {
	for name, want := range map[string]string{
		"apikey:" + keyA: "apikey:…", "": "(without a name)", keyA + ":stats": "…:stats", "stats:2025-01-01": "stats:#", "openrouter/model_stats/x": "openrouter/model_stats/…",
		"rate_limit:192.0.2.1": "rate_limit:…", "userPassword": "…", "lastCheck": "…", "cacheVersion": "cacheVersion", "a:b:c:d:e:f:g:h": "a:…:…:…:…:…:…", "123456": "…",
	} {
		if got := patternOf(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// FuzzRead reads exports around secrets and expects that nothing but keys and
// tokens holds them.
func FuzzRead(f *testing.F) {
	const secret = "Canary7f3a9c1e5b2d8064Canary7f3a"
	f.Add(`{"apikey:`, `":{"username":"a"}}`)
	f.Add(`[{"name":"`, `","metadata":{"x":1}}]`)
	f.Add(`{"stats:`, `":{"totalRequests":"1e3"}}`)
	f.Add(`{"values":{"a":{"value":"`, `"}}}`)
	f.Add("[{\"key\":\"tokens:sk-", `","value":"{\"a\":1}","expiration":1e99}]Success!`)
	f.Add(`["`, `"]`)
	f.Add(`{"failed_until:`, `":-1}`)
	f.Fuzz(func(t *testing.T, before, after string) {
		e, err := Read(strings.NewReader(before+secret+after), Options{})
		if err != nil {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error %q tells the secret", err)
			}
			return
		}
		for _, u := range e.Unknown {
			if strings.Contains(u.Name, "anary") || u.Pairs < 1 || u.Reason == "" {
				t.Errorf("%+v", u)
			}
		}
		for _, keys := range e.Keys {
			for _, k := range keys {
				if gateway.CheckKey(k.Secret.Reveal()) != "" || k.Counts.Total < 0 {
					t.Errorf("%+v", k)
				}
			}
		}
		for _, tok := range e.Tokens {
			if !gateway.IsTokenHash(tok.Hash) || len(tok.Providers) == 0 || tok.Plain != "" && gateway.HashToken(tok.Plain) != tok.Hash {
				t.Errorf("%+v", tok)
			}
		}
	})
}
