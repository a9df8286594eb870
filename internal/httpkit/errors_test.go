package httpkit

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func TestErrorForms(t *testing.T) {
	for _, tt := range []struct {
		kind              gateway.Kind
		status            int
		openAI, anthropic string
		admin             string // code
		retry             bool
	}{
		{gateway.KindInvalid, 400, "invalid_request_error", "invalid_request_error", "invalid_request_error", false},
		{gateway.KindUnauthorized, 401, "authentication_error", "authentication_error", "authentication_error", false},
		{gateway.KindForbidden, 403, "permission_error", "permission_error", "permission_error", false},
		{gateway.KindNotFound, 404, "invalid_request_error", "not_found_error", "not_found", false},
		{gateway.KindMethod, 405, "invalid_request_error", "invalid_request_error", "invalid_request_error", false},
		{gateway.KindConflict, 409, "invalid_request_error", "invalid_request_error", "conflict", false},
		{gateway.KindTooLarge, 413, "invalid_request_error", "request_too_large", "invalid_request_error", false},
		{gateway.KindMediaType, 415, "invalid_request_error", "invalid_request_error", "invalid_request_error", false},
		{gateway.KindRateLimited, 429, "rate_limit_error", "rate_limit_error", "rate_limit_error", true},
		{gateway.KindNoKey, 503, "no_available_keys", "overloaded_error", "no_available_keys", true},
		{gateway.KindProviderDisabled, 503, "provider_disabled", "overloaded_error", "provider_disabled", false},
		{gateway.KindUpstream, 502, "upstream_error", "api_error", "upstream_error", true},
		{gateway.KindUpstreamTimeout, 504, "upstream_timeout", "api_error", "upstream_timeout", true},
		{gateway.KindUnavailable, 503, "service_unavailable", "overloaded_error", "service_unavailable", true},
	} {
		e := gateway.Errorf(tt.kind, `say <"it">`)
		retry := `,"retryable":` + strconv.FormatBool(tt.retry)
		openAI := `{"error":{"message":"say <\"it\">","type":"` + tt.openAI + `","code":"` + tt.openAI + `","param":null` + retry + `}}`
		admin := `{"error":{"message":"say <\"it\">","type":"` + tt.openAI + `","code":"` + tt.admin + `","param":null}}`
		anthropic := `{"type":"error","error":{"type":"` + tt.anthropic + `","message":"say <\"it\">"` + retry + `},"request_id":"r1"}`
		native := `{"error":"say <\"it\">"` + retry + `}`
		if tt.status == http.StatusUnauthorized {
			native = `{"error":"say <\"it\">","status":"say <\"it\">"` + retry + `}`
		}
		for name, want := range map[string]struct {
			write func(http.ResponseWriter)
			body  string
		}{
			"OpenAI":    {func(w http.ResponseWriter) { WriteError(w, gateway.DialectOpenAI, e, "r1") }, openAI},
			"responses": {func(w http.ResponseWriter) { WriteError(w, gateway.DialectResponses, e, "r1") }, openAI},
			"Anthropic": {func(w http.ResponseWriter) { WriteError(w, gateway.DialectAnthropic, e, "r1") }, anthropic},
			"Ollama":    {func(w http.ResponseWriter) { WriteError(w, gateway.DialectOllama, e, "r1") }, native},
			"admin":     {func(w http.ResponseWriter) { WriteAdminError(w, nil, e, "r1") }, admin},
		} {
			w := httptest.NewRecorder()
			want.write(w)
			if w.Code != tt.status || w.Body.String() != want.body+"\n" {
				t.Errorf("%s: %d %s, want %d %s", name, w.Code, w.Body, tt.status, want.body)
			}
			if w.Header().Get("X-Request-Id") != "r1" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: header %v", name, w.Header())
			}
		}
	}
}

