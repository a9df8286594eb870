package httpkit

import (
	"net/http"
	"strconv"
	"time"

	"ollama-api-pool/internal/gateway"
)

// face is how one kind of error looks from outside.
type face struct {
	status    int
	word      string // OpenAI's type, and code unless adminCode says another
	anthropic string // Anthropic's type
	adminCode string // code on the admin API, "" for word
	retry     bool   // trying again can help, unless the error is Final
}

// faces is the one mapping from what went wrong to what a client sees.
// Anthropic's words are those of its API's error reference.
var faces = [...]face{
	gateway.KindInternal:         {http.StatusInternalServerError, "internal_error", "api_error", "", true},
	gateway.KindInvalid:          {http.StatusBadRequest, "invalid_request_error", "invalid_request_error", "", false},
	gateway.KindUnauthorized:     {http.StatusUnauthorized, "authentication_error", "authentication_error", "", false},
	gateway.KindForbidden:        {http.StatusForbidden, "permission_error", "permission_error", "", false},
	gateway.KindNotFound:         {http.StatusNotFound, "invalid_request_error", "not_found_error", "not_found", false},
	gateway.KindMethod:           {http.StatusMethodNotAllowed, "invalid_request_error", "invalid_request_error", "", false},
	gateway.KindConflict:         {http.StatusConflict, "invalid_request_error", "invalid_request_error", "conflict", false},
	gateway.KindTooLarge:         {http.StatusRequestEntityTooLarge, "invalid_request_error", "request_too_large", "", false},
	gateway.KindMediaType:        {http.StatusUnsupportedMediaType, "invalid_request_error", "invalid_request_error", "", false},
	gateway.KindRateLimited:      {http.StatusTooManyRequests, "rate_limit_error", "rate_limit_error", "", true},
	gateway.KindNoKey:            {http.StatusServiceUnavailable, "no_available_keys", "overloaded_error", "", true},
	gateway.KindProviderDisabled: {http.StatusServiceUnavailable, "provider_disabled", "overloaded_error", "", false},
	gateway.KindUpstream:         {http.StatusBadGateway, "upstream_error", "api_error", "", true},
	gateway.KindUpstreamTimeout:  {http.StatusGatewayTimeout, "upstream_timeout", "api_error", "", true},
	gateway.KindUnavailable:      {http.StatusServiceUnavailable, "service_unavailable", "overloaded_error", "", true},
}

func faceOf(k gateway.Kind) face {
	if int(k) >= len(faces) {
		k = gateway.KindInternal
	}
	return faces[k]
}

// ErrorStatus is the HTTP status of a kind of error.
func ErrorStatus(k gateway.Kind) int { return faceOf(k).status }

// ErrorType is the word for a kind of error in a dialect, "" for Ollama's,
// which has none.
func ErrorType(form gateway.Dialect, k gateway.Kind) string {
	switch form {
	case gateway.DialectAnthropic:
		return faceOf(k).anthropic
	case gateway.DialectOllama:
		return ""
	default:
		return faceOf(k).word
	}
}

type openAIError struct {
	Error openAIAnswer `json:"error"`
}

// adminError is OpenAI's form without what only the data plane tells.
type adminError struct {
	Error openAIDetail `json:"error"`
}

type openAIAnswer struct {
	openAIDetail
	Retryable bool `json:"retryable"`
}

type openAIDetail struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Code    string  `json:"code"`
	Param   *string `json:"param"`
}

type anthropicError struct {
	Type      string          `json:"type"`
	Error     anthropicDetail `json:"error"`
	RequestID string          `json:"request_id,omitempty"`
}

type anthropicDetail struct {
	Type      string `json:"type"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable"`
}

// ollamaError is the native form. Of a 401 the ollama command shows nothing but
// the status, which its client library reads off the body (AuthorizationError in
// api/types.go of ollama/ollama); elsewhere that field would precede the error.
type ollamaError struct {
	Error     string `json:"error"`
	Status    string `json:"status,omitempty"`
	Retryable bool   `json:"retryable"`
}

