package browser

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
)

func TestDocsLook(t *testing.T) {
	t.Parallel()
	Matrix(t, Shared(t), "api-docs", "/api-docs?search=disable", func(p *Page) {
		p.Part("#postAdminKeysDisable > summary").ClickHere()
		p.WaitText("/admin/keys/disable' ")
	})
}

// document is what the page is drawn from, as far as the test looks at it.
type document struct {
	Paths map[string]map[string]json.RawMessage `json:"paths"`
}

// Every operation of the OpenAPI document is there, opens, and has an example.
func TestDocsHoldEveryOperation(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	p := NewPage(t, s)
	p.Open("/api-docs")
	doc := Admin[document](t, s, "GET", "/openapi.json", nil)
	n := 0
	for path, item := range doc.Paths {
		for method, raw := range item {
			var o struct {
				ID      string `json:"operationId"`
				Summary string `json:"summary"`
			}
			if json.Unmarshal(raw, &o) != nil || o.ID == "" {
				continue
			}
			n++
			if !Eval[bool](p, `(() => { const s = document.querySelector("#`+o.ID+` > summary")?.innerText ?? ""; return s.includes(`+quoted(path)+`) && s.includes(`+quoted(o.Summary)+`); })()`) {
				t.Errorf("%s %s is not on the page", method, path)
			}
		}
	}
	if n < 50 {
		t.Fatalf("the document has %d operations", n)
	}
	Eval[bool](p, `document.querySelectorAll("details.entry").forEach((d) => { d.open = true }), true`)
	p.Await("an example in every operation", `document.querySelectorAll("details.entry .operation pre").length >= `+quoted(n)+` && document.querySelectorAll("details.entry:not(:has(.operation pre))").length === 0`)
}

func quoted(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A visitor finds a call, tries it with a token of his own, and sees the answer;
// nothing of the token stays anywhere.
func TestDocsTry(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Fill(t)
	token := s.Token(t, "docs")
	p := NewPage(t, s)
	p.Open("/api-docs")
	p.Fill("Address or words", "disable keys")
	p.WaitURL("/api-docs?search=disable+keys")
	p.WaitGone("/v1/chat/completions")
	p.Press("Escape")
	p.WaitText("/v1/chat/completions")

	p.Open("/api-docs?search=chat#postV1ChatCompletions")
	o := p.Part("#postV1ChatCompletions")
	o.Part(".try > summary").ClickHere()
	o.Fill("Your client token", token)
	o.Click("button", "Send")
	o.WaitText("chat.completion", "200")
	for _, where := range []string{"location.href", "JSON.stringify(localStorage)", "JSON.stringify(sessionStorage)", `document.querySelector(".operation pre").innerText`} {
		if got := Eval[string](p, where); strings.Contains(got, token) {
			t.Errorf("%s holds the token", where)
		}
	}

	p.Expect(401)
	o.Fill("Your client token", "sk-not-a-token")
	o.Click("button", "Send")
	o.WaitText("401")
}

// A call that changes something is asked about first, and then made.
func TestDocsTryAdmin(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := NewPage(t, s)
	p.Open("/api-docs#postAdminTokens")
	o := p.Part("#postAdminTokens")
	o.Part(".try > summary").ClickHere()
	o.Fill("Your admin token", s.AdminToken())
	o.Click("button", "Send")
	d := p.In("dialog", "Send POST /admin/tokens?")
	d.Click("button", "Cancel")
	if n := tokensOf(t, s); n != 0 {
		t.Fatalf("%d tokens were made without consent", n)
	}
	o.Click("button", "Send")
	p.In("dialog", "Send POST /admin/tokens?").Click("button", "Send")
	o.WaitText("expiresAt")
	if n := tokensOf(t, s); n != 1 {
		t.Errorf("%d tokens were made", n)
	}
}

func tokensOf(t *testing.T, s *Server) int {
	t.Helper()
	return Admin[struct{ Total int }](t, s, "GET", "/admin/tokens", nil).Total
}

// Links into the page open what they name, also after a turn to the page's words.
func TestDocsDeepLink(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/api-docs?search=" + url.QueryEscape("revoke") + "#deleteAdminTokens")
	p.Part("#deleteAdminTokens").WaitText("Example", "curl -X DELETE")
	p.Part("#deleteAdminTokens").Click("tab", "Python")
	p.Part("#deleteAdminTokens").WaitText("import requests")
}
