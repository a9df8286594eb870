package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Bounds of a page of the request log.
const (
	logPage    = 50
	maxLogPage = 200
)

// log appends requests to the request log.
func (b *batch) log(entries []gateway.LogEntry) {
	b.runRows(`insert into pool_requests (request_id, provider, model, token_hash, status, failed, attempts,
		started_at, duration_us, keys, size, entry)
		{rows text, text, text, text, bigint, bigint, bigint, timestamptz, bigint, text, bigint, text}`, len(entries), func(args []any, i int) []any {
		e := &entries[i]
		id, model, token, keys := clean(e.ID), clean(e.Model), clean(e.TokenHash), triedKeys(e)
		provider := string(e.Provider)
		if provider == "" {
			provider = string(b.t.provider)
		}
		text := encodeEntry(e)
		failed := 0
		if e.Failed() {
			failed = 1
		}
		size := len(id) + len(provider) + len(model) + len(token) + len(keys) + len(text)
		started := e.StartedAt
		if started.IsZero() {
			started = b.now
		}
		return append(args, id, provider, model, token, e.Status, failed, len(e.Trail),
			at(started), e.Duration.Microseconds(), keys, size, text)
	})
}

// triedKeys are the ids of the keys that a request tried, parted by blanks.
func triedKeys(e *gateway.LogEntry) string {
	ids := make([]string, len(e.Trail))
	for i := range e.Trail {
		ids[i] = clean(string(e.Trail[i].Key))
	}
	return strings.Join(ids, " ")
}

// logColumns are what a logRow is made of.
const logColumns = "id, request_id, provider, model, token_hash, status, started_at, duration_us, entry"

// logRow is a row of pool_requests. What has a column of its own is not in the
// entry's text.
type logRow struct {
	id, duration                          int64
	request, provider, model, token, text string
	status                                int
	started                               when
}

func (r *logRow) into() []any {
	return []any{&r.id, &r.request, &r.provider, &r.model, &r.token, &r.status, &r.started, &r.duration, &r.text}
}

func (r *logRow) entry() gateway.LogEntry {
	e := gateway.LogEntry{
		ID: r.request, Provider: gateway.ProviderName(r.provider), Model: r.model, TokenHash: r.token, Status: r.status,
		StartedAt: r.started.Time, Duration: time.Duration(r.duration) * time.Microsecond,
	}
	decodeEntry(r.text, &e)
	return e
}

// Requests returns a page of the request log, the newest first. A page holds 50
// entries where no limit is given, 200 at most.
func (s *Store) Requests(ctx context.Context, q gateway.LogQuery) (gateway.LogPage, error) {
	page := gateway.LogPage{Newest: q.After}
	limit := q.Limit
	if limit == 0 {
		limit = logPage
	}
	if limit < 1 || limit > maxLogPage {
		return page, gateway.Errorf(gateway.KindInvalid, "a page of the request log holds 1 to %d entries, not %d", maxLogPage, limit)
	}
	where, err := logWhere(&q)
	if err != nil {
		return page, err
	}
	err = s.read(ctx, "read the request log", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "select "+logColumns+" from pool_requests "+where.text+ //nolint:gosec // texts of our own
			" order by id desc limit ?", append(where.args, limit+1)...)
		if err != nil {
			return err
		}
		found, err := collect(rows, (*logRow).into)
		if err != nil || len(found) == 0 {
			return err
		}
		page.Newest = cursorOf(found[0].id)
		if len(found) > limit {
			found = found[:limit]
			page.Next = cursorOf(found[limit-1].id)
		}
		for i := range found {
			page.Entries = append(page.Entries, found[i].entry())
		}
		return nil
	})
	return page, err
}

// logWhere makes the conditions of a query.
func logWhere(q *gateway.LogQuery) (fragment, error) {
	f := fragment{text: "where 1 = 1"}
	and := func(text string, arg any) {
		f.text += " and " + text
		f.args = append(f.args, arg)
	}
	if q.Provider != "" {
		if _, err := tablesOf(q.Provider); err != nil {
			return f, err
		}
		and("provider = ?", string(q.Provider))
	}
	if q.Failed {
		f.text += " and failed = 1"
	}
	if q.Retried {
		f.text += " and attempts > 1"
	}
	if q.Slow > 0 {
		and("duration_us >= ?", q.Slow.Microseconds())
	}
	if q.Model != "" {
		and("model = ?", clean(q.Model))
	}
	if q.Token != "" {
		and("token_hash = ?", clean(q.Token))
	}
	if q.Key != "" {
		and(`' ' || keys || ' ' like ? escape '\'`, "% "+likeLiteral(strings.ToLower(clean(string(q.Key))))+" %")
	}
	if q.Status != 0 {
		and("status = ?", q.Status)
	}
	for text, cursor := range map[string]string{"id < ?": q.Before, "id > ?": q.After} {
		if cursor == "" {
			continue
		}
		id, err := idOfCursor(cursor)
		if err != nil {
			return f, err
		}
		and(text, id)
	}
	return f, nil
}

