package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/swaggest/openapi-go/openapi31"

	"ollama-api-pool/internal/gateway"
)

// Who may call an address that is not the admin API's.
const (
	forClients   = iota // needs a client token
	forListing          // needs one where MODELS_REQUIRE_AUTH is set
	forEverybody        // needs none
)

// outside is an address that another part of the program answers.
type outside struct {
	method, path string
	summary      string
	form         gateway.Dialect
	access       int
	body         string // an example of what is sent, in JSON; "": nothing
	answer       string // an example of what comes back, in JSON or as plain text
	status       int    // of that answer; 0: 200
	about        string
}

const (
	chatBody     = `{"model":"gpt-oss:120b","messages":[{"role":"user","content":"Say hello in one sentence."}],"stream":false}`
	chatAnswer   = `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-oss:120b","choices":[{"index":0,"message":{"role":"assistant","content":"Hello, nice to meet you."},"finish_reason":"stop"}],"usage":{"prompt_tokens":13,"completion_tokens":7,"total_tokens":20}}`
	textBody     = `{"model":"gpt-oss:120b","prompt":"The capital of France is","max_tokens":8}`
	textAnswer   = `{"id":"cmpl-1","object":"text_completion","model":"gpt-oss:120b","choices":[{"index":0,"text":" Paris.","finish_reason":"stop"}]}`
	embedBody    = `{"model":"embeddinggemma","input":["first text","second text"]}`
	embedAnswer  = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.01,-0.02]}],"model":"embeddinggemma"}`
	responseBody = `{"model":"gpt-oss:120b","input":"Say hello in one sentence."}`
	response     = `{"id":"resp_1","object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello, nice to meet you."}]}]}`
	messageBody  = `{"model":"gpt-oss:120b","max_tokens":200,"messages":[{"role":"user","content":"Say hello in one sentence."}]}`
	message      = `{"id":"msg_1","type":"message","role":"assistant","content":[{"type":"text","text":"Hello, nice to meet you."}],"stop_reason":"end_turn","usage":{"input_tokens":13,"output_tokens":7}}`
	oneModel     = `{"id":"gpt-oss:120b","object":"model","created":1754352000,"owned_by":"ollama","permission":[],"root":"gpt-oss:120b","parent":null}`
	modelList    = `{"object":"list","data":[` + oneModel + `]}`
	refusal      = `{"error":"a shared pool does not manage upstream models"}`
	readiness    = `{"status":"ok","service":"ollama-api-pool","version":"1.0.0","configured":true,"providers":{"ollama":{"enabled":true,"configured":true},"openrouter":{"enabled":true,"configured":false}},"timestamp":"2026-11-22T14:32:00Z","uptime":3600}`
)

// openAIAddresses are those that both providers have.
func openAIAddresses(prefix, where, model string) []outside {
	fit := func(example string) string { return strings.ReplaceAll(example, "gpt-oss:120b", model) }
	return []outside{
		{"POST", prefix + "/v1/chat/completions", "Chat" + where, gateway.DialectOpenAI, forClients, fit(chatBody), fit(chatAnswer), 0, "With `\"stream\":true` the answer is a stream of server-sent events."},
		{"POST", prefix + "/v1/completions", "Complete a text" + where, gateway.DialectOpenAI, forClients, fit(textBody), fit(textAnswer), 0, ""},
		{"POST", prefix + "/v1/embeddings", "Embeddings" + where, gateway.DialectOpenAI, forClients, embedBody, embedAnswer, 0, ""},
		{"POST", prefix + "/v1/responses", "Responses, as in OpenAI's newer API" + where, gateway.DialectResponses, forClients, fit(responseBody), response, 0, ""},
		{"POST", prefix + "/v1/messages", "Messages, as in Anthropic's API" + where, gateway.DialectAnthropic, forClients, fit(messageBody), message, 0, "The token may be sent as `x-api-key`."},
		{"GET", prefix + "/v1/models", "List models" + where, gateway.DialectOpenAI, forListing, "", fit(modelList), 0, "`X-Cache` says whether the list was at hand."},
		{"GET", prefix + "/v1/models/{model}", "Show a model" + where, gateway.DialectOpenAI, forListing, "", fit(oneModel), 0, "A slash in the model's name may be written as it is or as `%2F`."},
	}
}

