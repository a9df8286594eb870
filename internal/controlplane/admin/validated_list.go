package admin

import (
	"bufio"
	"iter"
	"maps"
	"net/http"
	"slices"
	"time"

	"ollama-api-pool/internal/controlplane/check"
	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// gathered is what was read of an import whose keys are to be checked.
type gathered struct {
	spool    *spool
	at       []int32 // the line of each key in the spool
	repeats  int     // keys that came before
	bad      int
	badLines []badLine // the first ones
}

// lines is how many lines or elements the body had.
func (g *gathered) lines() int { return len(g.at) + g.repeats + g.bad }

// gather reads a body to its end, each key once.
func (a *API) gather(items iter.Seq2[importer.Item, error]) (g *gathered, err error) {
	s := newSpool(a.opt.SpoolDir)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	g = &gathered{spool: s}
	seen := map[[gateway.KeyIDLen]byte]struct{}{}
	for item, err := range items {
		if err != nil {
			return nil, brokenOff(err)
		}
		switch item := item.(type) {
		case importer.Entry:
			id := [gateway.KeyIDLen]byte([]byte(gateway.IDOfKey(item.Secret)))
			if _, again := seen[id]; again {
				g.repeats++
				continue
			}
			seen[id] = struct{}{}
			if err := s.add(item); err != nil {
				return nil, err
			}
			g.at = append(g.at, int32(item.Line)) //nolint:gosec // of a body of less than two billion lines
		case importer.BadLine:
			if g.bad++; g.bad <= maxListed {
				g.badLines = append(g.badLines, badLine{item.Line, item.Reason})
			}
		}
	}
	return g, nil
}

// badKeys are the first bad lines, for the job.
func (g *gathered) badKeys() []gateway.BadKey {
	n := min(len(g.badLines), maxRecorded)
	out := make([]gateway.BadKey, 0, n)
	for _, b := range g.badLines[:n] {
		out = append(out, gateway.BadKey{Line: b.Line, Reason: b.Reason})
	}
	return out
}

// foretell answers what would be checked.
func (a *API) foretell(w http.ResponseWriter, p gateway.ProviderName, g *gathered) error {
	known := 0
	for k, err := range g.spool.keys(time.Time{}) {
		if err != nil {
			return err
		}
		if a.keys.HasKey(p, gateway.IDOfKey(k.Secret)) {
			known++
		}
	}
	fresh := len(g.at) - known
	return httpkit.WriteJSON(w, http.StatusOK, validatedAnswer{
		Valid: []validKey{}, Invalid: g.invalid(nil), Inconclusive: []invalidKey{},
		validatedTotals: validatedTotals{
			Total: g.lines(), Existing: known + g.repeats, InvalidTotal: g.bad,
			Categories: map[string]int{}, DryRun: true, ToCheck: &fresh,
		},
	})
}

// invalid lists bad lines and refused keys by line.
func (g *gathered) invalid(tried []check.Tried) []invalidKey {
	out := make([]invalidKey, 0, len(g.badLines))
	for _, b := range g.badLines {
		out = append(out, invalidKey{Line: b.Line, Error: b.Reason})
	}
	for i := range tried {
		if t := &tried[i]; t.Outcome == gateway.CheckRefused {
			out = append(out, invalidKey{t.Line, t.Masked, t.Reason})
		}
	}
	slices.SortStableFunc(out, func(a, b invalidKey) int { return a.Line - b.Line })
	return out
}

// write writes what the import came to.
func (g *gathered) write(out *bufio.Writer, j *gateway.Job, tried []check.Tried) error {
	slices.SortFunc(tried, func(a, b check.Tried) int { return a.Line - b.Line })
	invalid, added := g.invalid(tried), orNull(j.FinishedAt)
	valid := func(i int) any {
		if t := &tried[i]; t.Outcome == gateway.CheckValid {
			return validKey{t.Key, t.Masked, t.Category, t.Model, added}
		}
		return nil
	}
	inconclusive := func(i int) any {
		if t := &tried[i]; t.Outcome == gateway.CheckInconclusive {
			return invalidKey{t.Line, t.Masked, t.Reason}
		}
		return nil
	}
	return writeLists(out, validatedTotals{
		Total: g.lines(), Added: j.Counts[check.CountAdded], Existing: j.Counts[check.CountExisting],
		InvalidTotal: g.bad + j.Counts[check.CountInvalid], Categories: maps.Clone(orNone(j.Categories)), Job: j.ID,
	},
		longList{"valid", len(tried), valid},
		longList{"invalid", len(invalid), func(i int) any { return invalid[i] }},
		longList{"inconclusive", len(tried), inconclusive})
}
