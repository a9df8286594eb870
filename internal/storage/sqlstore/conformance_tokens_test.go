package sqlstore

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// someLimits sets every limit.
func someLimits() gateway.Limits {
	return gateway.Limits{
		Models: []string{"kimi*", "*:free"}, RequestsPerMinute: 60, RequestsPerDay: 1000, TokensPerDay: 1 << 40, Concurrent: 3,
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")},
	}
}

func limitedToken(secret gateway.Secret, providers ...gateway.ProviderName) gateway.Token {
	return gateway.Token{
		Hash: gateway.HashToken(secret), Preview: gateway.PreviewToken(secret), Name: "ci", Providers: providers,
		CreatedAt: noon, ExpiresAt: noon.Add(time.Hour), Limits: someLimits(),
	}
}

func tokensOf(t *testing.T, s *Store) []gateway.Token {
	t.Helper()
	tokens, err := s.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func insertToken(t *testing.T, s *Store, table, token string, requests int, limits any) {
	t.Helper()
	if _, err := s.writer.ExecContext(t.Context(), "insert into "+table+"_api_client_tokens (token, name, created_at, request_count, limits) values (?, 'old', ?, ?, ?)",
		token, at(noon), requests, limits); err != nil {
		t.Fatal(err)
	}
}

func conformTokenLimits(t *testing.T, open openStore) {
	s := open(Options{})
	tok := limitedToken("sk-fake-limited-000000", gateway.Ollama, gateway.OpenRouter)
	if err := s.AddToken(t.Context(), tok); err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "limits", tokensOf(t, s), []gateway.Token{tok})
	for what, spoil := range map[string]func(*gateway.Limits){
		"minute": func(l *gateway.Limits) { l.RequestsPerMinute = -1 }, "day": func(l *gateway.Limits) { l.RequestsPerDay = -1 },
		"tokens": func(l *gateway.Limits) { l.TokensPerDay = -1 }, "at once": func(l *gateway.Limits) { l.Concurrent = -1 },
		"network": func(l *gateway.Limits) { l.Networks = []netip.Prefix{{}} }, "model": func(l *gateway.Limits) { l.Models = []string{"\x00"} },
	} {
		bad := limitedToken("sk-fake-bad-0000000000", gateway.Ollama)
		spoil(&bad.Limits)
		wantKind(t, what, s.AddToken(t.Context(), bad), gateway.KindInvalid)
		_, _, err := s.UpdateToken(t.Context(), tok.Hash, gateway.TokenChange{Limits: &bad.Limits})
		wantKind(t, "changed "+what, err, gateway.KindInvalid)
	}
	wantEqual(t, "after what made no sense", tokensOf(t, s), []gateway.Token{tok})
}

