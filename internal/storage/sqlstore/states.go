package sqlstore

import (
	"slices"
	"strconv"
	"time"

	"ollama-api-pool/internal/gateway"
)

// The state of a key has a version, state_version, which every change makes one
// more. A change says which version it was made from and is written only over
// that one: what an instance learnt before it stood still, or before another
// changed the key, is stale. But a writer may send several changes in a row
// before it hears of the first, as while the database is away; they all name
// the version that it knew. So the row also says in state_from by whom and from
// which version its present state was made: a change that says the same
// continues the writer's own row of changes, as long as nobody else has put in
// one between.
//
// What an operator does is forced, over any version; forced_version tells the
// last such. A refusal names the version that its writer knew and is dropped if
// that is older: what an operator has cleared does not come back.

// written is what became of the states of a delta.
type written struct {
	changed    []gateway.KeyID // keys that have another state now
	stale      []gateway.KeyID // keys whose change was made from another version, or that are gone
	journalled bool            // counts of keys went into the journal
}

// states writes what has been learnt about keys, in the order in which it comes.
func (b *batch) states(changes []gateway.StateChange, writer string) (w written) {
	for from := 0; from < len(changes) && b.err == nil; {
		to := from + 1
		if changes[from].Forced {
			for to < len(changes) && changes[to].Forced && changes[to].State == changes[from].State {
				to++
			}
			b.force(changes[from:to], &w)
		} else {
			there := map[gateway.KeyID]bool{changes[from].Key: true}
			for to < len(changes) && to-from < b.d.mostRows() && !changes[to].Forced && !there[changes[to].Key] {
				there[changes[to].Key] = true
				to++
			}
			b.learn(changes[from:to], writer, &w)
		}
		from = to
	}
	b.byIDs(`update {p}key_stats as s set consecutive_failures = k.consecutive_failures from {p}keys as k
		where k.api_key = s.api_key and coalesce(s.consecutive_failures, -1) <> k.consecutive_failures and k.key_id in {ids}`, w.changed)
	return w
}

// force writes an act of the operator: the same state for all of the keys.
func (b *batch) force(changes []gateway.StateChange, w *written) {
	ids := make([]gateway.KeyID, len(changes))
	for i := range changes {
		ids[i] = changes[i].Key
	}
	st := &changes[0].State
	status := st.StatusAt(b.now, time.Time{})
	b.byIDs(`update {p}keys set
		status = case when expires_at <= ? then 'expired' else ? end, disabled_reason = ?,
		failed_until = ?, disabled_until = ?, rests_until = ?,
		consecutive_failures = ?, rest_step = ?, last_error = ?,
		state_version = state_version + 1, state_from = '', forced_version = state_version + 1
		where key_id in {ids}`, ids,
		at(b.now), string(status), string(st.Disabled),
		at(st.FailedUntil), at(st.DisabledUntil), at(st.RestsUntil),
		st.ConsecutiveFailures, st.RestStep, clean(st.LastError))
	w.changed = append(w.changed, ids...)
}

// learnStates takes what a batch says of keys as rows.
const learnStates = `with d (id, base, made, state, disabled, failed, off, rests, failures, step, error) as (
		{rows text, bigint, text, text, text, timestamptz, timestamptz, timestamptz, bigint, bigint, text})
	update {p}keys as k set
		status = case when k.expires_at <= ? then 'expired' else d.state end, disabled_reason = d.disabled,
		failed_until = d.failed, disabled_until = d.off, rests_until = d.rests,
		consecutive_failures = d.failures, rest_step = d.step, last_error = d.error,
		state_version = k.state_version + 1, state_from = coalesce(d.made, '')
	from d where k.key_id = d.id and (k.state_version = d.base or k.state_from = d.made) returning key_id`

// learn writes states over the versions that they were made from. No key comes
// twice.
func (b *batch) learn(changes []gateway.StateChange, writer string, w *written) {
	var rows []any
	for i := range changes {
		c := &changes[i]
		st := &c.State
		rows = append(rows, string(c.Key), c.Version, madeBy(writer, c.Version), string(st.StatusAt(b.now, time.Time{})), string(st.Disabled),
			at(st.FailedUntil), at(st.DisabledUntil), at(st.RestsUntil), st.ConsecutiveFailures, st.RestStep, clean(st.LastError))
	}
	took := map[gateway.KeyID]bool{}
	b.rowsReturning(learnStates, rows, []any{at(b.now)}, func(id gateway.KeyID) {
		took[id] = true
		w.changed = append(w.changed, id)
	})
	stale := slices.DeleteFunc(slices.Clone(changes), func(c gateway.StateChange) bool { return took[c.Key] })
	for i := range stale {
		w.stale = append(w.stale, stale[i].Key)
	}
	b.mergeRests(slices.DeleteFunc(stale, func(c gateway.StateChange) bool { return !c.State.RestsUntil.After(b.now) }), w)
}

// madeBy is what state_from says of a writer's change; nil for a batch without a
// writer, which continues nothing.
func madeBy(writer string, version int64) any {
	if writer == "" {
		return nil
	}
	return clean(writer) + ":" + strconv.FormatInt(version, 10)
}

// mergeRests lets keys that rest now do so for longer, where a stale change says
// so: the account's quota is used up, whoever learnt it first.
func (b *batch) mergeRests(stale []gateway.StateChange, w *written) {
	if len(stale) == 0 {
		return
	}
	var rows []any
	for i := range stale {
		rows = append(rows, string(stale[i].Key), at(stale[i].State.RestsUntil), clean(stale[i].State.LastError))
	}
	b.rowsReturning(`with d (id, rests, error) as ({rows text, timestamptz, text})
		update {p}keys as k set rests_until = d.rests, last_error = case when k.status = 'resting' then d.error else k.last_error end,
			state_version = k.state_version + 1, state_from = ''
		from d where k.key_id = d.id and k.rests_until > ? and k.rests_until < d.rests returning key_id`,
		rows, []any{at(b.now)}, func(id gateway.KeyID) { w.changed = append(w.changed, id) })
}
