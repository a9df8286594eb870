package usage

import (
	"bytes"

	"ollama-api-pool/internal/gateway"
)

// maxCount is the largest figure that is believed. No model reads or writes a
// thousand million tokens in one request.
const maxCount = 1_000_000_000

// figures are token counts and the cost as an upstream tells them; 0 is "not
// told", which is also what servers mean that put zeros into every event.
type figures struct {
	input, cacheWrite, cacheRead, output int64
	cost                                 gateway.Cost
}

// update takes over what f tells.
func (t *figures) update(f figures) {
	for _, p := range [...]struct {
		to   *int64
		from int64
	}{{&t.input, f.input}, {&t.cacheWrite, f.cacheWrite}, {&t.cacheRead, f.cacheRead}, {&t.output, f.output}} {
		if p.from > 0 {
			*p.to = p.from
		}
	}
	if f.cost > 0 {
		t.cost = f.cost
	}
}

// set reads one member of a usage object. OpenAI counts cached tokens among the
// prompt's and lists them only under details; Anthropic counts them beside.
// OpenRouter tells what it charged as "cost", in credits, under every dialect;
// what its own suppliers charged lies in "cost_details" and is another matter
// (https://openrouter.ai/docs/use-cases/usage-accounting).
func (t *figures) set(key, value []byte) {
	if string(key) == "cost" {
		t.cost = cost(value)
		return
	}
	n := count(value)
	if n == 0 {
		return
	}
	switch string(key) {
	case "prompt_tokens", "input_tokens":
		t.input = n
	case "completion_tokens", "output_tokens":
		t.output = n
	case "cache_creation_input_tokens":
		t.cacheWrite = n
	case "cache_read_input_tokens":
		t.cacheRead = n
	}
}

// count reads a JSON number that can be a count of tokens; anything else
// (negative, with a fraction, in quotes, larger than maxCount) is 0.
func count(v []byte) int64 {
	if len(v) == 0 || len(v) > 10 || v[0] == '0' {
		return 0
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	if n > maxCount {
		return 0
	}
	return n
}

// read takes the value of the key w, which stands at s[i] or behind blanks. It
// returns where to search on, or -1 when the value's end is yet to come. Every
// value is read within a fixed length, so that the result is the same whether
// the line lies before us in one piece or passes through the window.
func (m *Meter) read(w word, s []byte, i int, last bool) int {
	v := blanks(s, i)
	if v+1 >= len(s) {
		if last {
			return len(s)
		}
		return -1
	}
	if w&textWords != 0 {
		if s[v] == '"' && s[v+1] != '"' {
			if !m.line.text {
				m.line.text, m.line.textAt = true, v+1
			}
		}
		return v
	}
	switch {
	case w == wordUsage:
		return m.readUsage(s, v, last)
	case w == wordError:
		if s[v] == '{' && s[v+1] != '}' {
			m.line.failed = true
		}
		return v
	case w == wordType:
		return m.readType(s, v, last)
	default:
		return m.readLiteral(w, s, v, last)
	}
}

// readUsage reads the usage object that begins at s[v]. One with a figure in it
// replaces what the line told before: of several the last counts.
func (m *Meter) readUsage(s []byte, v int, last bool) int {
	if s[v] != '{' {
		return v // null, before the last chunk
	}
	m.line.numbers = true
	f, n := usageObject(s[v:min(len(s), v+maxUsage)])
	switch {
	case n > 0:
		if f != (figures{}) {
			m.line.figures, m.line.counted = f, true
		}
		return v + n
	case n == 0 && !last && len(s)-v < maxUsage:
		return -1
	}
	return v
}

// readType reads the name of an Anthropic or Responses event.
func (m *Meter) readType(s []byte, v int, last bool) int {
	const longest = len(`"response.incomplete"`)
	if s[v] != '"' {
		return v
	}
	name := s[v+1 : min(len(s), v+longest)]
	n := bytes.IndexByte(name, '"')
	if n < 0 {
		if !last && len(s) < v+longest {
			return -1
		}
		return v + 1
	}
	switch string(name[:n]) {
	case "message_start":
		m.line.start = true
	case "message_stop", "response.completed", "response.incomplete":
		m.line.ended = true
	case "response.failed":
		m.line.ended, m.line.failed = true, true
	case "error", "response.error":
		m.line.failed = true
	}
	return v + 1 + n
}

// readLiteral reads Ollama's "done" and its counts. Of several in a line the
// last counts: the line's own come after what the model wrote.
func (m *Meter) readLiteral(w word, s []byte, v int, last bool) int {
	const longest = 24
	n := literalEnd(s[v:min(len(s), v+longest)])
	if n < 0 {
		if !last && len(s) < v+longest {
			return -1
		}
		return v
	}
	literal := s[v : v+n]
	if w == wordDone {
		m.line.ended = string(literal) == "true"
		return v + n
	}
	m.line.numbers = true
	if c := count(literal); c > 0 {
		m.line.counted = true
		if w == wordEval {
			m.line.output = c
		} else {
			m.line.input = c
		}
	}
	return v + n
}

// literalEnd returns the length of the literal with which s begins, -1 when
// its end is not in s.
func literalEnd(s []byte) int {
	for i, c := range s {
		if c == ',' || c == '}' || c == ']' || isBlank(c) {
			return i
		}
	}
	return -1
}

// usageObject reads the counts of the JSON object with which s begins; objects
// inside it (details) are passed over. n is its length, 0 when its end is not
// in s, -1 when it is no JSON.
func usageObject(s []byte) (f figures, n int) {
	for i := 1; i < len(s); {
		switch c := s[i]; {
		case c == ',' || isBlank(c):
			i++
			continue
		case c == '}':
			return f, i + 1
		case c != '"':
			return f, -1
		}
		end := stringEnd(s, i)
		if end == 0 {
			return f, 0
		}
		key := s[i+1 : end-1]
		if i = blanks(s, end); i >= len(s) {
			return f, 0
		}
		if s[i] != ':' {
			return f, -1
		}
		i = blanks(s, i+1)
		if end = valueEnd(s, i); end == 0 {
			return f, 0
		}
		f.set(key, s[i:end])
		i = end
	}
	return f, 0
}

// stringEnd returns the place behind the JSON string that begins at s[i], 0
// when it has no end.
func stringEnd(s []byte, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// valueEnd returns the place behind the JSON value that begins at s[i], 0 when
// it has no end.
func valueEnd(s []byte, i int) int {
	for depth := 0; i < len(s); {
		switch s[i] {
		case '"':
			if i = stringEnd(s, i); i == 0 {
				return 0
			}
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return 0
}
