package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
	"ollama-api-pool/internal/testkit"
)

const aModel = `{"models":[{"name":"gpt-oss:20b","model":"gpt-oss:20b","modified_at":"2025-08-05T00:00:00Z"}]}`

// playground starts a server with two keys in front of an upstream whose chats
// are answered by a script, and opens the playground with a token of its own.
func playground(t *testing.T, chat func(n int, c *testkit.Call) testkit.Answer, settings ...string) (*Server, *Page, *testkit.Upstream) {
	t.Helper()
	up := testkit.NewUpstream(t)
	var n atomic.Int32
	up.Handle(func(c *testkit.Call) testkit.Answer {
		if c.Method == http.MethodGet {
			return testkit.JSON(200, aModel)
		}
		return chat(int(n.Add(1)), c)
	})
	s := Start(t, append([]string{"OLLAMA_BASE_URL=" + up.URL}, settings...)...)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0), FakeKey(gateway.Ollama, simulator.FateOK, 1))
	p := LoggedIn(t, s, "/dashboard/playground")
	p.Fill("Client token", s.Token(t, "trier"))
	return s, p, up
}

// part is an event of a stream of OpenAI's dialect.
func part(field, text string) testkit.Piece {
	b, err := json.Marshal(map[string]any{"choices": []any{map[string]any{"delta": map[string]string{field: text}}}})
	if err != nil {
		panic(err)
	}
	return testkit.Event(string(b))
}

func streamed(pieces ...testkit.Piece) testkit.Answer {
	return testkit.Stream("text/event-stream", append(pieces,
		testkit.Event(`{"choices":[],"usage":{"prompt_tokens":58,"completion_tokens":131}}`), testkit.Event("[DONE]"))...)
}

// tracedRequest is a request as the admin API tells it.
type tracedRequest struct {
	ID, Path, Outcome, Model string
	Status, Attempts         int
	Stream                   bool
	Token                    struct{ Name string }
	Steps                    []struct{ APIKey string }
}

func (p *Page) traced(t *testing.T) tracedRequest {
	t.Helper()
	link := p.In("region", "Attempts").Part(".panel-head a")
	id := link.Text()
	return Admin[tracedRequest](t, p.Server(), "GET", "/admin/requests/"+id, nil)
}

// TestPlaygroundStream sends a request whose first attempt fails: the answer
// comes in piece by piece and is text throughout, and the attempts are told with
// the key that served.
func TestPlaygroundStream(t *testing.T) {
	t.Parallel()
	middle := testkit.NewGate()
	s, p, up := playground(t, func(n int, _ *testkit.Call) testkit.Answer {
		if n == 1 {
			return testkit.JSON(503, `{"error":{"message":"overloaded"}}`)
		}
		return streamed(
			part("reasoning", "It asks <b>for rules</b>."), part("content", "A cache is <img src=x onerror=alert(1)> **small**.\n\n"),
			testkit.Wait(middle), part("content", "1. one `rule`\n2. two\n\n```sql\nSELECT 1 < 2;\n```\n"))
	})
	p.Fill("Message", "Why does a cache need a rule?")
	p.Click("button", "Send")
	answer := p.In("region", "Answer")
	answer.WaitText("streaming", "A cache is <img src=x onerror=alert(1)> small.")
	if on := Eval[string](p, `document.querySelector(".answer").ariaBusy + document.querySelectorAll(".answer .caret").length`); on != "true1" {
		t.Errorf("while it streams: %s", on)
	}
	middle.Open()
	answer.WaitText("200", "complete", "58 in 131 out", "SELECT 1 < 2;", "Speed") // of an answer of some milliseconds it is not told
	answer.Part("summary").ClickHere()
	answer.WaitText("It asks <b>for rules</b>.")
	drawn := Eval[[]int](p, `["li", "b", ".code pre", "img", ".thinking b", ".caret"].map(q => document.querySelectorAll(".answer " + q).length)`)
	if fmt.Sprint(drawn) != "[2 1 1 0 0 0]" {
		t.Errorf("it is drawn as %v", drawn)
	}
	attempts := p.In("region", "Attempts")
	attempts.WaitText("2, the last one serves", "503", "200")
	got := p.traced(t)
	if got.Attempts != 2 || got.Token.Name != "trier" || !got.Stream || got.Model != "gpt-oss:20b" || len(got.Steps) != 2 {
		t.Errorf("%+v", got)
	}
	attempts.WaitText(got.Steps[0].APIKey, got.Steps[1].APIKey)
	for _, c := range up.Calls() {
		if c.Header.Get("X-Pool-Trace") != "" || c.Header.Get("Cookie") != "" {
			t.Errorf("the upstream got %v", c.Header)
		}
	}
	attempts.Click("link", got.ID)
	p.WaitURL("/dashboard/requests?open=" + got.ID)
	p.Ready()
	p.Back()
	p.WaitText("SELECT 1 < 2;", "2, the last one serves") // it is still there
	if n := s.Upstream.Calls(); len(n) != 0 {
		t.Errorf("the other upstream got %v", n)
	}
}

