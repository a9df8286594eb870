package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// tallyOf makes a tally of n requests in which every number is another one.
func tallyOf(n int64) (t gateway.Tally) {
	for i, part := range tallyParts(&t, false) {
		*part = n * int64(i+1)
	}
	return t
}

// counted is a tally without its histograms.
func counted(t gateway.Tally) gateway.Tally {
	t.Duration, t.FirstByte = gateway.Histogram{}, gateway.Histogram{}
	return t
}

func tallied(of gateway.Subject, name string, minute time.Time, n int64) gateway.TallyDelta {
	return gateway.TallyDelta{Of: of, Name: name, Minute: minute, Tally: tallyOf(n)}
}

func named(name string, last time.Time, n int64) gateway.NamedTally {
	return gateway.NamedTally{Name: name, LastUsed: last, Tally: tallyOf(n)}
}

func point(name string, at time.Time, n int64) gateway.TallyPoint {
	return gateway.TallyPoint{Name: name, At: at, Tally: tallyOf(n)}
}

func wantTallies(t *testing.T, s *Store, what string, q gateway.TallyQuery, want ...gateway.NamedTally) {
	t.Helper()
	got, err := s.Tallies(t.Context(), gateway.Ollama, q)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	wantEqual(t, what, got, want)
}

func wantSeries(t *testing.T, s *Store, what string, q gateway.TallyQuery, want ...gateway.TallyPoint) {
	t.Helper()
	got, err := s.TallySeries(t.Context(), gateway.Ollama, q)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	wantEqual(t, what, got, want)
}

// tallyDays applies requests of one evening, of the minute before midnight and
// of the one after it, some of them in several deltas for one row.
func tallyDays(t *testing.T, s *Store) (evening, last, next time.Time) {
	t.Helper()
	next = time.Date(2030, time.June, 1, 0, 0, 0, 0, time.UTC)
	evening, last = next.Add(-5*time.Hour), next.Add(-time.Minute)
	apply(t, s,
		gateway.Delta{Provider: gateway.Ollama, Tallies: []gateway.TallyDelta{
			tallied(gateway.OfProvider, "", evening, 1),
			tallied(gateway.OfModel, "kimi", evening, 1),
			tallied(gateway.OfModel, "kimi", last, 2),
			tallied(gateway.OfModel, "kimi", last.Add(-time.Minute), 4),
			tallied(gateway.OfModel, "llama", last.In(time.FixedZone("elsewhere", 7200)), 8),
			tallied(gateway.OfToken, "sha256:ab", last, 16),
			tallied(gateway.OfModel, "kimi", last.Add(30*time.Second), 32),
		}},
		gateway.Delta{Provider: gateway.OpenRouter, Tallies: []gateway.TallyDelta{tallied(gateway.OfModel, "kimi", last, 1000)}},
		gateway.Delta{Provider: gateway.Ollama, Tallies: []gateway.TallyDelta{
			tallied(gateway.OfModel, "kimi", next, 64),
			tallied(gateway.OfProvider, "", next, 128),
			tallied(gateway.OfModel, "timeless", time.Time{}, 256),
		}})
	return evening, last, next
}

