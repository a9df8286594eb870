package forward

import (
	"encoding/json"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// mayUse refuses a request for a model that the client's token may not use. It
// looks at everything that an upstream could take for a model's name, and lets
// nothing pass that it cannot read: upstreams differ in which of two members of
// one name they believe, and in whether letters' case matters.
func mayUse(x *gateway.Exchange, body []byte) error {
	if x.Principal == nil || x.Principal.Limits == nil || len(x.Principal.Limits.Models) == 0 || !takesModel(&x.Route) {
		return nil
	}
	names, ok := allNames(body, x.Route.Dialect == gateway.DialectOllama)
	if !ok {
		return gateway.Errorf(gateway.KindInvalid, "this token may use certain models only, and the body is no JSON object that names one in \"model\" (models)")
	}
	if len(names) == 0 {
		return gateway.Errorf(gateway.KindForbidden, "this token may use certain models only: name one in \"model\" (models)")
	}
	for _, name := range names {
		if name == "" || !x.Principal.Limits.AllowsModel(name) {
			return gateway.Errorf(gateway.KindForbidden, "this token may not use model %q (models)", gateway.Clip(gateway.StrikeTokens(name), maxModelName))
		}
	}
	return nil
}

// takesModel tells the addresses at which a request is about one model.
func takesModel(r *gateway.Route) bool {
	return r.Service == gateway.ServiceForward && r.Path != "/api/web_search" && r.Path != "/api/web_fetch"
}

// allNames finds every name of a model in a body: the values of "model", of
// "models" (OpenRouter's list of those to fall back to) and, in Ollama's native
// dialect, of "name", however often they occur and whichever the case of their
// letters. It fails where the body is no JSON object or where such a member is
// something else than a name.
func allNames(body []byte, native bool) (names []string, ok bool) {
	s := scanner{b: body}
	if !json.Valid(body) || !s.skipTo('{') {
		return nil, false
	}
	for s.space(); s.peek() != '}'; s.space() {
		key, _ := s.str() // the body is valid: each step finds what it looks for
		_ = s.skipTo(':')
		s.space()
		began := s.i
		_ = s.value()
		value := s.b[began:s.i]
		switch key := unquoted(key); {
		case strings.EqualFold(key, "model"), native && strings.EqualFold(key, "name"), strings.EqualFold(key, "models"):
			if names, ok = appendNames(names, value); !ok {
				return nil, false
			}
		}
		_ = s.skipTo(',')
	}
	return names, true
}

// unquoted is the text of a JSON string's inside.
func unquoted(inside []byte) string {
	var text string
	_ = json.Unmarshal([]byte(`"`+string(inside)+`"`), &text) // valid, as the caller knows
	return text
}

// appendNames adds the names in a value: a string, or an array of such.
func appendNames(names []string, value []byte) ([]string, bool) {
	var one *string
	if json.Unmarshal(value, &one) == nil {
		if one != nil { // null says nothing
			names = append(names, *one)
		}
		return names, true
	}
	var many []string
	if json.Unmarshal(value, &many) != nil {
		return nil, false
	}
	return append(names, many...), true
}