func TestInternalErrorsAreHidden(t *testing.T) {
	e := &gateway.Error{Kind: gateway.KindInternal, Message: "dial db as root", Cause: errors.New("secret")}
	for form, want := range map[gateway.Dialect]string{
		gateway.DialectOpenAI:    `{"error":{"message":"internal error, request id r1","type":"internal_error","code":"internal_error","param":null,"retryable":true}}`,
		gateway.DialectAnthropic: `{"type":"error","error":{"type":"api_error","message":"internal error, request id r1","retryable":true},"request_id":"r1"}`,
		gateway.DialectOllama:    `{"error":"internal error, request id r1","retryable":true}`,
	} {
		if got := worded(form, e, "r1"); got != want {
			t.Errorf("%s", got)
		}
	}
	if got := worded(gateway.DialectOllama, e, ""); got != `{"error":"internal error","retryable":true}` {
		t.Errorf("%s", got)
	}
	unknown := gateway.Errorf(gateway.Kind(200), "who knows")
	if got := worded(gateway.DialectOllama, unknown, ""); got != `{"error":"internal error","retryable":true}` || ErrorStatus(unknown.Kind) != 500 {
		t.Errorf("%s", got)
	}
}

// worded is the body of an error, without the newline at its end.
func worded(form gateway.Dialect, e *gateway.Error, requestID string) string {
	w := httptest.NewRecorder()
	WriteError(w, form, e, requestID)
	return strings.TrimSuffix(w.Body.String(), "\n")
}

func TestErrorHeaders(t *testing.T) {
	for _, tt := range []struct {
		name        string
		e           gateway.Error
		header, val string
	}{
		{"rounded up", gateway.Error{Kind: gateway.KindNoKey, RetryAfter: 1500 * time.Millisecond}, "Retry-After", "2"},
		{"whole", gateway.Error{Kind: gateway.KindNoKey, RetryAfter: 3 * time.Second}, "Retry-After", "3"},
		{"at least one", gateway.Error{Kind: gateway.KindNoKey, RetryAfter: time.Nanosecond}, "Retry-After", "1"},
		{"very long", gateway.Error{Kind: gateway.KindNoKey, RetryAfter: 1<<63 - 1}, "Retry-After", "9223372037"},
		{"429 always tells", gateway.Error{Kind: gateway.KindRateLimited}, "Retry-After", "1"},
		{"not told", gateway.Error{Kind: gateway.KindNoKey}, "Retry-After", ""},
		{"methods", gateway.Error{Kind: gateway.KindMethod, Allow: "GET, HEAD"}, "Allow", "GET, HEAD"},
		{"no methods elsewhere", gateway.Error{Kind: gateway.KindInvalid, Allow: "GET"}, "Allow", ""},
		{"challenge", gateway.Error{Kind: gateway.KindUnauthorized}, "WWW-Authenticate", "Bearer"},
		{"no challenge", gateway.Error{Kind: gateway.KindForbidden}, "WWW-Authenticate", ""},
		{"what the answer was to have", gateway.Error{Kind: gateway.KindInternal}, "Content-Encoding", ""},
	} {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Encoding", "gzip")
		WriteError(w, gateway.DialectOpenAI, &tt.e, "")
		if got := w.Result().Header.Get(tt.header); got != tt.val {
			t.Errorf("%s: %s: %q, want %q", tt.name, tt.header, got, tt.val)
		}
	}
}

func TestWriteDataError(t *testing.T) {
	e := gateway.Errorf(gateway.KindInvalid, "no")
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	w := httptest.NewRecorder()
	WriteDataError(w, r, e, "r1")
	if got := w.Body.String(); got != `{"error":{"message":"no","type":"invalid_request_error","code":"invalid_request_error","param":null,"retryable":false}}`+"\n" {
		t.Errorf("without an exchange: %s", got)
	}
	x := &gateway.Exchange{Route: gateway.Route{Dialect: gateway.DialectOllama}}
	w = httptest.NewRecorder()
	WriteDataError(w, r.WithContext(gateway.WithExchange(r.Context(), x)), e, "r1")
	if got := w.Body.String(); got != `{"error":"no","retryable":false}`+"\n" {
		t.Errorf("native: %s", got)
	}
}

