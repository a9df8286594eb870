package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Apply writes down what happened, in one transaction: counts are added to
// those that are stored, states and refusals replace them, the request log and
// the keys' events are added to. A refusal whose time is over is deleted. Keys
// and tokens that are not there any more are skipped.
func (s *Store) Apply(ctx context.Context, deltas []gateway.Delta) error {
	nothing := true
	for i := range deltas {
		nothing = nothing && deltas[i].Empty()
	}
	if nothing {
		return nil
	}
	journalled := false
	err := s.write(ctx, "write counters to the store", func(inside context.Context, tx *sql.Tx) error {
		for i := range deltas {
			t, err := tablesOf(deltas[i].Provider)
			if err != nil {
				return err
			}
			b := batch{ctx: inside, until: ctx, tx: tx, t: t, now: s.now()}
			b.requests(&deltas[i])
			b.tokens(deltas[i].Tokens)
			b.states(deltas[i].States)
			journalled = b.keys(&deltas[i]) || journalled
			b.refusals(deltas[i].Refusals)
			b.tallies(deltas[i].Tallies)
			b.log(deltas[i].Log)
			b.events(deltas[i].Events)
			if b.err != nil {
				return b.err
			}
		}
		return nil
	})
	// After the commit: a Fold that runs at the same time must not take the
	// mark away before there is anything to see.
	if journalled {
		s.journalled.Store(true)
	}
	return err
}

// batch writes one provider's delta. After an error its methods do nothing.
type batch struct {
	ctx   context.Context // does not end, see write
	until context.Context // the caller's
	tx    *sql.Tx
	t     tables
	now   time.Time
	err   error
	stmts map[string]*sql.Stmt // prepared already, by text; the transaction's end closes them
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

// states writes what has been learnt about keys. Keys that follow each other and
// have the same state, as after an act of the operator, share a statement.
func (b *batch) states(changes []gateway.StateChange) {
	if len(changes) == 0 {
		return
	}
	for from := 0; from < len(changes); {
		st := changes[from].State
		ids := make([]gateway.KeyID, 0, 1)
		for ; from < len(changes) && changes[from].State == st; from++ {
			ids = append(ids, changes[from].Key)
		}
		whole := len(ids) - len(ids)%idsAtOnce
		b.state(&st, ids[:whole])
		for i := range ids[whole:] { // not to prepare a statement for every length
			b.state(&st, ids[whole+i:][:1])
		}
	}
}

// state writes the state of keys that have the same.
func (b *batch) state(st *gateway.KeyState, ids []gateway.KeyID) {
	status := st.StatusAt(b.now, time.Time{})
	b.byIDs(`update {p}keys set
		status = case when expires_at <= ? then 'expired' else ? end, disabled_reason = ?,
		failed_until = ?, disabled_until = ?, rests_until = ?,
		consecutive_failures = ?, rest_step = ?, last_error = ?
		where key_id in {ids}`, ids,
		at(b.now), string(status), string(st.Disabled),
		at(st.FailedUntil), at(st.DisabledUntil), at(st.RestsUntil),
		st.ConsecutiveFailures, st.RestStep, clean(st.LastError))
	b.byIDs("update {p}key_stats set consecutive_failures = ? where api_key in (select api_key from {p}keys where key_id in {ids})",
		ids, st.ConsecutiveFailures)
}

// addUp adds attempts to the keys' statistics. The rate of success leaves out
// attempts that the client broke off.
func (b *batch) addUp(keys []summed) {
	counted := slices.DeleteFunc(slices.Clone(keys), func(k summed) bool { return !k.counted })
	b.runRows(addAttemptsBefore, addAttemptsAfter, len(counted), func(args []any, i int) []any {
		c := &counted[i].counts
		return append(args, counted[i].id, c.Total, c.Success, c.Failure, at(c.LastUsed), at(c.LastSuccess), at(c.LastFailure))
	})
}

// addAttempts is one statement in two pieces, between which a list of values
// for each key stands. Keys that are not there any more fall out at the join.
const (
	addAttemptsBefore = `with d (key_id, total, ok, bad, used, used_ok, used_bad) as (values `
	addAttemptsAfter  = `)
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
)

// refusals writes which models keys may not use, and forgets what is over. Of
// several for one key and model, as attempts at the same time bring them, the
// one that lasts longest counts.
func (b *batch) refusals(refusals []gateway.Refusal) {
	if len(refusals) == 0 {
		return
	}
	b.run("delete from {p}key_refusals where key_id = ? and model = ?", func(exec func(args ...any)) {
		for _, r := range refusals {
			exec(string(r.Key), clean(r.Model))
		}
	})
	b.run("delete from {p}key_refusals where until <= ?", func(exec func(args ...any)) { exec(at(b.now)) })
	b.run(`insert into {p}key_refusals as r (key_id, model, until)
		select key_id, ?, ? from {p}keys where key_id = ?
		on conflict (key_id, model) do update set until = excluded.until where r.until < excluded.until`, func(exec func(args ...any)) {
		for _, r := range refusals {
			if r.Until.After(b.now) {
				exec(clean(r.Model), at(r.Until), string(r.Key))
			}
		}
	})
}
