package usage

import (
	"bytes"
	"testing"

	"ollama-api-pool/internal/gateway"
)

// FuzzMeter splits bodies at random: the result must be that of one piece, with
// and without the help of a known form; the memory must stay bounded.
func FuzzMeter(f *testing.F) {
	for _, r := range recordings {
		f.Add(uint8(r.dialect), r.path, r.stream(), r.body(f), uint16(0), []byte{1, 7, 200})
	}
	event := `data: {"choices":[{"delta":{"content":"a"}}],"usage" : {"prompt_tokens":7,"completion_tokens":9}}`
	f.Add(uint8(0), chatPath, true, []byte(event), uint16(windowSize-60), []byte{255, 0, 13})
	f.Fuzz(func(t *testing.T, dialect uint8, path string, stream bool, body []byte, pad uint16, cuts []byte) {
		d := gateway.Dialect(dialect % 4)
		// Blanks at a place that the fuzzer chooses reach the window's border.
		if pad > 0 && len(body) > 0 {
			at := int(pad) % len(body)
			body = append(bytes.Clone(body[:at]), append(bytes.Repeat([]byte(" "), int(pad)%(3*windowSize)), body[at:]...)...)
		}
		var one, split, formless Meter
		want := readPieces(&one, d, path, stream, body)
		if want.usage.Input < 0 || want.usage.Input > 3*maxCount || want.usage.Output < 0 || want.usage.Output > maxCount || want.usage.Cost < 0 || want.usage.Cost > maxCost {
			t.Fatalf("usage %+v", want.usage)
		}
		if got := readPieces(&split, d, path, stream, pieces(body, cuts)...); got != want {
			t.Fatalf("%+v in pieces, %+v in one", got, want)
		}
		formless.Reset(d, path, stream)
		for line := range bytes.Lines(body) {
			formless.Write(line)
			formless.form.lead = 0
		}
		if got := resultOf(&formless); got != want {
			t.Fatalf("%+v without a form, %+v with one", got, want)
		}
		for _, m := range []*Meter{&one, &split, &formless} {
			if cap(m.buf) > windowSize || cap(m.form.around) > 2*maxForm {
				t.Fatalf("holds %d and %d bytes", cap(m.buf), cap(m.form.around))
			}
		}
	})
}

// pieces cuts the body into pieces whose lengths the bytes of cuts tell, over
// and over.
func pieces(body, cuts []byte) [][]byte {
	if len(cuts) == 0 {
		return [][]byte{body}
	}
	var all [][]byte
	for i := 0; len(body) > 0; i++ {
		n := min(len(body), int(cuts[i%len(cuts)])+1)
		all = append(all, body[:n])
		body = body[n:]
	}
	return all
}

// FuzzAlike compares with the plain definition.
func FuzzAlike(f *testing.F) {
	f.Add([]byte("created 17:23:19.123456"), []byte("created 17:23:20.654321"))
	for _, pair := range [][2]string{{"12345678", "1234567x"}, {"/2345678", "02345678"}, {":2345678", "92345678"}, {"\xb02345678", "02345678"}, {"1", "x"}} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
		f.Add([]byte(pair[1]), []byte(pair[0]))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		n := min(len(a), len(b))
		a, b = a[:n], b[:n]
		want := true
		for i := range a {
			digits := '0' <= a[i] && a[i] <= '9' && '0' <= b[i] && b[i] <= '9'
			want = want && (a[i] == b[i] || digits)
		}
		if got := alike(a, b); got != want {
			t.Fatalf("alike(%q, %q) = %v", a, b, got)
		}
	})
}
