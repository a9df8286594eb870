package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
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
	"keys come back as they were":         conformRoundTrip,
	"duplicates count as existing":        conformDuplicates,
	"an import is all or none":            conformAllOrNone,
	"keys are deleted whole":              conformDelete,
	"status is derived as in the gateway": conformStatus,
	"search knows no wildcards":           conformSearch,
	"lists are sorted and paged":          conformSort,
	"hostile text stays text":             conformHostile,
	"rows of others are taken in":         conformForeign,
	"tokens are merged":                   conformTokens,
	"plain tokens are hashed":             conformPlainTokens,
	"requests are counted":                conformRequests,
	"attempts are counted":                conformAttempts,
	"states replace":                      conformStates,
	"refusals replace":                    conformRefusals,
	"unknown providers are refused":       conformProviders,
	"changes of others are seen":          conformChanges,
	"writers and readers get along":       conformConcurrency,
}

// runConformance runs the suite on an engine, with keys plain and encrypted.
func runConformance(t *testing.T, newDatabase func(t *testing.T) openStore) {
	for name, check := range conformance {
		for _, key := range [][]byte{nil, masterKey(1)} {
			form := "plain"
			if key != nil {
				form = "encrypted"
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

func list(t *testing.T, s *Store, q KeyQuery) (names []string, total int) {
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

func conformRoundTrip(t *testing.T, open openStore) {
	s := open(Options{})
	micro := noon.Add(123456 * time.Microsecond)
	full := gateway.Key{
		Secret: "sk-or-v1-fake~key!with{odd}marks", Username: "Ünï Cödé <u@example.com>", Category: "kimi",
		CreatedAt: micro, ExpiresAt: noon.Add(time.Hour),
		State: gateway.KeyState{
			FailedUntil: noon.Add(time.Minute + 5*time.Microsecond), DisabledUntil: noon.Add(2 * time.Minute), RestsUntil: noon.Add(3 * time.Minute),
			Disabled: gateway.DisabledAuto, ConsecutiveFailures: 3, RestStep: 2, LastError: "401: unauthorized",
		},
	}
	bare := gateway.Key{Secret: "12345678"}
	local := gateway.Key{Secret: "with-a-local-time", CreatedAt: time.Date(2030, 1, 31, 1, 2, 3, 0, time.FixedZone("", 5*3600))}
	far := gateway.Key{Secret: "far-in-the-future", CreatedAt: noon, ExpiresAt: time.Date(300000, 1, 1, 0, 0, 0, 0, time.UTC)}
	add(t, s, gateway.Ollama, full, bare, local, far)
	add(t, s, gateway.OpenRouter, full)

	bare.CreatedAt = noon
	local.CreatedAt = local.CreatedAt.UTC()
	far.ExpiresAt = time.Date(lastYear, 12, 31, 23, 59, 59, 0, time.UTC)
	want := map[gateway.Secret]gateway.Key{full.Secret: full, bare.Secret: bare, local.Secret: local, far.Secret: far}
	wantEqual(t, "loaded keys", all(t, s, gateway.Ollama), want)
	wantEqual(t, "the other provider's", all(t, s, gateway.OpenRouter), map[gateway.Secret]gateway.Key{full.Secret: full})

	got, found, err := s.Key(t.Context(), gateway.Ollama, gateway.IDOfKey(full.Secret))
	if err != nil || !found {
		t.Fatalf("Key: found %v, %v", found, err)
	}
	wantEqual(t, "one key", got, full)
	if _, found, err := s.Key(t.Context(), gateway.Ollama, "0123456789abcdef"); found || err != nil {
		t.Errorf("Key that is not there: found %v, %v", found, err)
	}
	if err := s.SetCategory(t.Context(), gateway.Ollama, gateway.IDOfKey(bare.Secret), "llama"); err != nil {
		t.Fatal(err)
	}
	again := open(Options{})
	if c := all(t, again, gateway.Ollama)[bare.Secret].Category; c != "llama" {
		t.Errorf("category %q after opening again, want llama", c)
	}
	stop := errors.New("enough")
	seen := 0
	err = s.EachKey(t.Context(), gateway.Ollama, func(gateway.Key) error { seen++; return stop })
	if !errors.Is(err, stop) || seen != 1 {
		t.Errorf("a visitor's error: got %v after %d keys", err, seen)
	}
}

func conformDuplicates(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 3)...)
	mine := gateway.Key{Secret: secretOf(7), Username: "first", CreatedAt: noon}
	other := mine
	other.Username = "second"
	var calls []string
	n, existing, err := s.AddKeys(t.Context(), gateway.Ollama, yield(append(someKeys(1, 5), mine, other), nil), func(k gateway.Key) {
		calls = append(calls, k.Username)
	})
	if n != 3 || existing != 3 || err != nil {
		t.Errorf("AddKeys = %d, %d, %v; want 3, 3", n, existing, err)
	}
	wantEqual(t, "reported as added", calls, []string{"user3@example.com", "user4@example.com", "first"})
	if u := all(t, s, gateway.Ollama)[mine.Secret].Username; u != "first" {
		t.Errorf("a duplicate changed the user name to %q", u)
	}
	_, _, err = s.AddKeys(t.Context(), gateway.Ollama, yield([]gateway.Key{{Secret: "short"}}, nil), nil)
	wantKind(t, "a key that is none", err, gateway.KindInvalid)
	if err == nil || strings.Contains(err.Error(), `"short"`) {
		t.Errorf("error %v repeats the key", err)
	}
}

func conformAllOrNone(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 2)...)
	broken := errors.New("line 4 broke off")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cuts := map[string]struct {
		ctx  context.Context
		keys iter.Seq2[gateway.Key, error]
		want error
	}{
		"the sequence fails": {t.Context(), yield(someKeys(0, 400), broken), broken},
		"the context ends": {ctx, func(yield func(gateway.Key, error) bool) {
			for i, k := range someKeys(0, 400) {
				if i == 300 {
					cancel()
				}
				if !yield(k, nil) {
					return
				}
			}
		}, context.Canceled},
	}
	for name, c := range cuts {
		n, existing, err := s.AddKeys(c.ctx, gateway.Ollama, c.keys, nil)
		if !errors.Is(err, c.want) || n != 0 || existing != 0 {
			t.Errorf("%s: AddKeys = %d, %d, %v", name, n, existing, err)
		}
		if left := all(t, s, gateway.Ollama); len(left) != 2 {
			t.Errorf("%s: %d keys in the store, want the 2 from before", name, len(left))
		}
	}
	func() {
		defer func() { _ = recover() }()
		_, _, _ = s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(2, 3), nil), func(gateway.Key) { panic("in the caller") })
	}()
	add(t, s, gateway.Ollama, someKeys(2, 4)...) // neither the lock nor a key was left behind
}

