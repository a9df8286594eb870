package sqlstore

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// pgChannel is where instances wake each other. What is sent carries nothing:
// the journal of changes is the truth.
const pgChannel = "ollama_api_pool_changed"

const (
	pgListenCheck = 15 * time.Second // after so long in silence the server is asked whether it is there
	pgListenWait  = 5 * time.Second  // for its answer
)

// clock is that of the server, at this moment: a transaction may have waited for
// its turn.
func (d *postgres) clock(ctx context.Context, q querier, _ func() time.Time) (time.Time, error) {
	var now when
	err := q.QueryRowContext(ctx, "select clock_timestamp()").Scan(&now)
	return now.Time, err
}

func (d *postgres) wake(ctx context.Context, q querier) error {
	_, err := q.ExecContext(ctx, "select pg_notify('"+pgChannel+"', '')")
	return err
}

// listen holds a connection of its own. Behind a pooler that hands each
// transaction to any session of the server there is none that could be woken.
func (d *postgres) listen(ctx context.Context, wake func()) error {
	if d.address.pooler {
		return ErrNoListen
	}
	config := d.address.config.Copy()
	config.OnNotification = nil
	opening, cancel := context.WithTimeout(ctx, time.Duration(1+len(config.Fallbacks))*config.ConnectTimeout)
	conn, err := pgx.ConnectConfig(opening, config)
	cancel()
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), pgRollback)
		defer cancel()
		_ = conn.Close(closing)
	}()
	if err := pgAsk(ctx, conn, "listen "+pgChannel); err != nil {
		return err
	}
	wake() // for what happened before
	for {
		waiting, cancel := context.WithTimeout(ctx, pgListenCheck)
		_, err := conn.WaitForNotification(waiting)
		silence := errors.Is(waiting.Err(), context.DeadlineExceeded)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			wake()
		case !silence || conn.IsClosed():
			return err
		default:
			if err := pgAsk(ctx, conn, "select 1"); err != nil {
				return err
			}
		}
	}
}

// pgAsk runs a statement whose answer must come soon.
func pgAsk(ctx context.Context, conn *pgx.Conn, text string) error {
	ctx, cancel := context.WithTimeout(ctx, pgListenWait)
	defer cancel()
	_, err := conn.PgConn().Exec(ctx, text).ReadAll()
	return err
}
