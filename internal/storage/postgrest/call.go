package postgrest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// sent is a statement as it is sent, with its values in it.
type sent struct {
	text  string
	args  json.RawMessage // a list, null where there are none
	query bool
	reads bool // it changes nothing
	loose bool // it does not look into any table either, so that its result is nobody's business
	sum   digest

	was    *result // what it gave when the transaction was tried before; nil: it is not known
	ran    bool    // in a call, which gave the result
	known  bool    // the result was given out
	guess  bool    // and was guessed
	result result  // what was given out, or would be
}

// want is the digest that the result must have, "" for any.
func (s *sent) want() string {
	if !s.known || s.loose {
		return ""
	}
	return s.result.Digest
}

// result is what a statement did.
type result struct {
	Count  int64           `json:"n"`
	Digest string          `json:"d"`
	Types  []string        `json:"t"`
	Rows   json.RawMessage `json:"r"`
}

// request is the argument of both functions, see function.sql.
type request struct {
	Texts    []string `json:"texts"`
	Run      []step   `json:"run"`
	Earlier  []step   `json:"earlier,omitempty"`
	Lock     *int64   `json:"lock,omitempty"`
	Commit   bool     `json:"commit,omitempty"`
	Snapshot string   `json:"snapshot,omitempty"`

	places map[string]int // of texts
}

type step struct {
	Text  int             `json:"s"`
	Args  json.RawMessage `json:"a,omitempty"`
	Query bool            `json:"q,omitempty"`
	Want  string          `json:"want,omitempty"`
}

// step makes the step of a statement. A text that several have is sent once.
func (r *request) step(s *sent) step {
	place, there := r.places[s.text]
	if !there {
		if r.places == nil {
			r.places = map[string]int{}
		}
		place = len(r.Texts)
		r.places[s.text] = place
		r.Texts = append(r.Texts, s.text)
	}
	return step{Text: place, Args: s.args, Query: s.query, Want: s.want()}
}

// answer is what both functions give.
type answer struct {
	Form     int      `json:"form"`
	Done     bool     `json:"done"`
	Same     bool     `json:"same"`
	Snapshot string   `json:"snapshot"`
	Results  []result `json:"results"`
}

// form numbers what the functions take and give. A version of the program that
// needs other functions has another.
const form = 1

// maxAnswer bounds an answer: a hundred times what a hundred thousand keys are.
const maxAnswer = 1 << 30

var errAnswer = errors.New("the answer is none of the function's")

// call calls one of the functions.
func (c *Connector) call(ctx context.Context, name string, r *request) (a answer, err error) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]any{"request": r}); err != nil {
		return a, fmt.Errorf("write a call of %s: %w", name, err)
	}
	status, text, err := c.post(ctx, name, body.Bytes(), !r.Commit)
	if err != nil {
		return a, err
	}
	if status != http.StatusOK {
		return a, c.refusal(name, status, text)
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return a, c.unread(name, status, text)
	}
	for i := range a.Results {
		if r := &a.Results[i]; string(r.Rows) == "null" {
			r.Rows = nil
		}
	}
	if a.Form != form || a.Same && len(a.Results) != len(r.Run) {
		return a, &Error{Status: status, Function: name, Err: errAnswer, Cause: "the function in the database gives other answers than this version reads", Cure: scriptCure}
	}
	return a, nil
}

// post sends a body and reads the whole answer. Until the answer begins there is
// a time limit, and another one for its end. What changes nothing may be sent
// again, on another connection, where one that was idle turns out to be dead.
func (c *Connector) post(ctx context.Context, name string, body []byte, again bool) (status int, text []byte, err error) {
	limit := c.timeout
	if len(body) >= largeBody {
		limit *= largeTimes
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(limit, func() { cancel(errLate) })
	defer late.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.address+name, bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("call %s: %w", name, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("apikey", c.key.Reveal())
	req.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	req.Header.Set("User-Agent", c.agent)
	if again {
		req.Header["Idempotency-Key"] = nil // tells the transport, and is not sent, see http.Transport
	}
	res, err := c.client.Do(req)
	if err != nil {
		return 0, nil, c.broken(ctx, name, err)
	}
	defer func() { _ = res.Body.Close() }()
	late.Reset(c.timeout * largeTimes)
	text, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return 0, nil, c.broken(ctx, name, err)
	}
	return res.StatusCode, text, nil
}
