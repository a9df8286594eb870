package app

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/dataplane/auth"
	"ollama-api-pool/internal/dataplane/usage"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/storage/sqlstore"
)

// refusing is a writer on a file, whose log is given, and the file's path.
func refusing(t *testing.T) (w *writer, log *bytes.Buffer, path string) {
	t.Helper()
	open := func(path string) *sqlstore.Store {
		s, err := sqlstore.Open(t.Context(), sqlstore.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	path, log = filepath.Join(t.TempDir(), "database"), &bytes.Buffer{}
	w = newWriter()
	w.store, w.local, w.instance = open(path), open(filepath.Join(t.TempDir(), localName)), "test"
	w.log = slog.New(slog.NewTextHandler(log, nil))
	w.standing = newStanding(w.store, w.log)
	w.ledger = usage.NewLedger(usage.Options{Analytics: true, SampleRate: 1, ModelSampleRate: 1})
	w.trail = usage.NewTrail(usage.TrailOptions{Mode: usage.TrailAll})
	return w, log, path
}

// counts counts a request.
func (w *writer) counts(id string) {
	x := &gateway.Exchange{RequestID: id, Path: "/api/chat", Principal: &gateway.Principal{Name: "test"}}
	x.Record = gateway.Record{Provider: gateway.Ollama, Model: "m", Status: 200, Counted: true, StartedAt: time.Now()}
	w.ledger.Add(x)
	w.trail.Add(x)
}

func totalOf(t *testing.T, w *writer) int64 {
	t.Helper()
	got, err := w.store.Totals(t.Context(), gateway.Ollama)
	if err != nil {
		t.Fatal(err)
	}
	return got.Requests
}

// What the database refuses of a batch is left out of it, the rest counts once,
// and those after it are written.
func TestPartOfABatchIsRefused(t *testing.T) {
	w, log, path := refusing(t)
	execute(t, path, `create trigger no_log before insert on pool_requests begin select raise(abort, 'value too long'); end`)
	w.counts("r1")
	for range refusedAfter - 1 {
		if err := w.flush(t.Context()); err == nil {
			t.Fatal("it was written")
		}
	}
	for i, id := range []string{"", "r2"} {
		if id != "" {
			w.counts(id)
		}
		if err := w.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := totalOf(t, w); n != int64(i+1) {
			t.Errorf("%d requests are counted, want %d", n, i+1)
		}
	}
	if got := log.String(); strings.Count(got, "level=ERROR") != 2 || !strings.Contains(got, "entries=1") || !strings.Contains(got, "requests=0") {
		t.Errorf("the log says: %s", got)
	}
}

// A batch that is refused altogether is set aside, whether it waited on the local
// disk or not.
func TestABatchIsRefused(t *testing.T) {
	for _, spooled := range []bool{false, true} {
		w, log, path := refusing(t)
		execute(t, path, `create trigger no_counts before insert on pool_instances begin select raise(abort, 'refused'); end`)
		w.counts("r1")
		if spooled {
			if err := w.keep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for range refusedAfter - 1 {
			if err := w.flush(t.Context()); err == nil {
				t.Fatal("it was written")
			}
		}
		if err := w.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if w.waits() != 0 || w.pending != nil || !strings.Contains(log.String(), "requests=1") {
			t.Errorf("%d wait, the log says: %s", w.waits(), log)
		}
		execute(t, path, "drop trigger no_counts")
		w.counts("r2")
		if err := w.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := totalOf(t, w); n != 1 {
			t.Errorf("%d requests are counted", n)
		}
	}
}

// A batch of a provider that this version does not know does not keep the others
// from being counted, nor the program from starting.
func TestUnknownProviderWaits(t *testing.T) {
	w, log, _ := refusing(t)
	counts := gateway.Counts{Requests: 1}
	b := gateway.Batch{Writer: "former", Number: 1, Deltas: []gateway.Delta{
		{Provider: "future", Global: counts}, {Provider: gateway.Ollama, Global: counts}, {Provider: gateway.Ollama, Global: counts},
	}}
	if err := w.local.Spool(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if _, err := w.recall(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := &App{store: w.store, local: w.local, writer: w, roster: &Roster{store: w.store, writer: w, book: newTokenBook(), tokens: &auth.Registry{}, now: time.Now}}
	if err := a.fillFromStore(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := totalOf(t, w); n != 2 || w.waits() != 0 {
		t.Errorf("%d requests are counted, %d batches wait", n, w.waits())
	}
	if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "requests=1 ") {
		t.Errorf("the log says: %s", got)
	}
}

// execute changes a file as somebody else would.
func execute(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(context.Background(), text); err != nil {
		t.Fatal(err)
	}
}
