package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Marks end by themselves: every reader of ours derives a key's status from the
// stored times and the present, see derivedStatus, and so nobody writes down that
// a mark is over. Other programs read the columns as they are. For them somebody
// brings the columns up to date every few seconds, for all instances. That is no
// change of a state: its version stays, nobody is told, and what is written from
// that version still fits.

// settleRows is how many rows are brought up to date in one transaction, so that
// others who write need not wait for all of them.
const settleRows = 2000

// Which rows are behind: {p}keys as k with a mark or a life whose time is over
// and a status that says otherwise. The present comes behindTimes times.
const (
	behind = `k.key_id is not null
		and (k.failed_until <= ? or k.disabled_until <= ? or k.rests_until <= ? or k.expires_at <= ?)
		and coalesce(k.status, '') <> ` + derivedStatus
	behindTimes = 4 + statusTimes

	// settle takes away the marks that are over. Rests of unknown length,
	// failures in a row and the last error stay, as they tell what comes next.
	settle = `update {p}keys as k set status = ` + derivedStatus + `,
		failed_until = case when k.failed_until <= ? then null else k.failed_until end,
		rests_until = case when k.rests_until <= ? then null else k.rests_until end,
		disabled_reason = case when k.disabled_until <= ? then '' else (` + disabledReason + `) end,
		disabled_until = case when k.disabled_until <= ? then null else k.disabled_until end
		where ` + behind + ` and k.key_id in {ids} returning key_id`
	settleTimes = statusTimes + 4 + behindTimes
)

// SettleStates brings the columns of keys up to date whose marks or lives are
// over, for other programs that read them, in several short transactions, and
// tells how many keys those were. What this package says of keys is the same
// before and after. It may be called concurrently.
func (s *Store) SettleStates(ctx context.Context) (int, error) {
	n := 0
	for _, p := range gateway.Providers() {
		t := tables{p}
		ids, now, err := s.behind(ctx, t)
		if err != nil {
			return n, err
		}
		for some := range slices.Chunk(ids, settleRows) {
			err := ctx.Err()
			settled := 0
			if err == nil {
				settled, err = s.settleSome(ctx, t, some, now)
			}
			if err != nil {
				return n, err
			}
			n += settled
		}
	}
	return n, nil
}

// behind finds the keys whose columns are behind, and the time at which that was
// so. A clock that is ahead, ours or the database's, ends no mark too early.
func (s *Store) behind(ctx context.Context, t tables) (ids []gateway.KeyID, now time.Time, err error) {
	err = s.read(ctx, "look for keys that have come back", func(inside context.Context, tx *sql.Tx) error {
		if now, err = s.dialect.clock(inside, tx, s.now); err != nil {
			return err
		}
		if ours := s.now(); ours.Before(now) {
			now = ours
		}
		rows, err := tx.QueryContext(inside, t.sql("select k.key_id from {p}keys k where "+behind), slices.Repeat([]any{at(now)}, behindTimes)...)
		if err != nil {
			return err
		}
		ids, err = collect(rows, func(id *gateway.KeyID) []any { return []any{(*string)(id)} })
		return err
	})
	return ids, now, err
}

// settleSome brings the columns of some keys up to date, where nobody else has
// changed them meanwhile.
func (s *Store) settleSome(ctx context.Context, t tables, ids []gateway.KeyID, now time.Time) (n int, err error) {
	err = s.write(ctx, "write that keys have come back", func(inside context.Context, tx *sql.Tx) error {
		n = 0
		b := s.batch(inside, ctx, tx, t)
		b.returning(settle, ids, func(gateway.KeyID) { n++ }, slices.Repeat([]any{at(now)}, settleTimes)...)
		return b.err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
