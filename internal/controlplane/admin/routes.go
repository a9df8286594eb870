package admin

import (
	"net/http"
	"net/url"
	"strings"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// route is one address: method and path, the steps before its handler, the
// handler, and what the OpenAPI document says of it. What answers GET answers
// HEAD.
type route struct {
	pattern string
	chain   []httpkit.Middleware
	handler httpkit.Handler
	doc     operation
}

// routes is every address of the API. A path's first chain is that of its
// OPTIONS, too.
func (a *API) routes() []route {
	public := []httpkit.Middleware{}
	anySite := []httpkit.Middleware{a.everyOrigin}
	login := []httpkit.Middleware{a.ownOrigin} // the handler looks at what is sent
	private := []httpkit.Middleware{a.ownOrigin, a.authenticate, a.open}
	upload := []httpkit.Middleware{a.ownOrigin, a.authenticate, a.open, a.limited}
	scrape := private
	if a.opt.MetricsPublic {
		scrape = public
	}
	return []route{
		{"GET /{$}", public, a.greet, greetDoc},
		{"GET /openapi.json", anySite, a.showOpenAPI, openAPIDoc},
		{"GET /api/test-templates", anySite, a.listTemplates, listTemplatesDoc},

		{"POST /admin/login", login, a.login, loginDoc},
		{"POST /admin/logout", private, a.logout, logoutDoc},
		{"GET /admin/session", login, a.showSession, showSessionDoc},

		{"GET /admin/api-keys", private, a.listKeys, listKeysDoc},
		{"POST /admin/api-keys", private, a.createKey, createKeyDoc},
		{"DELETE /admin/api-keys", private, a.deleteKeys, deleteKeysDoc},
		{"GET /admin/api-keys/categories", private, a.listCategories, listCategoriesDoc},
		{"GET /admin/api-keys/export", private, a.exportKeys, exportKeysDoc},
		{"POST /admin/api-keys/export", private, a.exportChosen, exportChosenDoc},
		{"GET /admin/api-keys/{key...}", private, a.showKey, showKeyDoc},
		{"DELETE /admin/api-keys/{key...}", private, a.deleteKey, deleteKeyDoc},
		{"POST /admin/api-keys/import", upload, a.importKeys, importKeysDoc},
		{"POST /admin/api-keys/import-from-txt", upload, a.importText, importTextDoc},
		{"POST /admin/api-keys/import-with-validation", upload, a.importValidated, importValidatedDoc},
		{"POST /admin/import", upload, a.importAccounts, importAccountsDoc},

		{"POST /admin/verify-key", private, a.verifyKey, verifyKeyDoc},
		{"POST /admin/keys/health-check", private, a.checkKeys, checkKeysDoc},
		{"GET /admin/jobs", private, a.listJobs, listJobsDoc},
		{"GET /admin/jobs/{id}", private, a.showJob, showJobDoc},
		{"POST /admin/jobs/{id}/cancel", private, a.cancelJob, cancelJobDoc},
		{"GET /admin/jobs/{id}/bad", private, a.listBad, listBadDoc},

		{"GET /admin/keys/stats", private, a.listKeyStats, listKeyStatsDoc},
		{"POST /admin/keys/enable", private, a.enableKeys, enableKeysDoc},
		{"POST /admin/keys/disable", private, a.disableKeys, disableKeysDoc},
		{"POST /admin/keys/clear-rest", private, a.clearRest, clearRestDoc},

		{"GET /admin/tokens", private, a.listTokens, listTokensDoc},
		{"POST /admin/tokens", private, a.createToken, createTokenDoc},
		{"DELETE /admin/tokens", private, a.revokeToken, revokeTokenDoc},
		{"PATCH /admin/tokens/{token...}", private, a.changeToken, changeTokenDoc},
		{"GET /admin/client-tokens", private, a.listClientTokens, listClientTokensDoc},
		{"POST /admin/client-tokens", private, a.createClientToken, createClientTokenDoc},
		{"DELETE /admin/client-tokens/{token...}", private, a.revokeClientToken, revokeClientTokenDoc},

		{"GET /admin/stats", private, a.showStats, showStatsDoc},
		{"GET /admin/public-stats", anySite, a.showPublicStats, publicStatsDoc},
		{"GET /admin/overview", private, a.showOverview, overviewDoc},
		{"GET /admin/analytics", private, a.showAnalytics, analyticsDoc},
		{"GET /admin/analytics/models", private, a.listModels, modelsDoc},
		{"GET /admin/analytics/keys", private, a.listKeyUse, keyUseDoc},
		{"GET /admin/analytics/tokens", private, a.listTokenUse, tokenUseDoc},
		{"GET /admin/requests", private, a.listRequests, requestsDoc},
		{"GET /admin/requests/{id}", private, a.showRequest, requestDoc},
		{"GET /admin/events", private, a.streamEvents, eventsDoc},
		{"GET /metrics", scrape, a.showMetrics, a.metricsDoc()},

		{"GET /admin/cache/stats", private, a.showCache, showCacheDoc},
		{"POST /admin/cache/clear", private, a.clearCache, clearCacheDoc},
		{"GET /admin/settings", private, a.showSettings, showSettingsDoc},
		{"GET /admin/instances", private, a.listInstances, listInstancesDoc},
	}
}

// mount builds the multiplexer. Methods are told apart here and not by it, so
// that a wrong one is answered in the API's own form.
func (a *API) mount(routes []route) {
	ends := map[string]*endpoint{}
	var order []string
	for _, r := range routes {
		method, path, _ := strings.Cut(r.pattern, " ")
		e := ends[path]
		if e == nil {
			e = &endpoint{chain: r.chain, methods: map[string]httpkit.Handler{}}
			ends[path] = e
			order = append(order, path)
		}
		h := r.handler
		if changes(method) {
			h = spelled(r.doc.query, h)
		}
		e.add(method, httpkit.Chain(h, r.chain...))
	}
	a.mux = http.NewServeMux()
	for _, path := range order {
		e := ends[path]
		e.methods[http.MethodOptions] = httpkit.Chain(e.options, e.chain...)
		e.allow = append(e.allow, http.MethodOptions)
		a.mux.Handle(path, a.entry(e.serve))
	}
	a.lost = a.entry(unknownAddress)
	a.mux.Handle("/", a.lost)
}

// entry puts the steps that every answer goes through around a handler.
func (a *API) entry(h httpkit.Handler) http.Handler {
	return httpkit.Entry(httpkit.Chain(h,
		httpkit.Identify,
		httpkit.AccessLog(a.opt.Log),
		httpkit.Recover(a.opt.Log),
		httpkit.NoStore,
		httpkit.Harden("default-src 'none'; frame-ancestors 'none'", "no-referrer"), // nothing is to be done but to read it
	), httpkit.WriteAdminError)
}

// endpoint is one path with the methods that it knows.
type endpoint struct {
	chain   []httpkit.Middleware
	methods map[string]httpkit.Handler
	allow   []string
}

func (e *endpoint) add(method string, h httpkit.Handler) {
	e.methods[method] = h
	e.allow = append(e.allow, method)
	if method == http.MethodGet {
		e.add(http.MethodHead, h)
	}
}

// serve answers a request. A query of which net/url would pass over a part is
// refused: that part may have said that nothing is to be changed.
func (e *endpoint) serve(w http.ResponseWriter, r *http.Request) error {
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return gateway.Errorf(gateway.KindInvalid, "the query of the address is not well formed: parts are joined with &, and odd characters escaped with %%")
	}
	if h := e.methods[r.Method]; h != nil {
		return h(w, r)
	}
	err := gateway.Errorf(gateway.KindMethod, "method %s is not known here", gateway.Clip(r.Method, 20))
	err.Allow = strings.Join(e.allow, ", ")
	return err
}

func (e *endpoint) options(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Allow", strings.Join(e.allow, ", "))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func unknownAddress(http.ResponseWriter, *http.Request) error {
	return gateway.Errorf(gateway.KindNotFound, "no such address")
}

type greeting struct {
	Service string `json:"service"`
	Version string `json:"version"`
}

var greetDoc = operation{
	summary: "Name and version of the program", group: "System", answer: greeting{}, open: true,
	about: "Where `Accept` names application/json and not text/html; everybody else gets the dashboard.",
	more:  map[int]any{http.StatusOK: "text/html"},
}

// greet says who is here, to programs: browsers are shown the dashboard before
// they come here.
func (a *API) greet(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Add("Vary", "Accept")
	return httpkit.WriteJSON(w, http.StatusOK, greeting{Service: "ollama-api-pool", Version: a.opt.Version})
}
