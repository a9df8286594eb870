package admin

import (
	"log/slog"
	"net/http"

	"ollama-api-pool/internal/gateway"
)

// note logs what an operator did, and from where. It never gets a secret.
func (a *API) note(r *http.Request, did string, attrs ...slog.Attr) {
	attrs = append(attrs, slog.String("client", a.opt.Clients.IP(r).String()))
	a.opt.Log.LogAttrs(r.Context(), slog.LevelInfo, "admin api", append([]slog.Attr{slog.String("did", did)}, attrs...)...)
}

// noteKeys logs what an operator did to some keys of a provider.
func (a *API) noteKeys(r *http.Request, did string, p gateway.ProviderName, attrs ...slog.Attr) {
	a.note(r, did, append(attrs, slog.String("provider", string(p)))...)
}

// maxIDsLogged bounds the line about keys that were shown whole.
const maxIDsLogged = maxPageSize

// noteRevealed logs which keys an answer shows whole.
func (a *API) noteRevealed(r *http.Request, p gateway.ProviderName, keys []gateway.Key) {
	ids := make([]gateway.KeyID, 0, min(len(keys), maxIDsLogged))
	for i := range keys[:cap(ids)] {
		ids = append(ids, gateway.IDOfKey(keys[i].Secret))
	}
	a.noteKeys(r, "keys revealed", p, slog.Int("count", len(keys)), slog.Any("keys", ids))
}

// noteToken logs what an operator did to a client token.
func (a *API) noteToken(r *http.Request, did, id string) {
	a.note(r, did, slog.String("token", id))
}
