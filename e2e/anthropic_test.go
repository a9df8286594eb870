package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// messagesClient makes the SDK's client as its users do; the token goes where
// the option puts it.
func messagesClient(i *Instance, f face, credential option.RequestOption) anthropic.Client {
	return anthropic.NewClient(
		option.WithoutEnvironmentDefaults(), option.WithBaseURL(i.URL()+f.base), option.WithMaxRetries(0), credential)
}

func messageParams(model string) anthropic.MessageNewParams {
	return anthropic.MessageNewParams{
		Model:     anthropic.Model(model),
		MaxTokens: 1000,
		System:    []anthropic.TextBlockParam{{Text: "Be brief."}},
		Messages:  []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("Hello, pool"))},
	}
}

func TestAnthropicSDK(t *testing.T) {
	t.Parallel()
	_, i, token := serving(t, mixed)
	for _, f := range faces {
		for name, credential := range map[string]option.RequestOption{
			"API key": option.WithAPIKey(token), "bearer": option.WithAuthToken(token),
		} {
			t.Run("at "+f.base+"/v1 with "+name, func(t *testing.T) {
				anthropicMessages(t, messagesClient(i, f, credential), f)
			})
		}
		t.Run("errors at "+f.base+"/v1", func(t *testing.T) { anthropicErrors(t, i, f, token) })
	}
	i.Stop()
}

func anthropicMessages(t *testing.T, c anthropic.Client, f face) {
	got, err := c.Messages.New(t.Context(), messageParams(f.chat))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Content) != 1 || !strings.Contains(got.Content[0].Text, simulated) ||
		got.StopReason != anthropic.StopReasonEndTurn || got.Usage.OutputTokens == 0 {
		t.Fatalf("answer: %s", got.RawJSON())
	}
	stream := c.Messages.NewStreaming(t.Context(), messageParams(f.chat))
	var whole anthropic.Message
	parts := 0
	for ; stream.Next(); parts++ {
		if err := whole.Accumulate(stream.Current()); err != nil {
			t.Fatalf("the SDK does not take part %d: %v", parts, err)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if parts < 10 || whole.Content[0].Text != got.Content[0].Text || whole.StopReason != anthropic.StopReasonEndTurn {
		t.Errorf("%d parts, together %+v", parts, whole)
	}
	models, err := c.Models.List(t.Context(), anthropic.ModelListParams{})
	if err != nil || len(models.Data) < 10 || models.Data[0].ID == "" {
		t.Errorf("models: %v, %v", models, err)
	}
}

func anthropicErrors(t *testing.T, i *Instance, f face, token string) {
	wrong := messagesClient(i, f, option.WithAPIKey("sk-this-token-was-never-made"))
	_, err := wrong.Messages.New(t.Context(), messageParams(f.chat))
	wantAnthropic(t, err, 401, anthropic.ErrorTypeAuthenticationError)
	stream := wrong.Messages.NewStreaming(t.Context(), messageParams(f.chat))
	if stream.Next() {
		t.Error("a stream for a wrong token")
	}
	wantAnthropic(t, stream.Err(), 401, anthropic.ErrorTypeAuthenticationError)
	c := messagesClient(i, f, option.WithAPIKey(token))
	_, err = c.Messages.New(t.Context(), messageParams("no-such-model"))
	if f == openRouterFace {
		wantAnthropic(t, err, 400, "") // in the upstream's own words
	} else {
		wantAnthropic(t, err, 404, anthropic.ErrorTypeNotFoundError)
	}
	err = c.Get(t.Context(), "v1/messages", nil, nil)
	wantAnthropic(t, err, 405, anthropic.ErrorTypeInvalidRequestError)
	if only := i.CreateToken("only ollama", "ollama"); f == openRouterFace {
		other := messagesClient(i, f, option.WithAPIKey(only))
		_, err = other.Messages.New(t.Context(), messageParams(f.chat))
		wantAnthropic(t, err, 403, anthropic.ErrorTypePermissionError)
	}
}

// wantAnthropic expects the SDK's own error, and that the SDK could read it.
func wantAnthropic(t *testing.T, err error, status int, kind anthropic.ErrorType) {
	t.Helper()
	var e *anthropic.Error
	if !errors.As(err, &e) {
		t.Errorf("%v (%T) is not the SDK's error", err, err)
		return
	}
	if e.StatusCode != status || e.Type() != kind {
		t.Errorf("%d %q, want %d %q: %s", e.StatusCode, e.Type(), status, kind, e.RawJSON())
	}
}

func TestAnthropicSDKLeaves(t *testing.T) {
	t.Parallel()
	up, i, token := serving(t, healthy)
	for _, f := range faces {
		t.Run(f.base+"/v1", func(t *testing.T) {
			c := messagesClient(i, f, option.WithAPIKey(token))
			leave(t, up, 6, func(ctx context.Context) (next func() bool) {
				return c.Messages.NewStreaming(ctx, messageParams(f.chat)).Next
			})
		})
	}
	i.Stop()
}
