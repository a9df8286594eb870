package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Bounds of limits.
const (
	maxPatterns     = 100
	maxPattern      = 200 // characters
	maxNetworks     = 100
	maxPerMinute    = 1_000_000
	maxPerDay       = 1_000_000_000
	maxTokensPerDay = 1_000_000_000_000_000
	maxConcurrent   = 100_000
)

// limitsRequest is limits as they are sent. What is absent stays as it is; null,
// an empty list and 0 take a limit away.
type limitsRequest struct {
	Models            []string `json:"models" description:"Names or patterns, * for any run of characters; letters' case does not matter."`
	RequestsPerMinute int64    `json:"requestsPerMinute" minimum:"0"`
	RequestsPerDay    int64    `json:"requestsPerDay" minimum:"0" description:"Days begin at 00:00 UTC."`
	TokensPerDay      int64    `json:"tokensPerDay" minimum:"0" description:"Tokens of the models, in and out."`
	Concurrent        int64    `json:"concurrent" minimum:"0" description:"Requests at the same time."`
	Networks          []string `json:"networks" description:"Addresses or networks (CIDR) from which the token may be used."`

	sent    bool            // they were sent at all
	none    bool            // as null: every limit goes
	present map[string]bool // the fields that were there
}

// UnmarshalJSON remembers what was there. A field that is not known is an
// error everywhere: a slip would leave a token without its limit.
func (l *limitsRequest) UnmarshalJSON(b []byte) error {
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		l.sent, l.none = true, true
		return nil
	}
	type plain limitsRequest
	present, err := decodePresent(b, (*plain)(l))
	l.sent, l.present = true, present
	return err
}

// decodePresent decodes an object, strictly, and tells which fields it has.
func decodePresent(b []byte, into any) (map[string]bool, error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return nil, err
	}
	present := make(map[string]bool, len(fields))
	for name := range fields {
		present[strings.ToLower(name)] = true // as encoding/json compares them
	}
	return present, nil
}

// apply changes limits as they were sent.
func (l *limitsRequest) apply(f *faults, to *gateway.Limits) {
	if !l.sent {
		return
	}
	if l.none {
		*to = gateway.Limits{}
		return
	}
	has := func(field string) bool { return l.present[strings.ToLower(field)] }
	if has("models") {
		to.Models = f.patterns("limits.models", l.Models)
	}
	for _, n := range []struct {
		field string
		value int64
		most  int64
		set   func(int64)
	}{
		{"requestsPerMinute", l.RequestsPerMinute, maxPerMinute, func(n int64) { to.RequestsPerMinute = int(n) }},
		{"requestsPerDay", l.RequestsPerDay, maxPerDay, func(n int64) { to.RequestsPerDay = int(n) }},
		{"tokensPerDay", l.TokensPerDay, maxTokensPerDay, func(n int64) { to.TokensPerDay = n }},
		{"concurrent", l.Concurrent, maxConcurrent, func(n int64) { to.Concurrent = int(n) }},
	} {
		if !has(n.field) {
			continue
		}
		if n.value < 0 || n.value > n.most {
			f.add("limits."+n.field, "must be between 0 (none) and %d", n.most)
		}
		n.set(n.value)
	}
	if has("networks") {
		to.Networks = f.networks("limits.networks", l.Networks)
	}
}

// patterns reads patterns of models' names.
func (f *faults) patterns(field string, in []string) []string {
	if len(in) > maxPatterns {
		f.add(field, "must not have more than %d patterns", maxPatterns)
		return nil
	}
	var out []string
	for _, s := range in {
		if s = f.text(field, s, maxPattern); s == "" {
			f.add(field, "has an empty pattern")
			continue
		}
		out = append(out, s)
	}
	return out
}

// networks reads addresses and networks.
func (f *faults) networks(field string, in []string) []netip.Prefix {
	if len(in) > maxNetworks {
		f.add(field, "must not have more than %d networks", maxNetworks)
		return nil
	}
	var out []netip.Prefix
	for _, s := range in {
		n, ok := parseNetwork(strings.TrimSpace(s))
		if !ok {
			f.add(field, "has %q, which is neither an address nor a network such as 192.0.2.0/24", gateway.Clip(s, 60))
			continue
		}
		out = append(out, n)
	}
	return out
}

// parseNetwork reads a network, or an address as the network of itself. IPv4
// in IPv6's form becomes IPv4.
func parseNetwork(s string) (netip.Prefix, bool) {
	if ip, err := netip.ParseAddr(s); err == nil {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), ip.Zone() == ""
	}
	n, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	if n.Addr().Is4In6() {
		if n.Bits() < 96 {
			return netip.Prefix{}, false
		}
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	return n.Masked(), true
}

// limitsAnswer is limits as they are shown.
type limitsAnswer struct {
	Models            []string `json:"models" description:"None: all models."`
	RequestsPerMinute int      `json:"requestsPerMinute" description:"0: unbounded, here and below."`
	RequestsPerDay    int      `json:"requestsPerDay"`
	TokensPerDay      int64    `json:"tokensPerDay"`
	Concurrent        int      `json:"concurrent"`
	Networks          []string `json:"networks" description:"None: from everywhere."`
}

