package simulator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// Scene is what the demo plays: a pool of many keys of many accounts that has
// served for a month, its clients, and what became of everything. It is made from
// a fixed seed, so that it looks the same every time; only that it ends now, and
// that its days are those of the calendar. It belongs to one goroutine.
type Scene struct {
	now      time.Time // in the zone whose days and nights it has
	version  string    // of the program
	rnd      *rand.Rand
	category func(model string) string
	cast     map[gateway.ProviderName][]*actor
	clients  []*Client
	jobs     []gateway.Job
	written  map[gateway.ProviderName]*gateway.Delta
}

// sceneSeed makes scenes alike.
const sceneSeed = 8787

// sceneDays is for how long the pool has served.
const sceneDays = 30

// How many keys a scene has, and what share of that OpenRouter has besides.
const (
	SceneKeys    = 1200 // of Ollama, where nobody says
	MinSceneKeys = 100
	MaxSceneKeys = 100_000

	routerShare = 7.0 / 60
	minRouter   = 40
)

// actor is a key in the scene.
type actor struct {
	Sample
	role  *role
	added int // by which of the imports of its provider; -1: by hand, today
	key   gateway.Key
	id    gateway.KeyID
	outAt time.Time // since when it does not serve; zero: it does
}

// role is what has become of a share of the keys.
type role struct {
	share int // of a thousand accounts
	fate  Fate
	// out says how the key stands in the end; nil: it serves.
	out func(s *Scene, p gateway.ProviderName, a *actor)
}

// roles are what accounts are given; the shares add up to a thousand.
var roles = []role{
	{545, FateOK, nil},
	{25, FateOK, expiresSoon},
	{15, FateOK, expired},
	{12, FateOK, disabledByHand},
	{130, FateHourly, nil},
	{45, FateHourly, restsAtHour},
	{60, FateSession, nil},
	{35, FateSession, restsAtSession},
	{18, FateOverWeek, restsForWeek},
	{50, FatePlan, lacksModel},
	{12, FateFlaky, nil},
	{30, FateLeaving, nil},
	{14, FateRevoked, failed401},
	{6, FateRevoked, disabledByFailures},
	{3, FateNoCredit, failed402},
}

// NewScene sets a scene that ends now, with so many keys for Ollama and some
// more for OpenRouter. The clients call themselves by the program's version;
// category names the family of a model.
func NewScene(now time.Time, keys int, version string, category func(model string) string) *Scene {
	s := &Scene{
		now: now.Truncate(time.Millisecond), rnd: rand.New(rand.NewPCG(sceneSeed, sceneDays)), //nolint:gosec // it has to be the same every time
		version: version, category: category, cast: map[gateway.ProviderName][]*actor{}, written: map[gateway.ProviderName]*gateway.Delta{},
		clients: newClients(now),
	}
	for _, p := range gateway.Providers() {
		n := keys
		if p == gateway.OpenRouter {
			n = max(minRouter, int(float64(keys)*routerShare))
		}
		s.cast[p] = s.casting(p, n)
		s.written[p] = &gateway.Delta{Provider: p}
	}
	return s
}

// casting gives every key its role: the sample keys first, which nothing has
// happened to yet, then those of accounts that came with the imports.
func (s *Scene) casting(p gateway.ProviderName, n int) []*actor {
	all := make([]*actor, 0, n)
	for _, sample := range SampleKeys(p) {
		all = append(all, &actor{Sample: sample, added: -1})
	}
	total := n - len(all)
	batches := importsOf[p]
	for number, made := 0, 0; made < total; number++ {
		r := s.deal(number)
		name := s.username(number)
		for range min(s.accountSize(), total-made) {
			a := &actor{role: r, added: batchAt(batches, float64(made)/float64(total))}
			a.Username, a.Fate = name, r.fate
			a.Secret = gateway.Secret(fmt.Sprintf("demo-%016x%016x", s.rnd.Uint64(), s.rnd.Uint64()))
			all = append(all, a)
			made++
		}
	}
	grown := all[len(SampleKeys(p)):]
	s.rnd.Shuffle(len(grown), func(i, j int) { grown[i], grown[j] = grown[j], grown[i] })
	for _, a := range all {
		a.id = gateway.IDOfKey(a.Secret)
	}
	return all
}

