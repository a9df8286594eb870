package simulator

import (
	"fmt"
	"net/http"

	"ollama-api-pool/internal/gateway"
)

// OpenAI's chat completions, completions and embeddings:
// https://developers.openai.com/api/reference/resources/chat, with what Ollama
// (https://docs.ollama.com/openai) and OpenRouter
// (https://openrouter.ai/docs/api-reference/streaming) do in their own way.

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

type chatMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// choice is one of chat completions, with Message or Delta, or of completions,
// with Text.
type choice struct {
	Index              int          `json:"index"`
	Text               *string      `json:"text,omitempty"`
	Message            *chatMessage `json:"message,omitempty"`
	Delta              *chatMessage `json:"delta,omitempty"`
	FinishReason       *string      `json:"finish_reason"`
	NativeFinishReason *string      `json:"native_finish_reason,omitempty"`
}

type completion struct {
	ID                string   `json:"id"`
	Provider          string   `json:"provider,omitempty"`
	Object            string   `json:"object"`
	Created           int64    `json:"created"`
	Model             string   `json:"model"`
	SystemFingerprint string   `json:"system_fingerprint,omitempty"`
	Choices           []choice `json:"choices"`
	Usage             *usage   `json:"usage,omitempty"`
}

// completion begins an answer; object is its kind.
func (c *call) completion(a *ask, prefix, object string) completion {
	out := completion{Object: object, Created: c.now().Unix(), Model: a.Model}
	if c.provider == gateway.OpenRouter {
		out.ID, out.Provider = c.id("gen-"), "Simulator"
		c.w.Header().Set("X-Generation-Id", out.ID)
		return out
	}
	out.ID, out.SystemFingerprint = c.id(prefix), "fp_ollama"
	return out
}

// ended gives a choice its finish reason.
func (c *call) ended(ch choice, a answer) choice {
	reason := a.reason("stop", "length")
	ch.FinishReason = &reason
	if c.provider == gateway.OpenRouter {
		ch.NativeFinishReason = &reason
	}
	return ch
}

func (a answer) usage() *usage { return &usage{a.in, a.out(), a.in + a.out()} }

func chatCompletions(c *call, a *ask, m model) {
	if !c.chats(m, len(a.Messages) > 0, "messages") {
		return
	}
	object := "chat.completion"
	part := func(text string) choice { return choice{Message: &chatMessage{"assistant", text}} }
	if a.streams(false) {
		object = "chat.completion.chunk"
		part = func(text string) choice { return choice{Delta: &chatMessage{"assistant", text}} }
	}
	c.complete(a, c.completion(a, "chatcmpl-", object), part)
}

func completions(c *call, a *ask, m model) {
	if c.chats(m, len(a.Prompt) > 0, "prompt") {
		c.complete(a, c.completion(a, "cmpl-", "text_completion"), func(text string) choice { return choice{Text: &text} })
	}
}

// complete answers in parts or whole. In a stream Ollama sends the usage where
// the request asks for it, OpenRouter always.
func (c *call) complete(a *ask, out completion, part func(text string) choice) {
	reply := a.reply()
	if !a.streams(false) {
		if c.take(reply.out()) {
			out.Choices, out.Usage = []choice{c.ended(part(reply.text()), reply)}, reply.usage()
			c.json(http.StatusOK, out)
		}
		return
	}
	c.stream("text/event-stream")
	if c.provider == gateway.OpenRouter {
		c.send(": OPENROUTER PROCESSING\n\n")
	}
	stayed := c.say(reply.words, func(word string) {
		out.Choices = []choice{part(word)}
		c.data(out)
	})
	if !stayed {
		return
	}
	out.Choices = []choice{c.ended(part(""), reply)}
	c.data(out)
	if a.StreamOptions.IncludeUsage || c.provider == gateway.OpenRouter {
		out.Choices, out.Usage = []choice{}, reply.usage()
		c.data(out)
	}
	c.send("data: [DONE]\n\n")
}

func embeddings(c *call, a *ask, _ model) {
	if len(a.Input) == 0 {
		c.refuse(http.StatusBadRequest, "input is required")
		return
	}
	type embedding struct {
		Object    string `json:"object"`
		Embedding any    `json:"embedding"`
		Index     int    `json:"index"`
	}
	list := make([]embedding, len(a.Input))
	for i, text := range a.Input {
		v := vector(text, a.Dimensions)
		list[i] = embedding{Object: "embedding", Embedding: v, Index: i}
		if a.EncodingFormat == "base64" {
			list[i].Embedding = packed(v)
		}
	}
	n := tokens(a.Input)
	c.json(http.StatusOK, struct {
		Object string      `json:"object"`
		Data   []embedding `json:"data"`
		Model  string      `json:"model"`
		Usage  usage       `json:"usage"`
	}{"list", list, a.Model, usage{PromptTokens: n, TotalTokens: n}})
}

type listedModel struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// ollamaModels gives the list, or one entry of it, to anybody.
func ollamaModels(c *call) {
	id := c.r.PathValue("id")
	list := []listedModel{}
	for _, m := range c.listed() {
		if id == "" || id == m.id {
			list = append(list, listedModel{ID: m.id, Object: "model", Created: m.addedAt.Unix(), OwnedBy: "ollama"})
		}
	}
	switch {
	case id == "":
		c.json(http.StatusOK, struct {
			Object string        `json:"object"`
			Data   []listedModel `json:"data"`
		}{"list", list})
	case len(list) == 0:
		c.refuse(http.StatusNotFound, fmt.Sprintf("model '%s' not found", id))
	default:
		c.json(http.StatusOK, list[0])
	}
}