// TestPlaygroundDialects asks both providers in every dialect, streamed and not.
func TestPlaygroundDialects(t *testing.T) {
	t.Parallel()
	s := Start(t)
	for _, name := range gateway.Providers() {
		s.Import(t, name, FakeKey(name, simulator.FateOK, 0))
	}
	p := LoggedIn(t, s, "/dashboard/playground")
	p.Click("button", "Make one for an hour")
	p.WaitText("Token “playground”, good until")
	for _, c := range []struct{ provider, dialect, path string }{
		{"Ollama", "OpenAI", "/v1/chat/completions"},
		{"Ollama", "Anthropic", "/v1/messages"},
		{"Ollama", "Ollama", "/api/chat"},
		{"OpenRouter", "OpenAI", "/openrouter/v1/chat/completions"},
		{"OpenRouter", "Anthropic", "/openrouter/v1/messages"},
	} {
		p.Choose("Provider", c.provider)
		p.Choose("Protocol", c.dialect)
		for _, stream := range []bool{true, false} {
			p.Click("button", "Explain a cache")
			text := fmt.Sprintf("%s %s %t", c.provider, c.dialect, stream)
			p.Fill("Message", text)
			if !stream {
				p.Uncheck("Stream it")
			}
			p.Click("button", "Send")
			p.In("region", "Answer").WaitText("200", "complete", "“"+text+"”", "in", "out")
			p.In("region", "Attempts").WaitText("1, and it serves")
			if got := p.traced(t); got.Path != c.path || got.Stream != stream || got.Token.Name != "playground" {
				t.Errorf("%s: %+v", text, got)
			}
		}
	}
	if at := p.URL(); !strings.Contains(at, "provider=openrouter") || !strings.Contains(at, "dialect=anthropic") || strings.Contains(at, "sk-") {
		t.Errorf("the address is %s", at)
	}
}

// TestPlaygroundStop gives a request up in the middle: what came stays, the
// upstream's call ends, and the log says who ended it.
func TestPlaygroundStop(t *testing.T) {
	t.Parallel()
	never := testkit.NewGate()
	_, p, up := playground(t, func(int, *testkit.Call) testkit.Answer {
		return streamed(part("content", "The beginning"), testkit.Wait(never))
	})
	p.Tolerate("net::ERR_ABORTED")
	p.Click("button", "Send")
	p.In("region", "Answer").WaitText("streaming", "The beginning")
	p.Click("button", "Stop")
	p.In("region", "Answer").WaitText("stopped by you", "The beginning", "Took")
	p.In("region", "Attempts").Wait("link", "") // its id, once the log has it
	if got := p.traced(t); got.Outcome != "client_closed" {
		t.Errorf("%+v", got)
	}
	if up.Canceled() != 1 {
		t.Errorf("%d calls were canceled", up.Canceled())
	}
	p.Click("button", "Send") // one can go on at once
	p.In("region", "Answer").WaitText("streaming", "The beginning")
	p.Click("button", "Stop")
	p.In("region", "Answer").WaitText("stopped by you")
}

// TestPlaygroundErrors shows what went wrong as the protocol says it.
func TestPlaygroundErrors(t *testing.T) {
	t.Parallel()
	seen := testkit.NewGate()
	_, p, _ := playground(t, func(n int, _ *testkit.Call) testkit.Answer {
		switch n {
		case 1:
			return testkit.JSON(400, `{"error":{"message":"temperature <i>is</i> too high","type":"invalid_request_error"}}`)
		case 2:
			return testkit.Stream("text/event-stream", part("content", "Half an answer"), testkit.Wait(seen), testkit.Break(testkit.RST))
		}
		return testkit.Reply(200, "text/html", "<h1>a page of a proxy</h1>")
	})
	answer := p.In("region", "Answer")
	p.Expect(400)
	p.Click("button", "Send")
	answer.WaitText("400", "failed", "temperature <i>is</i> too high", `"type": "invalid_request_error"`, "Request")
	p.In("region", "Attempts").WaitText("1, and it fails", "400")
	if got := p.traced(t); !strings.Contains(answer.Text(), got.ID) {
		t.Errorf("the id %s is not shown", got.ID)
	}
	p.Tolerate("net::ERR_INCOMPLETE_CHUNKED_ENCODING")
	p.Click("button", "Send")
	answer.WaitText("streaming", "Half an answer")
	seen.Open()
	answer.WaitText("failed", "Half an answer")
	p.In("region", "Attempts").Wait("link", "")
	if got := p.traced(t); got.Outcome != "cut" {
		t.Errorf("%+v", got)
	}
	p.Click("button", "Send")
	answer.WaitText("failed", "not in the form", "<h1>a page of a proxy</h1>")

	p.Expect(401)
	p.Fill("Client token", "sk-"+strings.Repeat("x", 48))
	p.Click("button", "Send")
	answer.WaitText("401", "failed")
	p.In("region", "Attempts").WaitText("No key was asked")
}

