package cache

import (
	"cmp"
	"encoding/json"

	"ollama-api-pool/internal/gateway"
)

// limitsOn gives the limits of who asks where they are on models, else nil.
func limitsOn(x *gateway.Exchange) *gateway.Limits {
	if x.Principal == nil || x.Principal.Limits == nil || len(x.Principal.Limits.Models) == 0 {
		return nil
	}
	return x.Principal.Limits
}

// allowed is the list with the models only that a token may use.
func (l *modelList) allowed(limits *gateway.Limits) ([]byte, error) {
	data := []json.RawMessage{}
	for _, e := range l.entries {
		if limits.AllowsModel(e.id) {
			data = append(data, e.json)
		}
	}
	return json.Marshal(map[string]any{"object": "list", "data": data})
}

// allowedTags is Ollama's list with the models only that a token may use; all
// else stays as it came.
func allowedTags(body []byte, limits *gateway.Limits) ([]byte, error) {
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(body, &whole); err != nil {
		return nil, err
	}
	var models []json.RawMessage
	if err := json.Unmarshal(whole["models"], &models); err != nil {
		return nil, errNoList
	}
	kept := []json.RawMessage{}
	for _, m := range models {
		var one struct{ Name, Model string }
		if json.Unmarshal(m, &one) != nil {
			continue
		}
		if id := cmp.Or(one.Name, one.Model); id != "" && limits.AllowsModel(id) && limits.AllowsModel(one.Model) {
			kept = append(kept, m)
		}
	}
	var err error
	if whole["models"], err = json.Marshal(kept); err != nil {
		return nil, err
	}
	return json.Marshal(whole)
}
