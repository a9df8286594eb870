package sqlstore

import (
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// An engine passes the conformance suite: each function gets a way to open one
// and the same empty database as often as it likes.
type openStore func(o Options) *Store

// conformance is the suite, by the name of what it holds the store to.
var conformance = map[string]func(t *testing.T, open openStore){
	"keys come back as they were":          conformRoundTrip,
	"duplicates count as existing":         conformDuplicates,
	"an import is all or none":             conformAllOrNone,
	"keys are deleted whole":               conformDelete,
	"status is derived as in the gateway":  conformStatus,
	"search knows no wildcards":            conformSearch,
	"lists are sorted and paged":           conformSort,
	"hostile text stays text":              conformHostile,
	"rows of others are taken in":          conformForeign,
	"tokens are merged":                    conformTokens,
	"plain tokens are hashed":              conformPlainTokens,
	"requests are counted":                 conformRequests,
	"attempts are counted":                 conformAttempts,
	"states replace":                       conformStates,
	"refusals replace":                     conformRefusals,
	"unknown providers are refused":        conformProviders,
	"requests are logged":                  conformLogRoundTrip,
	"the log is filtered":                  conformLogFilters,
	"the log is paged":                     conformLogPages,
	"the log is counted":                   conformCountRequests,
	"keys are ranked":                      conformKeyRanks,
	"the log is bounded":                   conformLogPrune,
	"the log is followed":                  conformLogConcurrency,
	"events belong to keys":                conformEvents,
	"bulk acts are whole":                  conformManyEvents,
	"jobs come back as they were":          conformJobs,
	"jobs that make no sense":              conformJobsWrong,
	"sessions end":                         conformSessions,
	"tokens have limits":                   conformTokenLimits,
	"limits of others are read":            conformTokenLimitsOfOthers,
	"tokens change":                        conformUpdateToken,
	"plain tokens change":                  conformUpdatePlainToken,
	"expiring keys are counted":            conformExpiring,
	"filters choose what lists show":       conformKeyIDs,
	"pages make up the list":               conformPages,
	"categories are set":                   conformCategories,
	"who has gone changes nothing":         conformEnded,
	"changes of others are seen":           conformChanges,
	"writers and readers get along":        conformConcurrency,
	"tallies are added up by period":       conformTallies,
	"tallies are asked for by name, time":  conformTallyQueries,
	"tallies have any name":                conformTallyNames,
	"tallies come in pages":                conformTallyPages,
	"tallies are zero and huge":            conformTallyNumbers,
	"tallies of several writers add up":    conformTallyConcurrency,
	"tallies and hours of keys":            conformKeyTallies,
	"reads are exact during folds":         conformReadsDuringFolds,
	"a fold is cut off":                    conformHalfFolded,
	"a key comes again":                    conformForgottenJournal,
	"tallies of tokens":                    conformTokenTallies,
	"old statistics are deleted":           conformPruneStats,
	"statistics end with their context":    conformStatsEnd,
	"changes are heard of":                 conformJournal,
	"gaps of the journal are told":         conformJournalGaps,
	"long journals are read":               conformJournalSizes,
	"who follows knows what is stored":     conformFollowing,
	"leases have one holder":               conformLeases,
	"leases are asked for at once":         conformLeaseRace,
	"instances say that they are there":    conformInstances,
	"a store has one name":                 conformStoreID,
	"idle jobs are interrupted":            conformIdleJobs,
	"who listens is woken":                 conformListen,
	"batches wait in the spool":            conformSpool,
	"mirrors have the differences":         conformMirror,
	"mirrors copy keys as they are":        conformMirrorCopied,
	"mirrors belong to one store":          conformMirrorOfAnother,
	"batches are taken once":               conformBatches,
	"batches are taken once, at once":      conformBatchesAtOnce,
	"who stood still undoes nothing":       conformFrozen,
	"a writer's changes follow each other": conformRow,
	"many states are written":              conformManyStates,
	"marks are how states are stored":      conformMarks,
	"others see that marks are over":       conformSettle,
	"many keys are back at once":           conformSettleMany,
}

// ofStoredKeys are the checks in which it matters how keys are stored: they run
// with encrypted ones, too.
var ofStoredKeys = []string{
	"keys come back as they were", "duplicates count as existing", "an import is all or none", "keys are deleted whole",
	"search knows no wildcards", "lists are sorted and paged", "hostile text stays text", "rows of others are taken in",
	"attempts are counted", "keys are ranked", "filters choose what lists show", "a key comes again",
	"changes of others are seen", "writers and readers get along", "mirrors have the differences", "mirrors copy keys as they are",
}

// runConformance runs the suite on an engine.
func runConformance(t *testing.T, newDatabase func(t *testing.T) openStore) {
	for _, name := range ofStoredKeys {
		if conformance[name] == nil {
			t.Errorf("there is no check that %s", name)
		}
	}
	for name, check := range conformance {
		for _, key := range [][]byte{nil, masterKey(1)} {
			form := "plain"
			if key != nil {
				if form = "encrypted"; !slices.Contains(ofStoredKeys, name) {
					continue
				}
			}
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				open := newDatabase(t)
				check(t, func(o Options) *Store {
					o.EncryptionKey = key
					if o.Now == nil {
						o.Now = func() time.Time { return noon }
					}
					return open(o)
				})
			})
		}
	}
}

