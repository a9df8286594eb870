package selftest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// This file holds the steps that need no token.

// knockPause is the pause between two tries of a deployment that is starting.
const knockPause = 500 * time.Millisecond

// health asks whether the process runs, and whether it is this program. If not,
// nothing else is asked.
func (r *run) health(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	type health struct {
		Status    string                                 `json:"status"`
		Service   string                                 `json:"service"`
		Version   string                                 `json:"version"`
		Uptime    int64                                  `json:"uptime"` // seconds
		Providers map[gateway.ProviderName]*anyJSONValue `json:"providers"`
	}
	a, err := r.patiently(ctx, call{path: "/health"})
	if err != nil {
		r.stop = "the deployment cannot be reached"
		return outcome{}, err
	}
	h, err := decode[health](a)
	if err != nil || h.Service != "ollama-api-pool" {
		err = &fault{cause: "/health gives " + a.excerpt(), cure: cureForeign(a.status), status: a.status}
	} else if h.Status == "" || h.Version == "" || h.Providers[gateway.Ollama] == nil || h.Providers[gateway.OpenRouter] == nil {
		err = lacking("/health", "status, version or providers")
	}
	if err != nil {
		r.stop = "something else answers at the address"
		return outcome{}, err
	}
	r.report.Version = h.Version
	return outcome{seen: fmt.Sprintf("version %s, up %v", h.Version, time.Duration(h.Uptime)*time.Second)}, nil
}

// anyJSONValue is a value of which only matters that it is there.
type anyJSONValue struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*anyJSONValue) UnmarshalJSON([]byte) error { return nil }

// lacking is the fault of an answer that is not whole.
func lacking(path, what string) *fault {
	return &fault{cause: path + " lacks " + what, cure: "Is the deployment of this version, and does no proxy change its answers?", status: http.StatusOK}
}

// ready asks whether the deployment takes requests.
func (r *run) ready(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	_, err := r.patiently(ctx, call{path: "/health/ready"})
	if err != nil {
		f := asFault(err)
		if f.status == http.StatusServiceUnavailable {
			f.cure = "It is starting or stopping: --wait 1m waits for it. If it stays so, its log says why."
		}
		return outcome{}, f
	}
	return outcome{seen: "takes requests"}, nil
}

// patiently makes a request again and again, until it is answered with 200 or
// Wait is over.
func (r *run) patiently(ctx context.Context, c call) (*answer, error) {
	for {
		a, err := r.wanted(ctx, c)
		if err == nil || time.Since(r.report.StartedAt)+knockPause > r.Wait {
			return a, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(knockPause):
		}
	}
}

// document reads the OpenAPI document.
func (r *run) document(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	type document struct {
		OpenAPI string                   `json:"openapi"`
		Paths   map[string]*anyJSONValue `json:"paths"`
	}
	a, err := r.wanted(ctx, call{path: "/openapi.json"})
	if err != nil {
		return outcome{}, err
	}
	d, err := decode[document](a)
	if err != nil {
		return outcome{}, err
	}
	if !strings.HasPrefix(d.OpenAPI, "3.") || d.Paths["/v1/chat/completions"] == nil || d.Paths["/admin/public-stats"] == nil {
		return outcome{}, lacking("/openapi.json", "the addresses that are tested here")
	}
	return outcome{seen: fmt.Sprintf("OpenAPI %s, %d addresses", d.OpenAPI, len(d.Paths))}, nil
}

// unknownAddress asks for what is not there.
func (r *run) unknownAddress(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	a, err := r.ask(ctx, call{path: "/v1/selftest/no-such-address"})
	if err != nil {
		return outcome{}, err
	}
	if a.status != http.StatusNotFound || words(a.body).Kind != "invalid_request_error" {
		return outcome{}, &fault{
			cause: "an address that does not exist gives " + a.excerpt() + " in place of 404", status: a.status,
			cure: "Does a proxy in front answer for the server, or send some addresses elsewhere?",
		}
	}
	return outcome{seen: "404"}, nil
}

// wrongToken sends a token that is not valid to an address of each dialect.
func (r *run) wrongToken(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	const kind = "authentication_error"
	var calls []call
	for _, p := range r.Providers {
		if calls = append(calls, chatCall(p, asImpostor, anyModel, "", false)); p == gateway.Ollama {
			calls = append(calls, messagesCall(asImpostor, anyModel), nativeCall(asImpostor, anyModel))
		}
	}
	for _, c := range calls {
		a, err := r.ask(ctx, c)
		if err != nil {
			return outcome{}, err
		}
		s := words(a.body)
		form := s.Kind == kind && s.Code == kind
		switch {
		case strings.HasSuffix(c.path, messagesPath):
			form = s.Type == "error" && s.Kind == kind
		case strings.HasPrefix(c.path, "/api/"):
			form = s.Message != "" && s.Kind == ""
		}
		if a.status != http.StatusUnauthorized || !form {
			return outcome{}, &fault{
				cause: fmt.Sprintf("%s answers a wrong token with %s in place of 401 in its own form", c.path, a.excerpt()), status: a.status,
				cure: "Does a proxy in front add a token of its own, or answer for the server?",
			}
		}
	}
	return outcome{seen: "401 at " + paths(calls)}, nil
}

func paths(calls []call) string {
	all := make([]string, len(calls))
	for i, c := range calls {
		all[i] = c.path
	}
	return strings.Join(all, ", ")
}

// closed asks the admin API without a token.
func (r *run) closed(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	a, err := r.ask(ctx, call{path: "/admin/api-keys"})
	if err != nil {
		return outcome{}, err
	}
	if a.status < 400 {
		return outcome{}, &fault{
			cause: fmt.Sprintf("/admin/api-keys gives %d without a token", a.status), status: a.status,
			cure: "Does a proxy in front add the admin token? Whoever reaches it owns the pool: close it.",
		}
	}
	if a.status >= 500 {
		return outcome{}, a.refusal()
	}
	return outcome{seen: fmt.Sprintf("%d without a token", a.status)}, nil
}

// template is one of the deployment's sample prompts.
type template struct {
	ID           string   `json:"id"`
	Label        string   `json:"label"`
	Description  string   `json:"description"`
	SystemPrompt *string  `json:"systemPrompt"`
	UserMessage  string   `json:"userMessage"`
	Temperature  *float64 `json:"temperature"`
	Stream       *bool    `json:"stream"`
}

// fewestTemplates is how many sample prompts there are at least.
const fewestTemplates = 8

// samplePrompts reads the list of sample prompts.
func (r *run) samplePrompts(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	const path = "/api/test-templates"
	a, err := r.wanted(ctx, call{path: path})
	if err != nil {
		return outcome{}, err
	}
	list, err := decode[struct {
		Templates []template `json:"templates"`
	}](a)
	if err != nil {
		return outcome{}, err
	}
	if len(list.Templates) < fewestTemplates {
		return outcome{}, lacking(path, plural(fewestTemplates-len(list.Templates), "prompt"))
	}
	for _, t := range list.Templates {
		if t.ID == "" || t.Label == "" || t.Description == "" || t.UserMessage == "" || t.SystemPrompt == nil || t.Temperature == nil || t.Stream == nil {
			return outcome{}, lacking(path, fmt.Sprintf("some field of the prompt %q", t.ID))
		}
	}
	r.prompt = &list.Templates[0]
	return outcome{seen: plural(len(list.Templates), "prompt")}, nil
}
