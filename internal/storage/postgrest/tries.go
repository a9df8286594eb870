package postgrest

import (
	"context"
	"maps"
	"sync"
)

// tries is what the tries of one transaction have found out so far, for the next
// one: the results of statements, in the order in which they were run, and of one
// that only reads its queries.
type tries struct {
	mu      sync.Mutex // guards what follows; the end of a context rolls back beside its user
	results memory
	queries []*sent
	misses  int // so many have failed
}

// mostMisses is after how many tries nothing is guessed any more.
const mostMisses = 3

type triesKey struct{}

// Trying gives a context for all tries of one transaction, of which those that
// fail to serialize help the next. A transaction that begins without it guesses
// nothing, since it would fail where the guess was wrong.
func Trying(ctx context.Context) context.Context {
	return context.WithValue(ctx, triesKey{}, &tries{})
}

// triesOf is what Trying has put into a context, nil where it has not.
func triesOf(ctx context.Context) *tries {
	t, _ := ctx.Value(triesKey{}).(*tries)
	return t
}

// memory is the results of statements that change something, and of queries
// between them.
type memory struct {
	exact map[digest][]result // by the statement with its values
	texts map[string][]result // by the statement alone, whose values may hold the time
}

func newMemory() memory { return memory{map[digest][]result{}, map[string][]result{}} }

// recall is a copy for a try, which uses it up, and whether that may guess.
func (t *tries) recall() (m memory, guesses bool) {
	if t == nil {
		return memory{}, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return memory{maps.Clone(t.results.exact), maps.Clone(t.results.texts)}, t.misses < mostMisses
}

// missed notes what a try has found out that has failed.
func (t *tries) missed(m memory) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.results = m
	t.misses++
}

// planned are the queries of the last try, when this one begins with the same.
func (t *tries) planned(first *sent) []*sent {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queries) == 0 || t.queries[0].sum != first.sum {
		return nil
	}
	return t.queries
}

// plan notes the queries of a try that only reads and has failed: the next one
// asks for all of them at once.
func (t *tries) plan(queries []*sent) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queries = queries
}

// next takes the next result of a statement: of a query only that of the same
// values.
func (m *memory) next(s *sent) (r result, known bool) {
	list, others := m.exact[s.sum], m.texts[s.text]
	if len(list) > 0 {
		r, known = list[0], true
		m.exact[s.sum] = list[1:]
	}
	if len(others) > 0 {
		if !known && !s.query {
			r, known = others[0], true
		}
		m.texts[s.text] = others[1:]
	}
	return r, known
}

// add notes the next result of a statement.
func (m *memory) add(s *sent, r result) {
	m.exact[s.sum] = append(m.exact[s.sum], r)
	m.texts[s.text] = append(m.texts[s.text], r)
}
