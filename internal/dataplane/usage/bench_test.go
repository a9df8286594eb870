package usage

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// benchStream returns the text events of a stream, of about 200 bytes each, as
// the dialect's servers send them: times and numbers move on, texts differ, one
// in eight has an escaped quote, and every second the form changes.
func benchStream(d gateway.Dialect) (path string, events [][]byte) {
	at := time.Date(2025, 11, 4, 14, 23, 17, 123456789, time.UTC)
	for i := range 256 {
		text := strings.Repeat("ab ", i%5) + "word"
		if i%8 == 7 {
			text = `say \"` + text + `\"`
		}
		at = at.Add(9_876_543)
		var e string
		switch d {
		case gateway.DialectOpenAI:
			path = chatPath
			e = fmt.Sprintf(`data: {"id":"chatcmpl-412","object":"chat.completion.chunk","created":%d,"model":"gpt-oss:120b","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"%s"},"finish_reason":null}]}`, at.Unix(), text) + "\n\n"
		case gateway.DialectResponses:
			path = "/v1/responses"
			e = "event: response.output_text.delta\n" + fmt.Sprintf(`data: {"content_index":0,"delta":"%s","item_id":"msg_684212","logprobs":[],"output_index":0,"sequence_number":%d,"type":"response.output_text.delta"}`, text, i) + "\n\n"
		case gateway.DialectAnthropic:
			path = "/v1/messages"
			e = "event: content_block_delta\n" + fmt.Sprintf(`data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s, and then the story goes on for a while"}}`, text) + "\n\n"
		case gateway.DialectOllama:
			path = "/api/chat"
			e = fmt.Sprintf(`{"model":"gpt-oss:120b","created_at":"%s","message":{"role":"assistant","content":"%s, and then the story goes on for a while"},"done":false}`, at.Format(time.RFC3339Nano), text) + "\n"
		}
		events = append(events, []byte(e))
	}
	return path, events
}

// BenchmarkEvent passes streams in pieces of one event each, BenchmarkBrokenEvent
// in two pieces for each event.
func BenchmarkEvent(b *testing.B)       { benchmarkEvents(b, 1) }
func BenchmarkBrokenEvent(b *testing.B) { benchmarkEvents(b, 2) }

func benchmarkEvents(b *testing.B, pieces int) {
	for name, d := range map[string]gateway.Dialect{
		"OpenAI": gateway.DialectOpenAI, "Responses": gateway.DialectResponses,
		"Anthropic": gateway.DialectAnthropic, "Ollama": gateway.DialectOllama,
	} {
		path, events := benchStream(d)
		b.Run(name, func(b *testing.B) {
			var m Meter
			m.Reset(d, path, true)
			b.ReportAllocs()
			b.SetBytes(int64(len(events[0])))
			var n int64
			for ; b.Loop(); n++ {
				e := events[n%int64(len(events))]
				if pieces == 2 {
					m.Write(e[:len(e)/2])
					e = e[len(e)/2:]
				}
				m.Write(e)
			}
			if m.Usage().Output != n {
				b.Fatalf("%d events, counted %d", n, m.Usage().Output)
			}
		})
	}
}

// BenchmarkAnswer reads a plain JSON answer of some 600 bytes, and a long one
// that comes in pieces of 32 KiB.
func BenchmarkAnswer(b *testing.B) {
	head := `{"id":"chatcmpl-BwoiPTGRbKkY5r","object":"chat.completion","created":1753357673,"model":"gpt-oss:120b","system_fingerprint":"fp_ollama","choices":[{"index":0,"message":{"role":"assistant","content":"`
	tail := `"},"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":298,"total_tokens":324}}`
	for _, size := range []int{600, 1 << 20} {
		body := []byte(head + strings.Repeat("Some text, ", (size-len(head)-len(tail))/11) + tail)
		b.Run(strconv.Itoa(len(body))+"B", func(b *testing.B) {
			var m Meter
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				m.Reset(gateway.DialectOpenAI, "/v1/chat/completions", false)
				for p := body; len(p) > 0; {
					n := min(len(p), 32<<10)
					m.Write(p[:n])
					p = p[n:]
				}
				m.Finish()
			}
			if m.Usage().Output != 298 {
				b.Fatalf("usage = %+v", m.Usage())
			}
		})
	}
}

// BenchmarkLedger adds requests for one of ten models, with a hundred tokens
// and two hundred keys.
func BenchmarkLedger(b *testing.B) {
	var exchanges [1000]*gateway.Exchange
	for i := range exchanges {
		x := done("model-"+strconv.Itoa(i%10), gateway.HashToken(gateway.Secret("sk-"+strconv.Itoa(i%100))))
		exchanges[i] = tried(x, gateway.IDOfKey(gateway.Secret("fake-key-"+strconv.Itoa(i%200))))
	}
	b.Run("one", func(b *testing.B) {
		l := NewLedger(whole())
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l.Add(exchanges[i%len(exchanges)])
		}
	})
	b.Run("parallel", func(b *testing.B) {
		l := NewLedger(whole())
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				l.Add(exchanges[i%len(exchanges)])
			}
		})
	})
}