func conformTallies(t *testing.T, open openStore) {
	s := open(Options{})
	evening, last, next := tallyDays(t, s)
	hour, day := last.Truncate(time.Hour), evening.Truncate(24*time.Hour)
	models := func(per gateway.Period) gateway.TallyQuery { return gateway.TallyQuery{Of: gateway.OfModel, Per: per} }

	wantTallies(t, s, "models by minute", models(gateway.PerMinute), named("kimi", next, 1+2+4+32+64), named("llama", last, 8))
	wantTallies(t, s, "models by hour", models(gateway.PerHour), named("kimi", next, 1+2+4+32+64), named("llama", hour, 8))
	wantTallies(t, s, "models by day", models(gateway.PerDay), named("kimi", next, 1+2+4+32+64), named("llama", day, 8))
	wantTallies(t, s, "models ever", models(gateway.Ever),
		named("timeless", time.Time{}, 256), named("kimi", next, 1+2+4+32+64), named("llama", last, 8))
	wantSeries(t, s, "minutes", models(gateway.PerMinute), point("kimi", evening, 1),
		point("kimi", last.Add(-time.Minute), 4), point("kimi", last, 2+32), point("llama", last, 8), point("kimi", next, 64))
	wantSeries(t, s, "hours", models(gateway.PerHour),
		point("kimi", evening, 1), point("kimi", hour, 2+4+32), point("llama", hour, 8), point("kimi", next, 64))
	wantSeries(t, s, "days", models(gateway.PerDay), point("kimi", day, 1+2+4+32), point("llama", day, 8), point("kimi", next, 64))
	wantSeries(t, s, "ever", models(gateway.Ever), point("kimi", time.Time{}, 1+2+4+32+64), point("llama", time.Time{}, 8), point("timeless", time.Time{}, 256))

	provider := gateway.TallyQuery{Of: gateway.OfProvider, Per: gateway.PerHour}
	wantTallies(t, s, "the provider", provider, named("", next, 129))
	wantSeries(t, s, "the provider's hours", provider, point("", evening, 1), point("", next, 128))
	token := gateway.TallyQuery{Of: gateway.OfToken, Per: gateway.PerMinute}
	wantTallies(t, s, "tokens by minute", token)
	for _, token.Per = range []gateway.Period{gateway.PerHour, gateway.PerDay, gateway.Ever} {
		at := []time.Time{gateway.PerHour: hour, gateway.PerDay: day, gateway.Ever: last}[token.Per]
		wantTallies(t, s, fmt.Sprint("tokens, period ", token.Per), token, named("sha256:ab", at, 16))
	}
}

func conformTallyQueries(t *testing.T, open openStore) {
	s := open(Options{})
	evening, last, next := tallyDays(t, s)
	hour := last.Truncate(time.Hour)
	q := gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.PerHour, Since: hour, Until: next}
	wantTallies(t, s, "the hour before midnight", q, named("kimi", hour, 2+4+32), named("llama", hour, 8))
	q.Names = []string{"llama", "nothing", "llama"}
	wantTallies(t, s, "one name", q, named("llama", hour, 8))
	wantSeries(t, s, "one name's hours", q, point("llama", hour, 8))
	q.Names, q.Counted = []string{"kimi"}, true
	wantTallies(t, s, "counted", q, gateway.NamedTally{Name: "kimi", LastUsed: hour, Tally: counted(tallyOf(38))})
	wantSeries(t, s, "counted hours", q, gateway.TallyPoint{Name: "kimi", At: hour, Tally: counted(tallyOf(38))})
	q.Counted = false
	q.Since, q.Until = hour.Add(time.Nanosecond*1000), next.Add(time.Microsecond)
	wantSeries(t, s, "since a moment later", q, point("kimi", next, 64))
	q.Until = evening.Add(-time.Hour)
	wantSeries(t, s, "until before since", q)
	q.Names, q.Per, q.Since = nil, gateway.Ever, next.Add(time.Hour)
	wantTallies(t, s, "ever knows no times", q,
		named("timeless", time.Time{}, 256), named("kimi", next, 103), named("llama", last, 8))

	early := open(Options{Now: func() time.Time { return next }})
	wantSeries(t, early, "until now", gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.PerHour, Since: hour}, point("kimi", hour, 38), point("llama", hour, 8))
	wantTallies(t, s, "of nobody", gateway.TallyQuery{Of: "nobody", Per: gateway.PerHour})

	_, err := s.Tallies(t.Context(), "nowhere", q)
	wantKind(t, "tallies of an unknown provider", err, gateway.KindInvalid)
	_, err = s.TallySeries(t.Context(), "nowhere", q)
	wantKind(t, "a series of an unknown provider", err, gateway.KindInvalid)
	_, err = s.CountTallies(t.Context(), "nowhere", q)
	wantKind(t, "names of an unknown provider", err, gateway.KindInvalid)
	_, err = s.KeyHours(t.Context(), "nowhere", "x", next)
	wantKind(t, "hours of an unknown provider", err, gateway.KindInvalid)
	_, err = s.Tallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.Ever + 1})
	wantKind(t, "an unknown period", err, gateway.KindInvalid)
	err = s.Apply(t.Context(), []gateway.Delta{{Provider: gateway.Ollama, Tallies: []gateway.TallyDelta{tallied("nobody", "", next, 1)}}})
	wantKind(t, "a tally of an unknown subject", err, gateway.KindInvalid)
}

