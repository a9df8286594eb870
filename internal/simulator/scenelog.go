package simulator

import (
	"cmp"
	"slices"
	"time"

	"ollama-api-pool/internal/gateway"
)

// How much the request log of the scene tells.
const (
	loggedEvents = 6 * time.Hour    // every request in which something happened to a key
	loggedFaults = 24 * time.Hour   // some that failed
	loggedAll    = 12 * time.Minute // many of all
)

// mishap is a way in which requests end badly.
type mishap struct {
	share  int // of a hundred
	status int
	end    gateway.End
	reason string
	step   gateway.TrailStep // each attempt; without a status there was none
	tries  int
}

var mishaps = []mishap{
	{32, 502, gateway.EndDone, "upstream fault", fault(503), 4},
	{20, 404, gateway.EndDone, "404 model unknown upstream", delivered(404, "404 model unknown upstream"), 1},
	{14, 400, gateway.EndDone, "request refused", delivered(400, "request refused"), 1},
	{14, 200, gateway.EndClientClosed, "the client went away", gateway.TrailStep{Status: 200, Scope: gateway.ScopeClient, Next: gateway.NextStop, Reason: "client closed"}, 1},
	{8, 200, gateway.EndCut, "connection broken", gateway.TrailStep{Status: 200, Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Reason: "connection broken"}, 1},
	{6, 504, gateway.EndDone, "no answer in time", gateway.TrailStep{Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause, Reason: "no answer in time"}, 2},
	{6, 403, gateway.EndDone, reasonPlan, gateway.TrailStep{Status: 403, Scope: gateway.ScopeKeyModel, Action: gateway.ActionPassOver, Next: gateway.NextKeyOnce, Reason: reasonPlan}, 2},
}

func fault(status int) gateway.TrailStep {
	return gateway.TrailStep{Status: status, Scope: gateway.ScopeProvider, Action: gateway.ActionStrike, Next: gateway.NextAfterPause, Reason: "upstream fault"}
}

func delivered(status int, reason string) gateway.TrailStep {
	return gateway.TrailStep{Status: status, Scope: gateway.ScopeRequest, Next: gateway.NextDeliver, Reason: reason}
}

// refusals are the answers by which keys go out, by what happens to them.
var refusals = map[string]gateway.TrailStep{
	reasonRevoked:  {Status: 401, Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey},
	reasonNoCredit: {Status: 402, Scope: gateway.ScopeKey, Action: gateway.ActionFail, Next: gateway.NextKey},
	reasonPlan:     {Status: 403, Scope: gateway.ScopeKeyModel, Action: gateway.ActionPassOver, Next: gateway.NextKeyOnce},
	"":             {Status: 429, Scope: gateway.ScopeAccount, Action: gateway.ActionRest, Next: gateway.NextKey}, // all others
}

// log fills the request log of a provider.
func (s *Scene) log(p gateway.ProviderName) {
	d := s.written[p]
	serving := slices.DeleteFunc(slices.Clone(s.cast[p]), func(a *actor) bool { return a.added < 0 || !a.outAt.IsZero() })
	key := func() gateway.KeyID { return serving[s.rnd.IntN(len(serving))].id }
	for _, e := range d.Events {
		if e.RequestID != "" && s.now.Sub(e.At) < loggedEvents {
			d.Log = append(d.Log, s.recovered(p, &e, key()))
		}
	}
	for n := s.about(140 * portions[p]); n > 0; n-- {
		d.Log = append(d.Log, s.faulty(p, s.ago(s.between(time.Second, loggedFaults)), s.drawMishap(), key))
	}
	if p == gateway.Ollama {
		began := s.now.Add(-incidentBefore).Truncate(time.Hour).UTC()
		for range 60 {
			d.Log = append(d.Log, s.faulty(p, began.Add(s.between(0, time.Hour)), &mishaps[0], key))
		}
	}
	for n := s.about(.5 * s.requestsIn(p, s.now.Add(-loggedAll), loggedAll)); n > 0; n-- {
		e, h := s.entry(p, s.ago(s.between(2*time.Second, loggedAll)))
		s.answered(&e, h, key(), 0)
		d.Log = append(d.Log, e)
	}
}

// inOrder puts the entries of all providers into one list, in the order in which
// the requests ended: that is when each is written, and how the log lists them.
func (s *Scene) inOrder() {
	var all []gateway.LogEntry
	for _, p := range gateway.Providers() {
		all = append(all, s.written[p].Log...)
		s.written[p].Log = nil
	}
	ended := func(e gateway.LogEntry) time.Time { return e.StartedAt.Add(e.Duration) }
	all = slices.DeleteFunc(all, func(e gateway.LogEntry) bool { return ended(e).After(s.now) })
	slices.SortFunc(all, func(a, b gateway.LogEntry) int {
		return cmp.Or(ended(a).Compare(ended(b)), cmp.Compare(a.ID, b.ID))
	})
	s.written[gateway.Ollama].Log = all
}

