package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// keys reads the keys and gives them the form in which the target stores them.
func (c *copying) keys(ctx context.Context, src *tableSource, emit emitRow) error {
	stored, id, status := src.column("api_key"), src.column("key_id"), src.column("status")
	reason, until, created := src.column("disabled_reason"), src.column("disabled_until"), src.column("created_at")
	return c.each(ctx, src, func(row []copyCell) error {
		keep, secret, err := c.reseal(src, &row[stored])
		if err != nil || !keep {
			return err
		}
		row[id].put(string(gateway.IDOfKey(secret)))
		if row[reason].s == "" && row[status].s == string(gateway.KeyDisabled) { // see disabledReason
			why := gateway.DisabledManual
			if row[until].set {
				why = gateway.DisabledAuto
			}
			row[reason].put(string(why))
		}
		if !slices.Contains(gateway.KeyStatuses(), gateway.KeyStatus(row[status].s)) {
			row[status].put(string(gateway.KeyActive))
		}
		if !row[created].set {
			row[created].at, row[created].set = c.now, true
		}
		return emit(row)
	})
}

// reseal gives a stored key the form of the target. Rows without a key are left out.
func (c *copying) reseal(src *tableSource, cell *copyCell) (keep bool, secret gateway.Secret, err error) {
	if cell.s == "" {
		src.leftOut++
		return false, "", nil
	}
	if secret, err = c.from.seal.plain(src.t.provider, cell.s); err != nil {
		return false, "", c.from.unreadable(src.t, gateway.Clip(cell.s, 24), err)
	}
	if c.to != nil {
		cell.put(c.to.seal.stored(src.t.provider, secret))
	}
	return true, secret, nil
}

// keyStats reads the statistics of keys that are there; those of others are left out.
func (c *copying) keyStats(ctx context.Context, src *tableSource, emit emitRow) error {
	if !src.there {
		return nil
	}
	row, names, into := src.row()
	for i := range names {
		names[i] = "s." + names[i]
	}
	stored, rate := src.column("api_key"), src.column("success_rate")
	ok, bad := src.column("success_count"), src.column("failure_count")
	text := "select " + strings.Join(names, ", ") + " from {p}key_stats s join {p}keys k on k.api_key = s.api_key"
	read := int64(0)
	err := c.query(ctx, src.t.sql(text), into, func() error {
		src.clear(row)
		keep, _, err := c.reseal(src, &row[stored])
		if err != nil || !keep {
			return err
		}
		read++
		row[rate] = copyCell{kind: ofRate, set: true, n: percent(row[ok].n, row[bad].n)}
		return emit(row)
	})
	src.leftOut = src.rows - read
	return err
}

// percent is the share of successes in hundredths of a percent.
func percent(ok, bad int64) int64 {
	if ok+bad == 0 {
		return 0
	}
	return int64(math.Round(1e4 * float64(ok) / float64(ok+bad)))
}

// globals reads the totals.
func (c *copying) globals(ctx context.Context, src *tableSource, emit emitRow) error {
	return c.each(ctx, src, func(row []copyCell) error {
		if row[0].s == "global" {
			c.addEver("", src, row, "updated_at")
		}
		return emit(row)
	})
}

// models reads the totals of models.
func (c *copying) models(ctx context.Context, src *tableSource, emit emitRow) error {
	provider, model := src.column("provider"), src.column("model")
	return c.each(ctx, src, func(row []copyCell) error {
		row[provider].put(cmp.Or(row[provider].s, string(src.t.provider)))
		if row[provider].s == string(src.t.provider) {
			c.addEver("model "+row[model].s, src, row, "last_used")
		}
		return emit(row)
	})
}

// modelHours reads the hours of models; a row that belongs to no hour is left out.
func (c *copying) modelHours(ctx context.Context, src *tableSource, emit emitRow) error {
	provider, hour := src.column("provider"), src.column("hour")
	return c.each(ctx, src, func(row []copyCell) error {
		if !row[hour].set {
			src.leftOut++
			return nil
		}
		row[provider].put(cmp.Or(row[provider].s, string(src.t.provider)))
		return emit(row)
	})
}

// addEver notes what the sums ever begin with where the source has none, as the
// migration that made their table did it.
func (c *copying) addEver(name string, src *tableSource, row []copyCell, last string) {
	if !c.noTallies {
		return
	}
	sum := c.ever[name]
	if sum == nil {
		sum = &copiedSum{}
		c.ever[name] = sum
	}
	sum.last = latest(sum.last, row[src.column(last)].at)
	sum.requests += row[src.column("total_requests")].n
	sum.success += row[src.column("success_count")].n
	sum.failure += row[src.column("failure_count")].n
	sum.input += row[src.column("input_tokens")].n
	sum.output += row[src.column("output_tokens")].n
}

