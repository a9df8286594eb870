package sqlstore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

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
	page, _, err := s.Keys(t.Context(), gateway.Ollama, gateway.KeyQuery{Sort: "-last_used", Limit: 1})
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
	for version, state := range []gateway.KeyState{
		{FailedUntil: noon.Add(time.Minute), ConsecutiveFailures: 1, LastError: "401"},
		{RestsUntil: noon.Add(time.Minute), RestStep: 3},
		{Disabled: gateway.DisabledManual},
		{},
	} {
		apply(t, s, gateway.Delta{Provider: gateway.Ollama, States: []gateway.StateChange{{Key: id, State: state, Version: int64(version)}, {Key: "gone", State: state}}})
		got := all(t, s, gateway.Ollama)[k.Secret]
		wantEqual(t, "state", got.State, state)
		wantEqual(t, "version", got.Version, int64(version)+1)
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
	// Attempts that ran at the same time tell the same twice, in any order.
	half := noon.Add(30 * time.Minute)
	write(gateway.Refusal{Key: id, Model: "a", Until: day}, gateway.Refusal{Key: id, Model: "a", Until: half}, gateway.Refusal{Key: id, Model: "b", Until: half}, gateway.Refusal{Key: id, Model: "b", Until: day})
	check(s, gateway.Refusal{Key: id, Model: "a", Until: day}, gateway.Refusal{Key: id, Model: "b", Until: day})
	other := gateway.IDOfKey(secretOf(1))
	write(gateway.Refusal{Key: other, Model: "c", Until: day})
	apply(t, s, gateway.Delta{Provider: gateway.Ollama, States: []gateway.StateChange{{Key: id, State: gateway.KeyState{FailedUntil: day, ConsecutiveFailures: 1}}}})
	if err := s.EnableKeys(t.Context(), gateway.Ollama, []gateway.KeyID{id, "gone"}); err != nil {
		t.Fatal(err)
	}
	check(s, gateway.Refusal{Key: other, Model: "c", Until: day})
	wantEqual(t, "state of a key that was enabled", all(t, s, gateway.Ollama)[secretOf(0)].State, gateway.KeyState{})
	later := open(Options{Now: func() time.Time { return day }})
	check(later)
	apply(t, later, gateway.Delta{Provider: gateway.Ollama, Refusals: []gateway.Refusal{{Key: gateway.IDOfKey(secretOf(1)), Model: "d", Until: day.Add(time.Hour)}}})
	var rows int
	if err := later.reader.QueryRowContext(t.Context(), "select count(*) from ollama_api_key_refusals").Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows are left, %v; want only the one whose time is not over", rows, err)
	}
}
