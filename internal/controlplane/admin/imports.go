package admin

import (
	"bufio"
	"errors"
	"io"
	"iter"
	"log/slog"
	"mime"
	"net/http"
	"strings"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// maxListed bounds the bad lines that an answer names; all are counted.
const maxListed = 100_000

// maxDetails bounds them in the answer of importAccounts.
const maxDetails = 50

// inflow is the body of an import: what it holds, to be read once, and the
// provider that it names, known when all of it was read.
type inflow struct {
	items    iter.Seq2[importer.Item, error]
	provider string
	file     string // its name, "" where there was none
}

// field takes what stands beside the keys.
func (in *inflow) field(name, value string) {
	if name == "provider" {
		in.provider = value
	}
}

type badLine struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// imported is what an import did, or would do.
type imported struct {
	provider        gateway.ProviderName
	added, existing int
	repeated        int // of those that exist: they were in the body before; known of a dry run only
	bad             int
	badLines        []badLine // the first ones
	dryRun          bool
	preview         []previewLine // of a dry run: the first ones
}

// lines is how many lines or elements the body had.
func (im *imported) lines() int { return im.added + im.existing + im.bad }

// take imports all keys of a body or, after an error, none. The body is read
// to its end before the pool is touched, so that nobody waits for a slow one.
func (a *API) take(r *http.Request, in *inflow) (*imported, error) {
	var f faults
	f.provider(r, "") // a wrong one is told before the body is read
	out := &imported{badLines: []badLine{}, dryRun: f.truth(r, "dryRun")}
	if err := f.err(); err != nil {
		return nil, err
	}
	began := a.opt.Now()
	s := newSpool(a.opt.SpoolDir)
	defer s.close()
	for item, err := range in.items {
		if err != nil {
			return nil, brokenOff(err)
		}
		switch item := item.(type) {
		case importer.Entry:
			if err := s.add(item); err != nil {
				return nil, err
			}
			out.show(item)
		case importer.BadLine:
			if out.bad++; out.bad <= maxListed {
				out.badLines = append(out.badLines, badLine{item.Line, item.Reason})
			}
		}
	}
	out.provider = f.provider(r, in.provider)
	if err := f.err(); err != nil {
		return nil, err
	}
	if out.dryRun {
		return out, a.foresee(s, out)
	}
	var err error
	if out.added, out.existing, err = a.keys.AddKeys(r.Context(), out.provider, s.keys(a.opt.Now())); err != nil {
		return nil, err
	}
	a.noteKeys(r, "keys imported", out.provider,
		slog.Int("added", out.added), slog.Int("existing", out.existing), slog.Int("bad_lines", out.bad))
	a.record(r, in, out, began)
	return out, nil
}

// brokenOff says why a body could not be read to its end. Of errors that may
// repeat what stands in it nothing is kept.
func brokenOff(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e
	}
	e := gateway.Errorf(gateway.KindInvalid, "the body broke off or could not be read; nothing was added")
	if errors.Is(err, io.ErrUnexpectedEOF) {
		e.Cause = io.ErrUnexpectedEOF
	}
	return e
}

// limited is the step that bounds the body of an import and refuses one that
// is compressed.
func (a *API) limited(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
			return gateway.Errorf(gateway.KindMediaType, "a body with Content-Encoding %q is not understood; send it plain", gateway.Clip(enc, 64))
		}
		limit := a.opt.ImportMaxBytes
		tooLarge := gateway.Errorf(gateway.KindTooLarge, "the body is larger than %d bytes (IMPORT_MAX_BYTES); nothing was added", limit)
		if r.ContentLength > limit {
			return tooLarge
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		err := next(w, r)
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			return tooLarge
		}
		return err
	}
}

type importAnswer struct {
	Total        int       `json:"total" description:"Keys in the pool afterwards."`
	Added        int       `json:"added"`
	Existing     int       `json:"existing" description:"Those that were there already, or came twice."`
	Invalid      []badLine `json:"invalid"`
	InvalidTotal int       `json:"invalidTotal" description:"More than are listed if there are very many."`
	foreseen
}

// importQuery is the query of an import, for the OpenAPI document.
type importQuery struct {
	providerQuery
	DryRun bool   `query:"dryRun" description:"Only says what would happen."`
	Source string `header:"X-Import-Source" description:"Where the keys come from, for the list of imports: a file's name, which may be percent-encoded."`
}

// importKeysRequest is what importKeys reads, for the OpenAPI document.
type importKeysRequest struct {
	Keys     []string `json:"keys" description:"Keys, or lines in any form that an import knows."`
	Provider string   `json:"provider,omitempty"`
}

