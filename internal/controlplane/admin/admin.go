// Package admin is the step of the control plane that operators and their
// scripts speak to: a JSON API that shows and changes keys, client tokens and
// totals. It also answers every address that is nobody else's.
//
// Handlers read and check what was asked, make one call, and write the answer.
// Keys are secrets: answers show them masked unless they were asked for with
// reveal=true, and neither the log nor an error ever has one.
package admin

import (
	"context"
	"crypto/sha256"
	"iter"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// Keys is what the API needs of the pool's keys. Changes are durable when a
// call returns. Its methods may be called concurrently.
type Keys interface {
	// Keys returns a page of keys and how many there are on all pages.
	Keys(ctx context.Context, p gateway.ProviderName, q gateway.KeyQuery) ([]gateway.Key, int, error)
	// Key returns one key; one that is not there is a gateway.Error of
	// KindNotFound.
	Key(ctx context.Context, p gateway.ProviderName, id gateway.KeyID) (gateway.Key, error)
	// HasKey reports whether a key is in the pool.
	HasKey(p gateway.ProviderName, id gateway.KeyID) bool
	// CountKeys counts keys by status.
	CountKeys(p gateway.ProviderName) map[gateway.KeyStatus]int
	// AddKeys adds all keys of a sequence or, after an error, none. Others wait
	// until the sequence ends, so it must not wait for a network.
	AddKeys(ctx context.Context, p gateway.ProviderName, keys iter.Seq2[gateway.Key, error]) (added, existing int, err error)
	// DeleteKeys deletes keys and returns which of them there were.
	DeleteKeys(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) ([]gateway.KeyID, error)
	// EnableKeys clears every mark of keys and returns which of them there were.
	EnableKeys(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) ([]gateway.KeyID, error)
	// DisableKeys takes keys out for a time, 0 until they are enabled, and
	// returns which of them there were.
	DisableKeys(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID, d time.Duration) ([]gateway.KeyID, error)
	// ClearRest ends the rest of keys and returns which of them rested.
	ClearRest(ctx context.Context, p gateway.ProviderName, ids []gateway.KeyID) ([]gateway.KeyID, error)
	// KeyIDs returns the keys that a filter chooses.
	KeyIDs(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter) ([]gateway.KeyID, error)
	// Categories counts a provider's keys by category.
	Categories(ctx context.Context, p gateway.ProviderName) ([]gateway.CategoryCount, error)
	// EachKey calls visit for every key that a filter chooses, as they were at
	// one moment, and stops at its first error. visit must not change keys.
	EachKey(ctx context.Context, p gateway.ProviderName, f gateway.KeyFilter, visit func(gateway.Key) error) error
}

// Tokens is what the API needs of the client tokens. Changes are durable when
// a call returns. Its methods may be called concurrently.
type Tokens interface {
	// Tokens lists the tokens, the oldest first.
	Tokens(ctx context.Context) ([]gateway.Token, error)
	// IssueToken issues a token with the name, providers, end and limits of t.
	// Nobody learns the secret again.
	IssueToken(ctx context.Context, t gateway.Token) (gateway.Token, gateway.Secret, error)
	// ChangeToken changes a token, named by itself or its id; one that is not
	// there is a gateway.Error of KindNotFound.
	ChangeToken(ctx context.Context, ref string, c gateway.TokenChange) (gateway.Token, error)
	// TokenUsage tells what limited tokens have used today, by hash; tokens of
	// which nothing is known are left out.
	TokenUsage(tokens []gateway.Token) map[string]gateway.TokenUsage
	// RevokeToken deletes a token, named by itself or its id; one that is not
	// there is a gateway.Error of KindNotFound.
	RevokeToken(ctx context.Context, ref string) error
}

// Stats is what the API needs of the counters. It may be called concurrently.
type Stats interface {
	// Totals returns what was counted for a provider, ever.
	Totals(ctx context.Context, p gateway.ProviderName) (gateway.Counts, error)
}

// Options are what an API is made with besides the things it shows.
type Options struct {
	Token          gateway.Secret   // the admin token; with "" nobody gets in
	ImportMaxBytes int64            // size of an import's body, at most
	SpoolDir       string           // where large imports wait, encrypted, until they are complete; "": in memory
	Origins        []string         // whose cross-origin calls are answered, in small letters; "*": everybody's
	Clients        *httpkit.Clients // tells the clients' addresses
	Version        string           // of the program
	Started        time.Time        // when the program started
	Settings       config.Report    // what it was started with
	Storage        string           // what the keys are stored in, in a word
	Encrypted      bool             // the keys are stored encrypted
	RequestLog     string           // which requests the request log keeps: failures, all or off
	MetricsPublic  bool             // everybody may read /metrics
	Closed         func() error     // why nothing can be changed at present, nil while everything can; nil: always
	Log            *slog.Logger
	Now            func() time.Time
}

// Parts are the things that the API shows and changes.
type Parts struct {
	Figures Figures
	Live    Live
	Metrics http.Handler // what /metrics shows

	Keys     Keys
	Tokens   Tokens
	Stats    Stats
	Sessions Sessions
	Stories  Stories
	Imports  Imports
	Cache    Cache
	System   System
	Checks   Checks
	Jobs     Jobs
}

// API is the admin API. It may be used concurrently.
type API struct {
	opt      Options
	keys     Keys
	tokens   Tokens
	stats    Stats
	sessions Sessions
	stories  Stories
	imports  Imports
	cache    Cache
	system   System
	checks   Checks
	jobs     Jobs

	figures Figures
	live    Live
	metrics http.Handler
	public  *publicCache // the public statistics
	hub     *hub         // the viewers of live figures

	digest [sha256.Size]byte // of the admin token
	guard  *guard
	mux    *http.ServeMux
	lost   http.Handler // answers what has no address

	describe    sync.Once // makes the OpenAPI document, kept in what follows
	described   *document
	describeErr error
}

// New makes the API.
func New(parts Parts, o Options) *API {
	a := &API{
		opt: o, keys: parts.Keys, tokens: parts.Tokens, stats: parts.Stats,
		sessions: parts.Sessions, stories: parts.Stories, imports: parts.Imports, cache: parts.Cache, system: parts.System,
		checks: parts.Checks, jobs: parts.Jobs,
		digest: sha256.Sum256([]byte(o.Token)), guard: newGuard(o.Now, o.Log),
	}
	a.figures, a.live, a.metrics = parts.Figures, parts.Live, parts.Metrics
	a.public, a.hub = newPublicCache(o.Now), newHub(a)
	a.mount(a.routes())
	return a
}

// ServeHTTP answers one request. An address that is not in its plain form is
// unknown: the multiplexer would redirect it.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !isPlain(r.URL.EscapedPath()) {
		a.lost.ServeHTTP(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// isPlain reports whether a path has no empty, . or .. parts.
func isPlain(p string) bool {
	plain := path.Clean(p)
	if plain != "/" && strings.HasSuffix(p, "/") {
		plain += "/"
	}
	return plain == p
}
