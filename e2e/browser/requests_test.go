package browser

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// loggedRequest is what these tests read of a request in the log.
type loggedRequest struct {
	ID       string
	Model    string
	Provider string
	Path     string
	Status   int
	Outcome  string
	Token    struct{ ID, Name string }
	Key      string
	Attempts int
	Steps    []struct {
		Key    string
		APIKey string
		Scope  string
		Status int
		OK     bool
	}
}

type requestLog struct {
	Requests []loggedRequest
	Next     *string
	Counts   struct{ Failed, Retried, Slow int }
}

// logged reads the request log through the API.
func logged(t *testing.T, s *Server, query string) requestLog {
	t.Helper()
	return Admin[requestLog](t, s, "GET", "/admin/requests?"+query, nil)
}

// retried is a request of which a key was refused and another served.
func retried(t *testing.T, s *Server) loggedRequest {
	t.Helper()
	for _, r := range logged(t, s, "status=retried&limit=100").Requests {
		one := Admin[loggedRequest](t, s, "GET", "/admin/requests/"+r.ID, nil)
		if n := len(one.Steps); n > 1 && one.Steps[n-1].OK && one.Steps[0].Status == 401 {
			return one
		}
	}
	t.Fatal("the log has no such request")
	return loggedRequest{}
}

// listedModels are the models in the table of requests, from top to bottom.
func listedModels(p *Page) []string {
	return Eval[[]string](p, `[...document.querySelectorAll(".requests tbody tr:not(.is-detail) td.a")].map(e => e.innerText)`)
}

func models(of []loggedRequest) (names []string) {
	for _, r := range of {
		names = append(names, cmp.Or(r.Model, "–"))
	}
	return names
}

// awaitModels waits until the table has the models of some requests.
func awaitModels(t *testing.T, p *Page, of []loggedRequest) {
	t.Helper()
	want := models(of)
	p.Await(fmt.Sprintf("the models %q", want), fmt.Sprintf(
		`[...document.querySelectorAll(".requests tbody tr:not(.is-detail) td.a")].map(e => e.innerText).join("\n") === %q`, strings.Join(want, "\n")))
}

func TestRequestsLook(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	Matrix(t, s, "requests", "/dashboard/requests?status=retried&open="+retried(t, s).ID, func(p *Page) { p.Part(".trail").WaitText("401") })
}

// A request opens into its attempts, by a press and by its address.
func TestRequestOpens(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	one := retried(t, s)
	p := LoggedIn(t, s, "/dashboard/requests?open="+one.ID)
	trail := p.Part(".trail")
	trail.WaitText("401 unauthorized", "the key is out until")
	if n := trail.Count("listitem", ""); n != len(one.Steps) {
		t.Errorf("it has %d attempts, not %d", n, len(one.Steps))
	}
	for _, step := range one.Steps {
		want := fmt.Sprintf("/dashboard/keys?provider=%s&key=%s", one.Provider, step.Key)
		if got := trail.Attr("link", step.APIKey, "href"); got != want {
			t.Errorf("the key leads to %s, not %s", got, want)
		}
	}
	last := Eval[string](p, `document.querySelector(".trail > li:last-child").className`)
	if last != "s-active" {
		t.Errorf("the attempt that served is shown as %q", last)
	}
	p.Click("button", "Copy the id of the request")
	if got := p.Copied(); got != one.ID {
		t.Errorf("copied %q, not %q", got, one.ID)
	}
	p.Part("tr.is-open .row-link").ClickHere()
	p.WaitURL("/dashboard/requests")
	p.WaitGone("unauthorized")
	p.Back()
	p.Part(".trail").WaitText("401 unauthorized")
	p.In("main", "").Part(".attempts").Click("link", one.Token.Name)
	p.WaitURL("/dashboard/requests?token=" + one.Token.ID)
	awaitModels(t, p, logged(t, s, "limit=50&token="+one.Token.ID).Requests)

	p.Expect(404)
	p.Open("/dashboard/requests?open=no-such-request")
	p.WaitText("Request no-such-request is not in the log any more")
	p.In("main", "").Click("button", "Close")
	p.WaitURL("/dashboard/requests")
	p.WaitGone("no-such-request")
}

// A request that the filters leave out is shown all the same where the address
// names it.
func TestRequestApart(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	one := retried(t, s)
	p := LoggedIn(t, s, "/dashboard/requests?status=418&open="+one.ID)
	p.WaitText("This request is not among those listed below.", "401 unauthorized")
	p.Click("button", "Remove the filter by status")
	p.WaitURL("/dashboard/requests")
	awaitModels(t, p, logged(t, s, "limit=50").Requests)
}

