package provider

import (
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func TestURL(t *testing.T) {
	f := func(base, path, query, want string) {
		t.Helper()
		a, err := New(gateway.Ollama, Options{BaseURL: base})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second must not see the first
			if got := a.URL(path, query).String(); got != want {
				t.Errorf("%s + %s ? %s is %s, want %s", base, path, query, got, want)
			}
		}
	}
	f("https://ollama.com", "/v1/chat/completions", "", "https://ollama.com/v1/chat/completions")
	f("https://ollama.com/", "/api/chat", "beta=true", "https://ollama.com/api/chat?beta=true")
	f("https://openrouter.ai/api//", "/v1/messages", "a=%2F&b", "https://openrouter.ai/api/v1/messages?a=%2F&b")
	f("http://127.0.0.1:1/a%2Fb", "/c d", "", "http://127.0.0.1:1/a%2Fb/c%20d")
	f("http://[::1]:8080", "/x", "", "http://[::1]:8080/x")
	f("https://ollama.com", "/v1/models/a b%", "", "https://ollama.com/v1/models/a%20b%25")
}

func TestNewRefuses(t *testing.T) {
	f := func(name gateway.ProviderName, o Options, says string) {
		t.Helper()
		a, err := New(name, o)
		if err == nil || a != nil {
			t.Fatalf("%+v: no error", o)
		}
		if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for base, says := range map[string]string{
		"":                                     "http://",
		"ollama.com":                           "http://",
		"ftp://ollama.com":                     "http://",
		"https://":                             "no host",
		"https:///api":                         "no host",
		"https://:8080":                        "no host",
		"https:ollama.com":                     "no host",
		"https://ollama.com?x=1":               "query",
		"https://ollama.com?":                  "query",
		"https://ollama.com/#part":             "fragment",
		"https://ollama.com/#":                 "fragment",
		"https://ollama.com:0":                 "port",
		"https://ollama.com:70000":             "port",
		"https://somebody:hunter2@ollama.com":  "user name or password",
		"https://somebody@ollama.com":          "user name or password",
		"https://some body:hunter2@ollama.com": "no address",
		"https://ollama.com:hunter2/x@y":       "no address",
		"https://ollama.com:port":              "is no address",
		"http://[::1":                          "is no address",
		"https://ollama.com/%zz":               "is no address",
		"https://ollama.com/\n":                "is no address",
	} {
		f(gateway.Ollama, Options{BaseURL: base}, says)
	}
	f("other", Options{BaseURL: "https://ollama.com"}, "unknown provider")
	f(gateway.OpenRouter, Options{BaseURL: "https://openrouter.ai", AppTitle: "a\r\nX-Evil: 1"}, "control character")
	f(gateway.OpenRouter, Options{BaseURL: "https://openrouter.ai", AppURL: "a\x00"}, "control character")
	f(gateway.Ollama, Options{BaseURL: "https://ollama.com", Version: "1\n"}, "control character")
}