// deal gives an account its role: the first ones get one each, so that a small
// scene has them all.
func (s *Scene) deal(number int) *role {
	if number < len(roles) {
		return &roles[number]
	}
	card := s.rnd.IntN(1000)
	for i := range roles {
		if card -= roles[i].share; card < 0 {
			return &roles[i]
		}
	}
	return &roles[0]
}

// accountSize is how many keys an account has.
func (s *Scene) accountSize() int {
	switch n := s.rnd.IntN(20); {
	case n < 13:
		return 1
	case n < 17:
		return 2
	case n < 19:
		return 3
	}
	return 5
}

// firstNames are people's who thought about computing.
var firstNames = []string{
	"ada", "alan", "alonzo", "annie", "barbara", "betty", "brian", "claude", "dennis", "donald", "dorothy", "edsger", "emmy",
	"frances", "george", "grace", "hedy", "jean", "joan", "john", "karen", "katherine", "ken", "kurt", "leslie", "lynn", "margaret",
	"marian", "mary", "niklaus", "ole", "radia", "robin", "shafi", "sophie", "stephen", "tim", "tony", "vint", "whitfield",
}

// username names an account. The domains do not exist (RFC 2606).
func (s *Scene) username(number int) string {
	domain := []string{"mail", "post", "lab", "studio"}[number%4]
	return fmt.Sprintf("%s%03d@%s.invalid", firstNames[s.rnd.IntN(len(firstNames))], number, domain)
}

// Fates are those of all keys, fit for Options.
func (s *Scene) Fates() map[string]Fate {
	out := map[string]Fate{}
	for _, cast := range s.cast {
		for _, a := range cast {
			out[a.Secret.Reveal()] = a.Fate
		}
	}
	return out
}

// Accounts are those of all keys, fit for Options.
func (s *Scene) Accounts() map[string]string {
	out := map[string]string{}
	for p, cast := range s.cast {
		for _, a := range cast {
			if name := gateway.AccountOf(a.Username); name != "" {
				out[a.Secret.Reveal()] = string(p) + " " + name
			}
		}
	}
	return out
}

// NewKeys are the keys of a provider as if they had come just now.
func (s *Scene) NewKeys(p gateway.ProviderName) []gateway.Key {
	var keys []gateway.Key
	for _, a := range s.cast[p] {
		keys = append(keys, gateway.Key{Secret: a.Secret, Username: a.Username, CreatedAt: s.now.UTC()})
	}
	return keys
}

// Past is what a pool is left with after it has served for a month.
type Past struct {
	Keys   map[gateway.ProviderName][]gateway.Key // with their states
	Deltas []gateway.Delta                        // what was counted and noted
	Jobs   []gateway.Job
}

// Past tells what has happened. The clients must have their tokens by then: it is
// they who asked.
func (s *Scene) Past() Past {
	past := Past{Keys: map[gateway.ProviderName][]gateway.Key{}}
	for _, p := range gateway.Providers() {
		s.imports(p)
		for _, a := range s.cast[p] {
			s.live(p, a)
			past.Keys[p] = append(past.Keys[p], a.key)
		}
		s.attempts(p)
	}
	s.requests()
	s.checks()
	for _, p := range gateway.Providers() {
		s.log(p)
	}
	s.inOrder()
	for _, p := range gateway.Providers() {
		past.Deltas = append(past.Deltas, *s.written[p])
	}
	slices.SortFunc(s.jobs, func(a, b gateway.Job) int { return a.StartedAt.Compare(b.StartedAt) })
	past.Jobs = s.jobs
	return past
}

// ago is a time before now, in UTC.
func (s *Scene) ago(d time.Duration) time.Time { return s.now.Add(-d).UTC() }

// between is a length of time by chance.
func (s *Scene) between(from, to time.Duration) time.Duration {
	return from + time.Duration(s.rnd.Int64N(int64(to-from)))
}