// What happens meanwhile is shown at once, or waits while the list is paused.
func TestRequestsLive(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	token := s.Token(t, "live")
	p := LoggedIn(t, s, "/dashboard/requests")
	p.WaitText("Nothing has failed", "only failed and retried ones are kept")
	s.Chat(t, token, "no-such-model-1", false)
	p.In("table", "Requests").Row("no-such-model-1").WaitText("404", "live")
	p.In("navigation", "Outcome").Wait("link", "Failed 1")

	p.Click("button", "Pause")
	p.WaitText("Paused. What is new waits here.")
	s.Chat(t, token, "no-such-model-2", false)
	p.Wait("button", "Show 1 new request")
	s.Chat(t, token, "no-such-model-3", false)
	p.Wait("button", "Show 2 new requests")
	if got := listedModels(p); !slices.Equal(got, []string{"no-such-model-1"}) {
		t.Errorf("while it is paused the list shows %q", got)
	}
	p.Row("no-such-model-1").Click("link", ":")
	p.WaitText("404 model unknown upstream")
	p.Click("button", "Show 2 new requests")
	awaitModels(t, p, logged(t, s, "").Requests)
	p.WaitText("404 model unknown upstream", "Paused.")
	p.Reload()
	p.WaitText("Paused.")
	s.Chat(t, token, "no-such-model-4", false)
	p.Wait("button", "Show 1 new request")
	p.Click("button", "Go live")
	p.In("table", "Requests").Row("no-such-model-4")
	awaitModels(t, p, logged(t, s, "").Requests)
	p.WaitGone("Paused.")
}

// The open row stays where it is while others come in above it.
func TestRequestsStay(t *testing.T) {
	t.Parallel()
	s := Start(t)
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	token := s.Token(t, "stay")
	for n := range 30 {
		s.Chat(t, token, fmt.Sprintf("no-such-model-%02d", n), false)
	}
	p := LoggedIn(t, s, "/dashboard/requests")
	p.Row("no-such-model-10").Click("link", ":")
	p.WaitText("404 model unknown upstream")
	p.Settle()
	const top = `Math.round(document.querySelector("tr.is-open").getBoundingClientRect().top)`
	before, rows := Eval[int](p, top), Eval[int](p, `document.querySelectorAll(".requests tbody tr").length`)
	began := time.Now()
	for n := range 3 {
		s.Chat(t, token, fmt.Sprintf("no-such-model-new-%d", n), false)
	}
	p.Await("three more rows", fmt.Sprintf(`document.querySelectorAll(".requests tbody tr").length === %d`, rows+3))
	p.Settle()
	if after := Eval[int](p, top); after != before {
		t.Errorf("the open row was at %d and is at %d", before, after)
	}
	looks := 0
	for _, r := range p.Requests() {
		if strings.Contains(r.URL, "&after=") || strings.Contains(r.URL, "?after=") {
			looks++
		}
	}
	// One follows the opening of the page.
	if most := int(time.Since(began)/time.Second) + 3; looks > most {
		t.Errorf("%d looks for new requests, where %d are enough", looks, most)
	}
}

// Filters stand in the address, show what the API gives for them, and the back
// button takes them back.
func TestRequestsFilters(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	all := logged(t, s, "limit=50")
	p := LoggedIn(t, s, "/dashboard/requests")
	awaitModels(t, p, all.Requests)
	tabs := p.In("navigation", "Outcome")
	tabs.Wait("link", fmt.Sprintf("Failed %d", all.Counts.Failed))
	tabs.Wait("link", fmt.Sprintf("Slow %d", all.Counts.Slow))
	tabs.Click("link", fmt.Sprintf("Retried %d", all.Counts.Retried))
	p.WaitURL("/dashboard/requests?status=retried")
	some := logged(t, s, "limit=50&status=retried")
	awaitModels(t, p, some.Requests)

	model := some.Requests[0].Model
	p.Choose("Model", model)
	p.WaitURL("/dashboard/requests?status=retried&model=" + url.QueryEscape(model))
	awaitModels(t, p, logged(t, s, "limit=50&status=retried&model="+url.QueryEscape(model)).Requests)
	token := some.Requests[0].Token
	p.Choose("Token", token.Name)
	p.WaitURL("/dashboard/requests?status=retried&model=" + url.QueryEscape(model) + "&token=" + token.ID)
	awaitModels(t, p, logged(t, s, "limit=50&status=retried&token="+token.ID+"&model="+url.QueryEscape(model)).Requests)
	p.Back()
	p.Back()
	p.WaitURL("/dashboard/requests?status=retried")
	awaitModels(t, p, some.Requests)
	if got := p.Value("Model"); got != "" {
		t.Errorf("after going back the list of models stands at %q", got)
	}

	p.Click("radio", "OpenRouter")
	p.WaitURL("/dashboard/requests?status=retried&provider=openrouter")
	awaitModels(t, p, logged(t, s, "limit=50&status=retried&provider=openrouter").Requests)
	tabs.Click("link", "Slow")
	p.Choose("What counts as slow", "60 s")
	p.WaitURL("/dashboard/requests?status=slow&provider=openrouter&slow=60000")
	p.WaitText("No request matches")
	p.Click("button", "Clear the filters")
	p.WaitURL("/dashboard/requests?provider=openrouter")
	awaitModels(t, p, logged(t, s, "limit=50&provider=openrouter").Requests)
}

