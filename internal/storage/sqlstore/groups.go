package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// KeyIDs returns the ids of all keys that a filter chooses, in no particular
// order: the same ones that Keys lists.
func (s *Store) KeyIDs(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter) ([]gateway.KeyID, error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	if err := checkFilter(&f); err != nil {
		return nil, err
	}
	const did = "choose keys in the store"
	if err := s.adopt(ctx, t); err != nil {
		return nil, s.dialect.fault(did, err)
	}
	var ids []gateway.KeyID
	err = s.read(ctx, did, func(inside context.Context, tx *sql.Tx) error {
		where, err := s.where(inside, tx, t, f, at(s.now()))
		if err != nil {
			return err
		}
		rows, err := tx.QueryContext(inside, t.sql("select coalesce(k.key_id, '') from {p}keys k "+where.text), where.args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var id string
		for rows.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := rows.Scan(&id); err != nil {
				return err
			}
			if id != "" { // of a row that has come this moment
				ids = append(ids, gateway.KeyID(id))
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// Rests counts the resting keys by the minute in which they return and by the
// reason, the soonest first.
func (s *Store) Rests(ctx context.Context, p gateway.ProviderName) ([]gateway.RestGroup, error) {
	type name struct {
		minute time.Time
		reason string
	}
	groups := map[name]*gateway.RestGroup{}
	now := s.now()
	err := s.eachMarked(ctx, p, "k.rests_until > ?", []any{at(now)}, func(r *markedRow, st *gateway.KeyState) {
		if st.StatusAt(now, r.expires.Time) != gateway.KeyResting {
			return
		}
		is := name{st.RestsUntil.Truncate(time.Minute), st.LastError}
		g := groups[is]
		if g == nil {
			g = &gateway.RestGroup{Reason: st.LastError}
			groups[is] = g
		}
		g.Keys++
		g.Until = latest(g.Until, st.RestsUntil)
	})
	if err != nil {
		return nil, err
	}
	return sorted(groups, func(a, b gateway.RestGroup) int {
		return cmp.Or(a.Until.Compare(b.Until), cmp.Compare(a.Reason, b.Reason))
	}), nil
}

// Outs counts the keys that are out for another reason than a rest, by that
// reason; the one with the most keys first.
func (s *Store) Outs(ctx context.Context, p gateway.ProviderName) ([]gateway.OutGroup, error) {
	type name struct {
		status   gateway.KeyStatus
		disabled gateway.DisabledReason
		reason   string
	}
	groups := map[name]*gateway.OutGroup{}
	accounts := map[name]map[string]bool{}
	now := s.now()
	err := s.eachMarked(ctx, p, "(k.expires_at <= ? or k.failed_until > ? or "+markDisabled+")", []any{at(now), at(now)}, func(r *markedRow, st *gateway.KeyState) {
		is := name{status: st.StatusAt(now, r.expires.Time), reason: st.LastError}
		switch is.status {
		case gateway.KeyActive, gateway.KeyResting:
			return
		case gateway.KeyDisabled:
			is.disabled = st.Disabled
		case gateway.KeyFailed, gateway.KeyExpired:
		}
		g := groups[is]
		if g == nil {
			g = &gateway.OutGroup{Status: is.status, Disabled: is.disabled, Reason: is.reason}
			groups[is], accounts[is] = g, map[string]bool{}
		}
		g.Keys++
		g.Returns = earliest(g.Returns, returnsAt(st, is.status, r.expires.Time))
		if account := gateway.AccountOf(r.username); account != "" {
			accounts[is][account] = true
		}
	})
	if err != nil {
		return nil, err
	}
	for is, g := range groups {
		g.Accounts = len(accounts[is])
	}
	return sorted(groups, func(a, b gateway.OutGroup) int {
		return cmp.Or(cmp.Compare(b.Keys, a.Keys), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Disabled, b.Disabled), cmp.Compare(a.Reason, b.Reason))
	}), nil
}

// returnsAt is when a key that is out serves again without anybody's doing: when
// the last of its marks is over, unless it expires before. Zero: never.
func returnsAt(st *gateway.KeyState, status gateway.KeyStatus, expires time.Time) time.Time {
	if status == gateway.KeyExpired || status == gateway.KeyDisabled && st.DisabledUntil.IsZero() {
		return time.Time{}
	}
	until := latest(st.FailedUntil, st.RestsUntil)
	if status == gateway.KeyDisabled {
		until = latest(until, st.DisabledUntil)
	}
	if !expires.IsZero() && !until.Before(expires) {
		return time.Time{}
	}
	return until
}

// markedRow is what a key's status and its group follow from.
type markedRow struct {
	username                         string
	expires, failed, disabled, rests when
	state                            gateway.KeyState
}

// eachMarked calls visit for the keys that fulfil a condition, each with its
// marks, in no particular order.
func (s *Store) eachMarked(ctx context.Context, p gateway.ProviderName, condition string, args []any, visit func(*markedRow, *gateway.KeyState)) error {
	t, err := tablesOf(p)
	if err != nil {
		return err
	}
	return s.read(ctx, "group the keys in the store", func(inside context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(inside, t.sql("select coalesce(k.username, ''), k.expires_at, "+disabledReason+
			", k.failed_until, k.disabled_until, k.rests_until, coalesce(k.last_error, '') from {p}keys k where "+condition), args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		var r markedRow
		st := &r.state
		into := []any{&r.username, &r.expires, (*string)(&st.Disabled), &r.failed, &r.disabled, &r.rests, &st.LastError}
		for rows.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := rows.Scan(into...); err != nil {
				return err
			}
			st.FailedUntil, st.DisabledUntil, st.RestsUntil = r.failed.Time, r.disabled.Time, r.rests.Time
			visit(&r, st)
		}
		return rows.Err()
	})
}

// sorted gives the groups in an order.
func sorted[N comparable, G any](groups map[N]*G, order func(a, b G) int) []G {
	list := make([]G, 0, len(groups))
	for _, g := range groups {
		list = append(list, *g)
	}
	slices.SortFunc(list, order)
	return list
}

// ExpiringKeys counts the keys whose time to live ends at from or later and
// before until.
func (s *Store) ExpiringKeys(ctx context.Context, p gateway.ProviderName, from, until time.Time) (n int, err error) {
	t, err := tablesOf(p)
	if err != nil {
		return 0, err
	}
	if from.IsZero() {
		from = time.Unix(0, 0)
	}
	err = s.read(ctx, "count the keys in the store that will expire", func(ctx context.Context, tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, t.sql("select count(*) from {p}keys where expires_at >= ? and expires_at < ?"), at(from), at(until)).Scan(&n)
	})
	return n, err
}
