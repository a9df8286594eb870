package simulator

import (
	"hash/fnv"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// model is one entry of a provider's list.
type model struct {
	id         string
	title      string // OpenRouter: the name that people read
	family     string
	parameters string
	quant      string
	context    int
	width      int // of its embeddings inside
	size       int64
	addedAt    time.Time
	extra      bool // costs extra: a key with FatePlan may not use it
	embeds     bool // makes vectors and cannot chat
	can        []string
	slow       int // how many times as long as others it takes for an answer; 0: once
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// The lists follow https://ollama.com/api/tags and https://openrouter.ai/api/v1/models
// in form and naming; sizes are approximate.
var (
	ollamaCatalogue = []model{
		{id: "kimi-k2:1t", family: "kimi-k2", parameters: "1042B", quant: "FP8", context: 262144, width: 7168, size: 1118481408000, addedAt: day(2025, 9, 5), extra: true, can: []string{"completion", "tools"}, slow: 2},
		{id: "qwen3-coder:480b", family: "qwen3moe", parameters: "480B", quant: "BF16", context: 262144, width: 6144, size: 510489280000, addedAt: day(2025, 7, 22), can: []string{"completion", "tools"}},
		{id: "gpt-oss:120b", family: "gptoss", parameters: "116.8B", quant: "MXFP4", context: 131072, width: 2880, size: 65290180000, addedAt: day(2025, 8, 5), can: []string{"completion", "tools", "thinking"}},
		{id: "gpt-oss:20b", family: "gptoss", parameters: "20.9B", quant: "MXFP4", context: 131072, width: 2880, size: 13780160000, addedAt: day(2025, 8, 5), can: []string{"completion", "tools", "thinking"}},
		{id: "deepseek-v3.1:671b", family: "deepseek2", parameters: "671B", quant: "FP8", context: 163840, width: 7168, size: 688586700000, addedAt: day(2025, 8, 21), extra: true, can: []string{"completion", "tools", "thinking"}, slow: 2},
		{id: "glm-4.7", family: "glm4moe", parameters: "357B", quant: "BF16", context: 202752, width: 5120, size: 696060000000, addedAt: day(2025, 12, 22), extra: true, can: []string{"completion", "tools", "thinking"}},
		{id: "gemma3:27b", family: "gemma3", parameters: "27.4B", quant: "BF16", context: 131072, width: 5376, size: 55000000000, addedAt: day(2025, 3, 12), can: []string{"completion", "vision"}},
		{id: "qwen3-vl:235b", family: "qwen3vlmoe", parameters: "235B", quant: "BF16", context: 262144, width: 4096, size: 471000000000, addedAt: day(2025, 9, 22), can: []string{"completion", "vision", "tools"}},
		{id: "mistral-large-3:675b", family: "mistral3", parameters: "675B", quant: "FP8", context: 262144, width: 7168, size: 682000000000, addedAt: day(2025, 12, 2), extra: true, can: []string{"completion", "vision", "tools"}, slow: 2},
		{id: "minimax-m2", family: "minimax-m2", parameters: "230B", quant: "FP8", context: 204800, width: 3072, size: 230000000000, addedAt: day(2025, 10, 27), can: []string{"completion", "tools", "thinking"}},
		{id: "embeddinggemma:300m", family: "gemma3", parameters: "308M", quant: "BF16", context: 2048, width: 768, size: 621000000, addedAt: day(2025, 9, 4), embeds: true, can: []string{"embedding"}},
	}
	openRouterCatalogue = []model{
		{id: "moonshotai/kimi-k2", title: "MoonshotAI: Kimi K2", family: "Other", context: 131072, addedAt: day(2025, 7, 11), extra: true, slow: 2},
		{id: "qwen/qwen3-coder:free", title: "Qwen: Qwen3 Coder 480B A35B (free)", family: "Qwen3", context: 262144, addedAt: day(2025, 7, 23)},
		{id: "qwen/qwen3-coder", title: "Qwen: Qwen3 Coder 480B A35B", family: "Qwen3", context: 262144, addedAt: day(2025, 7, 23), extra: true},
		{id: "openai/gpt-oss-120b", title: "OpenAI: gpt-oss-120b", family: "GPT", context: 131072, addedAt: day(2025, 8, 5), extra: true},
		{id: "openai/gpt-oss-20b:free", title: "OpenAI: gpt-oss-20b (free)", family: "GPT", context: 131072, addedAt: day(2025, 8, 5)},
		{id: "deepseek/deepseek-chat-v3.1:free", title: "DeepSeek: DeepSeek V3.1 (free)", family: "DeepSeek", context: 163840, addedAt: day(2025, 8, 21)},
		{id: "deepseek/deepseek-chat-v3.1", title: "DeepSeek: DeepSeek V3.1", family: "DeepSeek", context: 163840, addedAt: day(2025, 8, 21), extra: true},
		{id: "z-ai/glm-4.6", title: "Z.AI: GLM 4.6", family: "Other", context: 202752, addedAt: day(2025, 9, 30), extra: true},
		{id: "google/gemma-3-27b-it:free", title: "Google: Gemma 3 27B (free)", family: "Gemini", context: 131072, addedAt: day(2025, 3, 12)},
		{id: "meta-llama/llama-3.3-70b-instruct:free", title: "Meta: Llama 3.3 70B Instruct (free)", family: "Llama3", context: 131072, addedAt: day(2024, 12, 6)},
		{id: "mistralai/mistral-small-3.2-24b-instruct", title: "Mistral: Mistral Small 3.2 24B", family: "Mistral", context: 131072, addedAt: day(2025, 6, 20), extra: true},
		{id: "openai/text-embedding-3-small", title: "OpenAI: Text Embedding 3 Small", family: "GPT", context: 8192, addedAt: day(2025, 10, 30), extra: true, embeds: true},
	}
)

// catalogue returns the models of a provider.
func catalogue(p gateway.ProviderName) []model {
	if p == gateway.OpenRouter {
		return openRouterCatalogue
	}
	return ollamaCatalogue
}

// find looks a model up by its id; Ollama's tag "latest" may be left out.
func find(p gateway.ProviderName, id string) (model, bool) {
	for _, m := range catalogue(p) {
		if m.id == id || (p == gateway.Ollama && m.id+":latest" == id) {
			return m, true
		}
	}
	return model{}, false
}

// listed returns the provider's models in the order that the key sees.
func (c *call) listed() []model { return listedFor(c.provider, c.key) }

// listedFor begins at a place of the key's own, so that the keys of a demo, which
// are filed under the family of their first model, do not all fall into one
// category.
func listedFor(p gateway.ProviderName, key string) []model {
	all := catalogue(p)
	if key == "" {
		return all
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	at := int(h.Sum32() % uint32(len(all))) //nolint:gosec // a list of a dozen
	return slices.Concat(all[at:], all[:at])
}

// FirstModel is the first model in the list that a key gets, by which a check
// files it.
func FirstModel(p gateway.ProviderName, key gateway.Secret) string {
	return listedFor(p, key.Reveal())[0].id
}
