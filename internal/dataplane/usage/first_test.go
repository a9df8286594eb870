package usage

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func TestFirstEventError(t *testing.T) {
	f := func(d gateway.Dialect, stream bool, piece, want string) {
		t.Helper()
		payload, ok := FirstEventError(d, stream, []byte(piece))
		if ok != (want != "") || ok && string(payload) != want {
			t.Errorf("%q: %q, %v, want %q", piece, payload, ok, want)
		}
	}
	const e = `{"error":{"code":429,"message":"no"}}`
	f(openAI, true, "", "")
	f(openAI, true, "\n", "")
	f(openAI, true, "data: "+e+"\n\n", e)
	f(openAI, true, "data: "+e, e)
	f(openAI, true, "data:"+e+"\r\n\r\n", e)
	f(openAI, true, ": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\nid: 7\ndata: "+e+"\n\ndata: [DONE]\n\n", e)
	f(openAI, true, e+"\n", e)
	f(openAI, true, "data: "+e[:len(e)-1], "")
	f(openAI, true, ": OPENROUTER PROCESSING\n\n", "")
	f(openAI, true, "data: {\"id\":1,\"choices\":[],\"error\":\"x\"}\n", `{"id":1,"choices":[],"error":"x"}`)
	f(openAI, true, "data: {\"error\":null}\n", "")
	f(openAI, true, "data: {\"error\":{}}\n", "")
	f(openAI, true, "data: {\"choices\":[{\"error\":{\"code\":1}}]}\n", "")
	f(openAI, true, "data: {\"type\":\"error\"}\n", "")
	f(openAI, true, "data: [DONE]\n", "")
	f(openAI, true, "data: {}\n\ndata: "+e+"\n\n", "")
	f(openAI, true, "event: error\ndata: {\"message\":\"no\"}\n", `{"message":"no"}`)
	f(openAI, true, "event: error\n\ndata: {\"message\":\"no\"}\n", "")
	f(openAI, true, "event: error\n", "")
	f(ollama, true, `{"error":"no"}`+"\n", `{"error":"no"}`)
	f(ollama, true, `{"message":{"content":"\"error\""},"done":false}`+"\n", "")
	f(gateway.DialectAnthropic, true, "event: error\ndata: {\"type\":\"error\"}\n", `{"type":"error"}`)
	f(gateway.DialectAnthropic, true, "event: ping\ndata: {\"type\":\"ping\"}\n", "")
	f(gateway.DialectResponses, true, "data: {\"type\":\"response.failed\",\"response\":{}}\n", `{"type":"response.failed","response":{}}`)
	f(gateway.DialectResponses, true, "data: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n", "")

	f(openAI, false, "\n  "+e+"\n", e)
	f(openAI, false, e[:len(e)-1], "")
	f(openAI, false, `{"id":1,"error":null}`, "")
	f(openAI, false, `{"error":null}`, "")
	f(gateway.DialectResponses, false, `{"id":1,"error":{"code":1}}`, "")
}

// What FirstEventError finds in a recording, the Meter finds too.
func TestFirstEventErrorOfRecordings(t *testing.T) {
	for _, r := range recordings {
		_, ok := FirstEventError(r.dialect, r.stream(), r.body(t))
		if want := strings.Contains(r.file, "error-first") || r.file == "openrouter-error.json"; ok != want {
			t.Errorf("%s: %v, want %v", r.file, ok, want)
		}
	}
}

func FuzzFirstEventError(f *testing.F) {
	for _, r := range recordings {
		f.Add(uint8(r.dialect), r.stream(), r.body(f))
	}
	f.Fuzz(func(t *testing.T, dialect uint8, stream bool, piece []byte) {
		before := bytes.Clone(piece)
		d := gateway.Dialect(dialect % 4)
		payload, ok := FirstEventError(d, stream, piece)
		if !bytes.Equal(before, piece) {
			t.Fatal("the piece was changed")
		}
		if ok && (!json.Valid(payload) || !bytes.Contains(piece, payload)) {
			t.Fatalf("%q is no event of the piece", payload)
		}
	})
}
