package browser

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// told is what a call of the page failed with.
type told struct {
	Message, Code      string
	Status, RetryAfter int
}

// TestForeignAnswers has a proxy answer in place of the program: the page says
// what can be said of that, in both languages.
func TestForeignAnswers(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	answer := func(status int, kind, text string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	const page, json = "<html><body>Sign in</body></html>", "application/json"
	cases := map[string]struct {
		answer http.HandlerFunc
		en, zh string
		want   told
	}{
		"page":    {answer(200, "text/html", page), "answered in its place", "代替服务器作了响应", told{Code: "foreign"}},
		"empty":   {answer(200, json, ""), "broken off", "响应中断", told{}},
		"half":    {answer(200, json, `{"tokens":[`), "broken off", "响应中断", told{}},
		"large":   {answer(413, "text/html", page), "too large for a proxy", "超过了途中代理的大小限制", told{Status: 413}},
		"often":   {answer(429, "text/html", page, "Retry-After", "90"), "Wait 1\u202fmin 30\u202fs", "请等 1\u202f分钟 30\u202f秒", told{Status: 429, RetryAfter: 90}},
		"date":    {answer(503, "text/html", page, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT"), "not ready", "尚未就绪", told{Status: 503}},
		"gateway": {answer(504, "text/html", page), "gets no answer from the server in time", "没能及时", told{Status: 504}},
		"odd":     {answer(418, "text/plain", "x"), "status 418", "418", told{Status: 418}},
		"ours":    {answer(503, json, `{"error":{"message":"stopping: no new jobs are taken","code":"service_unavailable"}}`), "stopping: no new jobs", "不再接受新任务", told{Status: 503, Code: "service_unavailable"}},
		"unknown": {answer(400, json, `{"error":{"message":"page must be a number","code":"invalid_request_error"}}`), "page must be a number", "请求有误：page must be a number", told{Status: 400, Code: "invalid_request_error"}},
		"native":  {answer(404, json, `{"error":"no such address"}`), "no such address", "没有这个地址", told{Status: 404}},
	}
	px.follow(func(w http.ResponseWriter, r *http.Request) {
		c, ours := cases[strings.TrimPrefix(r.URL.Path, "/admin/case-")]
		if !ours {
			pass()
		}
		c.answer(w, r)
	})
	p := px.window(t, s)
	p.Open("/stats")
	p.Expect(413, 429, 503, 504, 418, 400, 404)
	for _, lang := range []string{"en", "zh"} {
		inside[any](p, `await `+module("lib/words.js")+`.speak("`+lang+`")`)
		for name, c := range cases {
			got := inside[told](p, `try { await `+module("lib/api.js")+`.get("/admin/case-`+name+`"); return {Message: "none"} }
				catch (e) { return {Message: e.message, Code: e.code, Status: e.status, RetryAfter: e.retryAfter} }`)
			want := map[string]string{"en": c.en, "zh": c.zh}[lang]
			if !strings.Contains(got.Message, want) {
				t.Errorf("%s in %s: it says %q and not %q", name, lang, got.Message, want)
			}
			if got.Message = ""; got != c.want {
				t.Errorf("%s in %s: %+v and not %+v", name, lang, got, c.want)
			}
		}
	}
}

// TestNewVersion has the program renewed behind an open page: what the page loads
// late still comes, and it offers to load all anew.
func TestNewVersion(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	p := px.window(t, s)
	p.LogIn()
	px.follow(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/dashboard") {
			pass()
		}
		r.Header.Del("Accept-Encoding")
		got := &strings.Builder{}
		px.program.ServeHTTP(buffered{w, got}, r)
		at := strings.Index(got.String(), `content="/assets/`) + len(`content="/assets/`)
		_, _ = io.WriteString(w, strings.ReplaceAll(got.String(), "/assets/"+got.String()[at:at+16], "/assets/0123456789abcdef"))
	})
	p.Open("/dashboard/settings")
	p.record()
	p.Await("events", "live.joins.value === 1")
	looked := px.asked("GET /dashboard")
	px.endStreams()
	p.Await("events again", "live.joins.value === 2")
	p.until("a look at the version", func(context.Context) error {
		if px.asked("GET /dashboard") == looked {
			return errors.New("the page has not looked")
		}
		return nil
	})
	p.Settle()
	if p.Count("button", "Reload") != 0 {
		t.Error("the same version is taken for another one")
	}
	px.follow(nil)
	time.Sleep(2 * time.Second) // it does not look more often
	px.endStreams()
	p.WaitText("The server has been updated")
	p.In("navigation", "Main").Click("link", "Tokens")
	p.WaitText("billing-service")
	Eval[any](p, "window.before = true")
	p.In("region", "Messages").Click("button", "Reload")
	p.Await("another document", "!window.before && document.documentElement.dataset.ready")
	p.WaitText("billing-service")
	if at := p.URL(); at != "/dashboard/tokens" {
		t.Errorf("after that one is at %s", at)
	}
}

// buffered keeps what is written.
type buffered struct {
	http.ResponseWriter
	text *strings.Builder
}

func (b buffered) WriteHeader(status int) {
	for _, name := range []string{"Content-Length", "Etag", "Content-Encoding"} {
		b.Header().Del(name)
	}
	b.ResponseWriter.WriteHeader(status)
}

func (b buffered) Write(p []byte) (int, error) { return b.text.Write(p) }

// TestLateModule has modules that do not come, or come late.
func TestLateModule(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	p := px.open(t, s, "/dashboard/settings")
	slow := make(chan struct{})
	px.follow(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/views/tokens.js"):
			page502(w)
		case strings.HasSuffix(r.URL.Path, "/views/keys.js"):
			<-slow
		}
		if w.Header().Get("Content-Type") == "" {
			pass()
		}
	})
	nav := p.In("navigation", "Main")
	// Who goes on before a page has come sees the page that he went on to.
	nav.Click("link", "Keys")
	p.WaitURL("/dashboard/keys")
	nav.Click("link", "Settings")
	p.Wait("heading", "Settings")
	close(slow)
	p.Ready()
	p.Wait("heading", "Settings")
	p.WaitFocus(Eval[string](p, `document.getElementById("content").innerText.trim()`))

	p.Expect(502)
	p.Tolerate("Failed to load module script", "MIME")
	nav.Click("link", "Tokens")
	p.WaitText("The page could not be loaded")
	if title := p.Title(); !strings.HasPrefix(title, "Tokens ") {
		t.Errorf("the title is %q", title)
	}
	Eval[any](p, "window.before = true")
	p.Click("button", "Try again")
	p.Await("another document", "!window.before && document.documentElement.dataset.ready")
	p.WaitText("The page could not be loaded")
	px.follow(nil)
	p.Click("button", "Try again")
	p.WaitText("billing-service")
}

