package selftest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// streamForm is how an answer comes in parts.
type streamForm uint8

const (
	eventStream streamForm = iota // server-sent events, the last one [DONE]
	jsonLines                     // lines of JSON, the last one with "done":true
)

// heard is what a stream said.
type heard struct {
	events  int
	bursts  int // groups of events of which each came together
	text    part
	done    bool          // the last word came
	trouble string        // an error that the stream told
	first   time.Duration // from the request to the first event
	last    time.Duration // to the last one
	all     time.Duration // from the request to the end
}

// listen makes a request and reads the stream that answers it.
func (r *run) listen(ctx context.Context, c call, form streamForm) (*heard, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	began := time.Now()
	resp, err := r.send(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		a, err := r.whole(c, resp)
		if err != nil {
			return nil, err
		}
		return nil, a.refusal()
	}
	kind, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if form == eventStream && kind != "text/event-stream" {
		return nil, &fault{cause: fmt.Sprintf("%s gives %q where a stream was asked for", c.path, kind), cure: "Does a proxy in front change the answers?", status: http.StatusOK}
	}
	h, err := readStream(resp.Body, form, func() time.Duration { return time.Since(began) })
	if err != nil {
		f := r.unreachable(c, err)
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			f.cause = fmt.Sprintf("%s: the stream broke off after %s and %v: %v", c.path, plural(h.events, "event"), h.all.Round(time.Millisecond), err)
			f.cure = cureCut
		}
		if h.trouble != "" {
			f.cause += fmt.Sprintf("; it said %q", h.trouble)
		}
		return nil, f
	}
	return h, nil
}

const cureCut = "Did the upstream break it ('requests' tells), or a proxy in front that allows answers too little time (nginx: proxy_read_timeout)?"

// readStream reads a stream to its end; since tells how long ago the request
// was made.
func readStream(body io.Reader, form streamForm, since func() time.Duration) (*heard, error) {
	h := &heard{}
	in := bufio.NewReader(io.LimitReader(body, maxStream))
	for {
		line, err := in.ReadBytes('\n')
		if whole := err == nil || form == jsonLines; whole {
			h.line(bytes.TrimSpace(line), form, since)
		}
		if err != nil {
			h.all = since()
			if errors.Is(err, io.EOF) {
				return h, nil
			}
			return h, err
		}
	}
}

// line takes in a line of a stream.
func (h *heard) line(line []byte, form streamForm, since func() time.Duration) {
	if form == eventStream {
		field, value, found := bytes.Cut(line, []byte(":"))
		if !found || string(field) != "data" {
			return // a comment, a name, the end of an event
		}
		if line = bytes.TrimSpace(value); string(line) == "[DONE]" {
			h.done = true
			return
		}
	}
	var v struct {
		Choices []struct {
			Delta part `json:"delta"`
		} `json:"choices"`
		Message part `json:"message"`
		Done    bool `json:"done"`
	}
	if len(line) == 0 || json.Unmarshal(line, &v) != nil {
		return
	}
	if s := words(line); s.Message != "" {
		h.trouble = s.Message
	}
	now := since()
	if h.events++; h.events == 1 {
		h.first = now
	}
	if h.events == 1 || now-h.last > together {
		h.bursts++
	}
	h.last = now
	h.done = h.done || form == jsonLines && v.Done
	parts := []part{v.Message}
	for _, c := range v.Choices {
		parts = append(parts, c.Delta)
	}
	for _, p := range parts {
		h.text.Content += p.Content
		h.text.Thinking += p.thought()
	}
}

// When a stream is suspected to have been held back: it took so long, had so
// many events, and of those so many came together in each burst.
const (
	suspectTime   = 2 * time.Second
	suspectEvents = 20
	suspectBurst  = 5
	together      = 500 * time.Microsecond // less than this is between events of one burst
)

// outcome says what a stream was like.
func (h *heard) outcome(path string) (outcome, error) {
	switch {
	case h.trouble != "":
		return outcome{}, &fault{cause: fmt.Sprintf("%s: the stream says %q", path, h.trouble), cure: "'requests' tells what the upstream did.", status: http.StatusOK}
	case !h.done:
		return outcome{}, &fault{cause: fmt.Sprintf("%s: the stream ends after %s without its last word", path, plural(h.events, "event")), cure: cureCut, status: http.StatusOK}
	case h.events < 2:
		return outcome{}, &fault{cause: path + " gives its whole answer at once where a stream was asked for", cure: "Name another model with --model. If it stays so, does a proxy in front change the answers?", status: http.StatusOK}
	}
	out, err := h.text.outcome(path)
	out.seen = fmt.Sprintf("%s, the first after %v: %s", plural(h.events, "event"), h.first.Round(time.Millisecond), out.seen)
	if h.all > suspectTime && h.events >= suspectEvents && h.bursts*suspectBurst <= h.events {
		out.note = fmt.Sprintf("The events came in %s: does a proxy in front hold them back (nginx: proxy_buffering off)?", plural(h.bursts, "burst"))
	}
	return out, err
}
