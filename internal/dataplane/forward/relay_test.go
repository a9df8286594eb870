package forward

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

var dialects = []gateway.Dialect{gateway.DialectOpenAI, gateway.DialectResponses, gateway.DialectAnthropic, gateway.DialectOllama}

// lastEvent reads a stream as its clients do and returns the JSON of the last
// event and its name.
func lastEvent(d gateway.Dialect, stream []byte) (name, data string) {
	if d == gateway.DialectOllama {
		lines := bytes.Split(stream, []byte("\n"))
		return "", string(lines[max(0, len(lines)-2)])
	}
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(stream))
	var event, parts string
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if parts != "" {
				name, data = event, strings.TrimSuffix(parts, "\n")
			}
			event, parts = "", ""
		case field == "event":
			event = value
		case field == "data":
			parts += value + "\n"
		}
	}
	return name, data
}

func checkBreakEvent(t *testing.T, d gateway.Dialect, before []byte) {
	t.Helper()
	var tail [2]byte
	copy(tail[max(0, 2-len(before)):], before[max(0, len(before)-2):])
	whole := append(bytes.Clone(before), breakEvent(d, tail, int64(len(before)), "the upstream's \"answer\"")...)
	name, data := lastEvent(d, whole)
	var e struct {
		Type      string
		Message   string
		Retryable bool
		Error     json.RawMessage
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil || len(e.Error) == 0 || !strings.Contains(data, `the upstream's \"answer\"`) {
		t.Fatalf("after %q the last event of dialect %d is %q (%v)", before, d, data, err)
	}
	wantName := map[gateway.Dialect]string{gateway.DialectAnthropic: "error", gateway.DialectResponses: "error"}[d]
	wantType := wantName
	if name != wantName || e.Type != wantType {
		t.Fatalf("after %q: event %q of type %q", before, name, e.Type)
	}
	var nested struct{ Retryable bool }
	if d != gateway.DialectOllama {
		_ = json.Unmarshal(e.Error, &nested) // it is an object, see below
	}
	if e.Retryable != (d == gateway.DialectOllama) || nested.Retryable == e.Retryable {
		t.Fatalf("after %q trying again is not said to help: %s", before, data)
	}
	if object := e.Error[0] == '{'; object == (d == gateway.DialectOllama) {
		t.Fatalf("dialect %d: %s", d, e.Error)
	}
}

func TestBreakEvent(t *testing.T) {
	for _, d := range dialects {
		for _, before := range []string{
			"", "\n", "d", "data: {\"a\"", "data: {}\n", "data: {}\r\n", "data: {}\n\n", "data: {}\r\n\r\n", "data: {}\r", "event: x\n",
			"event: x\ndata: {}", ": comment", "{\"done\":false}\n", "{\"done\"",
		} {
			checkBreakEvent(t, d, []byte(before))
		}
	}
}

func FuzzBreakEvent(f *testing.F) {
	f.Add(uint8(0), []byte("data: {\"a\""))
	f.Add(uint8(1), []byte("event: x\r\ndata: {}\r\n"))
	f.Add(uint8(2), []byte("event: x\rdata: y\r"))
	f.Add(uint8(3), []byte("{}\n{"))
	f.Fuzz(func(t *testing.T, d uint8, before []byte) {
		checkBreakEvent(t, dialects[int(d)%len(dialects)], before)
	})
}

// spy is a ResponseWriter that notes when what was sent.
type spy struct {
	*httptest.ResponseRecorder
	flushes int
}

func (s *spy) Flush() { s.flushes++ }

// headOf is an answer whose head has come.
func headOf(contentType string) *answer {
	return &answer{resp: &http.Response{StatusCode: 200, ContentLength: -1, Header: http.Header{"Content-Type": {contentType}}}}
}

// What has come is held back for headGrace, not longer, and not sent once the
// request's own goroutine has taken over.
func TestHeadGrace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		f     func(to *relay, a *answer)
		begun bool
		body  string
	}{
		{"not yet", func(to *relay, a *answer) { to.expect(a); time.Sleep(headGrace - 1) }, false, ""},
		{"then", func(to *relay, a *answer) { to.expect(a); time.Sleep(headGrace) }, true, ""},
		{"with what has come", func(to *relay, a *answer) {
			to.keep(a, []byte("ab"))
			to.expect(a)
			time.Sleep(headGrace / 2)
			to.keep(a, []byte("abc"))
			to.expect(a)
			time.Sleep(headGrace / 2)
		}, true, "abc"},
		{"held", func(to *relay, a *answer) { to.expect(a); to.hold(); time.Sleep(time.Hour) }, false, ""},
		{"for the second answer", func(to *relay, a *answer) {
			to.expect(headOf("text/plain"))
			time.Sleep(headGrace / 2)
			to.hold()
			to.expect(a)
			time.Sleep(headGrace - 1)
		}, false, ""},
		{"of the second answer", func(to *relay, a *answer) {
			to.expect(headOf("text/plain"))
			to.hold()
			to.expect(a)
			time.Sleep(headGrace)
		}, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &spy{ResponseRecorder: httptest.NewRecorder()}
				x := &gateway.Exchange{Record: gateway.Record{StartedAt: time.Now()}}
				to := newRelay(w, x, &Options{Now: time.Now, HeadGrace: headGrace})
				a := headOf("text/event-stream")
				tt.f(to, a)
				synctest.Wait()
				to.close()
				if to.begun() != tt.begun || (w.flushes > 0) != tt.begun || w.Body.String() != tt.body || a.sent != len(tt.body) {
					t.Errorf("begun %v, %d flushes, %q, sent %d", to.begun(), w.flushes, w.Body, a.sent)
				}
				if tt.begun && (w.Header().Get("Content-Type") != "text/event-stream" || x.Record.FirstByte < headGrace) {
					t.Errorf("%v after %v", w.Header(), x.Record.FirstByte)
				}
				time.Sleep(time.Hour) // nothing is sent after the end
				if w.flushes > 1 {
					t.Errorf("%d flushes", w.flushes)
				}
			})
		})
	}
}

