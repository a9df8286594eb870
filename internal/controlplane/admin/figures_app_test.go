package admin_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

const (
	refusedKey = "fake-key-refused-by-upstream"
	restedKey  = "fake-key-out-of-quota-now-01"
	goodKey    = "fake-key-that-always-serves1"
)

// traffic starts the program with three keys, one of which the upstream refuses
// and one of which is out of quota, and sends requests through it.
func traffic(t *testing.T, environ ...string) (p *pool, up *testkit.Upstream) {
	t.Helper()
	up = testkit.NewUpstream(t)
	answers := testkit.ByKey(map[string]testkit.Answer{
		refusedKey: testkit.JSON(http.StatusUnauthorized, `{"error":"unauthorized"}`),
		restedKey:  testkit.JSON(http.StatusTooManyRequests, `{"error":"you've reached your weekly usage limit, please wait or upgrade to continue"}`),
	}, testkit.JSON(http.StatusOK, `{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}`))
	up.Handle(func(c *testkit.Call) testkit.Answer {
		if strings.Contains(string(c.Body), "bad-model") {
			return testkit.JSON(http.StatusBadRequest, `{"error":"no such thing"}`)
		}
		return answers(c)
	})
	p = start(t, append([]string{"OLLAMA_BASE_URL=" + up.URL, "REQUEST_LOG=all"}, environ...)...)
	p.plant(refusedKey, restedKey, goodKey)
	body := fmt.Sprintf(`{"keys":["a@fake.example----%s","b@fake.example----%s","c@fake.example----%s"]}`, refusedKey, restedKey, goodKey)
	if a := p.call("POST /admin/api-keys/import", body); a.status != http.StatusOK {
		t.Fatal(a.status, a.body)
	}
	var token struct{ ID, Token string }
	p.decode(p.call("POST /admin/tokens", `{"name":"team","provider":"all"}`), &token)
	p.plant(token.Token)
	for i := range 10 {
		model := "gpt-oss:120b"
		if i == 9 {
			model = "bad-model"
		}
		p.call("POST /v1/chat/completions", `{"model":"`+model+`","messages":[]}`, "Authorization", "Bearer "+token.Token, "X-Request-Id", fmt.Sprintf("fake-request-%d", i))
	}
	return p, up
}

