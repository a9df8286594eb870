package browser

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// tallied is what these tests read of figures.
type tallied struct {
	Requests, Success, Failure int64
}

type analytics struct {
	Totals tallied
	Points []struct{ Label string }
	Series []struct {
		Model    string
		Requests []int64
		Failure  []int64
	}
	Rest []int64
	Rows struct{ Models, Keys, Tokens int }
}

// analysed reads the figures of a range through the API.
func analysed(t *testing.T, s *Server, query string) analytics {
	t.Helper()
	return Admin[analytics](t, s, "GET", "/admin/analytics?"+query, nil)
}

// rowsOf are the first cells of a table's rows.
func rowsOf(p *Page, label string) []string {
	return Eval[[]string](p, fmt.Sprintf(`[...document.querySelectorAll('table[aria-label=%q] tbody tr')].map(e => e.cells[0].innerText.trim())`, label))
}

// chartHeads are the names of the series in the chart, which a screen reader
// reads as a table.
func chartHeads(p *Page) []string {
	return Eval[[]string](p, `[...document.querySelectorAll(".chart.canvas th[scope=col]")].slice(1).map(e => e.textContent)`)
}

// The figures and tables say what the API says, for the provider, the range and
// the order that the address names.
func TestAnalytics(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	all := analysed(t, s, "")
	p := LoggedIn(t, s, "/dashboard/analytics")
	p.Part(".figures").WaitText(fmt.Sprint(all.Totals.Requests), fmt.Sprintf("%d failed", all.Totals.Failure))
	p.WaitText("Requests per hour")
	tabs := p.In("navigation", "Tables")
	tabs.Wait("link", fmt.Sprintf("Models %d", all.Rows.Models))
	tabs.Wait("link", fmt.Sprintf("Tokens %d", all.Rows.Tokens))

	p.Choose("Range", "1 h")
	p.WaitURL("/dashboard/analytics?range=1h")
	p.WaitText("Requests per minute")
	tabs.Click("link", "Tokens")
	p.WaitText("Tokens are counted by the hour: since ")
	tabs.Click("link", "Models")
	p.Click("radio", "OpenRouter")
	p.WaitURL("/dashboard/analytics?range=1h&provider=openrouter")
	some := analysed(t, s, "range=1h&provider=openrouter")
	p.Part(".figures").WaitText(fmt.Sprint(some.Totals.Requests))
	for range 4 {
		p.Back()
	}
	p.WaitURL("/dashboard/analytics")
	p.WaitText("Requests per hour")

	type models struct{ Models []struct{ Model string } }
	for _, sort := range []string{"name", "-name"} {
		p.In("table", "Models").Click("button", "Model")
		p.WaitURL("/dashboard/analytics?sort=" + sort)
		var want []string
		for _, m := range Admin[models](t, s, "GET", "/admin/analytics/models?pageSize=20&sort="+sort, nil).Models {
			want = append(want, m.Model)
		}
		p.Await("the models by "+sort, fmt.Sprintf(`[...document.querySelectorAll('table[aria-label=Models] tbody tr')].map(e => e.cells[0].innerText.trim()).join() === %q`, strings.Join(want, ",")))
	}
	first := rowsOf(p, "Models")[0]
	p.In("table", "Models").Click("link", first)
	p.WaitURL("/dashboard/requests?*")
	if at := Eval[string](p, `new URLSearchParams(location.search).get("model")`); at != first {
		t.Errorf("the model %q leads to the requests of %q", first, at)
	}
}

// The table of keys is paged by the server, is said to be of all time, and leads
// to the keys.
func TestAnalyticsOfKeys(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	p := LoggedIn(t, s, "/dashboard/analytics")
	all := analysed(t, s, "")
	p.In("navigation", "Tables").Click("link", fmt.Sprintf("Keys %d", all.Rows.Keys))
	p.WaitURL("/dashboard/analytics?table=keys")
	p.WaitText("Of all time", fmt.Sprintf("1–20 of %d", all.Rows.Keys))
	type keys struct {
		Keys []struct {
			ID, APIKey, Provider string
		}
	}
	second := Admin[keys](t, s, "GET", "/admin/analytics/keys?page=2&pageSize=20", nil).Keys
	p.Click("button", "Next page")
	p.WaitURL("/dashboard/analytics?table=keys&page=2")
	p.WaitText(fmt.Sprintf("21–40 of %d", all.Rows.Keys))
	last := second[len(second)-1]
	p.Await("the second page", fmt.Sprintf(`[...document.querySelectorAll("table[aria-label=Keys] tbody tr:last-child a")].some(e => e.getAttribute("href") === "/dashboard/keys?provider=%s&key=%s")`, last.Provider, last.ID))
	p.Back()
	p.WaitText(fmt.Sprintf("1–20 of %d", all.Rows.Keys))
	p.Open("/dashboard/analytics?table=keys&page=99")
	p.WaitText("There is no such page")
	p.Click("link", "First page")
	p.WaitURL("/dashboard/analytics?table=keys")
}

