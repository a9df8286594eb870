package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// state is what the program has acknowledged of a thing.
type state string

const (
	unsure   state = "unsure" // a change was under way when the program died
	active   state = "active"
	disabled state = "disabled"
	gone     state = "gone"
)

// book is what writers were told by a program that is killed again and again.
type book struct {
	provider gateway.ProviderName // whose keys are written
	pace     time.Duration        // between two things that are written; 0: none

	mu      sync.Mutex // guards what follows
	n       int        // for names that were not used yet
	acks    int
	keys    map[string]state // by id
	batches []batch
	tokens  map[string]state // by id
}

// batch is keys that came in one import.
type batch struct {
	ids   []string
	acked bool
}

func newBook() *book {
	return &book{provider: gateway.Ollama, keys: map[string]state{}, tokens: map[string]state{}}
}

// wait keeps the pace. It returns an error when there is no more time.
func (b *book) wait(ctx context.Context) error {
	if b.pace == 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(b.pace):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// name gives a number that nothing else has.
func (b *book) name() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	return b.n
}

// note puts down what became of a change.
func (b *book) note(things map[string]state, id string, s state, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		s = unsure
	} else {
		b.acks++
	}
	things[id] = s
}

func (b *book) acked() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acks
}

// writeKeys adds keys one by one, and disables or deletes some.
func (b *book) writeKeys(ctx context.Context, i *Instance) error {
	in := "?provider=" + string(b.provider)
	for {
		if err := b.wait(ctx); err != nil {
			return err
		}
		n := b.name()
		key := fakeKey(b.provider, n)
		i.secrets.plant(key)
		id := string(gateway.IDOfKey(gateway.Secret(key)))
		_, err := tryAdmin[any](ctx, i, "POST", "/admin/api-keys"+in, map[string]any{"apiKey": key, "username": fmt.Sprintf("user %d", n)})
		b.note(b.keys, id, active, err)
		if err == nil && n%3 == 1 {
			_, err = tryAdmin[any](ctx, i, "POST", "/admin/keys/disable"+in, map[string]any{"apiKey": id, "duration": 0})
			b.note(b.keys, id, disabled, err)
		}
		if err == nil && n%6 == 1 {
			_, err = tryAdmin[any](ctx, i, "POST", "/admin/keys/enable"+in, map[string]any{"apiKey": id})
			b.note(b.keys, id, active, err)
		}
		if err == nil && n%4 == 2 {
			_, err = tryAdmin[any](ctx, i, "DELETE", "/admin/api-keys"+in, map[string]any{"apiKey": id})
			b.note(b.keys, id, gone, err)
		}
		if err != nil {
			return err
		}
	}
}

// writeTokens makes tokens and revokes some.
func (b *book) writeTokens(ctx context.Context, i *Instance) error {
	for {
		if err := b.wait(ctx); err != nil {
			return err
		}
		n := b.name()
		made, err := tryAdmin[tokenEntry](ctx, i, "POST", "/admin/tokens", map[string]any{"name": fmt.Sprintf("token %d", n)})
		if err != nil {
			return err // whether it was made, and under which id, nobody knows
		}
		i.secrets.plant(made.Token)
		b.note(b.tokens, made.ID, active, nil)
		if n%3 == 0 {
			_, err = tryAdmin[any](ctx, i, "DELETE", "/admin/tokens", map[string]any{"token": made.ID})
			b.note(b.tokens, made.ID, gone, err)
		}
		if err != nil {
			return err
		}
	}
}

// batchSize is how many keys come in one import.
const batchSize = 30

