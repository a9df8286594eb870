package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// CopyOptions say how one database is copied into another.
type CopyOptions struct {
	// DryRun reads everything and writes nothing; the target may be nil.
	DryRun bool
	// Merge adds to a target that holds something. Keys, tokens and jobs that
	// are there stay as they are; counters are added up.
	Merge bool
	// Again allows a Merge of a source that was copied into the target before:
	// its counters are counted twice then.
	Again bool
	// Source names the source for that; "": the database itself.
	Source string
	// Progress, which may be nil, is called now and then.
	Progress func(CopyProgress)
}

// CopyProgress is how far a copy has come.
type CopyProgress struct {
	What        string // the kind of rows that is being copied
	Provider    gateway.ProviderName
	Done, Total int64 // rows, of everything
}

// CopyReport is what a copy did, or would do.
type CopyReport struct {
	DryRun bool
	Tables []CopiedTable // those of which there were rows, in the order of copying
	Hashed int           // client tokens that the source kept as they are
	Took   time.Duration
}

// CopiedTable is what became of the rows of one table.
type CopiedTable struct {
	Table    string // its name
	What     string // what a row is, in plural
	Provider gateway.ProviderName
	Rows     int64  // in the source
	Added    int64  // rows of the target that are new
	Existing int64  // rows that were there: counters were added to them, others were left
	LeftOut  int64  // rows that cannot be kept: of keys that are gone, or without their key
	Counted  int64  // the sum of CountedOf in the source
	CountOf  string // which counter Counted is, "": none
	Verified bool   // rows and sums were read back from the target and are the source's
}

// Copy copies everything from one database into another: keys with their state
// and statistics, client tokens, what models refuse keys, the request log, what
// happened to keys, jobs and all sums. Keys are stored as the target stores them,
// tokens as hashes. Sessions, leases and notes of instances are not copied.
//
// It is one transaction of the target, which is verified before it is
// committed: after any error, and after a kill, the target is what it was. Over
// PostgREST, which knows no long transactions, it is many: the target is marked
// as unfinished until the last of them, and the next Copy empties it first; a
// Merge is refused there. The source is read as it is at one moment and is not
// changed; OpenSource opens one that must not even be migrated. Nothing else
// should write to either meanwhile.
func Copy(ctx context.Context, from, to *Store, o CopyOptions) (CopyReport, error) {
	began := time.Now()
	c := &copying{from: from, to: to, o: o, until: ctx}
	if to != nil && !o.DryRun && to.writer == nil {
		return CopyReport{}, gateway.Errorf(gateway.KindInvalid, "the target of a copy is open for reading only")
	}
	err := from.read(ctx, "read the store that is to be copied", func(inside context.Context, tx *sql.Tx) error {
		inside = patient(inside)
		c.in = tx
		if err := c.prepare(inside); err != nil {
			return err
		}
		switch {
		case o.DryRun:
			return c.run(inside, nil)
		case c.inSteps():
			return c.runInSteps(inside)
		}
		return to.write(ctx, "copy into the store", func(inside context.Context, out *sql.Tx) error {
			return c.run(patient(inside), out)
		})
	})
	c.report.DryRun, c.report.Took = o.DryRun, time.Since(began)
	if err != nil {
		return CopyReport{}, err
	}
	if !o.DryRun {
		to.journalled.Store(true)
	}
	return c.report, nil
}

// copying is one Copy.
type copying struct {
	from, to *Store
	o        CopyOptions
	until    context.Context // the caller's, which may end
	in       *sql.Tx         // of the source
	out      *sql.Tx         // of the target, nil in a dry run
	names    []string        // what the source is called in the target's notes

	sources []tableSource
	report  CopyReport
	done    int64
	total   int64
	now     time.Time

	hashed    []string              // tokens whose sums are to be settled, by hash
	noTallies bool                  // the provider's sums ever are to be made of older ones
	ever      map[string]*copiedSum // those of models, "" of the provider
}

// copiedSum is a row of {p}tally_ever that is made of older statistics.
type copiedSum struct {
	last                                      time.Time
	requests, success, failure, input, output int64
}

