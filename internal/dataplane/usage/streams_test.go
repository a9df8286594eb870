package usage

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

const streamDir = "testdata/streams"

// recorded is a body in testdata/streams and what is to be read off it.
type recorded struct {
	file    string
	dialect gateway.Dialect
	path    string
	want    gateway.Usage
	event   string // is in the line of the error event; "" for none
	// lastWord is in the line at whose end the stream has said its last word;
	// "" for a stream that never does, and for bodies that are none.
	lastWord string
}

var recordings = []recorded{
	{"openai-chat-usage.sse", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Input: 26, Output: 298}, "", "[DONE]"},
	{"openai-chat-crlf.sse", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Input: 26, Output: 298}, "", "[DONE]"},
	{"openai-chat-nousage.sse", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Output: 6}, "", "[DONE]"},
	{"openai-chat-running-usage.sse", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Input: 9, Output: 6}, "", "[DONE]"},
	{"openai-chat-error.sse", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Output: 2}, `{"error": `, ""},
	{"openai-completions.sse", gateway.DialectOpenAI, "/v1/completions", gateway.Usage{Input: 11, Output: 5}, "", "[DONE]"},
	{"responses.sse", gateway.DialectResponses, "/v1/responses", gateway.Usage{Input: 37, Output: 11}, "", `{"type":"response.completed"`},
	{"responses-ollama.sse", gateway.DialectResponses, "/v1/responses", gateway.Usage{Input: 37, Output: 11}, "", `"type":"response.completed"}`},
	{"responses-incomplete.sse", gateway.DialectResponses, "/v1/responses", gateway.Usage{Input: 37, Output: 11}, "", `{"type":"response.incomplete"`},
	{"responses-failed.sse", gateway.DialectResponses, "/v1/responses", gateway.Usage{Output: 6}, `{"type":"response.failed"`, `{"type":"response.failed"`},
	{"responses-error.sse", gateway.DialectResponses, "/v1/responses", gateway.Usage{Output: 6}, `{"type":"error"`, ""},
	{"openrouter-responses.sse", gateway.DialectResponses, "/v1/responses", gateway.Usage{Input: 37, Output: 11, Cost: 9_400}, "", `{"type":"response.completed"`},
	{"anthropic.sse", gateway.DialectAnthropic, "/v1/messages", gateway.Usage{Input: 2125, Output: 89}, "", `{"type":"message_stop"}`},
	{"anthropic-error.sse", gateway.DialectAnthropic, "/v1/messages", gateway.Usage{Input: 2125, Output: 3}, `{"type":"error"`, ""},
	{"anthropic-error-first.sse", gateway.DialectAnthropic, "/v1/messages", gateway.Usage{}, `{"type":"error"`, ""},
	{"ollama-chat.ndjson", gateway.DialectOllama, "/api/chat", gateway.Usage{Input: 26, Output: 282}, "", `"done":true,`},
	{"ollama-chat-thinking.ndjson", gateway.DialectOllama, "/api/chat", gateway.Usage{Input: 26, Output: 282}, "", `"done":true,`},
	{"ollama-chat-tools.ndjson", gateway.DialectOllama, "/api/chat", gateway.Usage{Input: 26, Output: 282}, "", `"done":true,"done_reason"`},
	{"ollama-generate.ndjson", gateway.DialectOllama, "/api/generate", gateway.Usage{Input: 26, Output: 282}, "", `"done":true,`},
	{"ollama-error.ndjson", gateway.DialectOllama, "/api/chat", gateway.Usage{Output: 2}, `{"error":`, ""},
	{"ollama-error-first.ndjson", gateway.DialectOllama, "/api/chat", gateway.Usage{}, `{"error":`, ""},
	{"openrouter-chat.sse", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Input: 18, Output: 42, Cost: 142_000}, "", "[DONE]"},
	{"openrouter-anthropic.sse", gateway.DialectAnthropic, "/v1/messages", gateway.Usage{Input: 125, Output: 89, Cost: 1_710_000}, "", `{"type":"message_stop"}`},
	{"openrouter-error-first.sse", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{}, `"error":{`, ""},
	{"openrouter-error-midstream.sse", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Output: 2}, `"error":{`, "[DONE]"},

	{"openai-chat.json", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Input: 26, Output: 298}, "", ""},
	{"openai-chat-pretty.json", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Input: 26, Output: 298}, "", ""},
	{"openai-completions.json", gateway.DialectOpenAI, "/v1/completions", gateway.Usage{Input: 11, Output: 5}, "", ""},
	{"openai-embeddings.json", gateway.DialectOpenAI, "/v1/embeddings", gateway.Usage{Input: 8}, "", ""},
	{"responses.json", gateway.DialectResponses, "/v1/responses", gateway.Usage{Input: 37, Output: 11}, "", ""},
	{"anthropic.json", gateway.DialectAnthropic, "/v1/messages", gateway.Usage{Input: 125, Output: 89}, "", ""},
	{"ollama-chat.json", gateway.DialectOllama, "/api/chat", gateway.Usage{Input: 26, Output: 282}, "", ""},
	{"ollama-generate.json", gateway.DialectOllama, "/api/generate", gateway.Usage{Input: 26, Output: 282}, "", ""},
	{"ollama-embed.json", gateway.DialectOllama, "/api/embed", gateway.Usage{Input: 8}, "", ""},
	{"ollama-embeddings.json", gateway.DialectOllama, "/api/embeddings", gateway.Usage{}, "", ""},
	{"openrouter-chat.json", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{Input: 18, Output: 42, Cost: 142_000}, "", ""},
	{"openrouter-responses.json", gateway.DialectResponses, "/v1/responses", gateway.Usage{Input: 37, Output: 11, Cost: 9_400}, "", ""},
	{"openrouter-anthropic.json", gateway.DialectAnthropic, "/v1/messages", gateway.Usage{Input: 125, Output: 89, Cost: 1_710_000}, "", ""},
	{"openrouter-embeddings.json", gateway.DialectOpenAI, "/v1/embeddings", gateway.Usage{Input: 8, Cost: 160}, "", ""},
	{"openrouter-error.json", gateway.DialectOpenAI, "/v1/chat/completions", gateway.Usage{}, "", ""},
}

