package admin

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// exportStall is how long one part of an export may wait for the client.
const exportStall = time.Minute

// exportQuery is the query of exportKeys, for the OpenAPI document.
type exportQuery struct {
	providerQuery
	Status   string `query:"status" enum:"all,active,resting,failed,disabled,expired"`
	Category string `query:"category"`
	Search   string `query:"search"`
	Reason   string `query:"reason"`
	Format   string `query:"format" enum:"txt,csv,jsonl" default:"txt"`
	Reveal   bool   `query:"reveal" description:"Shows the keys whole, without which a text cannot be imported again. This is logged."`
}

var exportKeysDoc = operation{
	summary: "Export keys", group: "Keys", query: exportQuery{},
	about: "All keys that match, as lines that can be imported again (`txt`), as a table (`csv`), or as JSON, an object a line (`jsonl`). " +
		"Keys are masked unless `reveal=true` is sent. In a table a text that a spreadsheet would take for a formula has a quote in front.",
	more: map[int]any{http.StatusOK: "text/plain, text/csv, application/jsonl"},
}

// exportKeys writes all keys that match, one after the other.
func (a *API) exportKeys(w http.ResponseWriter, r *http.Request) error {
	var f faults
	get := r.URL.Query().Get
	p, x := f.provider(r, ""), exporting{reveal: f.truth(r, "reveal"), now: a.opt.Now()}
	filter := f.filter("", get("status"), get("category"), get("search"), get("reason"))
	x.format = f.exportFormat(r)
	if err := f.err(); err != nil {
		return err
	}
	return a.export(w, r, p, &x, func(row func(gateway.Key) error) error {
		return a.keys.EachKey(r.Context(), p, filter, row)
	})
}

// exportChoiceQuery is the query of exportChosen, for the OpenAPI document.
type exportChoiceQuery struct {
	providerQuery
	Format string `query:"format" enum:"txt,csv,jsonl" default:"txt"`
	Reveal bool   `query:"reveal" description:"Shows the keys whole. This is logged."`
}

var exportChosenDoc = operation{
	summary: "Export chosen keys", group: "Keys", query: exportChoiceQuery{}, body: keyChoice{},
	about:   aboutChoice + " The answer is as that of `GET`; keys that are not there are left out.",
	example: `{"apiKeys":["0123456789abcdef"]}`,
	more:    map[int]any{http.StatusOK: "text/plain, text/csv, application/jsonl"},
}

