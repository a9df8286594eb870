package simulator

import "net/http"

// OpenAI's responses: https://developers.openai.com/api/reference/resources/responses
// and, for the stream, …/responses/streaming-events.

type outputText struct {
	Type        string   `json:"type"`
	Text        string   `json:"text"`
	Annotations []string `json:"annotations"`
	Logprobs    []string `json:"logprobs"`
}

type outputItem struct {
	ID      string       `json:"id"`
	Type    string       `json:"type"`
	Status  string       `json:"status"`
	Role    string       `json:"role"`
	Content []outputText `json:"content"`
}

type responsesUsage struct {
	InputTokens        int `json:"input_tokens"`
	InputTokensDetails struct {
		CachedTokens int `json:"cached_tokens"`
	} `json:"input_tokens_details"`
	OutputTokens        int `json:"output_tokens"`
	OutputTokensDetails struct {
		ReasoningTokens int `json:"reasoning_tokens"`
	} `json:"output_tokens_details"`
	TotalTokens int `json:"total_tokens"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

type response struct {
	ID                 string          `json:"id"`
	Object             string          `json:"object"`
	CreatedAt          int64           `json:"created_at"`
	CompletedAt        *int64          `json:"completed_at"`
	Status             string          `json:"status"`
	Error              *struct{}       `json:"error"`
	IncompleteDetails  *incomplete     `json:"incomplete_details"`
	Instructions       *string         `json:"instructions"`
	MaxOutputTokens    *int            `json:"max_output_tokens"`
	Model              string          `json:"model"`
	Output             []outputItem    `json:"output"`
	ParallelToolCalls  bool            `json:"parallel_tool_calls"`
	PreviousResponseID *string         `json:"previous_response_id"`
	Reasoning          *struct{}       `json:"reasoning"`
	Store              bool            `json:"store"`
	Temperature        float64         `json:"temperature"`
	Text               map[string]any  `json:"text"`
	ToolChoice         string          `json:"tool_choice"`
	Tools              []struct{}      `json:"tools"`
	TopP               float64         `json:"top_p"`
	Truncation         string          `json:"truncation"`
	Usage              *responsesUsage `json:"usage"`
	Metadata           struct{}        `json:"metadata"`
}

// responsesEvent is any event of the stream; each uses some of the fields.
type responsesEvent struct {
	Type           string      `json:"type"`
	SequenceNumber int         `json:"sequence_number"`
	Response       *response   `json:"response,omitempty"`
	ItemID         string      `json:"item_id,omitempty"`
	OutputIndex    *int        `json:"output_index,omitempty"`
	ContentIndex   *int        `json:"content_index,omitempty"`
	Item           *outputItem `json:"item,omitempty"`
	Part           *outputText `json:"part,omitempty"`
	Delta          *string     `json:"delta,omitempty"`
	Text           *string     `json:"text,omitempty"`
	Logprobs       *[]string   `json:"logprobs,omitempty"`
}

func responses(c *call, a *ask, m model) {
	if !c.chats(m, len(a.Input) > 0, "input") {
		return
	}
	reply := a.reply()
	out := response{
		ID: c.id("resp_"), Object: "response", CreatedAt: c.now().Unix(), Status: "in_progress", Model: a.Model,
		Output: []outputItem{}, ParallelToolCalls: true, Temperature: 1, TopP: 1, Truncation: "disabled",
		Text: map[string]any{"format": map[string]string{"type": "text"}}, ToolChoice: "auto", Tools: []struct{}{},
	}
	if n := a.MaxOutputTokens; n > 0 {
		out.MaxOutputTokens = &n
	}
	item := outputItem{ID: c.id("msg_"), Type: "message", Status: "in_progress", Role: "assistant", Content: []outputText{}}
	if a.streams(false) {
		c.streamResponse(out, item, reply)
		return
	}
	if c.take(reply.out()) {
		c.json(http.StatusOK, c.endResponse(out, item, reply))
	}
}

func textOf(s string) outputText {
	return outputText{Type: "output_text", Text: s, Annotations: []string{}, Logprobs: []string{}}
}

// endItem completes the one message of an answer.
func endItem(item outputItem, reply answer) outputItem {
	item.Status, item.Content = reply.reason("completed", "incomplete"), []outputText{textOf(reply.text())}
	return item
}

// endResponse completes the answer.
func (c *call) endResponse(out response, item outputItem, reply answer) response {
	now := c.now().Unix()
	out.Status, out.Output = reply.reason("completed", "incomplete"), []outputItem{endItem(item, reply)}
	if reply.truncated {
		out.IncompleteDetails = &incomplete{"max_output_tokens"}
	} else {
		out.CompletedAt = &now
	}
	out.Usage = &responsesUsage{InputTokens: reply.in, OutputTokens: reply.out(), TotalTokens: reply.in + reply.out()}
	return out
}

func (c *call) streamResponse(out response, item outputItem, reply answer) {
	c.stream("text/event-stream")
	zero, number, none := 0, 0, []string{}
	emit := func(kind string, e responsesEvent) {
		e.Type, e.SequenceNumber = kind, number
		number++
		c.event(kind, e)
	}
	inItem := func(e responsesEvent) responsesEvent {
		e.ItemID, e.OutputIndex, e.ContentIndex = item.ID, &zero, &zero
		return e
	}
	emit("response.created", responsesEvent{Response: &out})
	emit("response.in_progress", responsesEvent{Response: &out})
	emit("response.output_item.added", responsesEvent{OutputIndex: &zero, Item: &item})
	part := textOf("")
	emit("response.content_part.added", inItem(responsesEvent{Part: &part}))
	stayed := c.say(reply.words, func(word string) {
		emit("response.output_text.delta", inItem(responsesEvent{Delta: &word, Logprobs: &none}))
	})
	if !stayed {
		return
	}
	whole := reply.text()
	part = textOf(whole)
	done, end := endItem(item, reply), c.endResponse(out, item, reply)
	emit("response.output_text.done", inItem(responsesEvent{Text: &whole, Logprobs: &none}))
	emit("response.content_part.done", inItem(responsesEvent{Part: &part}))
	emit("response.output_item.done", responsesEvent{OutputIndex: &zero, Item: &done})
	emit("response."+end.Status, responsesEvent{Response: &end})
}
