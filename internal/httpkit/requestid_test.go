package httpkit

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func TestRequestID(t *testing.T) {
	fresh := regexp.MustCompile(`^[0-9a-v]{20}$`)
	for _, tt := range []struct {
		name, sent string
		kept       bool
	}{
		{"uuid", "7b0e3f1c-0000-4000-8000-00000000beef", true},
		{"every sort of character", "aZ09._-", true},
		{"longest", strings.Repeat("x", 128), true},
		{"too long", strings.Repeat("x", 129), false},
		{"none", "", false},
		{"blank inside", "a b", false},
		{"not ASCII", "é", false},
		{"slash", "a/b", false},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("X-Request-ID", tt.sent)
		got := RequestID(r)
		if tt.kept && got != tt.sent || !tt.kept && !fresh.MatchString(got) {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 10_000 {
		id := newRequestID()
		if seen[id] {
			t.Fatalf("%s came twice", id)
		}
		seen[id] = true
	}
}

func TestIdentify(t *testing.T) {
	for _, tt := range []struct {
		name string
		x    *gateway.Exchange
		want string
	}{
		{"without an exchange", nil, "from-header"},
		{"exchange without an id", &gateway.Exchange{}, "from-header"},
		{"exchange with an id", &gateway.Exchange{RequestID: "kept"}, "kept"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("X-Request-Id", "from-header")
		if tt.x != nil {
			r = r.WithContext(gateway.WithExchange(r.Context(), tt.x))
		}
		w := httptest.NewRecorder()
		h := Identify(func(w http.ResponseWriter, _ *http.Request) error {
			if got := IDOf(w); got != tt.want {
				t.Errorf("%s: the handler sees %q", tt.name, got)
			}
			return nil
		})
		if err := h(w, r); err != nil {
			t.Fatal(err)
		}
		if tt.x != nil && tt.x.RequestID != tt.want {
			t.Errorf("%s: the exchange has %q", tt.name, tt.x.RequestID)
		}
	}
	if got := IDOf(httptest.NewRecorder()); got != "" {
		t.Errorf("an answer without an id has %q", got)
	}
}

func BenchmarkRequestID(b *testing.B) {
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_ = RequestID(r)
		}
	})
}