func (r *recorded) stream() bool { return !strings.HasSuffix(r.file, ".json") }

func (r *recorded) body(t testing.TB) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(streamDir, r.file))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// endsAt returns the length of the shortest beginning that has the last word.
func (r *recorded) endsAt(t testing.TB, body []byte) int {
	t.Helper()
	if r.lastWord == "" {
		if r.stream() {
			return len(body) + 1
		}
		return 0
	}
	at := bytes.LastIndex(body, []byte(r.lastWord))
	if at < 0 {
		t.Fatalf("%s has no %s", r.file, r.lastWord)
	}
	return at + bytes.IndexAny(body[at:], "\r\n")
}

// errorEvent returns the JSON of the line that event is in.
func (r *recorded) errorEvent(t testing.TB, body []byte) string {
	t.Helper()
	if r.event == "" {
		return ""
	}
	for line := range bytes.Lines(body) {
		if bytes.Contains(line, []byte(r.event)) {
			return string(bytes.TrimSpace(bytes.TrimPrefix(line, []byte("data: "))))
		}
	}
	t.Fatalf("%s has no %s", r.file, r.event)
	return ""
}

// result is all that a Meter tells.
type result struct {
	usage         gateway.Usage
	ended, failed bool
	event         string
}

func resultOf(m *Meter) result {
	m.Finish()
	return result{m.Usage(), m.Ended(), m.Failed(), string(m.ErrorEvent())}
}

// readPieces feeds the pieces, each from a place that is overwritten after.
func readPieces(m *Meter, d gateway.Dialect, path string, stream bool, pieces ...[]byte) result {
	m.Reset(d, path, stream)
	var passing []byte
	for _, p := range pieces {
		passing = append(passing[:0], p...)
		m.Write(passing)
		if !bytes.Equal(passing, p) {
			panic("the Meter changed the body")
		}
		for rest := passing; len(rest) > 0; {
			rest = rest[copy(rest, junk):]
		}
	}
	return resultOf(m)
}

