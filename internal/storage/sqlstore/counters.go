package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// batch writes one provider's delta. After an error its methods do nothing.
type batch struct {
	d     dialect
	ctx   context.Context // does not end, see write
	until context.Context // the caller's
	tx    *sql.Tx
	t     tables
	now   time.Time
	err   error
	stmts map[string]*sql.Stmt // prepared already, by text; the transaction's end closes them
}

// batch makes one for a transaction. Its context, inside, is that of the
// transaction; until is the caller's.
func (s *Store) batch(inside, until context.Context, tx *sql.Tx, t tables) batch {
	return batch{d: s.dialect, ctx: inside, until: until, tx: tx, t: t, now: s.now()}
}

// run executes one statement for each list of values that the loop gives to
// exec.
func (b *batch) run(text string, loop func(exec func(args ...any))) {
	b.counted(text, func(exec func(args ...any) func() int64) {
		loop(func(args ...any) { exec(args...) })
	})
}

// counted is run where it matters how many rows were changed: what exec returns
// tells it. An engine that is far away answers sooner where that is asked after
// everything was executed.
func (b *batch) counted(text string, loop func(exec func(args ...any) (changed func() int64))) {
	if b.err != nil {
		return
	}
	stmt := b.prepare(text)
	loop(func(args ...any) func() int64 {
		if b.err == nil {
			b.err = b.until.Err()
		}
		if b.err != nil {
			return func() int64 { return 0 }
		}
		res, err := stmt.ExecContext(b.ctx, args...)
		if err != nil {
			b.err = err
			return func() int64 { return 0 }
		}
		return func() int64 {
			n, err := res.RowsAffected()
			b.err = cmp.Or(b.err, err)
			return n
		}
	})
}

// prepare prepares a statement, or gives that which is prepared already.
func (b *batch) prepare(text string) *sql.Stmt {
	if stmt := b.stmts[text]; stmt != nil {
		return stmt
	}
	stmt, err := b.tx.PrepareContext(b.ctx, b.t.sql(text))
	if err != nil {
		b.err = err
		return nil
	}
	if b.stmts == nil {
		b.stmts = map[string]*sql.Stmt{}
	}
	b.stmts[text] = stmt
	return stmt
}

// requests counts clients' requests: in total, by model, by model and hour.
func (b *batch) requests(d *gateway.Delta) {
	if d.Global != (gateway.Counts{}) {
		b.run(`insert into {p}global_stats as g (id, total_requests, success_count, failure_count, input_tokens, output_tokens, updated_at)
			values ('global', ?, ?, ?, ?, ?, ?)
			on conflict (id) do update set
				total_requests = coalesce(g.total_requests, 0) + excluded.total_requests,
				success_count = coalesce(g.success_count, 0) + excluded.success_count,
				failure_count = coalesce(g.failure_count, 0) + excluded.failure_count,
				input_tokens = coalesce(g.input_tokens, 0) + excluded.input_tokens,
				output_tokens = coalesce(g.output_tokens, 0) + excluded.output_tokens,
				updated_at = excluded.updated_at`, func(exec func(args ...any)) {
			c := d.Global
			exec(c.Requests, c.Success, c.Failure, c.Usage.Input, c.Usage.Output, at(b.now))
		})
	}
	if len(d.Models) == 0 {
		return
	}
	provider := string(b.t.provider)
	b.run(`insert into {p}model_stats as m (provider, model, total_requests, success_count, failure_count, input_tokens, output_tokens, last_used, created_at)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?)
		on conflict (provider, model) do update set
			total_requests = coalesce(m.total_requests, 0) + excluded.total_requests,
			success_count = coalesce(m.success_count, 0) + excluded.success_count,
			failure_count = coalesce(m.failure_count, 0) + excluded.failure_count,
			input_tokens = coalesce(m.input_tokens, 0) + excluded.input_tokens,
			output_tokens = coalesce(m.output_tokens, 0) + excluded.output_tokens,
			last_used = case when m.last_used is null or m.last_used < excluded.last_used then excluded.last_used else m.last_used end`,
		func(exec func(args ...any)) {
			for _, m := range d.Models {
				c := m.Counts
				exec(provider, clean(m.Model), c.Requests, c.Success, c.Failure, c.Usage.Input, c.Usage.Output, at(m.LastUsed), at(b.now))
			}
		})
	b.run(`insert into {p}model_hourly as m (provider, model, hour, requests, success, failure, input_tokens, output_tokens, created_at)
		values (?, ?, ?, ?, ?, ?, ?, ?, ?)
		on conflict (provider, model, hour) do update set
			requests = coalesce(m.requests, 0) + excluded.requests,
			success = coalesce(m.success, 0) + excluded.success,
			failure = coalesce(m.failure, 0) + excluded.failure,
			input_tokens = coalesce(m.input_tokens, 0) + excluded.input_tokens,
			output_tokens = coalesce(m.output_tokens, 0) + excluded.output_tokens`,
		func(exec func(args ...any)) {
			for _, m := range d.Models {
				if m.Hour.IsZero() {
					continue // counted by model alone
				}
				c := m.Counts
				exec(provider, clean(m.Model), at(m.Hour), c.Requests, c.Success, c.Failure, c.Usage.Input, c.Usage.Output, at(b.now))
			}
		})
}

