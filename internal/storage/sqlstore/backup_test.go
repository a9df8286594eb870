package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func mustBackup(t *testing.T, s *Store, path string) {
	t.Helper()
	if err := s.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the backup: %v, %v", info, err)
	}
}

// onlyFiles checks what a directory holds.
func onlyFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Errorf("the directory holds %q, want %q", got, names)
	}
}

// dump gives every row of every table.
func dump(t *testing.T, s *Store) map[string][]string {
	t.Helper()
	rows, err := s.reader.QueryContext(t.Context(), "select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
	if err != nil {
		t.Fatal(err)
	}
	names, err := collect(rows, func(name *string) []any { return []any{name} })
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string][]string{}
	for _, name := range names {
		rows, err := s.reader.QueryContext(t.Context(), "select * from "+name)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		lines, err := collect(rows, func(line *string) []any {
			into := make([]any, len(columns))
			for i := range into {
				into[i] = new(textOf).of(line)
			}
			return into
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(lines)
		tables[name] = lines
	}
	return tables
}

// textOf appends whatever it scans to a line.
type textOf struct{ line *string }

func (x *textOf) of(line *string) *textOf { x.line = line; return x }

func (x *textOf) Scan(v any) error { *x.line += fmt.Sprintf("%v|", v); return nil }

// busyBatch is one Apply whose parts must be seen together.
func busyBatch(ids []gateway.KeyID) gateway.Delta {
	d := used(ids, noon)
	d.Global = gateway.Counts{Requests: 1}
	d.Log = []gateway.LogEntry{logEntry("r", gateway.Ollama), retried("r")}
	d.Events = []gateway.KeyEvent{{Key: ids[0], At: noon, What: gateway.EventEnabled}}
	return d
}

func TestBackupWhileWriting(t *testing.T) {
	for _, key := range [][]byte{masterKey(7)} {
		t.Run(fmt.Sprintf("%d bytes of key", len(key)), func(t *testing.T) {
			t.Parallel()
			dir, copies := t.TempDir(), t.TempDir()
			o := Options{Path: filepath.Join(dir, "pool.db"), EncryptionKey: key, Now: func() time.Time { return noon }}
			s := mustOpen(t, o)
			const first, perImport = journalFrom, 20
			var ids []gateway.KeyID
			add(t, s, gateway.Ollama, someKeys(0, first)...)
			for n := range first {
				ids = append(ids, gateway.IDOfKey(secretOf(n)))
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wg sync.WaitGroup
			wg.Go(func() { // imports, all or none
				for from := first; from < 40*perImport && ctx.Err() == nil; from += perImport {
					if _, _, err := s.AddKeys(t.Context(), gateway.Ollama, yield(someKeys(from, from+perImport), nil), nil); err != nil {
						t.Error(err)
					}
				}
			})
			wg.Go(func() { // counts, by way of the journal
				for n := 0; n < 60 && ctx.Err() == nil; n++ {
					err := s.Apply(t.Context(), []gateway.Delta{busyBatch(ids)})
					if err == nil && n%5 == 4 {
						err = s.Fold(t.Context())
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
			for n := range 3 {
				c := o
				c.Path = filepath.Join(copies, fmt.Sprintf("copy-%d.db", n))
				mustBackup(t, s, c.Path)
				wantWhole(t, c, ids, perImport)
			}
			stop()
			wg.Wait()
			c := o
			c.Path = filepath.Join(copies, "last.db")
			mustBackup(t, s, c.Path)
			again := mustOpen(t, c)
			wantEqual(t, "the copy's content", dump(t, again), dump(t, s))
			wantEqual(t, "the copy's counts", countsOf(t, again), countsOf(t, s))
			if key != nil {
				mustClose(t, again)
				if strings.Contains(string(mustRead(t, c.Path)), string(secretOf(1))) {
					t.Error("the copy of an encrypted store shows a key")
				}
				c.EncryptionKey = nil
				_, err := Open(t.Context(), c)
				wantLine(t, err, c.Path, "encrypted")
			}
		})
	}
}

// wantWhole opens a copy and checks that it shows one moment.
func wantWhole(t *testing.T, o Options, ids []gateway.KeyID, perImport int) {
	t.Helper()
	s := mustOpen(t, o)
	defer mustClose(t, s)
	total, err := s.Totals(t.Context(), gateway.Ollama)
	if err != nil {
		t.Fatal(err)
	}
	f, err := s.LogFigures(t.Context())
	if err != nil || f.Entries != 2*total.Requests {
		t.Errorf("%d requests and %d of them in the log, %v", total.Requests, f.Entries, err)
	}
	counts := countsOf(t, s)
	if (len(counts)-len(ids))%perImport != 0 {
		t.Errorf("%d keys: half an import", len(counts))
	}
	for i, id := range ids {
		if want := int64(i+1) * total.Requests; counts[id].Total != want {
			t.Fatalf("key %d has %d attempts, want %d", i, counts[id].Total, want)
		}
	}
	if got := eventsOf(t, s, gateway.Ollama, ids[0], maxEventPage); int64(len(got)) != min(total.Requests, maxEventPage) {
		t.Errorf("%d events for %d requests", len(got), total.Requests)
	}
}

func TestBackupThatCannotBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := mustOpen(t, Options{Path: filepath.Join(dir, "pool.db")})
	add(t, s, gateway.Ollama, someKeys(0, 1000)...)
	there := filepath.Join(dir, "there")
	mustWrite(t, there, []byte("mine"))
	if err := os.Symlink("nowhere", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for path, words := range map[string][]string{
		there:                               {"already", "another name"},
		dir:                                 {"already", "another name"},
		s.dialect.place():                   {"already", "another name"},
		filepath.Join(dir, "link"):          {"already", "another name"},
		filepath.Join(there, "copy.db"):     {"does not exist", "create the directory"},
		filepath.Join(dir, "no", "copy.db"): {"does not exist", "create the directory"},
	} {
		wantLine(t, s.Backup(t.Context(), path), path, words...)
	}
	if got := mustRead(t, there); string(got) != "mine" {
		t.Errorf("the file that was there became %q", got)
	}
	copies := t.TempDir()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ended, filepath.Join(copies, "copy.db")); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
	defer cancel()
	if err := s.Backup(soon, filepath.Join(copies, "copy.db")); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cut off: %v", err)
	} else if err != nil {
		onlyFiles(t, copies)
	}
	err := s.dialect.(sqliteFile).copyFault(t.Context(), "back up the store", "/b", diskFullOf(t, s))
	wantLine(t, err, "/b", "disk is full", "free some space")
}

// diskFullOf makes the engine say that there is no room.
func diskFullOf(t *testing.T, s *Store) error {
	t.Helper()
	if _, err := s.writer.ExecContext(t.Context(), "pragma max_page_count = 80"); err != nil {
		t.Fatal(err)
	}
	_, err := s.writer.ExecContext(t.Context(), "create table filler as select randomblob(10000000) as b")
	if err == nil {
		t.Fatal("there was room")
	}
	return err
}

func TestBackupOfTheSameNameAtOnce(t *testing.T) {
	t.Parallel()
	dir, copies := t.TempDir(), t.TempDir()
	s := mustOpen(t, Options{Path: filepath.Join(dir, "pool.db")})
	add(t, s, gateway.Ollama, someKeys(0, 100)...)
	path := filepath.Join(copies, "copy.db")
	var wg sync.WaitGroup
	var made sync.Map
	for n := range 4 {
		wg.Go(func() {
			if err := s.Backup(t.Context(), path); err == nil {
				made.Store(n, true)
			} else if !strings.Contains(err.Error(), "already") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	n := 0
	made.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d of 4 backups of one name were made", n)
	}
	onlyFiles(t, copies, "copy.db")
	if n := len(all(t, mustOpen(t, Options{Path: path}), gateway.Ollama)); n != 100 {
		t.Errorf("%d keys in the copy", n)
	}
}
