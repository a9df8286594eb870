package auth

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

var errNoExchange = errors.New("the request reached auth without an exchange")

// Require is the step that lets a request pass only with a valid token for the
// provider that its address belongs to, and notes in the exchange who asks.
// OpenAI's model lists are open to everybody unless modelsRequireAuth, but a
// token that is sent and wrong is refused there too. Everything else needs a
// token, addresses that are forbidden or only greet included: a stranger
// learns nothing of what there is.
func Require(g *Registry, now func() time.Time, modelsRequireAuth bool) httpkit.Middleware {
	return func(next httpkit.Handler) httpkit.Handler {
		return func(w http.ResponseWriter, r *http.Request) error {
			x := gateway.ExchangeFrom(r.Context())
			if x == nil {
				return fmt.Errorf("authenticate: %w", errNoExchange)
			}
			token, from := Credential(r, x.PathToken)
			if from == SourceNone {
				if open(x.Route.Service) && !modelsRequireAuth {
					return next(w, r)
				}
				return gateway.Errorf(gateway.KindUnauthorized, "a token is needed: send Authorization: Bearer sk-… or x-api-key: sk-…")
			}
			who, err := g.Verify(token, x.Route.Provider, now())
			if err != nil {
				return err
			}
			x.Principal = who
			x.Record.TokenHash = who.TokenHash
			return next(w, r)
		}
	}
}

// open tells the addresses that need no token.
func open(s gateway.Service) bool {
	return s == gateway.ServiceModels || s == gateway.ServiceModel
}
