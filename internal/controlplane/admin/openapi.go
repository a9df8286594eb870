package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"

	"ollama-api-pool/internal/httpkit"
)

var openAPIDoc = operation{
	summary: "This document",
	about:   "OpenAPI 3.1, made from what the program really decodes and encodes. `If-None-Match` with the `ETag` gets 304.",
	group:   "System",
	answer:  map[string]any{},
	more:    map[int]any{http.StatusNotModified: ""},
	open:    true,
}

// document is the OpenAPI document as it is served.
type document struct {
	text []byte
	tag  string // its ETag
}

// showOpenAPI serves the OpenAPI document. It tells nothing that is secret, so
// a browser may keep it and ask whether it has changed.
func (a *API) showOpenAPI(w http.ResponseWriter, r *http.Request) error {
	d, err := a.document()
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	if httpkit.Unchanged(w, r, d.tag) {
		return nil
	}
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(d.text)))
	_, _ = w.Write(d.text) // a client that has gone is no error
	return nil
}

// document makes the document from the table of addresses, the first time that
// somebody wants it.
func (a *API) document() (*document, error) {
	a.describe.Do(func() {
		p := newPaper(a.opt.Version)
		for _, r := range a.routes() {
			if err := p.add(&r); err != nil {
				a.described, a.describeErr = nil, fmt.Errorf("describe %s: %w", r.pattern, err)
				return
			}
		}
		if err := p.addDataPlane(); err != nil {
			a.describeErr = err
			return
		}
		text, err := json.Marshal(p.spec)
		if err != nil {
			a.describeErr = fmt.Errorf("encode the OpenAPI document: %w", err)
			return
		}
		sum := sha256.Sum256(text)
		a.described = &document{text, `"` + hex.EncodeToString(sum[:8]) + `"`}
	})
	return a.described, a.describeErr
}

// Names of the security schemes.
const (
	byAdminToken  = "adminToken"
	byCookie      = "session"
	byCSRF        = "csrfToken"
	byClientToken = "clientToken"
	byClientKey   = "clientKey"
)

// errorAnswer is how errors look.
type errorAnswer struct {
	Error struct {
		Message   string  `json:"message"`
		Type      string  `json:"type" description:"The kind of error, as in OpenAI's API."`
		Code      string  `json:"code" description:"The type again, or not_found or conflict."`
		Param     *string `json:"param" description:"Always null."`
		Retryable bool    `json:"retryable,omitempty" description:"Whether the same request may succeed later."`
	} `json:"error"`
}

// paper is the document while it is made.
type paper struct {
	reflector *openapi31.Reflector
	spec      *openapi31.Spec
}

const about = `One address for many upstream API keys.

**Clients** use the addresses below *Chat and models* with a client token (` + "`sk-…`" + `), as they would use the upstream itself.
They may also be reached below ` + "`/ollama`" + ` and, with the token in the address, below ` + "`/t/{token}`" + `.

**Operators** use ` + "`/admin`" + ` with the admin token as ` + "`Authorization: Bearer …`" + `, or from a browser with the cookie that
` + "`POST /admin/login`" + ` sets. With the cookie every call that changes something needs the header ` + "`X-CSRF-Token`" + `.

Three wrong admin tokens from one address are answered at once, the next ones ever more slowly, and after twenty the address gets 429
with ` + "`Retry-After`" + ` until one try is forgotten, which takes 30 seconds. Only that address is locked (of IPv6 the /64), so who shares it with somebody
who guesses gets in from elsewhere: from another network, over loopback on the machine itself, or by listing the proxy in front in
` + "`TRUSTED_PROXIES`" + `, so that clients are told apart. A session that exists already goes on. Restarting the server forgets all tries.

Upstream keys are masked in every answer; ` + "`reveal=true`" + ` shows them whole and is logged. Times are RFC 3339 in UTC.
Fields that a call does not know are an error, so that a slip is noticed; calls that scripts of earlier versions may use pass over them
and say so. A field that is new in an answer is not a breaking change.`

func newPaper(version string) *paper {
	p := &paper{reflector: openapi31.NewReflector()}
	p.spec = p.reflector.SpecEns()
	p.shape()
	s := p.spec
	s.SetTitle("Ollama API Pool")
	s.SetVersion(version)
	s.SetDescription(about)
	s.WithServers(openapi31.Server{URL: "/"})
	s.WithTags(
		openapi31.Tag{Name: "Chat and models"},
		openapi31.Tag{Name: "Keys"}, openapi31.Tag{Name: "Import"}, openapi31.Tag{Name: "Checks"}, openapi31.Tag{Name: "Tokens"},
		openapi31.Tag{Name: "Statistics"}, openapi31.Tag{Name: "Requests"}, openapi31.Tag{Name: "Cache"},
		openapi31.Tag{Name: "Session"}, openapi31.Tag{Name: "System"},
	)
	s.SetHTTPBearerTokenSecurity(byAdminToken, "", "The admin token (ADMIN_TOKEN).")
	s.SetAPIKeySecurity(byCookie, cookieName, openapi.InCookie, "The session of a browser, from POST /admin/login.")
	s.SetAPIKeySecurity(byCSRF, csrfHeader, openapi.InHeader, "What POST /admin/login or GET /admin/session gave; needed with the cookie by calls that change something.")
	s.SetHTTPBearerTokenSecurity(byClientToken, "sk-…", "A client token.")
	s.SetAPIKeySecurity(byClientKey, "x-api-key", openapi.InHeader, "A client token, as Anthropic's clients send it.")
	return p
}

