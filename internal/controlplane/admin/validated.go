package admin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"ollama-api-pool/internal/controlplane/check"
	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

type validatedQuery struct {
	importQuery
	Async               bool `query:"async" description:"Answers 202 with the job at once."`
	IncludeInconclusive bool `query:"includeInconclusive" description:"Adds also the keys of which the upstream did not say whether they are good."`
}

// validatedRequest is what importValidated reads from JSON, for the OpenAPI
// document.
type validatedRequest struct {
	Content  string   `json:"content,omitempty" description:"A text, one key a line."`
	Keys     []string `json:"keys,omitempty" description:"In place of content: keys, or lines."`
	Provider string   `json:"provider,omitempty"`
}

type validKey struct {
	ID       gateway.KeyID `json:"id"`
	Key      string        `json:"key" description:"Masked."`
	Category string        `json:"category"`
	Model    string        `json:"model" description:"The first model that the upstream lists for the key."`
	AddedAt  *time.Time    `json:"addedAt"`
}

type invalidKey struct {
	Line  int    `json:"line"`
	Key   string `json:"key" description:"Masked; empty where the line held none."`
	Error string `json:"error"`
}

// validatedTotals are what an import with validation came to.
type validatedTotals struct {
	Total        int            `json:"total" description:"Lines read."`
	Added        int            `json:"added"`
	Existing     int            `json:"existing" description:"Those that were there already, or came twice. They are not checked."`
	InvalidTotal int            `json:"invalidTotal" description:"More than are listed if there are very many."`
	Categories   map[string]int `json:"categories" description:"Valid keys by family of models."`
	Job          string         `json:"job,omitempty" description:"The job's id."`
	DryRun       bool           `json:"dryRun,omitempty" description:"Nothing was asked or stored."`
	ToCheck      *int           `json:"toCheck,omitempty" description:"With dryRun: how many keys would be checked."`
}

type validatedAnswer struct {
	Valid        []validKey   `json:"valid"`
	Invalid      []invalidKey `json:"invalid"`
	Inconclusive []invalidKey `json:"inconclusive" description:"The upstream did not say; they are added only with includeInconclusive."`
	validatedTotals
}

// importProgress is what the stream tells of an import under way.
type importProgress struct {
	Done         int `json:"done"`
	Total        int `json:"total"`
	Valid        int `json:"valid"`
	Invalid      int `json:"invalid"`
	Inconclusive int `json:"inconclusive"`
	jobWait
}

var importValidatedDoc = operation{
	summary: "Import keys after checking them", group: "Import", query: validatedQuery{}, body: validatedRequest{}, answer: validatedAnswer{},
	about: "Takes what the other imports take. Each key that is not in the pool is checked upstream, which costs no tokens; at the end the valid ones are added together. " +
		"If it is cancelled, or the upstream gives no usable answers for two minutes, nothing is added. " + aboutJobs,
	texts: []string{"text/plain", "application/octet-stream", "multipart/form-data"}, example: `{"content":"anna----0123456789abcdef.fake"}`,
	tolerant: true,
	more:     map[int]any{http.StatusAccepted: jobStarted{}, http.StatusOK: "text/event-stream"},
}