// TestNoBeginning has a page that cannot begin: it says so in place of being
// empty, and can be tried again.
func TestNoBeginning(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	for _, missing := range []string{"/words/en.js", "/lib/words.js", "/app/main.js"} {
		px.follow(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, missing) {
				pass()
			}
			page502(w)
		})
		p := px.window(t, s)
		p.Tolerate(502, "module", "MIME")
		p.Open("/dashboard")
		p.In("alert", "").WaitText("The page could not be loaded", "The server does not answer.")
		px.follow(nil)
		p.Click("link", "Try again")
		p.Wait("heading", "Log in")
	}
}

// TestDocsStream tries a call that streams, stops it, and leaves another one by
// closing the operation: nothing goes on behind the page.
func TestDocsStream(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	px := behind(t, s)
	left := make(chan struct{}, 2)
	px.follow(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/chat/completions" {
			pass()
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: the first piece\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		left <- struct{}{}
	})
	p := px.window(t, s)
	p.Open("/api-docs#postV1ChatCompletions")
	o := p.Part("#postV1ChatCompletions")
	o.Part(".try > summary").ClickHere()
	o.Fill("Your client token", "sk-not-a-token")
	o.Click("button", "Send")
	o.WaitText("the first piece", "200")
	o.Click("button", "Stop")
	o.WaitText("Stopped.", "the first piece")
	<-left
	o.Click("button", "Send")
	o.Wait("button", "Stop")
	o.WaitText("the first piece")
	p.Part("#postV1ChatCompletions > summary").ClickHere()
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the call goes on after the operation was closed")
	}
}
