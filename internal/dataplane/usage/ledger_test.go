package usage

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

var noon = time.Date(2025, 11, 4, 12, 34, 56, 0, time.UTC)

func whole() Options { return Options{Analytics: true, SampleRate: 1, ModelSampleRate: 1} }

// done is a request that went well, for one model with one token.
func done(model, token string) *gateway.Exchange {
	return &gateway.Exchange{Record: gateway.Record{
		Provider: gateway.Ollama, Model: model, TokenHash: token, Status: 200, Counted: true,
		Usage: gateway.Usage{Input: 10, Output: 3, Cost: 7}, StartedAt: noon,
		FirstByte: 300 * time.Millisecond, Duration: 2 * time.Second,
	}}
}

// sorted puts the lists of deltas into an order, to compare them.
func sorted(deltas []gateway.Delta) []gateway.Delta {
	slices.SortFunc(deltas, func(a, b gateway.Delta) int { return cmp.Compare(a.Provider, b.Provider) })
	for _, d := range deltas {
		slices.SortFunc(d.Models, func(a, b gateway.ModelDelta) int {
			return cmp.Or(cmp.Compare(a.Model, b.Model), a.Hour.Compare(b.Hour))
		})
		slices.SortFunc(d.Tokens, func(a, b gateway.TokenDelta) int { return cmp.Compare(a.Hash, b.Hash) })
	}
	return deltas
}

// withoutTallies is a copy without the lists of tallies.
func withoutTallies(deltas []gateway.Delta) []gateway.Delta {
	out := slices.Clone(deltas)
	for i := range out {
		out[i].Tallies = nil
	}
	return out
}

func TestLedgerAddsUp(t *testing.T) {
	later := noon.Add(time.Hour)
	exchanges := []*gateway.Exchange{done("a", "t1"), done("a", "t1"), done("b", "t2"), done("", ""), done("a", "t1"), done("a", "t1"), done("a", "t1"), done("a", "")}
	exchanges[1].Record.Status = 503
	exchanges[2].Record.StartedAt = later
	exchanges[4].Record.End = gateway.EndClientClosed
	exchanges[5].Record.End, exchanges[5].Record.StartedAt = gateway.EndCut, later.In(time.FixedZone("", 5400))
	exchanges[6].Record.Counted = false
	exchanges[7].Record.Provider = gateway.OpenRouter

	l := NewLedger(whole())
	for _, x := range exchanges {
		l.Add(x)
	}
	usage := func(n int64) gateway.Usage {
		return gateway.Usage{Input: 10 * n, Output: 3 * n, Cost: 7 * gateway.Cost(n)}
	}
	at := time.Date(2025, 11, 4, 12, 0, 0, 0, time.UTC)
	want := []gateway.Delta{
		{
			Provider: gateway.Ollama,
			Global:   gateway.Counts{Requests: 6, Success: 3, Failure: 2, Usage: usage(6)},
			Models: []gateway.ModelDelta{
				{Model: "a", Hour: at, LastUsed: noon, Counts: gateway.Counts{Requests: 3, Success: 1, Failure: 1, Usage: usage(3)}},
				{Model: "a", Hour: at.Add(time.Hour), LastUsed: later, Counts: gateway.Counts{Requests: 1, Failure: 1, Usage: usage(1)}},
				{Model: "b", Hour: at.Add(time.Hour), LastUsed: later, Counts: gateway.Counts{Requests: 1, Success: 1, Usage: usage(1)}},
			},
			Tokens: []gateway.TokenDelta{
				{Hash: "t1", LastUsed: later, Counts: gateway.Counts{Requests: 4, Success: 1, Failure: 2, Usage: usage(4)}},
				{Hash: "t2", LastUsed: later, Counts: gateway.Counts{Requests: 1, Success: 1, Usage: usage(1)}},
			},
		},
		{
			Provider: gateway.OpenRouter,
			Global:   gateway.Counts{Requests: 1, Success: 1, Usage: usage(1)},
			Models:   []gateway.ModelDelta{{Model: "a", Hour: at, LastUsed: noon, Counts: gateway.Counts{Requests: 1, Success: 1, Usage: usage(1)}}},
		},
	}
	got := sorted(l.Drain())
	if text := fmt.Sprintf("%+v", withoutTallies(got)); text != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %s\nwant %+v", text, want)
	}
	if again := l.Drain(); len(again) != 0 {
		t.Errorf("a second drain gave %+v", again)
	}

	// What could not be written comes again, with what came meanwhile.
	l.Restore(got)
	l.Add(done("b", "t2"))
	want[0].Global.Add(gateway.Counts{Requests: 1, Success: 1, Usage: usage(1)})
	want[0].Models = slices.Insert(want[0].Models, 2, gateway.ModelDelta{Model: "b", Hour: at, LastUsed: noon, Counts: gateway.Counts{Requests: 1, Success: 1, Usage: usage(1)}})
	want[0].Tokens[1].Counts.Add(gateway.Counts{Requests: 1, Success: 1, Usage: usage(1)})
	if text := fmt.Sprintf("%+v", withoutTallies(sorted(l.Drain()))); text != fmt.Sprintf("%+v", want) {
		t.Errorf("after Restore: got  %s\nwant %+v", text, want)
	}
}

