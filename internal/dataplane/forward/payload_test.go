package forward

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// tracked is a body that tells whether it was read to its end.
type tracked struct {
	io.Reader
	ended bool
}

func (b *tracked) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}

func (b *tracked) Close() error { return nil }

func requestOf(body string, length int64) (*http.Request, *tracked) {
	b := &tracked{Reader: strings.NewReader(body)}
	return &http.Request{Method: http.MethodPost, Body: b, ContentLength: length}, b
}

func TestReadPayload(t *testing.T) {
	const limit = 1 << 20
	for _, size := range []int{0, 1, smallBody, smallBody + 1, 100 << 10, limit, limit + 1} {
		for _, known := range []bool{true, false} {
			body := strings.Repeat("x", size)
			length := int64(-1)
			if known {
				length = int64(size)
			}
			r, b := requestOf(body, length)
			p, err := readPayload(r, limit)
			if size > limit {
				var e *gateway.Error
				if !errors.As(err, &e) || e.Kind != gateway.KindTooLarge {
					t.Errorf("%d: %v", size, err)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(p.data) != body || !b.ended {
				t.Errorf("%d, %v: %d bytes, read to the end: %v", size, known, len(p.data), b.ended)
			}
			for range 3 { // each attempt reads it from the beginning
				got, err := io.ReadAll(p.reader())
				if err != nil || string(got) != body {
					t.Errorf("%d: %d bytes, %v", size, len(got), err)
				}
			}
			if pooled := p.pooled != nil; pooled != (size > smallBody || !known) {
				t.Errorf("%d, %v: pooled %v", size, known, pooled)
			}
			p.release()
			p.release()
			if p.data != nil {
				t.Error("released, and still there")
			}
		}
	}
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		p, err := readPayload(&http.Request{Body: body}, limit)
		if err != nil || p.reader() != http.NoBody {
			t.Errorf("no body: %v, %v", p, err)
		}
	}
}

// Memory goes back only when nobody can be reading it.
func TestPayloadIsKept(t *testing.T) {
	conn := func(p *payload) { p.trace.GotConn(httptrace.GotConnInfo{}) }
	wrote := func(p *payload) { p.trace.WroteRequest(httptrace.WroteRequestInfo{}) }
	for _, tt := range []struct {
		name  string
		f     func(*payload)
		given bool
	}{
		{"never sent", func(*payload) {}, true},
		{"sent", func(p *payload) { p.reader(); conn(p); wrote(p) }, true},
		{"sent twice", func(p *payload) {
			p.reader()
			conn(p)
			wrote(p)
			p.reader()
			conn(p)
			wrote(p)
		}, true},
		{"being sent", func(p *payload) { p.reader(); conn(p) }, false},
		{"one of two being sent", func(p *payload) { p.reader(); conn(p); p.reader(); conn(p); wrote(p) }, false},
		{"given to a transport that tells nothing", func(p *payload) { p.reader() }, false},
	} {
		back := false
		for range 50 { // a sync.Pool may forget
			r, _ := requestOf(strings.Repeat("x", 2*smallBody), 2*smallBody)
			p, err := readPayload(r, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			tt.f(p)
			buf := p.pooled
			p.release()
			again, _ := bodies.Get().(*bytes.Buffer)
			back = back || again == buf
		}
		if back != tt.given {
			t.Errorf("%s: given back %v", tt.name, back)
		}
	}
}

func TestBodyTime(t *testing.T) {
	for n, want := range map[int64]time.Duration{
		0:        30 * time.Second,
		1 << 20:  46 * time.Second,
		32 << 20: 542 * time.Second,
		1 << 40:  10 * time.Minute,
		-1:       10 * time.Minute,
	} {
		if got := bodyTime(n); got != want {
			t.Errorf("%d bytes may take %s, want %s", n, got, want)
		}
	}
}
