package auth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

func TestCredential(t *testing.T) {
	for _, tt := range []struct {
		name                string
		authorization, xKey []string
		path                gateway.Secret
		token               string
		from                Source
	}{
		{"nothing", nil, nil, "", "", SourceNone},
		{"bearer", []string{"Bearer sk-a"}, nil, "", "sk-a", SourceAuthorization},
		{"any case", []string{"bEARER sk-a"}, nil, "", "sk-a", SourceAuthorization},
		{"stray blanks", []string{" \tBearer  \t sk-a \t"}, nil, "", "sk-a", SourceAuthorization},
		{"tab", []string{"Bearer\tsk-a"}, nil, "", "sk-a", SourceAuthorization},
		{"x-api-key", nil, []string{" sk-b "}, "", "sk-b", SourceAPIKey},
		{"path", nil, nil, "sk-c", "sk-c", SourcePath},
		{"all differ", []string{"Bearer sk-a"}, []string{"sk-b"}, "sk-c", "sk-a", SourceAuthorization},
		{"x-api-key before path", nil, []string{"sk-b"}, "sk-c", "sk-b", SourceAPIKey},
		{"no scheme", []string{"sk-a"}, nil, "", "", SourceNone},
		{"scheme only", []string{"Bearer"}, nil, "", "", SourceNone},
		{"scheme and blank", []string{"Bearer "}, nil, "", "", SourceNone},
		{"glued", []string{"Bearersk-a"}, nil, "", "", SourceNone},
		{"basic", []string{"Basic c2stYTo="}, nil, "", "", SourceNone},
		{"two words", []string{"Bearer sk-a sk-b"}, nil, "", "", SourceNone},
		{"malformed, then x-api-key", []string{"Basic c2stYTo="}, []string{"sk-b"}, "sk-c", "sk-b", SourceAPIKey},
		{"a signature beside the path", []string{"AAAAC3Nza:c2lnbmF0dXJl"}, nil, "sk-c", "sk-c", SourcePath},
		{"several lines", []string{"Basic c2stYTo=", "Bearer sk-a"}, nil, "", "sk-a", SourceAuthorization},
		{"blank x-api-key", nil, []string{" "}, "sk-c", "sk-c", SourcePath},
		{"x-api-key of two words", nil, []string{"sk b"}, "", "", SourceNone},
		{"path of two words", nil, nil, "sk c", "", SourceNone},
		{"control character", nil, nil, "sk\x7f", "", SourceNone},
		{"not ASCII", []string{"Bearer sk-ü"}, nil, "", "sk-ü", SourceAuthorization},
	} {
		r := &http.Request{Header: http.Header{}}
		r.Header["Authorization"] = tt.authorization
		r.Header["X-Api-Key"] = tt.xKey
		if token, from := Credential(r, tt.path); token != tt.token || from != tt.from {
			t.Errorf("%s: %q from %d", tt.name, token, from)
		}
	}
}

func FuzzCredential(f *testing.F) {
	f.Add("Bearer sk-a", "", "")
	f.Add("bearer \t sk-a ", "sk-b", "sk-c")
	f.Add("Basic c2stYTo=", " ", "sk\x00c")
	f.Add("Bearer", "sk b", "%20")
	f.Fuzz(func(t *testing.T, authorization, xKey, path string) {
		r := &http.Request{Header: http.Header{"Authorization": {authorization}, "X-Api-Key": {xKey}}}
		token, from := Credential(r, gateway.Secret(path))
		if (token == "") != (from == SourceNone) {
			t.Fatalf("%q from %d", token, from)
		}
		if strings.ContainsAny(token, " \t\r\n\x00\x7f") {
			t.Fatalf("%q has a blank", token)
		}
		place := map[Source]string{SourceNone: "", SourceAuthorization: authorization, SourceAPIKey: xKey, SourcePath: path}[from]
		if !strings.Contains(place, token) {
			t.Fatalf("%q does not stand in %q", token, place)
		}
		if from == SourceAuthorization && !strings.EqualFold(strings.Trim(authorization, " \t")[:6], "bearer") {
			t.Fatalf("%q was taken for a bearer token", authorization)
		}
		// What a client writes into other headers does not shadow a good one.
		r.Header["Authorization"] = []string{"Bearer sk-good"}
		if token, _ := Credential(r, gateway.Secret(path)); token != "sk-good" {
			t.Fatalf("%q instead of a well formed Authorization", token)
		}
	})
}

