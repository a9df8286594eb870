package usage

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// tried adds an attempt with each of the keys.
func tried(x *gateway.Exchange, keys ...gateway.KeyID) *gateway.Exchange {
	for _, k := range keys {
		x.Record.Attempts = append(x.Record.Attempts, gateway.Attempt{Key: k})
	}
	return x
}

// tallyText writes tallies down, ordered, one in a line.
func tallyText(deltas []gateway.Delta) []string {
	var out []string
	for _, d := range deltas {
		for _, t := range d.Tallies {
			at := "ever"
			if !t.Minute.IsZero() {
				at = t.Minute.Format("15:04:05")
			}
			out = append(out, fmt.Sprintf("%s %s %q %s: %d = %d + %d, %d/%d/%d, %d attempts, %s, %s", d.Provider, t.Of, t.Name, at,
				t.Tally.Requests, t.Tally.Success, t.Tally.Failure, t.Tally.Usage.Input, t.Tally.Usage.Output, t.Tally.Usage.Cost,
				t.Tally.Attempts, buckets(&t.Tally.Duration), buckets(&t.Tally.FirstByte)))
		}
	}
	slices.SortFunc(out, cmp.Compare[string])
	return out
}

// buckets names the buckets in which something is.
func buckets(h *gateway.Histogram) string {
	out := ""
	for i, n := range h {
		if n != 0 {
			out += fmt.Sprintf("[%d]%d", i, n)
		}
	}
	return cmp.Or(out, "none")
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("got  %s", line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("want %s", line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d tallies, want %d", len(got), len(want))
	}
}

func TestTallies(t *testing.T) {
	next := noon.Add(4 * time.Second) // the next minute
	exchanges := []*gateway.Exchange{
		tried(done("a", "t1"), "k1"),
		tried(done("a", "t1"), "k1", "k2"),       // another key served
		tried(done("a", "t2"), "k3", "k2", "k3"), // refused, also again with the same key
		tried(done("b", ""), "k1"),               // the client left
		done("", "t1"),                           // no key at hand
		tried(done("a", "t1"), "k2"),
		tried(done("a", "t1"), "k1"), // not counted
	}
	at := func(i int) *gateway.Record { return &exchanges[i].Record }
	at(2).Status = 503
	at(3).End, at(3).FirstByte = gateway.EndClientClosed, 0
	at(4).Status, at(4).Duration, at(4).Usage = 503, time.Millisecond, gateway.Usage{}
	at(5).StartedAt, at(5).Provider, at(5).Duration = next, gateway.OpenRouter, time.Hour
	at(6).Counted = false

	want := []string{
		`ollama provider "" 12:34:00: 5 = 2 + 2, 40/12/28, 7 attempts, [0]1[12]3, [8]2`,
		`ollama model "a" 12:34:00: 3 = 2 + 1, 30/9/21, 6 attempts, [12]3, [8]2`,
		`ollama model "b" 12:34:00: 1 = 0 + 0, 10/3/7, 1 attempts, none, none`,
		`ollama token "t1" 12:34:00: 3 = 2 + 1, 20/6/14, 3 attempts, [0]1[12]2, [8]2`,
		`ollama token "t2" 12:34:00: 1 = 0 + 1, 10/3/7, 3 attempts, [12]1, none`,
		`ollama key "k1" ever: 2 = 1 + 0, 20/6/14, 3 attempts, [12]1, [8]1`,
		`ollama key "k2" ever: 1 = 1 + 0, 10/3/7, 2 attempts, [12]1, [8]1`,
		`ollama key "k3" ever: 1 = 0 + 1, 10/3/7, 2 attempts, [12]1, none`,
		`openrouter provider "" 12:35:00: 1 = 1 + 0, 10/3/7, 1 attempts, [23]1, [8]1`,
		`openrouter model "a" 12:35:00: 1 = 1 + 0, 10/3/7, 1 attempts, [23]1, [8]1`,
		`openrouter token "t1" 12:35:00: 1 = 1 + 0, 10/3/7, 1 attempts, [23]1, [8]1`,
		`openrouter key "k2" ever: 1 = 1 + 0, 10/3/7, 1 attempts, [23]1, [8]1`,
	}
	l := NewLedger(whole())
	for _, x := range exchanges {
		l.Add(x)
	}
	first := l.Drain()
	same(t, tallyText(first), want)

	// What was taken back comes once more, and nothing twice.
	l.Restore(first)
	same(t, tallyText(l.Drain()), want)
	if again := l.Drain(); len(again) != 0 {
		t.Errorf("a further drain gave %+v", again)
	}
}

// The tallies of any subject add up to what the legacy lists say.
func TestTalliesAndListsAgree(t *testing.T) {
	l := NewLedger(whole())
	for i := range 500 {
		x := tried(done(fmt.Sprint("m", i%7), fmt.Sprint("t", i%5)), gateway.KeyID(fmt.Sprint("k", i%3)))
		x.Record.StartedAt = noon.Add(time.Duration(i) * 20 * time.Second)
		if i%4 == 0 {
			x.Record.Status = 500
		}
		l.Add(x)
	}
	l.Restore(l.Drain())
	for _, d := range l.Drain() {
		sums := map[gateway.Subject]gateway.Counts{}
		models, tokens := map[string]gateway.Counts{}, map[string]gateway.Counts{}
		for _, tally := range d.Tallies {
			c := sums[tally.Of]
			c.Add(tally.Tally.Counts)
			sums[tally.Of] = c
			by := map[gateway.Subject]map[string]gateway.Counts{gateway.OfModel: models, gateway.OfToken: tokens}[tally.Of]
			if by == nil {
				continue
			}
			name := tally.Name
			if tally.Of == gateway.OfModel {
				name += tally.Minute.Truncate(time.Hour).String()
			}
			c = by[name]
			c.Add(tally.Tally.Counts)
			by[name] = c
		}
		for of, sum := range sums {
			if sum != d.Global || sum.Requests != 500 {
				t.Errorf("%s: %+v, want %+v", of, sum, d.Global)
			}
		}
		for _, m := range d.Models {
			if k := m.Model + m.Hour.String(); models[k] != m.Counts || m.LastUsed.Truncate(time.Hour) != m.Hour {
				t.Errorf("%s: %+v, want %+v", k, m, models[k])
			}
			delete(models, m.Model+m.Hour.String())
		}
		for _, token := range d.Tokens {
			if tokens[token.Hash] != token.Counts {
				t.Errorf("%s: %+v, want %+v", token.Hash, token, tokens[token.Hash])
			}
			delete(tokens, token.Hash)
		}
		if len(models)+len(tokens) > 0 {
			t.Errorf("tallies without a list entry: %v, %v", models, tokens)
		}
	}
}

// Without analytics the totals are as exact as ever, by the minute too.
func TestTalliesWithoutAnalytics(t *testing.T) {
	o := whole()
	o.Analytics = false
	l := NewLedger(o)
	l.Add(tried(done("a", "t1"), "k1"))
	same(t, tallyText(l.Drain()), []string{
		`ollama provider "" 12:34:00: 1 = 1 + 0, 10/3/7, 1 attempts, [12]1, [8]1`,
		`ollama token "t1" 12:34:00: 1 = 1 + 0, 10/3/7, 1 attempts, [12]1, [8]1`,
		`ollama key "k1" ever: 1 = 1 + 0, 10/3/7, 1 attempts, [12]1, [8]1`,
	})
}

// A sampled request stands for several, in every figure of every tally.
func TestSampledTallies(t *testing.T) {
	draws := []float64{0.1, 0.1, 0.9} // one drawn for all, its model not drawn
	o := Options{Analytics: true, SampleRate: 0.25, ModelSampleRate: 0.5, Rand: func() float64 {
		x := draws[0]
		draws = append(draws[1:], x)
		return x
	}}
	l := NewLedger(o)
	l.Add(tried(done("a", "t1"), "k1", "k2"))
	same(t, tallyText(l.Drain()), []string{
		`ollama provider "" 12:34:00: 4 = 4 + 0, 40/12/28, 8 attempts, [12]4, [8]4`,
		`ollama model "a" 12:34:00: 2 = 2 + 0, 20/6/14, 4 attempts, [12]2, [8]2`,
		`ollama token "t1" 12:34:00: 4 = 4 + 0, 40/12/28, 8 attempts, [12]4, [8]4`,
		`ollama key "k1" ever: 0 = 0 + 0, 0/0/0, 4 attempts, none, none`,
		`ollama key "k2" ever: 4 = 4 + 0, 40/12/28, 4 attempts, [12]4, [8]4`,
	})
	draws = []float64{0.9} // not drawn: nothing but the token's last use
	l.Add(tried(done("a", "t1"), "k1"))
	d := l.Drain()
	same(t, tallyText(d), nil)
	if len(d) != 1 || len(d[0].Tokens) != 1 || !d[0].Tokens[0].LastUsed.Equal(noon) || d[0].Tokens[0].Counts != (gateway.Counts{}) {
		t.Errorf("got %+v", d)
	}
	l.Restore(d)
	if again := l.Drain(); fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", d) {
		t.Errorf("after Restore %+v, want %+v", again, d)
	}
}

// Tokens never lose their names, but their minutes where there are very many.
func TestTokensAreBounded(t *testing.T) {
	const tokens, minutes = 100, 180
	l := NewLedger(whole())
	at := noon.Truncate(time.Hour)
	for m := range minutes {
		for i := range tokens {
			x := done("", fmt.Sprint("t", i))
			x.Record.StartedAt = at.Add(time.Duration(m) * time.Minute)
			l.Add(x)
		}
	}
	d := l.Drain()
	entries := 0
	sums := map[string]int64{}
	for _, tally := range d[0].Tallies {
		if tally.Of == gateway.OfToken {
			entries++
			sums[tally.Name+tally.Minute.Truncate(time.Hour).Format("15")] += tally.Tally.Requests
		}
	}
	if entries > maxTokens+tokens*minutes/60 {
		t.Errorf("%d entries", entries)
	}
	if len(sums) != tokens*minutes/60 {
		t.Errorf("%d tokens and hours", len(sums))
	}
	for name, n := range sums {
		if n != 60 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}
