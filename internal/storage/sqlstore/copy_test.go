package sqlstore

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/rest"
	"ollama-api-pool/internal/testkit/servers"
)

func atNoon() time.Time { return noon }

// fill puts something of everything into a store; n keys of each provider, of
// which the last are counted in the journal alone.
func fill(t *testing.T, s *Store, n int) {
	t.Helper()
	for _, p := range gateway.Providers() {
		keys := someKeys(0, n)
		keys[0].ExpiresAt = noon.Add(time.Hour)
		keys[1].State = gateway.KeyState{
			Disabled: gateway.DisabledManual, ConsecutiveFailures: 3, FailedUntil: noon.Add(time.Minute), LastError: `401 "ünauthorized"`,
		}
		keys[2].State = gateway.KeyState{RestsUntil: noon.Add(2 * time.Hour), RestStep: 4}
		keys[3].Category = "kimi"
		add(t, s, p, keys...)
		id := gateway.IDOfKey(keys[1].Secret)
		minute := noon.Add(-2 * time.Hour)
		d := gateway.Delta{
			Provider: p, Global: gateway.Counts{Requests: 9, Success: 8, Failure: 1, Usage: gateway.Usage{Input: 70, Output: 30}},
			Models: []gateway.ModelDelta{
				{Model: "kimi-k2", Hour: noon, LastUsed: noon, Counts: gateway.Counts{Requests: 5, Success: 5}},
				{Model: "gpt-oss", Hour: noon.Add(-time.Hour), LastUsed: noon, Counts: gateway.Counts{Requests: 4, Success: 3, Failure: 1}},
			},
			Tokens: []gateway.TokenDelta{{Hash: gateway.HashToken("sk-one"), LastUsed: noon, Counts: gateway.Counts{Requests: 6}}},
			Keys:   []gateway.KeyDelta{{Key: id, Counts: gateway.KeyCounts{Total: 7, Success: 4, Failure: 3, LastUsed: noon, LastSuccess: noon}}},
			Tallies: []gateway.TallyDelta{
				tallied(gateway.OfProvider, "", minute, 1), tallied(gateway.OfModel, "kimi-k2", minute, 2), tallied(gateway.OfToken, gateway.HashToken("sk-one"), minute, 3),
				tallied(gateway.OfKey, string(id), time.Time{}, 2),
			},
			Refusals: []gateway.Refusal{{Key: id, Model: "kimi-k2", Until: noon.Add(time.Hour)}},
			Log:      []gateway.LogEntry{logEntry("r-"+string(p), p), retried("again-" + string(p))},
			Events:   []gateway.KeyEvent{{Key: id, At: noon, What: "failed", Detail: "401", Until: noon.Add(time.Hour), RequestID: "r-1", Attempt: 2, Model: "kimi-k2"}},
		}
		if p == gateway.Ollama {
			tok := gateway.Token{
				Hash: gateway.HashToken("sk-one"), Preview: "sk-o…", Name: "one", Providers: gateway.Providers(), CreatedAt: noon,
				Limits: gateway.Limits{RequestsPerMinute: 5, Models: []string{"kimi*"}},
			}
			if err := s.AddToken(t.Context(), tok); err != nil {
				t.Fatal(err)
			}
			if err := s.PutJob(t.Context(), gateway.Job{ID: "00112233445566aa", Kind: gateway.JobCheck, Provider: p, State: gateway.JobDone, Total: 5}); err != nil {
				t.Fatal(err)
			}
		}
		apply(t, s, d)
		many := gateway.Delta{Provider: p}
		for _, k := range keys[n-journalFrom:] {
			many.Keys = append(many.Keys, gateway.KeyDelta{Key: gateway.IDOfKey(k.Secret), Counts: gateway.KeyCounts{Total: 2, Success: 2, LastUsed: noon}})
			many.Tallies = append(many.Tallies, tallied(gateway.OfKey, string(gateway.IDOfKey(k.Secret)), time.Time{}, 5))
		}
		many.Keys = append(many.Keys, gateway.KeyDelta{Key: gateway.IDOfKey("gone-gone-gone"), Counts: gateway.KeyCounts{Total: 100, LastUsed: noon}})
		apply(t, s, many)
	}
}