// TestFiguresOfTheProgram counts through the whole program: what the calls show
// is what the upstream saw.
func TestFiguresOfTheProgram(t *testing.T) {
	p, up := traffic(t)
	attempts := len(up.Calls())
	var o struct {
		Verdict struct{ Verdict string }
		States  struct{ Active, Resting, Failed, Disabled int }
		Figures struct {
			Requests, Success, Failure, Attempts, TokensIn, TokensOut int
			SuccessRate                                               string
			FirstByte                                                 *struct{ P50 float64 }
		}
		InFlight struct {
			Now, Peak int
		}
		Tokens    struct{ Total, Used24h int }
		Series    []struct{ Requests int }
		Attention []struct {
			Kind, Reason string
			Keys         int
		}
		Rests []struct {
			Reason string
			Keys   int
			Share  float64
		}
		TopModels []struct {
			Model    string
			Requests int
		}
		LastFailures []struct {
			ID, APIKey, Error string
			Status            int
		}
	}
	p.read("GET /admin/overview?range=24h", &o)
	if f := o.Figures; f.Requests != 10 || f.Success != 9 || f.Failure != 1 || f.SuccessRate != "90.00" || f.Attempts != attempts || f.TokensIn != 63 || f.TokensOut != 27 || f.FirstByte == nil {
		t.Errorf("figures %+v, %d attempts upstream", f, attempts)
	}
	if o.Verdict.Verdict != "strained" || o.States.Active != 1 || o.States.Resting != 1 || o.States.Disabled != 1 {
		t.Errorf("%+v %+v", o.Verdict, o.States)
	}
	if o.InFlight.Now != 0 || o.InFlight.Peak != 1 || o.Tokens.Total != 1 || o.Tokens.Used24h != 1 || len(o.Series) != 24 {
		t.Errorf("%+v %+v", o.InFlight, o.Tokens)
	}
	if len(o.Attention) != 3 || o.Attention[0].Reason != "401 unauthorized" || o.Attention[1].Reason != "quota: weekly" || o.Attention[2].Kind != "store_unencrypted" {
		t.Errorf("%+v", o.Attention)
	}
	if len(o.Rests) != 1 || o.Rests[0].Reason != "quota: weekly" || o.Rests[0].Share != 100 || len(o.TopModels) == 0 || o.TopModels[0].Requests != 9 {
		t.Errorf("%+v %+v", o.Rests, o.TopModels)
	}
	if len(o.LastFailures) != 1 || o.LastFailures[0].ID != "fake-request-9" || o.LastFailures[0].Status != 400 || o.LastFailures[0].APIKey != "fake-k…ves1" {
		t.Errorf("%+v", o.LastFailures)
	}

	for call, words := range map[string][]string{
		"GET /admin/overview?provider=openrouter&range=1h&tz=Asia/Kolkata": {`"reason":"no_keys"`},
		"GET /admin/overview?range=7d":                                     {`"step":"hour"`},
		"GET /admin/overview?range=30d":                                    {`"step":"day"`},
		"GET /admin/analytics":                                             {`"requests":10`, `"model":"gpt-oss:120b"`, `"models":`},
		"GET /admin/analytics/models":                                      {`"model":"gpt-oss:120b","provider":"ollama","share":90`},
		"GET /admin/analytics/keys":                                        {`"apiKey":"fake-k…ves1","username":"c@fake.example","status":"active"`, `"status":"resting"`, `"status":"disabled"`},
		"GET /admin/analytics/tokens":                                      {`"name":"team"`, `"requests":10`},
		"GET /admin/analytics/models?format=csv":                           {"gpt-oss:120b,ollama,9,9,0,100.00"},
		"GET /admin/analytics/keys?format=csv":                             {"fake-k…ves1,c@fake.example,active,ollama"},
		"GET /admin/analytics/tokens?format=csv":                           {",team,ollama,10,9,1,90.00,100"},
		"GET /admin/requests":                                              {`"id":"fake-request-0"`, `"retried":`, `"mode":"all"`, `"entries":10`},
		"GET /admin/requests?status=failed":                                {`"requests":[{"id":"fake-request-9"`},
		"GET /admin/requests/fake-request-9":                               {`"did":"nothing is held against the key; the answer is passed on"`, `"name":"team"`, `"outcome":"failure"`},
		"GET /admin/stats":                                                 {`"total_requests":10`, `"success_rate":"90.00"`, `"total_client_tokens":1`},
		"GET /admin/public-stats":                                          {`"totalRequests":10`, `"successRate":"90.00"`, `"totalApiKeys":3`, `"activeKeys":1`, `"failedKeys":1`},
		"GET /metrics": {
			`ollama_api_pool_requests_total{outcome="success",provider="ollama",status="200"} 9`,
			`ollama_api_pool_requests_total{outcome="failure",provider="ollama",status="400"} 1`,
			`ollama_api_pool_attempts_total{provider="ollama",scope="key",status="401"} 1`,
			`ollama_api_pool_attempts_total{provider="ollama",scope="account",status="429"} 1`,
			`ollama_api_pool_model_tokens_total{direction="input",provider="ollama"} 63`,
			`ollama_api_pool_keys{provider="ollama",state="resting"} 1`,
			`ollama_api_pool_in_flight{provider="ollama"} 0`,
			`ollama_api_pool_build_info{goversion="`,
			`ollama_api_pool_cache_bytes{cache="models"} 0`,
		},
	} {
		a := p.call(call, "")
		if a.status != http.StatusOK {
			t.Errorf("%s: %d %s", call, a.status, a.body)
			continue
		}
		for _, word := range words {
			if !strings.Contains(a.body, word) {
				t.Errorf("%s lacks %s: %s", call, word, gateway.Clip(a.body, 2000))
			}
		}
		if strings.Contains(call, "public") {
			testkit.MustNotContain(t, a.body, "fake", "team", "@")
		}
	}
}

// TestMetricsInPublic needs no token where the operator says so.
func TestMetricsInPublic(t *testing.T) {
	p := start(t, "METRICS_PUBLIC=true")
	if a := p.call("GET /metrics", "", "Authorization", ""); a.status != http.StatusOK || !strings.Contains(a.body, "ollama_api_pool_keys{") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestStopEndsEventStreams has the program stop at once while somebody looks.
func TestStopEndsEventStreams(t *testing.T) {
	p := start(t, "SHUTDOWN_GRACE=1h")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.app.URL()+"/admin/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminToken)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() && lines.Text() != "event: figures" {
		if lines.Text() == "" {
			continue
		}
	}
	began := time.Now()
	p.stop()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the program waited %s for a viewer", took)
	}
	for lines.Scan() { // what was sent is whole, and then it ends
	}
	if err := lines.Err(); err != nil {
		t.Errorf("the end is not clean: %v", err)
	}
	if strings.Contains(p.log.String(), "broken off") {
		t.Error("the stream was broken off")
	}
}
