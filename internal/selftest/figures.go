package selftest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"ollama-api-pool/internal/gateway"
)

// counted is what the public figures of a provider said at first, and what was
// asked since.
type counted struct {
	known bool
	total int64
	asked int64 // requests of ours that must have been counted since
}

// How long figures may lag behind: they are written about once a second and
// shown for two, and another instance may need a second more.
const (
	figuresPatience = 10 * time.Second
	figuresPause    = 250 * time.Millisecond
)

// publicStats are the public figures.
type publicStats struct {
	Global *struct {
		TotalRequests *int64  `json:"totalRequests"`
		SuccessCount  *int64  `json:"successCount"`
		FailureCount  *int64  `json:"failureCount"`
		SuccessRate   *string `json:"successRate"`
		LastUpdated   string  `json:"lastUpdated"`
		TotalAPIKeys  *int    `json:"totalApiKeys"`
		ActiveKeys    *int    `json:"activeKeys"`
		FailedKeys    *int    `json:"failedKeys"`
		Storage       string  `json:"storage"`
	} `json:"global"`
	TopModels       []anyJSONValue `json:"topModels"`
	RecentTopModels []anyJSONValue `json:"recentTopModels"`
	HourlyTrend     []struct {
		Hour     string `json:"hour"`
		Requests *int64 `json:"requests"`
		Success  *int64 `json:"success"`
		Failure  *int64 `json:"failure"`
	} `json:"hourlyTrend"`
	Storage   string        `json:"storage"`
	Meta      *anyJSONValue `json:"meta"`
	Timestamp string        `json:"timestamp"`
}

// whole reports whether every field is there that is promised.
func (s *publicStats) whole() bool {
	g := s.Global
	if g == nil || g.TotalRequests == nil || g.SuccessCount == nil || g.FailureCount == nil || g.SuccessRate == nil || g.LastUpdated == "" ||
		g.TotalAPIKeys == nil || g.ActiveKeys == nil || g.FailedKeys == nil || g.Storage == "" {
		return false
	}
	for _, h := range s.HourlyTrend {
		if len(h.Hour) != len("15:04") || h.Requests == nil || h.Success == nil || h.Failure == nil {
			return false
		}
	}
	return len(s.HourlyTrend) == 24 && s.TopModels != nil && s.RecentTopModels != nil && s.Storage != "" && s.Meta != nil && s.Timestamp != ""
}

func (r *run) readFigures(ctx context.Context, p gateway.ProviderName) (*publicStats, error) {
	c := call{path: "/admin/public-stats?provider=" + string(p)}
	a, err := r.wanted(ctx, c)
	if err != nil {
		return nil, err
	}
	s, err := decode[publicStats](a)
	if err != nil {
		return nil, err
	}
	if !s.whole() {
		return nil, lacking(c.path, "some of its fields")
	}
	if bytes.Contains(a.body, []byte(r.Token.Reveal())) {
		return nil, &fault{cause: c.path + " shows the token to everybody", cure: "Take the deployment off the net and revoke the token.", status: http.StatusOK}
	}
	return &s, nil
}

// publicFigures reads the public figures before anything is asked.
func (r *run) publicFigures(ctx context.Context, p gateway.ProviderName) (outcome, error) {
	r.figures[p] = &counted{}
	s, err := r.readFigures(ctx, p)
	if err != nil {
		return outcome{}, err
	}
	*r.figures[p] = counted{known: true, total: *s.Global.TotalRequests}
	out := outcome{seen: fmt.Sprintf("%s so far, %d of %s active", plural(int(*s.Global.TotalRequests), "request"), *s.Global.ActiveKeys, plural(*s.Global.TotalAPIKeys, "key"))}
	if *s.Global.TotalAPIKeys > 0 && *s.Global.ActiveKeys == 0 {
		out.note = "No key is active: 'keys list' shows why."
	}
	return out, nil
}

// requestsCounted waits until the public figures show what was asked.
func (r *run) requestsCounted(ctx context.Context, p gateway.ProviderName) (outcome, error) {
	began := *r.figures[p]
	if !began.known {
		return outcome{}, skip("the public figures could not be read before")
	}
	if began.asked == 0 {
		return outcome{}, skip("no request was served")
	}
	deadline := time.Now().Add(min(figuresPatience, r.Timeout))
	for {
		s, err := r.readFigures(ctx, p)
		if err != nil {
			return outcome{}, err
		}
		more := *s.Global.TotalRequests - began.total
		if more >= began.asked {
			return outcome{seen: fmt.Sprintf("%d of ours, %d more in all", began.asked, more)}, nil
		}
		if time.Now().After(deadline) {
			return outcome{}, &fault{
				cause: fmt.Sprintf("%d were served here, and the public figures show %d more", began.asked, more),
				cure:  "Is STATS_SAMPLE_RATE below 1, or do several instances answer that share no database?",
			}
		}
		select {
		case <-ctx.Done():
			return outcome{}, r.unreachable(call{}, ctx.Err())
		case <-time.After(figuresPause):
		}
	}
}

// adminFigures asks the admin API as its administrator.
func (r *run) adminFigures(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	const path = "/admin/stats"
	keys, active := 0, 0
	for _, p := range r.Providers {
		a, err := r.wanted(ctx, call{path: path + "?provider=" + string(p), as: asAdmin})
		if err != nil {
			return outcome{}, err
		}
		s, err := decode[struct {
			Keys    *int   `json:"total_api_keys"`
			Active  *int   `json:"active_keys"`
			Total   *int64 `json:"total_requests"`
			Rate    string `json:"success_rate"`
			Storage string `json:"storage"`
		}](a)
		if err != nil {
			return outcome{}, err
		}
		if s.Keys == nil || s.Active == nil || s.Total == nil || s.Rate == "" || s.Storage == "" {
			return outcome{}, lacking(path, "some of its fields")
		}
		keys, active = keys+*s.Keys, active+*s.Active
	}
	return outcome{seen: fmt.Sprintf("%d of %s active", active, plural(keys, "key"))}, nil
}

// metrics reads what Prometheus reads.
func (r *run) metrics(ctx context.Context, _ gateway.ProviderName) (outcome, error) {
	a, err := r.wanted(ctx, call{path: "/metrics", as: asAdmin})
	if err != nil {
		return outcome{}, err
	}
	n := bytes.Count(a.body, []byte("# TYPE "))
	if n == 0 {
		return outcome{}, lacking("/metrics", "any figure")
	}
	return outcome{seen: plural(n, "figure")}, nil
}
