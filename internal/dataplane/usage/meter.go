// Package usage is the step of the data plane that counts. A Meter reads token
// figures off an answer's body as it passes; a Ledger adds up what became of
// the clients' requests until a writer takes it down, once a second.
package usage

import (
	"bytes"
	"encoding/json"
	"strings"

	"ollama-api-pool/internal/gateway"
)

const (
	// windowSize is the most of an unfinished line (or of a JSON body) that a
	// Meter holds. A longer one is read through this window as it passes.
	windowSize = 4096
	// firstWindow is the capacity with which a window begins; it doubles.
	firstWindow = 512
	// maxUsage is the longest usage object that is read. Those in the field are
	// under 1 KiB.
	maxUsage = 2048
	// lookback is how much of a window stays when nothing in it is unfinished:
	// more than the longest key with its blanks, which the next bytes may end.
	lookback = 48
	// maxBlank is how many blanks are accepted around a colon or before a value.
	maxBlank = 16
)

// A full window must have room for an unfinished object and the key before it.
const _ = uint(windowSize - maxUsage - 2*lookback)

// Meter reads the tokens that one answer consumed, what it cost, and how its
// stream ended, off the pieces of the body while they pass to the client. It
// decodes no event: it looks for the few keys that matter (see words.go) and
// reads only their values. The result does not depend on where the body is cut
// into pieces. A Meter allocates for a line that comes in several pieces and for
// a JSON body, never more than windowSize bytes, and some hundred bytes for the
// form of a stream's events; it keeps both for the next Reset. Use one Meter
// from one goroutine at a time. A body in a Content-Encoding cannot be read: do
// not feed it.
type Meter struct {
	want    word // the keys of this dialect
	stream  bool // lines of SSE or NDJSON; else one JSON document
	needEnd bool // the protocol has a last word

	buf     []byte // the unfinished line; of a long one its unread end
	scanned int    // how much of buf has been searched
	long    bool   // the line's beginning has left buf
	skip    bool   // the long line carries nothing: a comment, an event's name
	line    lineState
	form    form

	told   figures // what the upstream said
	floor  int64   // output tokens in message_start: a first figure only
	events int64   // events that carried text
	ended  bool
	failed bool
	named  bool   // event: error came; the next payload belongs to it
	event  []byte // the first error event's JSON
}

// lineState is what the line now being read has shown so far.
type lineState struct {
	figures
	counted bool // figures holds some
	numbers bool // it has keys with figures, or zeros
	start   bool // Anthropic's message_start
	text    bool
	ended   bool
	failed  bool
	textAt  int // where in a whole line the first text begins
}

// Reset makes the Meter ready for the next body. path is the upstream's, such
// as /v1/chat/completions; stream says that the body is text/event-stream or
// application/x-ndjson. The zero Meter needs one Reset before use.
func (m *Meter) Reset(d gateway.Dialect, path string, stream bool) {
	*m = Meter{
		buf:     m.buf[:0],
		form:    form{around: m.form.around[:0]},
		want:    wanted(d, stream),
		stream:  stream,
		needEnd: stream && hasLastWord(d, path),
	}
}

// hasLastWord reports whether streams of this address say when they are over.
func hasLastWord(d gateway.Dialect, path string) bool {
	switch d {
	case gateway.DialectOpenAI:
		return strings.HasSuffix(path, "/completions")
	case gateway.DialectOllama:
		return strings.HasSuffix(path, "/chat") || strings.HasSuffix(path, "/generate")
	default:
		return true
	}
}

// Write reads the next piece of the body. It neither changes nor keeps p.
func (m *Meter) Write(p []byte) {
	if !m.stream {
		m.hold(p)
		return
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			m.hold(p)
			return
		}
		if len(m.buf) == 0 && !m.long {
			m.whole(p[:i], true)
		} else {
			m.hold(p[:i])
			m.endLine(true)
		}
		p = p[i+1:]
	}
}

// Finish reads what is left when the body has ended, or was broken off. It may
// be called more than once; nothing may be written after it.
func (m *Meter) Finish() {
	if len(m.buf) > 0 || m.long {
		m.endLine(false)
	}
}

// Usage returns the tokens consumed, and what they cost where the upstream
// tells it, as far as known; Finish completes it.
// Figures told by the upstream win, also partial ones: Anthropic's input
// counts stand when the stream breaks off later. Where a stream told no output
// count (the client left early, or an OpenAI stream without include_usage),
// Output is an estimate: one token for each event that carried text.
func (m *Meter) Usage() gateway.Usage {
	u := gateway.Usage{
		Input:  m.told.input + m.told.cacheWrite + m.told.cacheRead,
		Output: m.told.output,
		Cost:   m.told.cost,
	}
	if u.Output == 0 {
		u.Output = max(m.floor, m.events)
	}
	return u
}

