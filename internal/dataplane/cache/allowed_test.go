package cache

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// A limited token sees its models only; what is cached stays whole.
func TestAllowed(t *testing.T) {
	const (
		some  = `{"models":[{"name":"gpt-oss:20b","size":7},{"name":"llama3:8b"},{"model":"GPT-OSS:120b"},{"name":"gpt-oss","model":"llama3"},{"name":""},null],"more":[1]}`
		list  = `{"data":[{"id":"gpt-oss:20b","x":1},{"id":"llama3:8b"}],"more":1}`
		other = `<html>busy</html>`
	)
	asked := 0
	m := NewModels(time.Hour, time.Now)
	h := m.Serve(func(w http.ResponseWriter, r *http.Request) error {
		asked++
		body, status := some, http.StatusOK
		switch x := gateway.ExchangeFrom(r.Context()); {
		case r.URL.Path == "/broken":
			body = other
		case r.URL.Path == "/failed":
			body, status = other, http.StatusBadGateway
		case x.Route.Provider == gateway.OpenRouter:
			body = list
		}
		w.Header().Set("Etag", "whole")
		w.WriteHeader(status)
		_, err := io.WriteString(w, body)
		return err
	})
	limited := &gateway.Principal{Limits: &gateway.Limits{Models: []string{"gpt-oss*"}}}
	whole := &gateway.Principal{Limits: &gateway.Limits{RequestsPerDay: 7}}
	ask := func(who *gateway.Principal, s gateway.Service, p gateway.ProviderName, path, model string) (*httptest.ResponseRecorder, error) {
		x := &gateway.Exchange{Principal: who, Route: gateway.Route{Service: s, Provider: p, Path: path, Model: model}}
		w := httptest.NewRecorder()
		return w, h(w, httptest.NewRequestWithContext(gateway.WithExchange(t.Context(), x), http.MethodGet, path, nil))
	}
	ids := func(body []byte) (out string) {
		var read struct {
			Data   []struct{ ID string }
			Models []struct{ Name, Model string }
		}
		if err := json.Unmarshal(body, &read); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for _, e := range read.Data {
			out += e.ID + " "
		}
		for _, e := range read.Models {
			out += e.Name + e.Model + " "
		}
		return out
	}
	for _, tt := range []struct {
		who     *gateway.Principal
		service gateway.Service
		from    gateway.ProviderName
		path    string
		want    string
	}{
		{limited, gateway.ServiceModels, gateway.Ollama, "/v1/models", "gpt-oss:20b GPT-OSS:120b gpt-oss "},
		{whole, gateway.ServiceModels, gateway.Ollama, "/v1/models", "gpt-oss:20b llama3:8b GPT-OSS:120b gpt-oss "},
		{nil, gateway.ServiceModels, gateway.Ollama, "/v1/models", "gpt-oss:20b llama3:8b GPT-OSS:120b gpt-oss "},
		{limited, gateway.ServiceModels, gateway.OpenRouter, "/v1/models", "gpt-oss:20b "},
		{limited, gateway.ServiceModels, gateway.OpenRouter, "/v1/models?x=y", "gpt-oss:20b "}, // past the cache
		{whole, gateway.ServiceModels, gateway.OpenRouter, "/v1/models", "gpt-oss:20b llama3:8b "},
		{limited, gateway.ServiceTags, gateway.Ollama, "/api/tags", "gpt-oss:20b GPT-OSS:120b "},
		{limited, gateway.ServiceLocal, gateway.Ollama, "/api/ps", "gpt-oss:20b GPT-OSS:120b "},
	} {
		w, err := ask(tt.who, tt.service, tt.from, tt.path, "")
		if err != nil || w.Code != http.StatusOK {
			t.Errorf("%s: %d, %v", tt.path, w.Code, err)
			continue
		}
		if got := ids(w.Body.Bytes()); got != tt.want {
			t.Errorf("%s of %s: %s, want %s", tt.path, tt.from, got, tt.want)
		}
	}
	if w, _ := ask(whole, gateway.ServiceTags, gateway.Ollama, "/api/tags", ""); w.Body.String() != some || w.Header().Get("Etag") != "whole" {
		t.Errorf("the whole list: %v %s", w.Header(), w.Body)
	}
	if w, _ := ask(limited, gateway.ServiceTags, gateway.Ollama, "/api/tags", ""); w.Header().Get("Etag") != "" || w.Body.String() != `{"models":[{"name":"gpt-oss:20b","size":7},{"model":"GPT-OSS:120b"}],"more":[1]}` {
		t.Errorf("a part of the list: %v %s", w.Header(), w.Body)
	}
	nothing := &gateway.Principal{Limits: &gateway.Limits{Models: []string{"none"}}}
	if w, _ := ask(nothing, gateway.ServiceModels, gateway.Ollama, "/v1/models", ""); w.Body.String() != `{"data":[],"object":"list"}` {
		t.Errorf("no model at all: %s", w.Body)
	}

	_, unknown := ask(whole, gateway.ServiceModel, gateway.Ollama, "/v1/models/none", "none")
	_, hidden := ask(limited, gateway.ServiceModel, gateway.Ollama, "/v1/models/llama3:8b", "llama3:8b")
	if a, b := gateway.AsError(unknown), gateway.AsError(hidden); a.Kind != gateway.KindNotFound || b.Kind != a.Kind || b.Message != `model "llama3:8b" is not in the list of ollama` {
		t.Errorf("a hidden model: %v, an unknown one: %v", hidden, unknown)
	}
	if w, err := ask(limited, gateway.ServiceModel, gateway.Ollama, "/v1/models/gpt-oss:20b", "gpt-oss:20b"); err != nil || w.Code != 200 {
		t.Errorf("a model of its own: %d, %v", w.Code, err)
	}
	if _, err := ask(limited, gateway.ServiceTags, gateway.Ollama, "/broken", ""); gateway.AsError(err).Kind != gateway.KindUpstream {
		t.Errorf("what cannot be read is passed on: %v", err)
	}
	if w, err := ask(limited, gateway.ServiceTags, gateway.Ollama, "/failed", ""); err != nil || w.Code != http.StatusBadGateway || w.Body.String() != other {
		t.Errorf("the upstream's error: %d %s, %v", w.Code, w.Body, err)
	}
	if asked != 6 { // two lists, the reworded question, running models, the broken and the failed one
		t.Errorf("asked %d times", asked)
	}
}

