package app

import (
	"log/slog"
	"testing"
	"time"

	"ollama-api-pool/internal/storage/sqlstore"
)

// A lease that cannot be renewed is given up before another instance may take it,
// but not at the first failure.
func TestLeaseThatCannotBeRenewed(t *testing.T) {
	away, err := sqlstore.New(sqlstore.Options{URL: "postgres://127.0.0.1:1/none"})
	if err != nil {
		t.Fatal(err)
	}
	s := newLeases(newStanding(away, slog.New(slog.DiscardHandler)), slog.New(slog.DiscardHandler))
	now := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	s.now = func() time.Time { return now }
	l := &lease{of: s, name: "job", lost: make(chan struct{}), until: now.Add(leaseFor)}
	s.held[l.name] = l
	lost := func() bool {
		select {
		case <-l.Lost():
			return true
		default:
			return false
		}
	}
	failures := 0
	for end := l.until; !lost(); failures++ {
		if now = now.Add(leaseEvery); !now.Before(end) {
			t.Fatal("it is held though it has ended")
		}
		if err := s.keepHeld(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if failures != 3 || len(s.held) != 0 {
		t.Errorf("lost after %d failures, %d are held", failures, len(s.held))
	}
}
