// Package dataplane carries traffic. It knows the addresses that clients may
// ask for and what each means; the steps of a request live in the folders below.
package dataplane

import (
	"net/http"
	"net/url"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// address is one line of the table of addresses.
type address struct {
	method  string
	path    string
	service gateway.Service
	dialect gateway.Dialect
	only    gateway.ProviderName // "": both providers have it
}

// addresses is every address of the data plane, below the prefix of its
// provider. A path that ends with a slash stands for all below it.
var addresses = []address{
	{"POST", "/v1/chat/completions", gateway.ServiceForward, gateway.DialectOpenAI, ""},
	{"POST", "/v1/completions", gateway.ServiceForward, gateway.DialectOpenAI, ""},
	{"POST", "/v1/embeddings", gateway.ServiceForward, gateway.DialectOpenAI, ""},
	{"POST", "/v1/responses", gateway.ServiceForward, gateway.DialectResponses, ""},
	{"POST", "/v1/messages", gateway.ServiceForward, gateway.DialectAnthropic, ""},
	{"GET", "/v1/models", gateway.ServiceModels, gateway.DialectOpenAI, ""},
	{"GET", "/v1/models/", gateway.ServiceModel, gateway.DialectOpenAI, ""},

	{"POST", "/api/chat", gateway.ServiceForward, gateway.DialectOllama, gateway.Ollama},
	{"POST", "/api/generate", gateway.ServiceForward, gateway.DialectOllama, gateway.Ollama},
	{"POST", "/api/embed", gateway.ServiceForward, gateway.DialectOllama, gateway.Ollama},
	{"POST", "/api/embeddings", gateway.ServiceForward, gateway.DialectOllama, gateway.Ollama},
	{"POST", "/api/show", gateway.ServiceForward, gateway.DialectOllama, gateway.Ollama},
	{"POST", "/api/web_search", gateway.ServiceForward, gateway.DialectOllama, gateway.Ollama},
	{"POST", "/api/web_fetch", gateway.ServiceForward, gateway.DialectOllama, gateway.Ollama},
	{"GET", "/api/tags", gateway.ServiceTags, gateway.DialectOllama, gateway.Ollama},
	{"GET", "/api/version", gateway.ServiceLocal, gateway.DialectOllama, gateway.Ollama},
	{"GET", "/api/ps", gateway.ServiceLocal, gateway.DialectOllama, gateway.Ollama},

	{"POST", "/api/pull", gateway.ServiceForbidden, gateway.DialectOllama, gateway.Ollama},
	{"POST", "/api/push", gateway.ServiceForbidden, gateway.DialectOllama, gateway.Ollama},
	{"POST", "/api/create", gateway.ServiceForbidden, gateway.DialectOllama, gateway.Ollama},
	{"POST", "/api/copy", gateway.ServiceForbidden, gateway.DialectOllama, gateway.Ollama},
	{"DELETE", "/api/delete", gateway.ServiceForbidden, gateway.DialectOllama, gateway.Ollama},
	{"", "/api/blobs/", gateway.ServiceForbidden, gateway.DialectOllama, gateway.Ollama},
}

// Routes resolves addresses. It is read only and may be used concurrently.
type Routes struct {
	exact map[string][]address
	below []address
}

// NewRoutes prepares the table of addresses.
func NewRoutes() *Routes {
	t := &Routes{exact: map[string][]address{}}
	for _, a := range addresses {
		if strings.HasSuffix(a.path, "/") {
			t.below = append(t.below, a)
			continue
		}
		t.exact[a.path] = append(t.exact[a.path], a)
	}
	return t
}

// Serves reports whether a path is the data plane's business.
func (t *Routes) Serves(path string) bool {
	for _, p := range [...]string{"/v1/", "/api/", "/t/", "/ollama/", "/openrouter/"} {
		if strings.HasPrefix(path, p) {
			return true
		}
	}
	return path == "/v1" || path == "/api"
}

// Resolve finds what a request asks for. The path is the escaped one, so that
// a model's name may hold an escaped slash. It returns the path without a token,
// the token, if one stood there, and what to do; in an error the dialect is that
// of the address.
func (t *Routes) Resolve(method, path string) (clean string, token gateway.Secret, route gateway.Route, err error) {
	clean = path
	if rest, ok := strings.CutPrefix(path, "/t/"); ok {
		name, below, _ := strings.Cut(rest, "/")
		if name, uerr := url.PathUnescape(name); uerr == nil {
			token = gateway.Secret(name)
		}
		clean = "/" + below
		if below == "" {
			route = gateway.Route{Service: gateway.ServiceGreeting, Provider: gateway.Ollama, Dialect: gateway.DialectOllama, Path: "/"}
			return clean, token, route, allow(method, http.MethodGet)
		}
	}
	route.Provider = gateway.Ollama
	inner := clean
	if rest, ok := strings.CutPrefix(inner, "/openrouter/"); ok {
		route.Provider, inner = gateway.OpenRouter, "/"+rest
	} else if rest, ok := strings.CutPrefix(inner, "/ollama/"); ok {
		inner = "/" + rest
	}
	route.Path, route.Dialect = inner, dialectOf(inner)
	err = t.match(method, inner, &route)
	return clean, token, route, err
}

func (t *Routes) match(method, path string, route *gateway.Route) error {
	known := ""
	for _, a := range t.exact[path] {
		if a.only != "" && a.only != route.Provider {
			continue
		}
		if a.accepts(method) {
			route.Service, route.Dialect = a.service, a.dialect
			return nil
		}
		known = a.method
	}
	for _, a := range t.below {
		rest, ok := strings.CutPrefix(path, a.path)
		if !ok || rest == "" || a.only != "" && a.only != route.Provider {
			continue
		}
		if !a.accepts(method) {
			known = a.method
			continue
		}
		route.Service, route.Dialect = a.service, a.dialect
		if a.service == gateway.ServiceModel {
			model, err := url.PathUnescape(rest)
			if err != nil {
				return gateway.Errorf(gateway.KindInvalid, "the model's name is not well escaped")
			}
			route.Model = model
		}
		return nil
	}
	if known != "" {
		return allow(method, known)
	}
	return gateway.Errorf(gateway.KindNotFound, "no such address: %s", gateway.Clip(strike(path), 200))
}

func (a *address) accepts(method string) bool {
	return a.method == "" || a.method == method || a.method == http.MethodGet && method == http.MethodHead
}

// allow is nil if the method is the known one, else the error that names it.
func allow(method, known string) error {
	if method == known || known == http.MethodGet && method == http.MethodHead {
		return nil
	}
	methods := known + ", OPTIONS"
	if known == http.MethodGet {
		methods = "GET, HEAD, OPTIONS"
	}
	return &gateway.Error{Kind: gateway.KindMethod, Allow: methods, Message: "method " + gateway.Clip(method, 20) + " is not allowed here: use " + known}
}

// strike takes out of a path what may be a token: what stands behind /t/,
// wherever that is, and what begins as tokens do. A client with a wrong base
// address must not find its token in a log.
func strike(path string) string {
	if !strings.Contains(path, "/t/") && !strings.Contains(path, "sk-") && !strings.Contains(path, "%") {
		return path
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if part != "" && (i > 0 && parts[i-1] == "t" || holdsToken(part)) {
			parts[i] = struck
		}
	}
	return strings.Join(parts, "/")
}

// struck stands where a token was.
const struck = "***"

// longWord is a length that no name has which is not a secret.
const longWord = 24

// holdsToken finds sk- at the beginning of a word, or before a long one.
func holdsToken(part string) bool {
	plain, err := url.PathUnescape(part)
	if err != nil {
		return true
	}
	before, rest, found := strings.Cut(plain, "sk-")
	return found && (before == "" || !isLetter(before[len(before)-1]) || len(rest) >= longWord || holdsToken(rest))
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// dialectOf says in which form errors at an address are worded.
func dialectOf(path string) gateway.Dialect {
	switch {
	case strings.HasPrefix(path, "/v1/messages"):
		return gateway.DialectAnthropic
	case strings.HasPrefix(path, "/api"):
		return gateway.DialectOllama
	}
	return gateway.DialectOpenAI
}
