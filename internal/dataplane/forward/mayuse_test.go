package forward

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// status is how a token for some models fares with a body: 200, 400 or 403.
func status(t *testing.T, path string, dialect gateway.Dialect, patterns []string, body string) int {
	t.Helper()
	x := &gateway.Exchange{
		Route:     gateway.Route{Path: path, Dialect: dialect},
		Principal: &gateway.Principal{Limits: &gateway.Limits{Models: patterns}},
	}
	err := mayUse(x, []byte(body))
	if err == nil {
		return 200
	}
	e := gateway.AsError(err)
	if !strings.HasSuffix(e.Message, "(models)") {
		t.Errorf("%s: the limit is not named: %s", body, e.Message)
	}
	return map[gateway.Kind]int{gateway.KindInvalid: 400, gateway.KindForbidden: 403}[e.Kind]
}

func TestMayUse(t *testing.T) {
	patterns := []string{"gpt-oss*", "Qwen3:8B", "*/free"}
	for body, want := range map[string]int{
		`{"model":"gpt-oss:120b"}`:                                200,
		`{"model":"GPT-OSS:120b","messages":[{"model":"other"}]}`: 200,
		`{"model":"qwen3:8b"}`:                                    200,
		`{"model":"qwen3:8b-q4"}`:                                 403,
		`{"model":"xgpt-oss"}`:                                    403,
		`{"model":"gpt-os*"}`:                                     403,
		`{"model":"*"}`:                                           403,
		`{"model":"vendor/free"}`:                                 200,
		`{"model":"vendor/free2"}`:                                403,
		`{"model":""}`:                                            403,
		`{"messages":[]}`:                                         403,
		`{}`:                                                      403,
		`{"model":null}`:                                          403,
		`{"model":"gpt-oss","model":"llama3"}`:                    403, // which one counts is the upstream's choice
		`{"model":"llama3","model":"gpt-oss"}`:                    403,
		`{"model":"gpt-oss","MODEL":"llama3"}`:                    403,
		`{"Model":"llama3"}`:                                      403,
		`{"Model":"gpt-oss"}`:                                     200,
		`{"mod\u0065l":"llama3"}`:                                 403,
		`{"model":"gpt-oss","m\u006Fdel":"llama3"}`:               403,
		`{"model":"\u006clama3"}`:                                 403,
		`{"model":"gpt\u002doss"}`:                                200,
		`{"model":"gpt-oss","models":["llama3"]}`:                 403,
		`{"model":"gpt-oss","models":["gpt-oss","gpt-oss:20b"]}`:  200,
		`{"model":"gpt-oss","models":[{"id":"llama3"}]}`:          400,
		`{"models":["gpt-oss"]}`:                                  200,
		`{"models":[]}`:                                           403,
		`{"models":["gpt-oss",""]}`:                               403,
		`{"model":"gpt-oss","model\u017f":["llama3"]}`:            403, // ſ is an s to Go's decoder
		`{"model":7}`:                                             400,
		`{"model":{"id":"gpt-oss"}}`:                              400,
		`{"name":"gpt-oss"}`:                                      403,
		`{"model":"gpt-oss","name":"my prompt"}`:                  200,
		``:                                                        400,
		`null`:                                                    400,
		`["gpt-oss"]`:                                             400,
		`"gpt-oss"`:                                               400,
		`{"model":"gpt-oss"`:                                      400,
		`{"model":"gpt-oss"} {"model":"llama3"}`:                  400,
		`{"model":"gpt-oss",}`:                                    400,
		"\xef\xbb\xbf{\"model\":\"gpt-oss\"}":                     400,
		`{'model':'gpt-oss'}`:                                     400,
		` { "a" : { "b" : [ "]" , "}" ] } , "n" : -1.5e3 , "t" : true , "model" : "gpt-oss" } `:             200,
		`{"model":"gpt-oss` + strings.Repeat("x", 2*maxModelName) + `"}`:                                    200,
		`{"model":"` + strings.Repeat("x", 2*maxModelName) + `/free"}`:                                      200,
		`{"model":"gpt-oss","x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `,"MODEL":"x"}`: 403,
	} {
		if got := status(t, "/v1/chat/completions", gateway.DialectOpenAI, patterns, body); got != want {
			t.Errorf("%.80s: %d, want %d", body, got, want)
		}
	}
	for _, tt := range []struct {
		path, body string
		want       int
	}{
		{"/api/show", `{"name":"gpt-oss"}`, 200},
		{"/api/show", `{"name":"llama3"}`, 403},
		{"/api/show", `{"model":"gpt-oss","name":"llama3"}`, 403},
		{"/api/show", `{"NAME":"llama3"}`, 403},
		{"/api/web_search", `{"query":"x"}`, 200},
		{"/api/web_fetch", `no JSON`, 200},
		{"/api/chat", `{}`, 403},
	} {
		if got := status(t, tt.path, gateway.DialectOllama, patterns, tt.body); got != tt.want {
			t.Errorf("%s %s: %d, want %d", tt.path, tt.body, got, tt.want)
		}
	}
	for _, odd := range [][]string{{""}, {"**"}, {"*" + strings.Repeat("a*", 9001)}, {"["}, {"gpt-oss*llama"}} {
		want := 403
		if odd[0] == "**" {
			want = 200
		}
		if got := status(t, "/api/chat", gateway.DialectOllama, odd, `{"model":"gpt-oss`+strings.Repeat("a", 9000)+`"}`); got != want {
			t.Errorf("%.20s: %d, want %d", odd, got, want)
		}
	}
	lists := &gateway.Exchange{Route: gateway.Route{Service: gateway.ServiceTags}, Principal: &gateway.Principal{Limits: &gateway.Limits{Models: patterns}}}
	if err := mayUse(lists, nil); err != nil {
		t.Errorf("a list of models: %v", err)
	}
	for _, who := range []*gateway.Principal{nil, {}, {Limits: &gateway.Limits{RequestsPerDay: 1}}} {
		if err := mayUse(&gateway.Exchange{Principal: who}, []byte("anything")); err != nil {
			t.Errorf("%+v: %v", who, err)
		}
	}
}

// FuzzAllNames compares with Go's own decoder, which is what Ollama reads with.
func FuzzAllNames(f *testing.F) {
	for _, s := range []string{
		`{"model":"a","models":["b",null],"Model":null}`, `{"name":"a","x":{"model":"y"}}`, `{"MODEL":"\u0061\ud800"}`, `{"a":"\\\"","modelſ":[]}`,
		`{"model":"a"}{}`, `[]`, `{`, `{"a":1e5,"b":[{}],"model":"x"}`, "{\"model\":\"\xff\"}", `{"\u006dodel":"x","model":1}`,
	} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, native bool) {
		names, ok := allNames(body, native)
		if !ok {
			return
		}
		var read struct {
			Model, Name *string
			Models      []string
		}
		if err := json.Unmarshal(body, &read); err != nil {
			return // a name that is an array, say: refused upstream
		}
		if read.Model != nil {
			read.Models = append(read.Models, *read.Model)
		}
		if native && read.Name != nil {
			read.Models = append(read.Models, *read.Name)
		}
		for _, name := range read.Models {
			if !slices.Contains(names, name) {
				t.Fatalf("%q is read, but %q was looked at", name, names)
			}
		}
	})
}