// TestPlaygroundCache has an answer from the cache: no key was asked for it.
func TestPlaygroundCache(t *testing.T) {
	t.Parallel()
	_, p, up := playground(t, func(int, *testkit.Call) testkit.Answer {
		return testkit.JSON(200, `{"choices":[{"message":{"role":"assistant","content":"kept"}}],"usage":{"prompt_tokens":2,"completion_tokens":1}}`)
	}, "RESPONSE_CACHE_TTL=600")
	p.Uncheck("Stream it")
	p.Click("button", "Send")
	p.In("region", "Attempts").WaitText("1, and it serves")
	p.Click("button", "Send")
	p.In("region", "Answer").WaitText("kept", "from the cache", "complete")
	p.In("region", "Attempts").WaitText("no key was asked")
	chats := 0
	for _, c := range up.Calls() {
		if c.Method == http.MethodPost {
			chats++
		}
	}
	if chats != 1 {
		t.Errorf("the upstream was asked %d times", chats)
	}
}

// TestCopyPlain copies where the browser has no clipboard for pages, as over
// plain HTTP; the focus stays where it was, in a dialog too.
func TestCopyPlain(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/settings")
	Eval[any](p, `Object.defineProperty(navigator, "clipboard", {value: undefined})`)
	p.Row("LOG_LEVEL").Click("button", "Copy LOG_LEVEL")
	if got := p.Copied(); got != "LOG_LEVEL" {
		t.Errorf("copied %q", got)
	}
	p.WaitFocus("Copied")
	p.In("region", "Storage").Click("button", "How to encrypt them")
	p.In("dialog", "").Click("button", "Copy")
	if got := p.Copied(); !strings.Contains(got, "ENCRYPTION_KEY") {
		t.Errorf("copied %q", got)
	}
	p.WaitFocus("Copied")
}

// TestPlaygroundMissing says what a request lacks, where it lacks it.
func TestPlaygroundMissing(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := NewPage(t, s)
	p.LogIn()
	p.Expect(503)
	p.Open("/dashboard/playground")
	p.WaitText("has no keys", "Import keys")
	p.Fill("Message", "")
	p.Fill("Most tokens", "many")
	p.Click("button", "Send")
	p.WaitText("Choose a model", "Write a message", "Paste a token, or make one", "A whole number above 0")
	p.WaitFocus("Model")
	if calls := s.Upstream.Calls(); len(calls) != 0 {
		t.Errorf("%v", calls)
	}
}

// TestPlaygroundModels finds a model with the keyboard alone, and takes one that
// is not in the list.
func TestPlaygroundModels(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/playground")
	first := p.Value("Model")
	p.Fill("Model", "OSS :20")
	p.In("listbox", "Suggestions").WaitCount("option", "", 1)
	p.Press("ArrowDown")
	p.Press("Enter")
	p.WaitURL("/dashboard/playground?model=gpt-oss%3A20b")
	p.WaitCount("listbox", "Suggestions", 0)
	p.Press("ArrowDown")
	p.Press("ArrowDown")
	p.Press("Escape")
	if got := p.Value("Model"); got != "gpt-oss:20b" || first == got {
		t.Errorf("after %q it is %q", first, got)
	}
	p.Fill("Model", "one-of-my-own")
	p.Press("Tab")
	p.WaitText("This model is not in the provider’s list.")
	p.Back()
	p.Await("the model before", `[...document.querySelectorAll("[role=combobox]")].some(e => e.value === "gpt-oss:20b")`)
	p.Choose("Provider", "OpenRouter")
	p.Await("a model of the other provider", `document.querySelector("[role=combobox]").value.includes("/")`)
}