// What Drain gave stays as it is while the Ledger counts on.
func TestDrainedDeltasAreTheCallers(t *testing.T) {
	l := NewLedger(whole())
	l.Add(done("a", "t1"))
	first := l.Drain()
	l.Add(done("b", "t2"))
	l.Drain()
	l.Add(done("c", "t3"))
	again := NewLedger(whole())
	again.Add(done("a", "t1"))
	if want := again.Drain(); !reflect.DeepEqual(first, want) {
		t.Errorf("became %+v, was %+v", first, want)
	}
}

func TestLedgerNamesNoModelThatIsNotFound(t *testing.T) {
	l := NewLedger(whole())
	for _, status := range []int{404, 403} { // not found upstream; not allowed to the token here
		x := done("invented", "t1")
		x.Record.Status = status
		if status == 403 {
			x.Record.Attempts = nil
		}
		l.Add(x)
		d := l.Drain()
		if len(d) != 1 || d[0].Global.Requests != 1 || d[0].Global.Failure != 1 || len(d[0].Models) != 0 {
			t.Errorf("%d: counted %+v", status, d)
		}
	}
}

func TestLedgerWithoutAnalytics(t *testing.T) {
	o := whole()
	o.Analytics = false
	l := NewLedger(o)
	l.Add(done("a", "t1"))
	if d := l.Drain(); len(d) != 1 || len(d[0].Models) != 0 || d[0].Global.Requests != 1 || len(d[0].Tokens) != 1 {
		t.Errorf("got %+v", d)
	}
}

func TestModelsAreBounded(t *testing.T) {
	l := NewLedger(whole())
	f := func(n, others int64) {
		t.Helper()
		d := l.Drain()
		if len(d) != 1 || len(d[0].Models) > maxModels+1 {
			t.Fatalf("%d models", len(d[0].Models))
		}
		var all gateway.Counts
		for _, m := range d[0].Models {
			all.Add(m.Counts)
			if m.Model == OtherModel && m.Counts.Requests != others {
				t.Errorf("%d others, want %d", m.Counts.Requests, others)
			}
		}
		if all.Requests != n || d[0].Global.Requests != n {
			t.Errorf("models have %d requests, all %d, want %d", all.Requests, d[0].Global.Requests, n)
		}
		l.Restore(d)
	}
	for i := range maxModels + 100 {
		l.Add(done(fmt.Sprint("model-", i), "t1"))
	}
	f(maxModels+100, 100)
	l.Add(done("model-7", "t1")) // known: under its own name
	f(maxModels+101, 100)
	l.Add(done("one-more", "t1"))
	f(maxModels+102, 101)
}