// A cursor is the number of a row in a form that invites nobody to count with it.
const (
	cursorPrefix = "c"
	cursorBase   = 36
)

func cursorOf(id int64) string { return cursorPrefix + strconv.FormatInt(id, cursorBase) }

func idOfCursor(cursor string) (int64, error) {
	digits, ok := strings.CutPrefix(cursor, cursorPrefix)
	id, err := strconv.ParseInt(digits, cursorBase, 64)
	if !ok || err != nil || id < 1 || cursorOf(id) != cursor {
		return 0, gateway.Errorf(gateway.KindInvalid, "%q is no cursor of the request log", gateway.Clip(cursor, 40))
	}
	return id, nil
}

// Request returns the newest entry of the request log with a request id, which
// clients may choose and so choose twice, and whether there is one.
func (s *Store) Request(ctx context.Context, id string) (e gateway.LogEntry, found bool, err error) {
	err = s.read(ctx, "read the request log", func(ctx context.Context, tx *sql.Tx) error {
		var r logRow
		err := tx.QueryRowContext(ctx, "select "+logColumns+" from pool_requests where request_id = ? order by id desc limit 1", clean(id)).Scan(r.into()...)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err == nil {
			e, found = r.entry(), true
		}
		return err
	})
	return e, found, err
}

// LogFigures tells how much the request log holds.
func (s *Store) LogFigures(ctx context.Context) (f gateway.LogFigures, err error) {
	err = s.read(ctx, "measure the request log", func(ctx context.Context, tx *sql.Tx) error {
		var oldest when
		err := tx.QueryRowContext(ctx, "select count(*), coalesce(sum(size), 0), min(started_at) from pool_requests").Scan(&f.Entries, &f.Bytes, &oldest)
		f.Oldest = oldest.Time
		return err
	})
	return f, err
}

// PruneRequests deletes from the request log what began before a time, and then
// the oldest entries until at most maxBytes are left. The zero time, and no
// bytes, bound nothing. It may be cut off and called again.
func (s *Store) PruneRequests(ctx context.Context, before time.Time, maxBytes int64) error {
	if !before.IsZero() {
		err := s.deleteInSteps(ctx, "delete old entries of the request log",
			"delete from pool_requests where id in (select id from pool_requests where started_at < ? order by started_at limit ?)", at(before))
		if err != nil {
			return err
		}
	}
	if maxBytes <= 0 {
		return nil
	}
	f, err := s.LogFigures(ctx)
	if err != nil {
		return err
	}
	for over := f.Bytes - maxBytes; over > 0; {
		freed, err := s.dropOldest(ctx, over)
		if err != nil {
			return err
		}
		if freed == 0 {
			return nil
		}
		over -= freed
	}
	return nil
}

// dropOldest deletes the oldest entries until so many bytes are freed, or
// pruneRows of them, and tells how many bytes it were.
func (s *Store) dropOldest(ctx context.Context, bytes int64) (freed int64, err error) {
	err = s.write(ctx, "shorten the request log", func(ctx context.Context, tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, "select id, size from pool_requests order by id limit ?", pruneRows)
		if err != nil {
			return err
		}
		type row struct{ id, size int64 }
		oldest, err := collect(rows, func(r *row) []any { return []any{&r.id, &r.size} })
		if err != nil {
			return err
		}
		last := int64(0)
		for _, r := range oldest {
			if freed >= bytes {
				break
			}
			freed += max(r.size, 1)
			last = r.id
		}
		_, err = tx.ExecContext(ctx, "delete from pool_requests where id <= ?", last)
		return err
	})
	return freed, err
}

// deleteInSteps runs a statement that deletes so many rows at most as its last
// placeholder says, until there is nothing more to delete.
func (s *Store) deleteInSteps(ctx context.Context, did, text string, args ...any) error {
	args = append(args, pruneRows)
	for {
		var n int64
		err := s.write(ctx, did, func(ctx context.Context, tx *sql.Tx) error {
			res, err := tx.ExecContext(ctx, text, args...)
			if err != nil {
				return fmt.Errorf("delete %d rows: %w", pruneRows, err)
			}
			n, err = res.RowsAffected()
			return err
		})
		if err != nil || n < pruneRows {
			return err
		}
	}
}
