package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"time"

	"ollama-api-pool/internal/gateway"
)

// metaID is the name in pool_meta of what StoreID returns.
const metaID = "store_id"

// StoreID names the database: it is made at random once and stays with it,
// whatever the address. A copy of the database has the same.
func (s *Store) StoreID(ctx context.Context) (id string, err error) {
	const did = "read the name of the store"
	err = s.read(ctx, did, func(ctx context.Context, tx *sql.Tx) error {
		id, err = meta(ctx, tx, metaID)
		return err
	})
	if err != nil || id != "" {
		return id, err
	}
	err = s.write(ctx, did, func(ctx context.Context, tx *sql.Tx) error {
		if id, err = meta(ctx, tx, metaID); err != nil || id != "" { // another was faster
			return err
		}
		id = rand.Text()
		return setMeta(ctx, tx, metaID, id)
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// SayHere notes that an instance is there, at this moment by the clock of the
// database; its SeenAt is not used.
func (s *Store) SayHere(ctx context.Context, i gateway.Instance) error {
	if i.ID == "" {
		return gateway.Errorf(gateway.KindInvalid, "an instance needs an id")
	}
	return s.write(ctx, "note in the store that this instance is there", func(ctx context.Context, tx *sql.Tx) error {
		now, err := s.dialect.clock(ctx, tx, s.now)
		if err != nil {
			return err
		}
		started := i.StartedAt
		if started.IsZero() {
			started = now
		}
		_, err = tx.ExecContext(ctx, `insert into pool_instances (id, name, version, started_at, seen_at) values (?, ?, ?, ?, ?)
			on conflict (id) do update set name = excluded.name, version = excluded.version, started_at = excluded.started_at, seen_at = excluded.seen_at`,
			clean(i.ID), clean(i.Name), clean(i.Version), at(started), at(now))
		return err
	})
}

// instanceRow is a row of pool_instances.
type instanceRow struct {
	id, name, version string
	started, seen     when
}

func (r *instanceRow) into() []any { return []any{&r.id, &r.name, &r.version, &r.started, &r.seen} }

// Instances returns those that have said since a time that they are there, the
// longest running first. The time is meant by the clock of this process and
// taken for the same moment by that of the database, and SeenAt the other way
// round: clocks may differ.
func (s *Store) Instances(ctx context.Context, since time.Time) (list []gateway.Instance, err error) {
	err = s.read(ctx, "read from the store which instances there are", func(ctx context.Context, tx *sql.Tx) error {
		list = nil
		now, err := s.dialect.clock(ctx, tx, s.now)
		if err != nil {
			return err
		}
		ahead := now.Sub(s.now())
		// Rows without a name are of writers that nobody has introduced.
		rows, err := tx.QueryContext(ctx, `select id, name, version, started_at, seen_at from pool_instances
			where seen_at >= ? and (name <> '' or version <> '') order by started_at, id`, at(since.Add(ahead)))
		if err != nil {
			return err
		}
		found, err := collect(rows, (*instanceRow).into)
		for _, r := range found {
			list = append(list, gateway.Instance{ID: r.id, Name: r.name, Version: r.version, StartedAt: r.started.Time, SeenAt: r.seen.Add(-ahead)})
		}
		return err
	})
	return list, err
}

// PruneInstances forgets instances that have not said since a time that they are
// there, and with them which of their batches were taken: the time should lie
// further back than a batch may wait to be sent again. It is meant by the clock of
// this process, as in Instances.
func (s *Store) PruneInstances(ctx context.Context, before time.Time) error {
	return s.write(ctx, "forget former instances in the store", func(ctx context.Context, tx *sql.Tx) error {
		now, err := s.dialect.clock(ctx, tx, s.now)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "delete from pool_instances where seen_at < ?", at(before.Add(now.Sub(s.now()))))
		return err
	})
}