// ollamaAddresses are Ollama's own API.
var ollamaAddresses = []outside{
	{"POST", "/api/chat", "Chat, as in Ollama's API", gateway.DialectOllama, forClients, chatBody, `{"model":"gpt-oss:120b","message":{"role":"assistant","content":"Hello, nice to meet you."},"done":true}`, 0, "Streams JSON lines unless `\"stream\":false` is sent."},
	{"POST", "/api/generate", "Complete a text, as in Ollama's API", gateway.DialectOllama, forClients, `{"model":"gpt-oss:120b","prompt":"Why is the sky blue?","stream":false}`, `{"model":"gpt-oss:120b","response":"Because of Rayleigh scattering.","done":true}`, 0, "Streams JSON lines unless `\"stream\":false` is sent."},
	{"POST", "/api/embed", "Embeddings, as in Ollama's API", gateway.DialectOllama, forClients, embedBody, `{"model":"embeddinggemma","embeddings":[[0.01,-0.02]]}`, 0, ""},
	{"POST", "/api/embeddings", "One embedding, as in Ollama's older API", gateway.DialectOllama, forClients, `{"model":"embeddinggemma","prompt":"first text"}`, `{"embedding":[0.01,-0.02]}`, 0, ""},
	{"POST", "/api/show", "Details of a model, as in Ollama's API", gateway.DialectOllama, forClients, `{"model":"gpt-oss:120b"}`, `{"details":{"family":"gptoss"},"capabilities":["completion","tools"]}`, 0, ""},
	{"POST", "/api/web_search", "Search the web, as in Ollama's API", gateway.DialectOllama, forClients, `{"query":"what is a token bucket"}`, `{"results":[{"title":"Token bucket","url":"https://example.com","content":"…"}]}`, 0, ""},
	{"POST", "/api/web_fetch", "Fetch a page, as in Ollama's API", gateway.DialectOllama, forClients, `{"url":"https://example.com"}`, `{"title":"Example","content":"…","links":[]}`, 0, ""},
	{"GET", "/api/tags", "List models, as in Ollama's API", gateway.DialectOllama, forClients, "", `{"models":[{"name":"gpt-oss:120b","model":"gpt-oss:120b"}]}`, 0, ""},
	{"GET", "/api/version", "Version, as Ollama's clients ask for it", gateway.DialectOllama, forClients, "", `{"version":"0.12.0"}`, 0, ""},
	{"GET", "/api/ps", "Running models, as Ollama's clients ask for them", gateway.DialectOllama, forClients, "", `{"models":[]}`, 0, ""},
	{"POST", "/api/pull", "Not allowed here: pull a model", gateway.DialectOllama, forClients, `{"model":"gpt-oss:120b"}`, refusal, http.StatusForbidden, ""},
	{"POST", "/api/push", "Not allowed here: push a model", gateway.DialectOllama, forClients, `{"model":"gpt-oss:120b"}`, refusal, http.StatusForbidden, ""},
	{"POST", "/api/create", "Not allowed here: create a model", gateway.DialectOllama, forClients, `{"model":"mine","from":"gpt-oss:120b"}`, refusal, http.StatusForbidden, ""},
	{"POST", "/api/copy", "Not allowed here: copy a model", gateway.DialectOllama, forClients, `{"source":"gpt-oss:120b","destination":"mine"}`, refusal, http.StatusForbidden, ""},
	{"DELETE", "/api/delete", "Not allowed here: delete a model", gateway.DialectOllama, forClients, `{"model":"mine"}`, refusal, http.StatusForbidden, ""},
	{"POST", "/api/blobs/{digest}", "Not allowed here: send a part of a model", gateway.DialectOllama, forClients, "", refusal, http.StatusForbidden, "No other method is allowed either."},
	{"GET", "/t/{token}/", "Greeting, with the token in the address", gateway.DialectOllama, forEverybody, "", "Ollama is running", 0, "Every address of this group works below `/t/{token}` too, for clients that can send no header. `TOKEN_IN_PATH=false` turns it off."},
}

// publicAddresses tell how the program is.
var publicAddresses = []outside{
	{"GET", "/health", "Whether the process can serve", gateway.DialectOpenAI, forEverybody, "", readiness, 0, ""},
	{"GET", "/health/ready", "Whether the pool is loaded and the process is not stopping", gateway.DialectOpenAI, forEverybody, "", readiness, 0, "503 until then."},
}

