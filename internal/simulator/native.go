package simulator

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Ollama's own API: https://docs.ollama.com/api. Durations are nanoseconds.

// details is what a model list and /api/show say of a model. Ollama Cloud
// leaves them empty in its list.
type details struct {
	ParentModel       string   `json:"parent_model"`
	Format            string   `json:"format"`
	Family            string   `json:"family"`
	Families          []string `json:"families"`
	ParameterSize     string   `json:"parameter_size"`
	QuantizationLevel string   `json:"quantization_level"`
}

type tag struct {
	Name       string    `json:"name"`
	Model      string    `json:"model"`
	ModifiedAt time.Time `json:"modified_at"`
	Size       int64     `json:"size"`
	Digest     string    `json:"digest"`
	Details    details   `json:"details"`
}

// tags lists the models, to anybody: Ollama Cloud does not look at the key here.
func tags(c *call) {
	out := struct {
		Models []tag `json:"models"`
	}{Models: []tag{}}
	for _, m := range c.listed() {
		out.Models = append(out.Models, tag{
			Name: m.id, Model: m.id, ModifiedAt: m.addedAt, Size: m.size, Digest: fmt.Sprintf("%012x", m.size/1000),
		})
	}
	c.json(http.StatusOK, out)
}

// simulatedVersion is one that current clients accept.
const simulatedVersion = "0.17.4"

func version(c *call) {
	c.json(http.StatusOK, map[string]string{"version": simulatedVersion})
}

// show describes a model, to anybody. The command's `show` and `run` read
// capabilities, details and, in model_info, the keys below.
func show(c *call) {
	var a ask
	if !c.read(&a) {
		return
	}
	if a.Model == "" {
		c.refuse(http.StatusBadRequest, "model is required")
		return
	}
	m, ok := find(gateway.Ollama, a.Model)
	if !ok {
		c.refuse(http.StatusNotFound, fmt.Sprintf("model '%s' not found", a.Model))
		return
	}
	c.json(http.StatusOK, struct {
		Details      details        `json:"details"`
		ModelInfo    map[string]any `json:"model_info"`
		Capabilities []string       `json:"capabilities"`
		ModifiedAt   time.Time      `json:"modified_at"`
	}{
		Details: details{Family: m.family, Families: []string{m.family}, ParameterSize: m.parameters, QuantizationLevel: m.quant},
		ModelInfo: map[string]any{
			"general.architecture":         m.family,
			m.family + ".context_length":   m.context,
			m.family + ".embedding_length": m.width,
		},
		Capabilities: m.can,
		ModifiedAt:   m.addedAt,
	})
}

type nativeMessage struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// nativePart is a line of a stream, or a whole answer: of /api/chat with
// Message, of /api/generate with Response.
type nativePart struct {
	Model      string         `json:"model"`
	CreatedAt  time.Time      `json:"created_at"`
	Message    *nativeMessage `json:"message,omitempty"`
	Response   *string        `json:"response,omitempty"`
	Done       bool           `json:"done"`
	DoneReason string         `json:"done_reason,omitempty"`

	TotalDuration      time.Duration `json:"total_duration,omitempty"`
	LoadDuration       time.Duration `json:"load_duration,omitempty"`
	PromptEvalCount    int           `json:"prompt_eval_count,omitempty"`
	PromptEvalDuration time.Duration `json:"prompt_eval_duration,omitempty"`
	EvalCount          int           `json:"eval_count,omitempty"`
	EvalDuration       time.Duration `json:"eval_duration,omitempty"`
}

// last turns a part into the one that ends an answer.
func (p nativePart) last(c *call, a answer) nativePart {
	spent := max(time.Since(c.started), 4*time.Microsecond)
	p.Done, p.DoneReason = true, a.reason("stop", "length")
	p.TotalDuration, p.LoadDuration, p.PromptEvalDuration, p.EvalDuration = spent, spent/4, spent/4, spent/2
	p.PromptEvalCount, p.EvalCount = a.in, a.out()
	return p
}

