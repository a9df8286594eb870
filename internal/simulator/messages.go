package simulator

import (
	"net/http"

	"ollama-api-pool/internal/gateway"
)

// Anthropic's messages: https://docs.anthropic.com/en/api/messages and
// https://docs.anthropic.com/en/api/messages-streaming.

type textBlock struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type messagesUsage struct {
	InputTokens  int `json:"input_tokens"`
	OutputTokens int `json:"output_tokens"`
}

type anthropicMessage struct {
	ID           string        `json:"id"`
	Type         string        `json:"type"`
	Role         string        `json:"role"`
	Model        string        `json:"model"`
	Content      []textBlock   `json:"content"`
	StopReason   *string       `json:"stop_reason"`
	StopSequence *string       `json:"stop_sequence"`
	Usage        messagesUsage `json:"usage"`
}

type stopDelta struct {
	StopReason   string  `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
}

// messagesEvent is any event of the stream; each uses some of the fields.
type messagesEvent struct {
	Type         string            `json:"type"`
	Message      *anthropicMessage `json:"message,omitempty"`
	Index        *int              `json:"index,omitempty"`
	ContentBlock *textBlock        `json:"content_block,omitempty"`
	Delta        any               `json:"delta,omitempty"`
	Usage        *messagesUsage    `json:"usage,omitempty"`
}

func messages(c *call, a *ask, m model) {
	if c.provider == gateway.Ollama && a.MaxTokens <= 0 {
		c.refuse(http.StatusBadRequest, "max_tokens is required and must be positive")
		return
	}
	if !c.chats(m, len(a.Messages) > 0, "messages") {
		return
	}
	reply := a.reply()
	out := anthropicMessage{ID: c.id("msg_"), Type: "message", Role: "assistant", Model: a.Model, Content: []textBlock{}}
	out.Usage = messagesUsage{InputTokens: reply.in}
	if a.streams(false) {
		c.streamMessage(out, reply)
		return
	}
	reason := reply.reason("end_turn", "max_tokens")
	out.Content, out.StopReason = []textBlock{{"text", reply.text()}}, &reason
	out.Usage.OutputTokens = reply.out()
	if c.take(reply.out()) {
		c.json(http.StatusOK, out)
	}
}

func (c *call) streamMessage(out anthropicMessage, reply answer) {
	c.stream("text/event-stream")
	zero := 0
	emit := func(e messagesEvent) { c.event(e.Type, e) }
	emit(messagesEvent{Type: "message_start", Message: &out})
	emit(messagesEvent{Type: "content_block_start", Index: &zero, ContentBlock: &textBlock{Type: "text"}})
	emit(messagesEvent{Type: "ping"})
	stayed := c.say(reply.words, func(word string) {
		emit(messagesEvent{Type: "content_block_delta", Index: &zero, Delta: textBlock{"text_delta", word}})
	})
	if !stayed {
		return
	}
	emit(messagesEvent{Type: "content_block_stop", Index: &zero})
	emit(messagesEvent{
		Type:  "message_delta",
		Delta: stopDelta{StopReason: reply.reason("end_turn", "max_tokens")},
		Usage: &messagesUsage{reply.in, reply.out()},
	})
	emit(messagesEvent{Type: "message_stop"})
}
