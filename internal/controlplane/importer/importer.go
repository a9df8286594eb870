// Package importer is the step of the control plane that reads keys from what
// people have: text with one account a line, or lists in JSON. It reads a
// stream and yields what it found, one item at a time, so that memory does not
// grow with the input. Whether a key is already known is not its business.
//
// Passwords and session cookies, which such lines often hold as well, end
// here: nothing that the package gives away contains or retains them.
package importer

import (
	"bufio"
	"errors"
	"io"

	"ollama-api-pool/internal/gateway"
)

// MaxLine is the bound for a line, in bytes, where none is given, and for one
// text of a JSON list. A session cookie of a few kilobytes fits.
const MaxLine = 64 << 10

// Item is what one line, or one element of a list, was: an Entry or a BadLine.
type Item interface{ item() }

// Entry is a key that was found.
type Entry struct {
	Line     int // from 1; of a JSON list the element
	Secret   gateway.Secret
	Username string // "" where there was none; "N/A" is kept as it is
	Fields   int    // how many fields its line had, 1 for a bare key; 0: it was an object
}

// BadLine is a line that holds no key that can be used.
type BadLine struct {
	Line   int // from 1; of a JSON list the element
	Reason string
}

func (Entry) item()   {}
func (BadLine) item() {}

// Reasons for a bad line. They never repeat what stood in it.
const (
	reasonNoKey       = "no key"
	reasonNotUTF8     = "not UTF-8"
	reasonControl     = "has a control character"
	reasonThreeFields = "three fields: it is not clear which of them is the key"
	reasonUnsure      = "an e-mail address and something that does not look like a key; it may be a password"
	reasonOnlyAid     = "no key after the account id"
	reasonManyFields  = "more fields than known, and the last does not look like a key"
	reasonJSON        = "looks like JSON; send it as JSON, or one key a line"
	reasonQuotes      = "the key stands in quotes"
	reasonWebAddress  = "looks like a web address, not like a key"
	reasonEmail       = "looks like an e-mail address, not like a key; fields are parted by ----"
	reasonUserLong    = "user name is longer than 320 characters"
	reasonUserText    = "user name has a character that cannot be printed"
	reasonUserMore    = "something stands after the e-mail address; fields are parted by ----"
	reasonNotText     = "neither a text nor an object with an api_key"
	reasonKeyNotText  = "api_key is not a text"
	reasonUserNotText = "username is not a text"
	reasonLineTooLong = "longer than %d bytes"
)

const (
	messageUTF16 = "this is UTF-16 text: save it as UTF-8 and import it again"
	utf8BOM      = "\ufeff"
	readBuffer   = 64 << 10
	headLen      = 4 // bytes that tell UTF-16
)

// openText makes a buffered reader of r, drops a byte order mark and refuses
// UTF-16, which editors on Windows write and in which no line could be read.
func openText(r io.Reader) (*bufio.Reader, error) {
	text := bufio.NewReaderSize(r, readBuffer)
	head, err := text.Peek(headLen)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if isUTF16(head) {
		return nil, gateway.Errorf(gateway.KindInvalid, messageUTF16)
	}
	if len(head) >= len(utf8BOM) && string(head[:len(utf8BOM)]) == utf8BOM {
		_, _ = text.Discard(len(utf8BOM)) // it was peeked at, so it is there
	}
	return text, nil
}

// isUTF16 knows UTF-16 by its mark, or by every other byte being zero, as of
// text in Latin letters.
func isUTF16(head []byte) bool {
	if len(head) >= 2 && (head[0] == 0xFF && head[1] == 0xFE || head[0] == 0xFE && head[1] == 0xFF) {
		return true
	}
	if len(head) < headLen {
		return false
	}
	even := head[0] == 0 && head[2] == 0 && head[1] != 0 && head[3] != 0
	odd := head[1] == 0 && head[3] == 0 && head[0] != 0 && head[2] != 0
	return even || odd
}
