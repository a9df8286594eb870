package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"ollama-api-pool/internal/gateway"
)

// collect reads a sequence to its end. No item may follow an error.
func collect(seq iter.Seq2[Item, error]) ([]Item, error) {
	var items []Item
	var failed error
	for item, err := range seq {
		switch {
		case failed != nil:
			return items, fmt.Errorf("goes on after: %w", failed)
		case err != nil:
			failed = err
		default:
			if e, ok := item.(Entry); ok {
				e.Fields = 0 // TestParseLine looks at it
				item = e
			}
			items = append(items, item)
		}
	}
	return items, failed
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestLines(t *testing.T) {
	good := func(n int, key string) Item { return Entry{Line: n, Secret: gateway.Secret(key)} }
	bad := func(n int, why string) Item { return BadLine{Line: n, Reason: why} }
	for _, tc := range []struct {
		name, text string
		want       []Item
	}{
		{"nothing", "", nil},
		{"mark only", "\ufeff", nil},
		{"one without an end", "key-0001", []Item{good(1, "key-0001")}},
		{"LF", "key-0001\nkey-0002\n", []Item{good(1, "key-0001"), good(2, "key-0002")}},
		{"CRLF", "key-0001\r\n\r\nkey-0003\r\n", []Item{good(1, "key-0001"), good(3, "key-0003")}},
		{"CR", "key-0001\r\rkey-0003\r", []Item{good(1, "key-0001"), good(3, "key-0003")}},
		{"all of them", "key-0001\rkey-0002\nkey-0003\r\nkey-0004\n\rkey-0006", []Item{good(1, "key-0001"), good(2, "key-0002"), good(3, "key-0003"), good(4, "key-0004"), good(6, "key-0006")}},
		{"mark, comment, blanks", "\ufeff# head\n\n  \t\nkey-0004\n#tail", []Item{good(4, "key-0004")}},
		{"mark in the middle", "key-0001\n\ufeffkey-0002\n", []Item{good(1, "key-0001"), good(2, "key-0002")}},
		{"twice the same", "key-0001\nkey-0001\n", []Item{good(1, "key-0001"), good(2, "key-0001")}},
		{"bad ones between", "a\nkey-0002\n\xff\nx----y----z\nkey\x00\nkey-0006", []Item{bad(1, tooShort), good(2, "key-0002"), bad(3, reasonNotUTF8), bad(4, reasonThreeFields), bad(5, reasonControl), good(6, "key-0006")}},
		{"at the bound", strings.Repeat("k", 100) + "\nkey-0002", []Item{good(1, strings.Repeat("k", 100)), good(2, "key-0002")}},
		{"over the bound", strings.Repeat("k", 101) + "\nkey-0002", []Item{bad(1, "longer than 100 bytes"), good(2, "key-0002")}},
		{"over the bound at the end", "key-0001\r\n" + strings.Repeat("k", 1e5), []Item{good(1, "key-0001"), bad(2, "longer than 100 bytes")}},
		{"long comment", "  # " + strings.Repeat("k", 1e5) + "\nkey-0002", []Item{good(2, "key-0002")}},
		{"NUL near the beginning", "k\x00\nkey-0002", []Item{bad(1, reasonControl), good(2, "key-0002")}},
	} {
		for way, r := range map[string]io.Reader{
			"":                         strings.NewReader(tc.text),
			" (a byte at a time)":      iotest.OneByteReader(strings.NewReader(tc.text)),
			" (the end with the data)": iotest.DataErrReader(strings.NewReader(tc.text)),
		} {
			got, err := collect(Lines(r, 100))
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%s%s: got %v, %v; want %v", tc.name, way, got, err, tc.want)
			}
		}
	}
}

func TestUTF16IsRefusedWithTheCure(t *testing.T) {
	utf16 := func(s string, big bool) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			if big {
				b.Write([]byte{0, c})
			} else {
				b.Write([]byte{c, 0})
			}
		}
		return b.String()
	}
	for name, text := range map[string]string{
		"little end first": "\xff\xfe" + utf16("key-0001\r\n", false), "big end first": "\xfe\xff" + utf16("key-0001\r\n", true),
		"little, no mark": utf16("key-0001\n", false), "big, no mark": utf16("key-0001\n", true), "mark only": "\xff\xfe",
		"JSON": utf16(`{"keys":["key-0001"]}`, false),
	} {
		for which, seq := range map[string]iter.Seq2[Item, error]{
			"lines": Lines(strings.NewReader(text), 0), "keys": JSONKeys(strings.NewReader(text), nil), "accounts": JSONAccounts(strings.NewReader(text), nil),
		} {
			items, err := collect(seq)
			var e *gateway.Error
			if len(items) != 0 || !errors.As(err, &e) || e.Kind != gateway.KindInvalid || e.Message != messageUTF16 {
				t.Errorf("%s, %s: %v, %v", name, which, items, err)
			}
		}
	}
}