// importValidated adds those keys of a list or a text that are good.
func (a *API) importValidated(w http.ResponseWriter, r *http.Request) error {
	var f faults
	f.provider(r, "") // a wrong one is told before the body is read
	async, dryRun, include := f.truth(r, "async"), f.truth(r, "dryRun"), f.truth(r, "includeInconclusive")
	if err := f.err(); err != nil {
		return err
	}
	in := &inflow{}
	items, err := validatedItems(r, in)
	if err != nil {
		return err
	}
	g, err := a.gather(items)
	if err != nil {
		return err
	}
	p := f.provider(r, in.provider)
	if err := f.err(); err != nil {
		g.spool.close()
		return err
	}
	if dryRun {
		defer g.spool.close()
		return a.foretell(w, p, g)
	}
	var tried []check.Tried
	what := check.Import{
		Source: sourceOf(r, in.file, g.lines()), IncludeInconclusive: include,
		Keys: func() iter.Seq2[gateway.Key, error] { return g.spool.keys(a.opt.Now()) },
		Line: func(n int) int { return int(g.at[n]) }, Existing: g.repeats, Bad: g.badKeys(), BadLines: g.bad,
		Close: g.spool.close,
	}
	if !async {
		what.Each = func(t check.Tried) { tried = append(tried, t) }
	}
	job, err := a.checks.StartImport(r.Context(), p, what)
	if err != nil {
		return err
	}
	a.noteKeys(r, "import with validation started", p, slog.Int("lines", g.lines()), slog.String("job", job.ID))
	if async {
		return httpkit.WriteJSON(w, http.StatusAccepted, jobStarted{newJobAnswer(&job, a.opt.Now())})
	}
	return a.follow(w, r, job.ID, following{
		progress: func(j *gateway.Job) any {
			return importProgress{j.Done, j.Total, j.Counts[check.CountValid], j.Counts[check.CountInvalid], j.Counts[check.CountInconclusive], jobWait{j.Waiting}}
		},
		fault:  nothingAdded,
		result: func(out *bufio.Writer, j *gateway.Job) error { return g.write(out, j, tried) },
	})
}

// nothingAdded is the answer where an import did not get to its end.
func nothingAdded(j *gateway.Job) *gateway.Error {
	switch j.State {
	case gateway.JobCancelled:
		return gateway.Errorf(gateway.KindConflict, "the import was cancelled; nothing was added")
	case gateway.JobInterrupted:
		return gateway.Errorf(gateway.KindUnavailable, "the program is stopping; nothing was added")
	}
	return gateway.Errorf(gateway.KindUpstream, "%s", j.Error)
}

// validatedItems finds out in which form a body comes.
func validatedItems(r *http.Request, in *inflow) (iter.Seq2[importer.Item, error], error) {
	body := bufio.NewReaderSize(r.Body, 64<<10)
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch kind {
	case "multipart/form-data":
		form, err := r.MultipartReader()
		if err != nil {
			return nil, gateway.Errorf(gateway.KindInvalid, "the form cannot be read: its Content-Type has no boundary")
		}
		return formText(form, in), nil
	case "", "text/plain", "application/octet-stream":
		return importer.Lines(body, 0), nil
	case "application/x-www-form-urlencoded":
		if !beginsObject(body) {
			return nil, notUnderstood(kind)
		}
	case "application/json":
	default:
		return nil, notUnderstood(kind)
	}
	switch listIn(body) {
	case "keys":
		return importer.JSONKeys(body, in.field), nil
	case "accounts":
		return importer.JSONAccounts(body, in.field), nil
	}
	return jsonText(body, "content", in.field), nil
}

const byteOrderMark = "\ufeff"

// maxBeforeList is how far into a body the list or the text in it begins.
const maxBeforeList = 4 << 10

// listIn tells whether the first list or text of a JSON object is keys,
// accounts or something else, without taking anything of it.
func listIn(body *bufio.Reader) string {
	for n := 1; ; n = min(max(n+1, body.Buffered()), maxBeforeList) {
		head, err := body.Peek(n)
		var name string
		certain := false
		if len(head) >= len(byteOrderMark) || !bytes.HasPrefix([]byte(byteOrderMark), head) {
			name, certain = firstMember(bytes.TrimPrefix(head, []byte(byteOrderMark)))
		}
		if certain || err != nil || n == maxBeforeList {
			return name
		}
	}
}

// firstMember reads the beginning of a JSON object up to the first member of
// interest; false means that more of it is needed.
func firstMember(head []byte) (name string, certain bool) {
	dec := json.NewDecoder(bytes.NewReader(head))
	t, err := dec.Token()
	if err == nil && t != json.Delim('{') {
		return "", true
	}
	for err == nil && dec.More() {
		if t, err = dec.Token(); err != nil {
			break
		}
		switch t {
		case "keys", "accounts", "content":
			name, _ = t.(string)
			return name, true
		}
		var value json.RawMessage
		err = dec.Decode(&value)
	}
	return "", err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}
