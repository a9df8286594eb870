package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// contract is the OpenAPI document as the program serves it, with a validator
// for each answer.
type contract struct {
	paths map[string]map[string]described // by path, by method in small letters

	mu      sync.Mutex // guards what follows
	compile *jsonschema.Compiler
	schemas map[string]*jsonschema.Schema
}

// described is what the document says of one operation.
type described struct {
	Responses map[string]struct {
		Ref     string `json:"$ref"`
		Content map[string]struct {
			Schema json.RawMessage
		}
	}
}

// contractOf reads the document, once for all tests.
var contractOf = sync.OnceValues(func() (*contract, error) {
	if served == nil {
		return nil, fmt.Errorf("no document was served")
	}
	return readContract(served)
})

// served is the document that the first program of the tests served.
var (
	served     []byte
	servedOnce sync.Once
)

func readContract(text []byte) (*contract, error) {
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	closeObjects(whole)
	c := &contract{compile: jsonschema.NewCompiler(), schemas: map[string]*jsonschema.Schema{}}
	c.compile.DefaultDraft(jsonschema.Draft2020)
	c.compile.AssertFormat()
	if err := c.compile.AddResource("mem:openapi.json", whole); err != nil {
		return nil, err
	}
	var read struct {
		Paths map[string]map[string]described
	}
	if err := json.Unmarshal(text, &read); err != nil {
		return nil, err
	}
	c.paths = read.Paths
	return c, nil
}

// closeObjects forbids in every object of the document that lists its fields
// to have others.
func closeObjects(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
		for name, w := range v {
			if name != "example" && name != "examples" {
				closeObjects(w)
			}
		}
	case []any:
		for _, w := range v {
			closeObjects(w)
		}
	}
}

// find looks up the path of the document to which an address belongs. One that
// is written out goes before one with a part to be filled in, and of these the
// longest.
func (c *contract) find(address string) (path string, ok bool) {
	if _, ok := c.paths[address]; ok {
		return address, true
	}
	for candidate := range c.paths {
		head, _, open := strings.Cut(candidate, "{")
		if open && len(candidate) > len(path) && strings.HasPrefix(address, head) && len(address) > len(head) && matchesPath(candidate, address) {
			path = candidate
		}
	}
	return path, path != ""
}

func matchesPath(path, address string) bool {
	want, got := strings.Split(path, "/"), strings.Split(address, "/")
	for i, w := range want {
		if i >= len(got) {
			return false
		}
		if strings.HasPrefix(w, "{") && i == len(want)-1 {
			return true
		}
		if !strings.HasPrefix(w, "{") && w != got[i] {
			return false
		}
	}
	return len(want) == len(got)
}

// check says how an answer departs from the document; "" means it does not.
func (c *contract) check(method, address string, status int, kind, body string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	path, ok := c.find(u.Path)
	if !ok || method == http.MethodOptions {
		return ""
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	o, ok := c.paths[path][strings.ToLower(method)]
	if !ok {
		if status != http.StatusMethodNotAllowed && status/100 != 4 {
			return "the method is not in the document"
		}
		return ""
	}
	name := fmt.Sprint(status)
	answer, ok := o.Responses[name]
	if !ok {
		if name = "default"; status < 400 {
			return "the status is not in the document"
		}
		if answer, ok = o.Responses[name]; !ok {
			return "errors are not in the document"
		}
	}
	if body == "" {
		return ""
	}
	media, _, _ := mime.ParseMediaType(kind)
	if _, ok := answer.Content[media]; !ok {
		return fmt.Sprintf("the content type %q is not in the document", kind)
	}
	if media != "application/json" {
		return ""
	}
	return c.validate(strings.Join([]string{"paths", escape(path), strings.ToLower(method), "responses", name, "content", escape(media), "schema"}, "/"), body)
}

func (c *contract) validate(pointer, body string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.schemas[pointer]
	if s == nil {
		var err error
		if s, err = c.compile.Compile("mem:openapi.json#/" + pointer); err != nil {
			return err.Error()
		}
		c.schemas[pointer] = s
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	if err := s.Validate(v); err != nil {
		return err.Error()
	}
	return ""
}

func escape(s string) string {
	return url.PathEscape(strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1"))
}

// conforms holds an answer against the OpenAPI document: status, content type,
// and every field of its JSON must be described there.
func conforms(t testing.TB, method, address string, status int, kind, body string) {
	t.Helper()
	c, err := contractOf()
	if err != nil {
		t.Fatal(err)
	}
	if wrong := c.check(method, address, status, kind, body); wrong != "" {
		t.Errorf("%s %s: %d is not as the OpenAPI document says: %s", method, address, status, wrong)
	}
}

func TestOpenAPIDocument(t *testing.T) {
	p := start(t)
	a := p.call("GET /openapi.json", "", "Authorization", "")
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" || a.header.Get("Etag") == "" ||
		a.header.Get("X-Content-Type-Options") != "nosniff" || a.header.Get("Content-Security-Policy") != "default-src 'none'; frame-ancestors 'none'" ||
		a.header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("%d %v", a.status, a.header)
	}
	for _, tag := range []string{a.header.Get("Etag"), `"x", W/` + a.header.Get("Etag"), "*"} {
		if again := p.call("GET /openapi.json", "", "If-None-Match", tag); again.status != 304 || again.body != "" {
			t.Errorf("If-None-Match %s: %d", tag, again.status)
		}
	}
	if again := p.call("GET /openapi.json", "", "If-None-Match", `"x"`); again.status != 200 || again.body != a.body {
		t.Errorf("another tag: %d", again.status)
	}
	var doc struct {
		OpenAPI    string
		Info       struct{ Version string }
		Components struct{ SecuritySchemes map[string]any }
	}
	p.decode(a, &doc)
	if doc.OpenAPI != "3.1.0" || doc.Info.Version != "1.2.3-test" || len(doc.Components.SecuritySchemes) != 5 {
		t.Errorf("%+v", doc)
	}
}

// The check itself must be able to fail.
func TestConformsNoticesWhatIsNotDescribed(t *testing.T) {
	p := start(t)
	p.call("GET /", "", "Accept", "application/json")
	c, err := contractOf()
	if err != nil {
		t.Fatal(err)
	}
	const kind = "application/json"
	for name, x := range map[string]struct {
		method, address string
		status          int
		kind, body      string
		ok              bool
	}{
		"as described":         {"GET", "/", 200, kind, `{"service":"s","version":"v"}`, true},
		"a field too many":     {"GET", "/", 200, kind, `{"service":"s","version":"v","more":1}`, false},
		"a field is missing":   {"GET", "/", 200, kind, `{"service":"s"}`, false},
		"another type":         {"GET", "/", 200, kind, `{"service":"s","version":1}`, false},
		"another status":       {"GET", "/", 201, kind, `{"service":"s","version":"v"}`, false},
		"a page":               {"GET", "/", 200, "text/html", "<p>", true},
		"another content type": {"GET", "/", 200, "text/plain", "p", false},
		"an error":             {"GET", "/admin/stats", 401, kind, `{"error":{"message":"m","type":"t","code":"c","param":null}}`, true},
		"no error":             {"GET", "/admin/stats", 401, kind, `{"error":"m"}`, false},
		"in a list":            {"GET", "/admin/tokens?x=1", 200, kind, `{"tokens":[{"id":1}]}`, false},
		"another method":       {"PUT", "/admin/tokens", 200, kind, `{}`, false},
	} {
		if wrong := c.check(x.method, x.address, x.status, x.kind, x.body); (wrong == "") != x.ok {
			t.Errorf("%s: %q", name, wrong)
		}
	}
}