func TestReadersErrors(t *testing.T) {
	broken := errors.New("connection broken")
	cut := func(text string) io.Reader {
		return io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))
	}
	for text, want := range map[string]int{"": 0, "k": 0, "key-0001\nkey-0002\nkey-cut-o": 2, "key-0001\r": 1} {
		items, err := collect(Lines(cut(text), 0))
		if len(items) != want || !errors.Is(err, broken) {
			t.Errorf("lines %q: %v, %v", text, items, err)
		}
	}
	for text, want := range map[string]int{"": 0, `{"ke`: 0, `{"keys":["key-0001","key-0002","key-cut-o`: 2, `{"keys":["key-0001",`: 1} {
		items, err := collect(JSONKeys(cut(text), nil))
		if len(items) != want || !errors.Is(err, broken) {
			t.Errorf("keys %q: %v, %v", text, items, err)
		}
	}
}

func TestAReaderMayStopEarly(t *testing.T) {
	for name, seq := range map[string]iter.Seq2[Item, error]{
		"lines": Lines(strings.NewReader("key-0001\nkey-0002\n"), 0),
		"keys":  JSONKeys(strings.NewReader(`{"keys":["key-0001","key-0002"]}`), nil),
	} {
		n := 0
		for _, err := range seq {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			n++
			break
		}
		if n != 1 {
			t.Errorf("%s: %d items", name, n)
		}
	}
}

// endless repeats a text up to a length.
type endless struct {
	text string
	left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	e.left -= n
	return n, nil
}

// TestMemoryDoesNotGrow reads much more than may be allocated for it.
func TestMemoryDoesNotGrow(t *testing.T) {
	const input, allowed = 16 << 20, 2 << 20
	for name, seq := range map[string]iter.Seq2[Item, error]{
		"one line":        Lines(&endless{"x", input}, 0),
		"one text":        JSONKeys(io.MultiReader(strings.NewReader(`{"keys":["`), &endless{"x", input}), nil),
		"one other text":  JSONKeys(io.MultiReader(strings.NewReader(`{"other":"`), &endless{"x", input}), nil),
		"blanks":          JSONKeys(io.MultiReader(strings.NewReader(`{`), &endless{" ", input}), nil),
		"nested":          JSONKeys(io.MultiReader(strings.NewReader(`{"other":`), &endless{"[", input}), nil),
		"nested element":  JSONKeys(io.MultiReader(strings.NewReader(`{"keys":[`), &endless{"[", input}), nil),
		"nested accounts": JSONAccounts(io.MultiReader(strings.NewReader(`{"accounts":[{"a":`), &endless{`{"a":`, input}), nil),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _ = collect(seq)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > allowed {
			t.Errorf("%s: %d bytes allocated for %d", name, got, input)
		}
	}
}

// TestLinesAreNotRetained keeps entries whose lines held long sessions.
func TestLinesAreNotRetained(t *testing.T) {
	line := "a@b.example----hunter2----" + strings.Repeat("s", MaxLine-200) + "----" + keyA + "\n"
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	items, err := collect(Lines(&endless{line, len(line) * 300}, 0))
	runtime.GC()
	runtime.ReadMemStats(&after)
	if err != nil || len(items) < 300 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	if after.HeapAlloc > before.HeapAlloc+2<<20 {
		t.Errorf("%d items keep %d bytes", len(items), after.HeapAlloc-before.HeapAlloc)
	}
	runtime.KeepAlive(items)
}

// manyLines makes n lines of every form, with a bad one among ten.
func manyLines(n int) string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for i := range n {
		key := fmt.Sprintf("%032x.%024x", r.Uint64(), i)
		switch i % 10 {
		case 0, 1, 2, 3:
			b.WriteString(key)
		case 4, 5:
			fmt.Fprintf(&b, "user%d@mail.example----%s", i, key)
		case 6, 7, 8:
			fmt.Fprintf(&b, "user%d@mail.example----hunter2%d----%0200x----%s", i, i, r.Uint64(), key)
		default:
			fmt.Fprintf(&b, "user%d@mail.example----hunter2%d----%s", i, i, key)
		}
		b.WriteString("\r\n")
	}
	return b.String()
}

func TestAHundredThousandLines(t *testing.T) {
	const n = 100_000
	var entries, bad, last int
	for item, err := range Lines(strings.NewReader(manyLines(n)), 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch it := item.(type) {
		case Entry:
			entries, last = entries+1, it.Line
		case BadLine:
			bad, last = bad+1, it.Line
		}
	}
	if entries != n*9/10 || bad != n/10 || last != n {
		t.Errorf("%d entries, %d bad lines, last %d", entries, bad, last)
	}
}

func BenchmarkLines(b *testing.B) {
	text := manyLines(100_000)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range Lines(strings.NewReader(text), 0) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
