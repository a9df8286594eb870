package admin

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

func states(active, resting, failed, disabled, expired int) map[gateway.KeyStatus]int {
	return map[gateway.KeyStatus]int{
		gateway.KeyActive: active, gateway.KeyResting: resting, gateway.KeyFailed: failed,
		gateway.KeyDisabled: disabled, gateway.KeyExpired: expired,
	}
}

func TestVerdict(t *testing.T) {
	serves := Standing{Enabled: true, Keys: states(5, 5, 0, 0, 0)}
	with := func(change func(*Standing)) Standing {
		s := serves
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		of              []Standing
		verdict, reason string
		serving, total  int
	}{
		"half of them serve":      {[]Standing{serves}, healthy, reasonServing, 5, 10},
		"fewer than half":         {[]Standing{with(func(s *Standing) { s.Keys = states(4, 5, 0, 0, 0) })}, strained, reasonFewServe, 4, 9},
		"none serves":             {[]Standing{with(func(s *Standing) { s.Keys = states(0, 5, 1, 1, 1) })}, down, reasonNoneServes, 0, 8},
		"the breaker is open":     {[]Standing{with(func(s *Standing) { s.Open = true })}, down, reasonUpstream, 5, 10},
		"everybody is refused":    {[]Standing{with(func(s *Standing) { s.Open, s.Refusal = true, "403" })}, down, reasonAllRefused, 5, 10},
		"no keys":                 {[]Standing{{Enabled: true}, {Enabled: true}}, empty, reasonNoKeys, 0, 0},
		"one of two is down":      {[]Standing{serves, with(func(s *Standing) { s.Open = true })}, down, reasonUpstream, 10, 20},
		"one has no keys":         {[]Standing{serves, {Enabled: true, Open: true}}, healthy, reasonServing, 5, 10},
		"one is switched off":     {[]Standing{serves, with(func(s *Standing) { s.Enabled = false })}, healthy, reasonServing, 5, 10},
		"the only one is off":     {[]Standing{with(func(s *Standing) { s.Enabled = false }), {Enabled: true}}, down, reasonSwitchedOff, 0, 10},
		"together fewer serve":    {[]Standing{serves, with(func(s *Standing) { s.Keys = states(1, 9, 0, 0, 0) })}, strained, reasonFewServe, 6, 20},
		"refused and just failed": {[]Standing{with(func(s *Standing) { s.Open, s.Refusal = true, "403" }), with(func(s *Standing) { s.Open = true })}, down, reasonUpstream, 10, 20},
	} {
		v, _ := judgeAll(c.of)
		if v.Verdict != c.verdict || v.Reason != c.reason || v.Serving != c.serving || v.Total != c.total {
			t.Errorf("%s: %+v, want %s, %s, %d of %d", name, v, c.verdict, c.reason, c.serving, c.total)
		}
	}
}