// TestPlaygroundCode copies the call as curl and runs it with the token, which is
// neither in the copy nor kept by the browser.
func TestPlaygroundCode(t *testing.T) {
	t.Parallel()
	s, p, up := playground(t, func(int, *testkit.Call) testkit.Answer { return streamed(part("content", "answered")) })
	token := s.Token(t, "from the shell")
	p.Fill("Client token", token)
	p.Fill("Message", `It's $HOME, "quoted" \n and `+"`ticked`")
	p.Fill("Most tokens", "7")
	p.Click("button", "Copy as curl")
	command := p.Copied()
	if strings.Contains(command, token) || !strings.Contains(command, "$TOKEN") {
		t.Errorf("copied %s", command)
	}
	run := exec.CommandContext(t.Context(), "sh", "-c", command)
	run.Env = append(os.Environ(), "TOKEN="+token)
	out, err := run.Output()
	if err != nil || !strings.Contains(string(out), "answered") {
		t.Fatalf("%v: %s", err, out)
	}
	calls := up.Calls()
	var sent struct {
		Model     string
		MaxTokens int `json:"max_tokens"`
		Messages  []struct{ Content string }
	}
	if err := json.Unmarshal(calls[len(calls)-1].Body, &sent); err != nil {
		t.Fatal(err)
	}
	if last := sent.Messages[len(sent.Messages)-1].Content; last != `It's $HOME, "quoted" \n and `+"`ticked`" || sent.MaxTokens != 7 || sent.Model != "gpt-oss:20b" {
		t.Errorf("%+v", sent)
	}
	code := p.In("region", "The same in code")
	for _, language := range []string{"Python", "JavaScript"} {
		code.Choose("Languages", language)
		code.Click("button", "Copy the code")
		if text := p.Copied(); strings.Contains(text, token) || !strings.Contains(text, "TOKEN") || !strings.Contains(text, "/v1/chat/completions") {
			t.Errorf("%s: %s", language, text)
		}
	}
	if kept := Eval[string](p, `JSON.stringify([localStorage, sessionStorage, location.href, history.state])`); strings.Contains(kept, token) {
		t.Errorf("kept: %s", kept)
	}
	p.Reload()
	if got := p.Value("Client token"); got != "" {
		t.Errorf("after loading again the token is %q", got)
	}
}

// TestPlaygroundTurns goes on after an answer, and begins anew.
func TestPlaygroundTurns(t *testing.T) {
	t.Parallel()
	_, p, up := playground(t, func(n int, _ *testkit.Call) testkit.Answer {
		return streamed(part("content", fmt.Sprintf("answer %d", n)))
	})
	p.Fill("System prompt", "")
	p.Fill("Message", "first question")
	p.Press("Control+Enter")
	answer := p.In("region", "Answer")
	answer.WaitText("complete", "answer 1")
	answer.Click("button", "Continue")
	p.Fill("Message, after 2 earlier ones", "second question")
	p.Press("Control+Enter")
	answer.WaitText("complete", "first question", "answer 1", "second question", "answer 2")
	calls := up.Calls()
	if body := string(calls[len(calls)-1].Body); !strings.Contains(body, `"messages":[{"role":"user","content":"first question"},{"role":"assistant","content":"answer 1"},{"role":"user","content":"second question"}]`) {
		t.Errorf("sent %s", body)
	}
	answer.Click("button", "Begin anew")
	answer.WaitText("Nothing asked yet")
}

// TestPlaygroundUnlogged tells where attempts cannot be shown, and asks for the
// models with the token where they want one.
func TestPlaygroundUnlogged(t *testing.T) {
	t.Parallel()
	s := Start(t, "REQUEST_LOG=off", "MODELS_REQUIRE_AUTH=true")
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	p := NewPage(t, s)
	p.LogIn()
	p.Expect(401)
	p.Open("/dashboard/playground")
	p.WaitText("The list of models could not be loaded")
	p.Click("button", "Make one for an hour")
	p.WaitGone("The list of models could not be loaded")
	p.Click("button", "Send")
	p.In("region", "Answer").WaitText("200", "complete")
	p.In("region", "Attempts").WaitText("The request log is switched off")
}

// TestPlaygroundLook looks at the playground before and after a request.
func TestPlaygroundLook(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOverQuota, 0), FakeKey(gateway.Ollama, simulator.FateOK, 0))
	token := s.Token(t, "looker")
	Matrix(t, s, "playground-answer", "/dashboard/playground", func(p *Page) {
		Eval[any](p, `{
			const field = document.querySelector("input[type=password]");
			Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(field, "`+token+`");
			field.dispatchEvent(new Event("input", {bubbles: true}));
			setTimeout(() => document.querySelector("form [type=submit]").click());
		}`)
		p.Await("the attempts", `document.querySelector(".trail .dot")`)
		Eval[any](p, "scrollTo(0, 0)")
	})
}
