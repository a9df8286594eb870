package importer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Lines reads text with one account a line, as ParseLine describes them, and
// yields an Entry or a BadLine for each line that is neither blank nor a
// comment. Lines end with LF, CRLF or CR. Of a line longer than maxLine bytes
// (0: MaxLine) no more than that is kept; it is bad, and the rest goes on.
//
// An error ends it: the reader's, wrapped, in which case a line that was cut
// off is not taken for a key; or a gateway.Error of KindInvalid for UTF-16
// text. The sequence can be read once.
func Lines(r io.Reader, maxLine int) iter.Seq2[Item, error] {
	if maxLine <= 0 {
		maxLine = MaxLine
	}
	return func(yield func(Item, error) bool) {
		text, err := openText(r)
		if err != nil {
			yield(nil, fmt.Errorf("read import: %w", err))
			return
		}
		s := splitter{text: text, bound: maxLine}
		for n := 1; ; n++ {
			line, whole, err := s.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(nil, fmt.Errorf("read import, line %d: %w", n, err))
				return
			}
			item, ok := readLine(line, whole, n, maxLine)
			if ok && !yield(item, nil) {
				return
			}
		}
	}
}

// readLine makes an item of a line; false: there is none in it.
func readLine(line []byte, whole bool, n, bound int) (Item, bool) {
	if !whole {
		if begin := trim(string(line)); begin != "" && begin[0] == '#' {
			return nil, false
		}
		return BadLine{Line: n, Reason: fmt.Sprintf(reasonLineTooLong, bound)}, true
	}
	return itemOf(string(line), n)
}

// itemOf makes an item of a text; false: there is none in it.
func itemOf(text string, n int) (Item, bool) {
	entry, reason, skip := ParseLine(text)
	switch {
	case skip:
		return nil, false
	case reason != "":
		return BadLine{Line: n, Reason: reason}, true
	}
	entry.Line = n
	return entry, true
}

// splitter cuts a text into lines and keeps no more of each than a bound.
type splitter struct {
	text    *bufio.Reader
	bound   int
	line    []byte // reused
	afterCR bool   // the last line ended with CR: an LF that follows belongs to it
}

// next gives the next line without its end, good until the next call; whole is
// false if it was longer than the bound and is cut. io.EOF says that there is
// none; any other error is the reader's.
func (s *splitter) next() (line []byte, whole bool, err error) {
	s.line, whole = s.line[:0], true
	began := false
	for {
		if _, err := s.text.Peek(1); err != nil {
			if errors.Is(err, io.EOF) && began {
				return s.line, whole, nil
			}
			return nil, false, err
		}
		chunk, _ := s.text.Peek(s.text.Buffered())
		if s.afterCR {
			s.afterCR = false
			if chunk[0] == '\n' {
				_, _ = s.text.Discard(1)
				continue
			}
		}
		began = true
		end := bytes.IndexAny(chunk, "\r\n")
		ended := end >= 0
		if !ended {
			end = len(chunk)
		}
		room := min(end, s.bound-len(s.line))
		s.line = append(s.line, chunk[:room]...)
		whole = whole && room == end
		if !ended {
			_, _ = s.text.Discard(end)
			continue
		}
		s.afterCR = chunk[end] == '\r'
		_, _ = s.text.Discard(end + 1)
		return s.line, whole, nil
	}
}