// Ended reports whether the stream's last word was seen whole: data: [DONE]
// (OpenAI chat and completions), response.completed, .incomplete or .failed
// (Responses), message_stop (Anthropic), "done":true (Ollama). Of a body whose
// protocol has no last word, such as plain JSON, it is always true.
func (m *Meter) Ended() bool { return m.ended || !m.needEnd }

// Failed reports whether an error event came inside the stream:
// data: {"error":…}, event: error, {"type":"error"}, response.failed, or the
// NDJSON line {"error":…}. A body that is no stream never has one.
func (m *Meter) Failed() bool { return m.failed }

// ErrorEvent returns the JSON of the first error event of a stream that Failed,
// so that it can be judged; nil where it came without any or was longer than
// windowSize. It is the caller's, and survives a Reset.
func (m *Meter) ErrorEvent() []byte { return m.event }

// hold adds p to the unfinished line and reads on where the window is full.
func (m *Meter) hold(p []byte) {
	for len(p) > 0 {
		if len(m.buf) == windowSize {
			m.slide()
		}
		n := min(len(p), windowSize-len(m.buf))
		if need := len(m.buf) + n; need > cap(m.buf) {
			grown := make([]byte, len(m.buf), min(windowSize, max(firstWindow, 2*cap(m.buf), need)))
			copy(grown, m.buf)
			m.buf = grown
		}
		m.buf = append(m.buf, p[:n]...)
		p = p[n:]
	}
}

// slide searches the full window and lets go of what is read. An unread value
// is at most maxUsage long, so at least a third of the window gets free.
func (m *Meter) slide() {
	if !m.long {
		m.long = true
		if m.stream {
			start := payloadOf(m.buf)
			m.skip = start < 0
			m.scanned = max(start, 0)
			m.line.failed = !m.skip && startsWithError(m.buf[start:])
		}
	}
	if m.skip {
		m.buf = m.buf[:0]
		return
	}
	keep, next := m.scan(m.buf, m.scanned, false)
	n := copy(m.buf, m.buf[keep:])
	m.buf = m.buf[:n]
	m.scanned = next - keep
}

// endLine reads the held line, at its newline or, with terminated false, at
// the end of the body.
func (m *Meter) endLine(terminated bool) {
	switch {
	case !m.long:
		m.whole(m.buf, terminated)
	case !m.skip:
		m.named = false
		m.scan(m.buf, m.scanned, true)
		m.commit(terminated)
	}
	m.buf = m.buf[:0]
	m.scanned, m.long, m.skip = 0, false, false
}

// whole reads a line that lies before us from its beginning to its end.
func (m *Meter) whole(line []byte, terminated bool) {
	if !m.stream {
		m.scan(line, 0, true)
		m.commit(false)
		return
	}
	if len(line) == 0 {
		m.named = false // the end of an event
		return
	}
	if text, all := m.form.match(line); text > 0 && terminated {
		if all && !m.named {
			m.events++
			return
		}
		m.line.text, m.line.textAt = line[text] != '"', text
		m.scan(line, text, true)
	} else {
		start := payloadOf(line)
		if start < 0 {
			m.other(line, terminated)
			return
		}
		if isDone(line[start:]) {
			m.ended = m.ended || m.want&wordDoneMark != 0
			return
		}
		m.line.failed = startsWithError(line[start:])
		m.scan(line, start, true)
	}
	if m.line.text && !m.line.numbers && !m.line.failed {
		m.form.learn(line, m.line.textAt)
	}
	if m.line.failed || m.named {
		m.keepEvent(line)
	}
	// Without a newline it may be half a line. That is rare enough to decode.
	m.commit(terminated || json.Valid(line[max(0, payloadOf(line)):]))
}

// other reads a line that carries no payload.
func (m *Meter) other(line []byte, terminated bool) {
	switch {
	case line[0] == '\r':
		m.named = false
	case terminated && isErrorName(line):
		m.named, m.failed = true, true
	}
}

// keepEvent copies the JSON of the first error event.
func (m *Meter) keepEvent(line []byte) {
	m.named = false
	payload := bytes.TrimSpace(line[max(0, payloadOf(line)):])
	if m.event == nil && len(line) <= windowSize && json.Valid(payload) {
		m.event = bytes.Clone(payload)
	}
}

// commit takes over what the line has shown. Of an incomplete line, which no
// client can decode, only the figures count.
func (m *Meter) commit(complete bool) {
	l := &m.line
	if m.want&wordDone != 0 && !l.ended {
		l.counted = false // Ollama counts in its last line; elsewhere the words are the model's
	}
	if l.counted {
		if l.start {
			m.floor = l.output
			l.output = 0
		}
		m.told.update(l.figures)
	}
	if complete {
		if l.text {
			m.events++
		}
		m.ended = m.ended || l.ended
		m.failed = m.failed || l.failed
	}
	m.line = lineState{}
}
