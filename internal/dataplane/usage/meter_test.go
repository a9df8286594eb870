package usage

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

const (
	chatPath = "/v1/chat/completions"
	openAI   = gateway.DialectOpenAI
	ollama   = gateway.DialectOllama
)

func TestPlainAnswers(t *testing.T) {
	f := func(d gateway.Dialect, body string, input, output int64) {
		t.Helper()
		var m Meter
		want := result{gateway.Usage{Input: input, Output: output}, true, false, ""}
		for i := range len(body) + 1 {
			if got := readPieces(&m, d, chatPath, false, []byte(body[:i]), []byte(body[i:])); got != want {
				t.Fatalf("%s, in two pieces from byte %d on: %+v, want %+v", body, i, got, want)
			}
		}
	}
	f(openAI, ``, 0, 0)
	f(openAI, `null`, 0, 0)
	f(openAI, `{"usage":null}`, 0, 0)
	f(openAI, `{"usage": {"prompt_tokens": 1, "completion_tokens": 2}}`, 1, 2)
	f(openAI, "{\r\n\t\"usage\"\r\n :\r\n\t{\r\n\"prompt_tokens\" :\n1\r\n,\"completion_tokens\":2\r\n}\r\n}", 1, 2)
	f(openAI, `{"usage":{"input_tokens":1,"output_tokens":2}}`, 1, 2)
	f(openAI, `{"usage":{"prompt_tokens":1,"completion_tokens":2,"input_tokens":0,"output_tokens":0}}`, 1, 2)
	f(openAI, `{"usage":{"prompt_tokens":1,"prompt_tokens_details":{"prompt_tokens":7,"x":[{"prompt_tokens":8}],"s":"}"},"completion_tokens":2}}`, 1, 2)
	f(openAI, `{"usage":{"note":"a } and a \" and \\","prompt_tokens":1,"completion_tokens":2},"metadata":{"usage":"{}"}}`, 1, 2)
	f(openAI, `{"content":"{\"usage\":{\"prompt_tokens\":7}}","usage":{"prompt_tokens":1}}`, 1, 0)
	f(openAI, `{"content":"\\","usage":{"prompt_tokens":1}}`, 1, 0)
	f(openAI, `{"usage":{"prompt_tokens":7},"usage":{"prompt_tokens":1,"completion_tokens":2},"usage":{}}`, 1, 2)
	f(openAI, `{"xusage":{"prompt_tokens":7},"usage_":{"prompt_tokens":7},"Usage":{"prompt_tokens":7}}`, 0, 0)
	f(openAI, `{"eval_count":5,"prompt_eval_count":6}`, 0, 0)

	// Cut off, or no JSON.
	f(openAI, `{"usage":{"prompt_tokens":1,"completion_tokens":2`, 0, 0)
	f(openAI, `{"usage":{"prompt_tokens":1,"completion_tokens":2}`, 1, 2)
	f(openAI, `{"usage":{"prompt_tokens" 1}}`, 0, 0)
	f(openAI, `{"usage":{prompt_tokens:1}}`, 0, 0)
	f(openAI, `{"usage":{"prompt_tokens":}]}}`, 0, 0)
	f(openAI, `{"usage":`, 0, 0)
	f(openAI, `{"usage":[{"prompt_tokens":1}]}`, 0, 0)
	f(openAI, `"usage":"usage":{"prompt_tokens":1}`, 1, 0)

	// Figures that are none.
	for _, n := range []string{`-1`, `1.5`, `1e3`, `"1"`, `99999999999`, `1000000001`, `18446744073709551617`, `true`, `null`, `[1]`, `{"a":1}`, `01`, `0x1`, ``, `+1`} {
		f(openAI, `{"usage":{"prompt_tokens":`+n+`,"completion_tokens":2}}`, 0, 2)
		f(ollama, `{"prompt_eval_count":`+n+`,"eval_count":2}`, 0, 2)
	}
	f(openAI, `{"usage":{"prompt_tokens":1000000000,"completion_tokens":0}}`, 1_000_000_000, 0)

	f(ollama, `{"eval_count": 2, "prompt_eval_count" :1}`, 1, 2)
	f(ollama, `{"eval_count":2,"prompt_eval_count":1`, 0, 2) // perhaps 10, or 11
	f(ollama, `{"usage":{"prompt_tokens":7}}`, 0, 0)
	f(gateway.DialectAnthropic, `{"usage":{"input_tokens":1,"cache_read_input_tokens":20,"cache_creation_input_tokens":300,"output_tokens":2}}`, 321, 2)
	f(openAI, `{"usage":{"prompt_tokens":30,"prompt_tokens_details":{"cached_tokens":20},"completion_tokens":2}}`, 30, 2)
}

