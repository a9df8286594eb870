package app

import (
	"fmt"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// What is too much for one batch makes several: nothing is left out, nothing comes
// twice, and everything stays in its order.
func TestParts(t *testing.T) {
	const most = 10
	for _, states := range []int{0, 1, most - 1, most, most + 1, 5*most + 3} {
		for _, counts := range []int{0, 7, 2 * most} {
			a := gateway.Delta{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 3}, Log: make([]gateway.LogEntry, 2)}
			b := gateway.Delta{Provider: gateway.OpenRouter, Global: gateway.Counts{Requests: 4}}
			for i := range states {
				a.States = append(a.States, gateway.StateChange{Version: int64(i)})
				b.States = append(b.States, gateway.StateChange{Version: int64(i)})
			}
			for i := range counts {
				a.Keys = append(a.Keys, gateway.KeyDelta{Key: gateway.KeyID(fmt.Sprint(i))})
				b.Tallies = append(b.Tallies, gateway.TallyDelta{Name: fmt.Sprint(i)})
			}
			type found struct {
				requests                   int64
				log, states, keys, tallies int
			}
			sum := map[gateway.ProviderName]*found{gateway.Ollama: {}, gateway.OpenRouter: {}}
			for _, part := range parts([]gateway.Delta{a, {Provider: gateway.Ollama}, b}, most) {
				rows := 0
				for i := range part {
					d := &part[i]
					rows += rowsOf(d)
					f := sum[d.Provider]
					for _, s := range d.States {
						if s.Version != int64(f.states) {
							t.Errorf("state %d of %s comes as number %d", s.Version, d.Provider, f.states)
						}
						f.states++
					}
					f.requests += d.Global.Requests
					f.log += len(d.Log)
					f.keys += len(d.Keys)
					f.tallies += len(d.Tallies)
				}
				if rows > most || len(part) == 0 {
					t.Errorf("%d states, %d counts: a part of %d deltas and %d rows", states, counts, len(part), rows)
				}
			}
			if got, want := *sum[gateway.Ollama], (found{3, 2, states, counts, 0}); got != want {
				t.Errorf("%d states, %d counts: %+v, want %+v", states, counts, got, want)
			}
			if got, want := *sum[gateway.OpenRouter], (found{4, 0, states, 0, counts}); got != want {
				t.Errorf("%d states, %d counts: %+v, want %+v", states, counts, got, want)
			}
		}
	}
}
