package browser

import (
	"context"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// TestFirstRunLook looks at the first-run guide in every view.
func TestFirstRunLook(t *testing.T) {
	t.Parallel()
	Matrix(t, Start(t), "first-run", "/dashboard", nil)
}

// TestOverviewStands has a page open while the pool goes through all verdicts.
func TestOverviewStands(t *testing.T) {
	t.Parallel()
	s := Start(t)
	var keys []string
	for n := range 4 {
		keys = append(keys, FakeKey(gateway.Ollama, simulator.FateOK, n))
	}
	s.Import(t, gateway.Ollama, keys...)
	token := s.Token(t, "overview")
	if got := s.Chat(t, token, "gpt-oss:20b", false); got != 200 {
		t.Fatalf("a chat got %d", got)
	}
	put := func(act string, keys ...string) {
		t.Helper()
		body := map[string]any{"apiKeys": keys}
		if act == "disable" {
			body["duration"] = 0
		}
		Admin[any](t, s, "POST", "/admin/keys/"+act, body)
	}
	p := LoggedIn(t, s, "/dashboard")
	verdict := p.Part(".verdict")
	verdict.WaitText("Healthy", "4 of 4 keys can serve.", "No keys")
	put("disable", keys[:3]...)
	verdict.WaitText("Strained", "Only 1 of 4 keys can serve.", "None of the others returns by itself.")
	if got := verdict.Attr("link", "Review keys", "href"); got != "/dashboard/keys?provider=ollama&status=disabled" {
		t.Errorf("the keys to review are at %s", got)
	}
	put("disable", keys[3])
	verdict.WaitText("Down", "None of 4 keys can serve.", "None returns by itself.")
	p.Axe()
	put("enable", keys...)
	verdict.WaitText("Healthy", "4 of 4 keys can serve.")

	s.upstream.Close()
	for range 3 {
		s.Chat(t, token, "gpt-oss:20b", false)
	}
	verdict.WaitText("Down", "Ollama does not answer since", "4 of 4 keys wait for it.", "Not answering")
	p.In("region", "Needs attention").WaitText("Ollama does not answer", "4 keys wait")
	p.In("region", "Last failures").WaitText("503")
	p.Choose("Provider", "OpenRouter")
	verdict.WaitText("Empty", "There are no OpenRouter keys.")
	verdict.Click("link", "Add keys")
	p.WaitURL("/dashboard/import?provider=openrouter")
}

// TestOverviewSwitches switches the provider and the range, and goes back.
func TestOverviewSwitches(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard")
	chart := p.In("region", "Requests")
	figures, verdict := p.Part(".figures"), p.Part(".verdict")
	figures.WaitText("Success rate", "p95", "used in 24 h")
	verdict.WaitText("of 48 keys")
	p.Choose("Provider", "OpenRouter")
	p.WaitURL("/dashboard?provider=openrouter")
	verdict.WaitText("of 24 keys")
	for _, r := range []struct{ choose, name, per string }{{"1 h", "1h", "per minute, last hour"}, {"7 d", "7d", "per hour, last 7 days"}, {"30 d", "30d", "per day, last 30 days"}} {
		p.Choose("Range", r.choose)
		p.WaitURL("/dashboard?provider=openrouter&range=" + r.name)
		chart.WaitText(r.per)
	}
	p.Back()
	chart.WaitText("per hour, last 7 days")
	p.Back()
	p.Back()
	chart.WaitText("per hour, last 24 h")
	verdict.WaitText("of 24 keys")
	p.Back()
	verdict.WaitText("of 48 keys")
	if got := p.URL(); got != "/dashboard" {
		t.Errorf("back at %s", got)
	}
	p.Open("/dashboard?provider=nobody&range=2w")
	verdict.WaitText("of 48 keys")
	chart.WaitText("per hour, last 24 h")
}

// TestFirstRun goes through the three steps: pastes keys, makes a token, and
// sends the very call that is there to copy.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard")
	guide := p.In("region", "Three steps to the first answer")
	guide.WaitText("0 of 3 done", "Works as it stands once the token is made.")
	guide.Click("button", "Add")
	guide.WaitText("There is no key in that.")
	guide.Fill("Keys", "not a key at all")
	guide.Click("button", "Add")
	guide.WaitText("Line 1: key has a blank inside")
	guide.Fill("Keys", "lin.wei@example.com----a-fake-password----a-fake-session----"+FakeKey(gateway.Ollama, simulator.FateOK, 0)+"\nada@example.com----a-fake-password\n"+FakeKey(gateway.Ollama, simulator.FateOK, 1))
	guide.Click("button", "Add")
	guide.WaitText("1 of 3 done", "2 keys added, 2 active.", "1 line was left out. Line 2: an e-mail address and what may be a password")
	if got := Admin[struct{ Total int }](t, s, "GET", "/admin/api-keys", nil); got.Total != 2 {
		t.Errorf("%d keys are in the pool", got.Total)
	}

	guide.Click("button", "Make a token")
	guide.WaitText("2 of 3 done", "it is not shown again")
	guide.Click("button", "Copy the command")
	call := regexp.MustCompile(`^curl (\S+) \\\n  -H "Authorization: Bearer (sk-\w{48})" \\\n  -d '(.+)'$`).FindStringSubmatch(p.Copied())
	if call == nil {
		t.Fatalf("copied %q", p.Copied())
	}
	if call[1] != s.URL()+"/v1/chat/completions" {
		t.Errorf("it calls %s", call[1])
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(call[3]), &body); err != nil {
		t.Fatal(err)
	}
	status, answer, err := s.call("POST", strings.TrimPrefix(call[1], s.URL()), call[2], body)
	if err != nil || status != 200 {
		t.Fatalf("the call got %d %s %v", status, answer, err)
	}
	guide.WaitText("3 of 3 done", "The first request has come in.")
	if kept := Eval[string](p, `JSON.stringify({...localStorage, ...sessionStorage}) + location.href`); strings.Contains(kept, call[2]) {
		t.Errorf("the token was kept: %s", kept)
	}
	p.Click("button", "Show the overview")
	p.Part(".verdict").WaitText("Healthy", "2 of 2 keys can serve.")
	p.Reload()
	p.Part(".verdict").WaitText("Healthy")
	if n := p.Count("region", "Three steps"); n != 0 {
		t.Error("the guide is back")
	}
}