// What was charged is read wherever the body is cut, and only where it stands
// for the whole request.
func TestCost(t *testing.T) {
	f := func(member string, want gateway.Cost) {
		t.Helper()
		var m Meter
		for _, d := range []gateway.Dialect{openAI, gateway.DialectResponses, gateway.DialectAnthropic} {
			body := `{"cost":7,"usage":{"prompt_tokens":1,` + member + `"completion_tokens":2},"total_cost":7}`
			for i := range len(body) + 1 {
				got := readPieces(&m, d, chatPath, false, []byte(body[:i]), []byte(body[i:]))
				if got.usage != (gateway.Usage{Input: 1, Output: 2, Cost: want}) {
					t.Fatalf("%s, in two pieces from byte %d on: %+v, want a cost of %d", body, i, got.usage, want)
				}
			}
		}
	}
	f(``, 0)
	f(`"cost": 0.95 ,"cost_details":{"upstream_inference_cost":19,"cost":20},`, 950_000_000)
	f(`"cost_details":{"upstream_inference_cost":19,"cost":20},`, 0)
	f(`"cost":{"total_cost":0.5},`, 0)
	f(`"cost":null,`, 0)
	f(`"cost":"0.95",`, 0)
	f(`"Cost":1,"costs":2,"upstream_cost":3,`, 0)

	var m Meter
	if got := readPieces(&m, ollama, "/api/chat", false, []byte(`{"eval_count":2,"usage":{"cost":7}}`)); got.usage != (gateway.Usage{Output: 2}) {
		t.Errorf("native: %+v", got.usage)
	}
}