// The field finds a request, a key and a token by their ids, and the secrets
// themselves without sending them.
func TestRequestsFind(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	one := retried(t, s)
	p := LoggedIn(t, s, "/dashboard/requests")
	find := func(text string) {
		p.Fill("Request, key or token id", text)
		p.Press("Enter")
	}
	find(one.ID)
	p.WaitURL("/dashboard/requests?open=" + one.ID)
	p.WaitText("401 unauthorized")
	find(one.Steps[0].Key)
	p.WaitURL("/dashboard/requests?key=" + one.Steps[0].Key)
	awaitModels(t, p, logged(t, s, "limit=50&key="+one.Steps[0].Key).Requests)
	p.Click("button", "Remove the filter by key")
	p.WaitURL("/dashboard/requests")

	secret := FakeKey(gateway.ProviderName(one.Provider), simulator.FateRevoked, 0)
	p.Tolerate(404)
	find(secret)
	p.WaitURL("/dashboard/requests?key=*")
	if at := p.URL(); !strings.Contains(at, string(gateway.IDOfKey(gateway.Secret(secret)))) {
		t.Errorf("a whole key leads to %s", at)
	}
	const unknown = "0123456789abcdef0123456789abcdef.fake"
	for _, text := range []string{"nothing-has-this-id", unknown, "sk-fake-token"} {
		find(text)
		p.WaitText("The log has no request of that.")
		p.Fill("Request, key or token id", "")
		p.WaitGone("The log has no request of that.")
	}
	for _, r := range p.Requests() {
		if strings.Contains(r.URL, secret) || strings.Contains(r.URL, unknown) || strings.Contains(r.URL, "sk-") {
			t.Errorf("the key itself was sent: %s", r.URL)
		}
	}
}

// Older requests are on pages of their own.
func TestRequestsOlder(t *testing.T) {
	t.Parallel()
	s := Start(t, "REQUEST_LOG=all")
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	token := s.Token(t, "older")
	for n := range 58 {
		s.Chat(t, token, fmt.Sprintf("no-such-model-%02d", n), false)
	}
	s.Chat(t, token, "gpt-oss:20b", false)
	s.Chat(t, token, "gpt-oss:20b", true)
	first := logged(t, s, "limit=50")
	p := LoggedIn(t, s, "/dashboard/requests")
	p.WaitText("every request is kept", "Newest first, 50 shown")
	awaitModels(t, p, first.Requests)
	p.Click("button", "Older")
	p.WaitURL("/dashboard/requests?before=" + *first.Next)
	awaitModels(t, p, logged(t, s, "limit=50&before="+*first.Next).Requests)
	p.WaitText("Older requests, 10 shown")
	s.Chat(t, token, "no-such-model-new", false)
	p.Click("button", "Newer")
	p.WaitURL("/dashboard/requests")
	p.In("table", "Requests").Row("no-such-model-new")
	p.Back()
	awaitModels(t, p, logged(t, s, "limit=50&before="+*first.Next).Requests)
	p.Reload()
	p.Click("button", "Newest")
	p.WaitURL("/dashboard/requests")

	p.Expect(400)
	p.Open("/dashboard/requests?before=nonsense")
	p.WaitText("The requests could not be loaded")
	p.Wait("button", "Try again")
}

// A log that is off says how it is switched on.
func TestRequestsOff(t *testing.T) {
	t.Parallel()
	s := Start(t, "REQUEST_LOG=off")
	key := FakeKey(gateway.Ollama, simulator.FateOK, 0)
	s.Import(t, gateway.Ollama, key)
	p := LoggedIn(t, s, "/dashboard/requests")
	p.WaitText("The request log is off", "REQUEST_LOG", "requests are not kept")
	p.Fill("Request, key or token id", key) // it is known, if nothing of it is
	p.Press("Enter")
	p.WaitURL("/dashboard/requests?key=" + string(gateway.IDOfKey(gateway.Secret(key))))
}
