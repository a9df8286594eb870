package browser

import (
	"encoding/csv"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

// TestImportPreviewLook looks at what the server makes of a file.
func TestImportPreviewLook(t *testing.T) {
	t.Parallel()
	Matrix(t, Shared(t), "import-preview", "/dashboard/import", func(p *Page) {
		// The page is left with lines that were not sent, and is not to ask.
		Eval[any](p, `addEventListener("beforeunload", e => e.stopImmediatePropagation(), true)`)
		p.Part(".drop").Drop("accounts-november.txt", []byte(mixedLines()))
		p.Part(".options .btn.primary").ClickHere()
		p.WaitText("98.4%")
		p.Await("figures", `document.querySelectorAll("main tbody td.mono").length > 0`)
	})
}

// mixedLines is a file with lines of every kind.
func mixedLines() string {
	var b strings.Builder
	for n := range 600 {
		fmt.Fprintf(&b, "user%d@example.com----fake-password----fake-session;aid=%d----%d----import-look-fake-key-%06d\n", n, n, n, n)
	}
	b.WriteString(FakeKey(gateway.Ollama, simulator.FateOK, 0) + "\nimport-look-fake-key-000001\nx----y----z\n\n# no key\nshort\na@example.com----hunter22\nb@example.com----hunter22\n")
	b.WriteString(strings.Repeat("x----y----z\n", 4))
	return b.String()
}

// keysOf is how many keys a provider has.
func keysOf(t *testing.T, s *Server, p gateway.ProviderName) int {
	t.Helper()
	return Admin[struct{ Total int }](t, s, "GET", "/admin/api-keys?pageSize=1&provider="+string(p), nil).Total
}

// imported is an import as the API lists it.
type imported struct {
	ID, Source, State, Provider string
	Counts                      map[string]int
}

// lastImport is the newest entry of the list of imports.
func lastImport(t *testing.T, s *Server) imported {
	t.Helper()
	list := Admin[struct{ Jobs []imported }](t, s, "GET", "/admin/jobs?kind=import", nil).Jobs
	if len(list) == 0 {
		t.Fatal("there is no import in the list")
	}
	return list[0]
}

// unsent says whether the browser would ask before the page is left.
func unsent(p *Page) bool {
	p.t.Helper()
	return Eval[bool](p, `!dispatchEvent(new Event("beforeunload", {cancelable: true}))`)
}

// TestImportPasted pastes lines, looks at the preview, and imports them without
// a check.
func TestImportPasted(t *testing.T) {
	t.Parallel()
	s := Start(t)
	known, fresh := FakeKey(gateway.Ollama, simulator.FateOK, 0), FakeKey(gateway.Ollama, simulator.FateOK, 1)
	s.Import(t, gateway.Ollama, known)
	p := LoggedIn(t, s, "/dashboard/import")
	if unsent(p) {
		t.Error("the browser asks before an empty page is left")
	}
	p.Fill("Or paste lines", "lin.wei@example.com----canary-password----canary-session----"+fresh+"\n"+known+"\n"+fresh+"\nx----canary----z\nshort\n")
	if !unsent(p) {
		t.Error("the browser does not ask before lines that were not sent are lost")
	}
	p.Click("button", "Preview")
	p.WaitText("Pasted text", "5 lines", "lin.wei@example.com", "4 fields", "three fields", "key is shorter than 8 characters", "dropped while reading")
	figures := p.Part("dl.figures").Text()
	if got, want := strings.Join(strings.Fields(figures), " "), "New keys 1 20% of the lines Already in the pool 1 left as they are Twice in the file 1 taken once Bad lines 2 skipped"; strings.ReplaceAll(got, "20.0%", "20%") != want {
		t.Errorf("the figures are %q", got)
	}
	if shown := p.Text(); strings.Contains(shown, "canary") {
		t.Errorf("the preview shows what stands in a line:\n%s", shown)
	}
	if n := keysOf(t, s, gateway.Ollama); n != 1 {
		t.Errorf("after the preview there are %d keys", n)
	}
	_, bad := p.Download(func() { p.Click("button", "Download all 2") })
	if rows := table(t, bad); len(rows) != 3 || rows[1][1] != "4" || rows[2][1] != "5" || strings.Contains(string(bad), "canary") {
		t.Errorf("the bad lines are %q", rows)
	}

	p.Uncheck("Check each key upstream")
	p.Click("button", "Import 1 key")
	p.WaitText("Done", "Added", "pasted, 5 lines")
	job := lastImport(t, s)
	if job.Counts["added"] != 1 || job.Counts["existing"] != 2 || job.Counts["bad"] != 2 || p.URL() != "/dashboard/import?job="+job.ID {
		t.Errorf("the import is %+v, the address %s", job, p.URL())
	}
	if n := keysOf(t, s, gateway.Ollama); n != 2 {
		t.Errorf("there are %d keys", n)
	}
	if unsent(p) {
		t.Error("the browser asks about lines that were sent")
	}
	_, bad = p.Download(func() { p.Click("link", "Download 2 unused lines") })
	if rows := table(t, bad); len(rows) != 3 || strings.Contains(string(bad), "canary") {
		t.Errorf("the bad lines of the job are %q", rows)
	}
	if kept := Eval[string](p, `JSON.stringify({...localStorage, ...sessionStorage}) + location.href + document.body.innerHTML`); strings.Contains(kept, "canary") || strings.Contains(kept, fresh) {
		t.Error("the page keeps what was imported")
	}
	if see, _ := url.Parse(p.Attr("link", "See the keys", "href")); see.Path != "/dashboard/keys" || see.Query().Get("sort") != "-created_at" {
		t.Errorf("the keys that were added are at %s", see)
	}
	p.Click("link", "New import")
	p.WaitURL("/dashboard/import")
	if left := p.Value("Or paste lines"); left != "" {
		t.Errorf("there is %q left", left)
	}
}

func table(t *testing.T, content []byte) [][]string {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(string(content), "\ufeff"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestImportFiles drops and uploads files of every form.
func TestImportFiles(t *testing.T) {
	t.Parallel()
	s := Start(t, "IMPORT_MAX_BYTES=3000")
	p := LoggedIn(t, s, "/dashboard/import")
	drop := func(name, content string) {
		p.Part(".drop").Drop(name, []byte(content))
		p.In("list", "Chosen files").WaitText(name)
	}
	preview := func(want ...string) {
		t.Helper()
		p.Click("button", "Preview")
		p.Wait("heading", "How the lines were read")
		p.WaitText(want...)
		p.Click("button", "Cancel")
		p.Wait("heading", "What to import")
	}

	// Several texts are one import, whose bad lines are told by file.
	drop("a.txt", "key-of-file-a-0001\r\nx----y----z")
	drop("b.txt", "# none\nkey-of-file-b-0001\nshort")
	p.WaitText("2 lines", "3 lines")
	preview("a.txt, b.txt", "a.txt: 2", "b.txt: 3")

	// A text in UTF-16, as editors on Windows write it.
	units := utf16.Encode([]rune("key-of-file-c-0001\r\nkey-of-file-c-0002"))
	text := []byte{0xff, 0xfe}
	for _, u := range units {
		text = append(text, byte(u), byte(u>>8))
	}
	drop("c.txt", string(text))
	preview("c.txt", "2 lines", "Import 2 keys")

	for name, content := range map[string]string{
		"list.json":     `["key-of-list-0001","a----key-of-list-0002",{"email":"lin.wei@example.com","password":"x","api_key":"key-of-list-0003"},"x"]`,
		"accounts.json": `{"version":1,"accounts":[{"api_key":"key-of-list-0001","username":"lin.wei@example.com"},{"api_key":"key-of-list-0002"},{"api_key":"key-of-list-0003"},1]}`,
		"export.json":   "\ufeff" + `{"api_keys":[{"api_key":"key-of-list-0001","username":"lin.wei@example.com"},"key-of-list-0002","key-of-list-0003","y"],"total":3}`,
		"export.jsonl":  `{"api_key":"key-of-list-0001","username":"lin.wei@example.com"}` + "\n\n" + `{"api_key":"key-of-list-0002"}` + "\n" + `{"api_key":"key-of-list-0003"}` + "\n{}\n",
		"export.csv":    "id,api_key,username\r\n1,key-of-list-0001,lin.wei@example.com\r\n2,\"key-of-list-0002\",\"with \"\"quotes\"\"\"\r\n\r\n3,key-of-list-0003,'=sum\r\n4,,none\r\n",
	} {
		drop(name, content)
		preview(name, "lin.wei@example.com", "Import 3 keys", "object")
	}

	// What cannot be read, and what is too large, is not sent.
	before := len(p.Requests())
	for name, want := range map[string]string{
		"large.txt": "at most (IMPORT_MAX_BYTES)", "empty.txt": "This file is empty.", "book.xlsx": "This is not text.",
		"other.json": "no list named keys", "other.csv": "no column api_key",
	} {
		content := map[string]string{
			"large.txt": strings.Repeat("x", 3001), "book.xlsx": "PK\x03\x04\x00\x00", "other.json": `{"error":{"code":1}}`, "other.csv": "name,value\n1,2\n",
		}[name]
		drop(name, content)
		p.In("list", "Chosen files").Row(name).WaitText(want)
		p.In("list", "Chosen files").Row(name).Click("button", "Take out "+name)
	}
	for _, r := range p.Requests()[before:] {
		if r.Method == "POST" {
			t.Errorf("it sent %s", r.URL)
		}
	}

	// The chooser takes files, too; several are only read together as texts.
	p.Upload("Choose files", "u.txt", []byte("lin.wei----key-of-file-u-0001\n"))
	drop("list.json", `["key-of-list-0009"]`)
	p.Click("button", "Preview")
	p.WaitText("Import a table or a list in JSON by itself.")
	p.In("list", "Chosen files").Click("button", "Take out list.json")
	for n := range 5 {
		drop(fmt.Sprintf("%s-%d.txt", strings.Repeat("密", 70), n), "# nothing")
	}
	p.Choose("Provider", "OpenRouter")
	p.Click("button", "Preview")
	p.Uncheck("Check each key upstream")
	Eval[any](p, `{ const set = XMLHttpRequest.prototype.setRequestHeader; XMLHttpRequest.prototype.setRequestHeader = function (n, v) { if (n === "X-Import-Source") window.longest = v.length; return set.call(this, n, v) } }`)
	p.Click("button", "Import 1 key")
	p.WaitText("Done", "OpenRouter")
	if n := Eval[int](p, "window.longest"); n > 2000 {
		t.Errorf("a header of %d bytes, at which proxies stop", n)
	}
	if job := lastImport(t, s); !strings.HasPrefix(job.Source, "u.txt, 密密") || job.Provider != "openrouter" || keysOf(t, s, gateway.OpenRouter) != 1 || keysOf(t, s, gateway.Ollama) != 0 {
		t.Errorf("the import is %+v", job)
	}
}

// TestImportProvider changes the provider while a preview is shown: what is known
// already is another thing then.
func TestImportProvider(t *testing.T) {
	t.Parallel()
	p := LoggedIn(t, Shared(t), "/dashboard/import?provider=openrouter")
	p.Fill("Or paste lines", FakeKey(gateway.Ollama, simulator.FateOK, 0))
	p.Click("button", "Preview")
	p.Wait("button", "Import 1 key")
	p.Choose("Provider", "Ollama")
	p.Wait("button", "Import 0 keys")
	p.WaitURL("/dashboard/import")
	p.Click("button", "Change the text")
	if left := p.Value("Or paste lines"); left == "" {
		t.Error("the text is gone")
	}
	// Another page and back: it is still there.
	p.In("navigation", "Main").Click("link", "Tokens")
	p.Wait("heading", "Tokens")
	p.Back()
	p.Wait("heading", "Import keys")
	if left := p.Value("Or paste lines"); left == "" {
		t.Error("the text is gone after another page")
	}
	p.Click("button", "Clear")
	if unsent(p) {
		t.Error("the browser asks before an empty page is left")
	}
}

// TestImportChecked imports with a check: what came of it by family, and what the
// upstream refused as a table.
func TestImportChecked(t *testing.T) {
	t.Parallel()
	s := Start(t)
	var lines []string
	for n := range 12 {
		lines = append(lines, fmt.Sprintf("account-%d----%s", n, FakeKey(gateway.Ollama, simulator.FateOK, n)))
	}
	for n := range 3 {
		lines = append(lines, FakeKey(gateway.Ollama, simulator.FateRevoked, n))
	}
	lines = append(lines, "x----y----z", lines[0])
	p := LoggedIn(t, s, "/dashboard/import")
	p.Part(".drop").Drop("accounts.txt", []byte(strings.Join(lines, "\n")))
	p.Click("button", "Preview")
	p.Click("button", "Import 15 keys")
	p.WaitText("Done", "Valid keys by family", "accounts.txt", "by the upstream, not added")
	job := lastImport(t, s)
	if c := job.Counts; c["added"] != 12 || c["invalid"] != 3 || c["bad"] != 1 || c["existing"] != 1 || keysOf(t, s, gateway.Ollama) != 12 {
		t.Errorf("the import is %+v", job)
	}
	for _, figure := range []string{"Added\n12", "Already there\n1", "Refused\n3", "Bad lines\n1"} {
		p.Part("dl.figures").WaitText(figure)
	}
	_, bad := p.Download(func() { p.Click("link", "Download 4 unused lines") })
	if rows := table(t, bad); len(rows) != 5 || strings.Contains(string(bad), FakeKey(gateway.Ollama, simulator.FateRevoked, 0)) {
		t.Errorf("what was not used is %q", rows)
	}
	p.Row("accounts.txt").WaitText("12", "4", "Done")
}

// TestImportCancelled begins an import with a check, loads the page again in the
// middle, finds it running, cannot begin another, and cancels it.
func TestImportCancelled(t *testing.T) {
	t.Parallel()
	s := Start(t)
	lines := make([]string, 4000)
	for n := range lines {
		lines[n] = fmt.Sprintf("unknown-fake-browser-key-%06d", n)
	}
	p := LoggedIn(t, s, "/dashboard/import")
	p.Part(".drop").Drop("many.txt", []byte(strings.Join(lines, "\n")))
	p.Click("button", "Preview")
	p.Click("button", "Import 4,000 keys")
	p.WaitText("Import running", "of 4,000 checked", "a second, about", "you may close the page")
	p.WaitURL("/dashboard/import?job=*")
	p.Reload()
	p.WaitText("Import running", "of 4,000 checked")

	// Without its address it is there, too, above another import.
	q := p.NewTab()
	q.Open("/dashboard/import")
	q.In("region", "Import running").WaitText("many.txt", "of 4,000 checked")
	q.Fill("Or paste lines", FakeKey(gateway.Ollama, simulator.FateOK, 0))
	q.Click("button", "Preview")
	q.Expect(409)
	q.Click("button", "Import 1 key")
	q.WaitText("Another check or import of this provider is running.")
	q.Wait("link", "Look at it")
	q.Part(".options").Click("button", "Cancel")

	p.In("region", "Import running").Click("button", "Cancel")
	p.WaitText("This import was cancelled; nothing was added.")
	q.WaitCount("region", "Import running", 0)
	q.Row("many.txt").WaitText("Cancelled")
	if job := lastImport(t, s); job.State != "cancelled" || keysOf(t, s, gateway.Ollama) != 0 {
		t.Errorf("the import is %+v", job)
	}
}

// slowest is how long the page may be busy at a stretch, in milliseconds, while
// 100,000 lines are chosen and read.
const slowest = 1500

// TestImportHundredThousand pastes and imports 100,000 lines: the text becomes a
// file and the page stays quick.
func TestImportHundredThousand(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard/import")
	Eval[bool](p, `(() => {
		window.longest = 0;
		new PerformanceObserver((list) => { for (const e of list.getEntries()) window.longest = Math.max(window.longest, e.duration) }).observe({type: "longtask"});
		const lines = [];
		for (let n = 0; n < 100000; n++) {
			lines.push("user" + n + "@example.com----fake-password-" + n + "----fake-session-0123456789abcdef;aid=" + n + "----" + n + "----large-fake-import-key-0123456789abcdef-" + n);
		}
		const data = new DataTransfer();
		data.setData("text/plain", lines.join("\n"));
		const area = document.querySelector("textarea");
		return area.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true}));
	})()`)
	p.In("list", "Chosen files").WaitText("Pasted text", "100,000 lines")
	if left := p.Value("Or paste lines"); left != "" {
		t.Errorf("the field has %d characters", len(left))
	}
	Eval[any](p, "window.longest = 0") // what came before was the test's own
	p.Click("button", "Preview")
	p.Wait("button", "Import 100,000 keys")
	p.Uncheck("Check each key upstream")
	p.Click("button", "Import 100,000 keys")
	p.WaitText("Done", "100,000")
	if longest := Eval[float64](p, "window.longest"); longest > slowest {
		t.Errorf("the page was busy for %.0f ms at a stretch", longest)
	}
	if n := keysOf(t, s, gateway.Ollama); n != 100_000 {
		t.Errorf("there are %d keys", n)
	}
}

// TestImportList looks through the list of imports: none, one, and pages of them.
func TestImportList(t *testing.T) {
	t.Parallel()
	s := Start(t)
	p := LoggedIn(t, s, "/dashboard/import")
	p.WaitText("No imports yet")
	for n := range 21 {
		s.Import(t, gateway.Ollama, fmt.Sprintf("one-fake-key-of-a-list-%04d", n))
	}
	p.Reload()
	list := p.In("region", "Earlier imports")
	list.WaitText("1–20 of 21", "pasted, 1 line", "Dashboard or API")
	list.Click("button", "Next page")
	p.WaitURL("/dashboard/import?page=2")
	list.WaitText("21–21 of 21")
	list.Click("link", "pasted, 1 line")
	p.WaitText("Done", "serve from now on")
	p.Back()
	list.WaitText("21–21 of 21")
	p.Expect(404)
	p.Open("/dashboard/import?job=0123456789abcdef")
	p.WaitText("No such import")
}