func TestStreams(t *testing.T) {
	f := func(d gateway.Dialect, path, body string, want result) {
		t.Helper()
		var m Meter
		for i := range len(body) + 1 {
			if got := readPieces(&m, d, path, true, []byte(body[:i]), []byte(body[i:])); got != want {
				t.Fatalf("%s, in two pieces from byte %d on: %+v, want %+v", body, i, got, want)
			}
		}
	}
	ended := func(output int64) result { return result{gateway.Usage{Output: output}, true, false, ""} }
	open := func(output int64) result { return result{gateway.Usage{Output: output}, false, false, ""} }
	failed := func(event string) result { return result{failed: true, event: event} }

	// The last word.
	f(openAI, chatPath, "", open(0))
	f(openAI, chatPath, "data: [DONE]", ended(0))
	f(openAI, chatPath, "data:[DONE]\r\n\r\n", ended(0))
	f(openAI, chatPath, "data: [DONE] \n", ended(0))
	f(openAI, chatPath, ": [DONE]\nevent: [DONE]\ndata: [DONE]x\ndata: \"[DONE]\"\n", open(0))
	f(openAI, "/v1/embeddings", "data: {}\n\n", ended(0))
	f(openAI, chatPath, "data: {\"done\":true,\"type\":\"message_stop\"}\n\n", open(0))
	f(gateway.DialectAnthropic, "/v1/messages", "data: [DONE]\n\n", open(0))
	f(gateway.DialectAnthropic, "/v1/messages", `data: {"type": "message_stop"}`, ended(0))
	f(gateway.DialectAnthropic, "/v1/messages", `data: {"type": "message_stop"`, open(0))
	f(gateway.DialectResponses, "/v1/responses", "data: [DONE]\n\n", open(0))
	f(ollama, "/api/chat", `{"message":{"content":"x"},"done":true}`, ended(1))
	f(ollama, "/api/chat", `{"message":{"content":"x"},"done": true`, open(0))
	f(ollama, "/api/chat", `{"message":{"tool_calls":[{"arguments":{"done":true}}]},"done":false}`+"\n", open(0))
	f(ollama, "/api/chat", "{\"done\":\"true\"}\n{\"done\":1}\n{\"done\":null}\n", open(0))
	f(ollama, "/api/show", "{}\n", ended(0))

	// Errors.
	f(openAI, chatPath, "data: {\"error\":{\"message\":\"x\"}}\n\n", failed(`{"error":{"message":"x"}}`))
	f(openAI, chatPath, "data: { \"error\" : \"x\" }\n\n", failed(`{ "error" : "x" }`))
	f(openAI, chatPath, "{\"error\":\"x\"}\n", failed(`{"error":"x"}`))
	f(openAI, chatPath, "event: error\nid: 1\ndata: {}\n", failed(`{}`))
	f(openAI, chatPath, "event:error\r\n\r\ndata: {}\r\n", failed(""))
	f(openAI, chatPath, "data: {\"id\":1,\"error\":{\"code\":502},\"choices\":[]}\ndata: {\"error\":\"2\"}\n", failed(`{"id":1,"error":{"code":502},"choices":[]}`))
	f(openAI, chatPath, "data: {\"error\":null}\ndata: {\"error\":\"\"}\ndata: {\"id\":1,\"error\":{}}\nevent: errors\n: error\n", open(0))
	f(openAI, chatPath, `data: {"error":{"message":"x"}`, open(0))
	f(openAI, chatPath, `event: error`, open(0))
	f(openAI, chatPath, "event: error\n\ndata: {}\n", failed(""))
	f(openAI, chatPath, "data: {\"error\":\"x\"\n", failed("")) // no JSON
	f(openAI, chatPath, "data: {\"delta\":{\"content\":\"a\"}}\n\nevent: error\ndata: {\"delta\":{\"content\":\"b\"}}\n",
		result{gateway.Usage{Output: 2}, false, true, `{"delta":{"content":"b"}}`})
	f(ollama, "/api/chat", `{"message":{"tool_calls":[{"arguments":{"error":"x"}}]},"done":false}`+"\n", open(0))
	f(gateway.DialectAnthropic, "/v1/messages", "data: {\"type\":\"error\",\"error\":{}}\n", failed(`{"type":"error","error":{}}`))
	f(gateway.DialectResponses, "/v1/responses", "data: {\"type\":\"response.error\"}\n", failed(`{"type":"response.error"}`))
	f(gateway.DialectResponses, "/v1/responses", "data: {\"type\":\"x\",\"item\":{\"error\":\"the tool's\"}}\n", open(0))

	// Text.
	chunk := "data: {\"id\":\"1\",\"choices\":[{\"delta\":{\"content\":%s},\"finish_reason\":null}]}\n\n"
	for _, text := range []string{`"a"`, `" "`, `"\n"`, `"\""`, `"\\"`, `"🐺"`, `"\ud83d\udc3a"`, `"{\"usage\":{}}"`} {
		f(openAI, chatPath, strings.Repeat(fmt.Sprintf(chunk, text), 3), open(3))
		f(openAI, chatPath, fmt.Sprintf(chunk, `"plain"`)+fmt.Sprintf(chunk, text)+fmt.Sprintf(chunk, `"plain"`), open(3))
	}
	for _, none := range []string{`""`, `null`, `1`, `[]`, `{}`} {
		f(openAI, chatPath, fmt.Sprintf(chunk, `"a"`)+fmt.Sprintf(chunk, none)+fmt.Sprintf(chunk, `"b"`), open(2))
	}
	f(openAI, chatPath, ": OPENROUTER PROCESSING\n\n: \"content\":\"x\"\n", open(0))
	f(openAI, chatPath, "data: {\"delta\":{\"content\":\"\",\"reasoning\":\"x\"}}\ndata: {\"delta\":{\"content\":\"\",\"reasoning\":\"y\"}}\n", open(2))
	f(openAI, chatPath, "data: {\"delta\":{\"content\":\"a\",\"reasoning\":\"x\"}}\n", open(1))

	// Half a line is no event, also where it is of the form of those before.
	f(openAI, chatPath, "data: {\"content\":\"a\"}, x\ndata: {\"content\":\"b\"}, x\ndata: {\"content\":\"c\"}, x", open(2))

	// The estimate gives way to any figure.
	f(openAI, chatPath, fmt.Sprintf(chunk, `"a"`)+fmt.Sprintf(chunk, `"b"`)+"data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n",
		result{gateway.Usage{Input: 5, Output: 1}, false, false, ""})
	f(openAI, chatPath, fmt.Sprintf(chunk, `"a"`)+"data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}",
		result{gateway.Usage{Input: 5, Output: 1}, false, false, ""})
}