func conformDelete(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 4)...)
	add(t, s, gateway.OpenRouter, someKeys(0, 1)...)
	id := func(n int) gateway.KeyID { return gateway.IDOfKey(secretOf(n)) }
	apply(t, s, gateway.Delta{
		Provider: gateway.Ollama,
		Keys:     []gateway.KeyDelta{{Key: id(0), Counts: gateway.KeyCounts{Total: 5}}},
		Refusals: []gateway.Refusal{{Key: id(0), Model: "m", Until: noon.Add(time.Hour)}},
	})
	deleted, err := s.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{id(0), "not-there", id(2), id(0)})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "deleted", deleted, []gateway.KeyID{id(0), id(2)})
	if left := all(t, s, gateway.Ollama); len(left) != 2 {
		t.Errorf("%d keys left, want 2", len(left))
	}
	if left := all(t, s, gateway.OpenRouter); len(left) != 1 {
		t.Errorf("%d keys of the other provider left, want 1", len(left))
	}
	add(t, s, gateway.Ollama, someKeys(0, 1)...)
	if c := all(t, s, gateway.Ollama)[secretOf(0)].Counts; c.Total != 0 {
		t.Errorf("a deleted key came back with its counts: %+v", c)
	}
	if err := s.EachRefusal(t.Context(), gateway.Ollama, func(r gateway.Refusal) error { return fmt.Errorf("refusal %+v is left", r) }); err != nil {
		t.Error(err)
	}
}

