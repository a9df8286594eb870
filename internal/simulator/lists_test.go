package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func decode[T any](tb testing.TB, body []byte) T {
	tb.Helper()
	var v T
	if err := json.Unmarshal(body, &v); err != nil {
		tb.Fatalf("%v in %s", err, body)
	}
	return v
}

func TestListsHoldTheSameModelsForEverybody(t *testing.T) {
	type entry struct{ Name, ID string }
	type list struct{ Models, Data []entry }
	for _, path := range []string{"/api/tags", "/v1/models", "/openrouter/v1/models"} {
		t.Run(path, func(t *testing.T) {
			s := newSimulator()
			var all, first []string
			for i, key := range []string{"", good, "fake-revoked-key", "fake-plan-key", "fake-week-key", "fake-poor-key"} {
				got := do(s, "GET", path, key, "")
				if got.Code != 200 {
					t.Fatalf("key %d: %d", i, got.Code)
				}
				l := decode[list](t, got.Body.Bytes())
				var ids []string
				for _, e := range append(l.Models, l.Data...) {
					ids = append(ids, e.Name+e.ID)
				}
				first = append(first, ids[0])
				slices.Sort(ids)
				if i > 0 && !slices.Equal(ids, all) {
					t.Errorf("key %d sees %v, nobody sees %v", i, ids, all)
				}
				all = ids
			}
			if len(all) < 10 {
				t.Errorf("%d models", len(all))
			}
			slices.Sort(first)
			if len(slices.Compact(first)) < 2 {
				t.Error("every key's list begins with the same model")
			}
		})
	}
}

func TestEveryListedModelIsKnown(t *testing.T) {
	s := newSimulator()
	for _, m := range ollamaCatalogue {
		got := do(s, "POST", "/api/show", "", `{"model":"`+m.id+`"}`)
		type shown struct {
			Details struct {
				Family        string `json:"family"`
				ParameterSize string `json:"parameter_size"`
			} `json:"details"`
			Info         map[string]any `json:"model_info"`
			Capabilities []string       `json:"capabilities"`
		}
		v := decode[shown](t, got.Body.Bytes())
		arch, _ := v.Info["general.architecture"].(string)
		if got.Code != 200 || v.Details.Family == "" || v.Details.ParameterSize == "" || len(v.Capabilities) == 0 || v.Info[arch+".context_length"] == nil {
			t.Errorf("%s: %d %s", m.id, got.Code, got.Body)
		}
		if got := do(s, "GET", "/v1/models/"+m.id, "", ""); got.Code != 200 || !strings.Contains(got.Body.String(), `"id":"`+m.id+`"`) {
			t.Errorf("%s: %d %s", m.id, got.Code, got.Body)
		}
	}
	if got := do(s, "POST", "/api/show", "", `{"name":"minimax-m2:latest"}`); got.Code != 200 {
		t.Errorf("older field and tag: %d %s", got.Code, got.Body)
	}
	if got := do(s, "GET", "/api/version", "", ""); got.Body.String() != `{"version":"`+simulatedVersion+`"}` {
		t.Errorf("version: %s", got.Body)
	}
	if got := do(s, "HEAD", "/api/tags", "", ""); got.Code != 200 {
		t.Errorf("HEAD: %d", got.Code)
	}
}

func TestEmptyRequestsLoadTheModel(t *testing.T) {
	for path, body := range map[string]string{
		"/api/chat":     `{"model":"gpt-oss:20b","messages":[]}`,
		"/api/generate": `{"model":"gpt-oss:20b","prompt":""}`,
	} {
		got := do(newSimulator(), "POST", path, good, body).Body.String()
		if !strings.Contains(got, `"done":true,"done_reason":"load"`) || strings.Count(got, "\n") > 1 {
			t.Errorf("%s: %s", path, got)
		}
	}
}

