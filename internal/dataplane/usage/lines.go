package usage

import "bytes"

// payloadOf returns where in a line of a stream its JSON begins: in an SSE data
// field or an NDJSON line. It is -1 for a line without any (blank, comment,
// another field). A bare JSON line counts inside SSE too: that is how some
// servers break off.
func payloadOf(line []byte) int {
	switch {
	case len(line) > 0 && line[0] == '{':
		return 0
	case bytes.HasPrefix(line, []byte("data:")):
		return blanks(line, len("data:"))
	}
	return -1
}

// isErrorName reports whether the line is an SSE event field with the name error.
func isErrorName(line []byte) bool {
	const name = "event: error"
	return len(line) < len(name)+maxBlank && line[0] == 'e' && bytes.HasPrefix(line, []byte("event:")) &&
		string(bytes.TrimSpace(line[len("event:"):])) == "error"
}

// isDone reports whether the payload is the mark with which OpenAI ends streams.
func isDone(payload []byte) bool {
	return len(payload) > 0 && payload[0] == '[' && len(payload) < lookback &&
		string(bytes.TrimSpace(payload)) == "[DONE]"
}

// startsWithError reports whether the first key of the payload is "error" with
// an object or a text: the error event of every dialect but Anthropic's. A key
// of that name further inside may be the model's own (a tool's arguments).
func startsWithError(payload []byte) bool {
	const key = `"error"`
	if len(payload) == 0 || payload[0] != '{' {
		return false
	}
	i := blanks(payload, 1)
	if i+len(key) > len(payload) || payload[i+1] != 'e' || string(payload[i:i+len(key)]) != key {
		return false
	}
	i = blanks(payload, i+len(key))
	if i >= len(payload) || payload[i] != ':' {
		return false
	}
	i = blanks(payload, i+1)
	return i+1 < len(payload) && (payload[i] == '{' || payload[i] == '"' && payload[i+1] != '"')
}

// blanks returns the place of the first byte of s, from i on, that is no
// blank; it gives up after maxBlank of them.
func blanks(s []byte, i int) int {
	for end := min(len(s), i+maxBlank); i < end && isBlank(s[i]); {
		i++
	}
	return i
}

func isBlank(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