// The timer and the request's goroutine never write at the same time, and
// every byte is sent once, whoever is first.
func TestHeadGraceRace(t *testing.T) {
	for range 200 {
		w := &spy{ResponseRecorder: httptest.NewRecorder()}
		x := &gateway.Exchange{}
		to := newRelay(w, x, &Options{Now: time.Now, HeadGrace: headGrace})
		a := headOf("text/event-stream")
		to.expect(a)
		to.timer.Reset(0) // at once, that is: now or a little later
		to.keep(a, []byte("ab"))
		to.hold()
		if !to.begun() {
			to.writeHead(a)
		}
		if err := to.write(a.first[a.sent:], true); err != nil {
			t.Fatal(err)
		}
		if w.Body.String() != "ab" || x.Record.Status != 200 {
			t.Fatalf("%d %q", x.Record.Status, w.Body)
		}
		to.close()
	}
}

func TestIsStream(t *testing.T) {
	for contentType, want := range map[string]bool{
		"text/event-stream": true, "text/event-stream; charset=utf-8": true, "Text/Event-Stream ;x": true, "application/x-ndjson": true,
		"application/json": false, "": false, "text/event-streams": false, "text/plain": false, "application/x-ndjson-seq": false,
	} {
		if isStream(contentType) != want {
			t.Errorf("%q: %v", contentType, !want)
		}
	}
}

func TestPauseFor(t *testing.T) {
	for n, most := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000, 1000} {
		most *= time.Millisecond
		for range 100 {
			if d := pauseFor(n); d < most/2 || d > most {
				t.Fatalf("pause %d: %v", n, d)
			}
		}
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := pause(t.Context(), time.Second); err != nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
