package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// longestEvent is the length of one line of a stream of events at most, in
// bytes.
const longestEvent = maxAnswer

// readEvents reads server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html): progress is
// called with the data of each event of that name, and the data of the result
// is returned. An event that is called error is the error that it tells.
func readEvents(r io.Reader, progress func(data []byte)) ([]byte, error) {
	in := bufio.NewReader(&io.LimitedReader{R: r, N: longestEvent})
	name := ""
	var data []byte
	for {
		line, err := in.ReadBytes('\n')
		line = bytes.TrimRight(line, "\r\n")
		switch field, value, _ := bytes.Cut(line, []byte(":")); {
		case err != nil:
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		case string(field) == "event":
			name = string(bytes.TrimSpace(value))
		case string(field) == "data":
			data = append(data, bytes.TrimPrefix(value, []byte(" "))...)
		case len(line) > 0: // a comment, or a field that means nothing here
		case name == "result":
			return data, nil
		case name == "error":
			return nil, toldError(data)
		default:
			if name == "progress" {
				progress(data)
			}
			name, data = "", data[:0]
		}
	}
}

// toldError is the error that an event tells.
func toldError(data []byte) error {
	var told struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(data, &told) != nil || told.Error.Message == "" {
		return errors.New("it failed, and does not say why")
	}
	return errors.New(printable(told.Error.Message))
}

// step is how far a check or an import is.
type step struct {
	Done         int    `json:"done"`
	Total        int    `json:"total"`
	Healthy      int    `json:"healthy"`
	Unhealthy    int    `json:"unhealthy"`
	Valid        int    `json:"valid"`
	Invalid      int    `json:"invalid"`
	Inconclusive int    `json:"inconclusive"`
	Waiting      string `json:"waiting"`
}

// line is the step for people.
func (s step) line() string {
	good, bad := s.Healthy+s.Valid, s.Unhealthy+s.Invalid
	return fmt.Sprintf("%s %d of %d keys: %d good, %d refused, %d unclear", bar(s.Done, s.Total), s.Done, s.Total, good, bad, s.Inconclusive) + waits(s.Waiting)
}

// waits is the end of a line about something that waits.
func waits(why string) string {
	if why == "" {
		return ""
	}
	return "; waiting: " + printable(why)
}

// barWidth is the length of a progress bar, in characters.
const barWidth = 20

// bar is a progress bar.
func bar(done, total int) string {
	full := 0
	if total > 0 {
		full = min(max(done, 0), total) * barWidth / total
	}
	return "[" + string(bytes.Repeat([]byte("#"), full)) + string(bytes.Repeat([]byte("."), barWidth-full)) + "]"
}