// noon is the present in most tests.
var noon = time.Date(2030, time.June, 1, 12, 0, 0, 0, time.UTC)

func masterKey(b byte) []byte { return slices.Repeat([]byte{b}, masterLen) }

// secretOf makes a key that looks like one.
func secretOf(n int) gateway.Secret {
	return gateway.Secret(fmt.Sprintf("fake-key-%06d-not-a-real-one", n))
}

func someKeys(from, to int) []gateway.Key {
	var keys []gateway.Key
	for n := from; n < to; n++ {
		keys = append(keys, gateway.Key{Secret: secretOf(n), Username: fmt.Sprintf("user%d@example.com", n), CreatedAt: noon})
	}
	return keys
}

// yield makes a sequence of keys that ends with err, if there is one.
func yield(keys []gateway.Key, err error) iter.Seq2[gateway.Key, error] {
	return func(yield func(gateway.Key, error) bool) {
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
		if err != nil {
			yield(gateway.Key{}, err)
		}
	}
}

func add(t *testing.T, s *Store, p gateway.ProviderName, keys ...gateway.Key) {
	t.Helper()
	n, existing, err := s.AddKeys(t.Context(), p, yield(keys, nil), nil)
	if err != nil || n != len(keys) || existing != 0 {
		t.Fatalf("AddKeys = %d, %d, %v; want %d new ones", n, existing, err, len(keys))
	}
}

func all(t *testing.T, s *Store, p gateway.ProviderName) map[gateway.Secret]gateway.Key {
	t.Helper()
	keys := map[gateway.Secret]gateway.Key{}
	if err := s.EachKey(t.Context(), p, func(k gateway.Key) error { keys[k.Secret] = k; return nil }); err != nil {
		t.Fatal(err)
	}
	return keys
}

func apply(t *testing.T, s *Store, deltas ...gateway.Delta) {
	t.Helper()
	if err := s.Apply(t.Context(), deltas); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T, s *Store, q gateway.KeyQuery) (names []string, total int) {
	t.Helper()
	keys, total, err := s.Keys(t.Context(), gateway.Ollama, q)
	if err != nil {
		t.Fatalf("Keys(%+v): %v", q, err)
	}
	for _, k := range keys {
		names = append(names, k.Username)
	}
	return names, total
}

