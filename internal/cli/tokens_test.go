package cli

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestTokensEverywhere(t *testing.T) {
	everyPlace(t, func(t *testing.T, p place) {
		wantText(t, "no token", p.ok(t, "", "tokens", "list").out, "There is no token yet. Make one for a client:\n\n  ollama-api-pool tokens create NAME\n")
		wantAll(t, p.ok(t, "", "tokens", "list", "--json").out, `"tokens": []`)

		made := p.ok(t, "", "tokens", "create", " my app ")
		token := strings.TrimSuffix(made.out, "\n")
		if wholeToken.FindString(token) != token {
			t.Fatalf("the standard output is %q", made.out)
		}
		url, when := p.url, "Try it:"
		if url == "" {
			url, when = "http://127.0.0.1:8787", "When the server runs, try it:"
		}
		hash := gateway.Token{Hash: gateway.HashToken(gateway.Secret(token))}
		id := hash.ID()
		wantText(t, "standard error", made.err, "\nThis is token "+id+`, for "my app". It is not shown again. `+when+"\n\n  curl "+url+
			"/v1/chat/completions -H 'Authorization: Bearer "+token+`' -H 'Content-Type: application/json' -d '{"model":"gpt-oss:20b","messages":[{"role":"user","content":"Hello"}]}'`+"\n")

		other := fromJSON[createdTokenJSON](t, p.ok(t, "", "tokens", "create", "batch", "--provider", "openrouter", "--expires", "30d", "--json").out)
		if wholeToken.FindString(other.Token) != other.Token || other.Name != "batch" || len(other.Providers) != 1 || other.Providers[0] != gateway.OpenRouter {
			t.Errorf("%+v", other)
		}
		if other.ExpiresAt == nil || time.Until(*other.ExpiresAt).Round(time.Hour) != 30*24*time.Hour {
			t.Errorf("expires at %v", other.ExpiresAt)
		}
		wantAll(t, other.Example, url+"/openrouter/v1/chat/completions", other.Token)

		list := p.ok(t, "", "tokens", "list")
		wantNone(t, list.out, token, other.Token)
		wantAll(t, list.out, "ID  ", id+"  "+gateway.PreviewToken(gateway.Secret(token))+"  my app  ollama,openrouter  ", "  never  ", "(30d)")
		rows := fromJSON[listedTokensJSON](t, p.ok(t, "", "tokens", "list", "--json").out)
		if len(rows.Tokens) != 2 || rows.Tokens[0].ID != id || rows.Tokens[1].ID != other.ID || rows.Tokens[0].CreatedAt == nil {
			t.Errorf("%+v", rows)
		}
		if p.url != "" {
			wantStatus(t, p.url, token, http.StatusServiceUnavailable) // let in: there is no key
		}

		wantText(t, "revoke", p.ok(t, "", "tokens", "revoke", token).out, "Token "+id+" is revoked.\n")
		wantText(t, "revoke by id", p.ok(t, "", "tokens", "revoke", strings.ToUpper(other.ID)).out, "Token "+other.ID+" is revoked.\n")
		if p.url != "" {
			wantStatus(t, p.url, token, http.StatusUnauthorized)
		}
		for _, ref := range []string{token, other.ID, "x"} {
			r := p.fails(t, exitPart, "no such token", "", "tokens", "revoke", ref)
			wantNone(t, r.out+r.err, token)
		}
		wantAll(t, emptied(t).ok(t, "", "tokens", "list").out, "no token yet")
	})
}

// wantStatus makes a request with a token.
func wantStatus(t *testing.T, url, token string, want int) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != want {
		t.Errorf("status %d, want %d", resp.StatusCode, want)
	}
}

func TestTokensUsage(t *testing.T) {
	p := stopped(t)
	for _, c := range []struct {
		args  []string
		words string
	}{
		{[]string{"tokens", "create"}, "NAME is missing"},
		{[]string{"tokens", "create", ""}, "NAME is missing"},
		{[]string{"tokens", "create", "  "}, "NAME is empty"},
		{[]string{"tokens", "create", "a", "b"}, "2 arguments where one is wanted"},
		{[]string{"tokens", "create", strings.Repeat("x", 101)}, "longer than 100 characters"},
		{[]string{"tokens", "create", "a\x1bb"}, "cannot be printed"},
		{[]string{"tokens", "create", "a\xffb"}, "cannot be printed"},
		{[]string{"tokens", "create", "a", "--provider", "mistral"}, `use "ollama", "openrouter" or "all"`},
		{[]string{"tokens", "create", "a", "--expires", "soon"}, `not "soon"`},
		{[]string{"tokens", "revoke"}, "ID or TOKEN is missing"},
		{[]string{"tokens", "revoke", "sk-canary", "sk-canary"}, "2 arguments where one is wanted"},
		{[]string{"tokens", "list", "--limit", "1"}, "unknown flag"},
	} {
		r := p.fails(t, exitUsage, c.words, "", c.args...)
		wantNone(t, r.err, "canary")
		wantText(t, "standard output", r.out, "")
	}
	wantAll(t, emptied(t).ok(t, "", "tokens", "list").out, "no token yet")
}

func TestLifetime(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"": 0, "720h": 720 * time.Hour, "30d": 30 * day, "1d12h": 36 * time.Hour, "90s": 90 * time.Second, "3600": time.Hour,
		"1": time.Second, "1.5s": time.Second, "0d1s": time.Second, "36500d": 36500 * day, "1h30m": 90 * time.Minute,
	} {
		if got, err := parseLifetime(text); got != want || err != nil {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"0", "0s", "0d", "500ms", "-1h", "-30d", "30 d", "d", "1d1d", "1.5d", "36501d", "99999999d", "36500d1s", "1e3", "9999999999999999999999", "1w", "never", "+1h", "1d-1h", "1d5",
	} {
		if got, err := parseLifetime(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func FuzzLifetime(f *testing.F) {
	for _, s := range []string{"", "30d", "1d12h", "720h", "3600", "1.5s", "-1h", "99999d", "0d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseLifetime(s)
		if err == nil && s != "" && (d < time.Second || d > longestLifetime || d%time.Second != 0) {
			t.Errorf("%q is read as %v", s, d)
		}
	})
}
