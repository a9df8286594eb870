package app

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane/pool"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// What could not be written is written the next time, with what came meanwhile:
// counts, tallies, the request log, events of keys, counts of keys; nothing
// twice.
func TestWriterKeepsWhatCouldNotBeWritten(t *testing.T) {
	o, closeStore := openRoster(t, t.TempDir()) // nothing else writes
	defer closeStore()
	a := o.app
	const secret = "fake-upstream-key-00"
	id := gateway.IDOfKey(secret)
	_, _, err := o.AddKeys(t.Context(), gateway.Ollama, func(yield func(gateway.Key, error) bool) {
		yield(gateway.Key{Secret: secret, CreatedAt: time.Now()}, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	broken, cancel := context.WithCancel(t.Context())
	cancel()
	const requests = 7
	for i := range requests {
		lease, err := a.pools[gateway.Ollama].Acquire(&pool.Want{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		v := gateway.Verdict{Scope: gateway.ScopeRequest, Action: gateway.ActionPassOver, Reason: "plan"}
		lease.Release(&v, time.Now())
		a.ended(&gateway.Exchange{
			RequestID: fmt.Sprint("r", i), ClientIP: netip.MustParseAddr("192.0.2.1"), Path: "/api/chat",
			Principal: &gateway.Principal{Name: "test"},
			Record: gateway.Record{
				Provider: gateway.Ollama, Model: "m", TokenHash: gateway.HashToken("sk-fake"), Status: 403, Counted: true,
				Usage: gateway.Usage{Input: 5, Output: 1, Cost: 3}, StartedAt: time.Now(), Duration: time.Second,
				Attempts: []gateway.Attempt{{Key: id, Status: 403, Verdict: v}},
			},
		})
		if err := a.writer.flush(broken); err == nil {
			t.Fatal("it was written")
		}
	}
	if err := a.writer.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := gateway.Counts{Requests: requests, Failure: requests, Usage: gateway.Usage{Input: 5 * requests, Output: requests, Cost: 3 * requests}}
	for of, name := range map[gateway.Subject]string{
		gateway.OfProvider: "", gateway.OfModel: "m", gateway.OfToken: gateway.HashToken("sk-fake"), gateway.OfKey: string(id),
	} {
		got, err := a.store.Tallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: of, Per: gateway.Ever})
		if err != nil || len(got) != 1 || got[0].Name != name || got[0].Tally.Counts != want || got[0].Tally.Attempts != requests || got[0].Tally.Duration.Count() != requests {
			t.Errorf("%s: %+v, %v", of, got, err)
		}
	}
	page, err := a.store.Requests(t.Context(), gateway.LogQuery{Limit: 100})
	if err != nil || len(page.Entries) != requests {
		t.Errorf("%d requests in the log, %v", len(page.Entries), err)
	}
	for i, e := range page.Entries {
		if e.ID != fmt.Sprint("r", requests-1-i) || len(e.Trail) != 1 || e.Trail[0].Key != id {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
	events, err := a.store.KeyEvents(t.Context(), gateway.Ollama, id, 100)
	if err != nil || len(events) != requests {
		t.Errorf("%d events, %v", len(events), err)
	}
	k, found, err := a.store.Key(t.Context(), gateway.Ollama, id)
	if err != nil || !found || k.Counts.Total != requests {
		t.Errorf("the key counts %+v, %v", k.Counts, err)
	}
	testkit.MustNotContain(t, fmt.Sprintf("%+v %+v", page, events), secret)
}
