package sqlstore

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"ollama-api-pool/internal/gateway"
)

// What the database will not take however often it is tried is told from what
// passes, or what somebody mends.
func TestRefused(t *testing.T) {
	away, err := New(Options{URL: "postgres://127.0.0.1:1/none"})
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[string]bool{
		"22001": true, "23502": true, "42703": true, "P0001": true,
		"53100": false, "57P01": false, "40001": false, "08006": false, "42P05": false, "26000": false, "28P01": false,
	} {
		err := away.dialect.fault("test", fmt.Errorf("write: %w", &pgconn.PgError{Code: code}))
		if got := away.Refused(err); got != want {
			t.Errorf("%s: %v", code, got)
		}
	}
	if away.Refused(nil) || away.Refused(errNotOpen) || away.Refused(errors.New("unknown")) {
		t.Error("it is not the batch's fault")
	}
	if !away.Refused(gateway.Errorf(gateway.KindInvalid, "unknown provider")) {
		t.Error("an unknown provider")
	}
}

// What is set aside waits for nobody, and does not grow without end.
func TestSetAside(t *testing.T) {
	s, err := Open(t.Context(), Options{Path: t.TempDir() + "/local.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	one := gateway.Batch{Writer: "w", Number: 1, Deltas: []gateway.Delta{{Provider: gateway.Ollama, Global: gateway.Counts{Requests: 1}}}}
	if err := s.Spool(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	list, err := s.Spooled(t.Context(), 0)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	others := make([]gateway.Batch, asideMost+1)
	for i := range others {
		others[i] = one
	}
	if err := s.SetAside(t.Context(), []int64{list[0].ID}, others...); err != nil {
		t.Fatal(err)
	}
	if list, err = s.Spooled(t.Context(), 0); err != nil || len(list) != 0 {
		t.Errorf("%d wait, %v", len(list), err)
	}
	var n int
	if err := s.reader.QueryRowContext(t.Context(), "select count(*) from pool_spool").Scan(&n); err != nil || n != asideMost {
		t.Errorf("%d are kept, %v", n, err)
	}
}
