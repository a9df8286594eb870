package auth

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// issued is a token as the store holds it.
func issued(secret gateway.Secret, expiresAt time.Time, providers ...gateway.ProviderName) gateway.Token {
	return gateway.Token{Hash: gateway.HashToken(secret), Name: "of " + secret.Reveal(), Providers: providers, ExpiresAt: expiresAt}
}

func plain(secret gateway.Secret, providers ...gateway.ProviderName) gateway.Token {
	return gateway.Token{Plain: secret, Name: "of " + secret.Reveal(), Providers: providers}
}

func TestVerify(t *testing.T) {
	var g Registry
	g.Replace([]gateway.Token{
		issued("sk-fake-ollama", time.Time{}, gateway.Ollama),
		issued("sk-fake-both", time.Time{}, gateway.Ollama, gateway.OpenRouter),
		issued("sk-fake-router", noon.Add(time.Hour), gateway.OpenRouter),
		issued("sk-fake-old", noon, gateway.Ollama),
		issued("sk-fake-none", time.Time{}),
		plain("plain words ü", gateway.Ollama),
		// One token with a row for each provider, one of them over.
		issued("sk-fake-rows", noon.Add(-time.Hour), gateway.Ollama),
		issued("sk-fake-rows", time.Time{}, gateway.OpenRouter),
		// No use to anybody.
		{Hash: "sk-fake-unhashed", Providers: gateway.Providers()},
		{Hash: "sha256:" + strings.Repeat("x", 64), Providers: gateway.Providers()},
		{Providers: gateway.Providers()},
	})
	if n := g.Len(); n != 7 {
		t.Errorf("%d tokens", n)
	}
	for _, tt := range []struct {
		token    string
		provider gateway.ProviderName
		kind     gateway.Kind // KindInternal: none
		message  string
	}{
		{"sk-fake-ollama", gateway.Ollama, 0, ""},
		{"sk-fake-ollama", gateway.OpenRouter, gateway.KindForbidden, `this token is not valid for the provider "openrouter"`},
		{"sk-fake-both", gateway.Ollama, 0, ""},
		{"sk-fake-both", gateway.OpenRouter, 0, ""},
		{"sk-fake-router", gateway.OpenRouter, 0, ""},
		{"sk-fake-router", gateway.Ollama, gateway.KindForbidden, `this token is not valid for the provider "ollama"`},
		{"sk-fake-old", gateway.Ollama, gateway.KindUnauthorized, "the token expired at 2026-01-02T12:00:00Z"},
		{"sk-fake-old", gateway.OpenRouter, gateway.KindUnauthorized, "the token expired at 2026-01-02T12:00:00Z"},
		{"sk-fake-none", gateway.Ollama, gateway.KindForbidden, `this token is not valid for the provider "ollama"`},
		{"plain words ü", gateway.Ollama, 0, ""},
		{"sk-fake-rows", gateway.Ollama, gateway.KindUnauthorized, "the token expired at 2026-01-02T11:00:00Z"},
		{"sk-fake-rows", gateway.OpenRouter, 0, ""},
		{"sk-fake-unhashed", gateway.Ollama, gateway.KindUnauthorized, "the token is not valid"},
		{"", gateway.Ollama, gateway.KindUnauthorized, "the token is not valid"},
		{"SK-FAKE-OLLAMA", gateway.Ollama, gateway.KindUnauthorized, "the token is not valid"},
		{gateway.HashToken("sk-fake-ollama"), gateway.Ollama, gateway.KindUnauthorized, "the token is not valid"},
		{strings.Repeat("x", maxTokenLen+1), gateway.Ollama, gateway.KindUnauthorized, "the token is not valid"},
	} {
		who, err := g.Verify(tt.token, tt.provider, noon)
		if tt.message == "" {
			want := gateway.Principal{TokenHash: gateway.HashToken(gateway.Secret(tt.token)), Name: "of " + tt.token}
			if err != nil || *who != want {
				t.Errorf("%s for %s: %v, %v", tt.token, tt.provider, who, err)
			}
			continue
		}
		if e := gateway.AsError(err); who != nil || e.Kind != tt.kind || e.Message != tt.message {
			t.Errorf("%s for %s: %v, %v", tt.token, tt.provider, who, err)
		}
	}
}