// newLimitsAnswer is nil where there is no limit.
func newLimitsAnswer(l *gateway.Limits) *limitsAnswer {
	if !l.Any() {
		return nil
	}
	out := &limitsAnswer{
		Models: append([]string{}, l.Models...), RequestsPerMinute: l.RequestsPerMinute, RequestsPerDay: l.RequestsPerDay,
		TokensPerDay: l.TokensPerDay, Concurrent: l.Concurrent, Networks: make([]string, 0, len(l.Networks)),
	}
	for _, n := range l.Networks {
		if n.IsSingleIP() {
			out.Networks = append(out.Networks, n.Addr().String())
			continue
		}
		out.Networks = append(out.Networks, n.String())
	}
	return out
}

// usedAnswer is what a token has used of its limits.
type usedAnswer struct {
	RequestsToday int64 `json:"requestsToday"`
	TokensToday   int64 `json:"tokensToday"`
	Running       int   `json:"running" description:"Requests under way."`
}

// shown is tokens as they are shown.
func (a *API) shown(tokens []gateway.Token) []tokenAnswer {
	used := a.tokens.TokenUsage(tokens)
	out := make([]tokenAnswer, 0, len(tokens))
	for i := range tokens {
		t := newTokenAnswer(&tokens[i])
		if u, known := used[tokens[i].Hash]; known {
			t.Used = &usedAnswer{RequestsToday: u.Requests, TokensToday: u.Tokens, Running: u.Running}
		}
		out = append(out, t)
	}
	return out
}

// changeTokenRequest is what is to become of a token; what is absent stays.
type changeTokenRequest struct {
	Name      *string       `json:"name,omitempty"`
	Provider  string        `json:"provider,omitempty" enum:"ollama,openrouter,all"`
	Providers []string      `json:"providers,omitempty"`
	ExpiresIn *int64        `json:"expiresIn,omitempty" description:"Seconds from now; 0 or null: never."`
	Limits    limitsRequest `json:"limits,omitzero" description:"null takes all limits away."`

	present map[string]bool
}

// UnmarshalJSON remembers what was there.
func (c *changeTokenRequest) UnmarshalJSON(b []byte) (err error) {
	type plain changeTokenRequest
	c.present, err = decodePresent(b, (*plain)(c))
	return err
}

// tokenPath names a token in the address, for the OpenAPI document.
type tokenPath struct {
	Token string `path:"token" description:"The token or its id."`
}

var changeTokenDoc = operation{
	summary: "Change a client token", group: "Tokens", query: tokenPath{}, body: changeTokenRequest{}, answer: tokenAnswer{},
	about:   "What is absent stays as it is; `null`, an empty list and 0 take a limit or the end away. Holds at once.",
	example: `{"name":"laptop","limits":{"requestsPerDay":1000,"networks":["192.0.2.0/24"]}}`,
}

// changeToken changes the client token that the address names.
func (a *API) changeToken(w http.ResponseWriter, r *http.Request) error {
	var in changeTokenRequest
	if err := httpkit.DecodeJSON(w, r, maxBody, &in); err != nil {
		return err
	}
	t, err := a.findToken(r)
	if err != nil {
		return err
	}
	var f faults
	change := gateway.TokenChange{Providers: f.severalProviders(in.Providers, in.Provider, nil)}
	if in.Name != nil {
		name := f.text("name", *in.Name, maxName)
		if change.Name = &name; name == "" {
			f.add("name", "must not be empty")
		}
	}
	if in.present["expiresin"] {
		change.ExpiresAt = &time.Time{}
		if d := f.seconds("expiresIn", in.ExpiresIn); d > 0 {
			*change.ExpiresAt = a.opt.Now().UTC().Add(d)
		}
	}
	if in.Limits.sent {
		change.Limits = &t.Limits
		in.Limits.apply(&f, change.Limits)
	}
	if change.Name == nil && change.Providers == nil && change.ExpiresAt == nil && change.Limits == nil {
		f.add("body", "says nothing: send name, providers, expiresIn or limits")
	}
	if err := f.err(); err != nil {
		return err
	}
	if t, err = a.tokens.ChangeToken(r.Context(), t.Hash, change); err != nil {
		return err
	}
	a.noteToken(r, "token changed", t.ID())
	return httpkit.WriteJSON(w, http.StatusOK, a.shown([]gateway.Token{t})[0])
}

// findToken finds the token that the address names.
func (a *API) findToken(r *http.Request) (gateway.Token, error) {
	ref := r.PathValue("token")
	hash := gateway.HashToken(gateway.Secret(ref))
	tokens, err := a.tokens.Tokens(r.Context())
	if err != nil {
		return gateway.Token{}, err
	}
	for _, t := range tokens {
		if t.Hash == hash || t.Hash == ref || t.ID() == strings.ToLower(ref) {
			return t, nil
		}
	}
	return gateway.Token{}, gateway.Errorf(gateway.KindNotFound, "no such token")
}
