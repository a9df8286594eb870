package admin

import (
	"math"
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
	Token        string                 `json:"token" description:"Masked."`
	Name         string                 `json:"name"`
	Providers    []gateway.ProviderName `json:"providers"`
	CreatedAt    *time.Time             `json:"createdAt"`
	ExpiresAt    *time.Time             `json:"expires_at"`
	RequestCount int64                  `json:"requestCount"`
	LastUsed     *time.Time             `json:"lastUsed"`
	Limits       *limitsAnswer          `json:"limits" description:"null: none."`
	Used         *usedAnswer            `json:"used" description:"What was used of the limits; null: nothing is known."`
}

func newTokenAnswer(t *gateway.Token) tokenAnswer {
	return tokenAnswer{
		ID: t.ID(), Token: t.Preview, Name: t.Name, Providers: t.Providers,
		CreatedAt: orNull(t.CreatedAt), ExpiresAt: orNull(t.ExpiresAt),
		RequestCount: t.RequestCount, LastUsed: orNull(t.LastUsed),
		Limits: newLimitsAnswer(&t.Limits),
	}
}

type tokensAnswer struct {
	Tokens []tokenAnswer `json:"tokens"`
	paging
}

// tokensQuery is the query of a list of tokens, for the OpenAPI document.
type tokensQuery struct {
	Provider string `query:"provider" enum:"all,ollama,openrouter" default:"all"`
	Page     int    `query:"page" minimum:"1" description:"Without page and pageSize all tokens are listed."`
	PageSize int    `query:"pageSize" minimum:"1" description:"More than 200 counts as 200."`
	Search   string `query:"search" description:"A part of the name, the whole token, or its id. The case of letters does not matter."`
}

var listTokensDoc = operation{summary: "List client tokens", group: "Tokens", query: tokensQuery{}, answer: tokensAnswer{}}

// listTokens shows the client tokens, of one provider if the query names one.
func (a *API) listTokens(w http.ResponseWriter, r *http.Request) error {
	tokens, page, err := a.shownTokens(r)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, tokensAnswer{tokens, page})
}

type clientTokensAnswer struct {
	Tokens []tokenAnswer `json:"client_tokens"`
	paging
}

var listClientTokensDoc = operation{
	summary: "List client tokens", group: "Tokens", query: tokensQuery{}, answer: clientTokensAnswer{}, former: true,
}

// listClientTokens is the older name of listTokens.
func (a *API) listClientTokens(w http.ResponseWriter, r *http.Request) error {
	tokens, page, err := a.shownTokens(r)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, clientTokensAnswer{tokens, page})
}

// shownTokens is a page of tokens, or all of them where the query names no page.
func (a *API) shownTokens(r *http.Request) ([]tokenAnswer, paging, error) {
	var f faults
	get := r.URL.Query().Get
	providers := f.providers(get("provider"), gateway.Providers())
	search := strings.TrimSpace(get("search"))
	page, size := f.count(r, "page", 1, math.MaxInt32), min(f.count(r, "pageSize", defaultPageSize, math.MaxInt32), maxPageSize)
	if err := f.err(); err != nil {
		return nil, paging{}, err
	}
	tokens, err := a.tokens.Tokens(r.Context())
	if err != nil {
		return nil, paging{}, err
	}
	tokens = slices.DeleteFunc(tokens, func(t gateway.Token) bool {
		return !slices.ContainsFunc(providers, t.ValidFor) || !isFound(&t, search)
	})
	total := len(tokens)
	p := paging{Total: total, Page: 1, PageSize: total, TotalPages: 1}
	if get("page") != "" || get("pageSize") != "" {
		p.Page, p.PageSize, p.TotalPages = page, size, max((total+size-1)/size, 1)
		begin := int(min(int64(page-1)*int64(size), int64(total)))
		tokens = tokens[begin:min(begin+size, total)]
	}
	return a.shown(tokens), p, nil
}