func TestEmbeddings(t *testing.T) {
	s := newSimulator()
	type native struct{ Embeddings [][]float32 }
	three := decode[native](t, do(s, "POST", "/api/embed", good, `{"model":"embeddinggemma:300m","input":["a","b","a"]}`).Body.Bytes()).Embeddings
	if len(three) != 3 || len(three[0]) != defaultDimensions || !slices.Equal(three[0], three[2]) || slices.Equal(three[0], three[1]) {
		t.Fatalf("three vectors: %v", three)
	}
	sum := 0.0
	for _, v := range three[0] {
		sum += float64(v) * float64(v)
	}
	if math.Abs(sum-1) > 1e-5 {
		t.Errorf("length %v", sum)
	}
	older := decode[struct{ Embedding []float32 }](t, do(s, "POST", "/api/embeddings", good, `{"model":"embeddinggemma:300m","prompt":"a"}`).Body.Bytes())
	if !slices.Equal(older.Embedding, three[0]) {
		t.Error("the older address gives another vector")
	}
	type entry struct {
		Embedding json.RawMessage
		Index     int
	}
	type openAI struct {
		Data  []entry
		Usage usage
	}
	const body = `{"model":"embeddinggemma:300m","input":"a","dimensions":8`
	plain := decode[openAI](t, do(s, "POST", "/v1/embeddings", good, body+`}`).Body.Bytes())
	floats := decode[[]float32](t, plain.Data[0].Embedding)
	if len(floats) != 8 || plain.Usage.PromptTokens == 0 || plain.Usage.TotalTokens != plain.Usage.PromptTokens {
		t.Errorf("got %d numbers, %+v", len(floats), plain.Usage)
	}
	coded := decode[openAI](t, do(s, "POST", "/v1/embeddings", good, body+`,"encoding_format":"base64"}`).Body.Bytes())
	raw, err := base64.StdEncoding.DecodeString(decode[string](t, coded.Data[0].Embedding))
	if err != nil || len(raw) != 32 || math.Float32frombits(binary.LittleEndian.Uint32(raw[4:])) != floats[1] {
		t.Errorf("base64: %v, %d bytes", err, len(raw))
	}
	if got := do(s, "POST", "/openrouter/v1/embeddings", good, `{"model":"openai/text-embedding-3-small","input":["a","b"]}`); got.Code != 200 ||
		len(decode[openAI](t, got.Body.Bytes()).Data) != 2 {
		t.Errorf("OpenRouter: %d %s", got.Code, got.Body)
	}
}

func TestWebSearchAndFetch(t *testing.T) {
	s := newSimulator()
	type found struct{ Results []page }
	for body, n := range map[string]int{`{"query":"go"}`: 5, `{"query":"go","max_results":2}`: 2, `{"query":"go","max_results":99}`: 10} {
		got := decode[found](t, do(s, "POST", "/api/web_search", good, body).Body.Bytes()).Results
		if len(got) != n || got[0].Title == "" || got[0].URL == "" || !strings.Contains(got[0].Content, "simulated") {
			t.Errorf("%s: %+v", body, got)
		}
	}
	got := decode[page](t, do(s, "POST", "/api/web_fetch", good, `{"url":"https://example.com"}`).Body.Bytes())
	if got.Title == "" || !strings.Contains(got.Content, "simulated") || len(got.Links) == 0 {
		t.Errorf("fetched: %+v", got)
	}
}

func TestSampleKeys(t *testing.T) {
	want := map[gateway.ProviderName][]Fate{
		gateway.Ollama:     {FateOK, FateRevoked, FateNoCredit, FateOverQuota, FateOverWeek, FatePlan, FateFlaky},
		gateway.OpenRouter: {FateOK, FateRevoked, FateNoCredit, FateOverQuota, FatePlan},
	}
	sizes := map[gateway.ProviderName]int{gateway.Ollama: 20, gateway.OpenRouter: 8}
	fates, seen := SampleFates(), map[string]bool{}
	for p, size := range sizes {
		samples := SampleKeys(p)
		if len(samples) != size {
			t.Errorf("%s: %d samples", p, len(samples))
		}
		accounts, has := map[string][]Fate{}, map[Fate]bool{}
		for _, s := range samples {
			secret := s.Secret.Reveal()
			if bad := gateway.CheckKey(secret); bad != "" || seen[secret] || !strings.HasPrefix(secret, "demo-") {
				t.Errorf("%s: %q: %s", p, secret, bad)
			}
			seen[secret], has[s.Fate] = true, true
			if fates[secret] != s.Fate {
				t.Errorf("%s: fate %q, sample says %q", secret, fates[secret], s.Fate)
			}
			if a := gateway.AccountOf(s.Username); a != "" {
				accounts[a] = append(accounts[a], s.Fate)
			}
		}
		for _, f := range want[p] {
			if !has[f] {
				t.Errorf("%s: no key is %q", p, f)
			}
		}
		shared := 0
		for a, of := range accounts {
			if len(of) > 1 {
				shared++
			}
			// A quota is the account's: its keys have one fate.
			if slices.Contains(of, FateOverQuota) && len(slices.Compact(of)) > 1 {
				t.Errorf("%s: the keys of %s have the fates %v", p, a, of)
			}
		}
		if shared == 0 {
			t.Errorf("%s: no account has two keys", p)
		}
	}
}