// errorBody is an error in a dialect's form, ready to be encoded.
func errorBody(form gateway.Dialect, e *gateway.Error, requestID string) any {
	message := safeMessage(e, requestID)
	word := ErrorType(form, e.Kind)
	switch form {
	case gateway.DialectAnthropic:
		return anthropicError{"error", anthropicDetail{word, message, Retryable(e)}, requestID}
	case gateway.DialectOllama:
		body := ollamaError{Error: message, Retryable: Retryable(e)}
		if e.Kind == gateway.KindUnauthorized {
			body.Status = message
		}
		return body
	default:
		return openAIError{openAIAnswer{openAIDetail{Message: message, Type: word, Code: word}, Retryable(e)}}
	}
}

// Retryable reports whether the same request may succeed later without
// anybody's doing, as errors of the data plane tell in the field "retryable".
func Retryable(e *gateway.Error) bool { return faceOf(e.Kind).retry && !e.Final }

// safeMessage is what the client may read: of an internal error the request's
// id only, by which its cause is found in the log.
func safeMessage(e *gateway.Error, requestID string) string {
	switch {
	case e.Kind != gateway.KindInternal && int(e.Kind) < len(faces):
		return e.Message
	case requestID == "":
		return "internal error"
	}
	return "internal error, request id " + requestID
}

// WriteError answers with an error in a dialect's form: status, Retry-After,
// Allow, X-Request-Id and a small body in one write. Nothing may have been
// sent before. What handlers had set for the answer they meant to give is
// removed. A client that has gone is no concern of the caller's.
func WriteError(w http.ResponseWriter, form gateway.Dialect, e *gateway.Error, requestID string) {
	writeError(w, e, requestID, errorBody(form, e, requestID))
}

// WriteDataError answers in the dialect of the exchange's route, or in
// OpenAI's where there is no exchange. Where the answer tells how many attempts
// there were, it tells the number in the exchange.
func WriteDataError(w http.ResponseWriter, r *http.Request, e *gateway.Error, requestID string) {
	form := gateway.DialectOpenAI
	if x := gateway.ExchangeFrom(r.Context()); x != nil {
		form = x.Route.Dialect
		if h := w.Header(); len(h[attemptsHeader]) > 0 {
			SetAttempts(h, len(x.Record.Attempts))
		}
	}
	WriteError(w, form, e, requestID)
}

// WriteAdminError answers in the admin API's form: OpenAI's, with the codes
// not_found and conflict where they apply.
func WriteAdminError(w http.ResponseWriter, _ *http.Request, e *gateway.Error, requestID string) {
	word, code := faceOf(e.Kind).word, faceOf(e.Kind).adminCode
	if code == "" {
		code = word
	}
	writeError(w, e, requestID, adminError{openAIDetail{Message: safeMessage(e, requestID), Type: word, Code: code}})
}

func writeError(w http.ResponseWriter, e *gateway.Error, requestID string, body any) {
	h := w.Header()
	for _, name := range [...]string{"Content-Encoding", "Content-Disposition", "Etag", "Last-Modified"} {
		delete(h, name)
	}
	h["Cache-Control"] = noStore
	if requestID != "" && len(h[requestIDHeader]) == 0 {
		h[requestIDHeader] = []string{requestID}
	}
	switch e.Kind {
	case gateway.KindUnauthorized:
		h["Www-Authenticate"] = bearer // asked for by RFC 9110, section 11.6.1
	case gateway.KindMethod:
		h["Allow"] = []string{e.Allow} // an empty list is a list too
	}
	if e.RetryAfter > 0 || e.Kind == gateway.KindRateLimited {
		h["Retry-After"] = []string{strconv.FormatInt(wholeSeconds(e.RetryAfter), 10)}
	}
	_ = WriteJSON(w, ErrorStatus(e.Kind), body)
}

// wholeSeconds rounds up, to 1 at least, so that nobody comes back too early.
func wholeSeconds(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return max(s, 1)
}
