package check

import "strings"

// General is the category of a key whose first model is of no known family.
const General = "general"

// families are the known ones, each with the words by which models' names show
// it. A word counts where it begins a word of the name, and one of three
// letters only if no further letter follows it.
var families = [...]struct {
	name  string
	words []string
}{
	{"gpt-oss", []string{"gpt-oss"}},
	{"kimi", []string{"kimi", "moonshot"}},
	{"llama", []string{"llama", "codellama", "tinyllama"}},
	{"qwen", []string{"qwen", "qwq", "qvq"}},
	{"deepseek", []string{"deepseek"}},
	{"glm", []string{"glm", "chatglm", "codegeex", "z-ai"}},
	{"gemma", []string{"gemma", "codegemma", "medgemma", "shieldgemma", "embeddinggemma"}},
	{"mistral", []string{"mistral", "mixtral", "ministral", "codestral", "devstral", "magistral", "pixtral", "voxtral"}},
	{"minimax", []string{"minimax"}},
	{"phi", []string{"phi"}},
	{"command", []string{"command-r", "command-a", "c4ai", "cohere"}},
	{"claude", []string{"claude", "anthropic"}},
	{"gpt", []string{"gpt", "chatgpt", "openai", "codex"}},
	{"gemini", []string{"gemini"}},
	{"grok", []string{"grok", "x-ai"}},
	{"nova", []string{"nova"}},
	{"nemotron", []string{"nemotron"}},
	{"granite", []string{"granite"}},
	{"cogito", []string{"cogito"}},
	{"olmo", []string{"olmo"}},
	{"ernie", []string{"ernie"}},
	{"hunyuan", []string{"hunyuan"}},
	{"jamba", []string{"jamba"}},
	{"mimo", []string{"mimo"}},
	{"longcat", []string{"longcat"}},
	{"sonar", []string{"sonar"}},
}

// Family tells a model's family by its name: kimi, llama, qwen, …, else
// General. Where a name speaks of several, as those of distilled models do, the
// first one counts, and the name itself before the vendor in front of a slash.
func Family(model string) string {
	vendor, name := "", strings.ToLower(model)
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		vendor, name = name[:i], name[i+1:]
	}
	for _, text := range [...]string{name, vendor} {
		if family := firstFamily(text); family != "" {
			return family
		}
	}
	return General
}

// firstFamily finds the family whose word comes first in a text; of two at the
// same place the longer one.
func firstFamily(text string) (family string) {
	best, length := len(text), 0
	for i := range families {
		for _, word := range families[i].words {
			if at := wordAt(text, word); at >= 0 && (at < best || at == best && len(word) > length) {
				family, best, length = families[i].name, at, len(word)
			}
		}
	}
	return family
}

// wordAt finds where a word begins a word of a text, or gives -1.
func wordAt(text, word string) int {
	for from := 0; ; {
		i := strings.Index(text[from:], word)
		if i < 0 {
			return -1
		}
		at := from + i
		end := at + len(word)
		begins := at == 0 || !isLetter(text[at-1])
		if begins && (len(word) > 3 || end == len(text) || !isLetter(text[end])) {
			return at
		}
		from = at + 1
	}
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' }
