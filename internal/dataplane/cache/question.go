package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"io"
	"net/http"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// generates tells the addresses at which a model answers or embeds.
func generates(path string) bool {
	switch path {
	case "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages",
		"/api/chat", "/api/generate", "/api/embed", "/api/embeddings":
		return true
	}
	return false
}

// wantsWhole reports whether a request asks for its answer in one piece. Where
// it says something odd the upstream may do what it likes.
func wantsWhole(path string, body []byte) bool {
	var asked struct {
		Stream json.RawMessage `json:"stream"`
	}
	if json.Unmarshal(body, &asked) != nil {
		return false
	}
	switch string(asked.Stream) {
	case "false":
		return true
	case "", "null":
		return path != "/api/chat" && path != "/api/generate" // there a stream is what one gets unasked
	}
	return false
}

// control is what a client asks of the cache.
type control uint8

const (
	asEver  control = iota
	noCache         // a fresh answer
	noStore         // and it is not to be kept
)

// readControl reads Cache-Control (RFC 9111, section 5.2.1).
func readControl(h http.Header) control {
	c := asEver
	for _, line := range h["Cache-Control"] {
		for word := range strings.SplitSeq(line, ",") {
			switch word = strings.TrimSpace(word); {
			case strings.EqualFold(word, "no-store"):
				return noStore
			case strings.EqualFold(word, "no-cache"):
				c = noCache
			}
		}
	}
	return c
}

// digest is the SHA-256 of all that an answer depends on.
type digest [sha256.Size]byte

// varying are the request headers on which an answer depends.
var varying = [...]string{"Accept", "Anthropic-Beta", "Anthropic-Version", "Openai-Beta"}

// keyOf is what two requests have in common that get the same answer: all that
// is sent upstream and can change it, and, unless answers are shared, the token.
func (a *Answers) keyOf(x *gateway.Exchange, r *http.Request, body []byte) (key digest) {
	h := sha256.New()
	owner := ""
	if !a.opts.Shared && x.Principal != nil {
		owner = x.Principal.TokenHash
	}
	for _, part := range [...]string{owner, string(x.Route.Provider), x.Route.Path, r.URL.RawQuery} {
		writePart(h, part)
	}
	for _, name := range varying {
		values := r.Header[name]
		writeLen(h, len(values))
		for _, v := range values {
			writePart(h, v)
		}
	}
	_, _ = h.Write(body) // a hash takes everything
	h.Sum(key[:0])
	return key
}

// writePart writes a text after its length, so that no two lists of texts give
// the same hash.
func writePart(h hash.Hash, s string) {
	writeLen(h, len(s))
	_, _ = io.WriteString(h, s)
}

func writeLen(h hash.Hash, n int) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(n)) //nolint:gosec // a length
	_, _ = h.Write(b[:])
}