// TestOverview looks at a pool with something of everything.
func TestOverview(t *testing.T) {
	s := newFiguresScene(t, func(o *Options) { o.Encrypted = false })
	s.live.standing[gateway.Ollama] = Standing{
		Enabled: true, Keys: states(60, 30, 5, 3, 2), InFlight: 79, NextReturn: date(9, 14, 32).Add(50 * time.Second), Returning: 35,
	}
	s.live.standing[gateway.OpenRouter] = Standing{
		Enabled: true, Keys: states(8, 0, 2, 0, 0), InFlight: 8, Open: true, OpenedAt: date(9, 14, 30), Refusal: "403 key refused",
		NextReturn: date(9, 15, 0), Returning: 2,
	}
	s.live.peak, s.live.peakAt = 214, date(9, 11, 20)
	slow, quick := 3*time.Second, 300*time.Millisecond
	s.apply(
		requested(gateway.Ollama, "gpt-oss:120b", "sk-one", date(9, 14, 10), tallied(100, 10, slow, quick)),
		requested(gateway.Ollama, "gpt-oss:120b", "sk-one", date(8, 15, 10), tallied(100, 0, slow, quick)),
		requested(gateway.Ollama, "kimi-k2:1t", "sk-two", date(9, 3, 59), tallied(50, 0, slow, quick)),
		requested(gateway.OpenRouter, "x/y", "sk-two", date(9, 14, 31), tallied(50, 50, slow, quick)),
		requested(gateway.Ollama, "gpt-oss:120b", "sk-one", date(8, 14, 59), tallied(400, 0, slow, quick)), // the day before
	)
	s.addKeys(gateway.Ollama, "fake-key-of-ollama-0001")
	id := gateway.IDOfKey("fake-key-of-ollama-0001")
	s.apply(gateway.Delta{Provider: gateway.Ollama, Log: []gateway.LogEntry{
		{ID: "req-good", Provider: gateway.Ollama, Status: 200, StartedAt: date(9, 14, 0)},
		{
			ID: "req-bad", Provider: gateway.Ollama, Model: "kimi-k2:1t", Status: 502, Error: "upstream fault", StartedAt: date(9, 14, 1),
			Trail: []gateway.TrailStep{{Key: id, Status: 502, Scope: gateway.ScopeProvider, Action: gateway.ActionStrike}},
		},
	}})

	var o overviewAnswer
	s.read("/admin/overview", &o)
	if want := (poolVerdict{Verdict: down, Reason: reasonAllRefused, Serving: 68, Total: 110, Returning: 37, NextReturn: o.Verdict.NextReturn}); o.Verdict != want || !o.Verdict.NextReturn.Equal(date(9, 14, 33).Add(-10*time.Second)) {
		t.Errorf("verdict %+v", o.Verdict)
	}
	if o.States != (statesAnswer{68, 30, 7, 3, 2, 110}) {
		t.Errorf("states %+v", o.States)
	}
	if o.InFlight.Now != 87 || o.InFlight.Peak != 214 || !o.InFlight.PeakAt.Equal(date(9, 11, 20)) {
		t.Errorf("in flight %+v", o.InFlight)
	}
	f := o.Figures
	if f.Requests != 300 || f.Success != 240 || f.Failure != 60 || f.SuccessRate != "80.00" || f.Attempts != 330 || f.TokensIn != 30000 || f.TokensOut != 6000 || f.Cost != 0.3 {
		t.Errorf("figures %+v", f)
	}
	if *f.Duration != (timesAnswer{3250, 3925}) || *f.FirstByte != (timesAnswer{325, 392.5}) {
		t.Errorf("times %+v %+v", *f.Duration, *f.FirstByte)
	}
	// Of the hour before the range the part counts that has passed of this one.
	if past := 400 * (32*60 + 10) / 3600.0; *f.Change != percent(int64((300-past)*100), int64(past*100)) {
		t.Errorf("change %v", *f.Change)
	}
	if len(o.Series) != 24 || o.Series[0].Requests != 100 || o.Series[0].Label != "15:00" || o.Series[23].Failure != 60 || o.Series[12].Success != 50 || o.Series[12].Label != "03:00" {
		t.Errorf("series %+v", o.Series)
	}
	if len(o.Providers) != 2 {
		t.Fatalf("providers %+v", o.Providers)
	}
	if p := o.Providers[0]; p.Provider != gateway.Ollama || p.Verdict.Verdict != healthy || p.Requests != 250 || p.Rate != "96.00" || p.InFlight != 79 || p.Breaker.Open || p.Returning != 35 {
		t.Errorf("ollama %+v", p)
	}
	if p := o.Providers[1]; p.Verdict.Reason != reasonAllRefused || !p.Breaker.Open || *p.Breaker.Refusal != "403 key refused" || !p.Breaker.Since.Equal(date(9, 14, 30)) || p.Rate != "0.00" {
		t.Errorf("openrouter %+v", p)
	}
	var models []string
	for _, m := range o.TopModels {
		models = append(models, fmt.Sprint(m.Model, m.Requests, m.Share))
		if m.Duration == nil || m.Duration.P95 != 3925 || m.Model != "x/y" && (m.FirstByte == nil || m.FirstByte.P50 != 325) {
			t.Errorf("times of %s: %+v %+v", m.Model, m.Duration, m.FirstByte)
		}
	}
	if want := []string{"gpt-oss:120b200 66.67", "kimi-k2:1t50 16.67", "x/y50 16.67"}; !slices.Equal(models, want) {
		t.Errorf("models %v", models)
	}
	if len(o.LastFailures) != 1 || o.LastFailures[0].ID != "req-bad" || *o.LastFailures[0].APIKey != "fake-k…0001" || *o.LastFailures[0].Key != string(id) {
		t.Errorf("failures %+v", o.LastFailures)
	}
	if o.Log.Mode != "failures" || o.Log.Entries != 2 || !o.Log.Since.Equal(date(9, 14, 0)) {
		t.Errorf("log %+v", o.Log)
	}
	var kinds []string
	for _, a := range o.Attention {
		kinds = append(kinds, a.Kind)
	}
	if want := []string{attentionDown, attentionExpired, attentionUnencrypted}; !slices.Equal(kinds, want) {
		t.Errorf("attention %v", kinds)
	}

	s.read("/admin/overview?provider=ollama&range=1h", &o)
	if o.Provider != "ollama" || len(o.Providers) != 1 || o.Figures.Requests != 100 || len(o.Series) != 60 || o.Series[37].Requests != 100 || o.Range.Step != "minute" {
		t.Errorf("the last hour of ollama: %+v", o.Figures)
	}
	s.read("/admin/overview?range=7d", &o)
	if o.Figures.Requests != 700 || len(o.Series) != 168 || o.Series[143].Requests != 400 {
		t.Errorf("a week: %+v", o.Figures)
	}
	s.read("/admin/overview?range=30d&tz=Asia/Kolkata", &o)
	if o.Figures.Requests != 700 || len(o.Series) != 30 || o.Series[29].Requests != 200 || o.Series[28].Requests != 500 || o.Series[29].Label != "01-09" || o.Range.TZ != "Asia/Kolkata" {
		t.Errorf("a month in India: %+v %+v", o.Figures, o.Series[28:])
	}
}