func conformTokenLimitsOfOthers(t *testing.T, open openStore) {
	s := open(Options{})
	const plain = gateway.Secret("sk-fakefakefakefakefakefakefakefakefakefakefakefake")
	hash := gateway.HashToken(plain)
	insertToken(t, s, "ollama", plain.Reveal(), 1, `{"requestsPerMinute":5,"concurrent":2}`)
	insertToken(t, s, "openrouter", hash, 1, `{"requestsPerMinute":9,"models":["kimi*"]}`)
	insertToken(t, s, "openrouter", gateway.HashToken("sk-fake-free"), 1, "")
	want := gateway.Limits{Models: []string{"kimi*"}, RequestsPerMinute: 5, Concurrent: 2}
	check := func(what string) {
		t.Helper()
		for _, tok := range tokensOf(t, s) {
			if tok.Hash == hash {
				wantEqual(t, what, tok.Limits, want)
			} else {
				wantEqual(t, what+", without any", tok.Limits, gateway.Limits{})
			}
		}
	}
	check("merged")
	if err := s.HashPlainToken(t.Context(), gateway.Token{Plain: plain}); err != nil {
		t.Fatal(err)
	}
	check("hashed")

	for _, text := range []string{
		"x", "[]", `{"requestsPerMinute":5}}`, `{"requestsPerMinute":"secret-5"}`, `{"requestsPerHour":5}`, `{"requestsPerMinute":-5}`,
		`{"networks":["10.0.0.0/99"]}`, `{"networks":[""]}`, `{"requestsPerMinute":1e99}`, `{"models":[""]}`,
	} {
		if _, err := s.writer.ExecContext(t.Context(), "update ollama_api_client_tokens set limits = ? where token = ?", text, hash); err != nil {
			t.Fatal(err)
		}
		_, err := s.Tokens(t.Context())
		id := (&gateway.Token{Hash: hash}).ID()
		wantLine(t, err, s.dialect.place(), "limits", id, "NULL", "ollama_api_client_tokens")
		for _, secret := range []string{hash, plain.Reveal(), "secret-5"} {
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("limits %s: the error %q tells %q", text, err, secret)
			}
		}
		name := "renamed"
		_, _, err = s.UpdateToken(t.Context(), hash, gateway.TokenChange{Name: &name})
		wantLine(t, err, s.dialect.place(), "limits", id)
	}
	anew := gateway.Limits{Concurrent: 1}
	tok, found, err := s.UpdateToken(t.Context(), hash, gateway.TokenChange{Limits: &anew})
	if err != nil || !found || tok.Name != "old" {
		t.Fatalf("UpdateToken = %+v, %v, %v", tok, found, err)
	}
	want = anew
	check("set anew")
}

func conformUpdateToken(t *testing.T, open openStore) {
	s := open(Options{})
	tok := limitedToken("sk-fake-token-00000000", gateway.Ollama)
	other := limitedToken("sk-fake-other-00000000", gateway.Ollama)
	other.CreatedAt = noon.Add(time.Hour)
	for _, one := range []gateway.Token{tok, other} {
		if err := s.AddToken(t.Context(), one); err != nil {
			t.Fatal(err)
		}
	}
	use := func(p gateway.ProviderName, n int64, when time.Time) {
		apply(t, s, gateway.Delta{Provider: p, Tokens: []gateway.TokenDelta{{
			Hash: tok.Hash, LastUsed: when, Counts: gateway.Counts{Requests: n, Usage: gateway.Usage{Input: 10 * n, Output: n}},
		}}})
		tok.RequestCount += n
		tok.LastUsed = latest(tok.LastUsed, when)
	}
	usage := func(want int64) {
		t.Helper()
		var in, out int64
		if err := s.reader.QueryRowContext(t.Context(), `select sum(input_tokens), sum(output_tokens) from (select token, input_tokens, output_tokens from ollama_api_client_tokens
			union all select token, input_tokens, output_tokens from openrouter_api_client_tokens) as t where token = ?`, tok.Hash).Scan(&in, &out); err != nil || in != 10*want || out != want {
			t.Errorf("%d tokens in and %d out, %v; want %d and %d", in, out, err, 10*want, want)
		}
	}
	update := func(what string, c gateway.TokenChange) {
		t.Helper()
		got, found, err := s.UpdateToken(t.Context(), tok.Hash, c)
		if err != nil || !found {
			t.Fatalf("%s: %v, %v", what, found, err)
		}
		wantEqual(t, what, got, tok)
		wantEqual(t, what+", stored", tokensOf(t, s), []gateway.Token{tok, other})
	}
	use(gateway.Ollama, 3, noon)
	update("nothing", gateway.TokenChange{})
	name, never, limits := "renamed\x00", time.Time{}, gateway.Limits{Concurrent: 2}
	tok.Name = "renamed"
	update("a name", gateway.TokenChange{Name: &name})
	tok.ExpiresAt, tok.Limits = never, limits
	update("no end, other limits", gateway.TokenChange{ExpiresAt: &never, Limits: &limits})
	tok.Providers = gateway.Providers()
	update("one provider more", gateway.TokenChange{Providers: gateway.Providers()})
	use(gateway.OpenRouter, 4, noon.Add(time.Minute))
	update("the same providers", gateway.TokenChange{Providers: []gateway.ProviderName{gateway.OpenRouter, gateway.Ollama, gateway.Ollama}})
	later := noon.Add(2 * time.Hour)
	tok.ExpiresAt = later
	update("an end, in both rows", gateway.TokenChange{ExpiresAt: &later})
	tok.Providers = []gateway.ProviderName{gateway.Ollama}
	update("one provider less", gateway.TokenChange{Providers: tok.Providers})
	use(gateway.Ollama, 1, noon.Add(time.Hour))
	tok.Providers = []gateway.ProviderName{gateway.OpenRouter}
	update("another provider", gateway.TokenChange{Providers: tok.Providers})
	use(gateway.OpenRouter, 1, noon)
	none := gateway.Limits{}
	tok.Limits = none
	update("no limits", gateway.TokenChange{Limits: &none})
	usage(9)

	for what, c := range map[string]gateway.TokenChange{
		"no provider": {Providers: []gateway.ProviderName{}}, "nowhere": {Name: &name, Providers: []gateway.ProviderName{gateway.Ollama, "nowhere"}},
	} {
		_, _, err := s.UpdateToken(t.Context(), tok.Hash, c)
		wantKind(t, what, err, gateway.KindInvalid)
	}
	update("nothing, after what made no sense", gateway.TokenChange{})
	for _, hash := range []string{gateway.HashToken("sk-fake-nobody"), "", "' or 1=1"} {
		if got, found, err := s.UpdateToken(t.Context(), hash, gateway.TokenChange{Name: &name, Limits: &limits, Providers: gateway.Providers()}); found || err != nil || got.Hash != "" {
			t.Errorf("a token that is not there: %+v, %v, %v", got, found, err)
		}
	}
	wantEqual(t, "at the end", tokensOf(t, s), []gateway.Token{tok, other})
}

