package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// JSONKeys reads {"keys":[…]}: each element a text in any form that ParseLine
// knows, or an object as in JSONAccounts. It yields an Entry or a BadLine for
// each, with the element's place in the list, from 1, as its line; elements
// that are blank or a comment yield nothing. Other members of the document
// that are texts are handed to field as they come, before or after the list,
// unless field is nil.
//
// An error ends it: the reader's, wrapped; or a gateway.Error of KindInvalid
// for what is not JSON, has no such list or a text over MaxLine bytes. The
// items before it count for nothing then: the document is broken. The sequence
// can be read once.
func JSONKeys(r io.Reader, field func(name, value string)) iter.Seq2[Item, error] {
	return jsonList(r, "keys", field)
}

// JSONAccounts reads {"accounts":[…]}: each element a text in any form that
// ParseLine knows, or an object with "api_key" (or "apiKey") and "username" or
// "email"; whatever else the object holds is dropped unread. Everything else
// is as with JSONKeys.
func JSONAccounts(r io.Reader, field func(name, value string)) iter.Seq2[Item, error] {
	return jsonList(r, "accounts", field)
}

// maxDepth bounds the nesting of what is passed over.
const maxDepth = 64

// errStop says that the reader of the sequence wants no more.
var errStop = errors.New("stop")

// errTooLong says that one text of the document is over the bound.
var errTooLong = errors.New("text too long")

// jsonList reads an object with a list under a name.
func jsonList(r io.Reader, name string, field func(name, value string)) iter.Seq2[Item, error] {
	return readDocument(r, field, func(d *document) error {
		if err := d.expect('{', "an object"); err != nil {
			return err
		}
		return d.members(name)
	})
}

// readDocument opens a JSON document, has it read, and makes sure that nothing
// follows.
func readDocument(r io.Reader, field func(name, value string), read func(*document) error) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		text, err := openText(r)
		if err != nil {
			yield(nil, fmt.Errorf("read import: %w", err))
			return
		}
		if field == nil {
			field = func(string, string) {}
		}
		in := &meter{r: text}
		d := &document{in: in, dec: json.NewDecoder(in), field: field, yield: yield}
		d.dec.UseNumber() // a number that fits no float is no reason to give up
		err = read(d)
		if err == nil {
			err = d.end()
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(nil, d.explain(err))
		}
	}
}

// meter lets the decoder read up to a limit, so that a single endless text
// cannot fill the memory.
type meter struct {
	r           io.Reader
	read, limit int64
	err         error // the reader's own, or errTooLong; not io.EOF
}

// Read reads up to the limit.
func (m *meter) Read(p []byte) (int, error) {
	if m.read >= m.limit {
		m.err = errTooLong
		return 0, m.err
	}
	n, err := m.r.Read(p[:min(int64(len(p)), m.limit-m.read)])
	m.read += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		m.err = err
	}
	return n, err
}

// document reads a JSON document token by token.
type document struct {
	in      *meter
	dec     *json.Decoder
	field   func(name, value string)
	yield   func(Item, error) bool
	element int // the place in the list
}

func (d *document) token() (json.Token, error) {
	d.in.limit = d.dec.InputOffset() + MaxLine
	return d.dec.Token()
}

func (d *document) more() bool {
	d.in.limit = d.dec.InputOffset() + MaxLine
	return d.dec.More()
}

// members reads an object that must hold one list under one of the names, from
// behind its opening bracket.
func (d *document) members(names ...string) error {
	found := ""
	for d.more() {
		member, err := d.token()
		if err != nil {
			return err
		}
		name, _ := member.(string) // a member's name is always a text
		if slices.Contains(names, name) {
			if found != "" {
				return secondList(found, name)
			}
			found = name
			if err := d.list(name); err != nil {
				return err
			}
			continue
		}
		text, isText, err := d.text()
		if err != nil {
			return err
		}
		if isText {
			d.field(name, text)
		}
	}
	if err := d.expect('}', "the end of the object"); err != nil {
		return err
	}
	if found == "" {
		return gateway.Errorf(gateway.KindInvalid, `there is no "%s" list`, strings.Join(names, `" or "`))
	}
	return nil
}

func secondList(first, second string) error {
	if first == second {
		return gateway.Errorf(gateway.KindInvalid, "%q is there twice", first)
	}
	return gateway.Errorf(gateway.KindInvalid, "there are two lists, %q and %q", first, second)
}

