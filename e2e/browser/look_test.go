package browser

import (
	_ "embed"
	"encoding/json"
	"strings"
	"testing"
)

//go:embed testdata/look.js
var look string

// latin are words that stand in the Chinese pages as they are, some of them
// names that the demo gives.
var latin = []string{
	"Ollama API Pool", "Ollama", "OpenRouter", "GitHub", "OpenAI", "Anthropic", "Python", "JavaScript", "Redis", "SQLite", "PostgreSQL", "Supabase",
	"Linux", "Docker", "https", "Bearer", "Cookie", "Ctrl", "Enter", "Esc", "token", "tokens", "curl",
	// models and their families, tokens and accounts of the demo
	"deepseek", "gemma", "kimi", "minimax", "mistral", "qwen", "demo", "intern", "partner", "research",
}

// sound looks for what is wrong with how the page is drawn: texts that are cut or
// lie on each other, controls that are too small, icons that are not there, words
// that are missing or in the other language.
func (p *Page) sound() []string {
	p.t.Helper()
	known, err := json.Marshal(latin)
	if err != nil {
		p.t.Fatal(err)
	}
	return Eval[[]string](p, "("+look+")("+string(known)+")")
}

// TestSound breaks a page that is sound in the ways that sound looks for.
func TestSound(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.Open("/stats")
	if found := p.sound(); len(found) > 0 {
		t.Fatalf("it is said not to be sound: %q", found)
	}
	const button = `(() => { const b = document.createElement("button"); b.textContent = "Other"; b.style.cssText = "%"; document.querySelector(".page-head .actions").append(b) })()`
	for _, test := range []struct{ script, want string }{
		{`document.querySelector("h2").style.cssText = "white-space: nowrap; width: 20px; overflow: hidden"`, "is cut by"},
		{`document.querySelector("h2").style.cssText = "white-space: nowrap; width: 20px"`, "out of h2"},
		{`document.querySelector("h2").style.cssText = "height: 6px; overflow: hidden"`, "px of height"},
		{`document.querySelector(".panel-head .sub").style.cssText = "position: relative; left: -60px"`, "lie on each other"},
		{strings.Replace(button, "%", "position: relative; left: -80px; width: 90px; height: 32px", 1), "button “Other” and label"},
		{strings.Replace(button, "%", "padding: 0; border: 0; width: 16px; height: 16px; margin-left: -8px; overflow: visible", 1), "16×16 px small"},
		{`document.querySelector("h1").outerHTML = "<h2>Statistics</h2>"`, "there are 0 h1"},
		{`document.querySelector("h2").outerHTML = "<h4>Models</h4>"`, "after a heading of level 1"},
		{`document.querySelector("td.num").style.textAlign = "left"`, "is aligned right"},
		{`(e => e.setAttribute("href", e.getAttribute("href").replace(/#.*/, "#none")))(document.querySelector("use"))`, "no icon “none”"},
		{`document.title = "Ollama API Pool"`, "the title"},
		{`document.querySelector("h1").id = "app"`, "more than once"},
		{`document.querySelector("h1").textContent = "stats.title"`, "a key "},
		{`document.querySelector("h1").textContent = "stats.none-such"`, "a key without words"},
		{`document.querySelector("h1").textContent = "{n} of NaN"`, "it says"},
		{`document.querySelector("h1").textContent = "统计"`, "Chinese in the English page"},
		{`document.documentElement.lang = "zh-CN"`, "not translated: “Statistics”"},
		{`(document.documentElement.lang = "zh-CN", document.querySelector("h1").textContent = "统计 of all")`, "English words (all)"},
		{`(document.documentElement.lang = "zh-CN", document.querySelector("h1").textContent = "统计, 全部")`, "set oddly"},
	} {
		p.Open("/stats")
		Eval[any](p, "void ("+test.script+")")
		if found := strings.Join(p.sound(), "\n"); !strings.Contains(found, test.want) {
			t.Errorf("%s: %q is not said, but %q", test.script, test.want, found)
		}
	}
}