func conformUpdatePlainToken(t *testing.T, open openStore) {
	s := open(Options{})
	const plain = gateway.Secret("sk-fakefakefakefakefakefakefakefakefakefakefakefake")
	hash := gateway.HashToken(plain)
	insertToken(t, s, "ollama", plain.Reveal(), 5, nil)
	insertToken(t, s, "ollama", "sk-fake-other-plain", 1, nil)
	insertToken(t, s, "openrouter", plain.Reveal(), 7, nil)
	insertToken(t, s, "openrouter", hash, 100, nil)
	limits := someLimits()
	got, found, err := s.UpdateToken(t.Context(), hash, gateway.TokenChange{Limits: &limits, Providers: []gateway.ProviderName{gateway.OpenRouter}})
	if err != nil || !found {
		t.Fatal(found, err)
	}
	want := gateway.Token{
		Hash: hash, Preview: gateway.PreviewToken(plain), Name: "old", Providers: []gateway.ProviderName{gateway.OpenRouter},
		CreatedAt: noon, RequestCount: 112, Limits: limits,
	}
	wantEqual(t, "a plain token", got, want)
	for _, tok := range tokensOf(t, s) {
		if tok.Hash == hash {
			wantEqual(t, "stored", tok, want)
		} else if tok.Plain != "sk-fake-other-plain" {
			t.Errorf("another plain token became %+v", tok.Preview)
		}
	}
}

func FuzzLimits(f *testing.F) {
	limits := someLimits()
	f.Add(encodeLimits(&limits).(string))
	f.Add(`{"models":["*"],"networks":["::/0"]}`)
	f.Add("null")
	f.Add(`{"requestsPerMinute":1}{"requestsPerMinute":0}`)
	f.Fuzz(func(t *testing.T, text string) {
		l, err := decodeLimits(text)
		if err != nil {
			if l.Any() {
				t.Errorf("%q: limits %+v beside the error %v", text, l, err)
			}
			return
		}
		again, _ := encodeLimits(&l).(string)
		if back, err := decodeLimits(again); err != nil || back.Any() != l.Any() || len(back.Models) != len(l.Models) {
			t.Errorf("%q: read %+v, then %+v, %v", text, l, back, err)
		}
	})
}