// An error that no waiting mends says so, whatever its kind.
func TestFinalErrors(t *testing.T) {
	for kind := range gateway.KindUnavailable + 1 {
		e := gateway.Errorf(kind, "add keys")
		e.Final = true
		for _, form := range []gateway.Dialect{gateway.DialectOpenAI, gateway.DialectAnthropic, gateway.DialectOllama} {
			if got := worded(form, e, "r1"); !strings.Contains(got, `"retryable":false`) {
				t.Errorf("%d: %s", kind, got)
			}
		}
	}
}

// The native form tells the ollama command of a 401 what its client library
// decodes (api/types.go and checkError in api/client.go of ollama/ollama); the
// older libraries read the field error.
func TestOllamaReadsWhyItIsRefused(t *testing.T) {
	body := []byte(worded(gateway.DialectOllama, gateway.Errorf(gateway.KindUnauthorized, "the token is not valid"), "r1"))
	var refused struct {
		StatusCode int
		Status     string
		SigninURL  string `json:"signin_url"`
	}
	var older struct {
		ErrorMessage string `json:"error"`
	}
	if err := json.Unmarshal(body, &refused); err != nil || refused.Status != "the token is not valid" || refused.StatusCode != 0 || refused.SigninURL != "" {
		t.Errorf("%s is read as %+v: %v", body, refused, err)
	}
	if err := json.Unmarshal(body, &older); err != nil || older.ErrorMessage != "the token is not valid" {
		t.Errorf("%s is read as %+v: %v", body, older, err)
	}
}

// Whoever was told a number of attempts is told the last one.
func TestErrorTellsAttempts(t *testing.T) {
	for n, want := range map[int]string{0: "0", 3: "3", 16: "16", 40: "40"} {
		x := &gateway.Exchange{Record: gateway.Record{Attempts: make([]gateway.Attempt, n)}}
		r := httptest.NewRequestWithContext(gateway.WithExchange(t.Context(), x), http.MethodPost, "/", nil)
		e := gateway.Errorf(gateway.KindNoKey, "no")
		w := httptest.NewRecorder()
		if WriteDataError(w, r, e, "r1"); w.Header().Get("X-Pool-Attempts") != "" {
			t.Errorf("before auth: %q", w.Header())
		}
		w = httptest.NewRecorder()
		SetAttempts(w.Header(), 0)
		if WriteDataError(w, r, e, "r1"); w.Header().Get("X-Pool-Attempts") != want {
			t.Errorf("%q, want %s", w.Header().Get("X-Pool-Attempts"), want)
		}
	}
}

// TestErrorIsOneWrite keeps a small answer in one packet.
func TestErrorIsOneWrite(t *testing.T) {
	w := &writeCounter{ResponseWriter: httptest.NewRecorder()}
	WriteError(w, gateway.DialectOpenAI, gateway.Errorf(gateway.KindNoKey, "none"), "r1")
	if w.writes != 1 {
		t.Errorf("%d writes", w.writes)
	}
}

type writeCounter struct {
	http.ResponseWriter
	writes int
}

func (w *writeCounter) Write(p []byte) (int, error) {
	w.writes++
	return w.ResponseWriter.Write(p)
}

func FuzzWriteError(f *testing.F) {
	f.Add("no <key>", uint8(gateway.KindNoKey), uint8(gateway.DialectAnthropic))
	f.Add("\xff\x00\"\\\n\u2028", uint8(gateway.KindInvalid), uint8(gateway.DialectOllama))
	f.Fuzz(func(t *testing.T, message string, kind, form uint8) {
		line := []byte(worded(gateway.Dialect(form), gateway.Errorf(gateway.Kind(kind), "%s", message), "r1"))
		if !json.Valid(line) {
			t.Fatalf("not JSON: %q", line)
		}
		for _, c := range line {
			if c == '\n' || c == '\r' {
				t.Fatalf("more than a line: %q", line)
			}
		}
	})
}

func BenchmarkWriteError(b *testing.B) {
	e := &gateway.Error{Kind: gateway.KindNoKey, Message: "no key can serve now", RetryAfter: time.Minute}
	w := &nullWriter{}
	b.ReportAllocs()
	for b.Loop() {
		WriteError(w, gateway.DialectOpenAI, e, "r1")
	}
}