func conformTallyNames(t *testing.T, open openStore) {
	s := open(Options{})
	hour := noon.Truncate(time.Hour).Add(-time.Hour)
	d := gateway.Delta{Provider: gateway.Ollama}
	strange := []string{"", " ", "a'b", `a"b`, "a%b", "a_b", "A_B", "?", "$1", ";--", "模型", "x" + strings.Repeat("y", 500), "a\nb"}
	for i, name := range strange {
		d.Tallies = append(d.Tallies, tallied(gateway.OfModel, name, hour, int64(i+1)))
	}
	// Two that are one to the engine: a part that it cannot store is left out.
	d.Tallies = append(d.Tallies, tallied(gateway.OfModel, "m\x00n", hour, 100), tallied(gateway.OfModel, "mn", hour, 200), tallied(gateway.OfModel, "\xff", hour, 400))
	const many = namesAtOnce + 7
	var names []string
	for i := range many {
		names = append(names, fmt.Sprintf("many-%04d", i))
		d.Tallies = append(d.Tallies, tallied(gateway.OfModel, names[i], hour, 1))
	}
	apply(t, s, d)
	for i, name := range strange {
		q := gateway.TallyQuery{Of: gateway.OfModel, Names: []string{name}, Per: gateway.PerHour}
		wantTallies(t, s, fmt.Sprintf("%q", name), q, named(name, hour, int64(i+1)))
	}
	wantTallies(t, s, "names with what is left out", gateway.TallyQuery{Of: gateway.OfModel, Names: []string{"m\x00n", "\xff", "mn"}, Per: gateway.Ever},
		named("\uFFFD", hour, 400), named("mn", hour, 300))
	for _, per := range []gateway.Period{gateway.PerDay, gateway.Ever} {
		q := gateway.TallyQuery{Of: gateway.OfModel, Names: names, Per: per, Counted: true}
		found, err := s.Tallies(t.Context(), gateway.Ollama, q)
		if err != nil || len(found) != many || found[many-1].Name != names[many-1] {
			t.Errorf("%d of %d names, %v", len(found), many, err)
		}
		q.Names = nil
		if found, err = s.Tallies(t.Context(), gateway.Ollama, q); err != nil || len(found) != many+len(strange)+2 {
			t.Errorf("%d names, %v", len(found), err)
		}
		points, err := s.TallySeries(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfModel, Names: names, Per: per})
		if err != nil || len(points) != many {
			t.Errorf("%d of %d points, %v", len(points), many, err)
		}
	}
}