func conformStatus(t *testing.T, open openStore) {
	s := open(Options{})
	marks := []time.Time{{}, noon, noon.Add(time.Microsecond)}
	var keys []gateway.Key
	want := map[gateway.KeyStatus][]string{}
	for _, expires := range marks {
		for _, disabled := range marks {
			for _, failed := range marks {
				for _, rests := range marks {
					for _, reason := range []gateway.DisabledReason{gateway.NotDisabled, gateway.DisabledAuto, gateway.DisabledManual} {
						k := gateway.Key{
							Secret: secretOf(len(keys)), Username: fmt.Sprintf("%04d", len(keys)), CreatedAt: noon, ExpiresAt: expires,
							State: gateway.KeyState{FailedUntil: failed, DisabledUntil: disabled, RestsUntil: rests, Disabled: reason},
						}
						status := k.State.StatusAt(noon, expires)
						want[status] = append(want[status], k.Username)
						keys = append(keys, k)
					}
				}
			}
		}
	}
	bare := make([]gateway.Key, len(keys))
	var changes []gateway.StateChange
	for i, k := range keys {
		bare[i] = k
		bare[i].State = gateway.KeyState{}
		changes = append(changes, gateway.StateChange{Key: gateway.IDOfKey(k.Secret), State: k.State})
	}
	check := func(how string, s *Store) {
		counts, err := s.CountKeys(t.Context(), gateway.Ollama)
		if err != nil {
			t.Fatal(err)
		}
		for _, status := range gateway.KeyStatuses() {
			names, total := list(t, s, KeyQuery{Status: status, Sort: "username"})
			if !slices.Equal(names, want[status]) || total != len(names) || counts[status] != len(names) {
				t.Errorf("%s, %s: %d listed, %d in total, %d counted, want %d", how, status, len(names), total, counts[status], len(want[status]))
			}
			var column int
			row := s.reader.QueryRowContext(t.Context(), "select count(*) from ollama_api_keys where status = ?", string(status))
			if err := row.Scan(&column); err != nil || column != len(names) {
				t.Errorf("%s, %s: the column says so of %d keys, %v", how, status, column, err)
			}
		}
	}
	add(t, s, gateway.Ollama, keys...)
	check("added", s)
	var ids []gateway.KeyID
	for _, c := range changes {
		ids = append(ids, c.Key)
	}
	if _, err := s.DeleteKeys(t.Context(), gateway.Ollama, ids); err != nil {
		t.Fatal(err)
	}
	add(t, s, gateway.Ollama, bare...)
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, States: changes})
	check("changed", s)
	_, _, err := s.Keys(t.Context(), gateway.Ollama, KeyQuery{Status: "tired"})
	wantKind(t, "an unknown status", err, gateway.KindInvalid)
}

func conformSearch(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama,
		gateway.Key{Secret: "fake-KEY-one-aaaa", Username: "Anna_Blume@example.com", Category: "kimi"},
		gateway.Key{Secret: "fake-KEY-two-bbbb", Username: "ÖZLEM 100%", Category: "gpt-oss"},
		gateway.Key{Secret: "fake-KEY-six-cccc", Username: `back\slash'quote`, Category: "Kimi"},
		gateway.Key{Secret: "fake-KEY-ten-dddd"},
	)
	const anna, ozlem, slash, none = "Anna_Blume@example.com", "ÖZLEM 100%", `back\slash'quote`, ""
	for search, want := range map[string][]string{
		"anna": {anna}, "BLUME@": {anna}, "_": {anna}, "%": {ozlem}, "0%": {ozlem}, "özlem": {ozlem},
		`\`: {slash}, `'`: {slash}, `k\S`: {slash}, "kimi": {anna, slash}, "kim": nil, "a_b": {anna}, "e": {anna, slash, ozlem},
		"fake-KEY-two-bbbb": {ozlem}, "fake-KEY-two": nil, "fake-KEY-ten-dddd": {none},
		string(gateway.IDOfKey("fake-KEY-six-cccc")):                  {slash},
		strings.ToUpper(string(gateway.IDOfKey("fake-KEY-six-cccc"))): {slash},
		string(gateway.IDOfKey("fake-KEY-six-cccc"))[:8]:              nil,
		"nobody": nil, "enc:v1:": nil,
	} {
		got, total := list(t, s, KeyQuery{Search: search})
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) || total != len(want) {
			t.Errorf("search %q: got %q (%d in total), want %q", search, got, total, want)
		}
	}
	if !s.Encrypted() {
		if got, _ := list(t, s, KeyQuery{Search: "FAKE-key-TWO-bbbb"}); !slices.Equal(got, []string{ozlem}) {
			t.Errorf("search for a whole key in other letters' case: got %q", got)
		}
	}
	for q, want := range map[KeyQuery]int{
		{Category: "kimi"}: 1, {Category: "kim"}: 0, {Category: "kimi", Search: "anna"}: 1,
		{Category: "gpt-oss", Search: "anna"}: 0, {Category: "gpt-oss", Status: gateway.KeyActive}: 1, {Category: "gpt-oss", Status: gateway.KeyFailed}: 0,
	} {
		if _, total := list(t, s, q); total != want {
			t.Errorf("%+v: %d keys, want %d", q, total, want)
		}
	}
}

