// Package kv is the part of the import that reads what people export from a
// namespace of Cloudflare Workers KV in which the former system kept its keys,
// client tokens and statistics.
//
// What the former system called its pairs is not written down anywhere that
// could be relied on. So the reader goes by what a pair is: fields of an
// upstream key, a client token, counters. What it does not understand it counts
// and names by a pattern, which never holds a secret.
package kv

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Export is what was found in an export.
type Export struct {
	Keys      map[gateway.ProviderName][]gateway.Key // with their counts
	Tokens    []gateway.Token                        // Plain is set of those that were not hashed before
	Totals    map[gateway.ProviderName]Counts
	Models    map[gateway.ProviderName]map[string]Counts
	Pairs     int       // how many there were
	Valueless int       // of them without a value: the export of a list
	Unknown   []Pattern // what was not taken, the most frequent first
}

// Counts are the counters of a provider or a model.
type Counts struct {
	Requests, Success, Failure int64
	LastUsed                   time.Time // zero where unknown
}

// Pattern is a kind of pairs that were not taken.
type Pattern struct {
	Name   string // what is common to their names; parts that may be secret are …
	Reason string
	Pairs  int
}

// Options say what cannot be told from the pairs.
type Options struct {
	// Provider is whose keys and tokens those are that do not say so; "": ollama.
	Provider gateway.ProviderName
	// Progress, which may be nil, is called now and then with the number of pairs.
	Progress func(pairs int)
}

// Read reads one or several JSON documents that stand behind each other:
//
//   - the array of {"name","expiration","metadata"} that `wrangler kv key list`
//     prints (https://developers.cloudflare.com/kv/reference/kv-commands/);
//   - the array of {"key","value","expiration","expiration_ttl","metadata",
//     "base64"} that `wrangler kv bulk put` takes (same page);
//   - the object of names with {"value","metadata"} that `wrangler kv bulk get`
//     prints, also below "values" as the API answers and newer versions print it
//     (https://developers.cloudflare.com/api/resources/kv/subresources/namespaces/methods/bulk_get/,
//     https://github.com/cloudflare/workers-sdk/tree/main/packages/wrangler/src/kv);
//   - an object of names with their values.
//
// Lines that wrangler prints around them, such as "Success!", are passed over.
// An error is the reader's, wrapped, or a gateway.Error of KindInvalid for what
// is no such document. It never repeats what stands there.
func Read(r io.Reader, o Options) (*Export, error) {
	if o.Provider == "" {
		o.Provider = gateway.Ollama
	}
	s := newSorter(o)
	text := bufio.NewReaderSize(r, 64<<10)
	documents := 0
	for {
		err := nextDocument(text, documents == 0)
		if errors.Is(err, io.EOF) && documents > 0 {
			return s.export(), nil
		}
		if errors.Is(err, io.EOF) {
			return nil, gateway.Errorf(gateway.KindInvalid, "there is no JSON document in it: export the namespace with `wrangler kv key list` and `wrangler kv bulk get`")
		}
		if err != nil {
			return nil, fmt.Errorf("read the export: %w", err)
		}
		dec := json.NewDecoder(text)
		dec.UseNumber()
		if err := s.document(dec); err != nil {
			return nil, explain(err, documents+1, dec.InputOffset())
		}
		documents++
		text = bufio.NewReaderSize(io.MultiReader(dec.Buffered(), text), 64<<10)
	}
}

const byteOrderMark = "\ufeff"

// nextDocument goes to the next line that begins with a bracket. What stands
// before it is a message of wrangler's.
func nextDocument(text *bufio.Reader, first bool) error {
	for {
		b, err := text.ReadByte()
		if err != nil {
			return err
		}
		switch {
		case b == '{' || b == '[':
			return text.UnreadByte()
		case b == ' ' || b == '\t' || b == '\r' || b == '\n' || b == ',':
		case first && b == byteOrderMark[0]:
			if rest, _ := text.Peek(2); string(rest) == byteOrderMark[1:] {
				_, _ = text.Discard(2)
				continue
			}
			fallthrough
		default:
			if _, err := text.ReadSlice('\n'); err != nil && !errors.Is(err, bufio.ErrBufferFull) {
				return err
			}
		}
	}
}

// explain words an error of a document without what stands in it.
func explain(err error, document int, offset int64) error {
	var syntax *json.SyntaxError
	var wrong *gateway.Error
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return err
	case errors.As(err, &syntax), errors.As(err, &kind):
		return gateway.Errorf(gateway.KindInvalid, "document %d is not the JSON of an export: look at byte %d of it", document, offset)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return gateway.Errorf(gateway.KindInvalid, "document %d ends in the middle: export it again", document)
	}
	return fmt.Errorf("read the export: %w", err)
}

