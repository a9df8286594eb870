package gateway

import (
	"context"
	"net/netip"
)

// Dialect is the protocol in which an address speaks.
type Dialect uint8

// The dialects.
const (
	DialectOpenAI    Dialect = iota // chat completions, completions, embeddings
	DialectResponses                // OpenAI's responses
	DialectAnthropic                // Anthropic's messages
	DialectOllama                   // Ollama's native API
)

// Service is what an address does.
type Service uint8

// What an address can do.
const (
	ServiceForward   Service = iota // pass the request on
	ServiceModels                   // list models in OpenAI's form
	ServiceModel                    // one entry of that list
	ServiceTags                     // list models in Ollama's form
	ServiceLocal                    // ask upstream, answer here where it does not know
	ServiceForbidden                // upstream models are not managed here
	ServiceGreeting                 // "Ollama is running"
)

// Route is what one address of the data plane means.
type Route struct {
	Service  Service
	Provider ProviderName
	Dialect  Dialect
	Path     string // upstream, below the provider's base address
	Model    string // ServiceModel: which
}

// Principal is who asks: the holder of a client token.
type Principal struct {
	TokenHash string
	Name      string
	Limits    *Limits // nil: none
}

// Exchange is one request on its way through the data plane. Every step adds
// what it finds out. It belongs to the request's goroutine.
type Exchange struct {
	RequestID         string
	UpstreamRequestID string // what the upstream called its last answer, uncut
	ClientIP          netip.Addr
	Agent             string // the client's User-Agent, uncut
	Path              string // as the client asked, without a token
	Trace             bool   // the client wants the request to be in the log, however it ends
	PathToken         Secret // the token that stood in the path
	Route             Route
	Refusal           error      // why the address cannot be served; nil if it can
	Principal         *Principal // nil before authentication, or where none is needed
	Record            Record
}

type exchangeKey struct{}

// WithExchange returns a context that carries the exchange.
func WithExchange(ctx context.Context, x *Exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

// ExchangeFrom returns the exchange that the context carries, or nil.
func ExchangeFrom(ctx context.Context) *Exchange {
	x, _ := ctx.Value(exchangeKey{}).(*Exchange)
	return x
}