func conformSort(t *testing.T, open openStore) {
	s := open(Options{})
	hours := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Hour) }
	add(t, s, gateway.Ollama,
		gateway.Key{Secret: secretOf(1), Username: "Cato", CreatedAt: hours(-1), ExpiresAt: hours(3), State: gateway.KeyState{ConsecutiveFailures: 2}},
		gateway.Key{Secret: secretOf(2), Username: "bert", CreatedAt: hours(-4), State: gateway.KeyState{RestsUntil: hours(1)}},
		gateway.Key{Secret: secretOf(3), Username: "Anna", CreatedAt: hours(-3), ExpiresAt: hours(-1), State: gateway.KeyState{ConsecutiveFailures: 1}},
		gateway.Key{Secret: secretOf(4), Username: "dora", CreatedAt: hours(-2), ExpiresAt: hours(2).Add(time.Millisecond), State: gateway.KeyState{Disabled: gateway.DisabledManual}},
		gateway.Key{Secret: secretOf(5), CreatedAt: hours(-2).Add(time.Millisecond), ExpiresAt: hours(2)},
	)
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, Keys: []gateway.KeyDelta{
		{Key: gateway.IDOfKey(secretOf(2)), Counts: gateway.KeyCounts{Total: 1, LastUsed: hours(-1)}},
		{Key: gateway.IDOfKey(secretOf(3)), Counts: gateway.KeyCounts{Total: 1, LastUsed: hours(-1).Add(time.Microsecond)}},
	}})
	for by, want := range map[string]string{
		"": "bert Anna dora  Cato", "created_at": "bert Anna dora  Cato", "-created_at": "Cato  dora Anna bert",
		"username": "Anna bert Cato dora ", "-username": "dora Cato bert Anna ",
		"expires_at": "Anna  dora Cato bert", "-expires_at": "Cato dora  Anna bert",
	} {
		got, _ := list(t, s, KeyQuery{Sort: by})
		if joined := strings.Join(got, " "); joined != want {
			t.Errorf("sort %q: got %q, want %q", by, joined, want)
		}
	}
	for by, want := range map[string][]string{ // what is equal comes in an order of its own
		"consecutive_failures": {"Anna", "Cato"}, "-consecutive_failures": {"Cato", "Anna"},
		"last_used": {"bert", "Anna"}, "-last_used": {"Anna", "bert"},
		"status": {"dora", "Anna", "bert"}, "-status": {"bert", "Anna", "dora"},
	} {
		got, _ := list(t, s, KeyQuery{Sort: by})
		got = slices.DeleteFunc(got, func(name string) bool { return !slices.Contains(want, name) })
		wantEqual(t, "sort "+by, got, want)
		var paged []string
		for offset := range 6 {
			page, total := list(t, s, KeyQuery{Sort: by, Offset: offset, Limit: 1})
			if total != 5 {
				t.Errorf("sort %q, page %d: %d in total, want 5", by, offset, total)
			}
			paged = append(paged, page...)
		}
		whole, _ := list(t, s, KeyQuery{Sort: by})
		wantEqual(t, "pages by "+by, paged, whole)
	}
	for _, by := range []string{"-", "api_key", "username desc", "username; drop table x", "--username", "USERNAME"} {
		_, _, err := s.Keys(t.Context(), gateway.Ollama, KeyQuery{Sort: by})
		wantKind(t, "sort "+by, err, gateway.KindInvalid)
	}
}

