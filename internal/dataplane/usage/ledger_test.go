package usage

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

var noon = time.Date(2025, 11, 4, 12, 34, 56, 0, time.UTC)

func whole() Options { return Options{Analytics: true, SampleRate: 1, ModelSampleRate: 1} }

// done is a request that went well, for one model with one token.
func done(model, token string) *gateway.Record {
	return &gateway.Record{
		Provider: gateway.Ollama, Model: model, TokenHash: token, Status: 200, Counted: true,
		Usage: gateway.Usage{Input: 10, Output: 3}, StartedAt: noon,
	}
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

func TestLedgerAddsUp(t *testing.T) {
	later := noon.Add(time.Hour)
	records := []*gateway.Record{done("a", "t1"), done("a", "t1"), done("b", "t2"), done("", ""), done("a", "t1"), done("a", "t1"), done("a", "t1"), done("a", "")}
	records[1].Status = 503
	records[2].StartedAt = later
	records[4].End = gateway.EndClientClosed
	records[5].End, records[5].StartedAt = gateway.EndCut, later.In(time.FixedZone("", 5400))
	records[6].Counted = false
	records[7].Provider = gateway.OpenRouter

	l := NewLedger(whole())
	for _, r := range records {
		l.Add(r)
	}
	usage := func(n int64) gateway.Usage { return gateway.Usage{Input: 10 * n, Output: 3 * n} }
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
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
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
	if got := sorted(l.Drain()); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("after Restore: got  %+v\nwant %+v", got, want)
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
	r := done("invented", "t1")
	r.Status = 404
	l.Add(r)
	d := l.Drain()
	if len(d) != 1 || d[0].Global.Requests != 1 || d[0].Global.Failure != 1 || len(d[0].Models) != 0 {
		t.Errorf("counted %+v", d)
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
			rec := done("a", "t1")
			switch i % 4 {
			case 0:
				rec.Status = 500
			case 1:
				rec.End = gateway.EndClientClosed
			}
			l.Add(rec)
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
		for _, p := range [][2]int64{{got.Requests, n}, {got.Success, n / 2}, {got.Failure, n / 4}, {got.Usage.Input, 10 * n}, {got.Usage.Output, 3 * n}} {
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
	want := gateway.Counts{Requests: adders * each, Success: adders * each, Usage: gateway.Usage{Input: 10 * adders * each, Output: 3 * adders * each}}
	if total != want {
		t.Errorf("%+v, want %+v", total, want)
	}
}

func TestLedgerAllocations(t *testing.T) {
	l := NewLedger(whole())
	r := done("a", "t1")
	l.Add(r)
	if n := testing.AllocsPerRun(100, func() { l.Add(r) }); n != 0 {
		t.Errorf("%v allocations for each request", n)
	}
}
