package admin

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
)

// maxShortText bounds the texts beside the long one.
const maxShortText = 256

// jsonText reads the lines in one member of a JSON object, a text of any
// length, as they come: encoding/json would hold all of it in memory. Other
// members that are short texts are handed to field, before or after; what else
// there is is passed over.
func jsonText(r io.Reader, name string, field func(name, value string)) iter.Seq2[importer.Item, error] {
	return func(yield func(importer.Item, error) bool) {
		d := &textDocument{in: bufio.NewReaderSize(r, 64<<10)}
		err := d.members(func(member string) error {
			if member != name {
				value, isText, err := d.value(0)
				if isText && err == nil {
					field(member, value)
				}
				return err
			}
			if d.found {
				return gateway.Errorf(gateway.KindInvalid, "field %q is there twice", name)
			}
			d.found = true
			return d.lines(name, yield)
		})
		if err == nil && !d.found {
			err = gateway.Errorf(gateway.KindInvalid, "%s is missing", name)
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, err)
		}
	}
}

// errStop says that nobody wants the rest of a sequence.
var errStop = errors.New("stop")

// textDocument reads a JSON object of which one member is a long text.
type textDocument struct {
	in    *bufio.Reader
	read  int64 // bytes, for messages
	found bool  // the long text was there
}

// members reads the whole document; value is called where each member's value
// begins and reads it.
func (d *textDocument) members(value func(name string) error) error {
	if mark, _ := d.in.Peek(3); string(mark) == "\xef\xbb\xbf" {
		d.skip(3)
	}
	if err := d.expect('{'); err != nil {
		return err
	}
	c, err := d.next()
	for first := true; err == nil; first = false {
		if c == '}' && first {
			return d.end()
		}
		if c != '"' {
			return d.invalid()
		}
		var name string
		if name, err = d.rest(); err != nil {
			return err
		}
		if err = d.expect(':'); err != nil {
			return err
		}
		if err = value(name); err != nil {
			return err
		}
		if c, err = d.next(); err != nil {
			return err
		}
		switch c {
		case '}':
			return d.end()
		case ',':
			c, err = d.next()
		default:
			return d.invalid()
		}
	}
	return err
}

// lines reads the long text.
func (d *textDocument) lines(name string, yield func(importer.Item, error) bool) error {
	c, err := d.next()
	if err != nil {
		return err
	}
	if c != '"' {
		return gateway.Errorf(gateway.KindInvalid, "field %q must be a string", name)
	}
	for item, err := range importer.Lines(&jsonString{d: d}, 0) {
		if err != nil {
			return err
		}
		if !yield(item, nil) {
			return errStop
		}
	}
	return nil
}

// maxDepth bounds the nesting of what is passed over.
const maxDepth = 32

// value reads a short text, or passes over a value of another kind.
func (d *textDocument) value(depth int) (text string, isText bool, err error) {
	c, err := d.next()
	if err != nil {
		return "", false, err
	}
	switch {
	case c == '"':
		text, err = d.beginning()
		return text, true, err
	case c == '{' || c == '[':
		if depth == maxDepth {
			return "", false, gateway.Errorf(gateway.KindInvalid, "the body is nested too deep at byte %d", d.read)
		}
		return "", false, d.pass(c, depth)
	}
	return "", false, d.word(c)
}

// pass passes over an object or a list from behind its opening bracket.
func (d *textDocument) pass(open byte, depth int) error {
	end := open + 2 // in ASCII, of both kinds
	for first := true; ; first = false {
		c, err := d.next()
		if err != nil {
			return err
		}
		if c == end && first {
			return nil
		}
		if err := d.in.UnreadByte(); err != nil {
			return err
		}
		d.read--
		if open == '{' {
			if _, isText, err := d.value(depth + 1); err != nil || !isText {
				return cmp.Or(err, d.invalid())
			}
			if err := d.expect(':'); err != nil {
				return err
			}
		}
		if _, _, err := d.value(depth + 1); err != nil {
			return err
		}
		if c, err = d.next(); err != nil || c == end {
			return err
		}
		if c != ',' {
			return d.invalid()
		}
	}
}

// word passes over a number, true, false or null, of which c was the beginning.
func (d *textDocument) word(c byte) error {
	b := []byte{c}
	for {
		head, err := d.in.Peek(1)
		if err != nil || !isWord(head[0]) || len(b) > maxShortText {
			break
		}
		b = append(b, head[0])
		d.skip(1)
	}
	if !json.Valid(b) {
		return d.invalid()
	}
	return nil
}

func isWord(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c == '+' || c == '-' || c == '.'
}

// beginning reads a text from behind its opening quote and gives as much of it
// as makes a short one too long, at most.
func (d *textDocument) beginning() (string, error) {
	text := &jsonString{d: d}
	b, err := io.ReadAll(io.LimitReader(text, maxShortText+1))
	if err == nil {
		_, err = io.Copy(io.Discard, text)
	}
	return string(b), err
}

