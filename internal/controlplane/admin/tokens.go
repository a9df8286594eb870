package admin

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// everyProvider stands for all providers where a token is made.
const everyProvider = "all"

// unnamed is what a token is called that is made without a name, which the
// older address allows.
const unnamed = "unnamed"

type tokenAnswer struct {
	ID           string                 `json:"id"`
	Token        string                 `json:"token"` // masked
	Name         string                 `json:"name"`
	Providers    []gateway.ProviderName `json:"providers" nullable:"false"`
	CreatedAt    *time.Time             `json:"createdAt"`
	ExpiresAt    *time.Time             `json:"expires_at"`
	RequestCount int64                  `json:"requestCount"`
	LastUsed     *time.Time             `json:"lastUsed"`
}

type tokensAnswer struct {
	Tokens []tokenAnswer `json:"tokens" nullable:"false"`
}

// tokensQuery is the query of a list of tokens, for the OpenAPI document.
type tokensQuery struct {
	Provider string `query:"provider" enum:"all,ollama,openrouter" default:"all"`
}

var listTokensDoc = operation{summary: "List client tokens", group: "Tokens", query: tokensQuery{}, answer: tokensAnswer{}}

// listTokens shows the client tokens, of one provider if the query names one.
func (a *API) listTokens(w http.ResponseWriter, r *http.Request) error {
	tokens, err := a.shownTokens(r)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, tokensAnswer{tokens})
}

type clientTokensAnswer struct {
	Tokens []tokenAnswer `json:"client_tokens" nullable:"false"`
}

var listClientTokensDoc = operation{
	summary: "List client tokens", group: "Tokens", query: tokensQuery{}, answer: clientTokensAnswer{}, former: true,
}

// listClientTokens is the older name of listTokens.
func (a *API) listClientTokens(w http.ResponseWriter, r *http.Request) error {
	tokens, err := a.shownTokens(r)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, clientTokensAnswer{tokens})
}

func (a *API) shownTokens(r *http.Request) ([]tokenAnswer, error) {
	var f faults
	providers := f.providers(r.URL.Query().Get("provider"), gateway.Providers())
	if err := f.err(); err != nil {
		return nil, err
	}
	tokens, err := a.tokens.Tokens(r.Context())
	if err != nil {
		return nil, err
	}
	out := make([]tokenAnswer, 0, len(tokens))
	for i := range tokens {
		t := &tokens[i]
		if !slices.ContainsFunc(providers, t.ValidFor) {
			continue
		}
		out = append(out, tokenAnswer{
			ID: t.ID(), Token: t.Preview, Name: t.Name, Providers: t.Providers,
			CreatedAt: orNull(t.CreatedAt), ExpiresAt: orNull(t.ExpiresAt),
			RequestCount: t.RequestCount, LastUsed: orNull(t.LastUsed),
		})
	}
	return out, nil
}

// providers reads the name of a provider or "all".
func (f *faults) providers(s string, standard []gateway.ProviderName) []gateway.ProviderName {
	switch s {
	case "":
		return standard
	case everyProvider:
		return gateway.Providers()
	}
	p, err := gateway.ParseProvider(s)
	if err != nil {
		*f = append(*f, err.Error()+` or "`+everyProvider+`"`)
	}
	return []gateway.ProviderName{p}
}

type createTokenRequest struct {
	Name      string `json:"name"`
	ExpiresIn *int64 `json:"expiresIn"` // seconds; 0: never
	TTL       *int64 `json:"ttl"`       // its older name
	Provider  string `json:"provider"`
}

type createTokenAnswer struct {
	ID        string                 `json:"id"`
	Token     string                 `json:"token"` // whole, this once
	Name      string                 `json:"name"`
	Providers []gateway.ProviderName `json:"providers" nullable:"false"`
	CreatedAt *time.Time             `json:"createdAt"`
	ExpiresAt *time.Time             `json:"expiresAt"`
}

var createTokenDoc = operation{
	summary: "Create a client token", group: "Tokens", body: createTokenRequest{}, answer: createTokenAnswer{},
	about:   "The answer is the only one that shows the token whole.",
	example: `{"name":"laptop","expiresIn":2592000,"provider":"all"}`, tolerant: true,
}

// createToken issues a client token.
func (a *API) createToken(w http.ResponseWriter, r *http.Request) error {
	return a.issueToken(w, r, "")
}