// isFound reports whether a search finds a token.
func isFound(t *gateway.Token, search string) bool {
	return search == "" || strings.Contains(strings.ToLower(t.Name), strings.ToLower(search)) ||
		t.ID() == strings.ToLower(search) || t.Hash == gateway.HashToken(gateway.Secret(search))
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

// severalProviders reads the providers of a token, from a list or a word.
func (f *faults) severalProviders(in []string, word string, standard []gateway.ProviderName) []gateway.ProviderName {
	if in == nil {
		return f.providers(word, standard)
	}
	if word != "" {
		f.add("provider", "and providers are both there: send one of them")
	}
	if len(in) == 0 {
		f.add("providers", "must not be empty")
	}
	chosen := map[gateway.ProviderName]bool{}
	for _, name := range in {
		if name == "" {
			f.add("providers", "has an empty name")
			continue
		}
		for _, p := range f.providers(name, nil) {
			chosen[p] = true
		}
	}
	return slices.DeleteFunc(gateway.Providers(), func(p gateway.ProviderName) bool { return !chosen[p] })
}

type createTokenRequest struct {
	Name      string        `json:"name"`
	ExpiresIn *int64        `json:"expiresIn,omitempty" description:"Seconds; 0: never."`
	TTL       *int64        `json:"ttl,omitempty" description:"Another name of expiresIn."`
	Provider  string        `json:"provider,omitempty" enum:"ollama,openrouter,all" default:"ollama"`
	Providers []string      `json:"providers,omitempty" description:"Several providers."`
	Limits    limitsRequest `json:"limits,omitzero"`
}

type createTokenAnswer struct {
	ID        string                 `json:"id"`
	Token     string                 `json:"token" description:"Whole, this once."`
	Name      string                 `json:"name"`
	Providers []gateway.ProviderName `json:"providers"`
	CreatedAt *time.Time             `json:"createdAt"`
	ExpiresAt *time.Time             `json:"expiresAt"`
	Limits    *limitsAnswer          `json:"limits" description:"null: none."`
}

var createTokenDoc = operation{
	summary: "Create a client token", group: "Tokens", body: createTokenRequest{}, answer: createTokenAnswer{},
	about:   "The answer is the only one that shows the token whole.",
	example: `{"name":"laptop","expiresIn":2592000,"provider":"all","limits":{"models":["gpt-oss*"],"requestsPerMinute":60}}`, tolerant: true,
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
	if err := httpkit.DecodeJSON(w, r, maxBody, &in, httpkit.AllowUnknown); err != nil {
		return err
	}
	var f faults
	t := gateway.Token{
		Name:      f.text("name", in.Name, maxName),
		Providers: f.severalProviders(in.Providers, f.providerWord(r, in.Provider), []gateway.ProviderName{gateway.Ollama}),
	}
	if t.Name == "" {
		t.Name = standardName
	}
	if t.Name == "" {
		f.add("name", "is missing")
	}
	if in.ExpiresIn != nil && in.TTL != nil {
		f.add("expiresIn", "and ttl are both there: send one of them")
	}
	t.CreatedAt = a.opt.Now().UTC()
	if ttl := f.seconds("expiresIn", in.ExpiresIn) + f.seconds("ttl", in.TTL); ttl > 0 {
		t.ExpiresAt = t.CreatedAt.Add(ttl)
	}
	in.Limits.apply(&f, &t.Limits)
	if err := f.err(); err != nil {
		return err
	}
	t, secret, err := a.tokens.IssueToken(r.Context(), t)
	if err != nil {
		return err
	}
	a.noteToken(r, "token created", t.ID())
	return httpkit.WriteJSON(w, http.StatusOK, createTokenAnswer{
		ID: t.ID(), Token: secret.Reveal(), Name: t.Name, Providers: t.Providers,
		CreatedAt: orNull(t.CreatedAt), ExpiresAt: orNull(t.ExpiresAt), Limits: newLimitsAnswer(&t.Limits),
	})
}

type revokeTokenRequest struct {
	Token    string `json:"token,omitempty" description:"The token or its id."`
	ID       string `json:"id,omitempty" description:"Another name of token."`
	Provider string `json:"provider,omitempty"`
}

var revokeTokenDoc = operation{
	summary: "Revoke a client token", group: "Tokens", body: revokeTokenRequest{}, answer: doneAnswer{},
	about: "It stops working at once.", example: `{"token":"0123456789abcdef"}`, tolerant: true,
}

// revokeToken deletes the client token that the body names.
func (a *API) revokeToken(w http.ResponseWriter, r *http.Request) error {
	var in revokeTokenRequest
	if err := httpkit.DecodeJSON(w, r, maxBody, &in, httpkit.AllowUnknown); err != nil {
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
