package dataplane

import (
	"errors"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

const token = "sk-fakefakefakefakefakefakefakefakefakefakefakefake00"

func TestResolve(t *testing.T) {
	routes := NewRoutes()
	type want struct {
		route gateway.Route
		path  string // without a token; "": as asked
		token string
		kind  gateway.Kind // of the error
		err   bool
	}
	forwarded := func(p gateway.ProviderName, d gateway.Dialect, path string) want {
		return want{route: gateway.Route{Service: gateway.ServiceForward, Provider: p, Dialect: d, Path: path}}
	}
	fails := func(k gateway.Kind) want { return want{kind: k, err: true} }
	for asked, w := range map[string]want{
		"POST /v1/chat/completions":            forwarded(gateway.Ollama, gateway.DialectOpenAI, "/v1/chat/completions"),
		"POST /v1/completions":                 forwarded(gateway.Ollama, gateway.DialectOpenAI, "/v1/completions"),
		"POST /v1/embeddings":                  forwarded(gateway.Ollama, gateway.DialectOpenAI, "/v1/embeddings"),
		"POST /v1/responses":                   forwarded(gateway.Ollama, gateway.DialectResponses, "/v1/responses"),
		"POST /v1/messages":                    forwarded(gateway.Ollama, gateway.DialectAnthropic, "/v1/messages"),
		"POST /ollama/v1/messages":             forwarded(gateway.Ollama, gateway.DialectAnthropic, "/v1/messages"),
		"POST /openrouter/v1/messages":         forwarded(gateway.OpenRouter, gateway.DialectAnthropic, "/v1/messages"),
		"POST /openrouter/v1/chat/completions": forwarded(gateway.OpenRouter, gateway.DialectOpenAI, "/v1/chat/completions"),
		"POST /openrouter/v1/responses":        forwarded(gateway.OpenRouter, gateway.DialectResponses, "/v1/responses"),
		"POST /api/chat":                       forwarded(gateway.Ollama, gateway.DialectOllama, "/api/chat"),
		"POST /ollama/api/web_fetch":           forwarded(gateway.Ollama, gateway.DialectOllama, "/api/web_fetch"),

		"GET /v1/models":                     {route: gateway.Route{Service: gateway.ServiceModels, Provider: gateway.Ollama, Path: "/v1/models"}},
		"HEAD /v1/models":                    {route: gateway.Route{Service: gateway.ServiceModels, Provider: gateway.Ollama, Path: "/v1/models"}},
		"GET /openrouter/v1/models":          {route: gateway.Route{Service: gateway.ServiceModels, Provider: gateway.OpenRouter, Path: "/v1/models"}},
		"GET /v1/models/a:1b":                {route: gateway.Route{Service: gateway.ServiceModel, Provider: gateway.Ollama, Path: "/v1/models/a:1b", Model: "a:1b"}},
		"GET /v1/models/a/b":                 {route: gateway.Route{Service: gateway.ServiceModel, Provider: gateway.Ollama, Path: "/v1/models/a/b", Model: "a/b"}},
		"GET /v1/models/a%2Fb%3A1":           {route: gateway.Route{Service: gateway.ServiceModel, Provider: gateway.Ollama, Path: "/v1/models/a%2Fb%3A1", Model: "a/b:1"}},
		"GET /openrouter/v1/models/a/b%252F": {route: gateway.Route{Service: gateway.ServiceModel, Provider: gateway.OpenRouter, Path: "/v1/models/a/b%252F", Model: "a/b%2F"}},
		"GET /api/tags":                      {route: gateway.Route{Service: gateway.ServiceTags, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/api/tags"}},
		"HEAD /api/version":                  {route: gateway.Route{Service: gateway.ServiceLocal, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/api/version"}},
		"GET /api/ps":                        {route: gateway.Route{Service: gateway.ServiceLocal, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/api/ps"}},

		"POST /api/pull":             {route: gateway.Route{Service: gateway.ServiceForbidden, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/api/pull"}},
		"DELETE /api/delete":         {route: gateway.Route{Service: gateway.ServiceForbidden, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/api/delete"}},
		"PUT /api/blobs/sha256:00":   {route: gateway.Route{Service: gateway.ServiceForbidden, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/api/blobs/sha256:00"}},
		"HEAD /ollama/api/blobs/x/y": {route: gateway.Route{Service: gateway.ServiceForbidden, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/api/blobs/x/y"}},
		"POST /t/" + token + "/api/chat": {
			route: gateway.Route{Service: gateway.ServiceForward, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/api/chat"},
			path:  "/api/chat", token: token,
		},
		"POST /t/" + token + "/openrouter/v1/messages": {
			route: gateway.Route{Service: gateway.ServiceForward, Provider: gateway.OpenRouter, Dialect: gateway.DialectAnthropic, Path: "/v1/messages"},
			path:  "/openrouter/v1/messages", token: token,
		},
		"GET /t/sk%2Da%2Fb/": {
			route: gateway.Route{Service: gateway.ServiceGreeting, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/"},
			path:  "/", token: "sk-a/b",
		},
		"GET /t/" + token: {
			route: gateway.Route{Service: gateway.ServiceGreeting, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/"},
			path:  "/", token: token,
		},

		"GET /v1/chat/completions":            fails(gateway.KindMethod),
		"POST /v1/models":                     fails(gateway.KindMethod),
		"POST /v1/models/x":                   fails(gateway.KindMethod),
		"GET /api/pull":                       fails(gateway.KindMethod),
		"GET /v1/nothing":                     fails(gateway.KindNotFound),
		"GET /v1/models/":                     fails(gateway.KindNotFound),
		"POST /v1/chat/completions/":          fails(gateway.KindNotFound),
		"POST /v1//chat/completions":          fails(gateway.KindNotFound),
		"POST /V1/chat/completions":           fails(gateway.KindNotFound),
		"POST /v1%2Fchat/completions":         fails(gateway.KindNotFound),
		"POST /openrouter/api/chat":           fails(gateway.KindNotFound),
		"POST /openrouter/ollama/v1/messages": fails(gateway.KindNotFound),
		"GET /api/blobs/":                     fails(gateway.KindNotFound),
		"GET /v1/models/%zz":                  fails(gateway.KindInvalid),
	} {
		method, path, _ := strings.Cut(asked, " ")
		clean, tok, route, err := routes.Resolve(method, path)
		if w.err {
			var e *gateway.Error
			if !errors.As(err, &e) || e.Kind != w.kind {
				t.Errorf("%s: %v", asked, err)
			}
			continue
		}
		if w.path == "" {
			w.path = path
		}
		if err != nil || route != w.route || clean != w.path || tok.Reveal() != w.token {
			t.Errorf("%s: %+v, %q, token of %d, %v; want %+v, %q", asked, route, clean, len(tok), err, w.route, w.path)
		}
	}
}

// Errors are worded in the dialect of the address, also where it is wrong.
func TestDialectOfErrors(t *testing.T) {
	routes := NewRoutes()
	for path, want := range map[string]gateway.Dialect{
		"/v1/nothing": gateway.DialectOpenAI, "/v1/messages/count_tokens": gateway.DialectAnthropic, "/api/nothing": gateway.DialectOllama,
		"/openrouter/v1/messages/x": gateway.DialectAnthropic, "/ollama/api/x": gateway.DialectOllama, "/t/" + token + "/api/x": gateway.DialectOllama,
	} {
		if _, _, route, err := routes.Resolve("POST", path); err == nil || route.Dialect != want {
			t.Errorf("%s: %d, %v", path, route.Dialect, err)
		}
	}
}

func TestServes(t *testing.T) {
	routes := NewRoutes()
	for path, want := range map[string]bool{
		"/v1": true, "/v1/x": true, "/api": true, "/api/tags": true, "/t/x": true, "/ollama/v1/x": true, "/openrouter/v1/x": true,
		"/": false, "/v1x": false, "/apis": false, "/admin/api-keys": false, "/health": false, "/t": false, "/api-docs": false,
	} {
		if routes.Serves(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
}

func TestStrike(t *testing.T) {
	for path, want := range map[string]string{
		"/v1/chat/completions":                  "/v1/chat/completions",
		"/v1/models/desk-lamp/task-1":           "/v1/models/desk-lamp/task-1",
		"/v1/models/a%2Fb":                      "/v1/models/a%2Fb",
		"/openrouter/t/" + token + "/v1/x":      "/openrouter/t/***/v1/x",
		"/ollama/t/anything":                    "/ollama/t/***",
		"/t//v1/x":                              "/t//v1/x",
		"/v1/" + token:                          "/v1/***",
		"/v1/%73%6b-" + token[3:] + "/messages": "/v1/***/messages",
		"/v1/Bearer%20" + token:                 "/v1/***",
		"/v1/token=" + token + "/x":             "/v1/***/x",
		"/v1/%zz":                               "/v1/***",
		"/v1/A" + token:                         "/v1/***",
		"/v1/task-1-" + token:                   "/v1/***",
	} {
		if got := strike(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func FuzzResolve(f *testing.F) {
	for _, s := range []string{
		"/v1/chat/completions", "/t/" + token + "/v1/models/a%2Fb", "/openrouter/t/x", "/t/", "/t//", "//", "/ollama/", "/v1/models/%zz", "/api/blobs/",
	} {
		f.Add("GET", s)
		f.Add("POST", s)
	}
	routes := NewRoutes()
	f.Fuzz(func(t *testing.T, method, path string) {
		_, _, route, err := routes.Resolve(method, path)
		if err == nil && route.Service == gateway.ServiceModel && route.Model == "" {
			t.Fatalf("%q has no model", path)
		}
		if err != nil && route.Provider == "" {
			t.Fatalf("%q has no provider", path)
		}
		// A token in an address never comes out again.
		const secret = "sk-secretsecretsecretsecretsecretsecretsecretsecretse"
		for _, before := range []string{"/t/", "/openrouter/t/", "/v1/"} {
			clean, _, _, err := routes.Resolve(method, before+secret+path)
			if strings.Contains(strike(clean), secret) || err != nil && strings.Contains(err.Error(), secret) {
				t.Fatalf("the token is in %q or in %v", strike(clean), err)
			}
		}
	})
}