// TestOverviewOfNothing has every list and figure of a pool that is new.
func TestOverviewOfNothing(t *testing.T) {
	s := newFiguresScene(t)
	for _, name := range ranges {
		w := s.get("/admin/overview?range=" + name)
		if w.Code != http.StatusOK || strings.Contains(w.Body.String(), ":null,\"series") {
			t.Fatal(w.Code, w.Body)
		}
		for _, list := range []string{"attention", "topModels", "rests", "lastFailures"} {
			if !strings.Contains(w.Body.String(), `"`+list+`":[]`) {
				t.Errorf("%s is not an empty list: %s", list, w.Body)
			}
		}
		if !strings.Contains(w.Body.String(), `"verdict":"empty","reason":"no_keys"`) {
			t.Error(w.Body)
		}
	}
}

func TestFiguresAreRefused(t *testing.T) {
	s := newFiguresScene(t)
	for _, address := range []string{
		"/admin/overview", "/admin/analytics", "/admin/analytics/models", "/admin/analytics/keys", "/admin/analytics/tokens",
		"/admin/requests", "/admin/requests/req-1", "/admin/events", "/metrics",
	} {
		if w := s.get(address, "Authorization", ""); w.Code != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", address, w.Code)
		}
		if address == "/metrics" || strings.Contains(address, "req") || strings.Contains(address, "events") {
			continue
		}
		s.wantRefused(address+"?provider=other&tz=Nowhere&range=2d&page=0", `unknown provider \"other\"`, "tz must be", "range must be one of 1h, 24h, 7d, 30d")
	}
	s.wantRefused("/admin/public-stats?provider=other&tz=Local", `unknown provider`, "tz must be")
	for _, table := range []string{"models", "keys", "tokens"} {
		s.wantRefused("/admin/analytics/"+table+"?page=0&pageSize=x&sort=secret&format=xml", "page must be", "pageSize must be", "sort must be one of requests", "format must be json or csv")
	}
	s.wantRefused("/admin/requests?provider=other&status=bad&slow=0&limit=999", "status must be", "slow must be", "limit must be", "unknown provider")
	s.wantRefused("/admin/requests?before=xyz", "no cursor")
	if w := s.get("/admin/requests/not-there"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), `"code":"not_found"`) {
		t.Errorf("a request that is not there: %d %s", w.Code, w.Body)
	}
}