// prepare finds out what the source holds, within its transaction.
func (c *copying) prepare(ctx context.Context) error {
	if err := c.from.checkCopied(ctx, c.in); err != nil {
		return err
	}
	var err error
	if c.names, err = c.from.sourceNames(ctx, c.in, c.o.Source); err != nil {
		return err
	}
	c.sources, c.total = nil, 0
	for _, p := range gateway.Providers() {
		for i := range copiedOfProvider {
			if err := c.look(ctx, tables{p}, &copiedOfProvider[i]); err != nil {
				return err
			}
		}
	}
	for i := range copiedOnce {
		if err := c.look(ctx, tables{}, &copiedOnce[i]); err != nil {
			return err
		}
	}
	return nil
}

// look finds out about one table of the source.
func (c *copying) look(ctx context.Context, t tables, table *copyTable) error {
	src := tableSource{t: t, table: table}
	if err := src.look(ctx, c.from, c.in); err != nil {
		return err
	}
	c.sources = append(c.sources, src)
	c.total += src.rows
	return nil
}

// run copies everything into the target's transaction, or reads it only. It may
// be called again after it failed.
func (c *copying) run(ctx context.Context, out *sql.Tx) error {
	c.out, c.report, c.done, c.now = out, CopyReport{}, 0, c.from.now()
	if !c.o.DryRun && !c.inSteps() {
		if err := c.mayWrite(ctx, out); err != nil {
			return err
		}
	}
	for i := range c.sources {
		src := &c.sources[i]
		if i == 0 || c.sources[i-1].t != src.t {
			if err := c.begin(src.t); err != nil {
				return err
			}
		}
		if err := c.copyTable(ctx, src); err != nil {
			return fmt.Errorf("%s: %w", src.name(), err)
		}
	}
	if c.o.DryRun {
		return c.until.Err()
	}
	return c.step(ctx, func(ctx context.Context, out *sql.Tx) error {
		if err := c.tell(ctx, out); err != nil {
			return err
		}
		for _, name := range c.names {
			if err := setMeta(ctx, out, copiedMark+name, c.to.now().UTC().Format(time.RFC3339)); err != nil {
				return err
			}
		}
		if !c.inSteps() {
			return nil
		}
		return setMeta(ctx, out, metaUnfinished, "")
	})
}

// step does something in the target: in the transaction of the copy, or in one
// of its own.
func (c *copying) step(ctx context.Context, fn func(ctx context.Context, out *sql.Tx) error) error {
	if c.out != nil {
		return fn(ctx, c.out)
	}
	return c.to.write(c.until, "copy into the store", func(ctx context.Context, out *sql.Tx) error { return fn(patient(ctx), out) })
}

// inSteps reports whether the target takes no long transaction.
func (c *copying) inSteps() bool { return c.to != nil && c.to.Engine() == EnginePostgREST }

// metaUnfinished is the name in pool_meta of the mark of a target into which a
// copy was begun in steps and not ended.
const metaUnfinished = "copy_unfinished"

// runInSteps is run for a target that takes no long transaction.
func (c *copying) runInSteps(ctx context.Context) error {
	if c.o.Merge {
		return gateway.Errorf(gateway.KindInvalid, "nothing can be merged over PostgREST, since a copy that is cut off could not be undone: use the address of the database itself")
	}
	left := ""
	err := c.step(ctx, func(ctx context.Context, out *sql.Tx) (err error) {
		if err := c.mayWrite(ctx, out); err != nil {
			return err
		}
		if left, err = meta(ctx, out, metaUnfinished); err != nil || left != "" {
			return err
		}
		return setMeta(ctx, out, metaUnfinished, "1")
	})
	if err == nil && left != "" {
		err = c.empty(ctx)
	}
	if err != nil {
		return err
	}
	return c.run(ctx, nil)
}

