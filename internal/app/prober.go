package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"

	"ollama-api-pool/internal/controlplane/check"
	"ollama-api-pool/internal/dataplane/provider"
	"ollama-api-pool/internal/gateway"
)

// Bounds of one question to an upstream.
const (
	probeTimeout = 15 * time.Second
	probeTries   = 2        // where there is no answer at all
	maxProbeBody = 64 << 10 // what is read of an answer
	maxModelList = 4 << 20  // how far into a list of models its first one is looked for
	maxModelName = 200
)

// prober asks one upstream whether keys are good. That spends no tokens. It may
// be used concurrently.
type prober struct {
	adapter   *provider.Adapter
	transport http.RoundTripper
	timeout   time.Duration // of one question
	now       func() time.Time
}

// probe checks one key. Whatever goes wrong on the way is inconclusive.
func (p *prober) probe(ctx context.Context, secret gateway.Secret) gateway.CheckResult {
	began := p.now()
	out := gateway.CheckResult{Key: gateway.IDOfKey(secret)}
	for range probeTries {
		if p.ask(ctx, secret, &out); out.Status != 0 || ctx.Err() != nil {
			break
		}
	}
	out.At = p.now()
	out.Latency = out.At.Sub(began)
	if out.Outcome == gateway.CheckValid {
		out.Model, out.Category = p.family(ctx, secret)
	}
	return out
}

// ask puts the question and notes what the answer shows.
func (p *prober) ask(ctx context.Context, secret gateway.Secret, out *gateway.CheckResult) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	method, path, body := p.adapter.Probe()
	res, err := p.send(ctx, method, path, body, secret)
	if err != nil {
		out.Reason = p.adapter.JudgeError(err, errors.Is(ctx.Err(), context.DeadlineExceeded)).Reason
		return
	}
	defer func() { _ = res.Body.Close() }()
	head, _ := io.ReadAll(io.LimitReader(res.Body, maxProbeBody)) // what came of a broken answer must do
	out.Status = res.StatusCode
	if isWebPage(res.Header.Get("Content-Type"), head) {
		out.Reason = fmt.Sprintf("a web page instead of an answer (status %d)", res.StatusCode)
		return
	}
	switch p.adapter.ProbeVerdict(res.StatusCode, head) {
	case provider.Valid:
		out.Outcome, out.Reason = gateway.CheckValid, ""
	case provider.Invalid:
		verdict := p.adapter.Judge(provider.Answer{Status: res.StatusCode, Header: res.Header, Body: head, Now: p.now()})
		out.Outcome, out.Reason = gateway.CheckRefused, verdict.Reason
	default:
		out.Reason = fmt.Sprintf("status %d says nothing about the key", res.StatusCode)
	}
}

func (p *prober) send(ctx context.Context, method, path string, body []byte, secret gateway.Secret) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, p.adapter.URL(path, "").String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	own := http.Header{"Accept": {"application/json"}}
	if len(body) > 0 {
		own["Content-Type"] = []string{"application/json"}
	}
	p.adapter.SetHeaders(req.Header, own, "Bearer "+secret.Reveal())
	return p.transport.RoundTrip(req)
}

// isWebPage tells a page, such as a proxy's, from an answer of the API.
func isWebPage(contentType string, body []byte) bool {
	if body = bytes.TrimLeft(body, " \t\r\n"); len(body) > 0 {
		switch body[0] {
		case '{', '[':
			return false
		case '<':
			return true
		}
	}
	media, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/html")
}

// modelLists are the addresses of the lists of models.
var modelLists = map[gateway.ProviderName]string{gateway.Ollama: "/api/tags", gateway.OpenRouter: "/v1/models"}

// family finds the first model that the upstream lists for a key, and what
// family it is of; "" while the list cannot be had.
func (p *prober) family(ctx context.Context, secret gateway.Secret) (model, category string) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	res, err := p.send(ctx, http.MethodGet, modelLists[p.adapter.Name], nil, secret)
	if err != nil {
		return "", ""
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return "", ""
	}
	model, ok := firstModel(io.LimitReader(res.Body, maxModelList))
	if !ok {
		return "", ""
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxProbeBody) // a short rest, so that the connection can be used again
	return model, check.Family(model)
}

// firstModel reads the name of the first model from a list as Ollama or OpenAI
// would write it. The name is "" if the list is empty; false means that there
// is no list.
func firstModel(r io.Reader) (name string, ok bool) {
	dec := json.NewDecoder(r)
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return "", false
	}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return "", false
		}
		if t != "models" && t != "data" {
			var other json.RawMessage
			if err := dec.Decode(&other); err != nil {
				return "", false
			}
			continue
		}
		if t, err := dec.Token(); err != nil || t != json.Delim('[') {
			return "", false
		}
		if !dec.More() {
			t, err := dec.Token()
			return "", err == nil && t == json.Delim(']')
		}
		var first struct{ Name, Model, ID string }
		if err := dec.Decode(&first); err != nil {
			return "", false
		}
		return modelName(cmp.Or(first.Name, first.Model, first.ID)), true
	}
	return "", false
}

// modelName makes foreign text fit to be shown.
func modelName(s string) string {
	return gateway.Clip(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s), maxModelName)
}
