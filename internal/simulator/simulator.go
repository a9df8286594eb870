// Package simulator plays the two upstream services on one HTTP handler, so
// that the demo command and tests can run the whole gateway without a network
// and without a real key. It answers in every dialect, with words that say that
// they are simulated, and each key has a fate: it works, or fails in the way in
// which real keys do, perhaps after a while. For the demo there are also a Scene,
// which is a pool of many keys with a month behind it, and Traffic, which is its
// clients at work.
//
// The shapes follow, and were checked against the clients of:
//   - https://docs.ollama.com/api and the package github.com/ollama/ollama/api
//   - https://docs.ollama.com/openai and https://docs.ollama.com/api/anthropic-compatibility
//   - https://developers.openai.com/api/reference (chat, completions, embeddings, responses)
//   - https://docs.anthropic.com/en/api/messages-streaming
//   - https://openrouter.ai/docs/api-reference (models, key, limits, errors, streaming)
package simulator

import (
	"cmp"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
)

// OpenRouterPath is where OpenRouter's API is mounted: with the handler at
// http://host, OpenRouter's base address is http://host + OpenRouterPath, and
// Ollama's is http://host.
const OpenRouterPath = "/openrouter"

// Fate is what becomes of the requests made with a key.
type Fate string

// The fates.
const (
	FateOK        Fate = "ok"         // everything works
	FateRevoked   Fate = "revoked"    // 401; so is every key that is not known
	FateNoCredit  Fate = "no credit"  // 402
	FateOverQuota Fate = "over quota" // 429: Ollama's hourly limit, OpenRouter's daily one for free models
	FateOverWeek  Fate = "over week"  // 429: Ollama's weekly limit; at OpenRouter as FateOverQuota
	FatePlan      Fate = "plan"       // works, but models that cost extra give 403 (OpenRouter: 402, the key's own limit)
	FateFlaky     Fate = "flaky"      // every third request gives 503

	// Those that change in the course of time.
	FateHourly  Fate = "hourly quota"  // works, but now and then 429 until the account's window is over, see quotas
	FateSession Fate = "session quota" // the same over a longer time; at OpenRouter 402, the key's own limit
	FateLeaving Fate = "revoked later" // works for some requests, then as FateRevoked
)

// flakyEvery is how often a flaky key fails.
const flakyEvery = 3

// slowBy is how many times as long a slow answer takes, see Options.SlowEvery.
const slowBy = 6

// maxBody bounds what is read of a request, in bytes.
const maxBody = 64 << 20

// Options is what a Simulator is made from.
type Options struct {
	Keys     map[string]Fate   // by secret; keys that are not here are revoked
	Accounts map[string]string // whose a key is, by secret; a key that is not here is an account of its own
	Pace     time.Duration     // between two streamed words; a whole answer takes as long as its stream would
	// SlowEvery makes one answer in so many take several times as long; 0: none.
	SlowEvery int
	// Window is how long an account rests that has used up its hourly quota; 0: an hour.
	Window time.Duration
	Now    func() time.Time // the clock of what answers say; nil: time.Now
}

// Call names what Calls counts.
type Call struct {
	Key    string // "" where none was sent
	Status int
}

// Simulator is an http.Handler that plays both upstreams. It may be used
// concurrently.
type Simulator struct {
	keys      map[string]Fate   // is not changed after New
	accounts  map[string]string // nor is this
	pace      time.Duration
	slowEvery int
	window    time.Duration
	now       func() time.Time
	routes    *http.ServeMux
	counter   atomic.Int64 // for the ids in answers
	generated atomic.Int64 // answers, to find the slow ones

	// mu guards what follows.
	mu    sync.Mutex
	calls map[Call]int
	turns map[string]int      // requests of keys that are flaky or leave
	spent map[string]spending // by account
}

// New makes a simulator.
func New(o Options) *Simulator {
	s := &Simulator{
		keys:      maps.Clone(o.Keys),
		accounts:  maps.Clone(o.Accounts),
		pace:      o.Pace,
		slowEvery: o.SlowEvery,
		window:    cmp.Or(o.Window, time.Hour),
		now:       o.Now,
		calls:     map[Call]int{},
		turns:     map[string]int{},
		spent:     map[string]spending{},
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.routes = s.mount()
	return s
}

// mount lists every address: pattern, method, who may ask and what is done.
func (s *Simulator) mount() *http.ServeMux {
	mux := http.NewServeMux()
	get := func(path string, f face, h func(*call)) { mux.Handle(path, s.open(http.MethodGet, f, h)) }
	post := func(path string, f face, h func(*call)) { mux.Handle(path, s.open(http.MethodPost, f, h)) }

	mux.Handle("/", s.open("", ollamaNative, noSuchPath))
	get("/api/tags", ollamaNative, tags)
	get("/api/version", ollamaNative, version)
	post("/api/show", ollamaNative, show)
	post("/api/chat", ollamaNative, generating(nativeChat))
	post("/api/generate", ollamaNative, generating(nativeGenerate))
	post("/api/embed", ollamaNative, generating(nativeEmbed))
	post("/api/embeddings", ollamaNative, generating(nativeEmbeddings))
	post("/api/web_search", ollamaNative, webSearch)
	post("/api/web_fetch", ollamaNative, webFetch)
	get("/v1/models", ollamaOpenAI, ollamaModels)
	get("/v1/models/{id...}", ollamaOpenAI, ollamaModels)
	post("/v1/chat/completions", ollamaOpenAI, generating(chatCompletions))
	post("/v1/completions", ollamaOpenAI, generating(completions))
	post("/v1/embeddings", ollamaOpenAI, generating(embeddings))
	post("/v1/responses", ollamaOpenAI, generating(responses))
	post("/v1/messages", ollamaAnthropic, generating(messages))

	mux.Handle(OpenRouterPath+"/", s.open("", openRouter, noSuchPath))
	get(OpenRouterPath+"/v1/models", openRouter, openRouterModels)
	get(OpenRouterPath+"/v1/key", openRouter, openRouterKey)
	post(OpenRouterPath+"/v1/chat/completions", openRouter, generating(chatCompletions))
	post(OpenRouterPath+"/v1/completions", openRouter, generating(completions))
	post(OpenRouterPath+"/v1/embeddings", openRouter, generating(embeddings))
	post(OpenRouterPath+"/v1/responses", openRouter, generating(responses))
	post(OpenRouterPath+"/v1/messages", openRouter, generating(messages))
	return mux
}

// ServeHTTP implements http.Handler.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// Calls returns how many answers of each status each key has got.
func (s *Simulator) Calls() map[Call]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

func (s *Simulator) count(key string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[Call{key, status}]++
}

// face is the service and the dialect in which an address answers.
type face struct {
	provider gateway.ProviderName
	dialect  gateway.Dialect // that of its errors
}

// The faces.
var (
	ollamaNative    = face{gateway.Ollama, gateway.DialectOllama}
	ollamaOpenAI    = face{gateway.Ollama, gateway.DialectOpenAI}
	ollamaAnthropic = face{gateway.Ollama, gateway.DialectAnthropic}
	openRouter      = face{gateway.OpenRouter, gateway.DialectOpenAI}
)
