package provider

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
)

// JudgeEvent judges an error that arrived inside an answer with status 200:
// payload is one event's data or one line of a stream, or a whole body. It
// reports false where the payload holds no error. The forms are OpenRouter's
// (error.code, choices[].error), OpenAI's (error, response.error, type error),
// Anthropic's (type error) and Ollama's (error as a string). The verdict is
// that of the same error with the status that it stands for.
func (a *Adapter) JudgeEvent(payload []byte, now time.Time) (gateway.Verdict, bool) {
	if !mayHoldError(payload) {
		return gateway.Verdict{}, false
	}
	f := &facts{now: now, fields: readFields(payload)}
	f.findRoot()
	if !f.isErrorEvent() {
		return gateway.Verdict{}, false
	}
	f.text = f.words()
	f.status = f.impliedStatus()
	_, v := a.decide(f)
	return v, true
}

// mayHoldError is a cheap look for "error" as a value, or as a name whose
// value is not null. What a model says is escaped and does not match.
func mayHoldError(payload []byte) bool {
	quoted := []byte(`"error"`)
	for {
		_, rest, found := bytes.Cut(payload, quoted)
		if !found {
			return false
		}
		payload = rest
		value, isName := bytes.CutPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":"))
		if !isName || !bytes.HasPrefix(bytes.TrimLeft(value, " \t\r\n"), []byte("null")) {
			return true
		}
	}
}

func (f *facts) isErrorEvent() bool {
	if f.root == "errors.0." {
		f.root = "" // GraphQL's and others' form; no stream has it
	}
	if f.root != "" || f.fields["type"] == "error" {
		return true
	}
	switch f.fields["error"] {
	case "", "false", "0":
		return false
	}
	return true
}

// impliedStatus finds the status that an error in a stream stands for: as a
// number, by a name, or by its words. An error that tells none is the
// upstream's.
func (f *facts) impliedStatus() int {
	for _, path := range []string{"code", "status", "status_code", "metadata.code"} {
		for _, at := range []string{f.root, ""} {
			if n, err := strconv.Atoi(f.fields[at+path]); err == nil && n >= 400 && n <= 599 {
				return n
			}
		}
	}
	for _, path := range []string{"metadata.error_type", "error_type", "code", "type"} {
		for _, at := range []string{f.root, "", "response."} {
			if n := statusNames[strings.ToLower(f.fields[at+path])]; n != 0 {
				return n
			}
		}
	}
	for _, w := range statusWords {
		if f.says(w.words) {
			return w.status
		}
	}
	return 500
}

// statusNames are the names of errors and the statuses that they stand for.
// Names that are used for anything (api_error, server_error) are left out, so
// that the words decide.
// OpenRouter: https://openrouter.ai/docs/api_reference/errors-and-debugging
// Anthropic: https://docs.anthropic.com/en/api/errors
var statusNames = map[string]int{
	"authentication": 401, "authentication_error": 401, "invalid_api_key": 401, "unauthorized": 401,
	"payment_required": 402, "billing_error": 402, "insufficient_credits": 402,
	"permission_denied": 403, "permission_error": 403, "forbidden": 403,
	"not_found": 404, "not_found_error": 404, "model_not_found": 404, "image_not_found": 404,
	"payload_too_large": 413, "request_too_large": 413,
	"unprocessable":       422,
	"rate_limit_exceeded": 429, "rate_limit_error": 429, "insufficient_quota": 429, "too_many_requests": 429,
	"provider_unavailable": 502, "provider_overloaded": 503, "overloaded_error": 529,
	"timeout": 504, "timeout_error": 504,

	"invalid_request": 400, "invalid_request_error": 400, "invalid_prompt": 400, "refusal": 400,
	"context_length_exceeded": 400, "max_tokens_exceeded": 400, "token_limit_exceeded": 400,
	"string_too_long": 400, "content_policy_violation": 400, "invalid_image": 400, "image_too_large": 400,
	"image_too_small": 400, "unsupported_image_format": 400, "image_download_failed": 400,
}

// statusWords stand for a status where an error has words only, as Ollama's.
var statusWords = []struct {
	status int
	words  []string
}{
	{401, []string{"unauthorized", "invalid api key"}},
	{429, []string{"usage limit", "rate limit", "too many requests", "concurrent request slot"}},
	{403, planWords},
	{402, []string{"insufficient credits"}},
	{404, []string{"model … not found"}},
	{503, []string{"overloaded"}},
}