func nativeChat(c *call, a *ask, m model) {
	if m.embeds {
		c.refuse(http.StatusBadRequest, fmt.Sprintf("%q does not support chat", m.id))
		return
	}
	c.native(a, len(a.Messages) == 0, func(text string) nativePart {
		return nativePart{Model: a.Model, CreatedAt: c.now().UTC(), Message: &nativeMessage{"assistant", text}}
	})
}

func nativeGenerate(c *call, a *ask, m model) {
	if m.embeds {
		c.refuse(http.StatusBadRequest, fmt.Sprintf("%q does not support generate", m.id))
		return
	}
	empty := len(a.Prompt) == 0 || a.Prompt[0] == ""
	c.native(a, empty, func(text string) nativePart {
		return nativePart{Model: a.Model, CreatedAt: c.now().UTC(), Response: &text}
	})
}

// native answers in parts or whole. A request without anything to answer only
// loads the model, which the command's `run` does first.
func (c *call) native(a *ask, empty bool, part func(text string) nativePart) {
	if empty {
		p := part("")
		p.Done, p.DoneReason = true, "load"
		c.json(http.StatusOK, p)
		return
	}
	reply := a.reply()
	if !a.streams(true) {
		if c.take(reply.out()) {
			c.json(http.StatusOK, part(reply.text()).last(c, reply))
		}
		return
	}
	c.stream("application/x-ndjson")
	if c.say(reply.words, func(word string) { c.line(part(word)) }) {
		c.line(part("").last(c, reply))
	}
}

func nativeEmbed(c *call, a *ask, _ model) {
	if len(a.Input) == 0 {
		c.refuse(http.StatusBadRequest, "input is required")
		return
	}
	out := struct {
		Model           string        `json:"model"`
		Embeddings      [][]float32   `json:"embeddings"`
		TotalDuration   time.Duration `json:"total_duration"`
		LoadDuration    time.Duration `json:"load_duration"`
		PromptEvalCount int           `json:"prompt_eval_count"`
	}{Model: a.Model, PromptEvalCount: tokens(a.Input)}
	for _, text := range a.Input {
		out.Embeddings = append(out.Embeddings, vector(text, a.Dimensions))
	}
	out.TotalDuration = max(time.Since(c.started), 2)
	out.LoadDuration = out.TotalDuration / 2
	c.json(http.StatusOK, out)
}

func nativeEmbeddings(c *call, a *ask, _ model) {
	if len(a.Prompt) == 0 {
		c.refuse(http.StatusBadRequest, "prompt is required")
		return
	}
	c.json(http.StatusOK, map[string][]float32{"embedding": vector(a.Prompt[0], 0)})
}

// Web search and fetch: https://docs.ollama.com/capabilities/web-search.

type page struct {
	Title   string   `json:"title"`
	URL     string   `json:"url,omitempty"`
	Content string   `json:"content"`
	Links   []string `json:"links,omitempty"`
}

func webSearch(c *call) {
	var a ask
	if !c.authorized() || !c.read(&a) {
		return
	}
	if a.Query == "" {
		c.refuse(http.StatusBadRequest, "query is required")
		return
	}
	if !c.served(model{}) {
		return
	}
	n := 5
	if a.MaxResults > 0 {
		n = min(a.MaxResults, 10)
	}
	out := make([]page, n)
	for i := range out {
		out[i] = page{
			Title:   fmt.Sprintf("Simulated result %d", i+1),
			URL:     fmt.Sprintf("https://example.com/simulated/%d?q=%s", i+1, url.QueryEscape(clip(a.Query))),
			Content: "This is a simulated search result: nothing was searched. You asked for “" + clip(a.Query) + "”.",
		}
	}
	c.json(http.StatusOK, map[string][]page{"results": out})
}

func webFetch(c *call) {
	var a ask
	if !c.authorized() || !c.read(&a) {
		return
	}
	if a.URL == "" {
		c.refuse(http.StatusBadRequest, "url is required")
		return
	}
	if c.served(model{}) {
		c.json(http.StatusOK, page{
			Title:   "Simulated page",
			Content: "This is a simulated page: nothing was fetched from " + clip(a.URL) + ".",
			Links:   []string{"https://example.com/simulated/1", "https://example.com/simulated/2"},
		})
	}
}