func conformHostile(t *testing.T, open openStore) {
	s := open(Options{})
	for i, text := range []string{
		`'; drop table ollama_api_keys; --`, `" or 1=1 --`, `{p}keys`, `?`, `$1`, `:name @x`, "a\nb", "percent % under _ back \\",
		strings.Repeat("long ", 2000), "\xff\xfe not UTF-8", "nul\x00inside",
	} {
		clean := strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
		k := gateway.Key{Secret: secretOf(i), Username: text, Category: text, State: gateway.KeyState{LastError: text}}
		add(t, s, gateway.Ollama, k)
		if got, _ := list(t, s, KeyQuery{Search: text, Category: text}); !slices.Equal(got, []string{clean}) {
			t.Errorf("%.40q: found %.40q", text, got)
		}
		id := gateway.IDOfKey(k.Secret)
		token := gateway.Secret("fake-" + text)
		err := s.AddToken(t.Context(), gateway.Token{Hash: gateway.HashToken(token), Name: text, Providers: gateway.Providers()})
		if err != nil {
			t.Errorf("%.40q: %v", text, err)
		}
		apply(t, s, gateway.Delta{
			Provider: gateway.Ollama,
			Models:   []gateway.ModelDelta{{Model: text, Hour: noon, LastUsed: noon, Counts: gateway.Counts{Requests: 1}}},
			Refusals: []gateway.Refusal{{Key: id, Model: text, Until: noon.Add(time.Hour)}},
		})
		if deleted, err := s.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{gateway.KeyID(text), id}); err != nil || len(deleted) != 1 {
			t.Errorf("%.40q: deleted %v, %v", text, deleted, err)
		}
		if gone, err := s.DeleteToken(t.Context(), text); gone || err != nil {
			t.Errorf("%.40q: a token was deleted by a hostile hash: %v, %v", text, gone, err)
		}
		totals, err := s.ModelTotals(t.Context(), gateway.Ollama)
		if err != nil || !slices.ContainsFunc(totals, func(m ModelTotal) bool { return m.Model == clean && m.Counts.Requests == 1 }) {
			t.Errorf("%.40q: not among the models: %v", text, err)
		}
	}
}

func conformForeign(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 1)...)
	exec := func(text string, args ...any) {
		t.Helper()
		if _, err := s.writer.ExecContext(t.Context(), text, args...); err != nil {
			t.Fatal(err)
		}
	}
	for n, row := range []struct {
		status         string
		expires, until any
	}{
		{"active", nil, nil},
		{"disabled", nil, at(noon.Add(time.Hour))},
		{"disabled", nil, nil},
		{"disabled", nil, at(noon.Add(-time.Hour))},
		{"active", at(noon.Add(-time.Hour)), nil},
	} {
		exec("insert into ollama_api_keys (api_key, username, status, expires_at, disabled_until) values (?, ?, ?, ?, ?)",
			secretOf(n+1).Reveal(), "foreign", row.status, row.expires, row.until)
		exec("insert into ollama_api_key_stats (api_key, total_requests, success_count) values (?, ?, null)", secretOf(n+1).Reveal(), n)
	}
	keys := all(t, s, gateway.Ollama)
	for n, want := range []struct {
		status gateway.KeyStatus
		reason gateway.DisabledReason
	}{
		{gateway.KeyActive, ""},
		{gateway.KeyDisabled, gateway.DisabledAuto},
		{gateway.KeyDisabled, gateway.DisabledManual},
		{gateway.KeyActive, gateway.DisabledAuto},
		{gateway.KeyExpired, ""},
	} {
		k, found := keys[secretOf(n+1)]
		if status := k.State.StatusAt(noon, k.ExpiresAt); !found || status != want.status || k.State.Disabled != want.reason ||
			k.Counts.Total != int64(n) || !k.CreatedAt.Equal(noon) {
			t.Errorf("foreign row %d: found %v, %s, %+v", n+1, found, status, k)
		}
		listed, found, err := s.Key(t.Context(), gateway.Ollama, gateway.IDOfKey(secretOf(n+1)))
		if err != nil || !found || !reflect.DeepEqual(listed, k) {
			t.Errorf("foreign row %d by its id: %v, %v, %+v", n+1, found, err, listed)
		}
		if _, total := list(t, s, KeyQuery{Status: want.status, Search: string(gateway.IDOfKey(secretOf(n + 1)))}); total != 1 {
			t.Errorf("foreign row %d is not listed as %s", n+1, want.status)
		}
	}
	var plain int
	if err := s.reader.QueryRowContext(t.Context(), "select count(*) from ollama_api_keys where api_key like 'fake-key-%'").Scan(&plain); err != nil {
		t.Fatal(err)
	}
	if s.Encrypted() && plain > 0 {
		t.Errorf("%d keys are left plain in an encrypted store", plain)
	}
	if s.Encrypted() {
		exec("insert into ollama_api_keys (api_key, username) values (?, 'again')", secretOf(0).Reveal())
		if again := all(t, s, gateway.Ollama); len(again) != 6 || again[secretOf(0)].Username == "again" {
			t.Errorf("a key that was there came in twice: %d keys", len(again))
		}
	}
	if deleted, err := s.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{gateway.IDOfKey(secretOf(1))}); err != nil || len(deleted) != 1 {
		t.Errorf("a foreign row cannot be deleted: %v, %v", deleted, err)
	}
}

