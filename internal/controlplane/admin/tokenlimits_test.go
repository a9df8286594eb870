package admin_test

import (
	"fmt"
	"strings"
	"testing"

	"ollama-api-pool/internal/testkit"
)

func TestLimitsOfTokens(t *testing.T) {
	up := testkit.NewUpstream(t)
	up.Always(testkit.JSON(200, `{"id":"x","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}`))
	p := start(t, "OLLAMA_BASE_URL="+up.URL)
	p.plant(annaKey)
	p.call("POST /admin/api-keys", `{"api_key":"`+annaKey+`"}`)

	create := "POST /admin/tokens"
	wrong := `"limits":{"models":["","` + strings.Repeat("x", 201) + `"],"requestsPerMinute":-1,"requestsPerDay":1000000001,"concurrent":100001,"networks":["10.0.0.0/33","fe80::1%eth0","here"]}`
	limits := `limits.models has an empty pattern; limits.models must not be longer than 200 characters; ` +
		`limits.requestsPerMinute must be between 0 (none) and 1000000; limits.requestsPerDay must be between 0 (none) and 1000000000; ` +
		`limits.concurrent must be between 0 (none) and 100000; ` +
		`limits.networks has "10.0.0.0/33", which is neither an address nor a network such as 192.0.2.0/24; ` +
		`limits.networks has "fe80::1%eth0", which is neither an address nor a network such as 192.0.2.0/24; ` +
		`limits.networks has "here", which is neither an address nor a network such as 192.0.2.0/24`
	p.wantInvalid(create, `{`+wrong+`,"providers":["ollama",""],"provider":"all"}`, "provider and providers are both there: send one of them; providers has an empty name; name is missing; "+limits)
	p.wantInvalid(create, `{"name":"x","limits":{"requestsPerMinit":3}}`, `unknown field "requestsPerMinit"`)
	p.wantInvalid(create, `{"name":"x","limits":{"concurrent":"3"}}`, `field "limits.concurrent" must be a whole number, not string`)
	p.wantInvalid(create, `{"name":"x","providers":[]}`, "providers must not be empty")

	m, whole := p.makeToken(create, `{"name":"phone","providers":["openrouter","ollama","ollama"],"colour":"red",
		"limits":{"models":["gpt-oss*"," Kimi "],"requestsPerDay":3,"networks":["127.0.0.1","::ffff:10.1.2.3/104","2001:db8::1/32"]}}`)
	shown := `{"models":["gpt-oss*","Kimi"],"requestsPerMinute":0,"requestsPerDay":3,"tokensPerDay":0,"concurrent":0,"networks":["127.0.0.1","10.0.0.0/8","2001:db8::/32"]}`
	p.same(create, whole, fmt.Sprintf(`{"id":"%s","token":"TOKEN","name":"phone","providers":["ollama","openrouter"],"createdAt":"TIME","expiresAt":null,"limits":%s}`, m.ID, shown))

	chat := func(model string, want int, headers ...string) {
		t.Helper()
		a := p.send("POST", "/v1/chat/completions", strings.NewReader(`{"model":"`+model+`","messages":[]}`), append([]string{"Authorization", "Bearer " + m.Token}, headers...)...)
		if a.status != want {
			t.Errorf("a call: %d, want %d: %s", a.status, want, a.body)
		}
	}
	chat("llama3", 403)
	chat("kimi", 200, "X-Forwarded-For", "192.0.2.1, 10.9.9.9")
	chat("kimi", 403, "X-Forwarded-For", "192.0.2.1")
	chat("gpt-oss:120b", 200)

	entry := func(name, providers, expires string, count int, limits, used string) string {
		return fmt.Sprintf(`{"id":"%s","token":"%s…%s","name":"%s","providers":[%s],"createdAt":"TIME","expires_at":%s,"requestCount":%d,"lastUsed":"TIME","limits":%s,"used":%s}`,
			m.ID, m.Token[:6], m.Token[47:], name, providers, expires, count, limits, used)
	}
	patch := "PATCH /admin/tokens/" + m.ID
	p.wantError(patch, `{"name":"x"}`, 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer x")
	p.wantMissing("PATCH /admin/tokens/0123456789abcdef", `{"name":"x"}`, "token")
	p.wantInvalid(patch, `{}`, "body says nothing: send name, providers, expiresIn or limits")
	p.wantInvalid(patch, `{"nickname":"x"}`, `unknown field "nickname"`)
	p.wantInvalid(patch, `{"name":" ","expiresIn":-1,"providers":[],`+wrong+`}`, "providers must not be empty; name must not be empty; expiresIn must be between 0 and 3153600000 seconds; "+limits)

	var before struct{ Used struct{ RequestsToday int } }
	change := p.call(patch, `{"name":"handset","expiresIn":3600,"provider":"ollama"}`)
	p.decode(change, &before)
	used := fmt.Sprintf(`{"requestsToday":%d,"tokensToday":14,"running":0}`, before.Used.RequestsToday)
	if before.Used.RequestsToday < 2 || before.Used.RequestsToday > 4 {
		t.Errorf("used: %s", change.body)
	}
	count := strings.Count(change.body, `"requestCount":4`)*4 + strings.Count(change.body, `"requestCount":3`)*3 + strings.Count(change.body, `"requestCount":2`)*2
	p.same(patch, change.body, entry("handset", `"ollama"`, `"TIME"`, count, shown, used))
	p.want("GET /admin/tokens?search=HAND", "", 200, `{"tokens":[`+entry("handset", `"ollama"`, `"TIME"`, count, shown, used)+`],"total":1,"page":1,"pageSize":1,"totalPages":1}`)
	p.want(patch, `{"limits":{"models":[],"requestsPerDay":0,"networks":null,"requestsPerMinute":5}}`, 200,
		entry("handset", `"ollama"`, `"TIME"`, count, `{"models":[],"requestsPerMinute":5,"requestsPerDay":0,"tokensPerDay":0,"concurrent":0,"networks":[]}`, used))
	chat("llama3", 200)
	if a := p.call("PATCH /admin/tokens/"+m.Token, `{"expiresIn":null,"limits":null}`); a.status != 200 ||
		!strings.Contains(a.body, `"expires_at":null`) || !strings.Contains(a.body, `"limits":null`) {
		t.Errorf("everything taken away: %d %s", a.status, a.body)
	}
	chat("llama3", 200, "X-Forwarded-For", "192.0.2.1")
	p.call(patch, `{"expiresIn":3600,"limits":{"requestsPerDay":1}}`)
	chat("llama3", 429)
}

func TestPagesOfTokens(t *testing.T) {
	p := start(t)
	var ids []string
	for i := range 5 {
		m, _ := p.makeToken("POST /admin/tokens", fmt.Sprintf(`{"name":"token %d"}`, i))
		ids = append(ids, m.ID)
	}
	for query, want := range map[string]string{
		"pageSize=2":                  "[token 0 token 1] 5 1 2 3",
		"pageSize=2&page=3":           "[token 4] 5 3 2 3",
		"page=9":                      "[] 5 9 50 1",
		"pageSize=1000":               "[token 0 token 1 token 2 token 3 token 4] 5 1 200 1",
		"":                            "[token 0 token 1 token 2 token 3 token 4] 5 1 5 1",
		"search=N+3":                  "[token 3] 1 1 1 1",
		"search=" + ids[2]:            "[token 2] 1 1 1 1",
		"search=none":                 "[] 0 1 0 1",
		"provider=openrouter":         "[] 0 1 0 1",
		"search=TOKEN+1&pageSize=1":   "[token 1] 1 1 1 1",
		"page=2147483647&pageSize=50": "[] 5 2147483647 50 1",
	} {
		var out struct {
			Tokens                            []struct{ Name string }
			Total, Page, PageSize, TotalPages int
		}
		p.read("GET /admin/tokens?"+query, &out)
		names := []string{}
		for _, x := range out.Tokens {
			names = append(names, x.Name)
		}
		if got := fmt.Sprint(names, out.Total, out.Page, out.PageSize, out.TotalPages); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	p.wantInvalid("GET /admin/tokens?page=0&pageSize=x&provider=acme", "",
		`unknown provider "acme": use "ollama" or "openrouter" or "all"; page must be a whole number from 1 to 2147483647; pageSize must be a whole number from 1 to 2147483647`)
}
