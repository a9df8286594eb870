package browser

import (
	"regexp"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// away is what the server says while its database is out of reach.
const away = `{"error":{"message":"the database (PostgreSQL at db.example.com/pool) is out of reach since 2026-01-02 03:04:05 UTC: nothing can be read from it or changed until it is back; clients are served meanwhile","type":"service_unavailable","code":"service_unavailable","param":null}}`

// TestDatabaseAway says what is out of reach in the reader's language and at his
// time, in a list as in a message.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	p := NewPage(t, Shared(t))
	p.LogIn()
	p.Look(View{Width: 1440, Lang: "zh"})
	p.Open("/dashboard")
	Eval[any](p, `void (window.through = window.fetch, window.fetch = (url, options) => /admin.(tokens|logout)/.test(url)
		? Promise.resolve(new Response(`+"`"+away+"`"+`, {status: 503, headers: {"Content-Type": "application/json", "X-Request-Id": "fake-request"}}))
		: window.through(url, options))`)
	p.In("navigation", "主导航").Click("link", "令牌")
	p.WaitText("数据库（PostgreSQL at db.example.com/pool）自 ", "起无法连接", "fake-request")
	if text := p.Text(); regexp.MustCompile(`out of reach|03:04:05 UTC`).MatchString(text) {
		t.Errorf("the page says %s", text)
	}
	p.Click("button", "退出登录")
	p.Await("a message with the request", `/起无法连接.*（请求 fake-request）/s.test(document.querySelector(".toasts").innerText)`)
}

// TestInternalError names the request once, and where to look.
func TestInternalError(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/tokens?new=1")
	Eval[any](p, `void (window.through = window.fetch, window.fetch = (url, options) => options?.method === "POST"
		? Promise.resolve(new Response('{"error":{"message":"internal error, request id fake-request","type":"internal_error","code":"internal_error","param":null}}',
			{status: 500, headers: {"Content-Type": "application/json", "X-Request-Id": "fake-request"}})) : window.through(url, options))`)
	d := p.In("dialog", "New token")
	d.Fill("Name", "never made")
	d.Click("button", "Make token")
	d.WaitText("The server failed; its log says why (request fake-request)")
}

// TestPlaygroundStopEarly does not blame the server for an answer that was not
// waited for.
func TestPlaygroundStopEarly(t *testing.T) {
	t.Parallel()
	_, p, _ := playground(t, func(int, *testkit.Call) testkit.Answer { return testkit.Silent() })
	p.Tolerate("net::ERR_ABORTED")
	p.Click("button", "Send")
	p.In("region", "Answer").WaitText("waiting")
	p.Click("button", "Stop")
	p.In("region", "Answer").WaitText("stopped by you")
	p.In("region", "Attempts").WaitText("Stopped before an answer began")
}