// tokens counts requests by client token.
func (b *batch) tokens(deltas []gateway.TokenDelta) {
	if len(deltas) == 0 {
		return
	}
	b.counted(`update {p}client_tokens set
		request_count = coalesce(request_count, 0) + ?,
		input_tokens = coalesce(input_tokens, 0) + ?,
		output_tokens = coalesce(output_tokens, 0) + ?,
		last_used = case when last_used is null or last_used < ? then ? else last_used end
		where token = ?`, func(exec func(args ...any) func() int64) {
		count := func(d *gateway.TokenDelta, stored string) func() int64 {
			used := at(d.LastUsed)
			return exec(d.Counts.Requests, d.Counts.Usage.Input, d.Counts.Usage.Output, used, used, stored)
		}
		counted := make([]func() int64, len(deltas))
		for i := range deltas {
			counted[i] = count(&deltas[i], deltas[i].Hash)
		}
		var plain map[string]string // the tokens stored as they are, read when one is met
		for i := range deltas {
			if counted[i]() > 0 || b.err != nil {
				continue
			}
			if plain == nil {
				plain, b.err = plainTokens(b.ctx, b.tx, b.t)
			}
			if stored, ok := plain[deltas[i].Hash]; ok {
				count(&deltas[i], stored)
			}
		}
	})
}

// addUp adds attempts to the keys' statistics. The rate of success leaves out
// attempts that the client broke off.
func (b *batch) addUp(keys []summed) {
	counted := slices.DeleteFunc(slices.Clone(keys), func(k summed) bool { return !k.counted })
	b.runRows(addAttempts, len(counted), func(args []any, i int) []any {
		c := &counted[i].counts
		return append(args, counted[i].id, c.Total, c.Success, c.Failure, at(c.LastUsed), at(c.LastSuccess), at(c.LastFailure))
	})
}

// addAttempts adds to rows of keys. Keys that are not there any more fall out at
// the join.
const addAttempts = `with d (key_id, total, ok, bad, used, used_ok, used_bad) as
	({rows text, bigint, bigint, bigint, timestamptz, timestamptz, timestamptz})
	insert into {p}key_stats as s (api_key, total_requests, success_count, failure_count, success_rate,
		last_used, last_success, last_failure, consecutive_failures, created_at)
	select k.api_key, d.total, d.ok, d.bad, coalesce(round(100.0 * d.ok / nullif(d.ok + d.bad, 0), 2), 0),
		d.used, d.used_ok, d.used_bad, k.consecutive_failures, k.created_at
	from d join {p}keys k on k.key_id = d.key_id where true
	on conflict (api_key) do update set
		total_requests = coalesce(s.total_requests, 0) + excluded.total_requests,
		success_count = coalesce(s.success_count, 0) + excluded.success_count,
		failure_count = coalesce(s.failure_count, 0) + excluded.failure_count,
		success_rate = coalesce(round(100.0 * (coalesce(s.success_count, 0) + excluded.success_count)
			/ nullif(coalesce(s.success_count, 0) + excluded.success_count
				+ coalesce(s.failure_count, 0) + excluded.failure_count, 0), 2), 0),
		last_used = case when s.last_used is null or s.last_used < excluded.last_used then excluded.last_used else s.last_used end,
		last_success = case when s.last_success is null or s.last_success < excluded.last_success then excluded.last_success else s.last_success end,
		last_failure = case when s.last_failure is null or s.last_failure < excluded.last_failure then excluded.last_failure else s.last_failure end`

// refusals writes which models keys may not use, and forgets what is over. Of
// several for one key and model, as attempts at the same time bring them, the
// one that lasts longest counts. What was learnt before an operator's last act
// is left out.
func (b *batch) refusals(refusals []gateway.Refusal) {
	if len(refusals) == 0 {
		return
	}
	b.run(`delete from {p}key_refusals where key_id = ? and model = ?
		and not exists (select 1 from {p}keys k where k.key_id = ? and k.forced_version > ?)`, func(exec func(args ...any)) {
		for _, r := range refusals {
			exec(string(r.Key), clean(r.Model), string(r.Key), r.Version)
		}
	})
	b.run("delete from {p}key_refusals where until <= ?", func(exec func(args ...any)) { exec(at(b.now)) })
	b.run(`insert into {p}key_refusals as r (key_id, model, until)
		select key_id, ?, ? from {p}keys where key_id = ? and forced_version <= ?
		on conflict (key_id, model) do update set until = excluded.until where r.until < excluded.until`, func(exec func(args ...any)) {
		for _, r := range refusals {
			if r.Until.After(b.now) {
				exec(clean(r.Model), at(r.Until), string(r.Key), r.Version)
			}
		}
	})
}