var createClientTokenDoc = operation{
	summary: "Create a client token", group: "Tokens", body: createTokenRequest{}, answer: createTokenAnswer{},
	example: `{"name":"laptop","ttl":2592000}`, tolerant: true, former: true,
}

// createClientToken is the older name of createToken.
func (a *API) createClientToken(w http.ResponseWriter, r *http.Request) error {
	return a.issueToken(w, r, unnamed)
}

func (a *API) issueToken(w http.ResponseWriter, r *http.Request, standardName string) error {
	var in createTokenRequest
	if err := httpkit.DecodeJSON(w, r, maxBody, &in); err != nil {
		return err
	}
	var f faults
	providers := f.providers(f.providerWord(r, in.Provider), []gateway.ProviderName{gateway.Ollama})
	name := f.text("name", in.Name, maxName)
	if name == "" {
		name = standardName
	}
	if name == "" {
		f.add("name", "is missing")
	}
	if in.ExpiresIn != nil && in.TTL != nil {
		f.add("expiresIn", "and ttl are both there: send one of them")
	}
	ttl := f.seconds("expiresIn", in.ExpiresIn) + f.seconds("ttl", in.TTL)
	if err := f.err(); err != nil {
		return err
	}
	t, secret, err := a.tokens.CreateToken(r.Context(), name, providers, ttl)
	if err != nil {
		return err
	}
	a.noteToken(r, "token created", t.ID())
	return httpkit.WriteJSON(w, http.StatusOK, createTokenAnswer{
		ID: t.ID(), Token: secret.Reveal(), Name: t.Name, Providers: t.Providers,
		CreatedAt: orNull(t.CreatedAt), ExpiresAt: orNull(t.ExpiresAt),
	})
}

type revokeTokenRequest struct {
	Token    string `json:"token"` // the token or its id
	ID       string `json:"id"`
	Provider string `json:"provider"`
}

var revokeTokenDoc = operation{
	summary: "Revoke a client token", group: "Tokens", body: revokeTokenRequest{}, answer: doneAnswer{},
	about: "It stops working at once.", example: `{"token":"0123456789abcdef"}`, tolerant: true,
}

// revokeToken deletes the client token that the body names.
func (a *API) revokeToken(w http.ResponseWriter, r *http.Request) error {
	var in revokeTokenRequest
	if err := httpkit.DecodeJSON(w, r, maxBody, &in); err != nil {
		return err
	}
	var f faults
	ref := strings.TrimSpace(f.one("token", in.Token, "id", in.ID))
	if ref == "" {
		f.add("token", "is missing")
	}
	f.providers(in.Provider, nil)
	if err := f.err(); err != nil {
		return err
	}
	return a.revoke(w, r, ref)
}

var revokeClientTokenDoc = operation{
	summary: "Revoke a client token", group: "Tokens", answer: doneAnswer{}, former: true,
}

// revokeClientToken deletes the client token that the address names.
func (a *API) revokeClientToken(w http.ResponseWriter, r *http.Request) error {
	return a.revoke(w, r, r.PathValue("token"))
}

func (a *API) revoke(w http.ResponseWriter, r *http.Request, ref string) error {
	var f faults
	f.providers(r.URL.Query().Get("provider"), nil)
	if err := f.err(); err != nil {
		return err
	}
	if err := a.tokens.RevokeToken(r.Context(), ref); err != nil {
		return err
	}
	a.noteToken(r, "token revoked", idOfToken(ref))
	return httpkit.WriteJSON(w, http.StatusOK, doneAnswer{Success: true})
}

// idOfToken is the id of a token that is named by itself, its hash or its id.
func idOfToken(ref string) string {
	if isID(ref) {
		return strings.ToLower(ref)
	}
	t := gateway.Token{Hash: ref}
	if !gateway.IsTokenHash(ref) {
		t.Hash = gateway.HashToken(gateway.Secret(ref))
	}
	return t.ID()
}

// countTokens counts the client tokens that are valid for a provider.
func (a *API) countTokens(ctx context.Context, p gateway.ProviderName) (int, error) {
	tokens, err := a.tokens.Tokens(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range tokens {
		if tokens[i].ValidFor(p) {
			n++
		}
	}
	return n, nil
}
