package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Registry holds the client tokens that are valid, by their hash. The zero
// value is empty and ready. All methods may be called concurrently.
type Registry struct {
	mu     sync.RWMutex      // guards the maps; entries never change once they are in
	tokens map[digest]*entry // every token
	plain  map[digest]*entry // those that the store still holds as they are
}

// digest is the SHA-256 of a token.
type digest [sha256.Size]byte

// entry is what is known of one token.
type entry struct {
	principal gateway.Principal
	grants    []grant
	plain     *gateway.Token // of a token that the store still holds as it is
	used      *atomic.Bool   // whether that one was used since TakeUsedPlain
}

// grant is one provider that a token is valid for, and until when.
type grant struct {
	provider  gateway.ProviderName
	expiresAt time.Time // zero: for ever
}

// maxTokenLen is the length above which nothing is taken for a token: ten
// times that of our own, for those that an older database may hold.
const maxTokenLen = 512

// Verify finds the holder of a token and makes sure that it is valid for a
// provider now. The error is a *gateway.Error: KindUnauthorized for a token
// that is unknown or expired, KindForbidden for one of the other provider. The
// Principal is shared by all requests of its holder and must not be changed.
func (g *Registry) Verify(token string, p gateway.ProviderName, now time.Time) (*gateway.Principal, error) {
	if len(token) > maxTokenLen {
		return nil, gateway.Errorf(gateway.KindUnauthorized, "the token is not valid")
	}
	sum := sumOf(token)
	g.mu.RLock()
	e := g.tokens[sum]
	g.mu.RUnlock()
	if e == nil {
		return nil, gateway.Errorf(gateway.KindUnauthorized, "the token is not valid")
	}
	for i := range e.grants {
		if e.grants[i].provider != p || e.grants[i].expired(now) {
			continue
		}
		if e.plain != nil && !e.used.Load() {
			e.used.Store(true)
		}
		return &e.principal, nil
	}
	return nil, e.refuse(p, now)
}

// refuse says why a known token is no use for a provider: it was and has
// expired, or it is for the other one. A token that has expired everywhere is
// no longer a token at all.
func (e *entry) refuse(p gateway.ProviderName, now time.Time) error {
	var expiredAt time.Time
	elsewhere := len(e.grants) == 0
	for _, gr := range e.grants {
		switch {
		case !gr.expired(now):
			elsewhere = true
		case gr.provider == p:
			return expiredError(gr.expiresAt)
		default:
			expiredAt = gr.expiresAt
		}
	}
	if elsewhere {
		return gateway.Errorf(gateway.KindForbidden, "this token is not valid for the provider %q", p)
	}
	return expiredError(expiredAt)
}

func (gr grant) expired(now time.Time) bool {
	return !gr.expiresAt.IsZero() && !now.Before(gr.expiresAt)
}

func expiredError(at time.Time) error {
	return gateway.Errorf(gateway.KindUnauthorized, "the token expired at %s", at.UTC().Format(time.RFC3339))
}

// sumOf hashes a token of at most maxTokenLen bytes without an allocation.
func sumOf(token string) digest {
	var buf [maxTokenLen]byte
	return sha256.Sum256(buf[:copy(buf[:], token)])
}

// Replace exchanges all tokens for the given ones in one step. Where one
// stands there several times, as rows of several providers do, all its rows
// count, each with its own expiry. Tokens with neither a hash nor themselves
// are passed over.
func (g *Registry) Replace(tokens []gateway.Token) {
	all := make(map[digest]*entry, len(tokens))
	plain := map[digest]*entry{}
	for i := range tokens {
		sum, e, ok := newEntry(&tokens[i])
		if !ok {
			continue
		}
		if twin := all[sum]; twin != nil {
			e.join(twin)
		}
		all[sum] = e
		if e.plain != nil {
			plain[sum] = e
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for sum, e := range plain {
		if old := g.plain[sum]; old != nil {
			e.used = old.used // a use that nobody has taken notice of yet
		}
	}
	g.tokens, g.plain = all, plain
}

// join takes in another row of the same token.
func (e *entry) join(twin *entry) {
	e.grants = append(twin.grants, e.grants...)
	if e.principal.Limits == nil {
		e.principal.Limits = twin.principal.Limits // one row without them lifts nothing
	}
	switch {
	case twin.plain == nil:
	case e.plain == nil:
		e.plain, e.used = twin.plain, twin.used
	default:
		e.plain.Providers = append(twin.plain.Providers, e.plain.Providers...)
	}
}

// Put adds a token, or replaces the one with the same hash.
func (g *Registry) Put(t gateway.Token) {
	sum, e, ok := newEntry(&t)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tokens == nil {
		g.tokens, g.plain = map[digest]*entry{}, map[digest]*entry{}
	}
	if e.plain == nil {
		delete(g.plain, sum)
	} else {
		if old := g.plain[sum]; old != nil {
			e.used = old.used
		}
		g.plain[sum] = e
	}
	g.tokens[sum] = e
}

// Remove takes a token out by its stored hash and reports whether it was
// there. It is refused from then on.
func (g *Registry) Remove(hash string) bool {
	sum, ok := parseHash(hash)
	if !ok {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, there := g.tokens[sum]
	delete(g.tokens, sum)
	delete(g.plain, sum)
	return there
}

// Len is the number of tokens, expired ones included.
func (g *Registry) Len() int {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return len(g.tokens)
}

// TakeUsedPlain returns the tokens that the store still holds as they are and
// that were used since the last call, for the caller to have them replaced by
// their hashes. A token whose replacement fails comes again after its next use;
// one that was replaced should be Put without its Plain, and comes no more.
func (g *Registry) TakeUsedPlain() []gateway.Token {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var used []gateway.Token
	for _, e := range g.plain {
		if e.used.Swap(false) {
			used = append(used, *e.plain)
		}
	}
	return used
}

func newEntry(t *gateway.Token) (digest, *entry, bool) {
	sum, ok := parseHash(t.Hash)
	hash := t.Hash
	if t.Plain != "" {
		if len(t.Plain) > maxTokenLen {
			return sum, nil, false
		}
		sum, ok = sumOf(t.Plain.Reveal()), true
		hash = gateway.HashToken(t.Plain)
	}
	if !ok {
		return sum, nil, false
	}
	e := &entry{principal: gateway.Principal{TokenHash: strings.Clone(hash), Name: t.Name, Limits: limitsOf(t)}}
	for _, p := range t.Providers {
		e.grants = append(e.grants, grant{p, t.ExpiresAt})
	}
	if t.Plain != "" {
		row := *t
		row.Hash, row.Providers = hash, slices.Clone(t.Providers)
		e.plain, e.used = &row, new(atomic.Bool)
	}
	return sum, e, true
}

// limitsOf is a copy of a token's limits, nil where it has none.
func limitsOf(t *gateway.Token) *gateway.Limits {
	if !t.Limits.Any() {
		return nil
	}
	l := t.Limits
	l.Models, l.Networks = slices.Clone(l.Models), slices.Clone(l.Networks)
	return &l
}

// parseHash reads the stored form of a hash.
func parseHash(s string) (sum digest, ok bool) {
	if !gateway.IsTokenHash(s) {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(s[len(s)-2*sha256.Size:]))
	return sum, err == nil
}
