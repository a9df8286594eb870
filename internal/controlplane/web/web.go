// Package web is the step of the control plane that browsers come to: it serves
// the pages and everything that they load, out of what the program carries with
// it. It asks nothing of the rest of the program, so that the pages are there
// whatever else is not.
//
// What a page loads has a hash of all of it in its address and is kept by
// browsers for good; the pages themselves are asked for anew each time.
package web

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// policy is what a page may do: nothing that leaves its own origin, and no
// script or style that stands in the page itself.
const policy = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; " +
	"base-uri 'none'; object-src 'none'; form-action 'self'"

// methods are those that the pages answer.
const methods = "GET, HEAD"

// The address below which everything is that pages load.
const assetsAt = "/assets/"

// Options are what Pages are made with.
type Options struct {
	Files   fs.FS  // the folder pages, and beside it what they load
	Version string // of the program
	Log     *slog.Logger
}

// Pages serves the pages. It may be used concurrently.
type Pages struct {
	hash   string           // of all that pages load
	assets map[string]*file // what pages load, by its path
	shells map[string]*file // the pages, by their address
	lost   *file            // the page for addresses that there are not
	entry  http.Handler
}

// New makes the pages. It fails where the files do not fit together.
func New(o Options) (*Pages, error) {
	p := &Pages{}
	var err error
	if p.assets, p.hash, err = readAssets(o.Files); err != nil {
		return nil, fmt.Errorf("read what the pages load: %w", err)
	}
	if err := p.readShells(o); err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	p.entry = httpkit.Entry(httpkit.Chain(p.serve,
		httpkit.Identify,
		httpkit.AccessLog(o.Log),
		httpkit.Recover(o.Log),
		httpkit.Harden(policy, "same-origin"),
	), httpkit.WriteAdminError)
	return p, nil
}

// Serves reports whether a request is for the pages. The first address is
// theirs but for programs, which are greeted there by the admin API.
func (p *Pages) Serves(r *http.Request) bool {
	path := r.URL.Path
	switch {
	case path == "/":
		return reads(r) && !wantsJSON(r)
	case path == "/favicon.ico", strings.HasPrefix(path, assetsAt), strings.HasPrefix(path, "/dashboard/"):
		return true
	}
	return p.shells[path] != nil || p.shells[strings.TrimSuffix(path, "/")] != nil && path != "//"
}

// ServeHTTP answers one request that Serves claims.
func (p *Pages) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.entry.ServeHTTP(w, r) }

func (p *Pages) serve(w http.ResponseWriter, r *http.Request) error {
	if !reads(r) {
		err := gateway.Errorf(gateway.KindMethod, "method %s is not allowed here: use GET", gateway.Clip(r.Method, 20))
		err.Allow = methods
		return err
	}
	path := r.URL.EscapedPath() // so that nothing has two addresses
	if rest, below := strings.CutPrefix(path, assetsAt); below {
		return p.serveAsset(w, r, rest)
	}
	h := w.Header()
	switch shell, plain := p.shells[path], strings.TrimSuffix(path, "/"); {
	case path == "/favicon.ico":
		h.Set("Cache-Control", "public, max-age=86400")
		return p.assets["style/favicon.svg"].answer(w, r, http.StatusOK)
	case shell != nil:
		if path == "/" {
			h.Add("Vary", "Accept")
		}
		h.Set("Cache-Control", "no-cache")
		return shell.answer(w, r, http.StatusOK)
	case p.shells[plain] != nil:
		if r.URL.RawQuery != "" {
			plain += "?" + r.URL.RawQuery
		}
		h.Set("Location", plain)
		w.WriteHeader(http.StatusPermanentRedirect)
		return nil
	}
	h.Set("Cache-Control", "no-store")
	return p.lost.answer(w, r, http.StatusNotFound)
}

// serveAsset answers for what a page loads. The page may be of another version
// of the program: it stayed open, or another instance gave it. It gets what there
// is, and its browser does not keep it under that address.
func (p *Pages) serveAsset(w http.ResponseWriter, r *http.Request, rest string) error {
	hash, path, _ := strings.Cut(rest, "/")
	f := p.assets[path]
	if f == nil {
		return gateway.Errorf(gateway.KindNotFound, "no such address")
	}
	keep := "no-store"
	if hash == p.hash {
		keep = "public, max-age=31536000, immutable"
	}
	w.Header().Set("Cache-Control", keep)
	return f.answer(w, r, http.StatusOK)
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// wantsJSON reports whether a program asks, and not a browser.
func wantsJSON(r *http.Request) bool {
	accept := strings.ToLower(strings.Join(r.Header.Values("Accept"), ","))
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}