// A line of a known form may differ from it in digits, but never hide a figure.
func TestKnownFormHidesNothing(t *testing.T) {
	event := func(n int, text, tail string) string {
		return fmt.Sprintf("data: {\"created\":%d,\"choices\":[{\"delta\":{\"content\":\"%s\"}}],\"n\":%d%s}\n\n", n, text, n, tail)
	}
	f := func(want result, events ...string) {
		t.Helper()
		var m Meter
		m.Reset(openAI, chatPath, true)
		for _, e := range events {
			m.Write([]byte(e))
		}
		if got := resultOf(&m); got != want {
			t.Errorf("%q: %+v, want %+v", events, got, want)
		}
	}
	zero, one := `,"usage":{"prompt_tokens":0,"completion_tokens":0}`, `,"usage":{"prompt_tokens":9,"completion_tokens":7}`
	f(result{gateway.Usage{Output: 3}, false, false, ""}, event(10, "a", ""), event(11, "b", ""), event(99, "c", ""))
	f(result{gateway.Usage{Output: 3}, false, false, ""}, event(10, "a", zero), event(11, "b", zero), event(99, "c", zero))
	f(result{gateway.Usage{Input: 9, Output: 7}, false, false, ""}, event(10, "a", zero), event(11, "b", zero), event(12, "c", one))
	f(result{gateway.Usage{Input: 9, Output: 7}, false, false, ""}, event(10, "a", ""), event(11, "b", ""), event(12, "c", one))
	f(result{gateway.Usage{Input: 9, Output: 7}, false, false, ""}, event(10, "a", ""), event(11, `b"}}],"n":1`+one+`,"x":{"y":{"z":["`, ""))
	f(result{gateway.Usage{Output: 2}, false, true, strings.TrimSpace(event(11, "b", `,"error":{"code":502}`)[len("data: "):])}, event(10, "a", ""), event(11, "b", `,"error":{"code":502}`))
	f(result{gateway.Usage{Input: 9, Output: 7}, false, false, ""}, event(10, "a", ""), event(11, `b\\"}}],"n":1`+one+`,"x":{"y":{"z":["`, ""))
	f(result{gateway.Usage{Output: 2}, false, false, ""}, event(10, "a", ""), event(11, `b\`, ""))
	f(result{gateway.Usage{Input: 1, Output: 2}, false, false, ""}, // no JSON, but what looks like figures counts
		"data: {\"content\":\"x\":{\"prompt_tokens\":1}}\n", "data: {\"content\":\"usage\":{\"prompt_tokens\":1}}\n")
	f(result{gateway.Usage{Output: 2}, false, true, `{"error":{"a":1},"content":"b"}`}, // the first is no JSON
		"data: {\"error\":{\"a\":1},\"content\":\"\\q\"}\n", "data: {\"error\":{\"a\":1},\"content\":\"b\"}\n")
}

// However long a line is and wherever in it the figures stand, they are found,
// and the Meter does not grow.
func TestLongLines(t *testing.T) {
	usage := `"usage":{"prompt_tokens":26,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens":298}`
	text := strings.Repeat(`Es war einmal: \"ein Wolf\", `, 80_000)
	var m Meter
	f := func(name string, stream bool, piece int, body string, want result) {
		t.Helper()
		m.Reset(openAI, chatPath, stream)
		for p := []byte(body); len(p) > 0; {
			n := min(len(p), piece)
			m.Write(p[:n])
			p = p[n:]
		}
		if cap(m.buf) > windowSize || cap(m.form.around) > 2*maxForm {
			t.Errorf("%s: holds %d and %d bytes", name, cap(m.buf), cap(m.form.around))
		}
		if got := resultOf(&m); got != want {
			t.Errorf("%s in pieces of %d: %+v, want %+v", name, piece, got, want)
		}
	}
	told := gateway.Usage{Input: 26, Output: 298}
	for _, piece := range []int{1000, 4096, 32 << 10, 16 << 20} {
		f("figures first", false, piece, `{`+usage+`,"content":"`+text+`"}`, result{told, true, false, ""})
		f("figures amid", false, piece, `{"content":"`+text+`",`+usage+`,"x":"`+text+`"}`, result{told, true, false, ""})
		f("figures last", false, piece, `{"content":"`+text+`",`+usage+`}`, result{told, true, false, ""})
		f("many blanks", false, piece, `{"content":"x",`+strings.Repeat(" ", 9000)+usage+strings.Repeat("\n", 9000)+`}`, result{told, true, false, ""})
		f("event, figures first", true, piece, `data: {`+usage+`,"content":"`+text+`"}`+"\n\ndata: [DONE]\n\n", result{told, true, false, ""})
		f("event, figures last", true, piece, `data: {"content":"`+text+`",`+usage+"}\n\ndata: [DONE]\n\n", result{told, true, false, ""})
		f("event without figures", true, piece, `data: {"content":"`+text+`"}`+"\n\ndata: [DONE]\n\n", result{gateway.Usage{Output: 1}, true, false, ""})
		f("long comment", true, piece, `: `+text+usage+"\n\ndata: [DONE]\n\n", result{ended: true})
		f("long error", true, piece, `data: {"error":"`+text+"\"}\n\n", result{failed: true})
		f("long id", true, piece, `data: {"id":"`+text[:3000]+`","content":"x"}`+"\n\n", result{gateway.Usage{Output: 1}, false, false, ""})
		f("broken off", true, piece, `data: {"content":"`+text, result{})
	}
}

// The figures are found at every offset around the window's border, unless the
// object is too long, wherever it stands.
func TestWindowBorder(t *testing.T) {
	var m Meter
	f := func(pad, longer int, want gateway.Usage) {
		t.Helper()
		body := `{"x":"` + strings.Repeat("-", pad) + `","usage" : {"note":"` + strings.Repeat("-", longer) + `","prompt_tokens":26,"completion_tokens":298}}`
		for _, stream := range []bool{false, true} {
			if stream {
				body = "data: " + body + "\n"
			}
			one := readPieces(&m, openAI, chatPath, stream, []byte(body))
			two := readPieces(&m, openAI, chatPath, stream, []byte(body[:len(body)/2]), []byte(body[len(body)/2:]))
			if one.usage != want || one != two {
				t.Fatalf("%d bytes before an object %d longer: %+v, in two pieces %+v, want %+v", pad, longer, one, two, want)
			}
		}
	}
	rest := len(`{"note":"","prompt_tokens":26,"completion_tokens":298}`)
	for pad := windowSize - 200; pad < windowSize+100; pad++ {
		f(pad, 0, gateway.Usage{Input: 26, Output: 298})
		f(pad, maxUsage-rest, gateway.Usage{Input: 26, Output: 298})
		f(pad, maxUsage-rest+1, gateway.Usage{})
	}
	for pad := windowSize - 60; pad < windowSize; pad++ {
		for blank, want := range map[int]gateway.Usage{maxBlank - 1: {Input: 26}, 4 * lookback: {}} {
			for _, gap := range []string{strings.Repeat(" ", blank) + ":", ":" + strings.Repeat(" ", blank)} {
				body := []byte(`{"x":"` + strings.Repeat("-", pad) + `","prompt_eval_count"` + gap + `26}`)
				one := readPieces(&m, ollama, "/api/chat", false, body)
				two := readPieces(&m, ollama, "/api/chat", false, body[:len(body)/2], body[len(body)/2:])
				if one.usage != want || one != two {
					t.Fatalf("%d bytes before a key with %d blanks: %+v, in two pieces %+v, want %+v", pad, blank, one, two, want)
				}
			}
		}
	}
	for pad := windowSize - maxUsage - 50; pad < windowSize-maxUsage+50; pad++ {
		f(pad, maxUsage-rest, gateway.Usage{Input: 26, Output: 298})
		f(pad, maxUsage-rest+1, gateway.Usage{})
	}
}

func TestMeterAllocations(t *testing.T) {
	r := recordings[0]
	body := r.body(t)
	var m Meter
	pass := func() {
		m.Reset(r.dialect, r.path, true)
		for i := 0; i < len(body); i += 100 {
			m.Write(body[i:min(len(body), i+100)])
		}
		m.Finish()
	}
	pass()
	if n := testing.AllocsPerRun(20, pass); n != 0 {
		t.Errorf("%v allocations for a stream with a used Meter", n)
	}
	// A stream whose pieces are whole events needs no window at all.
	var fresh Meter
	fresh.Reset(r.dialect, r.path, true)
	for event := range bytes.SplitAfterSeq(body, []byte("\n\n")) {
		fresh.Write(event)
	}
	if fresh.buf != nil || cap(fresh.form.around) > 512 {
		t.Errorf("holds %d and %d bytes", cap(fresh.buf), cap(fresh.form.around))
	}
}

func TestFinishTwice(t *testing.T) {
	var m Meter
	m.Reset(openAI, chatPath, true)
	m.Write([]byte(`data: {"choices":[{"delta":{"content":"a"}}]}`))
	first := resultOf(&m)
	if again := resultOf(&m); again != first || first.usage.Output != 1 {
		t.Errorf("%+v, then %+v", first, again)
	}
}