// outsides lists every address that this API does not answer itself.
func outsides() []outside {
	all := openAIAddresses("", "", "gpt-oss:120b")
	all = append(all, openAIAddresses("/openrouter", ", with OpenRouter's keys", "openai/gpt-oss-120b")...)
	all = append(all, ollamaAddresses...)
	return append(all, publicAddresses...)
}

// addDataPlane describes what clients use.
func (p *paper) addDataPlane() error {
	for _, x := range outsides() {
		if err := p.addOutside(&x); err != nil {
			return fmt.Errorf("describe %s %s: %w", x.method, x.path, err)
		}
	}
	return nil
}

func (p *paper) addOutside(x *outside) error {
	o := openapi31.Operation{}
	o.WithID(operationID(x.method, x.path)).WithSummary(x.summary)
	if x.about != "" {
		o.WithDescription(x.about)
	}
	o.WithTags("System")
	if x.form == gateway.DialectOllama || strings.Contains(x.path, "/v1/") {
		o.WithTags("Chat and models")
		o.WithMapOfAnythingItem("x-dialect", [...]string{"openai", "openai-responses", "anthropic", "ollama"}[x.form])
	}
	token := []map[string][]string{{byClientToken: {}}, {byClientKey: {}}}
	switch x.access {
	case forClients:
		o.Security = token
	case forListing:
		o.Security = append(token, map[string][]string{})
	default:
		o.Security = []map[string][]string{{}}
	}
	p.addPathParameters(&o, nil, x.path)
	if x.access == forClients && x.status == 0 {
		o.Parameters = append(o.Parameters, traceHeader())
	}
	if x.body != "" {
		media, err := exampleOf(x.body)
		if err != nil {
			return err
		}
		required := true
		o.RequestBody = &openapi31.RequestBodyOrReference{RequestBody: &openapi31.RequestBody{
			Required: &required, Content: map[string]openapi31.MediaType{"application/json": media},
		}}
	}
	if err := p.addExample(&o, x); err != nil {
		return err
	}
	return p.spec.AddOperation(strings.ToLower(x.method), x.path, o)
}

// traceHeader asks for a request's trail.
func traceHeader() openapi31.ParameterOrReference {
	about := "`true` or `1`: the request is kept in the request log however it ends, unless `REQUEST_LOG=off`. A second later " +
		"`GET /admin/requests/{id}`, with the `X-Request-Id` of the answer, shows which keys were tried. Not sent upstream."
	return openapi31.ParameterOrReference{Parameter: &openapi31.Parameter{
		Name: "X-Pool-Trace", In: openapi31.ParameterInHeader, Description: &about,
		Schema: map[string]any{"type": "string", "enum": []string{"true", "1"}},
	}}
}

// addExample describes what comes back, by an example.
func (p *paper) addExample(o *openapi31.Operation, x *outside) error {
	status := x.status
	if status == 0 {
		status = http.StatusOK
	}
	answer := openapi31.Response{Description: http.StatusText(status), Content: map[string]openapi31.MediaType{}}
	if strings.HasPrefix(x.answer, "{") {
		media, err := exampleOf(x.answer)
		if err != nil {
			return err
		}
		answer.Content["application/json"] = media
	} else {
		var text any = x.answer
		answer.Content["text/plain"] = openapi31.MediaType{Schema: map[string]any{"type": "string"}, Example: &text}
	}
	failure := openapi31.Response{Description: "What went wrong, in the words of the dialect, or the upstream's own answer.", Content: map[string]openapi31.MediaType{
		"application/json": {Schema: map[string]any{"type": "object"}},
	}}
	o.ResponsesEns().WithMapOfResponseOrReferenceValuesItem(strconv.Itoa(status), openapi31.ResponseOrReference{Response: &answer})
	o.Responses.WithDefault(openapi31.ResponseOrReference{Response: &failure})
	return nil
}

// exampleOf is a JSON object of any shape, with an example.
func exampleOf(text string) (openapi31.MediaType, error) {
	var example any
	if err := json.Unmarshal([]byte(text), &example); err != nil {
		return openapi31.MediaType{}, fmt.Errorf("read the example: %w", err)
	}
	return openapi31.MediaType{Schema: map[string]any{"type": "object"}, Example: &example}, nil
}