// What is exported is the table that is shown, whole, as the API gives it.
func TestAnalyticsExport(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	p := LoggedIn(t, s, "/dashboard/analytics?range=7d&provider=ollama&sort=name")
	for _, table := range []struct{ tab, path, file string }{
		{"Models", "/admin/analytics/models?range=7d&provider=ollama&sort=name", "models-7d.csv"},
		{"Tokens", "/admin/analytics/tokens?range=7d&provider=ollama&sort=-requests", "tokens-7d.csv"},
		{"Keys", "/admin/analytics/keys?provider=ollama", "keys.csv"},
	} {
		p.In("navigation", "Tables").Click("link", table.tab)
		p.Wait("table", table.tab)
		name, content := p.Download(func() { p.Click("button", "Export CSV") })
		_, want, err := s.call("GET", table.path+"&format=csv&tz=Asia/Shanghai", s.AdminToken(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if name != table.file || string(content) != string(want) || len(want) == 0 {
			t.Errorf("%s has %d bytes, the API gives %d as %s", name, len(content), len(want), table.file)
		}
	}
}

// The legend takes lines out of the chart and brings them back; failures can be
// shown in place of requests.
func TestAnalyticsChart(t *testing.T) {
	t.Parallel()
	s := Shared(t)
	all := analysed(t, s, "")
	var names []string
	for _, of := range all.Series {
		names = append(names, of.Model)
	}
	p := LoggedIn(t, s, "/dashboard/analytics")
	if got, want := chartHeads(p), append(slices.Clone(names), "others"); !slices.Equal(got, want) {
		t.Fatalf("the chart shows %q, not %q", got, want)
	}
	legend := p.In("group", "Models in the chart")
	legend.Click("button", names[0])
	p.Await("a chart without the first model", fmt.Sprintf(`[...document.querySelectorAll(".chart.canvas th[scope=col]")].every(e => e.textContent !== %q)`, names[0]))
	if got := legend.Attr("button", names[0], "aria-pressed"); got != "false" {
		t.Errorf("the entry that is off says aria-pressed=%q", got)
	}
	legend.Click("button", names[0])
	p.Await("a chart with all models", fmt.Sprintf(`document.querySelectorAll(".chart.canvas th[scope=col]").length === %d`, len(names)+2))

	p.Choose("What the chart shows", "Failures")
	p.WaitText("Failures per hour")
	p.WaitURL("/dashboard/analytics?show=failures")
	if got := chartHeads(p); !slices.Equal(got, names) {
		t.Errorf("of failures the chart shows %q, not %q", got, names)
	}
	var failures int64
	for _, n := range all.Series[0].Failure {
		failures += n
	}
	shown := Eval[int64](p, `[...document.querySelectorAll(".chart.canvas tbody tr")].reduce((n, e) => n + Number(e.cells[1].textContent), 0)`)
	if shown != failures {
		t.Errorf("the chart shows %d failures of %s, the API %d", shown, names[0], failures)
	}
}

// Nothing has happened yet.
func TestAnalyticsEmpty(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard/analytics?range=30d")
	p.WaitText("No requests in this range", "Choose a longer range, or send a request.")
	p.Part(".figures").WaitText("–", "no requests")
	p.In("navigation", "Tables").Click("link", "Keys 0")
	p.WaitText("No keys")
	s.Import(t, gateway.Ollama, FakeKey(gateway.Ollama, simulator.FateOK, 0))
	s.Chat(t, s.Token(t, "first"), "gpt-oss:20b", false)
	p.Open("/dashboard/analytics?range=1h")
	if got := rowsOf(p, "Models"); !slices.Equal(got, []string{"gpt-oss:20b"}) {
		t.Errorf("the table shows %q", got)
	}
	if got := chartHeads(p); !slices.Equal(got, []string{"gpt-oss:20b"}) {
		t.Errorf("the chart shows %q", got)
	}
	p.Part(".figures").WaitText("100.00%", "none failed")
}