// TestFirstRunElsewhere ticks the steps off for what is done elsewhere.
func TestFirstRunElsewhere(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard")
	guide := p.In("region", "Three steps to the first answer")
	guide.WaitText("0 of 3 done")
	token := s.Token(t, "made elsewhere")
	guide.WaitText("1 of 3 done", "1 token made.")
	s.Import(t, gateway.OpenRouter, FakeKey(gateway.OpenRouter, simulator.FateOK, 0))
	guide.WaitText("2 of 3 done", "1 key added, 1 active.", "/openrouter/v1/chat/completions", "$TOKEN")
	s.Chat(t, token, "openai/gpt-oss-20b:free", false)
	guide.WaitText("3 of 3 done")
}

// TestFirstRunFails is not done before something has been answered.
func TestFirstRunFails(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard")
	guide := p.In("region", "Three steps to the first answer")
	guide.Fill("Keys", FakeKey(gateway.Ollama, simulator.FateRevoked, 0))
	guide.Click("button", "Add")
	guide.WaitText("1 of 3 done")
	guide.Click("button", "Make a token")
	guide.WaitText("2 of 3 done")
	token := s.Token(t, "mine")
	if status, _, err := s.call("POST", "/v1/chat/completions", token, map[string]any{"model": "gpt-oss:20b", "messages": []any{}}); err != nil || status == 200 {
		t.Fatalf("the call got %d, %v", status, err)
	}
	guide.WaitText("2 of 3 done", "The first request has come in, but it failed.")
	guide.Click("link", "See why")
	p.WaitURL("/dashboard/requests?status=failed")
	p.Ready()
	p.Back()
	p.Ready()
}

// TestOverviewLinks follows what is listed to where it is dealt with.
func TestOverviewLinks(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	p := LoggedIn(t, s, "/dashboard")
	follow := func(what string, at Area, role, name string, path string, want map[string]string) {
		t.Helper()
		p.Open("/dashboard")
		href := at.Attr(role, name, "href")
		at.Click(role, name)
		p.Await(what+" is left", `location.pathname !== "/dashboard"`)
		u, err := url.Parse(href)
		if err != nil || u.Path != path {
			t.Fatalf("%s leads to %s: %v", what, href, err)
		}
		for name, value := range want {
			if got := u.Query().Get(name); got != value {
				t.Errorf("%s leads to %s: %s is %q, not %q", what, href, name, got, value)
			}
		}
		p.Ready()
	}
	refused := p.In("region", "Needs attention").Row("Ollama, 401")
	follow("a refusal", refused, "link", "Review", "/dashboard/keys", map[string]string{"provider": "ollama", "status": "failed", "reason": "401 unauthorized"})
	follow("a state", p.Part(".states"), "link", "Disabled", "/dashboard/keys", map[string]string{"status": "disabled"})
	follow("a rest", p.In("region", "Resting keys return").Row("weekly limit"), "link", "weekly limit", "/dashboard/keys", map[string]string{"status": "resting", "reason": "quota: weekly"})
	follow("all models", p.In("region", "Top models"), "link", "All models", "/dashboard/analytics", nil)

	type entry struct {
		ID, Provider string
		At           time.Time
		DurationMS   float64 `json:"durationMs"`
	}
	failure := Admin[struct{ LastFailures []entry }](t, s, "GET", "/admin/overview", nil).LastFailures[0]
	follow("a failure", p.In("region", "Last failures"), "link", failure.ID, "/dashboard/requests", map[string]string{"provider": failure.Provider, "status": "failed", "open": failure.ID})
	p.Open("/dashboard")
	ended := failure.At.Add(time.Duration(failure.DurationMS * float64(time.Millisecond)))                                                                                                                                                               // as the list of requests has it
	if at := Eval[string](p, `document.querySelector("section[aria-label='Last failures'] tbody time").dateTime`); at != ended.UTC().Format("2006-01-02T15:04:05.000Z") && at != ended.Add(-time.Millisecond).UTC().Format("2006-01-02T15:04:05.000Z") { // the page counts in whole milliseconds
		t.Errorf("the last failure ended at %s and not at %s", ended, at)
	}
	p.In("region", "Needs attention").Row("without encryption").Click("button", "How")
	p.In("dialog", "Encrypt the stored keys").WaitText("ollama-api-pool encryption on")
	p.Press("Escape")
	p.WaitCount("dialog", "", 0)
}

