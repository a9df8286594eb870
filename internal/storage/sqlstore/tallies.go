package sqlstore

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Requests are added up by provider, model and token in a row for each minute,
// hour and day, and in one for ever; by key in the last only. The database does
// the additions, so that several processes can count into the same rows.

// tallyTable names the table of a period.
func tallyTable(per gateway.Period) string {
	return [...]string{"{p}tally_minute", "{p}tally_hour", "{p}tally_day", "{p}tally_ever"}[per]
}

// countedColumns are what is added up beside the histograms.
var countedColumns = [...]struct {
	name string
	of   func(t *gateway.Tally) *int64
}{
	{"requests", func(t *gateway.Tally) *int64 { return &t.Requests }},
	{"success", func(t *gateway.Tally) *int64 { return &t.Success }},
	{"failure", func(t *gateway.Tally) *int64 { return &t.Failure }},
	{"attempts", func(t *gateway.Tally) *int64 { return &t.Attempts }},
	{"input_tokens", func(t *gateway.Tally) *int64 { return &t.Usage.Input }},
	{"output_tokens", func(t *gateway.Tally) *int64 { return &t.Usage.Output }},
	{"cost", func(t *gateway.Tally) *int64 { return (*int64)(&t.Usage.Cost) }},
}

// tallyColumns are the names of the countedColumns and of a column for each
// bucket of the two histograms.
var tallyColumns = func() (columns []string) {
	for _, c := range countedColumns {
		columns = append(columns, c.name)
	}
	for _, histogram := range []string{"d", "f"} {
		for i := range gateway.HistogramBuckets {
			columns = append(columns, fmt.Sprintf("%s%02d", histogram, i))
		}
	}
	return columns
}()

// tallyParts points at the numbers of a tally in the order of tallyColumns,
// without the histograms where only what is counted is wanted.
func tallyParts(t *gateway.Tally, counted bool) []*int64 {
	parts := make([]*int64, 0, len(tallyColumns))
	for _, c := range countedColumns {
		parts = append(parts, c.of(t))
	}
	if counted {
		return parts
	}
	for i := range t.Duration {
		parts = append(parts, &t.Duration[i])
	}
	for i := range t.FirstByte {
		parts = append(parts, &t.FirstByte[i])
	}
	return parts
}

// tallyRow is a row to which something is to be added.
type tallyRow struct {
	of   gateway.Subject
	name string
	at   time.Time // the period's beginning; for ever the last use, zero where unknown
	sum  gateway.Tally
}

// tallies adds what requests of providers, models and tokens did. Keys have
// their own way, see keySums.
func (b *batch) tallies(deltas []gateway.TallyDelta) {
	for _, d := range deltas {
		switch d.Of {
		case gateway.OfProvider, gateway.OfModel, gateway.OfToken, gateway.OfKey:
		default:
			b.err = cmp.Or(b.err, error(gateway.Errorf(gateway.KindInvalid, "a tally of an unknown subject %q", gateway.Clip(string(d.Of), 40))))
		}
	}
	for per := gateway.PerMinute; per <= gateway.Ever; per++ {
		b.addTallies(per, tallyRows(deltas, per))
	}
}

// tallyRows adds the deltas up by the row that they belong to, in the rows'
// order: a statement must not meet a row twice, and transactions that take rows
// in the same order do not wait for each other in a circle.
func tallyRows(deltas []gateway.TallyDelta, per gateway.Period) []tallyRow {
	type target struct {
		of   gateway.Subject
		name string
		at   time.Time
	}
	places := make(map[target]int, len(deltas))
	rows := make([]tallyRow, 0, len(deltas))
	for i := range deltas {
		d := &deltas[i]
		if d.Of == gateway.OfKey || per == gateway.PerMinute && d.Of == gateway.OfToken || per != gateway.Ever && d.Minute.IsZero() {
			continue
		}
		to := target{of: d.Of, name: clean(d.Name)}
		if d.Of == gateway.OfProvider {
			to.name = ""
		}
		if per != gateway.Ever {
			to.at = d.Minute.UTC().Truncate(per.Length())
		}
		place, known := places[to]
		if !known {
			place = len(rows)
			places[to] = place
			rows = append(rows, tallyRow{of: to.of, name: to.name, at: to.at})
		}
		rows[place].sum.Add(&d.Tally)
		if per == gateway.Ever {
			rows[place].at = latest(rows[place].at, d.Minute)
		}
	}
	slices.SortFunc(rows, func(a, b tallyRow) int {
		return cmp.Or(cmp.Compare(a.of, b.of), a.at.Compare(b.at), cmp.Compare(a.name, b.name))
	})
	return rows
}

// addTallies adds rows to the table of a period.
func (b *batch) addTallies(per gateway.Period, rows []tallyRow) {
	if len(rows) == 0 {
		return
	}
	// A row at a time: to parse a statement with several of so many columns
	// takes longer than it saves.
	b.run(addTally[per], func(exec func(args ...any)) {
		args := make([]any, 0, 3+len(tallyColumns))
		for i := range rows {
			r := &rows[i]
			args = append(args[:0], string(r.of), r.name, at(r.at))
			for _, n := range tallyParts(&r.sum, false) {
				args = append(args, *n)
			}
			exec(args...)
		}
	})
}

// addTally is, by period, the statement that adds to a row of its table.
var addTally = func() (texts [gateway.Ever + 1]string) {
	for per := range gateway.Ever + 1 {
		when, conflict, more := "period", "subject, period, name", ""
		if per == gateway.Ever {
			when, conflict = "last_used", "subject, name"
			more = "last_used = case when t.last_used is null or t.last_used < excluded.last_used then excluded.last_used else t.last_used end, "
		}
		texts[per] = "insert into " + tallyTable(per) + " as t (subject, name, " + when + ", " + strings.Join(tallyColumns, ", ") +
			") values (" + placeholders(3+len(tallyColumns)) + ") on conflict (" + conflict + ") do update set " + more + additions(tallyColumns)
	}
	return texts
}()

// additions is the list that adds an insert's values to those of the row t.
func additions(columns []string) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c + " = t." + c + " + excluded." + c
	}
	return strings.Join(list, ", ")
}

// placeholders is a list of n.
func placeholders(n int) string { return "?" + strings.Repeat(", ?", n-1) }

// seedHashed gives a token that has just been hashed the requests of the
// time before there were tallies: its own count has all of them, and the tally
// those since then.
const seedHashed = `insert into {p}tally_ever as t (subject, name, last_used, requests, input_tokens, output_tokens)
	select 'token', token, last_used, coalesce(request_count, 0), coalesce(input_tokens, 0), coalesce(output_tokens, 0)
	from {p}client_tokens where token = ?
	on conflict (subject, name) do update set
		requests = case when t.requests < excluded.requests then excluded.requests else t.requests end,
		input_tokens = case when t.input_tokens < excluded.input_tokens then excluded.input_tokens else t.input_tokens end,
		output_tokens = case when t.output_tokens < excluded.output_tokens then excluded.output_tokens else t.output_tokens end`

// forgetDeleted ends what is kept of a token for ever. Its hours and days
// belong to what happened then and go with their time.
const forgetDeleted = "delete from {p}tally_ever where subject = 'token' and name = ?"
