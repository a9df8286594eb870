package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
	"ollama-api-pool/internal/testkit/servers"
)

// What happens in a busy second.
const (
	busyRequests = 2000
	busyKeys     = 2000 // each serves one of them
	busyModels   = 10
	busyTokens   = 50
	busyFailures = 40 // keys that rest afterwards, with the log's entries
	busySeconds  = 10 // measured
)

// took is how long the steps took, in their order.
type took struct {
	what []string
	all  map[string][]time.Duration
}

func (t *took) note(what string, d time.Duration) {
	if t.all == nil {
		t.all = map[string][]time.Duration{}
	}
	if t.all[what] == nil {
		t.what = append(t.what, what)
	}
	t.all[what] = append(t.all[what], d)
}

func (t *took) median(what string) time.Duration {
	all := slices.Sorted(slices.Values(t.all[what]))
	return all[len(all)/2]
}

// storeWork measures what the store does on either engine, each round on empty
// databases.
func storeWork(ctx context.Context, o *options, dir string, w io.Writer) error {
	var embedded, postgres took
	for round := range o.rounds {
		for turn := range 2 {
			if (round+turn)%2 == 0 {
				file := filepath.Join(dir, fmt.Sprintf("round-%d", round))
				if err := os.Mkdir(file, 0o700); err != nil {
					return err
				}
				if err := oneStore(ctx, sqlstore.Options{Path: filepath.Join(file, "pool.db")}, o.keys, &embedded); err != nil {
					return fmt.Errorf("SQLite: %w", err)
				}
				continue
			}
			p, err := servers.StartPostgres("", durable())
			if err != nil {
				return err
			}
			err = oneStore(ctx, sqlstore.Options{URL: gateway.Secret(p.URL("postgres"))}, o.keys, &postgres)
			if err := errors.Join(err, p.Stop()); err != nil {
				return fmt.Errorf("PostgreSQL: %w", err)
			}
		}
		log.Printf("the store's work, round %d of %d: done", round+1, o.rounds)
	}
	_, _ = fmt.Fprintf(w, "\n### The store's own work, %d keys\n\n", o.keys)
	rows := [][]string{{"", "SQLite, ms", "PostgreSQL, ms", "ratio"}}
	for _, what := range embedded.what {
		a, b := embedded.median(what), postgres.median(what)
		rows = append(rows, []string{what, ms(a), ms(b), fmt.Sprintf("%.1f", float64(b)/float64(a))})
	}
	table(w, rows)
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/1e6) }

