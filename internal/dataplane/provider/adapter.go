package provider

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"ollama-api-pool/internal/gateway"
)

// Product is the name by which this program makes itself known to upstreams
// when a client sent no User-Agent of its own.
const Product = "ollama-api-pool"

// Options are what an Adapter needs to know from the configuration.
type Options struct {
	BaseURL  string // http or https, without user, query or fragment; a path is kept
	AppURL   string // OpenRouter's HTTP-Referer where the client sent none; "" sends none
	AppTitle string // OpenRouter's X-Title where the client sent none; "" sends none
	Version  string // of this program, for the User-Agent
}

// Adapter speaks to one provider: it builds addresses and headers for it and
// judges its answers. It never changes after New and may be used concurrently.
type Adapter struct {
	Name gateway.ProviderName

	base  url.URL // its path has no trailing slash
	rules []Rule

	// Header values, made once; requests share them and must not write to them.
	identity  []string
	userAgent []string
	referer   []string // nil: none to send
	title     []string // nil: none to send
}

// New makes the adapter of a provider. Errors say what is wrong with which
// option and never repeat a password that stands in the address.
func New(name gateway.ProviderName, o Options) (*Adapter, error) {
	a := &Adapter{Name: name, identity: []string{"identity"}}
	switch name {
	case gateway.Ollama:
		a.rules = slices.Concat(ollamaRules, anyRules)
	case gateway.OpenRouter:
		a.rules = slices.Concat(openRouterRules, anyRules)
	default:
		return nil, fmt.Errorf("make an adapter: unknown provider %q", name)
	}
	base, err := parseBase(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("base address of %s: %w", name, err)
	}
	a.base = *base
	for _, v := range []string{o.AppURL, o.AppTitle, o.Version} {
		if strings.ContainsFunc(v, isControl) {
			return nil, fmt.Errorf("headers for %s: %q has a control character", name, v)
		}
	}
	agent := Product
	if o.Version != "" {
		agent += "/" + o.Version
	}
	a.userAgent = []string{agent}
	if name == gateway.OpenRouter {
		a.referer, a.title = headerValue(o.AppURL), headerValue(o.AppTitle)
	}
	return a, nil
}

// URL gives the upstream address of a path below the base address, with the
// client's query string as it came. The path is unescaped and begins with /.
func (a *Adapter) URL(path, rawQuery string) *url.URL {
	u := a.base
	if u.RawPath != "" {
		u.RawPath += (&url.URL{Path: path}).EscapedPath()
	}
	u.Path += path
	u.RawQuery = rawQuery
	return &u
}

// Rules gives the rules by which answers are judged, in their order, for
// documentation. The caller must not change what the rules refer to.
func (a *Adapter) Rules() []Rule { return slices.Clone(a.rules) }

func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) && !strings.Contains(s, "@") {
			return nil, fmt.Errorf("%q is no address: %w", s, ue.Err)
		}
		return nil, errors.New("no address that can be read")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("must not hold a user name or password")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("%q must begin with http:// or https://", s)
	case u.Hostname() == "":
		return nil, fmt.Errorf("%q names no host", s)
	case u.RawQuery != "" || u.ForceQuery:
		return nil, fmt.Errorf("%q must not hold a query", s)
	case u.Fragment != "" || strings.Contains(s, "#"):
		return nil, fmt.Errorf("%q must not hold a fragment", s)
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%q: the port must be 1 to 65535", s)
		}
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = strings.TrimRight(u.RawPath, "/")
	return u, nil
}

func headerValue(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
