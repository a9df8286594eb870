package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

const (
	annaKey  = "ollama-fake-anna-000000000000wxyz"
	borisKey = "ollama-fake-boris-00000000000abcd"
	shortKey = "fake-short"
)

const annaShown = `"id":"%s","api_key":"ollama…wxyz","username":"anna@example.com","status":"active","category":"","disabled_reason":null,
	"created_at":"TIME","expires_at":%s,"failed_until":null,"disabled_until":null,"rests_until":null,"consecutive_failures":0,"last_error":null,
		"total_requests":0,"success_count":0,"failure_count":0,"success_rate":"0.00","last_used":null`

func TestOneKey(t *testing.T) {
	p := start(t)
	p.plant(annaKey, shortKey)
	p.wantError("POST /admin/api-keys", `{"api_key":"`+annaKey+`"}`, http.StatusUnauthorized, "authentication_error", "authentication_error",
		"the admin token is missing: send it as Authorization: Bearer …", "Authorization", "")

	for body, message := range map[string]string{
		`{}`:                                     "api_key is missing",
		``:                                       "the body is empty; send a JSON value",
		`null`:                                   "the body must not be null",
		`[]`:                                     "the body must be an object, not array",
		`{"api_key":7}`:                          `field "api_key" must be a string, not number`,
		`{"api_key":"short"}`:                    "api_key cannot be used: key is shorter than 8 characters",
		`{"api_key":"` + annaKey + `","ttl":-1}`: "ttl must be between 0 and 3153600000 seconds",
		`{"api_key":"` + annaKey + `","ttl":1.5}`:   `field "ttl" must be a whole number, not number 1.5`,
		`{"api_key":"a----b----` + annaKey + `"}`:   "api_key cannot be used: three fields: it is not clear which of them is the key",
		`{"api_key":"fake-one-1","apiKey":"other"}`: "api_key and apiKey differ: send one of them",
		`{"api_key":"x y","username":"` + strings.Repeat("u", 321) + `","ttl":9999999999,"provider":"acme"}`: `unknown provider "acme": use "ollama" or "openrouter"; ` +
			`api_key cannot be used: key is shorter than 8 characters; username must not be longer than 320 characters; ttl must be between 0 and 3153600000 seconds`,
	} {
		p.wantInvalid("POST /admin/api-keys", body, message)
	}
	p.wantInvalid("POST /admin/api-keys?provider=openrouter", `{"api_key":"`+annaKey+`","provider":"ollama"}`,
		"provider in the query and provider in the body differ: send one of them")

	p.want("POST /admin/api-keys", `{"api_key":" `+annaKey+` ","username":"anna@example.com","colour":1}`, 200, `{"success":true,"message":"Added","id":"`+id(annaKey)+`"}`)
	p.want("POST /admin/api-keys", `{"apiKey":"`+annaKey+`","username":"other","ttl":5}`, 200, `{"success":true,"message":"Already exists","id":"`+id(annaKey)+`"}`)
	p.want("POST /admin/api-keys", `{"apiKey":"`+shortKey+`","ttl":3600,"provider":"openrouter"}`, 200, `{"success":true,"message":"Added","id":"`+id(shortKey)+`"}`)

	anna := fmt.Sprintf(annaShown, id(annaKey), "null")
	p.want("GET /admin/api-keys", "", 200, `{"api_keys":[{`+anna+`}],"total":1,"page":1,"pageSize":50,"totalPages":1}`)
	story := `,"provider":"ollama","why":"It serves.","returns_at":null,"by_itself":true,
		"last_success":null,"last_failure":null,
		"account":{"username":"anna@example.com","keys":1,"resting":0},"refused_models":[],"hours":[` +
		strings.TrimSuffix(strings.Repeat(`{"hour":"TIME","total":0,"success":0,"failure":0},`, 24), ",") +
		`],"events":[{"at":"TIME","what":"added","detail":"","until":null}]}`
	p.want("GET /admin/api-keys/"+id(annaKey), "", 200, "{"+anna+story)
	p.want("GET /admin/api-keys/"+strings.ToUpper(id(annaKey)), "", 200, "{"+anna+story)
	p.want("GET /admin/api-keys/"+annaKey, "", 200, "{"+anna+story)
	p.wantMissing("GET /admin/api-keys/"+annaKey+"?provider=openrouter", "", "key")
	p.wantInvalid("GET /admin/api-keys/"+annaKey+"?provider=acme&reveal=maybe", "", `unknown provider "acme": use "ollama" or "openrouter"; reveal must be true or false`)

	short := fmt.Sprintf(`"id":"%s","api_key":"fa…","username":"","status":"active","category":"","disabled_reason":null,
		"created_at":"TIME","expires_at":"TIME","failed_until":null,"disabled_until":null,"rests_until":null,"consecutive_failures":0,"last_error":null,
		"total_requests":0,"success_count":0,"failure_count":0,"success_rate":"0.00","last_used":null`, id(shortKey))
	p.want("GET /admin/api-keys?provider=openrouter", "", 200, `{"api_keys":[{`+short+`}],"total":1,"page":1,"pageSize":50,"totalPages":1}`)
}