func TestAttention(t *testing.T) {
	out := func(p gateway.ProviderName, status gateway.KeyStatus, by gateway.DisabledReason, why string, keys int) outOf {
		return outOf{p, gateway.OutGroup{Status: status, Disabled: by, Reason: why, Keys: keys, Accounts: 1, Since: date(9, 14, 0)}}
	}
	both := gateway.Providers()
	standings := []Standing{
		{Enabled: true, Keys: states(1, 1, 1, 1, 87)},
		{Enabled: false, Open: true, Keys: states(1, 0, 0, 0, 0)},
	}
	g := groups{
		soon: []int{14, 0},
		outs: []outOf{
			out(gateway.Ollama, gateway.KeyDisabled, gateway.DisabledManual, "disabled by the operator", 999),
			out(gateway.Ollama, gateway.KeyExpired, "", "", 87),
			out(gateway.Ollama, gateway.KeyFailed, "", "401 unauthorized", 3),
			out(gateway.OpenRouter, gateway.KeyDisabled, gateway.DisabledAuto, "402 no credit", 37),
			out(gateway.OpenRouter, gateway.KeyFailed, "", "403 key refused", 5),
		},
		rests: []restOf{
			{gateway.Ollama, gateway.RestGroup{Until: date(9, 15, 0), Reason: "quota: hourly", Keys: 50}},
			{gateway.Ollama, gateway.RestGroup{Until: date(14, 0, 0), Reason: "quota: weekly", Keys: 200, Accounts: 1}},
			{gateway.Ollama, gateway.RestGroup{Until: date(14, 0, 1), Reason: "quota: weekly", Keys: 12, Accounts: 2}},
		},
	}
	a := &API{opt: Options{Encrypted: false}}
	g.outs[4].Since = wednesday.Add(time.Hour)
	var got []string
	for _, x := range a.attention(both, standings, &g, wednesday) {
		line := x.Kind
		if x.Provider != nil {
			line += " " + *x.Provider
		}
		if x.Reason != nil {
			line += " " + *x.Reason
		}
		if x.Since != nil {
			line += x.Since.Format(" 15:04")
		}
		if x.Filter != nil {
			line += " " + string(x.Filter.Status)
			if (x.Filter.Reason == nil) != (x.Reason == nil) || x.Reason != nil && *x.Filter.Reason != *x.Reason {
				t.Errorf("%s: the filter is %+v", line, x.Filter)
			}
		}
		got = append(got, fmt.Sprint(line, " ", x.Keys, " ", x.Accounts, " ", x.Soon))
	}
	want := []string{
		"keys_refused openrouter 402 no credit 14:00 disabled 37 1 0",
		"keys_refused openrouter 403 key refused failed 5 1 0", // of which it is not known
		"keys_resting ollama quota: weekly resting 212 3 0",
		"keys_expired ollama expired 87 0 14",
		"store_unencrypted 0 0 0",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	standings[1].Enabled = true
	if first := a.attention(both, standings, &g, wednesday); len(first) != maxAttention || first[0].Kind != attentionDown {
		t.Errorf("a provider that is down: %+v", first)
	}
}

func TestRestGroups(t *testing.T) {
	rest := func(in time.Duration, why string, keys int) restOf {
		return restOf{gateway.Ollama, gateway.RestGroup{Until: wednesday.Add(in), Reason: why, Keys: keys}}
	}
	got := newRestAnswers([]restOf{
		rest(40*time.Second, "quota", 10), rest(3*time.Minute, "quota", 20), rest(4*time.Minute, "quota: hourly", 1),
		rest(20*time.Minute, "quota", 5), rest(22*time.Minute, "quota", 5), rest(26*time.Minute, "quota", 9),
	}, wednesday)
	want := []restAnswer{
		{gateway.Ollama, wednesday.Add(3 * time.Minute), "quota", 30, 60},
		{gateway.Ollama, wednesday.Add(4 * time.Minute), "quota: hourly", 1, 2},
		{gateway.Ollama, wednesday.Add(22 * time.Minute), "quota", 10, 20},
		{gateway.Ollama, wednesday.Add(26 * time.Minute), "quota", 9, 18},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
	var many []restOf
	for i := range 20 {
		many = append(many, rest(time.Duration(i+1)*time.Hour, "quota", i))
	}
	if got := newRestAnswers(many, wednesday); len(got) != maxRests || got[0].Keys != 12 || got[7].Keys != 19 {
		t.Errorf("of many groups the largest are shown, the soonest first: %+v", got)
	}
}