func TestRequire(t *testing.T) {
	var g Registry
	g.Put(issued("sk-fake-ollama", noon.Add(time.Hour), gateway.Ollama))
	const none, good, wrong = "", "Bearer sk-fake-ollama", "Bearer sk-fake-wrong"
	for _, tt := range []struct {
		name          string
		service       gateway.Service
		provider      gateway.ProviderName
		authorization string
		status        int
		known         bool // who asks
	}{
		{"forward without", gateway.ServiceForward, gateway.Ollama, none, 401, false},
		{"forward wrong", gateway.ServiceForward, gateway.Ollama, wrong, 401, false},
		{"forward malformed", gateway.ServiceForward, gateway.Ollama, "Basic x", 401, false},
		{"forward other provider", gateway.ServiceForward, gateway.OpenRouter, good, 403, false},
		{"forward", gateway.ServiceForward, gateway.Ollama, good, 200, true},
		{"models without", gateway.ServiceModels, gateway.Ollama, none, 200, false},
		{"models malformed", gateway.ServiceModels, gateway.Ollama, "Bearer ", 200, false},
		{"models wrong", gateway.ServiceModels, gateway.Ollama, wrong, 401, false},
		{"models other provider", gateway.ServiceModels, gateway.OpenRouter, good, 403, false},
		{"models", gateway.ServiceModels, gateway.Ollama, good, 200, true},
		{"model without", gateway.ServiceModel, gateway.Ollama, none, 200, false},
		{"model wrong", gateway.ServiceModel, gateway.Ollama, wrong, 401, false},
		{"tags without", gateway.ServiceTags, gateway.Ollama, none, 401, false},
		{"tags", gateway.ServiceTags, gateway.Ollama, good, 200, true},
		{"version without", gateway.ServiceLocal, gateway.Ollama, none, 401, false},
		{"pull without", gateway.ServiceForbidden, gateway.Ollama, none, 401, false},
		{"pull", gateway.ServiceForbidden, gateway.Ollama, good, 200, true}, // the 403 comes later
		{"greeting wrong", gateway.ServiceGreeting, gateway.Ollama, wrong, 401, false},
		{"greeting", gateway.ServiceGreeting, gateway.Ollama, good, 200, true},
	} {
		status, x := pass(t, Require(&g, clock, false), tt.service, tt.provider, tt.authorization, "")
		if status != tt.status || (x.Principal != nil) != tt.known {
			t.Errorf("%s: %d, %v", tt.name, status, x.Principal)
		}
		if tt.known && (x.Record.TokenHash != gateway.HashToken("sk-fake-ollama") || x.Principal.Name != "of sk-fake-ollama") {
			t.Errorf("%s: %+v", tt.name, x)
		}
	}
	for _, service := range []gateway.Service{gateway.ServiceModels, gateway.ServiceModel} {
		if status, _ := pass(t, Require(&g, clock, true), service, gateway.Ollama, none, ""); status != 401 {
			t.Errorf("MODELS_REQUIRE_AUTH: %d", status)
		}
	}
	if status, _ := pass(t, Require(&g, clock, false), gateway.ServiceGreeting, gateway.Ollama, none, "sk-fake-ollama"); status != 200 {
		t.Errorf("a token in the path: %d", status)
	}
	if status, _ := pass(t, Require(&g, clock, false), gateway.ServiceGreeting, gateway.Ollama, none, "sk-fake-wrong"); status != 401 {
		t.Errorf("a wrong token in the path: %d", status)
	}
}

func clock() time.Time { return noon }

// pass sends a request through the step and tells the status and what the step
// found out.
func pass(t *testing.T, step httpkit.Middleware, s gateway.Service, p gateway.ProviderName, authorization string, path gateway.Secret) (int, *gateway.Exchange) {
	t.Helper()
	x := &gateway.Exchange{PathToken: path, Route: gateway.Route{Service: s, Provider: p}}
	r := httptest.NewRequestWithContext(gateway.WithExchange(t.Context(), x), http.MethodGet, "/", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	w := httptest.NewRecorder()
	httpkit.Entry(step(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusOK)
		return nil
	}), httpkit.WriteDataError).ServeHTTP(w, r)
	if strings.Contains(w.Body.String(), "fake") {
		t.Errorf("the answer repeats the token: %s", w.Body)
	}
	return w.Code, x
}

func TestRequireWithoutExchange(t *testing.T) {
	h := Require(new(Registry), clock, false)(func(http.ResponseWriter, *http.Request) error {
		t.Error("let through")
		return nil
	})
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	if err := h(httptest.NewRecorder(), r); gateway.AsError(err).Kind != gateway.KindInternal {
		t.Errorf("%v", err)
	}
}