var importKeysDoc = operation{
	summary: "Import a list of keys", group: "Import", query: importQuery{}, body: importKeysRequest{}, answer: importAnswer{},
	about:   "All or nothing. Repeats within the call count as existing; bad lines are told by number and reason.",
	example: `{"keys":["anna@example.com----fake-password----fake-session----0123456789abcdef.fake"]}`, tolerant: true,
}

// importKeys adds the keys of a JSON list.
func (a *API) importKeys(w http.ResponseWriter, r *http.Request) error {
	in := &inflow{}
	in.items = importer.JSONKeys(r.Body, in.field)
	return a.answerImport(w, r, in)
}

// importTextRequest is what importText reads from JSON, for the OpenAPI
// document.
type importTextRequest struct {
	Content  string `json:"content"`
	Provider string `json:"provider,omitempty"`
}

var importTextDoc = operation{
	summary: "Import a text", group: "Import", query: importQuery{}, body: importTextRequest{}, answer: importAnswer{},
	about: "One key a line: bare, `user----key`, or `email----password----session----key`. Passwords and sessions are dropped while reading. All or nothing.",
	texts: []string{"text/plain", "application/octet-stream", "multipart/form-data"}, example: `{"content":"anna----0123456789abcdef.fake"}`,
	tolerant: true,
}

// importText adds the keys of a text, which is the body, a file in a form or a
// member of a JSON object.
func (a *API) importText(w http.ResponseWriter, r *http.Request) error {
	in := &inflow{}
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind {
	case "application/json":
		in.items = jsonText(r.Body, "content", in.field)
	case "multipart/form-data":
		form, err := r.MultipartReader()
		if err != nil {
			return gateway.Errorf(gateway.KindInvalid, "the form cannot be read: its Content-Type has no boundary")
		}
		in.items = formText(form, in)
	case "", "text/plain", "application/octet-stream":
		in.items = importer.Lines(r.Body, 0)
	case "application/x-www-form-urlencoded":
		body := bufio.NewReader(r.Body)
		if !beginsObject(body) {
			return notUnderstood(kind)
		}
		in.items = jsonText(body, "content", in.field)
	default:
		return notUnderstood(kind)
	}
	return a.answerImport(w, r, in)
}

func notUnderstood(kind string) error {
	return gateway.Errorf(gateway.KindMediaType,
		"Content-Type %q is not understood here: send the text as text/plain, as a file of a form (multipart/form-data) or as JSON", gateway.Clip(kind, 64))
}

// beginsObject reports whether a body is a JSON object by its first byte: curl
// calls what it sends a form unless it is told otherwise.
func beginsObject(body *bufio.Reader) bool {
	for n := 1; n <= body.Size(); n++ {
		first, err := body.Peek(n)
		if err != nil {
			return false
		}
		if c := first[n-1]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c == '{'
		}
	}
	return false
}

func (a *API) answerImport(w http.ResponseWriter, r *http.Request, in *inflow) error {
	out, err := a.take(r, in)
	if err != nil {
		return err
	}
	answer := importAnswer{
		Total: sum(a.keys.CountKeys(out.provider)), Added: out.added, Existing: out.existing,
		Invalid: out.badLines, InvalidTotal: out.bad, foreseen: out.foreseen(),
	}
	if out.dryRun {
		answer.Total += out.added
	}
	return httpkit.WriteJSON(w, http.StatusOK, answer)
}

type accountsAnswer struct {
	Success    bool      `json:"success"`
	Imported   int       `json:"imported"`
	Failed     int       `json:"failed"`
	Duplicates int       `json:"duplicates"`
	Total      int       `json:"total" description:"Accounts in the body."`
	Details    []badLine `json:"details" description:"Why the first ones failed, 50 at most."`
	foreseen
}

// importAccountsRequest is what importAccounts reads, for the OpenAPI document.
type importAccountsRequest struct {
	Accounts []any  `json:"accounts" description:"Lines, or objects with api_key and username or email."`
	Provider string `json:"provider,omitempty"`
}

var importAccountsDoc = operation{
	summary: "Import a list of accounts", group: "Import", query: importQuery{}, body: importAccountsRequest{}, answer: accountsAnswer{},
	example: `{"accounts":[{"api_key":"0123456789abcdef.fake","email":"anna@example.com"}]}`, tolerant: true,
}

// importAccounts adds the keys of a JSON list of accounts.
func (a *API) importAccounts(w http.ResponseWriter, r *http.Request) error {
	in := &inflow{}
	in.items = importer.JSONAccounts(r.Body, in.field)
	out, err := a.take(r, in)
	if err != nil {
		return err
	}
	return httpkit.WriteJSON(w, http.StatusOK, accountsAnswer{
		Success: true, Imported: out.added, Failed: out.bad, Duplicates: out.existing,
		Total: out.lines(), Details: out.badLines[:min(len(out.badLines), maxDetails)], foreseen: out.foreseen(),
	})
}
