package app

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// A batch that has arrived, though nobody heard of it, is counted once, also where
// those that came after it are added up.
func TestSentIsNotAddedUp(t *testing.T) {
	open := func(name string) *sqlstore.Store {
		s, err := sqlstore.Open(t.Context(), sqlstore.Options{Path: filepath.Join(t.TempDir(), name)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	w := newWriter()
	w.store, w.local, w.instance, w.foldAt = open("database"), open(localName), "test", 6
	w.standing = newStanding(w.store, slog.New(slog.DiscardHandler))
	w.ledger = usage.NewLedger(usage.Options{Analytics: true, SampleRate: 1, ModelSampleRate: 1})
	w.trail = usage.NewTrail(usage.TrailOptions{})
	requests := int64(0)
	request := func() {
		x := &gateway.Exchange{Principal: &gateway.Principal{Name: "test"}}
		x.Record = gateway.Record{Provider: gateway.Ollama, Model: "m", Status: 200, Counted: true, StartedAt: time.Now()}
		w.ledger.Add(x)
		requests++
	}
	for range 3 {
		request()
		b, _ := w.next()
		if b == nil {
			t.Fatal("nothing to send")
		}
		if _, err := w.store.ApplyBatch(t.Context(), *b); err != nil { // and the answer is lost
			t.Fatal(err)
		}
		for range 2 * w.foldAt {
			request()
			if err := w.keep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.waits(); n > w.foldAt {
			t.Errorf("%d batches wait", n)
		}
		if err := w.flushNow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.store.Totals(t.Context(), gateway.Ollama)
	if err != nil || got.Requests != requests {
		t.Errorf("%d requests counted, %v; there were %d", got.Requests, err, requests)
	}
}
