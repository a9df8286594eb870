package sqlstore

import (
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
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	now := at(s.now())
	var groups []gateway.RestGroup
	err = s.read(ctx, "count the resting keys in the store", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.sql(`select max(k.rests_until), coalesce(k.last_error, ''), count(*) from {p}keys k
			where k.rests_until > ? and `+derivedStatus+` = 'resting'
			group by `+s.dialect.minuteOf("k.rests_until")+`, coalesce(k.last_error, '') order by 1, 2`),
			slices.Repeat([]any{now}, 1+statusTimes)...)
		if err != nil {
			return err
		}
		type row struct {
			group gateway.RestGroup
			until when
		}
		found, err := collect(rows, func(r *row) []any { return []any{&r.until, &r.group.Reason, &r.group.Keys} })
		for i := range found {
			found[i].group.Until = found[i].until.Time
			groups = append(groups, found[i].group)
		}
		return err
	})
	return groups, err
}

// outRow is a row of outGroups.
type outRow struct {
	group   gateway.OutGroup
	returns when
}

func (r *outRow) into() []any {
	g := &r.group
	return []any{&g.Status, &g.Disabled, &g.Reason, &g.Keys, &g.Accounts, &r.returns}
}

// outGroups groups the keys that are out. Each of the three innermost lines finds
// those of one status, through an index. A key returns when the last of its
// marks is over, unless it expires before. It takes the present time outTimes
// times.
const (
	outGroups = `select status, reason, last_error, count(*),
		count(distinct case when account <> 'n/a' then nullif(account, '') end),
		min(case when expires_at <= until then null else until end)
	from (select status, reason, last_error, account, expires_at,
			case when rests_until > until then rests_until else until end as until
		from (select status, reason, last_error, account, expires_at, rests_until,
				case when failed_until > until then failed_until else until end as until
			from (
				select 'expired' as status, '' as reason, null as until, ` + outColumns + ` where k.expires_at <= ?
				union all select 'failed', '', k.failed_until, ` + outColumns + ` where k.failed_until > ? and ` + derivedStatus + ` = 'failed'
				union all select 'disabled', ` + disabledReason + `, k.disabled_until, ` + outColumns + ` where ` + markDisabled + ` and ` + derivedStatus + ` = 'disabled'
			) o) o) o
	group by status, reason, last_error
	order by count(*) desc, status, reason, last_error`
	outColumns = `coalesce(k.last_error, '') as last_error, lower(trim(coalesce(k.username, ''))) as account,
		k.expires_at, k.failed_until, k.rests_until from {p}keys k`
	outTimes = 2 + 2*statusTimes
)

// Outs counts the keys that are out for another reason than a rest, by that
// reason; the one with the most keys first. Accounts are the user names that
// name one; of expired keys none returns.
func (s *Store) Outs(ctx context.Context, p gateway.ProviderName) ([]gateway.OutGroup, error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	var groups []gateway.OutGroup
	err = s.read(ctx, "count the keys in the store that are out", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.sql(outGroups), slices.Repeat([]any{at(s.now())}, outTimes)...)
		if err != nil {
			return err
		}
		found, err := collect(rows, (*outRow).into)
		for i := range found {
			found[i].group.Returns = found[i].returns.Time
			groups = append(groups, found[i].group)
		}
		return err
	})
	return groups, err
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
