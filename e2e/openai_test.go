package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// face is an address under which a provider is reached, and models that it has.
type face struct {
	base  string
	chat  string
	embed string
}

var (
	ollamaFace     = face{"", "gpt-oss:20b", "embeddinggemma:300m"}
	prefixedFace   = face{"/ollama", "gpt-oss:20b", "embeddinggemma:300m"}
	openRouterFace = face{"/openrouter", "openai/gpt-oss-20b:free", "openai/text-embedding-3-small"}
	faces          = []face{ollamaFace, prefixedFace, openRouterFace}
)

// simulated is in every answer of the upstream.
const simulated = "This is a simulated answer"

// openAI makes the SDK's client as its users do, without the retries that would
// hide a fault.
func openAI(i *Instance, f face, token string, opts ...option.RequestOption) openai.Client {
	return openai.NewClient(append([]option.RequestOption{
		option.WithBaseURL(i.URL() + f.base + "/v1"), option.WithAPIKey(token), option.WithMaxRetries(0),
	}, opts...)...)
}

func chatParams(model string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: model,
		Messages: []openai.ChatCompletionMessageParamUnion{
			openai.SystemMessage("Be brief."), openai.UserMessage("Hello, pool"),
		},
	}
}

func responseParams(model string) responses.ResponseNewParams {
	return responses.ResponseNewParams{
		Model: model,
		Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Hello, pool")},
	}
}

func TestOpenAISDK(t *testing.T) {
	t.Parallel()
	_, i, token := serving(t, mixed)
	for _, f := range faces {
		t.Run("at "+f.base+"/v1", func(t *testing.T) {
			c := openAI(i, f, token)
			t.Run("models", func(t *testing.T) { openAIModels(t, c, f) })
			t.Run("chat", func(t *testing.T) { openAIChat(t, c, f) })
			t.Run("completions", func(t *testing.T) { openAICompletions(t, c, f) })
			t.Run("responses", func(t *testing.T) { openAIResponses(t, c, f) })
			t.Run("embeddings", func(t *testing.T) { openAIEmbeddings(t, c, f) })
			t.Run("errors", func(t *testing.T) { openAIErrors(t, i, f, token) })
		})
	}
	t.Run("token in the path", func(t *testing.T) {
		f := ollamaFace
		f.base = "/t/" + token
		openAIChat(t, openAI(i, f, "", option.WithHeaderDel("Authorization")), f)
	})
	i.Stop()
}

func openAIModels(t *testing.T, c openai.Client, f face) {
	page, err := c.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range page.Data {
		listed[m.ID] = true
		if m.Object != "model" || m.OwnedBy == "" {
			t.Errorf("an entry without its fields: %s", m.RawJSON())
		}
	}
	if !listed[f.chat] || !listed[f.embed] {
		t.Errorf("the list lacks %s or %s: %s", f.chat, f.embed, page.RawJSON())
	}
	one, err := c.Models.Get(t.Context(), f.chat)
	if err != nil || one.ID != f.chat {
		t.Errorf("one model: %v %v", one, err)
	}
	_, err = c.Models.Get(t.Context(), "no-such-model")
	wantOpenAI(t, err, 404, "invalid_request_error")
}

func openAIChat(t *testing.T, c openai.Client, f face) {
	for range 2 * len(mixed) { // enough to meet every key
		got, err := c.Chat.Completions.New(t.Context(), chatParams(f.chat))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Choices) != 1 || !strings.Contains(got.Choices[0].Message.Content, simulated) || got.Usage.TotalTokens == 0 {
			t.Fatalf("answer: %s", got.RawJSON())
		}
	}
	params := chatParams(f.chat)
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := c.Chat.Completions.NewStreaming(t.Context(), params)
	var whole openai.ChatCompletionAccumulator
	parts := 0
	for ; stream.Next(); parts++ {
		if !whole.AddChunk(stream.Current()) {
			t.Fatalf("the SDK does not take part %d: %s", parts, stream.Current().RawJSON())
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if parts < 10 || !strings.Contains(whole.Choices[0].Message.Content, "Hello, pool") || whole.Usage.TotalTokens == 0 {
		t.Errorf("%d parts, together %+v", parts, whole.ChatCompletion)
	}
}

func openAICompletions(t *testing.T, c openai.Client, f face) {
	params := openai.CompletionNewParams{
		Model:  openai.CompletionNewParamsModel(f.chat),
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("Hello, pool")},
	}
	got, err := c.Completions.New(t.Context(), params)
	if err != nil || len(got.Choices) != 1 || !strings.Contains(got.Choices[0].Text, simulated) {
		t.Fatalf("answer: %v, %v", got, err)
	}
	stream := c.Completions.NewStreaming(t.Context(), params)
	var text strings.Builder
	for stream.Next() {
		for _, choice := range stream.Current().Choices {
			text.WriteString(choice.Text)
		}
	}
	if stream.Err() != nil || text.String() != got.Choices[0].Text {
		t.Errorf("streamed %q, %v; at once %q", text.String(), stream.Err(), got.Choices[0].Text)
	}
}

