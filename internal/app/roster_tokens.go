package app

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// tokenBook puts together what is read of the client tokens and what is changed
// here meanwhile. Reading them needs no turn: a token that somebody else has
// revoked must not stay valid while this instance has much to write.
type tokenBook struct {
	reading chan struct{} // holds one place, of who reads the tokens

	mu      sync.Mutex                // guards what follows, and that memory changes in step with it; never held over I/O
	changed map[string]*gateway.Token // here since the reading began, by hash; nil: gone
	read    string                    // what tells whether the stored tokens are those of the last look
}

func newTokenBook() *tokenBook {
	return &tokenBook{reading: make(chan struct{}, 1), changed: map[string]*gateway.Token{}}
}

// begin begins a reading. The caller has the place.
func (b *tokenBook) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.changed)
}

// note notes a change of what is stored. The caller holds mu.
func (b *tokenBook) note(hash string, t *gateway.Token) {
	b.changed[hash] = t
	b.read = ""
}

// knows reports whether tokens are those of the last look.
func (b *tokenBook) knows(digest string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return digest == b.read
}

// with gives what was read with what was changed here since then. The caller
// holds mu.
func (b *tokenBook) with(tokens []gateway.Token) []gateway.Token {
	if len(b.changed) == 0 {
		return tokens
	}
	var all []gateway.Token
	for i := range tokens {
		if _, ok := b.changed[tokens[i].Hash]; !ok {
			all = append(all, tokens[i])
		}
	}
	for _, t := range b.changed {
		if t != nil {
			all = append(all, *t)
		}
	}
	return all
}

// putToken takes a new token into memory, once it is stored.
func (r *Roster) putToken(t gateway.Token) {
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	r.tokens.Put(t)
	r.book.note(t.Hash, &t)
}

// changedToken is putToken for a token that there was. Somebody else may have
// revoked it since it was stored, so that is looked up again.
func (r *Roster) changedToken(t gateway.Token) {
	r.putToken(t)
	if r.retake != nil {
		r.retake()
	}
}

// dropToken takes a token out of memory, once it is stored no more.
func (r *Roster) dropToken(hash string) {
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	r.tokens.Remove(hash)
	r.book.note(hash, nil)
}

// readTokens takes over the client tokens of a store: always, or only if they
// differ from those that were read last. Their counts and last uses are of no
// interest here. It needs no turn.
func (r *Roster) readTokens(ctx context.Context, from *sqlstore.Store, always bool) error {
	b := r.book
	select {
	case b.reading <- struct{}{}:
		defer func() { <-b.reading }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	b.begin()
	tokens, err := from.Tokens(ctx)
	if err != nil {
		return fmt.Errorf("load the client tokens: %w", err)
	}
	digest := digestOf(tokens)
	if !always && b.knows(digest) {
		return nil
	}
	if err := r.seedLimits(ctx, from, tokens...); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r.tokens.Replace(b.with(tokens))
	if b.read = digest; len(b.changed) > 0 {
		b.read = ""
	}
	return nil
}

// digestOf tells tokens apart by all that matters for letting requests in.
func digestOf(tokens []gateway.Token) string {
	sum := fnv.New128a()
	for i := range tokens {
		t := &tokens[i]
		_, _ = fmt.Fprintf(sum, "%q %t %q %v %d %+v\n", t.Hash, t.Plain != "", t.Name, t.Providers, t.ExpiresAt.UnixNano(), t.Limits)
	}
	return string(sum.Sum(nil))
}
