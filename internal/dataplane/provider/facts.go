package provider

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"ollama-api-pool/internal/gateway"
)

// facts are what rules look at: an answer, read leniently.
type facts struct {
	status int
	now    time.Time
	header http.Header
	page   bool              // an HTML page
	text   string            // what the error says, made plain
	root   string            // where the error object is in fields: "" or a path that ends in a dot
	fields map[string]string // scalars of the JSON by path; nil where it is none
}

// Limits of reading an error. What lies beyond them is not looked at.
const (
	maxText   = 2048 // bytes of a single text
	maxFields = 256
	maxDepth  = 32 // of nesting; paths are kept down to maxPath
	maxPath   = 6
)

// Where an error object may be. The first that is there is taken, else the
// top level itself.
var errorRoots = [...]string{"error", "response.error", "choices.0.error", "errors.0", "0.error"}

// Where an error puts its words, at its root or at the top level. The raw
// answer of a model's provider, the flagged input and the like are left out on
// purpose: they are not the upstream's own words.
var spoken = [...]string{
	"message", "detail", "title", "error_description", "reason",
	"code", "type", "error_type", "metadata.error_type",
}

func readAnswer(a *Answer) *facts {
	f := &facts{status: a.Status, now: a.Now, header: a.Header}
	body := a.Body
	if enc := a.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		body = nil // compressed against our wish: status and header must do
	}
	body = bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), " \t\r\n")
	if f.page = isPage(a.Header.Get("Content-Type"), body); f.page || len(body) == 0 {
		return f
	}
	f.readBody(body)
	return f
}

func (f *facts) readBody(body []byte) {
	body = eventData(body)
	if len(body) > 0 && strings.IndexByte("{[\"", body[0]) >= 0 {
		f.fields = readFields(body)
		f.findRoot()
		f.text = f.words()
	}
	if len(f.fields) == 0 {
		f.text = plain(clipBytes(body))
	}
}

// eventData gives the first data line of a body in the form of an event
// stream, other bodies as they are.
func eventData(body []byte) []byte {
	if !bytes.HasPrefix(body, []byte("data:")) && !bytes.HasPrefix(body, []byte("event:")) {
		return body
	}
	for line := range bytes.Lines(body) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			return bytes.TrimSpace(data)
		}
	}
	return body
}