func TestModelsFiguresAndClear(t *testing.T) {
	m := NewModels(time.Hour, time.Now)
	h := m.Serve(httpkit.Handler(answerWith(200, tags)))
	for range 3 {
		_, x, _ := question(t.Context(), h, gateway.ServiceModels, "/v1/models")
		if x.Record.Cache == "" {
			t.Error("the record does not tell")
		}
	}
	_, _, _ = question(t.Context(), h, gateway.ServiceTags, "/api/tags?x")
	_, _, _ = question(t.Context(), h, gateway.ServiceLocal, "/api/ps")
	f := m.Figures()
	if f.Bytes < int64(2*len(tags)) {
		t.Errorf("%d bytes", f.Bytes)
	}
	if f.Bytes = 0; f != (gateway.CacheFigures{Name: "models", Entries: 2, Hits: 2, Misses: 2, Bypassed: 1}) {
		t.Errorf("%+v", f)
	}
	if n := m.Clear("openrouter"); n != 0 {
		t.Errorf("cleared %d of the other provider", n)
	}
	if n := m.Clear("API/ps"); n != 1 {
		t.Errorf("cleared %d by a part", n)
	}
	if n := m.Clear("*/tags"); n != 1 || m.Figures().Entries != 0 {
		t.Errorf("cleared %d by a pattern", n)
	}
}

func TestChosen(t *testing.T) {
	for pattern, want := range map[string]bool{
		"": true, "*": true, "ollama": true, "OLLAMA": true, "lam": true, "/v1/chat": true, "gpt-oss:120b": true, "completions/gpt": true,
		"ollama*": true, "*120b": true, "gpt*": true, "/v1/*": true, "/v1/chat/comp*": true, "ollama/v1/*/gpt-oss:*": true,
		"openrouter": false, "openrouter*": false, "gpt-oss": true, "120b*": false, "llama3": false, "chat*": false, "[": false,
	} {
		if got := chosen(pattern, gateway.Ollama, "/v1/chat/completions", "gpt-oss:120b"); got != want {
			t.Errorf("%q: %v", pattern, got)
		}
	}
}