func TestSampling(t *testing.T) {
	count := func(o Options, n int) (total, byModel, byToken gateway.Counts, tokens int) {
		r := rand.New(rand.NewPCG(1, 2))
		o.Rand = r.Float64
		o.Analytics = true
		l := NewLedger(o)
		for i := range n {
			x := done("a", "t1")
			switch i % 4 {
			case 0:
				x.Record.Status = 500
			case 1:
				x.Record.End = gateway.EndClientClosed
			}
			l.Add(x)
		}
		for _, d := range l.Drain() {
			total = d.Global
			for _, m := range d.Models {
				byModel.Add(m.Counts)
			}
			for _, tok := range d.Tokens {
				tokens++
				byToken.Add(tok.Counts)
			}
		}
		return total, byModel, byToken, tokens
	}
	near := func(name string, got gateway.Counts, n int64) {
		t.Helper()
		for _, p := range [][2]int64{{got.Requests, n}, {got.Success, n / 2}, {got.Failure, n / 4}, {got.Usage.Input, 10 * n}, {got.Usage.Output, 3 * n}, {int64(got.Usage.Cost), 7 * n}} {
			if d := p[0] - p[1]; d > p[1]/12 || -d > p[1]/12 {
				t.Errorf("%s: %+v, want about %d requests", name, got, n)
				return
			}
		}
	}
	const n = 40_000
	for _, rate := range []float64{0.1, 0.3, 0.7, 0.95} {
		total, byModel, byToken, _ := count(Options{SampleRate: rate, ModelSampleRate: 1}, n)
		near(fmt.Sprint("total at ", rate), total, n)
		if byToken != total || byModel.Requests != n {
			t.Errorf("at %v: tokens %+v, all %+v, models %+v", rate, byToken, total, byModel)
		}
		total, byModel, _, _ = count(Options{SampleRate: 1, ModelSampleRate: rate}, n)
		near(fmt.Sprint("models at ", rate), byModel, n)
		if total.Requests != n {
			t.Errorf("at %v for models: %+v in all", rate, total)
		}
	}
	none := gateway.Counts{}
	if total, byModel, byToken, tokens := count(Options{SampleRate: 0, ModelSampleRate: 0}, 100); total != none || byModel != none || byToken != none || tokens != 0 {
		t.Errorf("at 0: %+v, %+v, %+v", total, byModel, byToken)
	}
	if total, byModel, _, tokens := count(Options{SampleRate: 0, ModelSampleRate: 1}, 100); total != none || byModel.Requests != 100 || tokens != 0 {
		t.Errorf("at 0 but for models: %+v, %+v", total, byModel)
	}
	if total, byModel, _, _ := count(Options{SampleRate: 1, ModelSampleRate: 0}, 100); total.Requests != 100 || byModel != none {
		t.Errorf("at 0 for models: %+v, %+v", total, byModel)
	}
	if total, _, byToken, tokens := count(Options{SampleRate: 1e-5, ModelSampleRate: 0}, 100); total != none || byToken != none || tokens != 1 {
		t.Errorf("at 0.00001: %+v, %+v, want the token's last use alone", total, byToken)
	}
}

// Nothing is lost or counted twice between Add, Drain and Restore.
func TestLedgerConcurrently(t *testing.T) {
	const adders, each = 4, 5000
	l := NewLedger(whole())
	var adding, draining sync.WaitGroup
	stop := make(chan struct{})
	var total gateway.Counts
	draining.Go(func() {
		for i := 0; ; i++ {
			deltas := l.Drain()
			if i%2 == 0 {
				l.Restore(deltas)
			} else {
				for _, d := range deltas {
					total.Add(d.Global)
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for a := range adders {
		adding.Go(func() {
			for i := range each {
				l.Add(done(fmt.Sprint("model-", (a+i)%10), fmt.Sprint("token-", i%3)))
			}
		})
	}
	adding.Wait()
	close(stop)
	draining.Wait()
	for _, d := range l.Drain() {
		total.Add(d.Global)
	}
	want := gateway.Counts{Requests: adders * each, Success: adders * each, Usage: gateway.Usage{Input: 10 * adders * each, Output: 3 * adders * each, Cost: 7 * adders * each}}
	if total != want {
		t.Errorf("%+v, want %+v", total, want)
	}
}

func TestLedgerAllocations(t *testing.T) {
	l := NewLedger(whole())
	x := tried(done("a", "t1"), "k1", "k2")
	round := func() {
		l.Add(x)
		l.Add(x)
	}
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations for each request", n)
	}
	// Nor after a drain: what was emptied is used again.
	l.Drain()
	round()
	l.Drain()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l.Add(x)
	if runtime.ReadMemStats(&after); after.Mallocs != before.Mallocs {
		t.Errorf("%d allocations for the first request after a drain", after.Mallocs-before.Mallocs)
	}
}
