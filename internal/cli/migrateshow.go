package cli

import (
	"strconv"
	"strings"

	"ollama-api-pool/internal/app"
)

// migrationOut is what 'migrate --json' prints.
type migrationOut struct {
	DryRun  bool          `json:"dry_run"`
	From    string        `json:"from"`
	To      string        `json:"to"`
	Seconds float64       `json:"seconds"`
	Hashed  int           `json:"tokens_hashed"`
	Tables  []migratedOut `json:"tables"`
	Pairs   int           `json:"pairs,omitempty"` // of an export
	Left    []leftOut     `json:"not_taken,omitempty"`
}

type migratedOut struct {
	Table    string `json:"table"`
	What     string `json:"what"`
	Provider string `json:"provider,omitempty"`
	Rows     int64  `json:"rows"`
	Added    int64  `json:"added"`
	Existing int64  `json:"existing"`
	LeftOut  int64  `json:"left_out"`
	Counter  string `json:"counter,omitempty"`
	Sum      int64  `json:"sum,omitempty"`
	Verified bool   `json:"verified"`
}

type leftOut struct {
	Names  string `json:"names"`
	Reason string `json:"reason"`
	Pairs  int    `json:"pairs"`
}

func migrationJSON(m *app.Migration) migrationOut {
	out := migrationOut{
		DryRun: m.Report.DryRun, From: m.From, To: m.To, Seconds: m.Report.Took.Seconds(), Hashed: m.Report.Hashed, Tables: []migratedOut{},
	}
	for _, t := range m.Report.Tables {
		out.Tables = append(out.Tables, migratedOut{
			Table: t.Table, What: t.What, Provider: string(t.Provider), Rows: t.Rows, Added: t.Added, Existing: t.Existing, LeftOut: t.LeftOut,
			Counter: t.CountOf, Sum: t.Counted, Verified: t.Verified,
		})
	}
	if e := m.Export; e != nil {
		out.Pairs = e.Pairs
		for _, u := range e.Unknown {
			out.Left = append(out.Left, leftOut{u.Name, u.Reason, u.Pairs})
		}
	}
	return out
}

// reportMigration prints what was copied, and what to do next.
func (p *program) reportMigration(m *app.Migration, o *migrate) error {
	head := []string{"WHAT", "PROVIDER", "READ", "NEW", "THERE ALREADY", "LEFT OUT", "SUM", "VERIFIED"}
	rows := make([][]string, 0, len(m.Report.Tables))
	var leftOut int64
	for _, t := range m.Report.Tables {
		sum, verified := "-", "yes"
		if t.CountOf != "" {
			sum = number(t.Counted) + " " + counterName(t.What)
		}
		if !t.Verified {
			verified = "-"
		}
		leftOut += t.LeftOut
		rows = append(rows, []string{
			t.What, cell(string(t.Provider), widestName), number(t.Rows), number(t.Added), number(t.Existing), number(t.LeftOut), sum, verified,
		})
	}
	if len(rows) == 0 {
		if err := p.say("The source holds nothing that could be copied.\n"); err != nil {
			return err
		}
	} else if err := p.table(head, rows); err != nil {
		return err
	}
	p.remarkExport(m)
	if leftOut > 0 {
		p.remark("Left out were rows without their key: statistics of keys that are gone.\n")
	}
	if m.Report.DryRun {
		return p.say("\nThat is what would be copied from %s to %s. Nothing was written.\n", m.From, m.To)
	}
	if err := p.say("\nCopied from %s to %s in %.1f s; rows and sums of both sides are the same.\n", m.From, m.To, m.Report.Took.Seconds()); err != nil {
		return err
	}
	p.nextSteps(m, o)
	return nil
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// counterName is what is counted: of keys attempts, of all else requests.
func counterName(what string) string {
	if strings.Contains(what, "keys") {
		return "attempts"
	}
	return "requests"
}

// remarkExport tells what of an export was not taken.
func (p *program) remarkExport(m *app.Migration) {
	e := m.Export
	if e == nil {
		return
	}
	p.remark("The export has %s.\n", count(e.Pairs, "pair"))
	if len(e.Unknown) == 0 {
		return
	}
	p.remark("Not taken, by the names of the pairs (… stands for what may be secret):\n")
	for i, u := range e.Unknown {
		if i == worstShown {
			p.remark("  and %d more kinds\n", len(e.Unknown)-i)
			break
		}
		p.remark("  %d  %s: %s\n", u.Pairs, printable(u.Name), u.Reason)
	}
	if e.Valueless > 0 {
		p.remark("Without a value: %s. 'wrangler kv key list' gives names alone; 'wrangler kv bulk get' gives the values as well.\n",
			count(e.Valueless, "pair"))
	}
}

// nextSteps says what is to be done after a copy.
func (p *program) nextSteps(m *app.Migration, o *migrate) {
	p.remark("\nNext:\n")
	switch {
	case o.to == "DATA_DIR" || o.to == "DATABASE_URL" || o.to == "SUPABASE_REST_URL":
		p.remark("  %s serve                        serves from it\n", p.name)
	default:
		p.remark("  set DATABASE_URL or DATA_DIR to the target, and serve from it\n")
	}
	p.remark("  %s selftest --url ADDRESS       tests it as your clients use it\n", p.name)
	if m.Report.Hashed > 0 {
		p.remark("  Client tokens stay valid as they are. They are kept as hashes now: nobody can read them in the target.\n")
	}
	p.remark("  The source is as it was. Keep it until you are sure, then delete it: it holds keys.\n")
}

// again goes on showing after end, when something was asked meanwhile.
func (g *progress) again() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = false
}