// isPage tells a web page, such as a proxy's or a firewall's, from an answer
// of the API. JSON is no page, whatever it calls itself.
func isPage(contentType string, body []byte) bool {
	if len(body) > 0 && (body[0] == '{' || body[0] == '[') {
		return false
	}
	start := strings.ToLower(string(body[:min(len(body), len("<!doctype"))]))
	if strings.HasPrefix(start, "<!doctype") || strings.HasPrefix(start, "<html") {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimSpace(media)
	return strings.EqualFold(media, "text/html") || strings.EqualFold(media, "application/xhtml+xml")
}

func (f *facts) findRoot() {
	for _, at := range errorRoots {
		for path := range f.fields {
			if strings.HasPrefix(path, at) && strings.HasPrefix(path[len(at):], ".") {
				f.root = at + "."
				return
			}
		}
	}
}

// field gives a scalar below the error object. Null and "" count as absent.
func (f *facts) field(path string) (string, bool) {
	v := f.fields[f.root+path]
	return v, v != ""
}

// has reports whether one of the fields is there, as a scalar, a list or an
// object that is not empty, and has one of the values, if any are given.
func (f *facts) has(paths, values []string) bool {
	for _, path := range paths {
		v, ok := f.field(path)
		if !ok && len(values) == 0 {
			ok = f.below(f.root + path + ".")
		}
		if !ok {
			continue
		}
		if len(values) == 0 {
			return true
		}
		for _, pattern := range values {
			if matchesValue(v, pattern) {
				return true
			}
		}
	}
	return false
}

func (f *facts) below(prefix string) bool {
	for path := range f.fields {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

func (f *facts) says(phrases []string) bool {
	for _, p := range phrases {
		if saysPhrase(f.text, p) {
			return true
		}
	}
	return false
}

// words gathers what the error says. Sentences are parted by a full stop, so
// that no phrase is made of two of them by chance.
func (f *facts) words() string {
	var parts []string
	add := func(path string) {
		if v := f.fields[path]; v != "" {
			parts = append(parts, plain(v))
		}
	}
	add("") // the whole body is a string
	add("error")
	for _, path := range spoken {
		add(f.root + path)
		if f.root != "" {
			add(path)
		}
	}
	return strings.Join(parts, " . ")
}

// plain makes text comparable: lower case, _ and - as blanks, blanks run
// together. What stands in quotation marks is left out: it repeats the request
// (a model's name, a path), and a client must not be able to put words into
// the upstream's mouth.
func plain(s string) string {
	var b strings.Builder
	runes := []rune(gateway.Clip(s, maxText))
	blank := true
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		if end := quotationEnd(runes, i); end > i {
			i, r = end, ' '
		}
		switch r {
		case '_', '-':
			r = ' '
		case '’':
			r = '\''
		}
		if unicode.IsSpace(r) || r < ' ' {
			if !blank {
				b.WriteByte(' ')
			}
			blank = true
			continue
		}
		blank = false
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.TrimRight(b.String(), " ")
}

// quotationEnd gives the place of the mark that closes a quotation which opens
// at i, or -1. An apostrophe within a word opens none.
func quotationEnd(s []rune, i int) int {
	closing := s[i]
	switch s[i] {
	case '"', '`':
	case '“':
		closing = '”'
	case '\'':
		if i > 0 && isLetter(s[i-1]) {
			return -1
		}
	default:
		return -1
	}
	for j := i + 1; j < len(s); j++ {
		if s[j] == closing && (closing != '\'' || j+1 == len(s) || !isLetter(s[j+1])) {
			return j
		}
	}
	return -1
}

func isLetter(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

func clipBytes(b []byte) string { return string(b[:min(len(b), maxText)]) }

// readFields gathers the scalars of a JSON text by their paths, in lower case,
// as far as the text goes: it may have been cut anywhere. Of a list only the
// first element is read.
func readFields(body []byte) map[string]string {
	w := fieldReader{dec: json.NewDecoder(bytes.NewReader(body)), fields: make(map[string]string)}
	w.dec.UseNumber()
	w.value("", 0, true)
	return w.fields
}

type fieldReader struct {
	dec    *json.Decoder
	fields map[string]string
}

// value reads one value; false means that nothing more can be read.
func (w *fieldReader) value(path string, depth int, keep bool) bool {
	token, err := w.dec.Token()
	if err != nil || depth > maxDepth {
		return false
	}
	keep = keep && depth <= maxPath
	switch v := token.(type) {
	case json.Delim:
		return w.members(v, path, depth, keep)
	case string:
		w.put(path, v, keep)
	case json.Number:
		w.put(path, v.String(), keep)
	case bool:
		w.put(path, strconv.FormatBool(v), keep)
	}
	return true
}

// members reads an object or a list up to its end.
func (w *fieldReader) members(open json.Delim, path string, depth int, keep bool) bool {
	for i := 0; w.dec.More(); i++ {
		name := strconv.Itoa(i)
		if open == '{' {
			token, err := w.dec.Token()
			key, ok := token.(string)
			if err != nil || !ok {
				return false
			}
			name = strings.ToLower(gateway.Clip(key, 64))
		} else {
			keep = keep && i == 0
		}
		if path != "" && keep {
			name = path + "." + name
		}
		if !w.value(name, depth+1, keep) {
			return false
		}
	}
	_, err := w.dec.Token()
	return err == nil
}

func (w *fieldReader) put(path, v string, keep bool) {
	if _, there := w.fields[path]; !keep || there || len(w.fields) >= maxFields {
		return
	}
	w.fields[path] = gateway.Clip(v, maxText)
}