func conformTallyPages(t *testing.T, open openStore) {
	s := open(Options{})
	evening, last, _ := tallyDays(t, s)
	add(t, s, gateway.Ollama, someKeys(0, journalFrom)...)
	d := gateway.Delta{Provider: gateway.Ollama}
	var ids []string
	for i := range journalFrom {
		ids = append(ids, string(gateway.IDOfKey(secretOf(i))))
		d.Tallies = append(d.Tallies, tallied(gateway.OfKey, ids[i], time.Time{}, int64(i/2+1)))
	}
	apply(t, s, d)
	names := func(q gateway.TallyQuery) (names []string) {
		t.Helper()
		found, err := s.Tallies(t.Context(), gateway.Ollama, q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		total, err := s.CountTallies(t.Context(), gateway.Ollama, q)
		if q.Offset, q.Limit = 0, 0; err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		whole, err := s.Tallies(t.Context(), gateway.Ollama, q)
		if err != nil || total != len(whole) {
			t.Errorf("%+v: %d, counted %d, %v", q, len(whole), total, err)
		}
		for _, n := range found {
			names = append(names, n.Name)
			if !slices.Contains(whole, n) {
				t.Errorf("%+v: %+v is not in the whole list", q, n)
			}
		}
		return names
	}
	f := func(q gateway.TallyQuery, want ...string) {
		t.Helper()
		wantEqual(t, fmt.Sprintf("page %+v", q), names(q), want)
	}
	model, key := gateway.OfModel, gateway.OfKey
	f(gateway.TallyQuery{Of: model, Per: gateway.Ever, Limit: 2}, "timeless", "kimi")
	f(gateway.TallyQuery{Of: model, Per: gateway.Ever, Limit: 2, Offset: 1}, "kimi", "llama")
	f(gateway.TallyQuery{Of: model, Per: gateway.Ever, Limit: 2, Offset: 3})
	f(gateway.TallyQuery{Of: model, Per: gateway.Ever, Offset: 2}, "llama")
	f(gateway.TallyQuery{Of: model, Per: gateway.Ever, Offset: -1, Limit: 1}, "timeless")
	f(gateway.TallyQuery{Of: model, Per: gateway.Ever, Offset: 4, Limit: -1})
	f(gateway.TallyQuery{Of: model, Per: gateway.Ever, Sort: "name"}, "kimi", "llama", "timeless")
	f(gateway.TallyQuery{Of: model, Per: gateway.PerHour, Sort: "-name", Limit: 1}, "llama")
	f(gateway.TallyQuery{Of: model, Per: gateway.PerHour, Limit: 1, Offset: 1}, "llama")
	f(gateway.TallyQuery{Of: model, Per: gateway.PerHour, Sort: "cost", Limit: 1}, "llama")
	f(gateway.TallyQuery{Of: model, Per: gateway.PerMinute, Until: last, Sort: "name", Limit: 5}, "kimi")
	f(gateway.TallyQuery{Of: model, Per: gateway.PerDay, Since: evening, Limit: 5}, "kimi") // the evening's day began before
	f(gateway.TallyQuery{Of: model, Per: gateway.Ever, Names: []string{"llama", "kimi"}, Limit: 1}, "kimi")
	f(gateway.TallyQuery{Of: gateway.OfProvider, Per: gateway.PerDay, Limit: 1}, "")
	f(gateway.TallyQuery{Of: gateway.OfToken, Per: gateway.PerMinute, Limit: 1})

	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(a, b) })
	f(gateway.TallyQuery{Of: key, Per: gateway.Ever, Sort: "name", Offset: 5, Limit: 3}, ids[5:8]...)
	f(gateway.TallyQuery{Of: key, Per: gateway.Ever, Sort: "-name", Limit: 1, Counted: true}, ids[len(ids)-1])
	for _, sort := range []string{"requests", "-success", "failure", "attempts", "-input_tokens", "output_tokens", "-cost"} {
		q := gateway.TallyQuery{Of: key, Per: gateway.Ever, Sort: sort}
		whole := names(q)
		q.Offset, q.Limit = 11, 4 // begins between two that are equal
		f(q, whole[11:15]...)
	}
	for _, sort := range []string{"d00", "-", "requests desc", "--requests", "1; drop table x"} {
		_, err := s.Tallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: model, Per: gateway.Ever, Sort: sort, Limit: 1})
		wantKind(t, "order by "+sort, err, gateway.KindInvalid)
	}
}

func conformTallyNumbers(t *testing.T, open openStore) {
	s := open(Options{})
	hour := noon.Add(-time.Hour)
	var huge, sum gateway.Tally
	for i, n := range tallyParts(&huge, false) {
		*n = math.MaxInt64/2 - int64(i)
	}
	sum.Add(&huge)
	sum.Add(&huge)
	for range 2 {
		apply(t, s, gateway.Delta{Provider: gateway.Ollama, Tallies: []gateway.TallyDelta{
			{Of: gateway.OfModel, Name: "huge", Minute: hour, Tally: huge},
			{Of: gateway.OfModel, Name: "split", Minute: hour, Tally: huge},
			{Of: gateway.OfModel, Name: "zero", Minute: hour},
		}})
		hour = hour.Add(-24 * time.Hour)
	}
	last := noon.Add(-time.Hour)
	for _, per := range []gateway.Period{gateway.PerMinute, gateway.PerHour, gateway.PerDay, gateway.Ever} {
		at := last
		if per != gateway.Ever {
			at = last.Truncate(per.Length())
		}
		wantTallies(t, s, fmt.Sprint("numbers, period ", per), gateway.TallyQuery{Of: gateway.OfModel, Per: per},
			gateway.NamedTally{Name: "huge", LastUsed: at, Tally: sum},
			gateway.NamedTally{Name: "split", LastUsed: at, Tally: sum},
			gateway.NamedTally{Name: "zero", LastUsed: at})
	}
}

