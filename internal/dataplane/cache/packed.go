package cache

import (
	"encoding/binary"
	"errors"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// packed is an answer as it lies in a Tier. The bytes begin with packedVersion;
// what begins otherwise was written by another version of this program and is not
// read. After it come the end of its time in ms of the epoch, provider, path,
// model, status, header and body; texts and lists after their length, numbers as
// varints.
type packed struct {
	until    time.Time
	provider gateway.ProviderName
	path     string
	model    string
	status   int
	header   http.Header
	body     []byte
}

const packedVersion = "K1"

// packedHead is how many of the first bytes tell what an answer is about.
const packedHead = 1024

// Bounds of what is read.
const (
	maxPackedName    = 300
	maxPackedHeaders = 100
)

var errPacked = errors.New("these bytes hold no answer")

// pack writes an answer; nil: it is none that would be read again.
func (p *packed) pack() []byte {
	if len(p.provider) > maxPackedName || len(p.path) > maxPackedName || len(p.model) > maxPackedName || len(p.header) > maxPackedHeaders {
		return nil
	}
	b := make([]byte, 0, 512+len(p.body))
	b = append(b, packedVersion...)
	b = binary.AppendUvarint(b, uint64(max(p.until.UnixMilli(), 0)))
	for _, s := range [...]string{string(p.provider), p.path, p.model} {
		b = appendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(max(p.status, 0)))
	b = binary.AppendUvarint(b, uint64(len(p.header)))
	for name, values := range p.header {
		b = appendText(b, name)
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			b = appendText(b, v)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(p.body)))
	return append(b, p.body...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// unpack reads an answer. Its body is a part of the bytes.
func unpack(b []byte) (*packed, error) {
	r := &reading{rest: b}
	p := r.label()
	p.status = int(r.number(999)) //nolint:gosec // bounded
	n := r.number(maxPackedHeaders)
	p.header = make(http.Header, n)
	for range n {
		name := r.text(maxPackedName)
		values := make([]string, 0, 1)
		for range r.number(maxPackedHeaders) {
			v := r.text(len(r.rest))
			r.bad = r.bad || strings.ContainsFunc(v, isControl)
			values = append(values, v)
		}
		if r.bad || name == "" || textproto.CanonicalMIMEHeaderKey(name) != name || strings.ContainsFunc(name, notInName) {
			return nil, errPacked
		}
		p.header[name] = values
	}
	p.body = r.bytes(len(r.rest))
	if r.bad || len(r.rest) > 0 || p.status < 200 {
		return nil, errPacked
	}
	p.header = keptHeader(p.header)
	return p, nil
}

// labelOf reads of an answer's first bytes what it is about.
func labelOf(head []byte) (p *packed, err error) {
	r := &reading{rest: head}
	if p = r.label(); r.bad {
		return nil, errPacked
	}
	return p, nil
}

func isControl(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }

// notInName tells what is no part of a header's name (RFC 9110, section 5.1).
func notInName(c rune) bool {
	return c <= ' ' || c >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, c)
}

// reading takes one thing after the other from bytes that may be anything. After
// the first that is not what it should be all are empty.
type reading struct {
	rest []byte
	bad  bool
}

func (r *reading) label() *packed {
	if !strings.HasPrefix(string(r.rest[:min(len(packedVersion), len(r.rest))]), packedVersion) {
		r.bad, r.rest = true, nil
		return &packed{}
	}
	r.rest = r.rest[len(packedVersion):]
	return &packed{
		until:    time.UnixMilli(int64(r.number(1 << 50))), //nolint:gosec // bounded
		provider: gateway.ProviderName(r.text(maxPackedName)),
		path:     r.text(maxPackedName),
		model:    r.text(maxPackedName),
	}
}

// number reads one that is not larger than most.
func (r *reading) number(most uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	if r.bad || size <= 0 || n > most {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reading) text(most int) string { return string(r.bytes(most)) }

// bytes reads some that are not more than most.
func (r *reading) bytes(most int) []byte {
	n := r.number(uint64(max(most, 0)))
	if r.bad || n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// chosenBy makes of a pattern what a Tier chooses by. What cannot be read goes in
// any case.
func chosenBy(pattern string) func(head []byte) bool {
	if pattern == "" {
		return nil
	}
	return func(head []byte) bool {
		p, err := labelOf(head)
		return err != nil || chosen(pattern, p.provider, p.path, p.model)
	}
}
