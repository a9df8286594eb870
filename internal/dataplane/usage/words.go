package usage

import (
	"bytes"

	"ollama-api-pool/internal/gateway"
)

// word is a set of the JSON keys whose values a Meter reads.
type word uint32

const (
	wordUsage      word = 1 << iota // the object with the figures
	wordError                       // an object of that name in a chat chunk
	wordType                        // what the event is
	wordDone                        // Ollama's last line
	wordPromptEval                  // Ollama's input tokens
	wordEval                        // Ollama's output tokens
	wordContent                     // from here on: the keys under which text arrives
	wordReasoning
	wordText
	wordArguments
	wordRefusal
	wordDelta
	wordThinking
	wordPartialJSON
	wordResponse
	wordDoneMark // no key: data: [DONE]

	textWords = wordContent | wordReasoning | wordText | wordArguments | wordRefusal |
		wordDelta | wordThinking | wordPartialJSON | wordResponse
)

// wanted returns the keys to read in a dialect, after the public references:
// platform.openai.com/docs/api-reference (chat, completions, responses),
// docs.anthropic.com/en/docs/build-with-claude/streaming, openrouter.ai/docs
// (reasoning, errors inside a stream) and docs/api.md of ollama/ollama.
func wanted(d gateway.Dialect, stream bool) word {
	figures := wordUsage
	if d == gateway.DialectOllama {
		figures = wordPromptEval | wordEval
	}
	if !stream {
		return figures
	}
	switch d {
	case gateway.DialectResponses:
		return figures | wordType | wordDelta
	case gateway.DialectAnthropic:
		return figures | wordType | wordText | wordThinking | wordPartialJSON
	case gateway.DialectOllama:
		return figures | wordDone | wordContent | wordThinking | wordResponse
	default:
		return figures | wordError | wordContent | wordReasoning | wordText | wordArguments | wordRefusal | wordDoneMark
	}
}

// wordBefore returns the key that ends in front of the colon at s[colon], and
// where its opening quote stands; 0 for a key that nobody wants to read. A
// quote in front of a colon closes a key unless it stands inside a string, and
// there it is escaped: text can never pass for a key.
func wordBefore(s []byte, colon int) (w word, start int) {
	q := colon - 1
	for q >= 0 && colon-q <= maxBlank && isBlank(s[q]) {
		q--
	}
	if q < 5 || s[q] != '"' {
		return 0, 0
	}
	// The last four letters tell nearly every other key apart at once.
	switch string(s[q-4 : q]) {
	case "sage":
		return wordIs(s, q, "usage", wordUsage)
	case "rror":
		return wordIs(s, q, "error", wordError)
	case "type":
		return wordIs(s, q, "type", wordType)
	case "done":
		return wordIs(s, q, "done", wordDone)
	case "ount":
		if w, start = wordIs(s, q, "eval_count", wordEval); w != 0 {
			return w, start
		}
		return wordIs(s, q, "prompt_eval_count", wordPromptEval)
	case "tent":
		if w, start = wordIs(s, q, "content", wordContent); w != 0 {
			return w, start
		}
		return wordIs(s, q, "reasoning_content", wordReasoning)
	case "ning":
		return wordIs(s, q, "reasoning", wordReasoning)
	case "text":
		return wordIs(s, q, "text", wordText)
	case "ents":
		return wordIs(s, q, "arguments", wordArguments)
	case "usal":
		return wordIs(s, q, "refusal", wordRefusal)
	case "elta":
		return wordIs(s, q, "delta", wordDelta)
	case "king":
		return wordIs(s, q, "thinking", wordThinking)
	case "json":
		return wordIs(s, q, "partial_json", wordPartialJSON)
	case "onse":
		return wordIs(s, q, "response", wordResponse)
	}
	return 0, 0
}

// wordIs returns w when the key that closes at s[quote] is name.
func wordIs(s []byte, quote int, name string, w word) (word, int) {
	start := quote - len(name) - 1
	if start < 0 || s[start] != '"' || string(s[start+1:quote]) != name {
		return 0, 0
	}
	return w, start
}

// scan searches s for wanted keys from the place from on and reads their
// values. last says that no more of the line will come. It returns how much of
// s must stay for the bytes to come, and from where on to search then.
func (m *Meter) scan(s []byte, from int, last bool) (keep, next int) {
	for i := from; ; {
		j := bytes.IndexByte(s[i:], ':')
		if j < 0 {
			return max(0, len(s)-lookback), len(s)
		}
		i += j
		w, start := wordBefore(s, i)
		if w &= m.want; w == 0 {
			i++
			continue
		}
		end := m.read(w, s, i+1, last)
		if end < 0 {
			return start, i
		}
		i = end
	}
}
