package sqlstore

import "context"

// copyKind is what a column holds.
type copyKind uint8

const (
	ofText copyKind = iota
	ofCount
	ofTime
	ofRate // hundredths, made of others
)

// copyMeets is what becomes of a column where the row is there already.
type copyMeets uint8

const (
	meetKeep   copyMeets = iota // it stays as it is
	meetAdd                     // what is copied is added
	meetLatest                  // the later time counts
	meetRate                    // the rate of success of the sums
)

// copyColumn is a column of a table that is copied.
type copyColumn struct {
	name  string
	kind  copyKind
	key   bool // part of what tells rows apart
	meets copyMeets
}

// copyTable is a table that is copied.
type copyTable struct {
	table   string // its name, with {p} for the prefix of a provider
	what    string // what a row is, in plural
	columns []copyColumn
	order   string // the column by which rows are read, where their order means something
	sum     string // the counter that reports show
	empty   string // a condition on rows that hold nothing
	// appended rows get numbers of their own; those of others that are there
	// already are left or, where the table has counters, added to.
	appended bool
	// read, where it is set, reads the rows in a way of its own.
	read func(c *copying, ctx context.Context, src *tableSource, emit emitRow) error
}

func textCol(name string) copyColumn { return copyColumn{name: name, kind: ofText} }
func keyCol(name string) copyColumn  { return copyColumn{name: name, kind: ofText, key: true} }
func timeCol(name string) copyColumn { return copyColumn{name: name, kind: ofTime} }
func laterCol(name string) copyColumn {
	return copyColumn{name: name, kind: ofTime, meets: meetLatest}
}
func countCol(name string) copyColumn { return copyColumn{name: name, kind: ofCount} }
func sumCol(name string) copyColumn {
	return copyColumn{name: name, kind: ofCount, meets: meetAdd}
}

func sumsNamed(names []string) []copyColumn {
	columns := make([]copyColumn, len(names))
	for i, name := range names {
		columns[i] = sumCol(name)
	}
	return columns
}

// copiedOfProvider are the tables of a provider in the order of copying: keys
// before what refers to them. copiedOnce are the others.
var (
	copiedOfProvider = []copyTable{
		{
			table: "{p}keys", what: "keys", read: (*copying).keys, columns: []copyColumn{
				textCol("api_key"), keyCol("key_id"), textCol("username"), textCol("status"), textCol("disabled_reason"), textCol("category"), textCol("last_error"),
				timeCol("created_at"), timeCol("expires_at"), timeCol("failed_until"), timeCol("disabled_until"), timeCol("rests_until"),
				countCol("consecutive_failures"), countCol("rest_step"), countCol("state_version"), countCol("forced_version"),
			},
		},
		{
			table: "{p}key_stats", what: "statistics of keys", sum: "total_requests", read: (*copying).keyStats, columns: []copyColumn{
				keyCol("api_key"), sumCol("total_requests"), sumCol("success_count"), sumCol("failure_count"),
				{name: "success_rate", kind: ofRate, meets: meetRate},
				laterCol("last_used"), laterCol("last_success"), laterCol("last_failure"), countCol("consecutive_failures"), timeCol("created_at"),
			},
		},
		{
			table: "{p}key_refusals", what: "models refused to keys",
			columns: []copyColumn{keyCol("key_id"), keyCol("model"), laterCol("until")},
		},
		{
			table: "{p}key_hourly", what: "hours of keys", sum: "total", columns: []copyColumn{
				keyCol("key_id"), {name: "hour", kind: ofCount, key: true}, sumCol("total"), sumCol("success"), sumCol("failure"),
			},
		},
		{
			table: "{p}key_events", what: "events of keys", order: "id", appended: true, columns: []copyColumn{
				textCol("key_id"), timeCol("happened_at"), textCol("what"), textCol("detail"), timeCol("until"), textCol("request_id"), countCol("attempt"), textCol("model"),
			},
		},
		{
			table: "{p}client_tokens", what: "client tokens", sum: "request_count", read: (*copying).tokens, columns: []copyColumn{
				keyCol("token"), textCol("name"), textCol("preview"), textCol("limits"), timeCol("created_at"), timeCol("expires_at"), laterCol("last_used"),
				sumCol("request_count"), sumCol("input_tokens"), sumCol("output_tokens"),
			},
		},
		{
			table: "{p}global_stats", what: "totals", sum: "total_requests", empty: "coalesce(cast(total_requests as text), '0') in ('0', '0.0', '0.00')", read: (*copying).globals,
			columns: []copyColumn{
				keyCol("id"), sumCol("total_requests"), sumCol("success_count"), sumCol("failure_count"),
				sumCol("input_tokens"), sumCol("output_tokens"), laterCol("updated_at"),
			},
		},
		{
			table: "{p}model_stats", what: "totals of models", sum: "total_requests", read: (*copying).models, columns: []copyColumn{
				keyCol("provider"), keyCol("model"), sumCol("total_requests"), sumCol("success_count"), sumCol("failure_count"),
				sumCol("input_tokens"), sumCol("output_tokens"), laterCol("last_used"), timeCol("created_at"),
			},
		},
		{
			table: "{p}model_hourly", what: "hours of models", sum: "requests", read: (*copying).modelHours, columns: []copyColumn{
				keyCol("provider"), keyCol("model"),
				{name: "hour", kind: ofTime, key: true},
				sumCol("requests"), sumCol("success"), sumCol("failure"),
				sumCol("input_tokens"), sumCol("output_tokens"), timeCol("created_at"),
			},
		},
		tallyCopied("{p}tally_minute", "sums by minute"),
		tallyCopied("{p}tally_hour", "sums by hour"),
		tallyCopied("{p}tally_day", "sums by day"),
		{
			table: "{p}tally_ever", what: "sums ever", sum: "requests", read: (*copying).everSums,
			columns: append([]copyColumn{keyCol("subject"), keyCol("name"), laterCol("last_used")}, sumsNamed(tallyColumns)...),
		},
	}
	tallyEver = &copiedOfProvider[len(copiedOfProvider)-1]

	copiedOnce = []copyTable{
		{
			table: "pool_requests", what: "requests of the log", order: "id", appended: true, columns: []copyColumn{
				textCol("request_id"), textCol("provider"), textCol("model"), textCol("token_hash"), countCol("status"), countCol("failed"), countCol("attempts"),
				timeCol("started_at"), countCol("duration_us"), textCol("keys"), countCol("size"), textCol("entry"),
			},
		},
		{
			table: "pool_jobs", what: "jobs", columns: []copyColumn{
				keyCol("id"), textCol("kind"), textCol("provider"), textCol("state"), timeCol("started_at"), timeCol("updated_at"), timeCol("finished_at"), textCol("job"),
			},
		},
	}
)

func tallyCopied(table, what string) copyTable {
	return copyTable{
		table: table, what: what, sum: "requests", columns: append([]copyColumn{
			keyCol("subject"), {name: "period", kind: ofTime, key: true}, keyCol("name"),
		}, sumsNamed(tallyColumns)...),
	}
}