func (s *Scene) drawMishap() *mishap {
	card := s.rnd.IntN(100)
	for i := range mishaps {
		if card -= mishaps[i].share; card < 0 {
			return &mishaps[i]
		}
	}
	return &mishaps[0]
}

// entry begins an entry for a request of some client.
func (s *Scene) entry(p gateway.ProviderName, at time.Time) (gateway.LogEntry, *habit) {
	c, h := s.clients[1], &habitsOf[p][0]
	if s.rnd.Float64() > c.share[p] {
		c = s.clients[2]
		if p == gateway.OpenRouter {
			c = s.clients[3]
		}
	}
	card := s.rnd.IntN(100)
	for i := range habitsOf[p] {
		if card -= habitsOf[p][i].share; card < 0 {
			h = &habitsOf[p][i]
			break
		}
	}
	e := gateway.LogEntry{
		ID: s.hex(), Provider: p, TokenHash: c.Token.Hash, TokenName: c.Token.Name,
		Client: c.from, Agent: c.agent(s.version), StartedAt: at,
	}
	s.asks(&e, h)
	return e, h
}

// asks makes an entry that of a request for a model.
func (s *Scene) asks(e *gateway.LogEntry, h *habit) {
	e.Model, e.Path, e.Sent, e.Stream = h.model, "/v1/chat/completions", 4*h.in+90, s.rnd.IntN(3) > 0
	if h.out == 0 {
		e.Path, e.Stream = "/v1/embeddings", false
	}
	if e.Provider == gateway.OpenRouter {
		e.Path = "/openrouter" + e.Path
	}
}

// answered ends an entry well, after some time that was spent before.
func (s *Scene) answered(e *gateway.LogEntry, h *habit, key gateway.KeyID, spent time.Duration) {
	much := spread[s.rnd.IntN(len(spread))] * (.9 + .2*s.rnd.Float64())
	took := time.Duration(much * float64(h.whole))
	first := time.Duration(much * float64(h.first))
	e.Status, e.FirstByte, e.Duration = 200, spent+first, spent+took
	e.Usage = gateway.Usage{Input: int64(much * float64(h.in)), Output: int64(much * float64(h.out))}
	e.Usage.Cost = gateway.Cost(float64(e.Usage.Input+3*e.Usage.Output) * h.price * float64(gateway.CostUnit) / 1e6)
	e.Trail = append(e.Trail, gateway.TrailStep{Key: key, Status: 200, OK: true, Began: spent, Duration: first})
}

// recovered is the request in which a key went out: another key answered.
func (s *Scene) recovered(p gateway.ProviderName, out *gateway.KeyEvent, other gateway.KeyID) gateway.LogEntry {
	spent := s.between(30*time.Millisecond, 190*time.Millisecond)
	e, h := s.entry(p, out.At.Add(-spent))
	for i := range habitsOf[p] {
		if habitsOf[p][i].model == out.Model {
			h = &habitsOf[p][i]
		}
	}
	e.ID = out.RequestID
	s.asks(&e, h)
	step, known := refusals[out.Detail]
	if !known {
		step = refusals[""]
	}
	step.Key, step.Reason, step.Until, step.Duration = out.Key, out.Detail, out.Until, spent
	e.Trail = append(e.Trail, step)
	s.answered(&e, h, other, spent+time.Millisecond)
	return e
}

// faulty is a request that ended badly.
func (s *Scene) faulty(p gateway.ProviderName, at time.Time, m *mishap, key func() gateway.KeyID) gateway.LogEntry {
	e, h := s.entry(p, at)
	e.Status, e.End, e.Error = m.status, m.end, m.reason
	if m.status == 404 {
		e.Model = "gpt-4o-latest"
	}
	for n := range m.tries {
		step := m.step
		step.Key, step.Began, step.Duration = key(), e.Duration, s.between(40*time.Millisecond, 700*time.Millisecond)
		if n == m.tries-1 && step.Next == gateway.NextAfterPause {
			step.Next = gateway.NextDeliver
		}
		e.Trail = append(e.Trail, step)
		e.Duration += step.Duration + s.between(5*time.Millisecond, 400*time.Millisecond)
	}
	e.FirstByte = e.Duration
	if m.status == 200 { // it began well
		e.Stream, e.FirstByte, e.Duration = true, h.first, h.first+h.whole/3
		e.Usage = gateway.Usage{Input: h.in, Output: h.out / 3}
	}
	return e
}
