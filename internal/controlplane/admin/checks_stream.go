package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"ollama-api-pool/internal/controlplane/jobs"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// How often a stream tells how far a job is, and after how long without news
// it says that it is still there.
const (
	progressEvery = 500 * time.Millisecond
	stillHere     = 15 * time.Second
)

// following is what a caller gets to see of a job that he waits for.
type following struct {
	progress func(*gateway.Job) any                              // for the stream
	result   func(out *bufio.Writer, j *gateway.Job) error       // what the job came to, as JSON in one line
	fault    func(j *gateway.Job) (nothingToShow *gateway.Error) // of a job that did not get to its end; may be nil
}

// follow waits for a job and answers with what it came to, and before that, if
// the caller asked for a stream of events, with how far it is. A caller that
// leaves is no error: the job goes on.
func (a *API) follow(w http.ResponseWriter, r *http.Request, id string, f following) error {
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		return a.stream(w, r, id, f)
	}
	job, err := a.jobs.Await(r.Context(), id, 0, nil)
	if err != nil {
		return goneOr(err)
	}
	if e := f.fails(&job); e != nil {
		return e
	}
	w.Header().Set("Content-Type", "application/json")
	out := newPatientWriter(w)
	if err := f.result(out, &job); err != nil {
		return err
	}
	_, _ = out.WriteString("\n") // a client that has gone is no error
	_ = out.Flush()
	return nil
}

// goneOr passes over that the caller left.
func goneOr(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// fails says why there is nothing to show of a job.
func (f *following) fails(j *gateway.Job) *gateway.Error {
	switch {
	case j.State == gateway.JobDone:
		return nil
	case j.State == gateway.JobFailed && j.Error == jobs.Fault:
		return &gateway.Error{Kind: gateway.KindInternal, Message: j.Error, Cause: fmt.Errorf("job %s failed", j.ID)}
	case f.fault == nil:
		return nil
	}
	return f.fault(j)
}

// newPatientWriter gives a client time for each part of an answer.
func newPatientWriter(w http.ResponseWriter) *bufio.Writer {
	return bufio.NewWriterSize(&patient{w, http.NewResponseController(w)}, 32<<10)
}

// stream answers with events.
func (a *API) stream(w http.ResponseWriter, r *http.Request, id string, f following) error {
	wait := http.NewResponseController(w)
	defer func() { _ = wait.SetWriteDeadline(time.Time{}) }()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // of nginx in front
	s := &eventStream{out: newPatientWriter(w), flush: wait.Flush}
	first, err := a.jobs.Job(r.Context(), id)
	if err != nil {
		return err
	}
	s.tell("progress", f.progress(&first))
	job, err := a.jobs.Await(r.Context(), id, progressEvery, func(j gateway.Job) { s.tell("progress", f.progress(&j)) })
	if err != nil {
		return goneOr(err)
	}
	s.tell("progress", f.progress(&job))
	if e := f.fails(&job); e != nil {
		s.tell("error", streamError(e))
		return nil
	}
	s.begin("result")
	if err := f.result(s.out, &job); err != nil {
		return err
	}
	s.end()
	return nil
}

// streamError is an error in the form of other answers.
func streamError(e *gateway.Error) any {
	var out errorAnswer
	out.Error.Message, out.Error.Type = e.Message, httpkit.ErrorType(gateway.DialectOpenAI, e.Kind)
	out.Error.Code = out.Error.Type
	return out
}

// eventStream writes server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). What fails
// because the client has gone shows in the request's context.
type eventStream struct {
	out   *bufio.Writer
	flush func() error
	last  []byte // the data of the last event
	at    time.Time
}

// tell sends an event unless it says the same as the one before.
func (s *eventStream) tell(name string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		return // these structs always encode
	}
	if name == "progress" && bytes.Equal(data, s.last) {
		if time.Since(s.at) >= stillHere {
			_, _ = s.out.WriteString(": still here")
			s.end()
		}
		return
	}
	s.last = data
	s.begin(name)
	_, _ = s.out.Write(data)
	s.end()
}

func (s *eventStream) begin(name string) { _, _ = s.out.WriteString("event: " + name + "\ndata: ") }

func (s *eventStream) end() {
	s.at = time.Now()
	_, _ = s.out.WriteString("\n\n")
	_ = s.out.Flush()
	_ = s.flush()
}

// longList is a list of an answer that is too long to be made as a whole.
type longList struct {
	name string
	n    int
	item func(i int) any // nil: left out
}

// writeLists writes a JSON object, in one line: long lists, and then the fields
// of a struct that has at least one.
func writeLists(out *bufio.Writer, rest any, lists ...longList) error {
	_ = out.WriteByte('{')
	for _, l := range lists {
		_, _ = fmt.Fprintf(out, "%q:[", l.name)
		comma := false
		for i := range l.n {
			item := l.item(i)
			if item == nil {
				continue
			}
			b, err := json.Marshal(item)
			if err != nil {
				return fmt.Errorf("encode the answer: %w", err)
			}
			if comma {
				_ = out.WriteByte(',')
			}
			comma = true
			if _, err := out.Write(b); err != nil {
				return nil //nolint:nilerr // the client has gone
			}
		}
		_, _ = out.WriteString("],")
	}
	b, err := json.Marshal(rest)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	_, _ = out.Write(b[1:])
	return nil
}