// rest reads a short text from behind its opening quote.
func (d *textDocument) rest() (string, error) {
	b, err := io.ReadAll(io.LimitReader(&jsonString{d: d}, maxShortText+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxShortText {
		return "", gateway.Errorf(gateway.KindInvalid, "a name or a text at byte %d is too long", d.read)
	}
	return string(b), nil
}

// end makes sure that nothing follows.
func (d *textDocument) end() error {
	c, err := d.nextOrEnd()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && c != 0 {
		return gateway.Errorf(gateway.KindInvalid, "something follows the JSON document")
	}
	return err
}

func (d *textDocument) expect(want byte) error {
	c, err := d.next()
	if err == nil && c != want {
		return d.invalid()
	}
	return err
}

// next gives the next byte that is no blank; the end of the body is an error.
func (d *textDocument) next() (byte, error) {
	c, err := d.nextOrEnd()
	if errors.Is(err, io.EOF) {
		return 0, endsEarly()
	}
	return c, err
}

func (d *textDocument) nextOrEnd() (byte, error) {
	for {
		c, err := d.in.ReadByte()
		if err != nil {
			return 0, err
		}
		d.read++
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c, nil
		}
	}
}

// skip passes over bytes that were peeked at.
func (d *textDocument) skip(n int) {
	n, _ = d.in.Discard(n)
	d.read += int64(n)
}

func (d *textDocument) invalid() error {
	return gateway.Errorf(gateway.KindInvalid, "the body is not valid JSON at byte %d", d.read)
}

func endsEarly() error {
	return gateway.Errorf(gateway.KindInvalid, "the body is not valid JSON: it ends in the middle")
}

// jsonString is what a JSON string stands for, from behind its opening quote to
// its closing one.
type jsonString struct {
	d       *textDocument
	pending []byte // of a character that was escaped
	room    [utf8.UTFMax]byte
	err     error // io.EOF behind the closing quote
}

// Read gives at least one byte.
func (s *jsonString) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if len(s.pending) > 0 {
			n := copy(p, s.pending)
			s.pending = s.pending[n:]
			return n, nil
		}
		if s.err != nil {
			return 0, s.err
		}
		if n := s.plain(p); n > 0 {
			return n, nil
		}
	}
}

// plain copies bytes that stand for themselves. Where there are none, it deals
// with what comes instead: an escaped character, the closing quote, an error.
func (s *jsonString) plain(p []byte) int {
	head, err := s.d.in.Peek(1)
	if err != nil {
		if s.err = err; errors.Is(err, io.EOF) {
			s.err = endsEarly()
		}
		return 0
	}
	if s.d.in.Buffered() > 1 {
		head, _ = s.d.in.Peek(min(s.d.in.Buffered(), len(p)))
	}
	n := 0
	for n < len(head) && head[n] >= ' ' && head[n] != '"' && head[n] != '\\' {
		n++
	}
	if n > 0 {
		copy(p, head[:n])
		s.d.skip(n)
		return n
	}
	c := head[0]
	s.d.skip(1)
	switch c {
	case '"':
		s.err = io.EOF
	case '\\':
		s.err = s.escaped()
	default: // a control character
		s.err = s.d.invalid()
	}
	return 0
}

// escaped reads what follows a backslash.
func (s *jsonString) escaped() error {
	head, err := s.d.in.Peek(1)
	if err != nil {
		return s.cut(err)
	}
	s.d.skip(1)
	c := head[0]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return s.unicode()
	default:
		return s.d.invalid()
	}
	s.pending = append(s.room[:0], c)
	return nil
}

// unicode reads the four digits of \u, and the second half of a pair. Half a
// pair stands for U+FFFD, as it does for encoding/json.
func (s *jsonString) unicode() error {
	head, err := s.d.in.Peek(4)
	if err != nil {
		return s.cut(err)
	}
	r, ok := hex4(head)
	if !ok {
		return s.d.invalid()
	}
	s.d.skip(4)
	if utf16.IsSurrogate(r) {
		second := rune(utf8.RuneError)
		if head, _ := s.d.in.Peek(6); len(head) == 6 && head[0] == '\\' && head[1] == 'u' {
			second, _ = hex4(head[2:])
		}
		if r = utf16.DecodeRune(r, second); r != utf8.RuneError {
			s.d.skip(6)
		}
	}
	s.pending = utf8.AppendRune(s.room[:0], r)
	return nil
}

func (s *jsonString) cut(err error) error {
	if errors.Is(err, io.EOF) {
		return endsEarly()
	}
	return err
}

func hex4(b []byte) (rune, bool) {
	n, err := strconv.ParseUint(string(b), 16, 16)
	return rune(n), err == nil
}
