package httpkit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ollama-api-pool/internal/gateway"
)

// DecodeOption loosens DecodeJSON.
type DecodeOption uint8

// What a caller of DecodeJSON may allow.
const (
	AllowUnknown DecodeOption = iota // fields that dst does not have are passed over
	AllowEmpty                       // no body leaves dst as it is
)

// How many bytes of a client's own words an error repeats. Of the name of a
// field that is not known no more than such names have: a key that stands in
// its place is not shown whole.
const (
	maxNameShown  = 64
	maxFieldShown = 24
)

// DecodeJSON reads the body, of at most limit bytes, as exactly one JSON value
// other than null into dst. A field that dst does not have is an error unless
// AllowUnknown is given. What is wrong comes back as a *gateway.Error that
// names the field, of KindInvalid, KindTooLarge or KindMediaType (a body that
// is compressed). A byte order mark is passed over.
func DecodeJSON(w http.ResponseWriter, r *http.Request, limit int64, dst any, options ...DecodeOption) error {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return gateway.Errorf(gateway.KindMediaType, "a body with Content-Encoding %q is not understood; send it plain", gateway.Clip(enc, maxNameShown))
	}
	if r.ContentLength > limit {
		return tooLarge(limit)
	}
	body := bufio.NewReader(http.MaxBytesReader(bottom(w), r.Body, limit))
	first, err := firstByte(body)
	if errors.Is(err, io.EOF) {
		if slices.Contains(options, AllowEmpty) {
			return nil
		}
		return gateway.Errorf(gateway.KindInvalid, "the body is empty; send a JSON value")
	}
	if err != nil {
		return decodeError(err)
	}
	dec := json.NewDecoder(body)
	if !slices.Contains(options, AllowUnknown) {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(dst); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			e.Field = asSent(e.Field, reflect.TypeOf(dst))
		}
		return decodeError(err)
	}
	if first == 'n' {
		return gateway.Errorf(gateway.KindInvalid, "the body must not be null")
	}
	return endOfBody(dec)
}

// firstByte skips a byte order mark and blanks, and tells what comes next
// without taking it.
func firstByte(body *bufio.Reader) (byte, error) {
	if mark, _ := body.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = body.Discard(3) // in the buffer already
	}
	for {
		c, err := body.ReadByte()
		if err != nil {
			return 0, err
		}
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c, body.UnreadByte()
		}
	}
}

// endOfBody makes sure that nothing but blanks follows the value.
func endOfBody(dec *json.Decoder) error {
	_, err := dec.Token()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return decodeError(err)
	}
	return gateway.Errorf(gateway.KindInvalid, "the body has more than one JSON value")
}

func tooLarge(limit int64) *gateway.Error {
	return gateway.Errorf(gateway.KindTooLarge, "the body is larger than %d bytes", limit)
}

// decodeError puts what encoding/json or the connection says into words for
// the client. It repeats field names and no values but numbers.
func decodeError(err error) error {
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(e.Limit)
	}
	if e, ok := errors.AsType[*gateway.Error](err); ok {
		return e // a type's own UnmarshalJSON knew better
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return gateway.Errorf(gateway.KindInvalid, "the body is not valid JSON: %s at byte %d", e, e.Offset)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return wrongType(e)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return gateway.Errorf(gateway.KindInvalid, "the body is not valid JSON: it ends in the middle")
	}
	if quoted, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name, uerr := strconv.Unquote(quoted)
		if uerr != nil {
			name = quoted
		}
		return gateway.Errorf(gateway.KindInvalid, "unknown field %q", gateway.Clip(name, maxFieldShown))
	}
	return &gateway.Error{Kind: gateway.KindInvalid, Message: "the body could not be read", Cause: err}
}

// asSent is the path of a field as its sender wrote it: encoding/json names the
// structs in between that are embedded, too.
func asSent(path string, t reflect.Type) string {
	var sent []string
	for name := range strings.SplitSeq(path, ".") {
		for t != nil && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
			t = t.Elem()
		}
		if t != nil && t.Kind() == reflect.Struct {
			if f, found := t.FieldByName(name); found && f.Anonymous {
				t = f.Type
				continue
			}
			t = typeOf(t, name)
		}
		sent = append(sent, name)
	}
	return strings.Join(sent, ".")
}

// typeOf is the type of the field with a JSON name, nil where there is none.
func typeOf(t reflect.Type, name string) reflect.Type {
	for f := range t.Fields() {
		if tag, _, _ := strings.Cut(f.Tag.Get("json"), ","); tag == name {
			return f.Type
		}
	}
	return nil
}

func wrongType(e *json.UnmarshalTypeError) error {
	where := "the body"
	if e.Field != "" {
		where = fmt.Sprintf("field %q", gateway.Clip(e.Field, maxNameShown))
	}
	return gateway.Errorf(gateway.KindInvalid, "%s must be %s, not %s", where, jsonWord(e.Type), gateway.Clip(e.Value, maxNameShown))
}

// jsonWord says in JSON's words what a Go type is read from.
func jsonWord(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return "a whole number that is not negative"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	}
	return "an object"
}

// maxPooledBuffer is the size above which a buffer is left to the collector.
const maxPooledBuffer = 64 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// WriteJSON answers with v as JSON and a newline, in one write, with a
// Content-Length and without escaping HTML's characters. When v cannot be
// encoded nothing is written. Put NoStore into the chain of what must not be
// cached. A client that has gone is no error.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	buf, _ := buffers.Get().(*bytes.Buffer)
	defer func() {
		if buf.Cap() <= maxPooledBuffer {
			buf.Reset()
			buffers.Put(buf)
		}
	}()
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	h := w.Header()
	h["Content-Type"] = jsonBody
	h["Content-Length"] = []string{strconv.Itoa(buf.Len())}
	w.WriteHeader(status)
	_, _ = w.Write(buf.Bytes()) // fails only when nobody is there to be told
	return nil
}
