package sqlstore

import (
	"context"
	"database/sql"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Bounds of a list of a key's events.
const (
	eventPage    = 50
	maxEventPage = 1000
)

// events appends what happened to keys. Those of keys that are not there any
// more go when they are old.
func (b *batch) events(events []gateway.KeyEvent) {
	b.runRows(`insert into {p}key_events (key_id, happened_at, what, detail, until, request_id, attempt, model)
		{rows text, timestamptz, text, text, timestamptz, text, bigint, text}`,
		len(events), func(args []any, i int) []any {
			e := &events[i]
			happened := e.At
			if happened.IsZero() {
				happened = b.now
			}
			return append(args, string(e.Key), at(happened), clean(string(e.What)), clean(e.Detail), at(e.Until),
				clean(e.RequestID), e.Attempt, clean(e.Model))
		})
}

// eventRow is a row of {p}key_events.
type eventRow struct {
	event           gateway.KeyEvent
	happened, until when
}

func (r *eventRow) into() []any {
	e := &r.event
	return []any{&e.Key, &r.happened, &e.What, &e.Detail, &r.until, &e.RequestID, &e.Attempt, &e.Model}
}

// KeyEvents returns what happened to a key, the newest first: 50 events where
// no limit is given, 1000 at most.
func (s *Store) KeyEvents(ctx context.Context, p gateway.ProviderName, id gateway.KeyID, limit int) ([]gateway.KeyEvent, error) {
	t, err := tablesOf(p)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = eventPage
	}
	if limit < 1 || limit > maxEventPage {
		return nil, gateway.Errorf(gateway.KindInvalid, "1 to %d events of a key can be listed, not %d", maxEventPage, limit)
	}
	var events []gateway.KeyEvent
	err = s.read(ctx, "read the events of a key", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, t.sql(`select key_id, happened_at, what, detail, until, request_id, attempt, model
			from {p}key_events where key_id = ? order by happened_at desc, id desc limit ?`), string(id), limit)
		if err != nil {
			return err
		}
		found, err := collect(rows, (*eventRow).into)
		for i := range found {
			e := found[i].event
			e.At, e.Until = found[i].happened.Time, found[i].until.Time
			events = append(events, e)
		}
		return err
	})
	return events, err
}

// PruneEvents deletes what happened to keys before a time, in small
// transactions. It may be cut off and called again.
func (s *Store) PruneEvents(ctx context.Context, before time.Time) error {
	for _, p := range gateway.Providers() {
		err := s.deleteInSteps(ctx, "delete old events of keys", tables{p}.sql(
			"delete from {p}key_events where id in (select id from {p}key_events where happened_at < ? order by happened_at limit ?)"), at(before))
		if err != nil {
			return err
		}
	}
	return nil
}