// TestOverviewChart looks at points of the chart with the pointer and with keys.
func TestOverviewChart(t *testing.T) {
	t.Parallel()
	for _, width := range []int{1440, 390} {
		p := NewPage(t, Shared(t))
		p.LogIn()
		p.Look(View{Width: width})
		p.Open("/dashboard")
		type box struct{ Left, Right, Top, Bottom float64 }
		where := func(css string) box {
			t.Helper()
			return Eval[box](p, `(e => { e.scrollIntoView({block: "center"}); const b = e.getBoundingClientRect(); return {Left: b.left, Right: b.right, Top: b.top, Bottom: b.bottom} })(document.querySelector("`+css+`"))`)
		}
		for _, share := range []float64{0.02, 0.3, 0.7, 0.98} {
			plot := where(".u-over")
			at := point{X: plot.Left + share*(plot.Right-plot.Left), Y: (plot.Top + plot.Bottom) / 2}
			p.until("point at the chart", func(ctx context.Context) error { return mouse(ctx, input.DispatchMouseEventTypeMouseMoved, at) })
			p.Part(".tip").WaitText("Success", "Failure", "–")
			p.Settle()
			tip, chart := where(".tip"), where(".chart")
			if tip.Left < chart.Left-1 || tip.Right > chart.Right+1 {
				t.Errorf("at %v of %d px the box reaches from %.0f to %.0f, the chart from %.0f to %.0f", share, width, tip.Left, tip.Right, chart.Left, chart.Right)
			}
			if width == 1440 && (share < 0.5) != (tip.Left > at.X) {
				t.Errorf("at %v the box is on the fuller side", share)
			}
		}
	}
	p := LoggedIn(t, Shared(t), "/dashboard")
	Eval[any](p, `document.querySelector(".chart .plot").focus()`)
	p.WaitFocus("Requests, per hour, last 24 h")
	p.Press("ArrowRight")
	last := p.Part(".tip b").Text()
	p.Press("ArrowLeft")
	p.Await("the point before", `document.querySelector(".tip b").textContent !== "`+last+`"`)
	if told := Eval[string](p, `document.querySelector(".chart [role=status]").textContent`); !strings.Contains(told, "Success") || !strings.Contains(told, "Failure") {
		t.Errorf("it is told as %q", told)
	}
	p.Press("Escape")
	p.Await("the end of the box", `!document.querySelector(".tip")`)
}

// TestOverviewStill loads the overview again: what comes moves nothing about.
func TestOverviewStill(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.LogIn()
	for _, width := range []int{1440, 390} {
		p.Look(View{Width: width})
		p.Open("/dashboard")
		p.Reload()
		p.Settle()
		moved := Eval[float64](p, `new Promise(done => {
			let sum = 0;
			new PerformanceObserver(list => list.getEntries().forEach(e => { sum += e.value })).observe({type: "layout-shift", buffered: true});
			setTimeout(() => done(sum), 100);
		})`)
		if moved > 0.02 {
			t.Errorf("at %d px the page moved by %.3f while it loaded", width, moved)
		}
	}
}

// TestOverviewWithout has a provider that is switched off and no Redis.
func TestOverviewWithout(t *testing.T) {
	t.Parallel()
	s := Start(t, "DISABLE_OPENROUTER=true", "REDIS_URL=redis://127.0.0.1:1")
	for _, provider := range gateway.Providers() {
		s.Import(t, provider, FakeKey(provider, simulator.FateOK, 0))
	}
	s.Chat(t, s.Token(t, "without"), "gpt-oss:20b", false)
	p := LoggedIn(t, s, "/dashboard")
	p.WaitText("Redis is out of reach since")
	p.In("main", "").Row("OpenRouter").WaitText("Switched off")
	p.Part(".verdict").WaitText("Healthy")
	p.Choose("Provider", "OpenRouter")
	p.Part(".verdict").WaitText("Switched off", "DISABLE_OPENROUTER")
}
