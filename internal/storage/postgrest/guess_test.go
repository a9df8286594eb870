package postgrest_test

import (
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"ollama-api-pool/internal/storage/postgrest"
)

// again runs fn in transactions until one does not conflict, and tells how many
// it took.
func again(t *testing.T, db *sql.DB, fn func(tx *sql.Tx) error) (tries int, err error) {
	t.Helper()
	ctx := postgrest.Trying(t.Context())
	for tries = 1; ; tries++ {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return tries, err
		}
		if err = fn(tx); err == nil {
			err = tx.Commit()
		} else if undone := tx.Rollback(); undone != nil {
			err = undone
		}
		if !conflicts(err) || tries == 200 {
			return tries, err
		}
	}
}

func TestWrongGuesses(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s, nil)
	exec(t, db, "insert into item (name) values ('a'), ('b')")
	s.Calls()
	var counts []int64
	tries, err := again(t, db, func(tx *sql.Tx) error {
		counts = nil
		for _, name := range []string{"a", "none", "%"} {
			counts = append(counts, changed(t, exec(t, tx, "update item set n = n + 1 where name like ?", name)))
		}
		return nil
	})
	if err != nil || tries != 2 || fmt.Sprint(counts) != "[1 0 2]" {
		t.Errorf("after %d tries the counts are %v (error %v), want [1 0 2] after 2", tries, counts, err)
	}
	wantCalls(t, s, "wrong guesses", "commit", "commit")
	var sum int
	if scan(t, db.QueryRowContext(t.Context(), "select sum(n)::int8 from item"), &sum); sum != 3 {
		t.Errorf("the sum is %d, want 3: nothing is done twice", sum)
	}
}

// TestWrongGuessesOfChangingValues: what is remembered helps also where the
// values are others at every try, as with the time; and where no try is like the
// one before, the transaction comes to its end all the same.
func TestWrongGuessesOfChangingValues(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s, nil)
	exec(t, db, "insert into item (name) values ('a'), ('b')")
	tick := 0
	count := func(tx *sql.Tx, name string) int64 {
		tick++
		return changed(t, exec(t, tx, "update item set n = ? where name like ?", tick, name))
	}
	s.Calls()
	tries, err := again(t, db, func(tx *sql.Tx) error {
		if none, two := count(tx, "none"), count(tx, "%"); none == 0 && two == 2 {
			exec(t, tx, "insert into item (name, n) values ('found', ?)", tick)
		}
		return nil
	})
	if err != nil || tries != 2 {
		t.Errorf("%d tries, error %v", tries, err)
	}
	names := []string{"none", "a", "%", "nobody", "b", "%"}
	tries, err = again(t, db, func(tx *sql.Tx) error {
		names = append(names[1:], names[0])
		for _, name := range names {
			count(tx, name)
		}
		return nil
	})
	if err != nil || tries > 5 {
		t.Errorf("always in another order: %d tries, error %v", tries, err)
	}
	var found int
	if scan(t, db.QueryRowContext(t.Context(), "select count(*) from item where name = 'found'"), &found); found != 1 {
		t.Error("a right answer came too late")
	}
}

func TestGuessedRows(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s, nil)
	var names []string
	add := func(tx *sql.Tx) error {
		names = nil
		ctx := postgrest.Guess(t.Context(), []string{"a", "<b> & \"c\" ü\u2028", "d\ne"})
		rows, err := tx.QueryContext(ctx, "insert into item (name) select * from unnest(?) on conflict do nothing returning name",
			[]string{"a", "<b> & \"c\" ü\u2028", "d\ne", "a"})
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				return err
			}
			names = append(names, name)
		}
		return rows.Err()
	}
	if _, err := again(t, db, add); err != nil || len(names) != 3 {
		t.Errorf("%q, error %v", names, err)
	}
	wantCalls(t, s, "a wrong guess costs a call", "commit", "commit")
	exec(t, db, "delete from item where name = 'a'")
	s.Calls()
	if _, err := again(t, db, add); err != nil || fmt.Sprint(names) != "[a]" {
		t.Errorf("one is new: %q, error %v", names, err)
	}
	wantCalls(t, s, "another one", "commit", "commit")
}

func TestGuessedIDs(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	db := open(t, s, nil)
	tries, err := again(t, db, func(tx *sql.Tx) error {
		var name string
		return tx.QueryRowContext(postgrest.Guess(t.Context(), []string{"0a", "1b"}), "insert into item (name) select * from unnest(?) returning name", []string{"0a", "1b"}).Scan(&name)
	})
	if err != nil || tries != 1 {
		t.Errorf("a right guess took %d tries, error %v", tries, err)
	}
	wantCalls(t, s, "a right guess", "commit")
}

func TestAnErrorThatCameOfAWrongGuess(t *testing.T) {
	t.Parallel()
	db := open(t, newServer(t), nil)
	errThere := errors.New("it is there already")
	add := func(tx *sql.Tx) error {
		if changed(t, exec(t, tx, "insert into item (name) values ('a') on conflict do nothing")) == 0 {
			return errThere
		}
		return nil
	}
	if _, err := again(t, db, add); err != nil {
		t.Fatal(err)
	}
	if _, err := again(t, db, add); !errors.Is(err, errThere) {
		t.Errorf("a second one: %v, want that it is there", err)
	}
	exec(t, db, "delete from item")
	if _, err := again(t, db, add); err != nil {
		t.Errorf("after it was deleted: %v, from what was remembered", err)
	}
}
