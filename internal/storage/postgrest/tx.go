package postgrest

import (
	"context"
	"database/sql/driver"
	"errors"
)

// tx is a transaction: the statements so far and what was told of them.
type tx struct {
	conn     *conn
	ctx      context.Context // of the caller who began it
	readOnly bool
	all      []*sent
	writes   bool   // one of them may change something
	tries    *tries // of which this is one, nil: it is the only one
	memory   memory // what the tries before it gave
	guesses  bool   // it may guess
	snapshot string // the moment of the last read, where it only reads
	ready    memory // what that gave, of queries that are yet to come
	doomed   error  // it cannot be committed any more
}

var errReadOnly = errors.New("a transaction that only reads cannot write")

// exec remembers a statement. It is run when something needs to be known.
func (t *tx) exec(s *sent) (driver.Result, error) {
	if t.readOnly {
		return nil, errReadOnly
	}
	if t.doomed != nil {
		return nil, t.doomed
	}
	if was, ok := t.memory.next(s); ok {
		s.was = &was
	}
	t.all = append(t.all, s)
	t.writes = true
	return &outcome{t, s}, nil
}

// outcome implements driver.Result of a statement in a transaction.
type outcome struct {
	tx   *tx
	sent *sent
}

// LastInsertId implements driver.Result.
func (o *outcome) LastInsertId() (int64, error) {
	return 0, errors.New("PostgreSQL tells no id that was inserted last")
}

// RowsAffected implements driver.Result. As long as it is not known it is
// guessed: as it was when this transaction was tried before, else 1. Where that
// may not be, or has failed too often, it is asked.
func (o *outcome) RowsAffected() (int64, error) {
	s, t := o.sent, o.tx
	if !s.known && !s.ran && !t.guesses && t.doomed == nil && t.conn.tx == t {
		if err := t.replay(t.ctx); err != nil {
			return 0, err
		}
	}
	if !s.known && !s.ran {
		s.guess = true
		if s.result = (result{Count: 1, Digest: "1"}); s.was != nil {
			s.result = *s.was
		}
	}
	s.known = true
	return s.result.Count, nil
}

// query runs a query, with everything before it of which it may see something.
func (t *tx) query(ctx context.Context, s *sent) (r result, err error) {
	if t.doomed != nil {
		return r, t.doomed
	}
	if t.readOnly {
		return t.look(ctx, s)
	}
	if was, ok := t.memory.next(s); ok && t.guesses && was.Rows != nil && !s.loose {
		s.known, s.guess, s.result = true, true, was
		t.add(s)
		return was, nil
	}
	if texts, is := ctx.Value(guessKey{}).([]string); is && t.guesses {
		s.known, s.guess, s.result = true, true, guessed(texts)
		t.add(s)
		return s.result, nil
	}
	if !t.writes && s.reads { // whether it still gives the same is seen at the commit
		a, err := t.conn.c.read(ctx, []*sent{s}, nil, "")
		if err != nil {
			return r, err
		}
		s.known, s.result = true, a.Results[0]
		t.add(s)
		return s.result, nil
	}
	t.add(s)
	if err := t.replay(ctx); err != nil {
		return r, err
	}
	s.known = true
	return s.result, nil
}

func (t *tx) add(s *sent) {
	t.all = append(t.all, s)
	t.writes = t.writes || !s.reads
}

// look runs a query of a transaction that only reads.
func (t *tx) look(ctx context.Context, s *sent) (r result, err error) {
	if !s.reads {
		return r, errReadOnly
	}
	if r, is := t.ready.next(s); is {
		s.known, s.result = true, r
		t.all = append(t.all, s)
		return r, nil
	}
	run := []*sent{s}
	if len(t.all) == 0 {
		if planned := t.tries.planned(s); planned != nil {
			run = planned
		}
	}
	a, err := t.conn.c.read(ctx, run, t.all, t.snapshot)
	if err != nil {
		return r, err
	}
	if !a.Same {
		t.doomed = conflict(readName)
		t.tries.plan(unknown(append(t.all, s)))
		return r, t.doomed
	}
	t.snapshot, t.ready = a.Snapshot, newMemory()
	for i := 1; i < len(run); i++ {
		t.ready.add(run[i], a.Results[i])
	}
	s.known, s.result = true, a.Results[0]
	t.all = append(t.all, s)
	return s.result, nil
}

// unknown are statements as they were before they were run.
func unknown(all []*sent) []*sent {
	again := make([]*sent, len(all))
	for i, s := range all {
		again[i] = &sent{text: s.text, args: s.args, query: s.query, reads: s.reads, loose: s.loose, sum: s.sum}
	}
	return again
}

// replay runs what may change something, and what is not known, in one call that
// undoes it. A guess that was wrong dooms the transaction.
func (t *tx) replay(ctx context.Context) error {
	var run []*sent
	for _, s := range t.all {
		if !s.known || !s.reads || s.guess && !s.loose {
			run = append(run, s)
		}
	}
	a, err := t.conn.c.run(ctx, run, false)
	if err != nil {
		return err
	}
	if !a.Same {
		t.fail(run, &a)
		return t.doomed
	}
	for i, s := range run {
		if !s.known {
			s.ran, s.result = true, a.Results[i]
		}
		s.guess = false
	}
	return nil
}

// fail dooms the transaction and remembers what the statements gave.
func (t *tx) fail(run []*sent, a *answer) {
	t.doomed = conflict(runName)
	found := map[*sent]result{}
	for i := range a.Results {
		found[run[i]] = a.Results[i]
	}
	was := newMemory()
	for _, s := range t.all {
		r, ran := found[s]
		if !ran && !s.known {
			continue
		}
		if !ran || s.known && r.Digest == s.result.Digest {
			r = s.result // with its rows
		}
		was.add(s, r)
	}
	t.tries.missed(was)
}

// Commit implements driver.Tx.
func (t *tx) Commit() error {
	t.conn.tx = nil
	if t.doomed != nil {
		return t.doomed
	}
	if !t.writes {
		return nil
	}
	a, err := t.conn.c.run(context.WithoutCancel(t.ctx), t.all, true)
	if err != nil {
		return err
	}
	if !a.Done {
		t.fail(t.all, &a)
		return t.doomed
	}
	for i, s := range t.all {
		if !s.known {
			s.ran, s.result = true, a.Results[i]
		}
	}
	return nil
}

// Rollback implements driver.Tx. What was done by wrong guesses may have led to
// an error that there is no reason for: then the transaction has failed to
// serialize, and that is what is returned.
func (t *tx) Rollback() error {
	t.conn.tx = nil
	if t.doomed != nil {
		return t.doomed
	}
	guessed := false
	for _, s := range t.all {
		guessed = guessed || s.guess
	}
	if !guessed || t.ctx.Err() != nil {
		return nil
	}
	if err := t.replay(t.ctx); t.doomed != nil {
		return err
	}
	return nil
}
