package usage

import (
	"bytes"
	"encoding/binary"
)

// maxForm is the longest form that is remembered.
const maxForm = 768

// form is how the events of one stream look around their text: the same id,
// model and keys before it, the same ends behind it. A line of a form in which
// nothing but the text mattered need not be searched again. Digits may differ
// (times, sequence numbers), since no key that matters has one, and a line with
// figures in it is never taken as a form.
type form struct {
	around []byte // what stands before the text and behind it
	lead   int    // how much of it stands before
}

// learn takes the line as the form, whose text begins at line[text].
func (f *form) learn(line []byte, text int) {
	if len(line) > windowSize {
		return
	}
	end := stringEnd(line, text-1)
	if end == 0 || end == len(line) || line[end] != ',' && line[end] != '}' {
		return // not the value of a key
	}
	tail := end - 1
	if text+len(line)-tail > maxForm {
		return
	}
	f.around = append(append(f.around[:0], line[:text]...), line[tail:]...)
	f.lead = text
}

// match compares a line with the form. text is where its text begins, 0 when
// the line begins otherwise; all reports that the rest is of the form too, with
// a text that is not empty.
func (f *form) match(line []byte) (text int, all bool) {
	n := f.lead
	if n == 0 || len(line) <= len(f.around) || !alike(line[:n], f.around[:n]) {
		return 0, false
	}
	tail := len(line) - (len(f.around) - n)
	return n, alike(line[tail:], f.around[n:]) && bytes.IndexByte(line[n:tail], '"') < 0
}

// alike reports whether a and b, of the same length, differ in digits only.
func alike(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	for len(a) >= 8 && len(b) >= 8 {
		if binary.LittleEndian.Uint64(a) != binary.LittleEndian.Uint64(b) && !alikeBytes(a[:8], b[:8]) {
			return false
		}
		a, b = a[8:], b[8:]
	}
	return alikeBytes(a, b)
}

func alikeBytes(a, b []byte) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] && (!isDigit(a[i]) || !isDigit(b[i])) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return c-'0' <= 9 }