func TestDeletingKeys(t *testing.T) {
	p := start(t)
	slash := "fake/key?with#odd%signs//0123456789"
	hex := "0123456789abcdef" // may be a key and may be an id
	keys := []string{annaKey, borisKey, shortKey, slash, hex}
	p.plant(keys...)
	add := func() {
		t.Helper()
		for _, k := range keys {
			if a := p.call("POST /admin/api-keys", `{"api_key":"`+k+`"}`); a.status != 200 {
				t.Fatal(a)
			}
		}
	}
	left := func(want int) {
		t.Helper()
		if _, total := p.usernames(""); total != want {
			t.Errorf("%d keys are left, want %d", total, want)
		}
	}
	add()
	call := "DELETE /admin/api-keys"
	p.wantInvalid(call, `{}`, "apiKey or apiKeys is missing")
	p.wantInvalid(call, `{"apiKeys":[]}`, "apiKeys must not be empty")
	p.wantInvalid(call, `{"apiKey":"a","apiKeys":["b"],"provider":"acme"}`, `unknown provider "acme": use "ollama" or "openrouter"; apiKey and apiKeys are both there: send one of them`)
	p.wantMissing(call, `{"apiKey":"nobody"}`, "key")
	p.wantMissing(call, `{"apiKey":"`+annaKey+`","provider":"openrouter"}`, "key")
	left(5)
	p.want(call, `{"apiKey":"`+annaKey+`"}`, 200, `{"success":true}`)
	p.want(call, `{"apiKey":"`+id(borisKey)+`"}`, 200, `{"success":true}`)
	p.wantMissing(call, `{"apiKey":"`+annaKey+`"}`, "key")
	p.want("DELETE /admin/api-keys/"+url.PathEscape(slash), "", 200, `{"success":true}`)
	p.want("DELETE /admin/api-keys/"+hex, "", 200, `{"success":true}`)
	p.wantMissing("DELETE /admin/api-keys/"+hex, "", "key")
	p.wantMissing("DELETE /admin/api-keys/", "", "key")
	left(1)
	add()
	p.want(call, `{"apiKeys":["`+annaKey+`","`+id(annaKey)+`","`+id(borisKey)+`","nobody","`+slash+`"]}`, 200, `{"success":true,"deleted":3,"failed":2,"total":5}`)
	p.want(call, `{"apiKeys":["nobody"]}`, 200, `{"success":true,"deleted":0,"failed":1,"total":1}`)
	left(2)
}

