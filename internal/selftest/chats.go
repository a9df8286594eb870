package selftest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"ollama-api-pool/internal/gateway"
)

const (
	messagesPath = "/v1/messages"

	// tokensAtMost bounds what a test may cost; a model that thinks before it
	// speaks needs some hundreds for that.
	tokensAtMost = 1024

	// fewTries is how many models are tried where the test may choose.
	fewTries = 3

	anyModel = "selftest"
	question = "Count from one to ten in words, separated by commas."
)

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

func asks(system, user string) []message {
	all := []message{{"user", user}}
	if system != "" {
		all = slices.Insert(all, 0, message{"system", system})
	}
	return all
}

// chatAsk is a request in OpenAI's form.
type chatAsk struct {
	Model       string    `json:"model"`
	Messages    []message `json:"messages"`
	Stream      bool      `json:"stream"`
	MaxTokens   int       `json:"max_tokens"`
	Temperature *float64  `json:"temperature,omitempty"`
}

func chatCall(p gateway.ProviderName, as credential, model, user string, stream bool) call {
	if user == "" {
		user = question
	}
	return call{prefix(p) + "/v1/chat/completions", as, chatAsk{Model: model, Messages: asks("", user), Stream: stream, MaxTokens: tokensAtMost}}
}

func messagesCall(as credential, model string) call {
	return call{messagesPath, as, chatAsk{Model: model, Messages: asks("", question), MaxTokens: tokensAtMost}}
}

func nativeCall(as credential, model string) call {
	return call{"/api/chat", as, map[string]any{
		"model": model, "messages": asks("", question), "options": map[string]int{"num_predict": tokensAtMost},
	}}
}

// models reads the model list in OpenAI's form.
func (r *run) models(ctx context.Context, p gateway.ProviderName) (outcome, error) {
	r.known, r.listed, r.chosen = nil, nil, ""
	c := call{path: prefix(p) + "/v1/models", as: asClient}
	a, err := r.wanted(ctx, c)
	if err != nil {
		if f := asFault(err); f.status == http.StatusUnauthorized {
			r.locked = "the token is refused"
		}
		return outcome{}, err
	}
	list, err := decode[struct {
		Data []model `json:"data"`
	}](a)
	if err != nil {
		return outcome{}, err
	}
	if len(list.Data) == 0 {
		return outcome{}, lacking(c.path, "any model: 'tokens list' shows whether the token may use some")
	}
	r.known = list.Data
	r.listed = cheapest(r.known)
	return outcome{seen: plural(len(list.Data), "model")}, nil
}

// nativeModels reads the model list in Ollama's form, which knows sizes.
func (r *run) nativeModels(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	const path = "/api/tags"
	a, err := r.wanted(ctx, call{path: path, as: asClient})
	if err != nil {
		return outcome{}, err
	}
	list, err := decode[struct {
		Models []struct {
			Name string `json:"name"`
			Size int64  `json:"size"`
		} `json:"models"`
	}](a)
	if err != nil {
		return outcome{}, err
	}
	if len(list.Models) == 0 {
		return outcome{}, lacking(path, "any model")
	}
	for _, m := range list.Models {
		if at := slices.IndexFunc(r.known, func(k model) bool { return k.ID == m.Name }); at >= 0 {
			r.known[at].size = m.Size
		}
	}
	r.listed = cheapest(r.known)
	return outcome{seen: plural(len(list.Models), "model")}, nil
}

// candidates are the models to try.
func (r *run) candidates() ([]string, error) {
	switch {
	case r.Model != "":
		return []string{r.Model}, nil
	case len(r.known) == 0:
		return nil, skip("there is no list to choose a model from; --model names one")
	case len(r.listed) == 0:
		return nil, &fault{cause: "no model of the list can be expected to chat", cure: "Name one with --model."}
	}
	return r.listed[:min(fewTries, len(r.listed))], nil
}

// chat has a conversation in OpenAI's form. Where the test may choose the
// model and one is refused for itself, as by a plan, the next one is tried;
// the following steps keep to the one that served.
func (r *run) chat(ctx context.Context, p gateway.ProviderName) (outcome, error) {
	models, err := r.candidates()
	if err != nil {
		return outcome{}, err
	}
	for i, m := range models {
		a, err := r.wanted(ctx, chatCall(p, asClient, m, "", false))
		if err != nil {
			if i+1 < len(models) && refusesModel(asFault(err)) {
				continue
			}
			return outcome{}, err
		}
		r.figures[p].asked++
		r.report.Models[p] = r.clean(m)
		r.chosen = m
		out, err := wholeChat(a)
		out.seen = m + ": " + out.seen
		return out, err
	}
	return outcome{}, skip("there is no model to try")
}