// empty deletes what a copy in steps that was cut off has left.
func (c *copying) empty(ctx context.Context) error {
	for i := range c.sources {
		text := "delete from " + c.sources[len(c.sources)-1-i].name() //nolint:gosec // a name of our own
		if err := c.step(ctx, func(ctx context.Context, out *sql.Tx) error {
			_, err := out.ExecContext(ctx, text)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// tell tells instances that work on the target that everything may be another.
func (c *copying) tell(ctx context.Context, out *sql.Tx) error {
	if !c.to.tells() {
		return nil
	}
	for _, p := range gateway.Providers() {
		if err := c.to.note(ctx, out, gateway.Change{Kind: gateway.ChangeKeys, Provider: p}); err != nil {
			return err
		}
	}
	return c.to.note(ctx, out, gateway.Change{Kind: gateway.ChangeTokens})
}

// begin is called before a provider's tables.
func (c *copying) begin(t tables) error {
	c.hashed, c.ever, c.noTallies = nil, map[string]*copiedSum{}, true
	for i := range c.sources {
		if s := &c.sources[i]; s.t == t && s.table == tallyEver && s.there {
			c.noTallies = false
		}
	}
	return c.until.Err()
}

// mayWrite refuses a target that holds something, without Merge, and a second
// copy of the same source, with it.
func (c *copying) mayWrite(ctx context.Context, out *sql.Tx) error {
	if err := c.to.checkSeal(ctx, out); err != nil {
		return err
	}
	if !c.o.Merge {
		held, err := c.to.contents(ctx, out)
		if err != nil || len(held) == 0 {
			return err
		}
		return ErrTargetHolds{held}
	}
	if c.o.Again {
		return nil
	}
	for _, name := range c.names {
		when, err := meta(ctx, out, copiedMark+name)
		if err != nil {
			return err
		}
		if when != "" {
			return ErrCopiedBefore{when}
		}
	}
	return nil
}

// ErrCopiedBefore says that a source was copied into the target before, and
// when. To do it again would count everything twice.
type ErrCopiedBefore struct{ When string }

// Error says when it was.
func (e ErrCopiedBefore) Error() string {
	return "this source was copied into the target before, on " + e.When
}

// ErrTargetHolds says that a target is not empty, and what it holds.
type ErrTargetHolds struct{ Held []Held }

// Error names what the target holds.
func (e ErrTargetHolds) Error() string {
	return "the target is not empty: it holds " + HeldText(e.Held)
}

// Held is what a database holds of one kind.
type Held struct {
	What     string // in plural, such as "keys"
	Provider gateway.ProviderName
	Rows     int64
}

// HeldText lists what a database holds in one line.
func HeldText(held []Held) string {
	parts := make([]string, len(held))
	for i, h := range held {
		parts[i] = h.What
		if h.Provider != "" {
			parts[i] += " of " + string(h.Provider)
		}
		parts[i] += fmt.Sprintf(": %d", h.Rows)
	}
	return strings.Join(parts, ", ")
}

// Contents tells what a database holds of what Copy copies, nothing for an empty
// one and for one that a copy in steps has left unfinished. It changes nothing.
func (s *Store) Contents(ctx context.Context) (held []Held, err error) {
	err = s.read(ctx, "look what the store holds", func(ctx context.Context, tx *sql.Tx) error {
		held, err = s.contents(ctx, tx)
		return err
	})
	return held, err
}

func (s *Store) contents(ctx context.Context, q querier) ([]Held, error) {
	var held []Held
	if left, err := s.unfinished(ctx, q); err != nil || left {
		return nil, err
	}
	look := func(t tables, table *copyTable) error {
		has, err := s.dialect.hasColumn(ctx, q, t.sql(table.table), table.columns[0].name)
		if err != nil || !has {
			return err
		}
		text := "select count(*) from " + table.table
		if table.empty != "" {
			text += " where not (" + table.empty + ")"
		}
		h := Held{What: table.what, Provider: t.provider}
		if err := q.QueryRowContext(ctx, t.sql(text)).Scan(&h.Rows); err != nil {
			return err
		}
		if h.Rows > 0 {
			held = append(held, h)
		}
		return nil
	}
	for _, p := range gateway.Providers() {
		for i := range copiedOfProvider {
			if err := look(tables{p}, &copiedOfProvider[i]); err != nil {
				return nil, err
			}
		}
	}
	for i := range copiedOnce {
		if err := look(tables{}, &copiedOnce[i]); err != nil {
			return nil, err
		}
	}
	return held, nil
}