func conformTokens(t *testing.T, open openStore) {
	s := open(Options{})
	tok := func(secret gateway.Secret, providers ...gateway.ProviderName) gateway.Token {
		return gateway.Token{
			Hash: gateway.HashToken(secret), Preview: gateway.PreviewToken(secret), Name: "name of " + secret.Reveal(),
			Providers: providers, CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
		}
	}
	both := tok("sk-fake-both-0000000000", gateway.Ollama, gateway.OpenRouter)
	one := tok("sk-fake-one-00000000000", gateway.OpenRouter)
	one.CreatedAt, one.ExpiresAt = noon.Add(-time.Hour), time.Time{}
	for _, k := range []gateway.Token{both, one} {
		if err := s.AddToken(t.Context(), k); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, "a token that is there", s.AddToken(t.Context(), both), gateway.KindConflict)
	wantKind(t, "a token without a provider", s.AddToken(t.Context(), tok("sk-fake-none")), gateway.KindInvalid)
	wantKind(t, "a token without a hash", s.AddToken(t.Context(), gateway.Token{Hash: "sk-x", Providers: gateway.Providers()}), gateway.KindInvalid)
	half := tok("sk-fake-half-0000000000", gateway.Ollama, "nowhere")
	wantKind(t, "a token for nowhere", s.AddToken(t.Context(), half), gateway.KindInvalid)

	use := func(p gateway.ProviderName, n int64, at time.Time) gateway.Delta {
		return gateway.Delta{Provider: p, Tokens: []gateway.TokenDelta{
			{Hash: both.Hash, LastUsed: at, Counts: gateway.Counts{Requests: n, Usage: gateway.Usage{Input: 10 * n, Output: n}}},
			{Hash: gateway.HashToken("sk-fake-deleted"), LastUsed: at, Counts: gateway.Counts{Requests: n}},
		}}
	}
	apply(t, s, use(gateway.Ollama, 3, noon.Add(time.Minute)), use(gateway.OpenRouter, 4, noon), use(gateway.Ollama, 1, noon))
	both.RequestCount, both.LastUsed = 8, noon.Add(time.Minute)
	got, err := s.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "tokens", got, []gateway.Token{one, both})
	for _, want := range []bool{true, false} {
		if deleted, err := s.DeleteToken(t.Context(), both.Hash); deleted != want || err != nil {
			t.Errorf("DeleteToken = %v, %v; want %v", deleted, err, want)
		}
	}
	if got, err = s.Tokens(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("%d tokens left, %v; want 1", len(got), err)
	}
}

