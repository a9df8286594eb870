package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// ask is what a request of any dialect may hold, as far as it matters here.
type ask struct {
	Model    string `json:"model"`
	Name     string `json:"name"` // older name of Model in Ollama's API
	Stream   *bool  `json:"stream"`
	System   texts  `json:"system"`
	Messages []struct {
		Role    string `json:"role"`
		Content texts  `json:"content"`
	} `json:"messages"`
	Prompt       texts `json:"prompt"`
	Instructions texts `json:"instructions"`
	Input        texts `json:"input"`

	MaxTokens           int `json:"max_tokens"`
	MaxCompletionTokens int `json:"max_completion_tokens"`
	MaxOutputTokens     int `json:"max_output_tokens"`
	Options             struct {
		NumPredict int `json:"num_predict"`
	} `json:"options"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	Dimensions     int    `json:"dimensions"`
	EncodingFormat string `json:"encoding_format"`

	Query      string `json:"query"`
	MaxResults int    `json:"max_results"`
	URL        string `json:"url"`
}

// texts collects the text of a value that may be a string, a list, or content
// parts that hold text.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *texts) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*t = nil
	t.collect(v)
	return nil
}

func (t *texts) collect(v any) {
	switch v := v.(type) {
	case string:
		*t = append(*t, v)
	case []any:
		for _, item := range v {
			t.collect(item)
		}
	case map[string]any:
		t.collect(v["text"])
		t.collect(v["content"])
	}
}

// read decodes the body. A body that makes no sense is answered with 400, and
// read reports false.
func (c *call) read(a *ask) bool {
	if err := json.NewDecoder(c.r.Body).Decode(a); err != nil {
		c.refuse(http.StatusBadRequest, fmt.Sprintf("invalid request body: %v", err))
		return false
	}
	if a.Model == "" {
		a.Model = a.Name
	}
	return true
}

// streams says whether the answer is to come in parts, given what the dialect
// does where the request does not say.
func (a *ask) streams(byDefault bool) bool {
	if a.Stream == nil {
		return byDefault
	}
	return *a.Stream
}

// spoken returns all the text of the request, the newest last.
func (a *ask) spoken() []string {
	all := append(texts{}, a.System...)
	all = append(all, a.Instructions...)
	for _, m := range a.Messages {
		all = append(all, m.Content...)
	}
	all = append(all, a.Input...)
	return append(all, a.Prompt...)
}

// limit is the most tokens that the answer may have; 0: as many as it likes.
func (a *ask) limit() int {
	for _, n := range []int{a.MaxTokens, a.MaxCompletionTokens, a.MaxOutputTokens, a.Options.NumPredict} {
		if n > 0 {
			return n
		}
	}
	return 0
}

// answer is what the simulated model says. A word counts as a token.
type answer struct {
	words     []string // with their spaces
	in        int      // tokens of the request
	truncated bool     // the request's limit cut it short
}

// echoed is how much of the prompt an answer repeats, in bytes.
const echoed = 120

// reply makes the answer to a request.
func (a *ask) reply() answer {
	said := a.spoken()
	text := "This is a simulated answer: no language model was asked. " +
		"The built-in demo upstream plays " + a.Model + " and streams these words one by one."
	if len(said) > 0 {
		if last := strings.Join(strings.Fields(said[len(said)-1]), " "); last != "" {
			text += " You wrote: “" + clip(last) + "”."
		}
	}
	text += " To ask a real model, start the program with serve and keys of your own."
	out := answer{words: strings.SplitAfter(text, " "), in: tokens(said)}
	if n := a.limit(); n > 0 && n < len(out.words) {
		out.words, out.truncated = out.words[:n], true
	}
	return out
}

func (a answer) text() string { return strings.Join(a.words, "") }

func (a answer) out() int { return len(a.words) }

// reason names the end of the answer with one of two words.
func (a answer) reason(whole, cut string) string {
	if a.truncated {
		return cut
	}
	return whole
}

// tokens estimates the size of a prompt: four bytes a token, and some for its
// frame.
func tokens(said []string) int {
	n := 4
	for _, s := range said {
		n += (len(s) + 3) / 4
	}
	return n
}