// pair is a pair of the namespace.
type pair struct {
	name     string
	value    any // as decoded from JSON, a text where it is none; nil: there is none
	hasValue bool
	metadata map[string]any
	expires  time.Time
}

// rawPair is a pair as wrangler writes it.
type rawPair struct {
	Name       *string         `json:"name"`
	Key        *string         `json:"key"`
	Value      json.RawMessage `json:"value"`
	Metadata   json.RawMessage `json:"metadata"`
	Expiration json.RawMessage `json:"expiration"`
	TTL        json.RawMessage `json:"expiration_ttl"`
	Base64     bool            `json:"base64"`
}

// document reads one document pair by pair.
func (s *sorter) document(dec *json.Decoder) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t == json.Delim('[') {
		return s.elements(dec)
	}
	return s.members(dec)
}

// elements reads an array from behind its bracket.
func (s *sorter) elements(dec *json.Decoder) error {
	for dec.More() {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		p, ok := pairOf(raw)
		if !ok {
			p = pair{}
			if json.Unmarshal(raw, &p.name) != nil { // else a list of names alone
				p.value, p.hasValue = decode(raw), true
			}
		}
		s.take(&p)
	}
	_, err := dec.Token()
	return err
}

// pairOf reads an element that is a pair, and not a value by itself.
func pairOf(raw json.RawMessage) (p pair, ok bool) {
	var fields map[string]json.RawMessage
	var r rawPair
	if json.Unmarshal(raw, &fields) != nil || json.Unmarshal(raw, &r) != nil {
		return p, false
	}
	name := r.Name
	if name == nil {
		name = r.Key
	}
	if name == nil || r.Value == nil && !onlyOf(fields, "name", "key", "expiration", "metadata") || !onlyOf(fields,
		"name", "key", "value", "metadata", "expiration", "expiration_ttl", "base64") {
		return p, false
	}
	p = r.pair()
	p.name = *name
	return p, true
}

func (r *rawPair) pair() pair {
	p := pair{expires: moment(decode(r.Expiration))}
	p.metadata, _ = decode(r.Metadata).(map[string]any)
	if text, is := decode(r.Metadata).(string); is { // metadata that was stored as text
		p.metadata, _ = decode(json.RawMessage(text)).(map[string]any)
	}
	p.hasValue = r.Value != nil && string(r.Value) != "null"
	p.value = decode(r.Value)
	if text, is := p.value.(string); is && r.Base64 {
		if b, err := base64.StdEncoding.DecodeString(text); err == nil {
			p.value = decodeText(string(b))
		}
	}
	return p
}

// members reads an object from behind its bracket.
func (s *sorter) members(dec *json.Decoder) error {
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if name == "values" || name == "result" { // of the API's answer
			if done, err := s.nested(dec); done || err != nil {
				if err != nil {
					return err
				}
				continue
			}
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		if name == "success" || name == "errors" || name == "messages" || name == "result_info" {
			continue // of the API's answer, too
		}
		var r rawPair
		var fields map[string]json.RawMessage
		if json.Unmarshal(raw, &fields) == nil && fields["value"] != nil && onlyOf(fields, "value", "metadata", "expiration") && json.Unmarshal(raw, &r) == nil {
			p := r.pair()
			p.name = name
			s.take(&p)
			continue
		}
		s.take(&pair{name: name, value: decode(raw), hasValue: string(raw) != "null"})
	}
	_, err := dec.Token()
	return err
}

// nested reads an object or array that holds the pairs.
func (s *sorter) nested(dec *json.Decoder) (done bool, err error) {
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return false, err
	}
	switch trimmed := bytes.TrimSpace(raw); {
	case len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '['):
		under := json.NewDecoder(bytes.NewReader(trimmed))
		under.UseNumber()
		return true, s.document(under)
	}
	return true, nil
}

// onlyOf reports whether an object has no other members.
func onlyOf(fields map[string]json.RawMessage, names ...string) bool {
	known := 0
	for _, name := range names {
		if _, has := fields[name]; has {
			known++
		}
	}
	return known == len(fields)
}

// decode reads a value: JSON, or JSON within a text, or the text itself.
func decode(raw json.RawMessage) any {
	if len(raw) == 0 {
		return nil
	}
	v, err := decodeOne(raw)
	if err != nil {
		return nil
	}
	if text, is := v.(string); is {
		return decodeText(text)
	}
	return v
}

// decodeText reads the JSON within a text, or gives the text.
func decodeText(text string) any {
	if trimmed := strings.TrimSpace(text); len(trimmed) > 1 && strings.ContainsRune(`{["`, rune(trimmed[0])) {
		if inner, err := decodeOne([]byte(trimmed)); err == nil {
			return inner
		}
	}
	return text
}

func decodeOne(text []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err = dec.Decode(&v); err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			return nil, errMore
		}
	}
	return v, err
}

var errMore = errors.New("something follows")