// refusesModel reports whether another model may be served.
func refusesModel(f *fault) bool {
	switch f.status {
	case http.StatusBadRequest, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests:
		return true
	}
	return false
}

// wholeChat reads an answer in OpenAI's form.
func wholeChat(a *answer) (outcome, error) {
	v, err := decode[struct {
		Choices []struct {
			Message part `json:"message"`
		} `json:"choices"`
	}](a)
	if err != nil {
		return outcome{}, err
	}
	if len(v.Choices) == 0 {
		return outcome{}, lacking(a.call.path, "choices")
	}
	return v.Choices[0].Message.outcome(a.call.path)
}

// part is text of an answer in OpenAI's form or Ollama's, whole or in parts.
type part struct {
	Content   string `json:"content"`
	Reasoning string `json:"reasoning"`         // OpenRouter, Ollama
	Thought   string `json:"reasoning_content"` // others
	Thinking  string `json:"thinking"`          // Ollama's own API
}

func (p *part) thought() string { return p.Reasoning + p.Thought + p.Thinking }

// outcome says what came. A model that has thought until its tokens were used
// up has answered: it is the deployment that is tested.
func (p *part) outcome(path string) (outcome, error) {
	content := strings.TrimSpace(p.Content)
	switch {
	case content != "":
		return outcome{seen: quoted(content)}, nil
	case strings.TrimSpace(p.thought()) != "":
		return outcome{seen: quoted(p.thought()), note: "The model thought until its tokens were used up: --model names another."}, nil
	}
	return outcome{}, &fault{cause: path + " gives an answer without content", cure: "Name another model with --model. If it stays so, does a proxy in front change the answers?", status: http.StatusOK}
}

func quoted(s string) string { return fmt.Sprintf("%q", gateway.Clip(strings.TrimSpace(s), 60)) }

// served is the model that served the first chat.
func (r *run) served() (string, error) {
	if r.chosen == "" {
		return "", skip("no model served the chat")
	}
	return r.chosen, nil
}

// streamingChat has a conversation as server-sent events.
func (r *run) streamingChat(ctx context.Context, p gateway.ProviderName) (outcome, error) {
	m, err := r.served()
	if err != nil {
		return outcome{}, err
	}
	return r.streamed(ctx, p, chatCall(p, asClient, m, "", true), eventStream)
}

// streamed makes a request that is answered in parts.
func (r *run) streamed(ctx context.Context, p gateway.ProviderName, c call, form streamForm) (outcome, error) {
	h, err := r.listen(ctx, c, form)
	if err != nil {
		return outcome{}, err
	}
	r.figures[p].asked++
	return h.outcome(c.path)
}

// anthropic has a conversation in Anthropic's form.
func (r *run) anthropic(ctx context.Context, p gateway.ProviderName) (outcome, error) {
	m, err := r.served()
	if err != nil {
		return outcome{}, err
	}
	a, err := r.wanted(ctx, messagesCall(asAnthropic, m))
	if err != nil {
		return outcome{}, err
	}
	r.figures[p].asked++
	v, err := decode[struct {
		Type    string `json:"type"`
		Content []struct {
			Text     string `json:"text"`
			Thinking string `json:"thinking"`
		} `json:"content"`
	}](a)
	if err != nil {
		return outcome{}, err
	}
	if v.Type != "message" {
		return outcome{}, lacking(messagesPath, `the type "message"`)
	}
	var all part
	for _, c := range v.Content {
		all.Content += c.Text
		all.Thinking += c.Thinking
	}
	return all.outcome(messagesPath)
}

// nativeChat has a conversation in Ollama's form, streamed as its clients do.
func (r *run) nativeChat(ctx context.Context, p gateway.ProviderName) (outcome, error) {
	m, err := r.served()
	if err != nil {
		return outcome{}, err
	}
	return r.streamed(ctx, p, nativeCall(asClient, m), jsonLines)
}

// samplePrompt asks the first of the deployment's sample prompts.
func (r *run) samplePrompt(ctx context.Context, p gateway.ProviderName) (outcome, error) {
	if r.prompt == nil {
		return outcome{}, skip("there are no sample prompts")
	}
	m, err := r.served()
	if err != nil {
		return outcome{}, err
	}
	t := r.prompt
	c := call{prefix(p) + "/v1/chat/completions", asClient, chatAsk{
		Model: m, Messages: asks(*t.SystemPrompt, t.UserMessage), Stream: *t.Stream, MaxTokens: tokensAtMost, Temperature: t.Temperature,
	}}
	var out outcome
	if *t.Stream {
		out, err = r.streamed(ctx, p, c, eventStream)
	} else {
		var a *answer
		if a, err = r.wanted(ctx, c); err == nil {
			r.figures[p].asked++
			out, err = wholeChat(a)
		}
	}
	out.seen = t.ID + ": " + out.seen
	return out, err
}