func conformPlainTokens(t *testing.T, open openStore) {
	s := open(Options{})
	const plain = gateway.Secret("sk-fakefakefakefakefakefakefakefakefakefakefakefake")
	hash := gateway.HashToken(plain)
	insert := func(table, token string, n int) {
		t.Helper()
		if _, err := s.writer.ExecContext(t.Context(), "insert into "+table+" (token, name, created_at, request_count) values (?, 'old', ?, ?)", token, at(noon), n); err != nil {
			t.Fatal(err)
		}
	}
	insert("ollama_api_client_tokens", plain.Reveal(), 5)
	insert("openrouter_api_client_tokens", plain.Reveal(), 7)
	insert("openrouter_api_client_tokens", hash, 100)
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, Tokens: []gateway.TokenDelta{{Hash: hash, LastUsed: noon, Counts: gateway.Counts{Requests: 1}}}})
	want := gateway.Token{
		Hash: hash, Preview: "sk-fak…fake", Name: "old", Providers: gateway.Providers(),
		CreatedAt: noon, LastUsed: noon, RequestCount: 113, Plain: plain,
	}
	check := func(what string) {
		t.Helper()
		got, err := s.Tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, what, got, []gateway.Token{want})
	}
	check("with plain rows")
	if err := s.HashPlainToken(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	want.Plain = ""
	check("hashed")
	if err := s.HashPlainToken(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	check("hashed again")
	insert("ollama_api_client_tokens", "sk-fake-another", 1)
	if deleted, err := s.DeleteToken(t.Context(), gateway.HashToken("sk-fake-another")); !deleted || err != nil {
		t.Errorf("a plain row is not deleted by its hash: %v, %v", deleted, err)
	}
	check("after deleting another")
}

func conformRequests(t *testing.T, open openStore) {
	s := open(Options{})
	empty, err := s.Totals(t.Context(), gateway.Ollama)
	if err != nil || empty != (gateway.Counts{}) {
		t.Errorf("totals of an empty store: %+v, %v", empty, err)
	}
	counts := func(n int64) gateway.Counts {
		return gateway.Counts{Requests: 10 * n, Success: 8 * n, Failure: n, Usage: gateway.Usage{Input: 1000 * n, Output: 100 * n}}
	}
	model := func(name string, hour int, n int64) gateway.ModelDelta {
		begin := noon.Add(time.Duration(hour) * time.Hour)
		return gateway.ModelDelta{Model: name, Hour: begin, LastUsed: begin.Add(time.Minute), Counts: counts(n)}
	}
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, Global: counts(5), Models: []gateway.ModelDelta{model("kimi", 0, 1), model("llama", 0, 4)}})
	apply(t, s)
	apply(t, s,
		gateway.Delta{Provider: gateway.Ollama, Global: counts(3), Models: []gateway.ModelDelta{model("kimi", 0, 1), model("kimi", -1, 2)}},
		gateway.Delta{Provider: gateway.OpenRouter, Global: counts(1), Models: []gateway.ModelDelta{model("kimi", 0, 1)}})

	total, err := s.Totals(t.Context(), gateway.Ollama)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "totals", total, counts(8))
	models, err := s.ModelTotals(t.Context(), gateway.Ollama)
	if err != nil {
		t.Fatal(err)
	}
	used := noon.Add(time.Minute)
	wantEqual(t, "models", models, []ModelTotal{{"kimi", counts(4), used}, {"llama", counts(4), used}})
	hours, err := s.ModelHours(t.Context(), gateway.Ollama, noon.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, "hours", hours, []ModelHour{{"kimi", noon.Add(-time.Hour), counts(2)}, {"kimi", noon, counts(2)}, {"llama", noon, counts(4)}})
	if hours, err = s.ModelHours(t.Context(), gateway.Ollama, noon); err != nil || len(hours) != 2 {
		t.Errorf("hours since noon: %d, %v; want 2", len(hours), err)
	}
}

func conformAttempts(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 2)...)
	id := gateway.IDOfKey(secretOf(0))
	attempt := func(total, success, failure int64, used time.Time) gateway.Delta {
		return gateway.Delta{Provider: gateway.Ollama, Keys: []gateway.KeyDelta{
			{Key: "gone0123456789ab", Counts: gateway.KeyCounts{Total: 1}},
			{Key: id, Counts: gateway.KeyCounts{Total: total, Success: success, Failure: failure, LastUsed: used, LastSuccess: used}},
		}}
	}
	rate := func() (rate float64) {
		t.Helper()
		if err := s.reader.QueryRowContext(t.Context(), "select success_rate from ollama_api_key_stats").Scan(&rate); err != nil {
			t.Fatal(err)
		}
		return rate
	}
	apply(t, s, attempt(1, 0, 0, noon.Add(time.Minute)))
	if r := rate(); r != 0 {
		t.Errorf("rate %v before anything was judged, want 0", r)
	}
	apply(t, s, attempt(4, 1, 2, noon))
	if r := rate(); r != 33.33 {
		t.Errorf("rate %v, want 33.33", r)
	}
	last := attempt(1, 1, 0, time.Time{})
	last.Keys[1].Counts.LastFailure = noon.Add(time.Hour)
	apply(t, s, last)
	if r := rate(); r != 50 {
		t.Errorf("rate %v, want 50", r)
	}
	want := gateway.KeyCounts{Total: 6, Success: 2, Failure: 2, LastUsed: noon.Add(time.Minute), LastSuccess: noon.Add(time.Minute), LastFailure: noon.Add(time.Hour)}
	keys := all(t, s, gateway.Ollama)
	wantEqual(t, "counts", keys[secretOf(0)].Counts, want)
	wantEqual(t, "counts of a key that was not used", keys[secretOf(1)].Counts, gateway.KeyCounts{})
	page, _, err := s.Keys(t.Context(), gateway.Ollama, KeyQuery{Sort: "-last_used", Limit: 1})
	if err != nil || len(page) != 1 {
		t.Fatal(err)
	}
	wantEqual(t, "counts in a list", page[0].Counts, want)
}

