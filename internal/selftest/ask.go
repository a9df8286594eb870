package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// Bounds of what is read.
const (
	maxAnswer = 16 << 20 // bytes of a whole answer; OpenRouter's model list has about one MiB
	maxStream = 16 << 20 // bytes of a stream
)

// wrongToken looks like a token and is none.
const wrongToken = "sk-selftest-this-token-is-wrong"

// credential is what a request shows of itself.
type credential uint8

const (
	asNobody    credential = iota
	asClient               // the token as Authorization: Bearer
	asAnthropic            // the token as x-api-key
	asImpostor             // a token that is not valid
	asAdmin                // the admin token
)

// call is one request.
type call struct {
	path string
	as   credential
	body any // sent as JSON with POST; nil: a GET
}

// answer is a whole answer.
type answer struct {
	call   call
	status int
	header http.Header
	body   []byte
}

// ask makes a request and reads its answer, whatever its status is.
func (r *run) ask(ctx context.Context, c call) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	resp, err := r.send(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return r.whole(c, resp)
}

// whole reads an answer to its end.
func (r *run) whole(c call, resp *http.Response) (*answer, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, r.unreachable(c, fmt.Errorf("status %d, and the body broke off: %w", resp.StatusCode, err))
	}
	return &answer{c, resp.StatusCode, resp.Header, body}, nil
}

// wanted makes a request that must be answered with 200.
func (r *run) wanted(ctx context.Context, c call) (*answer, error) {
	a, err := r.ask(ctx, c)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, a.refusal()
	}
	return a, nil
}

// send makes a request; the body of its answer is to be closed.
func (r *run) send(ctx context.Context, c call) (*http.Response, error) {
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if c.body != nil {
		text, err := json.Marshal(c.body)
		if err != nil {
			return nil, fmt.Errorf("encode a request: %w", err)
		}
		method, body = http.MethodPost, bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.URL+c.path, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.path, err)
	}
	req.Header.Set("User-Agent", r.Agent)
	req.Header.Set("Cache-Control", "no-cache") // the answers of others prove nothing
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch c.as {
	case asClient:
		req.Header.Set("Authorization", "Bearer "+r.Token.Reveal())
	case asAnthropic:
		req.Header.Set("x-api-key", r.Token.Reveal())
		req.Header.Set("anthropic-version", "2023-06-01")
	case asImpostor:
		req.Header.Set("Authorization", "Bearer "+wrongToken)
	case asAdmin:
		req.Header.Set("Authorization", "Bearer "+r.AdminToken.Reveal())
	case asNobody:
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, r.unreachable(c, err)
	}
	return resp, nil
}

// decode reads an answer as JSON.
func decode[T any](a *answer) (v T, err error) {
	if err := json.Unmarshal(a.body, &v); err != nil {
		return v, &fault{
			cause: fmt.Sprintf("%s is not answered as it should be: %s", a.call.path, a.excerpt()), status: a.status,
			cure: "Does a proxy in front change the answers, or does it send this address elsewhere?",
		}
	}
	return v, nil
}

// said is the error that an answer tells, in any dialect.
type said struct {
	Type    string // of Anthropic's whole answer
	Message string
	Kind    string // the error's type
	Code    string
}

// words reads the error that an answer tells; nothing where it tells none.
func words(body []byte) said {
	var outer struct {
		Type  string          `json:"type"`
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &outer) != nil || len(outer.Error) == 0 {
		return said{}
	}
	out := said{Type: outer.Type}
	if json.Unmarshal(outer.Error, &out.Message) == nil {
		return out
	}
	var inner struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    any    `json:"code"` // OpenRouter's is a number
	}
	if json.Unmarshal(outer.Error, &inner) != nil {
		return said{}
	}
	out.Message, out.Kind = inner.Message, inner.Type
	out.Code, _ = inner.Code.(string)
	return out
}

// excerpt says in a few words what an answer is.
func (a *answer) excerpt() string {
	if s := words(a.body); s.Message != "" {
		return fmt.Sprintf("%d, %q", a.status, s.Message)
	}
	kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	text := strings.Join(strings.Fields(string(a.body)), " ")
	if text == "" {
		return fmt.Sprintf("%d without a body", a.status)
	}
	return fmt.Sprintf("%d %s, %q", a.status, kind, gateway.Clip(text, 100))
}