func TestEnableAndDisable(t *testing.T) {
	p := start(t)
	p.plant(annaKey, borisKey)
	p.call("POST /admin/api-keys", `{"api_key":"`+annaKey+`","username":"anna"}`)
	p.call("POST /admin/api-keys", `{"api_key":"`+borisKey+`","username":"boris"}`)
	state := func(key string) (s struct {
		Status string  `json:"status"`
		Reason *string `json:"disabled_reason"`
		Until  *string `json:"disabled_until"`
	},
	) {
		t.Helper()
		p.read("GET /admin/api-keys/"+id(key), &s)
		return s
	}
	p.wantInvalid("POST /admin/keys/disable", `{"duration":-5}`, "duration must be between 0 and 3153600000 seconds; apiKey or apiKeys is missing")
	p.wantMissing("POST /admin/keys/disable", `{"apiKey":"nobody"}`, "key")
	p.wantMissing("POST /admin/keys/enable", `{"apiKey":"`+annaKey+`","provider":"openrouter"}`, "key")

	p.want("POST /admin/keys/disable", `{"apiKey":"`+annaKey+`"}`, 200, `{"success":true,"message":"Key disabled"}`)
	if s := state(annaKey); s.Status != "disabled" || s.Reason == nil || *s.Reason != "manual" || s.Until == nil {
		t.Errorf("disabled for the usual time: %+v", s)
	}
	p.want("POST /admin/keys/disable", `{"apiKeys":["`+annaKey+`","`+id(borisKey)+`","nobody","`+id(annaKey)+`"],"duration":0}`, 200,
		`{"success":true,"message":"3 of 4 keys disabled","changed":3,"failed":1,"total":4}`)
	if s := state(borisKey); s.Status != "disabled" || s.Until != nil {
		t.Errorf("disabled until enabled: %+v", s)
	}
	p.want("GET /admin/stats", "", 200, `{"total_api_keys":2,"active_keys":0,"resting_keys":0,"failed_keys":2,"total_client_tokens":0,
		"total_requests":0,"success_count":0,"failure_count":0,"success_rate":"0.00","storage":"sqlite","timestamp":"TIME"}`)
	p.want("POST /admin/keys/enable", `{"apiKey":"`+id(annaKey)+`"}`, 200, `{"success":true,"message":"Key enabled"}`)
	if s := state(annaKey); s.Status != "active" || s.Reason != nil || s.Until != nil {
		t.Errorf("enabled: %+v", s)
	}
	p.want("POST /admin/keys/enable", `{"apiKeys":["`+borisKey+`"]}`, 200, `{"success":true,"message":"1 of 1 keys enabled","changed":1,"failed":0,"total":1}`)
}

