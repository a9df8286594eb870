package app

import (
	"net/http"

	"ollama-api-pool/internal/gateway"
)

// API is the admin API on the store, for calls of this process that carry the
// token.
func (o *Offline) API(token gateway.Secret, version string) (http.Handler, error) {
	a := o.app
	a.adminToken, a.version, a.active = token, version, newInFlight()
	return a.routes(Deps{Log: a.log, Version: version})
}