// end makes sure that nothing follows.
func (d *document) end() error {
	_, err := d.token()
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return gateway.Errorf(gateway.KindInvalid, "something follows the JSON document")
}

// expect reads a bracket.
func (d *document) expect(bracket json.Delim, what string) error {
	t, err := d.token()
	if err != nil {
		return err
	}
	if t != bracket {
		return gateway.Errorf(gateway.KindInvalid, "expected %s at byte %d", what, d.dec.InputOffset())
	}
	return nil
}

// list reads the list and yields its items.
func (d *document) list(name string) error {
	if err := d.expect('[', fmt.Sprintf("a list under %q", name)); err != nil {
		return err
	}
	return d.elements()
}

// elements reads a list from behind its opening bracket.
func (d *document) elements() error {
	for d.more() {
		d.element++
		item, ok, err := d.one()
		if err != nil {
			return err
		}
		if ok && !d.yield(item, nil) {
			return errStop
		}
	}
	return d.expect(']', "the end of the list")
}

// one reads one element; false: there is no item in it.
func (d *document) one() (Item, bool, error) {
	t, err := d.token()
	if err != nil {
		return nil, false, err
	}
	switch t := t.(type) {
	case string:
		item, ok := itemOf(t, d.element)
		return item, ok, nil
	case json.Delim:
		if t == '{' {
			item, err := d.account()
			return item, true, err
		}
		if err := d.skip(); err != nil {
			return nil, false, err
		}
	}
	return BadLine{Line: d.element, Reason: reasonNotText}, true, nil
}

// account reads an object from behind its opening bracket.
func (d *document) account() (Item, error) {
	var key, username, email, reason string
	for d.more() {
		name, err := d.token()
		if err != nil {
			return nil, err
		}
		text, isText, err := d.text()
		if err != nil {
			return nil, err
		}
		switch name {
		case "api_key", "apiKey":
			if !isText {
				reason = reasonKeyNotText
			}
			key = text
		case "username":
			if !isText {
				reason = reasonUserNotText
			}
			username = text
		case "email":
			if !isText {
				reason = reasonUserNotText
			}
			email = text
		}
	}
	if err := d.expect('}', "the end of an object"); err != nil {
		return nil, err
	}
	if reason != "" {
		return BadLine{Line: d.element, Reason: reason}, nil
	}
	if username = trim(username); username == "" {
		username = trim(email)
	}
	return d.entry(key, username), nil
}

// entry makes an item of an account. Its key may be a whole line, from which
// the password must be kept out here too.
func (d *document) entry(key, username string) Item {
	e, reason, skip := ParseLine(key)
	if skip {
		reason = reasonNoKey
	}
	if reason == "" {
		reason = checkUsername(username)
	}
	if reason != "" {
		return BadLine{Line: d.element, Reason: reason}
	}
	if username != "" {
		e.Username = username
	}
	if e.Line = d.element; e.Fields == 1 {
		e.Fields = 0 // the object had a key and no line
	}
	return e
}

// text reads a value: a text, null for none, or something else, which is
// passed over.
func (d *document) text() (text string, isText bool, err error) {
	t, err := d.token()
	if err != nil {
		return "", false, err
	}
	switch t := t.(type) {
	case string:
		return t, true, nil
	case nil:
		return "", true, nil
	case json.Delim:
		return "", false, d.skip()
	}
	return "", false, nil
}

// skip passes over an object or list from behind its opening bracket.
func (d *document) skip() error {
	for depth := 1; depth > 0; {
		t, err := d.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth > maxDepth {
			return gateway.Errorf(gateway.KindInvalid, "nested more than %d deep", maxDepth)
		}
	}
	return nil
}

// explain tells whose fault an error was. The decoder's own words are dropped:
// they may repeat what stands in the document.
func (d *document) explain(err error) error {
	var ours *gateway.Error
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.Is(d.in.err, errTooLong):
		return gateway.Errorf(gateway.KindInvalid, "a text after element %d is longer than %d bytes", d.element, MaxLine)
	case d.in.err != nil:
		return fmt.Errorf("read import, element %d: %w", d.element, d.in.err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return gateway.Errorf(gateway.KindInvalid, "the JSON document ends too early")
	}
	return gateway.Errorf(gateway.KindInvalid, "not valid JSON at byte %d", d.dec.InputOffset())
}