func TestListingKeys(t *testing.T) {
	p := start(t)
	var lines []string
	for i := range 203 {
		key := fmt.Sprintf("fake-listed-key-%03d-abcdefgh", i)
		lines = append(lines, fmt.Sprintf("user%03d----%s", i, key))
		p.plant(key)
	}
	p.call("POST /admin/api-keys/import-from-txt", strings.Join(lines, "\n"), "Content-Type", "text/plain")
	p.call("POST /admin/keys/disable", `{"apiKeys":["fake-listed-key-007-abcdefgh","fake-listed-key-100-abcdefgh"]}`)

	for query, want := range map[string]struct {
		n, total    int
		first, last string
		paging      string
	}{
		"sort=username":                                {50, 203, "user000", "user049", `"page":1,"pageSize":50,"totalPages":5}`},
		"sort=-username":                               {50, 203, "user202", "user153", `"page":1,"pageSize":50,"totalPages":5}`},
		"sort=username&page=5":                         {3, 203, "user200", "user202", `"page":5,"pageSize":50,"totalPages":5}`},
		"sort=username&pageSize=200&page=2":            {3, 203, "user200", "user202", `"page":2,"pageSize":200,"totalPages":2}`},
		"sort=username&pageSize=5000":                  {200, 203, "user000", "user199", `"page":1,"pageSize":200,"totalPages":2}`},
		"sort=username&fetch=all&page=9":               {203, 203, "user000", "user202", `"page":1,"pageSize":203,"totalPages":1}`},
		"page=99":                                      {0, 203, "", "", `"page":99,"pageSize":50,"totalPages":5}`},
		"status=disabled&sort=username":                {2, 2, "user007", "user100", `"page":1,"pageSize":50,"totalPages":1}`},
		"status=ACTIVE&sort=username&pageSize=1":       {1, 201, "user000", "user000", `"page":1,"pageSize":1,"totalPages":201}`},
		"status=all&category=kimi":                     {0, 0, "", "", `"page":1,"pageSize":50,"totalPages":1}`},
		"search=USER00&sort=username":                  {10, 10, "user000", "user009", `"page":1,"pageSize":50,"totalPages":1}`},
		"search=fake-LISTED-key-042-abcdefgh":          {1, 1, "user042", "user042", `"page":1,"pageSize":50,"totalPages":1}`},
		"search=" + id("fake-listed-key-043-abcdefgh"): {1, 1, "user043", "user043", `"page":1,"pageSize":50,"totalPages":1}`},
		"search=user%25":                               {0, 0, "", "", `"page":1,"pageSize":50,"totalPages":1}`},
	} {
		a := p.call("GET /admin/api-keys?"+query, "")
		names, total := p.usernames(query)
		if len(names) != want.n || total != want.total || want.n > 0 && (names[0] != want.first || names[want.n-1] != want.last) {
			t.Errorf("%s: %d of %d: %v", query, len(names), total, names)
		}
		if !strings.Contains(a.body, want.paging) {
			t.Errorf("%s: want %s in …%s", query, want.paging, a.body[max(0, len(a.body)-100):])
		}
	}
	for _, list := range []string{"api-keys", "keys/stats"} {
		p.wantInvalid("GET /admin/"+list+"?page=0&pageSize=x&status=tired&sort=size&fetch=some&provider=acme&reveal=2", "",
			`unknown provider "acme": use "ollama" or "openrouter"; page must be a whole number from 1 to 2147483647; `+
				"pageSize must be a whole number from 1 to 2147483647; reveal must be true or false; "+
				"status must be all, active, resting, failed, disabled or expired; "+
				"sort must be one of username, created_at, expires_at, status, consecutive_failures, last_used, with - in front for descending; fetch must be all")
	}
	var stats struct {
		Stats []struct{ Username string }
		Total int
	}
	p.read("GET /admin/keys/stats?pageSize=2&page=2&sort=username", &stats)
	if stats.Total != 203 || len(stats.Stats) != 2 || stats.Stats[0].Username != "user002" {
		t.Errorf("stats: %+v", stats)
	}
}

func TestRevealIsLogged(t *testing.T) {
	p := start(t)
	for _, key := range []string{annaKey, borisKey} {
		p.call("POST /admin/api-keys", `{"api_key":"`+key+`"}`)
	}
	for _, address := range []string{"/admin/api-keys?reveal=true", "/admin/api-keys/" + id(annaKey) + "?reveal=1", "/admin/keys/stats?reveal=true"} {
		before := len(p.log.String())
		a := p.send(http.MethodGet, address, nil, "X-Forwarded-For", "192.0.2.7")
		if a.status != 200 || !strings.Contains(a.body, `"`+annaKey+`"`) {
			t.Errorf("%s: %d %s", address, a.status, a.body)
		}
		lines := slices.Collect(strings.Lines(p.log.String()[before:]))
		if !slices.ContainsFunc(lines, func(line string) bool {
			return strings.Contains(line, `did="keys revealed"`) && strings.Contains(line, id(annaKey)) && strings.Contains(line, "client=192.0.2.7")
		}) {
			t.Errorf("%s: no line in %q", address, lines)
		}
	}
	p.secrets = append(p.secrets, annaKey, borisKey)
	p.call("GET /admin/api-keys?reveal=false", "")
	before := len(p.log.String())
	p.call("GET /admin/api-keys", "")
	if strings.Contains(p.log.String()[before:], "revealed") {
		t.Error("a masked list was logged as revealed")
	}
}

