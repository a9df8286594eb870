package check

import (
	"strings"
	"testing"
)

func TestFamily(t *testing.T) {
	for family, models := range map[string]string{
		"gpt-oss":  "gpt-oss:120b gpt-oss:20b-cloud openai/gpt-oss-120b GPT-OSS-Safeguard",
		"kimi":     "kimi-k2:1t moonshotai/kimi-k2-thinking moonshotai/kimi-linear-48b moonshot-v1-8k",
		"llama":    "llama3.3 meta-llama/llama-4-maverick:free codellama:7b tinyllama nousresearch/hermes-3-llama-3.1-405b",
		"qwen":     "qwen3-coder:480b qwen/qwq-32b qwen3-vl:235b-instruct",
		"deepseek": "deepseek-v3.1:671b deepseek/deepseek-r1-distill-llama-70b deepseek-r1-0528-qwen3-8b",
		"glm":      "glm-4.6 z-ai/glm-4.5-air:free thudm/glm-z1-32b chatglm3 z-ai/new",
		"gemma":    "gemma3:27b google/gemma-3n-e4b-it codegemma",
		"mistral":  "mistral-large mistralai/mixtral-8x22b codestral devstral-small-2 mistralai/ministral-8b pixtral ministral-3:14b",
		"minimax":  "minimax-m2 minimax/minimax-m1",
		"phi":      "phi4 microsoft/phi-4-reasoning phi-3.5 phi",
		"command":  "command-r-plus cohere/command-a cohere/north",
		"claude":   "anthropic/claude-opus-4.5 claude-3-5-haiku",
		"gpt":      "openai/gpt-5.1 chatgpt-4o-latest openai/o3-mini gpt4all",
		"gemini":   "google/gemini-2.5-pro gemini-3-pro-preview",
		"grok":     "x-ai/grok-4-fast grok-code",
		"nova":     "amazon/nova-pro-v1 nova-2-lite",
		"nemotron": "nvidia/nemotron-nano-9b-v2 nemotron-3-nano:30b",
		"granite":  "ibm-granite/granite-4.0-h-micro",
		General:    "example/unknown-1 philosopher cognition glmx sulphide mysonarious ollama/thing google/unknown : /",
	} {
		for model := range strings.FieldsSeq(models) {
			if got := Family(model); got != family {
				t.Errorf("%s is of %s, want %s", model, got, family)
			}
		}
	}
	if Family("") != General {
		t.Error("no name has a family")
	}
}

func FuzzFamily(f *testing.F) {
	for _, s := range []string{"", "kimi-k2", "a/b/c", "x-ai/grok", "phi", "/", "ÿ/gpt"} {
		f.Add(s)
	}
	known := map[string]bool{General: true}
	for i := range families {
		known[families[i].name] = true
	}
	f.Fuzz(func(t *testing.T, model string) {
		if got := Family(model); !known[got] {
			t.Errorf("%q is of %q", model, got)
		}
	})
}