// writeImports imports texts.
func (b *book) writeImports(ctx context.Context, i *Instance) error {
	for {
		if err := b.wait(ctx); err != nil {
			return err
		}
		n := b.name()
		var text strings.Builder
		var all batch
		for m := range batchSize {
			key := fmt.Sprintf("fake-e2e-import-%06d-%06d", n, m)
			all.ids = append(all.ids, string(gateway.IDOfKey(gateway.Secret(key))))
			fmt.Fprintf(&text, "u%d@example.invalid----fake-password-%d----fake-session----%s\n", m, n, key)
		}
		i.secrets.plant(fmt.Sprintf("fake-password-%d", n))
		_, err := tryAdmin[any](ctx, i, "POST", "/admin/api-keys/import-from-txt?provider="+string(b.provider), text.String())
		all.acked = err == nil
		b.mu.Lock()
		b.batches = append(b.batches, all)
		if all.acked {
			b.acks++
		}
		b.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// check compares what a program that was started again holds with what it had
// acknowledged, and makes certain what was unsure.
func (b *book) check(t *testing.T, i *Instance) {
	t.Helper()
	keys, tokens := i.Keys(b.provider), i.Tokens()
	for id, want := range b.keys {
		got := gone
		if k, ok := keys[id]; ok {
			got = state(k.Status)
		}
		if want != unsure && got != want {
			t.Errorf("key %s is %s, acknowledged was %s", id, got, want)
		}
		b.keys[id] = got
	}
	for id, want := range b.tokens {
		got := gone
		if _, ok := tokens[id]; ok {
			got = active
		}
		if want != unsure && got != want {
			t.Errorf("token %s is %s, acknowledged was %s", id, got, want)
		}
		b.tokens[id] = got
	}
	for n, all := range b.batches {
		there := 0
		for _, id := range all.ids {
			if _, ok := keys[id]; ok {
				there++
			}
		}
		if there != len(all.ids) && (all.acked || there != 0) {
			t.Errorf("of import %d (acknowledged: %v) %d of %d keys are there", n, all.acked, there, len(all.ids))
		}
		b.batches[n].acked = there > 0
		if there == 0 {
			b.batches[n].ids = nil
		}
	}
}

// TestKilledAgainAndAgain writes through the admin API while requests run, and
// kills the program in the middle, many times. Nothing acknowledged is lost.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	const rounds = 12
	a := &asked{}
	up, i, token := serving(t, healthy)
	good := fakeKey(gateway.Ollama, 0)
	up.trusted.Store(&good) // the new keys work too
	b := newBook()
	b.n = len(healthy)
	for round := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		for _, write := range []func(context.Context, *Instance) error{b.writeKeys, b.writeTokens, b.writeImports, keepAsking(token, a)} {
			writers.Go(func() { _ = write(ctx, i) }) // each ends with the program
		}
		enough := b.acked() + 5 + 2*round // so that the end comes at another point each time
		await(t, "word that enough was written", func() bool { return b.acked() >= enough })
		i.Kill()
		writers.Wait()
		cancel()
		i.Start()
		b.check(t, i)
	}
	for _, what := range []struct {
		name string
		n    int
		of   int
	}{{"keys", len(b.keys), 3 * rounds}, {"tokens", len(b.tokens), 3 * rounds}, {"imports", len(b.batches), rounds}, {"requests", len(a.done), 3 * rounds}} {
		if what.n < what.of {
			t.Errorf("only %d %s were made", what.n, what.name)
		}
	}
	i.Stop()
}

// asked is when requests were answered.
type asked struct {
	mu    sync.Mutex // guards what follows
	begun int
	done  []time.Time
}

// keepAsking asks for embeddings until the program is gone, and puts down
// when each was answered.
func keepAsking(token string, a *asked) func(ctx context.Context, i *Instance) error {
	return func(ctx context.Context, i *Instance) error {
		for {
			a.mu.Lock()
			a.begun++
			a.mu.Unlock()
			status, answer, err := do(ctx, "POST", i.URL()+"/v1/embeddings", token, map[string]any{"model": ollamaFace.embed, "input": "x", "dimensions": 8})
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("%d %s", status, answer)
			}
			if err != nil {
				return err
			}
			a.mu.Lock()
			a.done = append(a.done, time.Now())
			a.mu.Unlock()
		}
	}
}

// lastMoments is how much of the counters a kill may cost.
const lastMoments = 1500 * time.Millisecond

// TestKillCostsTheLastMoments kills a program that only serves requests, and
// compares its counters with when they were answered.
func TestKillCostsTheLastMoments(t *testing.T) {
	t.Parallel()
	_, i, token := serving(t, healthy)
	stored := i.Totals(gateway.Ollama).TotalRequests
	for range 2 {
		a := &asked{}
		var clients sync.WaitGroup
		for range 2 {
			clients.Go(func() { _ = keepAsking(token, a)(t.Context(), i) }) // ends with the program
		}
		await(t, "request long enough ago", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.done) > 0 && time.Since(a.done[0]) > lastMoments+700*time.Millisecond
		})
		killedAt := time.Now()
		i.Kill()
		clients.Wait()
		i.Start()
		safe := 0
		for _, at := range a.done {
			if at.Before(killedAt.Add(-lastMoments)) {
				safe++
			}
		}
		sum := 0
		for _, k := range i.KeyNumbers(gateway.Ollama) {
			sum += k.TotalRequests
		}
		got := i.Totals(gateway.Ollama)
		if safe == 0 || got.TotalRequests < stored+safe || got.TotalRequests > stored+a.begun {
			t.Errorf("counted %d more, want at least %d and at most %d", got.TotalRequests-stored, safe, a.begun)
		}
		if sum < stored+safe || got.SuccessCount < stored+safe {
			t.Errorf("%d attempts of keys and %d successes, want at least %d more than %d", sum, got.SuccessCount, safe, stored)
		}
		stored = got.TotalRequests
	}
	i.Stop()
}
