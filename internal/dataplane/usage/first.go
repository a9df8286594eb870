package usage

import (
	"bytes"
	"encoding/json"

	"ollama-api-pool/internal/gateway"
)

// FirstEventError looks at the first piece of a 200 answer. Where its first
// event (comment lines do not count) is already a whole error event, it returns
// that event's JSON, so that another key can be tried before anything has
// reached the client. OpenRouter does this, and in a body that is no stream as
// well; there the piece must be the whole body. The payload is a part of
// firstPiece. Safe for concurrent use.
func FirstEventError(d gateway.Dialect, stream bool, firstPiece []byte) (payload []byte, ok bool) {
	if !stream {
		payload = bytes.TrimSpace(firstPiece)
		return payload, startsWithError(payload) && json.Valid(payload)
	}
	named := false // the event is called error
	for rest, more := firstPiece, true; more; {
		var line []byte
		line, rest, more = bytes.Cut(rest, []byte("\n"))
		if start := payloadOf(line); start >= 0 {
			payload = bytes.TrimSpace(line[start:])
			return payload, isErrorEvent(d, named, payload)
		}
		if len(bytes.TrimSpace(line)) == 0 {
			named = false // a blank line ends the event, and its name with it
		} else if isErrorName(line) {
			named = true
		}
	}
	return nil, false
}

// isErrorEvent decodes an event, unless it obviously is none about an error.
func isErrorEvent(d gateway.Dialect, named bool, payload []byte) bool {
	if !named && !bytes.Contains(payload, []byte(`rror"`)) && !bytes.Contains(payload, []byte(`.failed"`)) {
		return false
	}
	var e struct {
		Type  json.RawMessage `json:"type"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(payload, &e) != nil {
		return false
	}
	switch string(e.Error) {
	case "", "null", `""`, "{}":
	default:
		return true
	}
	if d != gateway.DialectAnthropic && d != gateway.DialectResponses {
		return named
	}
	switch string(e.Type) {
	case `"error"`, `"response.error"`, `"response.failed"`:
		return true
	}
	return named
}