func TestWhatWasCounted(t *testing.T) {
	up := testkit.NewUpstream(t)
	up.Handle(testkit.ByKey(map[string]testkit.Answer{
		annaKey: testkit.JSON(200, `{"id":"x","choices":[]}`),
	}, testkit.JSON(401, `{"error":"unauthorized"}`)))
	p := start(t, "OLLAMA_BASE_URL="+up.URL)
	p.plant(annaKey, borisKey)
	p.call("POST /admin/api-keys/import", `{"keys":["anna----`+annaKey+`","boris----`+borisKey+`"]}`)
	var token struct{ Token string }
	a := p.call("POST /admin/tokens", `{"name":"t"}`)
	p.decode(a, &token)
	for range 4 {
		chat := p.send(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[]}`), "Authorization", "Bearer "+token.Token)
		if chat.status != 200 {
			t.Fatal(chat.status, chat.body)
		}
	}
	p.secrets = append(p.secrets, token.Token)

	entry := `{"id":"%s","apiKey":"%s","username":"%s","totalRequests":%d,"successCount":%d,"failureCount":%d,"successRate":"%s",
		"lastUsed":"TIME","lastSuccess":%s,"lastFailure":%s,"consecutiveFailures":%d,"status":"%s","disabledReason":%s}`
	p.want("GET /admin/keys/stats?sort=username", "", 200, fmt.Sprintf(`{"stats":[`+entry+`,`+entry+`],"total":2,"page":1,"pageSize":50,"totalPages":1}`,
		id(annaKey), "ollama…wxyz", "anna", 4, 4, 0, "100.00", `"TIME"`, "null", 0, "active", "null",
		id(borisKey), "ollama…abcd", "boris", 1, 0, 1, "0.00", "null", `"TIME"`, 1, "disabled", `"auto"`))
	p.want("GET /admin/stats", "", 200, `{"total_api_keys":2,"active_keys":1,"resting_keys":0,"failed_keys":1,"total_client_tokens":1,
		"total_requests":4,"success_count":4,"failure_count":0,"success_rate":"100.00","storage":"sqlite","timestamp":"TIME"}`)
	p.want("GET /admin/stats?provider=openrouter", "", 200, `{"total_api_keys":0,"active_keys":0,"resting_keys":0,"failed_keys":0,"total_client_tokens":0,
		"total_requests":0,"success_count":0,"failure_count":0,"success_rate":"0.00","storage":"sqlite","timestamp":"TIME"}`)
	p.want("GET /admin/stats?provider=all", "", 200, `{"total_api_keys":2,"active_keys":1,"resting_keys":0,"failed_keys":1,"total_client_tokens":1,
		"total_requests":4,"success_count":4,"failure_count":0,"success_rate":"100.00","storage":"sqlite","timestamp":"TIME"}`)
	p.wantInvalid("GET /admin/stats?provider=acme", "", `unknown provider "acme": use "ollama" or "openrouter" or "all"`)
}

// The list says what was counted for each key, as the export does.
func TestListedCounts(t *testing.T) {
	p, client := threeKeys(t)
	p.chat(client, 4)
	type counted struct {
		Total   int64      `json:"total_requests"`
		Success int64      `json:"success_count"`
		Failure int64      `json:"failure_count"`
		Rate    string     `json:"success_rate"`
		Used    *time.Time `json:"last_used"`
	}
	var list struct {
		Keys []counted `json:"api_keys"`
	}
	p.read("GET /admin/api-keys?sort=username", &list)
	exported := strings.Split(p.call("GET /admin/api-keys/export?format=jsonl&search="+annaKey, "").body, "\n")
	var anna counted
	p.same("a line", fmt.Sprint(len(exported)), "2")
	if err := json.Unmarshal([]byte(exported[0]), &anna); err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]counted{"in the list": list.Keys[0], "exported": anna} {
		if k.Total != 4 || k.Success != 4 || k.Failure != 0 || k.Rate != "100.00" || k.Used == nil {
			t.Errorf("%s: %+v", name, k)
		}
	}
	if boris := list.Keys[1]; boris.Total != 1 || boris.Failure != 1 || boris.Rate != "0.00" || boris.Used == nil {
		t.Errorf("%+v", boris)
	}
}