func wantEqual(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

func wantKind(t *testing.T, what string, err error, want gateway.Kind) {
	t.Helper()
	var e *gateway.Error
	if !errors.As(err, &e) || e.Kind != want {
		t.Errorf("%s: error %v, want one of kind %d", what, err, want)
	}
}

func conformProviders(t *testing.T, open openStore) {
	s := open(Options{})
	const p = gateway.ProviderName("x; drop table ollama_api_keys; --")
	ctx := t.Context()
	calls := map[string]func() error{
		"EachKey":     func() error { return s.EachKey(ctx, p, nil) },
		"AddKeys":     func() error { _, _, err := s.AddKeys(ctx, p, yield(nil, nil), nil); return err },
		"DeleteKeys":  func() error { _, err := s.DeleteKeys(ctx, p, nil); return err },
		"Key":         func() error { _, _, err := s.Key(ctx, p, "x"); return err },
		"Keys":        func() error { _, _, err := s.Keys(ctx, p, gateway.KeyQuery{}); return err },
		"CountKeys":   func() error { _, err := s.CountKeys(ctx, p); return err },
		"EnableKeys":  func() error { return s.EnableKeys(ctx, p, nil) },
		"EachRefusal": func() error { return s.EachRefusal(ctx, p, nil) },
		"SetCategory": func() error { return s.SetCategory(ctx, p, "x", "y") },
		"Apply": func() error {
			return s.Apply(ctx, []gateway.Delta{{Provider: p, Global: gateway.Counts{Requests: 1}}})
		},
		"Totals":      func() error { _, err := s.Totals(ctx, p); return err },
		"ModelTotals": func() error { _, err := s.ModelTotals(ctx, p); return err },
		"KeyEvents":   func() error { _, err := s.KeyEvents(ctx, p, "x", 1); return err },
		"KeyIDs":      func() error { _, err := s.KeyIDs(ctx, p, gateway.KeyFilter{}); return err },
		"Categories":  func() error { _, err := s.Categories(ctx, p); return err },
		"Expiring":    func() error { _, err := s.ExpiringKeys(ctx, p, noon, noon); return err },
		"ModelHours":  func() error { _, err := s.ModelHours(ctx, p, noon); return err },
	}
	for name, call := range calls {
		wantKind(t, name, call(), gateway.KindInvalid)
	}
}

func conformChanges(t *testing.T, open openStore) {
	a, b := open(Options{}), open(Options{})
	changed := func(s *Store) bool {
		t.Helper()
		is, err := s.ChangedElsewhere(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	if a.Shared() { // followed by the journal of changes, see conformFollow
		add(t, a, gateway.Ollama, someKeys(0, 1)...)
		if changed(b) || len(all(t, b, gateway.Ollama)) != 1 {
			t.Error("another's key is not seen, or a change is")
		}
		return
	}
	changed(a)
	if changed(a) {
		t.Error("a change is seen where there was none")
	}
	add(t, a, gateway.Ollama, someKeys(0, 1)...)
	if changed(a) {
		t.Error("a store's own change is seen as another's")
	}
	if !changed(b) || changed(b) {
		t.Error("another's change is not seen once")
	}
	all(t, b, gateway.Ollama)
	if changed(a) {
		t.Error("another's reading is seen as a change")
	}
	if n := len(all(t, b, gateway.Ollama)); n != 1 {
		t.Errorf("another's key: %d keys are seen, want 1", n)
	}
}

func conformConcurrency(t *testing.T, open openStore) {
	stores := []*Store{open(Options{}), open(Options{})}
	const rounds, perRound = 8, 10
	var wg sync.WaitGroup
	fail := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for i, s := range stores {
		wg.Go(func() { // imports
			for round := range rounds {
				from := (2*round + i) * perRound
				n, _, err := s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(from, from+perRound), nil), nil)
				if err != nil || n != perRound {
					t.Errorf("AddKeys = %d, %v", n, err)
				}
			}
		})
		wg.Go(func() { // counters
			for range rounds {
				fail(s.Apply(t.Context(), []gateway.Delta{{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}}}))
			}
		})
		for range 2 {
			wg.Go(func() { // readers see whole imports only
				for range rounds {
					n := 0
					fail(s.EachKey(t.Context(), gateway.Ollama, func(gateway.Key) error { n++; return nil }))
					if n%perRound != 0 {
						t.Errorf("%d keys are seen: half an import", n)
					}
					_, _, err := s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Limit: 5, Search: "user"})
					fail(err)
					_, err = s.ChangedElsewhere(t.Context())
					fail(err)
				}
			})
		}
	}
	wg.Wait()
	total, err := stores[0].Totals(t.Context(), gateway.Ollama)
	fail(err)
	if keys := all(t, stores[1], gateway.Ollama); len(keys) != 2*rounds*perRound || total.Requests != 2*rounds {
		t.Errorf("%d keys and %d requests, want %d and %d", len(keys), total.Requests, 2*rounds*perRound, 2*rounds)
	}
}
