package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
)

// call is a call to the admin API with all that a client may say.
type call struct {
	method, path string
	kind         string // Content-Type
	body         io.Reader
	header       map[string]string
	anonymous    bool // without the admin token
}

// answered is an answer that was read to its end.
type answered struct {
	Status int
	Header http.Header
	Body   []byte
}

// Ask makes a call whose answer is looked through for the planted secrets.
func (i *Instance) Ask(ctx context.Context, c call) (answered, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, i.URL()+c.path, c.body)
	if err != nil {
		return answered{}, err
	}
	if c.kind != "" {
		req.Header.Set("Content-Type", c.kind)
	}
	if !c.anonymous {
		req.Header.Set("Authorization", "Bearer "+i.AdminToken())
	}
	for name, value := range c.header {
		req.Header.Set(name, value)
	}
	resp, err := patient.Do(req)
	if err != nil {
		return answered{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	out := answered{resp.StatusCode, resp.Header, body}
	if err == nil {
		for _, secret := range i.secrets.list() {
			if bytes.Contains(body, []byte(secret)) {
				err = fmt.Errorf("%s %s tells a secret of %d characters", c.method, c.path, len(secret))
			}
		}
	}
	return out, err
}

// patient is the client of calls that may take longer than a moment.
var patient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// want makes a call, expects a status and decodes the answer.
func want[T any](tb testing.TB, i *Instance, status int, c call) (out T) {
	tb.Helper()
	got, err := i.Ask(tb.Context(), c)
	if err != nil {
		tb.Fatalf("%s %s: %v", c.method, c.path, err)
	}
	if got.Status != status {
		tb.Fatalf("%s %s: %d, want %d: %.500s", c.method, c.path, got.Status, status, got.Body)
	}
	if err := json.Unmarshal(got.Body, &out); err != nil {
		tb.Fatalf("%s %s: %v in %.500s", c.method, c.path, err, got.Body)
	}
	return out
}

// get, post and their like are calls that must succeed.
func get[T any](tb testing.TB, i *Instance, path string) T {
	tb.Helper()
	return want[T](tb, i, http.StatusOK, call{method: http.MethodGet, path: path})
}

func post[T any](tb testing.TB, i *Instance, path string, body any) T {
	tb.Helper()
	return want[T](tb, i, http.StatusOK, withJSON(http.MethodPost, path, body))
}

// withJSON is a call with a body in JSON, or with none.
func withJSON(method, path string, body any) call {
	if body == nil {
		return call{method: method, path: path}
	}
	b, err := json.Marshal(body)
	if err != nil {
		panic(err) // a test's own maps always encode
	}
	return call{method: method, path: path, kind: "application/json", body: bytes.NewReader(b)}
}

func withText(path, text string) call {
	return call{method: http.MethodPost, path: path, kind: "text/plain", body: strings.NewReader(text)}
}

func withForm(path, name, text string) call {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	file, err := form.CreateFormFile("file", name)
	if err == nil {
		_, err = io.WriteString(file, text)
	}
	if err == nil {
		err = form.Close()
	}
	if err != nil {
		panic(err) // nothing can go wrong in memory
	}
	return call{method: http.MethodPost, path: path, kind: form.FormDataContentType(), body: &b}
}

// event is a server-sent event.
type event struct {
	Name string
	Data json.RawMessage
}

// events reads a stream of events to its end.
func events(tb testing.TB, i *Instance, c call) (all []event) {
	tb.Helper()
	c.header = map[string]string{"Accept": "text/event-stream"}
	got, err := i.Ask(tb.Context(), c)
	if err != nil || got.Status != http.StatusOK || got.Header.Get("Content-Type") != "text/event-stream" {
		tb.Fatalf("%s %s: %d %v %v %.500s", c.method, c.path, got.Status, err, got.Header, got.Body)
	}
	var e event
	lines := bufio.NewScanner(bytes.NewReader(got.Body))
	lines.Buffer(nil, len(got.Body)+1)
	for lines.Scan() {
		switch name, value, _ := strings.Cut(lines.Text(), ": "); name {
		case "event":
			e.Name = value
		case "data":
			e.Data = json.RawMessage(value)
		case "":
			if e.Name != "" {
				all = append(all, e)
			}
			e = event{}
		}
	}
	return all
}

// last expects that a stream ended with a result, and decodes it.
func last[T any](tb testing.TB, all []event) (out T) {
	tb.Helper()
	if len(all) == 0 || all[len(all)-1].Name != "result" {
		tb.Fatalf("the stream does not end with a result: %.500s", fmt.Sprint(all))
	}
	if err := json.Unmarshal(all[len(all)-1].Data, &out); err != nil {
		tb.Fatal(err)
	}
	return out
}

// said fails the test unless the log has a text.
func (i *Instance) said(text string) {
	i.tb.Helper()
	if !strings.Contains(i.Err.String(), text) {
		i.tb.Errorf("the log does not say %q", text)
	}
}