func conformStates(t *testing.T, open openStore) {
	s := open(Options{})
	k := gateway.Key{Secret: secretOf(0), CreatedAt: noon, ExpiresAt: noon.Add(time.Hour)}
	add(t, s, gateway.Ollama, k)
	id := gateway.IDOfKey(k.Secret)
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, Keys: []gateway.KeyDelta{{Key: id, Counts: gateway.KeyCounts{Total: 1}}}})
	for _, state := range []gateway.KeyState{
		{FailedUntil: noon.Add(time.Minute), ConsecutiveFailures: 1, LastError: "401"},
		{RestsUntil: noon.Add(time.Minute), RestStep: 3},
		{Disabled: gateway.DisabledManual},
		{},
	} {
		apply(t, s, gateway.Delta{Provider: gateway.Ollama, States: []gateway.StateChange{{Key: id, State: state}, {Key: "gone", State: state}}})
		got := all(t, s, gateway.Ollama)[k.Secret]
		wantEqual(t, "state", got.State, state)
		var status string
		var failures int
		row := s.reader.QueryRowContext(t.Context(), `select k.status, s.consecutive_failures
			from ollama_api_keys k join ollama_api_key_stats s on s.api_key = k.api_key`)
		if err := row.Scan(&status, &failures); err != nil {
			t.Fatal(err)
		}
		if want := state.StatusAt(noon, k.ExpiresAt); status != string(want) || failures != state.ConsecutiveFailures {
			t.Errorf("%+v: columns say %s, %d failures; want %s", state, status, failures, want)
		}
	}
}

func conformRefusals(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 2)...)
	id := gateway.IDOfKey(secretOf(0))
	day := noon.Add(24 * time.Hour)
	write := func(refusals ...gateway.Refusal) {
		apply(t, s, gateway.Delta{Provider: gateway.Ollama, Refusals: refusals})
	}
	check := func(s *Store, want ...gateway.Refusal) {
		t.Helper()
		var got []gateway.Refusal
		if err := s.EachRefusal(t.Context(), gateway.Ollama, func(r gateway.Refusal) error { got = append(got, r); return nil }); err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(got, func(a, b gateway.Refusal) int { return strings.Compare(a.Model, b.Model) })
		wantEqual(t, "refusals", got, want)
	}
	write(gateway.Refusal{Key: id, Model: "a", Until: noon.Add(time.Hour)}, gateway.Refusal{Key: id, Model: "b", Until: day}, gateway.Refusal{Key: "gone", Model: "a", Until: day})
	check(s, gateway.Refusal{Key: id, Model: "a", Until: noon.Add(time.Hour)}, gateway.Refusal{Key: id, Model: "b", Until: day})
	write(gateway.Refusal{Key: id, Model: "a", Until: day}, gateway.Refusal{Key: id, Model: "b"}, gateway.Refusal{Key: id, Model: "c", Until: noon.Add(-time.Hour)})
	check(s, gateway.Refusal{Key: id, Model: "a", Until: day})
	later := open(Options{Now: func() time.Time { return day }})
	check(later)
	apply(t, later, gateway.Delta{Provider: gateway.Ollama, Refusals: []gateway.Refusal{{Key: gateway.IDOfKey(secretOf(1)), Model: "d", Until: day.Add(time.Hour)}}})
	var rows int
	if err := later.reader.QueryRowContext(t.Context(), "select count(*) from ollama_api_key_refusals").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows are left, %v; want only the one whose time is not over", rows, err)
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
		"Keys":        func() error { _, _, err := s.Keys(ctx, p, KeyQuery{}); return err },
		"CountKeys":   func() error { _, err := s.CountKeys(ctx, p); return err },
		"EachRefusal": func() error { return s.EachRefusal(ctx, p, nil) },
		"SetCategory": func() error { return s.SetCategory(ctx, p, "x", "y") },
		"Apply": func() error {
			return s.Apply(ctx, []gateway.Delta{{Provider: p, Global: gateway.Counts{Requests: 1}}})
		},
		"Totals":      func() error { _, err := s.Totals(ctx, p); return err },
		"ModelTotals": func() error { _, err := s.ModelTotals(ctx, p); return err },
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
					_, _, err := s.Keys(t.Context(), gateway.Ollama, KeyQuery{Limit: 5, Search: "user"})
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