// oneStore takes the times of one store, from empty to full.
func oneStore(ctx context.Context, opts sqlstore.Options, keys int, t *took) (err error) {
	began := time.Now()
	lap := func(what string) {
		t.note(what, time.Since(began))
		began = time.Now()
	}
	s, err := sqlstore.Open(ctx, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	lap("open for the first time")
	if err := fill(ctx, s, keys); err != nil {
		return err
	}
	lap("import of all keys")
	for second := range busySeconds {
		d := busy(keys, second)
		began = time.Now()
		if _, err := s.ApplyBatch(ctx, gateway.Batch{Writer: "bench", Number: int64(second + 1), Deltas: []gateway.Delta{d}}); err != nil {
			return err
		}
		lap("flush of a busy second")
	}
	began = time.Now()
	if err := s.Fold(ctx); err != nil {
		return err
	}
	lap("adding these up afterwards")
	if err := pages(ctx, s, keys, t); err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	began = time.Now()
	if s, err = sqlstore.Open(ctx, opts); err != nil {
		return err
	}
	lap("open again")
	n := 0
	if err := s.EachKey(ctx, gateway.Ollama, func(gateway.Key) error { n++; return nil }); err != nil || n != keys {
		return fmt.Errorf("read all keys: %d, %w", n, err)
	}
	lap("reading all keys at a start")
	return nil
}

func secret(n int) gateway.Secret { return gateway.Secret(fmt.Sprintf("fake-bench-key-%08d", n)) }

func fill(ctx context.Context, s *sqlstore.Store, keys int) error {
	added, _, err := s.AddKeys(ctx, gateway.Ollama, func(yield func(gateway.Key, error) bool) {
		for n := range keys {
			k := gateway.Key{Secret: secret(n * 7919 % keys), Username: fmt.Sprintf("user%06d@example.invalid", n), CreatedAt: time.Now()}
			if !yield(k, nil) {
				return
			}
		}
	}, nil)
	if err == nil && added != keys {
		err = fmt.Errorf("of %d keys %d were added", keys, added)
	}
	return err
}

// busy is what a second leaves to be written when thousands of requests go
// through as many keys, of which some fail.
func busy(keys, second int) gateway.Delta {
	now := time.Now().UTC()
	minute, hour := now.Truncate(time.Minute), now.Truncate(time.Hour)
	d := gateway.Delta{Provider: gateway.Ollama, Global: counts(busyRequests)}
	tallied := func(of gateway.Subject, name string, n int64) {
		t := gateway.Tally{Attempts: n, Counts: counts(n)}
		t.Duration.Observe(1700*time.Millisecond, n)
		t.FirstByte.Observe(400*time.Millisecond, n)
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: of, Name: name, Minute: minute, Tally: t})
	}
	tallied(gateway.OfProvider, "", busyRequests)
	for n := range busyModels {
		name := fmt.Sprintf("fake-model-%d:120b", n)
		d.Models = append(d.Models, gateway.ModelDelta{Model: name, Hour: hour, LastUsed: now, Counts: counts(busyRequests / busyModels)})
		tallied(gateway.OfModel, name, busyRequests/busyModels)
	}
	for n := range busyTokens {
		hash := gateway.HashToken(gateway.Secret(fmt.Sprint("fake-token-", n)))
		d.Tokens = append(d.Tokens, gateway.TokenDelta{Hash: hash, LastUsed: now, Counts: counts(busyRequests / busyTokens)})
		tallied(gateway.OfToken, hash, busyRequests/busyTokens)
	}
	for n := range busyKeys {
		id := gateway.IDOfKey(secret((second*busyKeys + n) % keys))
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: id, Counts: gateway.KeyCounts{Total: 1, Success: 1, LastUsed: now, LastSuccess: now}})
		tallied(gateway.OfKey, string(id), 1)
		if n >= busyFailures {
			continue
		}
		until := now.Add(time.Hour)
		d.States = append(d.States, gateway.StateChange{Key: id, State: gateway.KeyState{RestsUntil: until, LastError: "quota: hourly"}})
		step := gateway.TrailStep{Key: id, Status: 429, Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey, Until: until, Reason: "quota: hourly"}
		d.Log = append(d.Log, gateway.LogEntry{
			ID: fmt.Sprintf("fake-request-%d-%d", second, n), Provider: gateway.Ollama, Model: "fake-model-1:120b", Path: "/v1/chat/completions",
			TokenHash: gateway.HashToken("fake-token-1"), TokenName: "team", Agent: "a client/1.0", Status: 200, StartedAt: now, Duration: time.Second,
			Trail: []gateway.TrailStep{step, {Key: id, Status: 200}},
		})
	}
	return d
}

func counts(n int64) gateway.Counts {
	return gateway.Counts{Requests: n, Success: n, Usage: gateway.Usage{Input: n * 1000, Output: n * 300}}
}

// pages reads lists of keys as an operator does.
func pages(ctx context.Context, s *sqlstore.Store, keys int, t *took) error {
	last := max(keys-50, 0)
	for _, q := range []struct {
		what  string
		query gateway.KeyQuery
	}{
		{"first page of keys", gateway.KeyQuery{Limit: 50}},
		{"last page", gateway.KeyQuery{Limit: 50, Offset: last}},
		{"page deep down, by name", gateway.KeyQuery{Limit: 50, Offset: last, Sort: "-username"}},
		{"page of those that rest", gateway.KeyQuery{Limit: 50, Status: gateway.KeyResting}},
		{"search, part of a name", gateway.KeyQuery{Limit: 50, Search: "user000"}},
		{"search, one key", gateway.KeyQuery{Limit: 50, Search: secret(keys / 2).Reveal()}},
	} {
		for range 5 {
			began := time.Now()
			page, _, err := s.Keys(ctx, gateway.Ollama, q.query)
			if err != nil || len(page) == 0 {
				return fmt.Errorf("%s: %d keys, %w", q.what, len(page), err)
			}
			t.note(q.what, time.Since(began))
		}
	}
	return nil
}
