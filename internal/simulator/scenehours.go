package simulator

import (
	"cmp"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"ollama-api-pool/internal/gateway"
)

// habit is how a model is used, and how long it takes.
type habit struct {
	model   string
	share   int // of a hundred requests of its provider
	first   time.Duration
	whole   time.Duration
	in, out int64 // tokens of a request
	price   float64
}

// habitsOf are those of each provider's models, of which the first four are
// asked most. Prices are a million tokens' in US dollars.
var habitsOf = map[gateway.ProviderName][]habit{
	gateway.Ollama: {
		{"gpt-oss:120b", 27, 340 * time.Millisecond, 2100 * time.Millisecond, 820, 260, 0},
		{"qwen3-coder:480b", 19, 520 * time.Millisecond, 3400 * time.Millisecond, 2600, 410, 0},
		{"deepseek-v3.1:671b", 14, 900 * time.Millisecond, 5200 * time.Millisecond, 1100, 380, 0},
		{"gpt-oss:20b", 12, 180 * time.Millisecond, 1200 * time.Millisecond, 610, 220, 0},
		{"kimi-k2:1t", 9, 780 * time.Millisecond, 4700 * time.Millisecond, 1400, 420, 0},
		{"glm-4.7", 6, 610 * time.Millisecond, 3900 * time.Millisecond, 900, 340, 0},
		{"gemma3:27b", 5, 260 * time.Millisecond, 1700 * time.Millisecond, 450, 180, 0},
		{"embeddinggemma:300m", 4, 45 * time.Millisecond, 60 * time.Millisecond, 160, 0, 0},
		{"mistral-large-3:675b", 2, 840 * time.Millisecond, 4400 * time.Millisecond, 700, 300, 0},
		{"qwen3-vl:235b", 2, 700 * time.Millisecond, 3600 * time.Millisecond, 1800, 250, 0},
	},
	gateway.OpenRouter: {
		{"openai/gpt-oss-20b:free", 30, 420 * time.Millisecond, 2400 * time.Millisecond, 640, 210, 0},
		{"deepseek/deepseek-chat-v3.1:free", 25, 900 * time.Millisecond, 5600 * time.Millisecond, 980, 360, 0},
		{"meta-llama/llama-3.3-70b-instruct:free", 18, 520 * time.Millisecond, 2900 * time.Millisecond, 560, 240, 0},
		{"qwen/qwen3-coder", 13, 610 * time.Millisecond, 3500 * time.Millisecond, 2200, 390, .35},
		{"google/gemma-3-27b-it:free", 8, 380 * time.Millisecond, 2200 * time.Millisecond, 430, 190, 0},
		{"openai/text-embedding-3-small", 6, 120 * time.Millisecond, 140 * time.Millisecond, 190, 0, .02},
	},
}

// portions are the providers' shares of all requests.
var portions = map[gateway.ProviderName]float64{gateway.Ollama: .85, gateway.OpenRouter: .15}

// How finely the past is told, as the store keeps it.
const (
	byMinuteFor = 2 * time.Hour
	byHourFor   = 8 * sceneDay
)

// incidentBefore is when the upstream failed for an hour.
const incidentBefore = 20 * time.Hour

// Load is how many requests a second the clients make at a time of day: most in
// the afternoon, few at night, fewer on weekends.
func Load(at time.Time) float64 {
	hour := float64(at.Hour()) + float64(at.Minute())/60
	day := .5 + .5*math.Cos((hour-15)/12*math.Pi) // 1 at 15:00, 0 at 03:00
	load := .8 + 2.7*math.Pow(day, 1.4)
	if w := at.Weekday(); w == time.Saturday || w == time.Sunday {
		load *= .6
	}
	return load
}

// load is Load with the growth of a month and the whims of an hour.
func (s *Scene) load(at time.Time) float64 {
	grown := 1 - .4*s.now.Sub(at).Hours()/24/sceneDays
	return Load(at) * grown * (.9 + .2*noise(at.Truncate(time.Hour).Unix()))
}

// noise is a number from 0 to 1 that is always the same for n.
func noise(n int64) float64 {
	h := fnv.New64a()
	_, _ = h.Write(strconv.AppendInt(nil, n, 10))
	return float64(h.Sum64()>>11) / (1 << 53)
}

// requestsIn is about how many requests a provider had from a time on.
func (s *Scene) requestsIn(p gateway.ProviderName, from time.Time, d time.Duration) float64 {
	sum := 0.0
	for ; d > 0; from, d = from.Add(time.Hour), d-time.Hour {
		part := min(d, time.Hour)
		sum += portions[p] * s.load(from.Add(part/2)) * part.Seconds()
	}
	return sum
}

// ledger adds up what clients asked of one provider.
type ledger struct {
	scene    *Scene
	provider gateway.ProviderName
	tallies  map[tallied]*gateway.Tally
	tokens   map[string]*gateway.TokenDelta
	models   map[string]*gateway.ModelDelta
}

type tallied struct {
	of   gateway.Subject
	name string
	at   int64 // of a minute
}

