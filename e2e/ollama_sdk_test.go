package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ollama/ollama/api"
)

// bearer adds the token to every request, which is how users of the package
// authenticate.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b))
	return plain.Transport.RoundTrip(r)
}

// ollamaClient makes a client with the token in a header, or, where that is
// empty, with what the path holds.
func ollamaClient(t *testing.T, i *Instance, path, token string) *api.Client {
	t.Helper()
	base, err := url.Parse(i.URL() + path)
	if err != nil {
		t.Fatal(err)
	}
	if token == "" {
		return api.NewClient(base, plain)
	}
	return api.NewClient(base, &http.Client{Transport: bearer(token)})
}

func TestOllamaPackage(t *testing.T) {
	t.Parallel()
	_, i, token := serving(t, mixed)
	for name, c := range map[string]*api.Client{
		"header":              ollamaClient(t, i, "", token),
		"header and prefix":   ollamaClient(t, i, "/ollama", token),
		"path":                ollamaClient(t, i, "/t/"+token, ""),
		"path and prefix":     ollamaClient(t, i, "/t/"+token+"/ollama", ""),
		"path, ends in slash": ollamaClient(t, i, "/t/"+token+"/", ""),
	} {
		t.Run(name, func(t *testing.T) {
			ollamaLists(t, c)
			ollamaGenerates(t, c)
			ollamaChats(t, c)
			ollamaEmbeds(t, c)
			ollamaErrors(t, c)
		})
	}
	t.Run("wrong token", func(t *testing.T) {
		for _, c := range []*api.Client{
			ollamaClient(t, i, "", "sk-this-token-was-never-made"),
			ollamaClient(t, i, "/t/sk-this-token-was-never-made", ""),
		} {
			var refused api.AuthorizationError
			if _, err := c.List(t.Context()); !errors.As(err, &refused) {
				t.Errorf("list: %v (%T)", err, err)
			}
			if err := c.Chat(t.Context(), chatRequest(), nothingComes(t)); !errors.As(err, &refused) {
				t.Errorf("chat: %v (%T)", err, err)
			}
		}
	})
	i.Stop()
}

func ollamaLists(t *testing.T, c *api.Client) {
	list, err := c.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	has := func(m api.ListModelResponse) bool { return m.Name == ollamaFace.chat && m.Size > 0 }
	if !slices.ContainsFunc(list.Models, has) {
		t.Errorf("models: %+v", list)
	}
	shown, err := c.Show(t.Context(), &api.ShowRequest{Model: ollamaFace.chat})
	if err != nil || shown.Details.Family == "" || len(shown.Capabilities) == 0 {
		t.Errorf("show: %+v, %v", shown, err)
	}
	version, err := c.Version(t.Context())
	if err != nil || version == "" {
		t.Errorf("version: %q, %v", version, err)
	}
	running, err := c.ListRunning(t.Context())
	if err != nil || len(running.Models) != 0 {
		t.Errorf("running: %v, %v", running, err)
	}
}

func ollamaGenerates(t *testing.T, c *api.Client) {
	var text strings.Builder
	parts, done := 0, false
	err := c.Generate(t.Context(), &api.GenerateRequest{Model: ollamaFace.chat, Prompt: "Hello, pool"}, func(r api.GenerateResponse) error {
		text.WriteString(r.Response)
		parts++
		done = r.Done
		return nil
	})
	if err != nil || !done || parts < 10 || !strings.Contains(text.String(), simulated) {
		t.Errorf("generate: %d parts, done %v, %q, %v", parts, done, text.String(), err)
	}
}

func chatRequest() *api.ChatRequest {
	return &api.ChatRequest{Model: ollamaFace.chat, Messages: []api.Message{{Role: "user", Content: "Hello, pool"}}}
}

func nothingComes(t *testing.T) api.ChatResponseFunc {
	return func(r api.ChatResponse) error {
		t.Errorf("an answer came: %+v", r)
		return nil
	}
}

func ollamaChats(t *testing.T, c *api.Client) {
	whole := func(stream bool) string {
		var text strings.Builder
		last := api.ChatResponse{}
		request := chatRequest()
		request.Stream = &stream
		err := c.Chat(t.Context(), request, func(r api.ChatResponse) error {
			text.WriteString(r.Message.Content)
			last = r
			return nil
		})
		if err != nil || !last.Done || last.EvalCount == 0 {
			t.Errorf("chat, streamed %v: %+v, %v", stream, last, err)
		}
		return text.String()
	}
	if streamed, once := whole(true), whole(false); streamed != once || !strings.Contains(once, simulated) {
		t.Errorf("streamed %q, at once %q", streamed, once)
	}
}

func ollamaEmbeds(t *testing.T, c *api.Client) {
	many, err := c.Embed(t.Context(), &api.EmbedRequest{Model: ollamaFace.embed, Input: []string{"one", "two"}})
	if err != nil || len(many.Embeddings) != 2 {
		t.Errorf("embed: %v, %v", many, err)
	}
	one, err := c.Embeddings(t.Context(), &api.EmbeddingRequest{Model: ollamaFace.embed, Prompt: "one"})
	if err != nil || len(one.Embedding) == 0 {
		t.Errorf("embeddings: %v, %v", one, err)
	}
}

func ollamaErrors(t *testing.T, c *api.Client) {
	request := chatRequest()
	request.Model = "no-such-model"
	wantOllama(t, c.Chat(t.Context(), request, nothingComes(t)), 404)
	_, err := c.Show(t.Context(), &api.ShowRequest{Model: "no-such-model"})
	wantOllama(t, err, 404)
	wantOllama(t, c.Pull(t.Context(), &api.PullRequest{Model: ollamaFace.chat}, func(api.ProgressResponse) error { return nil }), 403)
	wantOllama(t, c.Delete(t.Context(), &api.DeleteRequest{Model: ollamaFace.chat}), 403)
	wantOllama(t, c.Copy(t.Context(), &api.CopyRequest{Source: "a", Destination: "b"}), 403)
}

// wantOllama expects the package's own error with a message in it.
func wantOllama(t *testing.T, err error, status int) {
	t.Helper()
	var e api.StatusError
	if !errors.As(err, &e) || e.StatusCode != status || e.ErrorMessage == "" {
		t.Errorf("%v (%T), want status %d", err, err, status)
	}
}

func TestOllamaPackageLeaves(t *testing.T) {
	t.Parallel()
	up, i, token := serving(t, healthy)
	for name, c := range map[string]*api.Client{
		"header": ollamaClient(t, i, "", token), "path": ollamaClient(t, i, "/t/"+token, ""),
	} {
		t.Run(name, func(t *testing.T) {
			leave(t, up, 3, func(ctx context.Context) (next func() bool) {
				parts := make(chan struct{})
				go func() {
					defer close(parts)
					_ = c.Chat(ctx, chatRequest(), func(api.ChatResponse) error {
						parts <- struct{}{}
						return nil
					})
				}()
				return func() bool {
					_, ok := <-parts
					return ok
				}
			})
		})
	}
	i.Stop()
}
