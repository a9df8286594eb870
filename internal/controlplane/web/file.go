package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"ollama-api-pool/internal/httpkit"
)

// file is something that is served as it is. It may be used concurrently.
type file struct {
	kind string // the content type
	body []byte
	tag  string // a hash of the body

	pack   sync.Once // guards the making of packed
	packed []byte    // the body compressed, nil where that is no smaller
}

func newFile(kind string, body []byte) *file {
	sum := sha256.Sum256(body)
	return &file{kind: kind, body: body, tag: hex.EncodeToString(sum[:8])}
}

// answer sends the file, compressed for who understands that. What caches may
// do with it is set already. Only a 200 can be one that the client has.
func (f *file) answer(w http.ResponseWriter, r *http.Request, status int) error {
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	body, tag, encoding := f.body, f.tag, ""
	if takesGzip(r) {
		if packed := f.compressed(); packed != nil {
			body, tag, encoding = packed, f.tag+"-gzip", "gzip"
		}
	}
	if status == http.StatusOK && httpkit.Unchanged(w, r, `"`+tag+`"`) {
		return nil
	}
	if encoding != "" {
		h.Set("Content-Encoding", encoding)
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that has gone is no error
	}
	return nil
}

// compressed is the body as gzip, made when somebody first wants it; nil where
// it is not worth it.
func (f *file) compressed() []byte {
	f.pack.Do(func() {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // fails on unknown levels only
		_, _ = z.Write(f.body)                                // into memory: cannot fail
		_ = z.Close()
		if b.Len() < len(f.body) {
			f.packed = bytes.Clone(b.Bytes())
		}
	})
	return f.packed
}

// takesGzip reports whether a client understands gzip (RFC 9110, section
// 12.5.3). What is said of gzip itself goes before what is said of *.
func takesGzip(r *http.Request) bool {
	takes := false
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept-Encoding"), ","), ",") {
		name, parameters, _ := strings.Cut(part, ";")
		key, value, _ := strings.Cut(parameters, "=")
		wanted := true
		if strings.EqualFold(strings.TrimSpace(key), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			wanted = err == nil && q > 0
		}
		switch name = strings.TrimSpace(name); {
		case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
			return wanted
		case name == "*":
			takes = wanted
		}
	}
	return takes
}