// requests counts what the clients asked for in the whole time.
func (s *Scene) requests() {
	for _, p := range gateway.Providers() {
		l := &ledger{scene: s, provider: p, tallies: map[tallied]*gateway.Tally{}, tokens: map[string]*gateway.TokenDelta{}, models: map[string]*gateway.ModelDelta{}}
		now := s.now.Truncate(time.Minute)
		fine := now.Add(-byMinuteFor).Truncate(time.Hour)
		for at := now.Truncate(time.Hour).Add(-sceneDays*sceneDay + 8*time.Hour); at.Before(fine); at = at.Add(time.Hour) {
			l.add(at, time.Hour)
		}
		for at := fine; at.Before(now); at = at.Add(time.Minute) {
			l.add(at, time.Minute)
		}
		l.add(now, s.now.Sub(now)) // the minute that has only begun
		l.write(s.written[p])
	}
}

// add counts the requests of an hour or a minute: what each client asked of each
// model.
func (l *ledger) add(at time.Time, d time.Duration) {
	s := l.scene
	n := s.requestsIn(l.provider, at, d)
	if d < time.Hour { // an hour's noise does not tell its minutes apart
		n *= .75 + .5*noise(at.Unix())
	}
	failing := .006 + .006*s.rnd.Float64()
	if l.provider == gateway.Ollama && at.Equal(s.now.Add(-incidentBefore).Truncate(time.Hour)) {
		failing = .38
	}
	for _, c := range s.clients {
		share := c.share[l.provider]
		if share == 0 || at.Before(c.Token.CreatedAt) || s.now.Sub(at) < c.silent {
			continue
		}
		for i := range habitsOf[l.provider] {
			h := &habitsOf[l.provider][i]
			if !c.Token.Limits.AllowsModel(h.model) {
				continue
			}
			if times := s.about(n * share * float64(h.share) / 100); times > 0 {
				l.count(c, h, at, times, s.about(float64(times)*failing*(.4+1.2*noise(int64(h.first))))) // some models fail more than others
			}
		}
	}
}

// count counts requests of a client for a model.
func (l *ledger) count(c *Client, h *habit, at time.Time, n, failed int64) {
	var t gateway.Tally
	l.scene.count(&t, h, n, min(failed, n))
	at = at.UTC()
	coarse, hour := at.Truncate(sceneDay).Add(sceneDay/2), at.Truncate(time.Hour)
	if l.scene.now.Sub(at) < byHourFor {
		coarse = hour
	}
	model := coarse
	if l.scene.now.Sub(at) < byMinuteFor+time.Hour {
		model = at
	}
	l.tally(gateway.OfProvider, "", at).Add(&t)
	l.tally(gateway.OfModel, h.model, model).Add(&t)
	l.tally(gateway.OfToken, c.Token.Hash, coarse).Add(&t)

	if l.tokens[c.Token.Hash] == nil {
		l.tokens[c.Token.Hash] = &gateway.TokenDelta{Hash: c.Token.Hash}
	}
	token := l.tokens[c.Token.Hash]
	token.LastUsed = later(token.LastUsed, at)
	token.Counts.Add(t.Counts)
	if l.models[h.model] == nil {
		l.models[h.model] = &gateway.ModelDelta{Model: h.model}
	}
	m := l.models[h.model]
	m.LastUsed = later(m.LastUsed, at)
	m.Counts.Add(t.Counts)
}

func (l *ledger) tally(of gateway.Subject, name string, at time.Time) *gateway.Tally {
	to := tallied{of, name, at.Unix()}
	if l.tallies[to] == nil {
		l.tallies[to] = &gateway.Tally{}
	}
	return l.tallies[to]
}

// write puts the sums where they are written down.
func (l *ledger) write(d *gateway.Delta) {
	places := slices.SortedFunc(maps.Keys(l.tallies), func(a, b tallied) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.of, b.of), cmp.Compare(a.name, b.name))
	})
	for _, to := range places {
		t := l.tallies[to]
		d.Tallies = append(d.Tallies, gateway.TallyDelta{Of: to.of, Name: to.name, Minute: time.Unix(to.at, 0).UTC(), Tally: *t})
		if to.of == gateway.OfProvider {
			d.Global.Add(t.Counts)
		}
	}
	for _, hash := range slices.Sorted(maps.Keys(l.tokens)) {
		d.Tokens = append(d.Tokens, *l.tokens[hash])
	}
	for _, model := range slices.Sorted(maps.Keys(l.models)) {
		d.Models = append(d.Models, *l.models[model])
	}
}

// spread is how requests for the same model differ: most take about as long as
// usual, some take much longer.
var spread = [...]float64{.4, .55, .65, .75, .85, .95, 1, 1.1, 1.25, 1.45, 1.8, 2.6, 4.5}

// count adds requests for a model to a tally.
func (s *Scene) count(t *gateway.Tally, h *habit, n, failed int64) {
	ok := n - failed
	in, out := s.about(float64(ok*h.in)*(.9+.2*s.rnd.Float64())), s.about(float64(ok*h.out)*(.9+.2*s.rnd.Float64()))
	t.Counts.Add(gateway.Counts{Requests: n, Success: ok, Failure: failed, Usage: gateway.Usage{
		Input: in, Output: out, Cost: gateway.Cost(float64(in+3*out) * h.price * float64(gateway.CostUnit) / 1e6),
	}})
	t.Attempts += n + s.about(float64(ok)*.05) + 2*failed
	from := s.rnd.IntN(len(spread))
	for i := range spread {
		part := (n + int64((i+from)%len(spread))) / int64(len(spread))
		t.Duration.Observe(time.Duration(spread[i]*float64(h.whole)), part)
		part = (ok + int64((i+from)%len(spread))) / int64(len(spread))
		t.FirstByte.Observe(time.Duration(spread[i]*float64(h.first)), part)
	}
}
