package dataplane

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Surface is where a client's request enters the data plane: it resolves the
// address, strikes a token from it, and opens the exchange that the steps of
// the chain fill in. It may be used concurrently.
type Surface struct {
	Routes      *Routes
	Clients     *httpkit.Clients
	Origins     []string // allowed by CORS; none: every origin
	TokenInPath bool
	Now         func() time.Time
	Flight      *Gauge                  // counts the requests that run; nil: nobody asks
	Done        func(*gateway.Exchange) // gets the exchange of every request that ended; it must keep no reference
	Steps       http.Handler            // the chain
}

// ServeHTTP answers one request.
func (s *Surface) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.allowOrigin(w.Header(), r)
	if r.Method == http.MethodOptions {
		preflight(w, r)
		return
	}
	x := &gateway.Exchange{ClientIP: s.Clients.IP(r)}
	if agent := r.Header["User-Agent"]; len(agent) > 0 {
		x.Agent = gateway.StrikeTokens(agent[0])
	}
	x.Trace = wantsTrace(r.Header)
	x.Record.StartedAt = s.Now()
	x.Path, x.PathToken, x.Route, x.Refusal = s.Routes.Resolve(r.Method, r.URL.EscapedPath())
	x.Path = strike(x.Path)
	if x.PathToken != "" {
		x.Path = "/t/" + struck + x.Path
		if !s.TokenInPath {
			x.Refusal = gateway.Errorf(gateway.KindNotFound, "no such address: tokens in the path are switched off (TOKEN_IN_PATH)")
		}
	}
	x.Record.Provider = x.Route.Provider
	s.Flight.begin(x.Record.Provider, x.Record.StartedAt)
	defer func() {
		now := s.Now()
		x.Record.Duration = now.Sub(x.Record.StartedAt)
		s.Flight.end(x.Record.Provider, now)
		s.Done(x)
	}()
	s.Steps.ServeHTTP(w, r.WithContext(gateway.WithExchange(r.Context(), x)))
}

// wantsTrace reports whether a client asks with X-Pool-Trace for its request to
// be kept in the request log. The header goes no further.
func wantsTrace(h http.Header) bool {
	v := h["X-Pool-Trace"]
	return len(v) > 0 && (v[0] == "1" || strings.EqualFold(v[0], "true"))
}

// Admit is the step that turns away what has no address here.
func Admit(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if x := gateway.ExchangeFrom(r.Context()); x.Refusal != nil {
			return x.Refusal
		}
		return next(w, r)
	}
}

// Count is the step that keeps the status and the words of errors made here in
// the record. A client that has gone sees none.
func Count(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := next(w, r)
		x := gateway.ExchangeFrom(r.Context())
		if err == nil || x.Record.End == gateway.EndClientClosed {
			return err
		}
		e := gateway.AsError(err)
		x.Record.Error = e.Message
		if x.Record.Status == 0 {
			x.Record.Status = httpkit.ErrorStatus(e.Kind)
		}
		return err
	}
}

// Attempts is the step behind auth from which on every answer tells in
// X-Pool-Attempts how many attempts were made upstream: none unless a step below
// says another number.
func Attempts(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		httpkit.SetAttempts(w.Header(), 0)
		return next(w, r)
	}
}

// Local is the step that answers what never goes upstream.
func Local(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		switch gateway.ExchangeFrom(r.Context()).Route.Service {
		case gateway.ServiceGreeting:
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, err := io.WriteString(w, "Ollama is running")
			return err
		case gateway.ServiceForbidden:
			return gateway.Errorf(gateway.KindForbidden, "a shared pool does not manage the models of its upstreams")
		default:
			return next(w, r)
		}
	}
}

// Header values that never change, shared by all answers.
var (
	anyOrigin = []string{"*"}
	exposed   = []string{"X-Request-Id, X-Upstream-Request-Id, X-Cache, X-Pool-Attempts, Retry-After, " +
		"X-Ratelimit-Limit-Requests, X-Ratelimit-Remaining-Requests, X-Ratelimit-Reset-Requests, " +
		"X-Ratelimit-Limit-Tokens, X-Ratelimit-Remaining-Tokens, X-Ratelimit-Reset-Tokens"}
	varies = []string{"Origin"}
)

func (s *Surface) allowOrigin(h http.Header, r *http.Request) {
	origin := r.Header["Origin"]
	switch {
	case len(s.Origins) == 0 || slices.Contains(s.Origins, "*"):
		h["Access-Control-Allow-Origin"] = anyOrigin
	case len(origin) == 1 && slices.Contains(s.Origins, origin[0]):
		h["Access-Control-Allow-Origin"] = origin
		h["Vary"] = varies
	default:
		h["Vary"] = varies
		return
	}
	if len(origin) > 0 { // only browsers' pages care which headers they may read
		h["Access-Control-Expose-Headers"] = exposed
	}
}

func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE, OPTIONS")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", asked)
	} else {
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, X-Api-Key, X-Request-Id")
	}
	h.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}