// rowsOf reads all rows of what Copy copies, keys as they are, in a fixed order.
func rowsOf(t *testing.T, s *Store) map[string][]string {
	t.Helper()
	rows := map[string][]string{}
	err := s.read(t.Context(), "dump", func(ctx context.Context, tx *sql.Tx) error {
		c := &copying{from: s, to: &Store{}, in: tx, until: t.Context(), now: noon}
		if err := c.prepare(ctx); err != nil {
			return err
		}
		for i := range c.sources {
			src := &c.sources[i]
			name := src.name()
			err := c.each(ctx, src, func(row []copyCell) error {
				var b strings.Builder
				for i := range row {
					column, cell := src.table.columns[i].name, row[i]
					if column == "api_key" {
						secret, err := s.seal.plain(src.t.provider, cell.s)
						if err != nil {
							return err
						}
						cell.put(secret.Reveal())
					}
					if column == "success_rate" {
						continue
					}
					fmt.Fprintf(&b, "%s=%q %d %s\n", column, cell.s, cell.n, cell.at.Format(time.RFC3339Nano))
				}
				rows[name] = append(rows[name], b.String())
				return nil
			})
			if err != nil {
				return err
			}
			slices.Sort(rows[name])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func wantSame(t *testing.T, got, want map[string][]string) {
	t.Helper()
	for name := range want {
		if len(got[name]) != len(want[name]) {
			t.Errorf("%s: %d rows, want %d", name, len(got[name]), len(want[name]))
			continue
		}
		for i := range want[name] {
			if got[name][i] != want[name][i] {
				t.Errorf("%s: row %d is\n%s\nwant\n%s", name, i, got[name][i], want[name][i])
				break
			}
		}
	}
}

func mustCopy(t *testing.T, from, to *Store, o CopyOptions) CopyReport {
	t.Helper()
	report, err := Copy(t.Context(), from, to, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range report.Tables {
		if table.Verified == o.DryRun {
			t.Errorf("%+v: is it verified?", table)
		}
	}
	return report
}

func folded(t *testing.T, s *Store) *Store {
	t.Helper()
	if err := s.Fold(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func sumOfFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// copyEngines are engines to copy from and to: each makes an empty database.
var copyEngines = map[string]func(t *testing.T) Options{
	"sqlite": func(t *testing.T) Options {
		t.Helper()
		return Options{Path: filepath.Join(t.TempDir(), "pool.db"), Now: atNoon}
	},
	"postgresql": func(t *testing.T) Options {
		t.Helper()
		return Options{URL: gateway.Secret(servers.SharedPostgres(t).URL(madeTables(t))), Now: atNoon}
	},
	"postgrest": func(t *testing.T) Options {
		t.Helper()
		return Options{REST: REST{URL: startREST(t).URL, Key: rest.ServiceKey}, Now: atNoon}
	},
}

// eachPair runs a check for every pair of engines.
func eachPair(t *testing.T, f func(t *testing.T, from, to Options)) {
	for a, from := range copyEngines {
		for b, to := range copyEngines {
			if a == "postgrest" && b == "postgrest" {
				continue // each is a source and a target with the others; with itself it takes the longest
			}
			t.Run(a+" to "+b, func(t *testing.T) {
				t.Parallel()
				f(t, from(t), to(t))
			})
		}
	}
}

// eachTarget runs a check for every engine as the target, where it does not
// matter what the source is.
func eachTarget(t *testing.T, f func(t *testing.T, from, to Options)) {
	for name, to := range copyEngines {
		t.Run("to "+name, func(t *testing.T) {
			t.Parallel()
			f(t, copyEngines["sqlite"](t), to(t))
		})
	}
}

func TestCopyEverything(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, from, to Options) {
		from.EncryptionKey = masterKey(1)
		a := mustOpen(t, from)
		fill(t, a, 90)
		to.EncryptionKey = masterKey(2)
		b := mustOpen(t, to)
		var last CopyProgress
		report := mustCopy(t, a, b, CopyOptions{Progress: func(p CopyProgress) { last = p }})
		if last.Total == 0 || last.What == "" {
			t.Errorf("progress %+v", last)
		}
		wantSame(t, rowsOf(t, folded(t, b)), rowsOf(t, folded(t, a)))
		byTable := map[string]CopiedTable{}
		for _, table := range report.Tables {
			byTable[table.Table] = table
		}
		if k := byTable["ollama_api_keys"]; k.Rows != 90 || k.Added != 90 || k.Existing != 0 || k.LeftOut != 0 {
			t.Errorf("keys: %+v", k)
		}
		if j := byTable["openrouter_api_key_journal"]; j.Rows != journalFrom+1 || j.LeftOut != 1 || j.Counted != 2*journalFrom {
			t.Errorf("journal: %+v", j)
		}
		if s := byTable["ollama_api_key_stats"]; s.Counted != 7 || s.CountOf != "total_requests" {
			t.Errorf("statistics: %+v", s)
		}
		mustClose(t, b)
		wantEqual(t, "keys after opening again", len(all(t, mustOpen(t, to), gateway.Ollama)), 90)
	})
}

func TestCopyOfTheFormerSystem(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "former.db")
	former(t, path)
	before := sumOfFile(t, path)
	src, err := OpenSource(t.Context(), Options{Path: path, Now: atNoon})
	if err != nil {
		t.Fatal(err)
	}
	for name, empty := range copyEngines {
		to := empty(t)
		b := mustOpen(t, to)
		report := mustCopy(t, src, b, CopyOptions{})
		if report.Hashed != 2 {
			t.Errorf("%s: %d tokens were hashed, want one for each provider", name, report.Hashed)
		}
		for _, p := range gateway.Providers() {
			keys := all(t, b, p)
			if len(keys) != 5 || keys["former-key-active"].Counts.Total != 7 || keys["former-key-manual"].State.Disabled != gateway.DisabledManual ||
				keys["former-key-auto"].State.Disabled != gateway.DisabledAuto || keys["former-key-failed"].State.FailedUntil.IsZero() {
				t.Errorf("%s, %s: %+v", name, p, keys)
			}
			// What migrating the database in its place makes of it.
			if total, err := b.Totals(t.Context(), p); err != nil || total.Requests != 70 {
				t.Errorf("%s, %s: totals %+v, %v", name, p, total, err)
			}
		}
		tokens, err := b.Tokens(t.Context())
		if err != nil || len(tokens) != 1 || tokens[0].Plain != "" || tokens[0].Hash != gateway.HashToken("sk-former-token") || len(tokens[0].Providers) != 2 {
			t.Errorf("%s: tokens %+v, %v", name, tokens, err)
		}
		inPlace := filepath.Join(t.TempDir(), "in-place.db")
		mustWrite(t, inPlace, mustRead(t, path))
		there := mustOpen(t, Options{Path: inPlace, Now: atNoon})
		if err := there.HashPlainToken(t.Context(), gateway.Token{Plain: "sk-former-token"}); err != nil {
			t.Fatal(err)
		}
		got, want := rowsOf(t, b), rowsOf(t, there)
		for _, p := range gateway.Providers() { // one has set no rate, no status and no time of creation
			for _, table := range []string{"{p}keys", "{p}key_stats"} {
				delete(want, tables{p}.sql(table))
			}
		}
		wantSame(t, got, want)
		mustClose(t, b)
	}
	mustClose(t, src)
	if after := sumOfFile(t, path); after != before {
		t.Error("the source was changed")
	}
}

func TestCopyNeedsAnEmptyTarget(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to Options) {
		a, b := mustOpen(t, from), mustOpen(t, to)
		fill(t, a, 70)
		add(t, b, gateway.Ollama, someKeys(60, 75)...)
		was := rowsOf(t, b)
		_, err := Copy(t.Context(), a, b, CopyOptions{})
		var holds ErrTargetHolds
		if !errors.As(err, &holds) || !strings.Contains(err.Error(), "keys of ollama: 15") {
			t.Errorf("error %v", err)
		}
		wantSame(t, rowsOf(t, b), was)
		held, err := b.Contents(t.Context())
		wantEqual(t, "contents", held, []Held{{What: "keys", Provider: gateway.Ollama, Rows: 15}})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestCopyMerges(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to Options) {
		a, b := mustOpen(t, from), mustOpen(t, to)
		fill(t, a, 70)
		fill(t, b, 66)
		kept := all(t, b, gateway.Ollama)[secretOf(1)]
		kept.Username = "somebody else"
		if err := b.writeOnce(t.Context(), "rename", func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, "update ollama_api_keys set username = 'somebody else' where key_id = ?", string(gateway.IDOfKey(secretOf(1))))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if b.Engine() == EnginePostgREST {
			_, err := Copy(t.Context(), a, b, CopyOptions{Merge: true})
			wantKind(t, "a merge over PostgREST", err, gateway.KindInvalid)
			return
		}
		report := mustCopy(t, a, b, CopyOptions{Merge: true})
		if k := report.Tables[0]; k.Rows != 70 || k.Added != 4 || k.Existing != 66 {
			t.Errorf("keys %+v", k)
		}
		keys := all(t, b, gateway.Ollama)
		got := keys[secretOf(1)]
		if len(keys) != 70 || got.Username != "somebody else" || got.Counts.Total != 14 || got.Counts.Success != 8 {
			t.Errorf("%d keys, %+v", len(keys), got)
		}
		if total, err := b.Totals(t.Context(), gateway.Ollama); err != nil || total.Requests != 18 || total.Usage.Input != 140 {
			t.Errorf("totals %+v, %v", total, err)
		}
		tokens, err := b.Tokens(t.Context())
		if err != nil || len(tokens) != 1 || tokens[0].RequestCount != 24 || tokens[0].Limits.RequestsPerMinute != 5 {
			t.Errorf("tokens %+v, %v", tokens, err)
		}
		sums, err := b.Tallies(t.Context(), gateway.Ollama, gateway.TallyQuery{Of: gateway.OfModel, Per: gateway.Ever})
		if err != nil || len(sums) != 1 || sums[0].Tally != tallyOf(4) {
			t.Errorf("sums %+v, %v", sums, err)
		}
		was := rowsOf(t, b)
		if _, err := Copy(t.Context(), a, b, CopyOptions{Merge: true}); !errors.As(err, new(ErrCopiedBefore)) {
			t.Errorf("a second time: %v", err)
		}
		wantSame(t, rowsOf(t, b), was)
		mustCopy(t, a, b, CopyOptions{Merge: true, Again: true})
		if total, err := b.Totals(t.Context(), gateway.Ollama); err != nil || total.Requests != 27 {
			t.Errorf("totals again %+v, %v", total, err)
		}
	})
}

func TestCopyDryRun(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to Options) {
		a, b := mustOpen(t, from), mustOpen(t, to)
		fill(t, a, 70)
		was := rowsOf(t, a)
		dry := mustCopy(t, a, nil, CopyOptions{DryRun: true})
		wet := mustCopy(t, a, b, CopyOptions{})
		for i := range dry.Tables {
			d, w := dry.Tables[i], wet.Tables[i]
			if d.Table != w.Table || d.Rows != w.Rows || d.Counted != w.Counted {
				t.Errorf("%+v, but in fact %+v", d, w)
			}
		}
		wantSame(t, rowsOf(t, a), was)
	})
}

// A copy that is cut off anywhere leaves nothing, and the next one is whole.
func TestCopyCutOff(t *testing.T) {
	t.Parallel()
	eachTarget(t, func(t *testing.T, from, to Options) {
		a, b := mustOpen(t, from), mustOpen(t, to)
		fill(t, a, 70)
		steps := 0
		mustCopy(t, a, nil, CopyOptions{DryRun: true, Progress: func(CopyProgress) { steps++ }})
		for cut := 1; cut <= steps; cut += 5 {
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			_, err := Copy(ctx, a, b, CopyOptions{Progress: func(CopyProgress) {
				if n++; n == cut {
					cancel()
				}
			}})
			cancel()
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("cut at step %d of %d: %v", cut, steps, err)
			}
			if held, err := b.Contents(t.Context()); err != nil || len(held) > 0 {
				t.Fatalf("cut at step %d, the target holds %v, %v", cut, held, err)
			}
		}
		mustCopy(t, a, b, CopyOptions{})
		wantSame(t, rowsOf(t, folded(t, b)), rowsOf(t, folded(t, a)))
	})
}