func conformTallyConcurrency(t *testing.T, open openStore) {
	stores := []*Store{open(Options{}), open(Options{})}
	add(t, stores[0], gateway.Ollama, someKeys(0, journalFrom)...)
	hour := noon.Add(-time.Hour)
	const rounds = 3
	var wg sync.WaitGroup
	for i, s := range stores {
		for range 2 {
			wg.Go(func() {
				for n := range rounds {
					d := gateway.Delta{Provider: gateway.Ollama, Tallies: []gateway.TallyDelta{
						tallied(gateway.OfModel, "b", hour, 1), tallied(gateway.OfModel, "a", hour.Add(time.Duration(n)*time.Hour), 1),
						tallied(gateway.OfProvider, "", hour, 1),
					}}
					for k := range journalFrom { // by way of the journal, or of two keys only
						if i == 0 || k < 2 {
							d.Tallies = append(d.Tallies, tallied(gateway.OfKey, string(gateway.IDOfKey(secretOf(k))), time.Time{}, 1))
						}
					}
					err := s.Apply(t.Context(), []gateway.Delta{d})
					if err := errors.Join(err, s.Fold(t.Context())); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	const writers = 4
	s := stores[1]
	wantTallies(t, s, "the provider", gateway.TallyQuery{Of: gateway.OfProvider, Per: gateway.PerMinute}, named("", hour, writers*rounds))
	// The first hours of a are over, the last ones are yet to come.
	wantTallies(t, s, "models", gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.PerHour, Until: noon.Add(rounds * time.Hour)},
		named("a", hour.Add((rounds-1)*time.Hour), writers*rounds), named("b", hour, writers*rounds))
	found, err := stores[0].Tallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever})
	if err != nil || len(found) != journalFrom {
		t.Fatalf("%d keys, %v; want %d", len(found), err, journalFrom)
	}
	for i, k := range found {
		want := int64(2 * rounds)
		if i < 2 {
			want = writers * rounds
		}
		if k.Tally != tallyOf(want) {
			t.Errorf("key %d: %+v, want %d times one", i, k.Tally, want)
		}
	}
}

func conformKeyTallies(t *testing.T, open openStore) {
	for _, n := range []int{3, journalFrom} { // at once and by way of the journal
		s := open(Options{})
		keys := someKeys(1000*n, 1000*n+n)
		add(t, s, gateway.Ollama, keys...)
		id := func(i int) gateway.KeyID { return gateway.IDOfKey(keys[i].Secret) }
		hour := noon.Truncate(time.Hour)
		use := func(last time.Time) gateway.Delta {
			d := gateway.Delta{Provider: gateway.Ollama}
			for i := range keys {
				d.Tallies = append(d.Tallies, tallied(gateway.OfKey, string(id(i)), time.Time{}, int64(i+1)))
				d.Keys = append(d.Keys, gateway.KeyDelta{Key: id(i), Counts: gateway.KeyCounts{Total: 3, Success: 1, Failure: 1, LastUsed: last}})
			}
			for _, gone := range []string{"0123456789abcdef", "no id", ""} {
				d.Tallies = append(d.Tallies, tallied(gateway.OfKey, gone, time.Time{}, 1))
				d.Keys = append(d.Keys, gateway.KeyDelta{Key: gateway.KeyID(gone), Counts: gateway.KeyCounts{Total: 1, LastUsed: last}})
			}
			return d
		}
		apply(t, s, use(hour.Add(-time.Second)), use(hour), use(hour.Add(59*time.Minute)), use(time.Time{}))
		query := gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever, Names: []string{string(id(0)), string(id(1)), "0123456789abcdef", "no id", ""}}
		wantTallies(t, s, "keys", query, named(string(id(1)), time.Time{}, 8), named(string(id(0)), time.Time{}, 4))
		query.Per = gateway.PerHour
		wantTallies(t, s, "keys by hour", query)

		hours := func(since time.Time, want ...gateway.KeyHour) {
			t.Helper()
			got, err := s.KeyHours(t.Context(), gateway.Ollama, id(1), since)
			if err != nil {
				t.Fatal(err)
			}
			wantEqual(t, "hours since "+since.String(), got, want)
		}
		before := gateway.KeyHour{Hour: hour.Add(-time.Hour), Total: 3, Success: 1, Failure: 1}
		after := gateway.KeyHour{Hour: hour, Total: 6, Success: 2, Failure: 2}
		hours(hour.Add(-time.Hour), before, after)
		hours(hour.Add(-time.Hour+time.Nanosecond), after)
		hours(time.Time{}, before, after)
		hours(hour.Add(time.Nanosecond))

		apply(t, s, use(hour)) // yet to be folded, where there are many
		if _, err := s.DeleteKeys(t.Context(), gateway.Ollama, []gateway.KeyID{id(1)}); err != nil {
			t.Fatal(err)
		}
		hours(time.Time{})
		query.Per = gateway.Ever
		wantTallies(t, s, "after a key was deleted", query, named(string(id(0)), time.Time{}, 5))
	}
}

func conformTokenTallies(t *testing.T, open openStore) {
	s := open(Options{})
	const plain = gateway.Secret("sk-fakefakefakefakefakefakefakefakefakefakefakefake")
	hash := gateway.HashToken(plain)
	if _, err := s.writer.ExecContext(t.Context(), "insert into ollama_api_client_tokens (token, created_at, request_count) values (?, ?, 10)", plain.Reveal(), at(noon)); err != nil {
		t.Fatal(err)
	}
	one := gateway.Tally{Counts: gateway.Counts{Requests: 1, Success: 1, Usage: gateway.Usage{Input: 5, Output: 7}}, Attempts: 2}
	apply(t, s, gateway.Delta{
		Provider: gateway.Ollama,
		Tokens:   []gateway.TokenDelta{{Hash: hash, LastUsed: noon, Counts: one.Counts}},
		Tallies:  []gateway.TallyDelta{{Of: gateway.OfToken, Name: hash, Minute: noon.Add(-time.Minute), Tally: one}},
	})
	// What the token did before there were tallies comes when it is hashed, once.
	tok := gateway.Token{Hash: hash, Plain: plain}
	for range 2 {
		if err := s.HashPlainToken(t.Context(), tok); err != nil {
			t.Fatal(err)
		}
	}
	all := one
	all.Requests = 11
	ever := gateway.TallyQuery{Of: gateway.OfToken, Per: gateway.Ever}
	wantTallies(t, s, "a token that was plain", ever, gateway.NamedTally{Name: hash, LastUsed: noon.Add(-time.Minute), Tally: all})
	if _, err := s.DeleteToken(t.Context(), hash); err != nil {
		t.Fatal(err)
	}
	wantTallies(t, s, "a deleted token", ever)
	ever.Per = gateway.PerDay
	wantTallies(t, s, "the day of a deleted token", ever, gateway.NamedTally{Name: hash, LastUsed: noon.Truncate(24 * time.Hour), Tally: one})
}

func conformPruneStats(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, 1)...)
	id := gateway.IDOfKey(secretOf(0))
	day := noon.Truncate(24 * time.Hour)
	d := gateway.Delta{Provider: gateway.Ollama}
	for _, at := range []time.Time{day.Add(-25 * time.Hour), day.Add(-time.Minute), day, day.Add(time.Hour)} {
		for _, of := range []gateway.Subject{gateway.OfProvider, gateway.OfModel, gateway.OfToken} {
			d.Tallies = append(d.Tallies, tallied(of, "", at, 1))
		}
		d.Models = append(d.Models, gateway.ModelDelta{Model: "m", Hour: at.Truncate(time.Hour), LastUsed: at, Counts: gateway.Counts{Requests: 1}})
		d.Keys = append(d.Keys, gateway.KeyDelta{Key: id, Counts: gateway.KeyCounts{Total: 1, LastUsed: at}})
	}
	apply(t, s, d)
	const old = 2*pruneRows + 1 // minutes that take several transactions
	if _, err := s.writer.ExecContext(t.Context(), `insert into ollama_api_tally_minute (subject, name, period)
		with recursive n (i) as (select 1 union all select i + 1 from n where i < ?) select 'model', 'old ' || i, ? from n`, old, at(day.AddDate(0, -3, 0))); err != nil {
		t.Fatal(err)
	}
	count := func() (n [4]int, hours int) {
		t.Helper()
		for per := gateway.PerMinute; per < gateway.Ever; per++ {
			for _, of := range []gateway.Subject{gateway.OfProvider, gateway.OfModel, gateway.OfToken} {
				points, err := s.TallySeries(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: of, Per: per, Counted: true})
				if err != nil {
					t.Fatal(err)
				}
				n[per] += len(points)
			}
		}
		keys, err := s.KeyHours(t.Context(), gateway.Ollama, id, time.Time{})
		legacy, err2 := s.ModelHours(t.Context(), gateway.Ollama, day.AddDate(-1, 0, 0))
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		n[3] = len(keys)
		return n, len(legacy)
	}
	want := func(what string, minutes, hours, days, keyHours, legacy int) {
		t.Helper()
		n, l := count()
		if n != [4]int{minutes, hours, days, keyHours} || l != legacy {
			t.Errorf("%s: %v and %d, want %v and %d", what, n, l, [4]int{minutes, hours, days, keyHours}, legacy)
		}
	}
	prune := func(keep StatsKeep) {
		t.Helper()
		if err := s.PruneStats(t.Context(), keep); err != nil {
			t.Fatal(err)
		}
	}
	want("before", 8+old, 12, 9, 4, 4)
	prune(StatsKeep{})
	want("nothing to prune", 8+old, 12, 9, 4, 4)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PruneStats(ended, StatsKeep{Days: day}); !errors.Is(err, context.Canceled) {
		t.Errorf("pruning after the context's end: %v", err)
	}
	prune(StatsKeep{Minutes: day})
	want("minutes", 4, 12, 9, 4, 4)
	prune(StatsKeep{Hours: day.Add(time.Microsecond)})
	want("hours", 4, 3, 9, 4, 1)
	prune(StatsKeep{Days: day, KeyHours: day})
	want("days and hours of keys", 4, 3, 3, 2, 1)
	prune(StatsKeep{KeyHours: day.Add(time.Nanosecond)})
	want("hours of keys that begin later", 4, 3, 3, 1, 1)
	ever, err := s.Tallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.Ever, Names: []string{""}})
	if err != nil || len(ever) != 1 || ever[0].Tally != tallyOf(4) {
		t.Errorf("ever: %+v, %v", ever, err)
	}
}