// junk is what a piece's place holds once the piece has passed.
var junk = bytes.Repeat([]byte(`"`), 4096)

func TestEveryRecordingIsListed(t *testing.T) {
	entries, err := os.ReadDir(streamDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.ContainsFunc(recordings, func(r recorded) bool { return r.file == e.Name() }) {
			t.Errorf("%s is not in the table", e.Name())
		}
	}
}

func TestRecordings(t *testing.T) {
	var m Meter
	for _, r := range recordings {
		t.Run(r.file, func(t *testing.T) {
			body := r.body(t)
			want := result{r.want, r.lastWord != "" || !r.stream(), r.event != "", r.errorEvent(t, body)}
			if got := readPieces(&m, r.dialect, r.path, r.stream(), body); got != want {
				t.Errorf("in one piece: %+v, want %+v", got, want)
			}
			for i := range body {
				if got := readPieces(&m, r.dialect, r.path, r.stream(), body[:i], body[i:]); got != want {
					t.Fatalf("in two pieces, the second from byte %d on: %+v, want %+v", i, got, want)
				}
			}
		})
	}
}

// A body that breaks off anywhere gives the same result byte by byte as in one
// piece, and no stream is over before its last word.
func TestCutRecordings(t *testing.T) {
	for _, r := range recordings {
		t.Run(r.file, func(t *testing.T) {
			body := r.body(t)
			endsAt := r.endsAt(t, body)
			var byBytes, one Meter
			byBytes.Reset(r.dialect, r.path, r.stream())
			for n := range len(body) + 1 {
				cut := byBytes
				cut.buf = bytes.Clone(byBytes.buf)
				cut.form.around = bytes.Clone(byBytes.form.around)
				got, want := resultOf(&cut), readPieces(&one, r.dialect, r.path, r.stream(), body[:n])
				if got != want {
					t.Fatalf("cut at %d: %+v byte by byte, %+v in one piece", n, got, want)
				}
				if want.ended != (n >= endsAt) {
					t.Fatalf("cut at %d: ended = %v, its last word ends at %d: …%s", n, want.ended, endsAt, body[max(0, n-40):n])
				}
				if n < len(body) {
					byBytes.Write(body[n : n+1])
				}
			}
		})
	}
}

// What the upstream told before the break stands; the rest is estimated.
func TestCutStreamIsEstimated(t *testing.T) {
	f := func(file, until string, want gateway.Usage) {
		t.Helper()
		i := slices.IndexFunc(recordings, func(r recorded) bool { return r.file == file })
		r := recordings[i]
		body := r.body(t)
		at := bytes.Index(body, []byte(until))
		if at < 0 {
			t.Fatalf("%s has no %s", file, until)
		}
		var m Meter
		if got := readPieces(&m, r.dialect, r.path, true, body[:at]); got.usage != want || got.ended {
			t.Errorf("%s until %s: %+v, want %+v and not ended", file, until, got, want)
		}
	}
	f("openai-chat-usage.sse", `"finish_reason":"stop"`, gateway.Usage{Output: 6})
	f("openai-chat-running-usage.sse", ` three`, gateway.Usage{Input: 9, Output: 4})
	f("responses.sse", `event: response.completed`, gateway.Usage{Output: 6})
	f("anthropic.sse", `event: content_block_start`, gateway.Usage{Input: 2125, Output: 2})
	f("anthropic.sse", `event: message_delta`, gateway.Usage{Input: 2125, Output: 8})
	f("anthropic.sse", `event: message_stop`, gateway.Usage{Input: 2125, Output: 89})
	f("ollama-chat.ndjson", `"done":true,`, gateway.Usage{Output: 4})
	f("ollama-chat-tools.ndjson", `{"model":"gpt-oss:120b","created_at":"2025-11-04T14:23:18`, gateway.Usage{Output: 1})
	f("openrouter-chat.sse", `"usage"`, gateway.Usage{Output: 4})
}