// exportChosen writes the keys that a body chooses, one after the other.
func (a *API) exportChosen(w http.ResponseWriter, r *http.Request) error {
	var in keyChoice
	if err := httpkit.DecodeJSON(w, r, maxBulkBody, &in); err != nil {
		return err
	}
	var f faults
	x := exporting{reveal: f.truth(r, "reveal"), now: a.opt.Now(), format: f.exportFormat(r)}
	c := a.choose(r, &f, &in)
	if err := f.err(); err != nil {
		return err
	}
	if err := a.filter(r, &c, &in); err != nil {
		return err
	}
	there := c.there(a)
	if !c.bulk && len(there) == 0 {
		return noSuchKey()
	}
	return a.export(w, r, c.provider, &x, func(row func(gateway.Key) error) error {
		for _, id := range there {
			k, err := a.keys.Key(r.Context(), c.provider, id)
			if e := (*gateway.Error)(nil); errors.As(err, &e) && e.Kind == gateway.KindNotFound {
				continue // it went meanwhile
			}
			if err != nil {
				return err
			}
			if err := row(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// exportFormat reads which format an export is asked for in.
func (f *faults) exportFormat(r *http.Request) exportFormat {
	format, known := exportFormats[r.URL.Query().Get("format")]
	if !known {
		f.add("format", "must be txt, csv or jsonl")
	}
	return format
}

// export writes the keys that each gives to its function.
func (a *API) export(w http.ResponseWriter, r *http.Request, p gateway.ProviderName, x *exporting, each func(row func(gateway.Key) error) error) error {
	wait := http.NewResponseController(w)
	_ = wait.SetWriteDeadline(time.Now().Add(exportStall)) // of a writer that has none nothing is asked
	defer func() { _ = wait.SetWriteDeadline(time.Time{}) }()
	h := w.Header()
	h.Set("Content-Type", x.format.kind)
	h.Set("Content-Disposition", `attachment; filename="`+string(p)+"-keys."+x.format.name+`"`)
	out := bufio.NewWriterSize(&patient{w, wait}, 64<<10)
	row := x.format.begin(out, x)
	n := 0
	err := each(func(k gateway.Key) error {
		n++
		return row(&k)
	})
	if x.reveal {
		a.noteKeys(r, "keys exported whole", p, slog.Int("count", n))
	}
	if err != nil {
		return err
	}
	return out.Flush()
}

// patient gives a client time anew for each part that it takes.
type patient struct {
	w    io.Writer
	wait *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.wait.SetWriteDeadline(time.Now().Add(exportStall))
	return p.w.Write(b)
}

// exporting is how an export shows keys.
type exporting struct {
	format exportFormat
	reveal bool
	now    time.Time
}

type exportFormat struct {
	name, kind string
	// begin writes what comes first and gives the function that writes a key.
	begin func(out *bufio.Writer, x *exporting) func(*gateway.Key) error
}

var exportFormats = map[string]exportFormat{
	"":      {"txt", "text/plain; charset=utf-8", textRows},
	"txt":   {"txt", "text/plain; charset=utf-8", textRows},
	"csv":   {"csv", "text/csv; charset=utf-8", tableRows},
	"jsonl": {"jsonl", "application/jsonl", jsonRows},
}

// textRows writes lines that an import understands.
func textRows(out *bufio.Writer, x *exporting) func(*gateway.Key) error {
	return func(k *gateway.Key) error {
		line := k.Username + "----" + shown(k, false)
		if x.reveal {
			line = importLine(k)
		} else if k.Username == "" {
			line = shown(k, false)
		}
		_, err := out.WriteString(line + "\n")
		return err
	}
}

// importLine is the shortest line from which an import reads a key again: of
// some user names a short key would be taken for a password, unless it stands
// where only keys do.
func importLine(k *gateway.Key) string {
	key := k.Secret.Reveal()
	for _, line := range []string{k.Username + "----" + key, k.Username + "------------" + key} {
		e, reason, skip := importer.ParseLine(line)
		if k.Username != "" && reason == "" && !skip && e.Secret == k.Secret && e.Username == k.Username {
			return line
		}
	}
	return key
}

// jsonRows writes an object a line, as the list of keys shows them.
func jsonRows(out *bufio.Writer, x *exporting) func(*gateway.Key) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return func(k *gateway.Key) error {
		return enc.Encode(newKeyAnswer(k, x.now, x.reveal)) //nolint:gosec // masked, unless it was asked for whole
	}
}

// tableRows writes a table with a head.
func tableRows(out *bufio.Writer, x *exporting) func(*gateway.Key) error {
	table := csv.NewWriter(out)
	err := table.Write([]string{
		"id", "api_key", "username", "status", "category", "disabled_reason", "created_at", "expires_at",
		"failed_until", "disabled_until", "rests_until", "consecutive_failures", "last_error",
		"total_requests", "success_count", "failure_count", "last_used",
	})
	return func(k *gateway.Key) error {
		if err != nil {
			return err
		}
		v, c := newKeyAnswer(k, x.now, x.reveal), &k.Counts
		if err = table.Write([]string{
			string(v.ID), noFormula(v.APIKey), noFormula(v.Username), string(v.Status), noFormula(v.Category), orEmpty(v.DisabledReason),
			stamp(k.CreatedAt), stamp(k.ExpiresAt), stamp(k.State.FailedUntil), stamp(k.State.DisabledUntil), stamp(k.State.RestsUntil),
			strconv.Itoa(v.ConsecutiveFailures), noFormula(k.State.LastError),
			strconv.FormatInt(c.Total, 10), strconv.FormatInt(c.Success, 10), strconv.FormatInt(c.Failure, 10), stamp(c.LastUsed),
		}); err != nil {
			return err
		}
		table.Flush()
		return table.Error()
	}
}

// noFormula keeps a spreadsheet from running what somebody chose as a name
// (https://owasp.org/www-community/attacks/CSV_Injection).
func noFormula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