func TestCopySourceThatCannotBe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := OpenSource(t.Context(), Options{Path: filepath.Join(dir, "none.db")}); err == nil || !strings.Contains(err.Error(), "there is no store") {
		t.Errorf("no file: %v", err)
	}
	sealed := filepath.Join(dir, "sealed.db")
	s := mustOpen(t, Options{Path: sealed, EncryptionKey: masterKey(1)})
	add(t, s, gateway.Ollama, someKeys(0, 1)...)
	mustClose(t, s)
	for _, key := range [][]byte{nil, masterKey(2)} {
		src, err := OpenSource(t.Context(), Options{Path: sealed, EncryptionKey: key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Copy(t.Context(), src, nil, CopyOptions{DryRun: true}); !errors.Is(err, ErrSourceSealed) {
			t.Errorf("another key: %v", err)
		}
		mustClose(t, src)
	}
	other := filepath.Join(dir, "other.db")
	db, err := sql.Open("sqlite", other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "create table something (x text)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	src, err := OpenSource(t.Context(), Options{Path: other})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Copy(t.Context(), src, nil, CopyOptions{DryRun: true}); !errors.Is(err, ErrNothingThere) {
		t.Errorf("another program's file: %v", err)
	}
	if _, err := Copy(t.Context(), src, src, CopyOptions{}); err == nil {
		t.Error("a source is written to")
	}
	mustClose(t, src)
}

func TestCopyCells(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind copyKind
		in   any
		want any
	}{
		{ofCount, int64(7), int64(7)},
		{ofCount, "12", int64(12)},
		{ofCount, []byte("12.00"), int64(12)},
		{ofCount, 3.0, int64(3)},
		{ofCount, nil, int64(0)},
		{ofCount, true, int64(1)},
		{ofText, nil, nil},
		{ofText, "a\x00b", "ab"},
		{ofText, int64(5), "5"},
		{ofText, []byte("x"), "x"},
		{ofTime, int64(1735787045), time.Unix(1735787045, 0).UTC()},
		{ofTime, "2025-01-02T03:04:05Z", time.Unix(1735787045, 0).UTC()},
		{ofTime, nil, nil},
		{ofTime, "", nil},
	} {
		cell := copyCell{kind: c.kind}
		if err := cell.Scan(c.in); err != nil {
			t.Errorf("%v: %v", c.in, err)
		}
		if got := cell.value(false); got != c.want {
			t.Errorf("%v: %v, want %v", c.in, got, c.want)
		}
	}
	for _, wrong := range []any{"x", "", "NaN", 1e30} {
		if err := (&copyCell{kind: ofCount}).Scan(wrong); err == nil {
			t.Errorf("%v is a count", wrong)
		}
	}
}