func openAIResponses(t *testing.T, c openai.Client, f face) {
	got, err := c.Responses.New(t.Context(), responseParams(f.chat))
	if err != nil || got.Status != responses.ResponseStatusCompleted || !strings.Contains(got.OutputText(), simulated) {
		t.Fatalf("answer: %v, %v", got, err)
	}
	stream := c.Responses.NewStreaming(t.Context(), responseParams(f.chat))
	var text strings.Builder
	last := ""
	for stream.Next() {
		event := stream.Current()
		last = event.Type
		switch event.Type {
		case "response.output_text.delta":
			text.WriteString(event.Delta)
		case "response.completed":
			if whole := event.Response.OutputText(); whole != text.String() {
				t.Errorf("the parts give %q, the end says %q", text.String(), whole)
			}
		}
	}
	if stream.Err() != nil || last != "response.completed" || text.String() != got.OutputText() {
		t.Errorf("streamed %q up to %s, %v; at once %q", text.String(), last, stream.Err(), got.OutputText())
	}
}

func openAIEmbeddings(t *testing.T, c openai.Client, f face) {
	got, err := c.Embeddings.New(t.Context(), openai.EmbeddingNewParams{
		Model: f.embed,
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one", "two"}},
	})
	if err != nil || len(got.Data) != 2 || len(got.Data[0].Embedding) == 0 || got.Data[1].Index != 1 {
		t.Errorf("answer: %v, %v", got, err)
	}
}

func openAIErrors(t *testing.T, i *Instance, f face, token string) {
	c := openAI(i, f, token)
	wrong := openAI(i, f, "sk-this-token-was-never-made")
	_, err := wrong.Chat.Completions.New(t.Context(), chatParams(f.chat))
	wantOpenAI(t, err, 401, "authentication_error")
	_, err = wrong.Models.List(t.Context())
	wantOpenAI(t, err, 401, "authentication_error")
	stream := wrong.Responses.NewStreaming(t.Context(), responseParams(f.chat))
	if stream.Next() {
		t.Errorf("a stream for a wrong token: %s", stream.Current().RawJSON())
	}
	wantOpenAI(t, stream.Err(), 401, "authentication_error")
	_, err = c.Chat.Completions.New(t.Context(), chatParams("no-such-model"))
	if f == openRouterFace {
		wantOpenAI(t, err, 400, "") // in the upstream's own words
	} else {
		wantOpenAI(t, err, 404, "not_found_error")
	}
	err = c.Get(t.Context(), "chat/completions", nil, nil)
	wantOpenAI(t, err, 405, "invalid_request_error")
	err = c.Post(t.Context(), "no/such/address", map[string]string{}, nil)
	wantOpenAI(t, err, 404, "invalid_request_error")
}

// wantOpenAI expects the SDK's own error, and that the SDK could read it.
func wantOpenAI(t *testing.T, err error, status int, kind string) {
	t.Helper()
	var e *openai.Error
	if !errors.As(err, &e) {
		t.Errorf("%v (%T) is not the SDK's error", err, err)
		return
	}
	if e.StatusCode != status || e.Type != kind || e.Message == "" {
		t.Errorf("%d %q %q, want %d %q: %s", e.StatusCode, e.Type, e.Message, status, kind, e.RawJSON())
	}
}

// within is how soon the upstream must learn that a client has left.
const within = time.Second

func TestOpenAISDKLeaves(t *testing.T) {
	t.Parallel()
	up, i, token := serving(t, healthy)
	for _, f := range faces {
		c := openAI(i, f, token)
		t.Run(f.base+"/v1 chat", func(t *testing.T) {
			leave(t, up, 5, func(ctx context.Context) (next func() bool) {
				return c.Chat.Completions.NewStreaming(ctx, chatParams(f.chat)).Next
			})
		})
		t.Run(f.base+"/v1 responses", func(t *testing.T) {
			leave(t, up, 7, func(ctx context.Context) (next func() bool) {
				return c.Responses.NewStreaming(ctx, responseParams(f.chat)).Next
			})
		})
		t.Run(f.base+"/v1 chat at once", func(t *testing.T) {
			leave(t, up, 0, func(ctx context.Context) (next func() bool) {
				return func() bool {
					_, err := c.Chat.Completions.New(ctx, chatParams(f.chat))
					return err == nil
				}
			})
		})
	}
	totals := i.Totals("ollama")
	if totals.SuccessCount != 0 || totals.FailureCount != 0 {
		t.Errorf("what clients broke off counts neither way, but here are %+v", totals)
	}
	i.Stop()
}

// leave begins a request, goes away when so many parts of its answer have left
// the upstream, and expects the upstream to notice soon. The function begins
// the request; what it returns reads a part and reports whether there was one.
func leave(t *testing.T, up *upstream, parts int, begin func(ctx context.Context) (next func() bool)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := up.hold(parts)
	arrived, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		next := begin(ctx)
		if parts > 0 && next() {
			close(arrived)
		}
		for next() {
		}
	}()
	awaitClosed(t, h.reached, patience, "the upstream is asked and has sent a part")
	if parts > 0 {
		awaitClosed(t, arrived, patience, "a part reaches the client while the rest is not there yet")
	}
	cancel()
	awaitClosed(t, h.gone, within, "the upstream's request is cancelled after the client left")
	awaitClosed(t, ended, patience, "the client gets out")
}
