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
	missed bool   // the last line was not of it
}

// learn takes the line as the form, whose text begins at line[text]. One line
// that differs (a time without its last zero) does not replace a form.
func (f *form) learn(line []byte, text int) {
	if f.lead > 0 && !f.missed {
		f.missed = true
		return
	}
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
	if !alike(line[tail:], f.around[n:]) || hasQuote(line[n:tail]) {
		return n, false
	}
	f.missed = false
	return n, true
}

// hasQuote reports whether text, the inside of a JSON string, has a quote that
// is not escaped. A backslash before the quote may be escaped itself; but then
// another quote follows before anything that matters.
func hasQuote(text []byte) bool {
	for i := 0; ; i++ {
		j := bytes.IndexByte(text[i:], '"')
		if j < 0 {
			return false
		}
		i += j
		if i == 0 || text[i-1] != '\\' {
			return true
		}
	}
}

// alike reports whether a and b, of the same length, differ in digits only.
func alike(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	for len(a) >= 8 && len(b) >= 8 {
		if !alike8(binary.LittleEndian.Uint64(a), binary.LittleEndian.Uint64(b)) {
			return false
		}
		a, b = a[8:], b[8:]
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] && (a[i]-'0' > 9 || b[i]-'0' > 9) {
			return false
		}
	}
	return true
}

// alike8 is alike for eight bytes at a time.
func alike8(a, b uint64) bool {
	differ := a ^ b
	return differ == 0 || inHighBits(differ, low7)&(notDigits(a)|notDigits(b)) == 0
}

const (
	low7  = 0x7f7f7f7f7f7f7f7f
	high1 = 0x8080808080808080
	zeros = 0x3030303030303030 // the character 0
	to127 = 0x7676767676767676 // added to more than 9, it carries into the high bit
)

// notDigits sets the high bit of every byte that is no decimal digit.
func notDigits(w uint64) uint64 { return inHighBits(w^zeros, to127) }

// inHighBits sets the high bit of every byte of w to which adding that of
// limit carries beyond 127. No byte carries into the next.
func inHighBits(w, limit uint64) uint64 { return ((w & low7) + limit | w) & high1 }