// wildcard finds what stands for a part of a path.
var wildcard = regexp.MustCompile(`\{([a-z]+)(\.\.\.)?\}`)

// documented is a route's pattern as the document writes it: method and path.
func documented(pattern string) (method, path string) {
	method, path, _ = strings.Cut(pattern, " ")
	return method, wildcard.ReplaceAllString(strings.ReplaceAll(path, "{$}", ""), "{$1}")
}

// add describes one address of this API.
func (p *paper) add(r *route) error {
	method, path := documented(r.pattern)
	oc, err := p.reflector.NewOperationContext(method, path)
	if err != nil {
		return err
	}
	exposed, ok := oc.(openapi31.OperationExposer)
	if !ok {
		return fmt.Errorf("an operation of type %T cannot be worked on", oc)
	}
	o, d := exposed.Operation(), &r.doc
	oc.SetID(operationID(method, path))
	oc.SetTags(d.group)
	oc.SetSummary(d.summary)
	if words := d.words(); words != "" {
		oc.SetDescription(words)
	}
	if d.former {
		oc.SetIsDeprecated(true)
	}
	o.Security = d.security(method)
	if d.query != nil {
		oc.AddReqStructure(d.query)
	}
	p.addPathParameters(o, d.query, path)
	if err := p.addBody(o, d); err != nil {
		return err
	}
	addAnswers(oc, d)
	return p.reflector.AddOperation(oc)
}

// words are what is said about an operation besides its title.
func (d *operation) words() string {
	words := d.about
	if d.tolerant {
		words += "\n\nFields of the body that are not known are passed over."
	}
	if d.former {
		words += "\n\nAn older name; new scripts should not use it."
	}
	return strings.TrimSpace(words)
}

// security lists what lets a caller in; any one of them is enough.
func (d *operation) security(method string) []map[string][]string {
	cookie := map[string][]string{byCookie: {}}
	if changes(method) {
		cookie[byCSRF] = []string{}
	}
	if d.open {
		return []map[string][]string{{}}
	}
	if d.session {
		return []map[string][]string{cookie}
	}
	return []map[string][]string{{byAdminToken: {}}, cookie}
}

// addPathParameters describes the parts of a path that the query struct does
// not describe.
func (p *paper) addPathParameters(o *openapi31.Operation, query any, path string) {
	for _, m := range wildcard.FindAllStringSubmatch(path, -1) {
		if hasPathTag(query, m[1]) {
			continue
		}
		required := true
		o.Parameters = append(o.Parameters, openapi31.ParameterOrReference{Parameter: &openapi31.Parameter{
			Name: m[1], In: openapi31.ParameterInPath, Required: &required, Schema: map[string]any{"type": "string"},
		}})
	}
}

// addBody describes what is sent.
func (p *paper) addBody(o *openapi31.Operation, d *operation) error {
	if d.body == nil && len(d.texts) == 0 {
		return nil
	}
	required := !d.optional
	content := map[string]openapi31.MediaType{}
	if d.body != nil {
		schema, err := p.schemaOf(d.body)
		if err != nil {
			return err
		}
		media := openapi31.MediaType{Schema: schema}
		if d.example != "" {
			var example any
			if err := json.Unmarshal([]byte(d.example), &example); err != nil {
				return fmt.Errorf("read the example: %w", err)
			}
			media.Example = &example
		}
		content["application/json"] = media
	}
	for _, kind := range d.texts {
		media := openapi31.MediaType{Schema: map[string]any{"type": "string"}}
		if kind == "multipart/form-data" {
			media.Schema = map[string]any{"type": "object", "properties": map[string]any{
				"file":     map[string]any{"type": "string", "contentMediaType": "text/plain"},
				"provider": map[string]any{"type": "string"},
			}}
		}
		content[kind] = media
	}
	o.RequestBody = &openapi31.RequestBodyOrReference{RequestBody: &openapi31.RequestBody{Required: &required, Content: content}}
	return nil
}

// addAnswers describes what comes back.
func addAnswers(oc openapi.OperationContext, d *operation) {
	if d.answer != nil {
		oc.AddRespStructure(d.answer, openapi.WithHTTPStatus(http.StatusOK))
	}
	for _, status := range slices.Sorted(maps.Keys(d.more)) {
		if kinds, plain := d.more[status].(string); plain {
			for kind := range strings.SplitSeq(kinds, ", ") {
				oc.AddRespStructure(nil, openapi.WithHTTPStatus(status), openapi.WithContentType(kind))
			}
			continue
		}
		oc.AddRespStructure(d.more[status], openapi.WithHTTPStatus(status))
	}
	oc.AddRespStructure(errorAnswer{}, func(cu *openapi.ContentUnit) {
		cu.IsDefault, cu.Description = true, "What went wrong."
	})
}

// operationID names an operation: its method and the words of its path.
func operationID(method, path string) string {
	id := strings.ToLower(method)
	for _, part := range strings.FieldsFunc(path, func(c rune) bool { return strings.ContainsRune("/-_.", c) }) {
		by := ""
		if name, isWildcard := strings.CutPrefix(part, "{"); isWildcard {
			by, part = "By", strings.TrimSuffix(name, "}")
		}
		id += by + strings.ToUpper(part[:1]) + part[1:]
	}
	return id
}