// everSums reads the sums ever, or makes them of what there was before them.
func (c *copying) everSums(ctx context.Context, src *tableSource, emit emitRow) error {
	if !c.noTallies {
		return c.each(ctx, src, emit)
	}
	row, _, _ := src.row()
	set := func(name string, n int64) { row[src.column(name)].n = n }
	for name, sum := range c.ever {
		row[0].put("provider")
		row[1].put("")
		if model, is := strings.CutPrefix(name, "model "); is {
			row[0].put("model")
			row[1].put(model)
		}
		row[2] = copyCell{kind: ofTime, set: !sum.last.IsZero(), at: sum.last}
		set("requests", sum.requests)
		set("success", sum.success)
		set("failure", sum.failure)
		set("input_tokens", sum.input)
		set("output_tokens", sum.output)
		if err := emit(row); err != nil {
			return err
		}
	}
	return nil
}

// afterSums ends a provider: counts that the source has not added up yet, and
// what tokens did before there were sums of theirs.
func (c *copying) afterSums(ctx context.Context, src *tableSource) error {
	if err := c.copyJournal(ctx, src.t); err != nil {
		return fmt.Errorf("%s: %w", src.t.sql("{p}key_journal"), err)
	}
	if c.o.DryRun {
		return nil
	}
	for some := range slices.Chunk(c.hashed, idsAtOnce) {
		if err := c.step(ctx, func(ctx context.Context, out *sql.Tx) error {
			for _, hash := range some {
				if _, err := out.ExecContext(ctx, src.t.sql(seedHashed), hash); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// copyJournal adds what is in the source's journal of key counts, a part of it at a time.
func (c *copying) copyJournal(ctx context.Context, t tables) error {
	has, err := c.from.dialect.hasColumn(ctx, c.in, t.sql("{p}key_journal"), "counts")
	if err != nil || !has {
		return err
	}
	done := CopiedTable{Table: t.sql("{p}key_journal"), What: "keys counted just now", Provider: t.provider, CountOf: "total_requests"}
	before, err := c.attempts(ctx, t)
	if err != nil {
		return err
	}
	for part := range journalParts {
		sums, err := c.journalPart(ctx, t, part)
		if err != nil {
			return err
		}
		gone, err := c.dropGone(ctx, t, sums)
		if err != nil {
			return err
		}
		done.Rows += int64(len(sums.of)) + gone
		done.LeftOut += gone
		for _, sum := range sums.of {
			done.Counted += sum.counts.Total
		}
		if c.o.DryRun || len(sums.of) == 0 {
			continue
		}
		if err := c.step(ctx, func(ctx context.Context, out *sql.Tx) error {
			b := c.to.batch(ctx, c.until, out, t)
			b.addSums(sums)
			return b.err
		}); err != nil {
			return err
		}
	}
	if !c.o.DryRun {
		after, err := c.attempts(ctx, t)
		if err != nil {
			return err
		}
		if after-before != done.Counted {
			return fmt.Errorf("%d attempts were added, and %d are there", done.Counted, after-before)
		}
		done.Verified = true
	}
	if done.Existing = done.Rows - done.LeftOut; done.Rows > 0 {
		c.report.Tables = append(c.report.Tables, done)
	}
	return nil
}

// attempts is the sum of all attempts in the target.
func (c *copying) attempts(ctx context.Context, t tables) (n int64, err error) {
	if c.o.DryRun {
		return 0, nil
	}
	err = c.step(ctx, func(ctx context.Context, out *sql.Tx) error {
		return out.QueryRowContext(ctx, t.sql("select cast(coalesce(sum(total_requests), 0) as bigint) from {p}key_stats")).Scan(&n)
	})
	return n, err
}

func (c *copying) journalPart(ctx context.Context, t tables, part int) (*keySums, error) {
	sums := newKeySums(0)
	var row string
	err := c.query(ctx, t.sql("select counts from {p}key_journal where part = "+strconv.Itoa(part)), []any{&row}, func() error {
		return sums.read(row)
	})
	return sums, err
}

// dropGone takes keys out of the sums that are not in the source.
func (c *copying) dropGone(ctx context.Context, t tables, sums *keySums) (gone int64, err error) {
	ids := make([]gateway.KeyID, 0, len(sums.of))
	for raw := range sums.of {
		ids = append(ids, raw.id())
	}
	there := make(map[gateway.KeyID]bool, len(ids))
	b := c.from.batch(ctx, c.until, c.in, t)
	b.returning("select key_id from {p}keys where key_id in {ids}", ids, func(id gateway.KeyID) { there[id] = true })
	if b.err != nil {
		return 0, b.err
	}
	for raw := range sums.of {
		if !there[raw.id()] {
			delete(sums.of, raw)
			gone++
		}
	}
	return gone, nil
}
