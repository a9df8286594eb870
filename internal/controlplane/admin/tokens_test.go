package admin_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// made is the answer to a token that was made.
type made struct{ ID, Token, Name string }

func (p *pool) makeToken(call, body string) (m made, whole string) {
	p.Helper()
	a := p.call(call, body)
	if a.status != 200 {
		p.Fatalf("%s: %d %s", call, a.status, a.body)
	}
	p.decode(a, &m)
	if len(m.Token) != 51 || !strings.HasPrefix(m.Token, "sk-") {
		p.Fatalf("%s: not a token", call)
	}
	p.secrets, p.alien = append(p.secrets, m.Token), append(p.alien, m.Token)
	return m, strings.ReplaceAll(a.body, m.Token, "TOKEN")
}

func TestTokens(t *testing.T) {
	up := testkit.NewUpstream(t)
	up.Always(testkit.JSON(200, `{"id":"x","choices":[]}`))
	p := start(t, "OLLAMA_BASE_URL="+up.URL)
	p.plant(annaKey)
	p.call("POST /admin/api-keys", `{"api_key":"`+annaKey+`"}`)
	p.want("GET /admin/tokens", "", 200, `{"tokens":[],"total":0,"page":1,"pageSize":0,"totalPages":1}`)

	create := "POST /admin/tokens"
	p.wantInvalid(create, `{}`, "name is missing")
	p.wantInvalid(create, `{"name":"a\u0007","expiresIn":-1,"provider":"acme"}`,
		`name has a character that cannot be printed; unknown provider "acme": use "ollama" or "openrouter" or "all"; expiresIn must be between 0 and 3153600000 seconds`)
	p.wantInvalid(create, `{"name":"`+strings.Repeat("ü", 101)+`","expiresIn":5,"ttl":5}`,
		"name must not be longer than 100 characters; expiresIn and ttl are both there: send one of them")

	phone, whole := p.makeToken(create, `{"name":" phone "}`)
	p.same(create, whole, fmt.Sprintf(`{"id":"%s","token":"TOKEN","name":"phone","providers":["ollama"],"createdAt":"TIME","expiresAt":null,"limits":null}`, phone.ID))
	laptop, whole := p.makeToken(create, `{"name":"laptop","expiresIn":86400,"provider":"all"}`)
	p.same(create, whole, fmt.Sprintf(`{"id":"%s","token":"TOKEN","name":"laptop","providers":["ollama","openrouter"],"createdAt":"TIME","expiresAt":"TIME","limits":null}`, laptop.ID))
	router, _ := p.makeToken(create+"?provider=openrouter", `{"name":"router"}`)

	chat := func(token string, want int) {
		t.Helper()
		a := p.send(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[]}`), "Authorization", "Bearer "+token)
		if a.status != want {
			t.Errorf("a call with a token: %d, want %d: %s", a.status, want, a.body)
		}
	}
	chat(phone.Token, 200)
	chat(phone.Token, 200)
	chat(router.Token, 403)
	entry := func(m made, providers, expires string, count int, used string) string {
		return fmt.Sprintf(`{"id":"%s","token":"%s","name":"%s","providers":[%s],"createdAt":"TIME","expires_at":%s,"requestCount":%d,"lastUsed":%s,"limits":null,"used":null}`,
			m.ID, m.Token[:6]+"…"+m.Token[47:], m.Name, providers, expires, count, used)
	}
	list := entry(phone, `"ollama"`, "null", 2, `"TIME"`) + "," + entry(laptop, `"ollama","openrouter"`, `"TIME"`, 0, "null")
	onRouter := entry(laptop, `"ollama","openrouter"`, `"TIME"`, 0, "null") + "," + entry(router, `"openrouter"`, "null", 0, "null")
	p.want("GET /admin/tokens?provider=ollama", "", 200, `{"tokens":[`+list+`],"total":2,"page":1,"pageSize":2,"totalPages":1}`)
	p.want("GET /admin/tokens?provider=openrouter", "", 200, `{"tokens":[`+onRouter+`],"total":2,"page":1,"pageSize":2,"totalPages":1}`)
	p.want("GET /admin/client-tokens", "", 200, `{"client_tokens":[`+list+","+entry(router, `"openrouter"`, "null", 0, "null")+`],"total":3,"page":1,"pageSize":3,"totalPages":1}`)
	p.wantInvalid("GET /admin/tokens?provider=acme", "", `unknown provider "acme": use "ollama" or "openrouter" or "all"`)

	revoke := "DELETE /admin/tokens"
	p.wantInvalid(revoke, `{}`, "token is missing")
	p.wantMissing(revoke, `{"token":"sk-nobody"}`, "token")
	p.want(revoke, `{"token":"`+phone.Token+`"}`, 200, `{"success":true}`)
	chat(phone.Token, 401)
	p.wantMissing(revoke, `{"token":"`+phone.Token+`"}`, "token")
	p.want(revoke, `{"token":"`+laptop.ID+`"}`, 200, `{"success":true}`)
	chat(laptop.Token, 401)
	p.want("DELETE /admin/client-tokens/"+router.Token, "", 200, `{"success":true}`)
	p.wantMissing("DELETE /admin/client-tokens/"+router.ID, "", "token")
	p.want("GET /admin/client-tokens", "", 200, `{"client_tokens":[],"total":0,"page":1,"pageSize":0,"totalPages":1}`)

	old, whole := p.makeToken("POST /admin/client-tokens", `{"ttl":3600}`)
	p.same("the older address", whole, fmt.Sprintf(`{"id":"%s","token":"TOKEN","name":"unnamed","providers":["ollama"],"createdAt":"TIME","expiresAt":"TIME","limits":null}`, old.ID))
	p.want("DELETE /admin/client-tokens/"+old.ID, "", 200, `{"success":true}`)
}
