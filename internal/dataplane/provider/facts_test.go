package provider

import (
	"strconv"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// TestPlain: quotations are the client's words, not the upstream's.
func TestPlain(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := plain(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	f("", "")
	f(" Invalid\n\tAPI-Key_X ", "invalid api key x")
	f("you’ve and you've", "you've and you've")
	f(`model "invalid api key" not found`, "model not found")
	f("model `a` or 'b' or “c” not found", "model or or not found")
	f("'quoted'", "")
	f(`an "open end`, `an "open end`)
	f("don't 'a b' won't", "don't won't")
	f("ÄÖÜ \xff", "äöü \ufffd")
	f("a\x00b", "a b")
}

func TestSaysPhrase(t *testing.T) {
	f := func(text, phrase string, want bool) {
		t.Helper()
		if got := saysPhrase(text, phrase); got != want {
			t.Errorf("%q in %q: %v", phrase, text, got)
		}
	}
	f("invalid api key", "api key", true)
	f("keyboard turkey monkeys", "key", false)
	f("turkey, key.", "key", true)
	f("key", "key", true)
	f("", "key", false)
	f("model a/b not found", "model … not found", true)
	f("model not found", "model … not found", true)
	f("not found: model", "model … not found", false)
	f("models not found", "model … not found", false)
	f("schlüssel key", "key", true)
	f("ökey", "key", false)
}

func TestMatchesValue(t *testing.T) {
	f := func(value, pattern string, want bool) {
		t.Helper()
		if got := matchesValue(value, pattern); got != want {
			t.Errorf("%q against %q: %v", value, pattern, got)
		}
	}
	f("a", "a", true)
	f("ab", "a", false)
	f("openrouter_key_limit", "*_key_limit", true)
	f("openrouter_key_limits", "*_key_limit", false)
	f("openrouter_x", "openrouter_*", true)
	f("an openrouter_x", "openrouter_*", false)
	f("a-b-c", "*b*", true)
	f("a-c", "*b*", false)
}

// TestForms: the same refusal in every form in which errors come, all to be
// read as one that speaks of the key, or at least never as worse than that.
func TestForms(t *testing.T) {
	f := func(want string, body string, headers ...string) {
		t.Helper()
		for _, name := range gateway.Providers() {
			rule, _ := newAdapter(t, name).Explain(Answer{Status: 403, Header: header(headers...), Body: []byte(body), Now: now})
			if rule.Name != want {
				t.Errorf("%s: %.80q %v judged by %s, want %s", name, body, headers, rule.Name, want)
			}
		}
	}
	const speaks = "any-403-key"
	f(speaks, `{"error":"bad account"}`)
	f(speaks, `{"error":{"message":"bad account"}}`)
	f(speaks, `{"error":{"message":"no","code":"account_inactive"}}`)
	f(speaks, `{"error":{"message":"no","code":403,"type":"account_error"}}`)
	f(speaks, `{"type":"error","error":{"type":"permission_error","message":"bad account"}}`)
	f(speaks, `{"message":"bad account"}`)
	f(speaks, `{"detail":"bad account"}`)
	f(speaks, `{"ERROR":{"Message":"BAD ACCOUNT"}}`)
	f(speaks, `[{"error":{"message":"bad account"}}]`)
	f(speaks, `{"errors":[{"message":"bad account"},{"message":"x"}]}`)
	f(speaks, `"bad account"`)
	f(speaks, `bad account`)
	f(speaks, "\xef\xbb\xbf \r\n{\"error\":\"bad account\"}")
	f(speaks, "event: error\ndata: {\"error\":\"bad account\"}\n\n")
	f(speaks, "data: {\"error\":\"bad account\"}")
	f(speaks, "{\"error\":\"bad account \xff\xfe\"}")
	f(speaks, `{"error":"bad account"}`, "Content-Type", "text/html")
	f(speaks, `{"error":"bad account"}`, "Content-Encoding", "identity")
	f(speaks, `{"error":"bad account"}{"error":"more"}`)
	// Cut off.
	f(speaks, `{"error":{"message":"bad account","metadata":{"raw":"`+strings.Repeat("x", 64<<10))
	f(speaks, `{"error":"bad account `+strings.Repeat("x", 64<<10))
	f(speaks, `{"error":{"message":"bad account","a":[1,2,{"b":tr`)
	// Nothing to be learnt from.
	const nothing = "any-403"
	f(nothing, `{"error":"bad account"}`, "Content-Encoding", "gzip")
	f(nothing, `{"error":null}`)
	f(nothing, `{"error":{}}`)
	f(nothing, `{}`)
	f(nothing, `null`)
	f(nothing, `{`)
	f(nothing, "\x00\xff")
	f(nothing, `{"error":{"message":"no","metadata":{"raw":"bad account"}}}`)
	f(nothing, `{"error":{"message":"no"},"request":{"message":"bad account"}}`)
	f(nothing, `{"error":"you may not use \"bad account\" today"}`)
	f(nothing, `{"error":"`+strings.Repeat("x", maxText)+` bad account"}`)
	f(nothing, strings.Repeat("[", 64<<10))
	f(nothing, strings.Repeat(`{"error":`, 7<<10))
	f("any-403-page", "\n\n<!doctype html>bad account")
	f("any-403-page", "", "Content-Type", "Text/HTML;charset=utf-8")
	f("any-403-page", "bad account", "Content-Type", "application/xhtml+xml")
}

// TestFieldLimits: what is read from a body is bounded.
func TestFieldLimits(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"list":[1,2,3],"long":"` + strings.Repeat("é", maxText) + `"`)
	for i := range maxFields {
		b.WriteString(`,"` + strconv.Itoa(i) + `":{"a":1,"b":{"c":true,"d":null}}`)
	}
	b.WriteString(`}`)
	fields := readFields([]byte(b.String()))
	if len(fields) != maxFields || fields["list.0"] != "1" || fields["list.1"] != "" {
		t.Errorf("%d fields, list %q %q", len(fields), fields["list.0"], fields["list.1"])
	}
	for path, v := range fields {
		if len(v) > maxText+len("…") {
			t.Errorf("%.20s holds %d bytes", path, len(v))
		}
		if v == "" {
			t.Errorf("%.20s is empty", path)
		}
	}
}