func conformStatsEnd(t *testing.T, open openStore) {
	s := open(Options{})
	add(t, s, gateway.Ollama, someKeys(0, journalFrom)...)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	d := gateway.Delta{Provider: gateway.Ollama, Tallies: []gateway.TallyDelta{tallied(gateway.OfModel, "m", noon.Add(-time.Hour), 1)}}
	for i := range journalFrom {
		d.Tallies = append(d.Tallies, tallied(gateway.OfKey, string(gateway.IDOfKey(secretOf(i))), time.Time{}, 1))
	}
	apply(t, s, d)
	q := gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.PerHour}
	ofKeys := gateway.TallyQuery{Of: gateway.OfKey, Per: gateway.Ever}
	for name, call := range map[string]func() error{
		"Apply":        func() error { return s.Apply(ended, []gateway.Delta{d}) },
		"Tallies":      func() error { _, err := s.Tallies(ended, gateway.Ollama, q); return err },
		"TallySeries":  func() error { _, err := s.TallySeries(ended, gateway.Ollama, q); return err },
		"CountTallies": func() error { _, err := s.CountTallies(ended, gateway.Ollama, q); return err },
		"of keys":      func() error { _, err := s.Tallies(ended, gateway.Ollama, ofKeys); return err },
		"KeyHours":     func() error { _, err := s.KeyHours(ended, gateway.Ollama, "x", noon); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s after the context's end: %v", name, err)
		}
	}
	wantTallies(t, s, "nothing was lost or counted twice", q, named("m", noon.Add(-time.Hour), 1))
	found, err := s.Tallies(t.Context(), gateway.Ollama, ofKeys)
	if err != nil || len(found) != journalFrom || slices.ContainsFunc(found, func(k gateway.NamedTally) bool { return k.Tally != tallyOf(1) }) {
		t.Errorf("%d keys, %v", len(found), err)
	}
}