func TestVerifyEmptyRegistry(t *testing.T) {
	var g Registry
	if _, err := g.Verify("sk-fake", gateway.Ollama, noon); gateway.AsError(err).Kind != gateway.KindUnauthorized {
		t.Errorf("%v", err)
	}
	if g.Remove(gateway.HashToken("sk-fake")) || g.Len() != 0 || g.TakeUsedPlain() != nil {
		t.Error("an empty registry holds something")
	}
}

func TestLongestToken(t *testing.T) {
	var g Registry
	for _, n := range []int{1, 51, maxTokenLen - 1, maxTokenLen} {
		secret := gateway.Secret(strings.Repeat("a", n))
		g.Put(issued(secret, time.Time{}, gateway.Ollama))
		if _, err := g.Verify(secret.Reveal(), gateway.Ollama, noon); err != nil {
			t.Errorf("%d characters: %v", n, err)
		}
	}
	g = Registry{}
	g.Put(plain(gateway.Secret(strings.Repeat("a", maxTokenLen+1)), gateway.Ollama))
	if g.Len() != 0 {
		t.Error("a token was taken in that could never be verified")
	}
}

func TestPutAndRemove(t *testing.T) {
	var g Registry
	g.Put(issued("sk-fake", time.Time{}, gateway.Ollama))
	if _, err := g.Verify("sk-fake", gateway.Ollama, noon); err != nil {
		t.Fatal(err)
	}
	g.Put(issued("sk-fake", time.Time{}, gateway.OpenRouter))
	if _, err := g.Verify("sk-fake", gateway.Ollama, noon); gateway.AsError(err).Kind != gateway.KindForbidden {
		t.Errorf("put again for another provider: %v", err)
	}
	if g.Remove("sk-fake") || g.Remove(gateway.HashToken("other")) {
		t.Error("removed what is not there")
	}
	if !g.Remove(gateway.HashToken("sk-fake")) || g.Remove(gateway.HashToken("sk-fake")) {
		t.Error("removal is misreported")
	}
	if _, err := g.Verify("sk-fake", gateway.OpenRouter, noon); gateway.AsError(err).Kind != gateway.KindUnauthorized {
		t.Errorf("a removed token: %v", err)
	}
}

// A token's limits come with it, and what is changed holds at the next request.
func TestLimits(t *testing.T) {
	var g Registry
	limits := func() *gateway.Limits {
		t.Helper()
		who, err := g.Verify("sk-fake", gateway.Ollama, noon)
		if err != nil {
			t.Fatal(err)
		}
		return who.Limits
	}
	tok := issued("sk-fake", time.Time{}, gateway.Ollama)
	g.Put(tok)
	if l := limits(); l != nil {
		t.Errorf("limits out of nothing: %+v", l)
	}
	tok.Limits = gateway.Limits{Models: []string{"gpt-oss*"}, RequestsPerDay: 7}
	g.Put(tok)
	before := limits()
	tok.Limits.Models[0] = "*"
	if before == nil || before.RequestsPerDay != 7 || before.AllowsModel("llama3") {
		t.Errorf("limits: %+v", before)
	}
	other := issued("sk-fake", time.Time{}, gateway.OpenRouter)
	for name, rows := range map[string][]gateway.Token{"first": {tok, other}, "last": {other, tok}} {
		g.Replace(rows)
		if l := limits(); l == nil || l.RequestsPerDay != 7 {
			t.Errorf("the row with limits comes %s: %+v", name, l)
		}
	}
	tok.Limits = gateway.Limits{}
	if g.Put(tok); limits() != nil || before.RequestsPerDay != 7 {
		t.Errorf("limits that were lifted: %+v, for a request under way: %+v", limits(), before)
	}
}

