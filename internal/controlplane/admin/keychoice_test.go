package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// threeKeys has a key that serves, one that the upstream refuses and one whose
// account is out of quota.
func threeKeys(t *testing.T, environ ...string) (p *pool, client string) {
	t.Helper()
	up := testkit.NewUpstream(t)
	up.Handle(testkit.ByKey(map[string]testkit.Answer{
		annaKey:  testkit.JSON(200, `{"id":"x","choices":[]}`),
		borisKey: testkit.JSON(429, `{"error":"you've reached your hourly usage limit"}`),
	}, testkit.JSON(401, `{"error":"unauthorized"}`)))
	p = start(t, append([]string{"OLLAMA_BASE_URL=" + up.URL}, environ...)...)
	p.plant(annaKey, borisKey, shortKey)
	p.call("POST /admin/api-keys/import", `{"keys":["anna----`+annaKey+`","boris----`+borisKey+`","carl----`+shortKey+`"]}`)
	m, _ := p.makeToken("POST /admin/tokens", `{"name":"t"}`)
	return p, m.Token
}

// chat sends requests that clients would.
func (p *pool) chat(token string, times int) {
	p.Helper()
	for range times {
		a := p.send("POST", "/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[]}`), "Authorization", "Bearer "+token)
		if a.status != 200 {
			p.Fatalf("%d %s", a.status, a.body)
		}
	}
}

func TestFilters(t *testing.T) {
	p, client := threeKeys(t)
	p.chat(client, 4)
	statuses := func(want string) {
		t.Helper()
		var got []string
		for _, s := range []string{"active", "resting", "failed", "disabled"} {
			names, _ := p.usernames("sort=username&status=" + s)
			got = append(got, fmt.Sprint(s, names))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("got %v\nwant %s", got, want)
		}
	}
	statuses("[active[anna] resting[boris] failed[] disabled[carl]]")

	enable, clearing, remove := "POST /admin/keys/enable", "POST /admin/keys/clear-rest", "DELETE /admin/api-keys"
	for _, call := range []string{enable, "POST /admin/keys/disable", clearing, remove} {
		p.wantError(call, `{"filter":{"status":"all"}}`, 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer x")
		p.wantInvalid(call, `{"filter":{}}`, `filter says nothing: {"status":"all"} chooses every key`)
		p.wantInvalid(call, `{"filter":{"status":"tired"},"expect":-1,"provider":"acme"}`,
			`unknown provider "acme": use "ollama" or "openrouter"; filter.status must be all, active, resting, failed, disabled or expired; expect goes with filter and must not be negative`)
		p.wantInvalid(call, `{"filter":{"status":"all"},"apiKeys":["x"]}`, "filter and keys by name are both there: send one of them")
		p.wantInvalid(call, `{"apiKeys":["x"],"expect":1}`, "expect goes with filter and must not be negative")
		// What a store would take for nothing at all does not choose every key.
		p.wantInvalid(call, `{"filter":{"search":"\u0000"}}`, "filter.search has a character that cannot be printed")
		p.wantInvalid(call, `{"filter":{"category":"\u0000","search":"`+strings.Repeat("x", 601)+`"}}`,
			"filter.category has a character that cannot be printed; filter.search must not be longer than 600 characters")
		// A query that cannot be read may have said that nothing is to be changed.
		for _, query := range []string{"?dryRun=true;x=1", "?dryRun=%7", "?provider=openrouter;&dryRun=true"} {
			p.wantInvalid(call+query, `{"filter":{"status":"all"}}`,
				"the query of the address is not well formed: parts are joined with &, and odd characters escaped with %")
		}
		p.wantInvalid(call+"?dryRun=perhaps", `{"filter":{"status":"all"}}`, "dryRun must be true or false")
		p.wantError(call, `{"filter":{"status":"all"},"expect":2}`, 409, "invalid_request_error", "conflict",
			"the filter chooses 3 keys by now, not 2; nothing was changed")
	}
	p.wantInvalid(clearing, `{"apiKey":"x","fitler":{}}`, `unknown field "fitler"`)
	for _, call := range []string{enable, "POST /admin/keys/disable", remove} { // they pass over other fields
		p.wantInvalid(call, `{"filter":{"status":"active","serach":"anna"}}`, `unknown field "serach"`)
		p.wantInvalid(call, `{"filter":"active"}`, `field "filter" must be an object, not string`)
		p.wantInvalid(call, `{"filter":{"status":5}}`, `field "filter.status" must be a string, not number`)
		p.wantInvalid(call+"?dry_run=true", `{"filter":{"status":"all"}}`, `"dry_run" in the query is not known: write dryRun; nothing was changed`)
		p.wantInvalid(call+"?Provider=openrouter", `{"filter":{"status":"all"}}`, `"Provider" in the query is not known: write provider; nothing was changed`)
	}
	statuses("[active[anna] resting[boris] failed[] disabled[carl]]")

	// What would happen.
	p.want(remove+"?dryRun=true", `{"filter":{"status":"all"},"expect":3}`, 200, `{"success":true,"dryRun":true,"deleted":3,"failed":0,"total":3}`)
	p.want(remove+"?dryRun=1", `{"apiKey":"`+annaKey+`"}`, 200, `{"success":true,"dryRun":true,"deleted":1,"failed":0,"total":1}`)
	p.want(remove+"/"+annaKey+"?dryRun=1", "", 200, `{"success":true,"dryRun":true,"deleted":1,"failed":0,"total":1}`)
	p.wantMissing(remove+"/0123456789abcdef?dryRun=1", "", "key")
	p.wantMissing(remove+"?dryRun=1", `{"apiKey":"fake-nobody-0123456789"}`, "key")
	p.want(enable+"?dryRun=true", `{"apiKeys":["`+annaKey+`","fake-nobody-0123456789"]}`, 200,
		`{"success":true,"dryRun":true,"message":"1 of 2 keys would be enabled","changed":1,"failed":1,"total":2}`)
	p.want("POST /admin/keys/disable?dryRun=true", `{"apiKey":"`+annaKey+`"}`, 200,
		`{"success":true,"dryRun":true,"message":"Key would be disabled","changed":1,"failed":0,"total":1}`)
	p.want(clearing+"?dryRun=true", `{"filter":{"status":"all"}}`, 200,
		`{"success":true,"dryRun":true,"message":"Rest would end of 1 of 3 keys","changed":1,"failed":0,"total":3}`)
	statuses("[active[anna] resting[boris] failed[] disabled[carl]]")

	// What happens.
	p.want(clearing, `{"filter":{"status":"disabled"}}`, 200, `{"success":true,"message":"Rest ended of 0 of 1 keys","changed":0,"failed":0,"total":1}`)
	p.wantMissing(clearing, `{"apiKey":"fake-nobody-0123456789"}`, "key")
	p.want(clearing, `{"apiKeys":["`+id(borisKey)+`","`+annaKey+`","fake-nobody-0123456789"]}`, 200,
		`{"success":true,"message":"Rest ended of 1 of 3 keys","changed":1,"failed":1,"total":3}`)
	statuses("[active[anna boris] resting[] failed[] disabled[carl]]")
	p.want("POST /admin/keys/disable?_=1&dry=1", `{"filter":{"search":"an"},"expect":1,"duration":0,"note":"from a script"}`, 200,
		`{"success":true,"message":"1 of 1 keys disabled","changed":1,"failed":0,"total":1}`)
	statuses("[active[boris] resting[] failed[] disabled[anna carl]]")
	p.want(enable, `{"filter":{"status":"DISABLED"},"expect":2}`, 200, `{"success":true,"message":"2 of 2 keys enabled","changed":2,"failed":0,"total":2}`)
	statuses("[active[anna boris carl] resting[] failed[] disabled[]]")
	p.want(enable, `{"filter":{"category":"kimi"}}`, 200, `{"success":true,"message":"0 of 0 keys enabled","changed":0,"failed":0,"total":0}`)
	p.want(remove, `{"filter":{"search":"`+borisKey+`"},"expect":1}`, 200, `{"success":true,"deleted":1,"failed":0,"total":1}`)
	p.want(remove, `{"filter":{"status":"all"},"expect":2}`, 200, `{"success":true,"deleted":2,"failed":0,"total":2}`)
	if _, total := p.usernames(""); total != 0 {
		t.Errorf("%d keys are left", total)
	}
}
