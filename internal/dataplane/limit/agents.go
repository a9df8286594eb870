package limit

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// patterns are the words, in small letters, by which an automated agent is
// known.
var patterns = [...]string{"python-requests", "scrapy", "curl/", "wget/", "spider", "crawler", "bot"}

// firstWeak is where the patterns begin that search engines use of themselves,
// so that they do not count against welcome ones.
const firstWeak = 4

// welcome are the search engines that may pass.
var welcome = [...]string{"googlebot", "bingbot"}

// noAgent is the name under which requests without a User-Agent count.
const (
	noAgent     = len(patterns)
	noAgentName = "(none)"
)

// agentLogInterval is how often an agent of one name is logged.
const agentLogInterval = time.Minute

// Agents notices requests of automated agents by their User-Agent: it counts
// them by name and logs a line a minute for each name, and turns them away if
// it is to block. It may be used concurrently.
type Agents struct {
	block bool
	log   *slog.Logger
	now   func() time.Time
	seen  [len(patterns) + 1]sighting
}

type sighting struct {
	count    atomic.Int64
	loggedAt atomic.Int64 // in seconds of the epoch
}

// NewAgents makes the step. When it blocks, suspicious agents get 403, and so
// does who sends no User-Agent. now is the clock.
func NewAgents(block bool, log *slog.Logger, now func() time.Time) *Agents {
	return &Agents{block: block, log: log, now: now}
}

// Watch is the step.
func (a *Agents) Watch(next httpkit.Handler) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		which, suspicious := a.judge(r.Header["User-Agent"])
		if !suspicious {
			return next(w, r)
		}
		a.note(r, which)
		if a.block {
			return gateway.Errorf(gateway.KindForbidden, "automated agents are not served here: this User-Agent is blocked")
		}
		return next(w, r)
	}
}

func (a *Agents) judge(headers []string) (which int, suspicious bool) {
	if len(headers) == 0 || strings.TrimSpace(headers[0]) == "" {
		return noAgent, a.block
	}
	return match(headers[0])
}

// match finds the pattern that a User-Agent contains, letters' case ignored.
func match(agent string) (which int, suspicious bool) {
	weak := -1
	for i := range len(agent) {
		switch agent[i] | 0x20 {
		case 'p', 's', 'c', 'w', 'b': // with which the patterns begin
		default:
			continue
		}
		for which, p := range patterns {
			if !hasPrefixFold(agent[i:], p) {
				continue
			}
			if which < firstWeak {
				return which, true
			}
			weak = which
		}
	}
	return weak, weak >= 0 && !isWelcome(agent)
}

func isWelcome(agent string) bool {
	for _, name := range welcome {
		if containsFold(agent, name) {
			return true
		}
	}
	return false
}

func containsFold(s, word string) bool {
	for i := range len(s) {
		if hasPrefixFold(s[i:], word) {
			return true
		}
	}
	return false
}

// hasPrefixFold reports whether s begins with word, which is in small ASCII
// letters and signs, without regard to the case of s.
func hasPrefixFold(s, word string) bool {
	if len(s) < len(word) {
		return false
	}
	for i := range len(word) {
		if lower(s[i]) != word[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// note counts a suspicious request and logs it, unless one of the same name
// was logged within the last minute.
func (a *Agents) note(r *http.Request, which int) {
	s := &a.seen[which]
	count := s.count.Add(1)
	now := a.now().Unix()
	last := s.loggedAt.Load()
	if last != 0 && now-last < int64(agentLogInterval/time.Second) || !s.loggedAt.CompareAndSwap(last, now) {
		return
	}
	a.log.LogAttrs(r.Context(), slog.LevelInfo, "suspicious user agent",
		slog.String("agent", agentName(which)),
		slog.String("user_agent", gateway.Clip(r.UserAgent(), 120)),
		slog.Int64("requests", count),
		slog.Bool("blocked", a.block))
}

func agentName(which int) string {
	if which == noAgent {
		return noAgentName
	}
	return strings.TrimSuffix(patterns[which], "/")
}

// Blocked is how many requests were turned away since the start.
func (a *Agents) Blocked() int64 {
	n := int64(0)
	if a.block {
		for i := range a.seen {
			n += a.seen[i].count.Load()
		}
	}
	return n
}

// Counts tells how many requests of each suspicious agent came since the
// start; names that never came are left out.
func (a *Agents) Counts() map[string]int64 {
	counts := map[string]int64{}
	for i := range a.seen {
		if n := a.seen[i].count.Load(); n > 0 {
			counts[agentName(i)] = n
		}
	}
	return counts
}