func TestTakeUsedPlain(t *testing.T) {
	taken := func(g *Registry) string {
		var names []string
		for _, tok := range g.TakeUsedPlain() {
			if tok.Hash != gateway.HashToken(tok.Plain) {
				t.Errorf("%s comes with the hash %s", tok.Plain.Reveal(), tok.Hash)
			}
			names = append(names, fmt.Sprint(tok.Plain.Reveal(), tok.Providers))
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	use := func(g *Registry, token string) {
		t.Helper()
		if _, err := g.Verify(token, gateway.Ollama, noon); err != nil {
			t.Fatal(err)
		}
	}
	rows := []gateway.Token{
		plain("a", gateway.Ollama), plain("b", gateway.Ollama), plain("b", gateway.OpenRouter),
		plain("c", gateway.Ollama), issued("c", time.Time{}, gateway.OpenRouter), issued("d", time.Time{}, gateway.Ollama),
	}
	var g Registry
	g.Replace(rows)
	if got := taken(&g); got != "" {
		t.Errorf("before any use: %s", got)
	}
	for _, token := range []string{"a", "b", "c", "d", "a"} {
		use(&g, token)
	}
	if _, err := g.Verify("a", gateway.OpenRouter, noon); err == nil {
		t.Error("valid for the wrong provider")
	}
	if got := taken(&g); got != "a[ollama] b[ollama openrouter] c[ollama]" {
		t.Errorf("after use: %s", got)
	}
	if got := taken(&g); got != "" {
		t.Errorf("taken twice: %s", got)
	}

	use(&g, "a")
	use(&g, "b")
	g.Replace(rows) // the store was read again before anybody took notice
	g.Put(plain("b", gateway.Ollama))
	if got := taken(&g); got != "a[ollama] b[ollama]" {
		t.Errorf("a use was forgotten: %s", got)
	}

	use(&g, "a")
	g.Put(issued("a", time.Time{}, gateway.Ollama))
	use(&g, "b")
	g.Remove(gateway.HashToken("b"))
	if got := taken(&g); got != "" {
		t.Errorf("replaced and removed ones: %s", got)
	}
	use(&g, "a")
}

// TestConcurrently lets the race detector look at every pair of methods.
func TestConcurrently(t *testing.T) {
	var g Registry
	rows := []gateway.Token{issued("steady", time.Time{}, gateway.Ollama), plain("plain", gateway.Ollama)}
	g.Replace(rows)
	var wg sync.WaitGroup
	for _, change := range []func(){
		func() { g.Replace(rows) },
		func() { g.Put(issued("other", time.Time{}, gateway.Ollama)) },
		func() { g.Remove(gateway.HashToken("other")) },
		func() { g.TakeUsedPlain() },
		func() { g.Len() },
		func() { _, _ = g.Verify("other", gateway.Ollama, noon) },
		func() {
			for _, token := range []string{"steady", "plain"} {
				if _, err := g.Verify(token, gateway.Ollama, noon); err != nil {
					t.Errorf("%s: %v", token, err)
				}
			}
		},
	} {
		wg.Go(func() {
			for range 200 {
				change()
			}
		})
	}
	wg.Wait()
}

func TestVerifyAllocatesNothing(t *testing.T) {
	var g Registry
	secret := gateway.NewTokenSecret()
	g.Put(issued(secret, noon.Add(time.Hour), gateway.Ollama))
	token := secret.Reveal()
	if n := testing.AllocsPerRun(100, func() { _, _ = g.Verify(token, gateway.Ollama, noon) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var g Registry
			var tokens []gateway.Token
			for i := range n {
				tokens = append(tokens, issued(gateway.Secret(fmt.Sprintf("sk-fake-%043d", i)), noon.Add(time.Hour), gateway.Ollama))
			}
			g.Replace(tokens)
			token := fmt.Sprintf("sk-fake-%043d", n/2)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := g.Verify(token, gateway.Ollama, noon); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
