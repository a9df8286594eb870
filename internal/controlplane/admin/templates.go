package admin

import (
	"net/http"

	"ollama-api-pool/internal/httpkit"
)

// template is a sample prompt.
type template struct {
	ID           string  `json:"id"`
	Label        string  `json:"label"`
	Description  string  `json:"description"`
	SystemPrompt string  `json:"systemPrompt"`
	UserMessage  string  `json:"userMessage"`
	Temperature  float64 `json:"temperature"`
	Stream       bool    `json:"stream"`
}

// templates are the sample prompts, for the playground and for smoke tests. An
// id stays what it is once it was given away.
var templates = []template{
	{
		"hello", "Say hello", "The shortest useful request: does anything answer?",
		"You answer in one short sentence.", "Say hello and name the model that you are.", 0.2, false,
	},
	{
		"stream-count", "Count aloud", "A steady stream of short parts, to see whether they arrive one by one.",
		"You write nothing but what is asked for.", "Count from one to thirty in words, one word a line.", 0, true,
	},
	{
		"explain-cache", "Explain a cache", "An explanation with reasons, streamed.",
		"You explain to engineers. Short sentences, one example.",
		"Why does a cache need a rule for what to throw away first? Name three rules and when each is right.", 0.7, true,
	},
	{
		"write-sql", "Write SQL", "A query for a question, in a fixed form.",
		"You write PostgreSQL. Answer with one code block and nothing else.",
		"Table orders(id, customer_id, total, placed_at). Which ten customers spent most in the last 30 days, and how much?", 0.1, true,
	},
	{
		"review-code", "Review a function", "Finding a mistake in a few lines of Go.",
		"You review code. Name the most serious mistake first, then show the repaired lines.",
		"func mean(xs []int) int {\n\tsum := 0\n\tfor i := 0; i <= len(xs); i++ {\n\t\tsum += xs[i]\n\t}\n\treturn sum / len(xs)\n}", 0.2, true,
	},
	{
		"translate", "Translate", "English to Chinese, with a word that has no short equal.",
		"You translate into simplified Chinese. Keep names and code as they are. Answer with the translation only.",
		"The gateway lends a key to each request and takes it back when the answer is complete; a key that is out of quota rests until its window ends.", 0.3, true,
	},
	{
		"summarise", "Summarise", "A long text made short.",
		"You summarise for somebody in a hurry: three points, at most twelve words each.",
		"On Monday at 09:12 the nightly copy of the orders table was found to be empty. The job had run, but a renamed column made its filter match nothing, " +
			"and nobody is told when a copy has no rows. The copy of Sunday was whole, so nothing was lost. The filter is repaired, the job now fails when it copies " +
			"fewer than half of the rows of the day before, and the person on duty gets a message when it does.", 0.3, true,
	},
	{
		"extract-json", "Extract JSON", "Facts from a sentence as JSON, which a program can check.",
		`You answer with one JSON object and nothing else: {"name": string, "city": string, "age": number or null}.`,
		"Last spring Mira, who had just turned forty-one, moved her bakery to Trondheim.", 0, false,
	},
	{
		"reason", "Think it through", "A riddle that needs several steps.",
		"Think step by step, then give the answer on a line of its own.",
		"Three boxes are labelled apples, pears, and apples and pears. Every label is wrong. You may take one fruit out of one box without looking inside. Which box do you choose, and how do you then label all three?", 0.5, true,
	},
	{
		"story", "Tell a story", "A long, lively answer at a high temperature.",
		"You tell stories for adults in plain words.",
		"Tell a story of about 300 words in which a lighthouse keeper receives a letter that was meant for the sea.", 1, true,
	},
}

type templatesAnswer struct {
	Templates []template `json:"templates"`
}

var listTemplatesDoc = operation{
	summary: "Sample prompts", group: "System", answer: templatesAnswer{}, open: true,
	about: "For the playground and for smoke tests. Their ids stay.",
}

// listTemplates shows the sample prompts. They are no secret and rarely change.
func (a *API) listTemplates(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "public, max-age=3600")
	return httpkit.WriteJSON(w, http.StatusOK, templatesAnswer{templates})
}
