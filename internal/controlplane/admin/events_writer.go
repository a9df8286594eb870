package admin

import (
	"bytes"
	"net/http"
	"strconv"
	"time"
)

// writeWithin is how long a viewer may take to read what was sent. One that
// has stopped reading is let go.
const writeWithin = 10 * time.Second

// noCursor is the id of events while the request log is empty.
const noCursor = "0"

// eventWriter writes server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). They are
// gathered until flush. It belongs to one request.
type eventWriter struct {
	w      http.ResponseWriter
	to     *http.ResponseController
	buf    bytes.Buffer
	sentAt time.Time
}

func newEventWriter(w http.ResponseWriter) *eventWriter {
	h := w.Header()
	h.Set("Content-Type", eventType)
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	return &eventWriter{w: w, to: http.NewResponseController(w)}
}

// begin tells when to come back after the stream has ended.
func (e *eventWriter) begin() {
	e.buf.WriteString("retry: " + strconv.FormatInt(comeBack.Milliseconds(), 10) + "\n\n")
}

// event adds an event. The data is JSON, which has no line breaks.
func (e *eventWriter) event(name, id string, data []byte) {
	if id == "" {
		id = noCursor
	}
	e.buf.WriteString("id: " + id + "\nevent: " + name + "\ndata: ")
	e.buf.Write(data)
	e.buf.WriteString("\n\n")
}

// keepAlive adds a comment if nothing was sent for a while.
func (e *eventWriter) keepAlive() {
	if e.buf.Len() == 0 && time.Since(e.sentAt) >= keepAlive {
		e.buf.WriteString(": still here\n\n")
	}
}

// flush sends what was gathered.
func (e *eventWriter) flush() error {
	if e.buf.Len() == 0 {
		return nil
	}
	e.sentAt = time.Now()
	_ = e.to.SetWriteDeadline(e.sentAt.Add(writeWithin)) // where there is none a viewer may take its time
	_, err := e.w.Write(e.buf.Bytes())
	e.buf.Reset()
	if err == nil {
		err = e.to.Flush()
	}
	_ = e.to.SetWriteDeadline(time.Time{})
	return err
}
