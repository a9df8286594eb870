package importer

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"ollama-api-pool/internal/gateway"
)

// lists are the names under which a document that somebody kept may hold its list.
var lists = []string{"keys", "accounts", "api_keys"}

// JSON reads a JSON document of which it is not told what it holds: a list of
// elements as JSONAccounts describes them, by itself or in an object under
// "keys", "accounts" or "api_keys". Everything else is as with JSONKeys.
func JSON(r io.Reader) iter.Seq2[Item, error] {
	return readDocument(r, nil, (*document).readAny)
}

// readAny reads a list, or an object that holds one.
func (d *document) readAny() error {
	begin, err := d.token()
	if err != nil {
		return err
	}
	switch begin {
	case json.Delim('['):
		return d.elements()
	case json.Delim('{'):
		return d.members(lists...)
	}
	return gateway.Errorf(gateway.KindInvalid, "expected a list or an object at byte %d", d.dec.InputOffset())
}

// IsJSON reports whether a text begins as JSON does that holds keys, with { or
// [; a byte order mark and blanks may stand before it. It takes nothing from
// the reader and waits for no more of it than it needs. The error is the
// reader's.
func IsJSON(text *bufio.Reader) (bool, error) {
	begin := 0
	if mark, _ := text.Peek(1); len(mark) == 1 && mark[0] == utf8BOM[0] {
		if mark, _ = text.Peek(len(utf8BOM)); string(mark) == utf8BOM {
			begin = len(utf8BOM)
		}
	}
	for n := begin + 1; n <= text.Size(); n++ {
		b, err := text.Peek(n)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return false, err
		}
		switch b[n-1] {
		case ' ', '\t', '\r', '\n':
		case '{', '[':
			return true, nil
		default:
			return false, nil
		}
	}
	return false, nil // nothing but blanks in the whole buffer
}
