package admin_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"strings"
	"sync"
	"testing"

	"ollama-api-pool/internal/testkit"
)

// accounts is a file as people have it: every form, with passwords and cookies
// that must be seen nowhere.
const accounts = "\ufeff# my accounts\r\n" +
	"anna@example.com----fake-Passw0rd-anna----fake-session-anna----" + annaKey + "\r\n" +
	"\r\n" +
	"boris@example.com----fake-Passw0rd-boris----fake-session-boris;aid=fake-aid-1----fake-aid-1----" + borisKey + "\r\n" +
	"carla@example.com----fake-Passw0rd-carla\r\n" +
	"  dora----fake-key-of-dora-0123456789 \r\n" +
	"emil@example.com----fake-Passw0rd-emil----fake-session-emil\r\n" +
	"fake-bare-key-0123456789\r\n" +
	"anna@example.com----fake-Passw0rd-anna----fake-session-anna----" + annaKey + "\r\n"

func plantAccounts(p *pool) {
	for line := range strings.Lines(accounts) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(line, "#") {
			p.plant(line)
		}
	}
	p.plant("fake-aid-1")
}

const accountsImported = `{"total":4,"added":4,"existing":1,"invalid":[
	{"line":5,"reason":"an e-mail address and something that does not look like a key; it may be a password"},
	{"line":7,"reason":"three fields: it is not clear which of them is the key"}],"invalidTotal":2}`

// form puts a text into a form, as a browser sends it.
func form(t *testing.T, field, filename, text string, fields ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile(field, filename)
	if err == nil {
		_, err = io.WriteString(part, text)
	}
	for i := 0; err == nil && i < len(fields); i += 2 {
		err = w.WriteField(fields[i], fields[i+1])
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), w.FormDataContentType()
}

func TestImportingText(t *testing.T) {
	formBody, formType := form(t, "file", "ollama.txt", accounts)
	object := `{"content":` + quote(t, accounts) + `}`
	for name, c := range map[string]struct{ body, contentType string }{
		"text":        {accounts, "text/plain; charset=utf-8"},
		"no type":     {accounts, ""},
		"file":        {formBody, formType},
		"JSON":        {object, "application/json"},
		"JSON, curl":  {" \r\n\t" + object, "application/x-www-form-urlencoded"},
		"JSON, other": {strings.ReplaceAll(object, "a", `\u0061`), "application/json; charset=utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			plantAccounts(p)
			p.want("POST /admin/api-keys/import-from-txt", c.body, 200, accountsImported, "Content-Type", c.contentType)
			names, _ := p.usernames("sort=username")
			if want := []string{"anna@example.com", "boris@example.com", "dora", ""}; fmt.Sprint(names) != fmt.Sprint(want) {
				t.Errorf("user names: %q", names)
			}
			for _, key := range []string{annaKey, borisKey, "fake-key-of-dora-0123456789", "fake-bare-key-0123456789"} {
				if a := p.call("GET /admin/api-keys/"+id(key), ""); a.status != 200 {
					t.Errorf("%s is not there", id(key))
				}
			}
			p.want("POST /admin/api-keys/import-from-txt", c.body, 200,
				strings.Replace(accountsImported, `"added":4,"existing":1`, `"added":0,"existing":5`, 1), "Content-Type", c.contentType)
		})
	}
}

func TestImportingLists(t *testing.T) {
	p := start(t)
	plantAccounts(p)
	p.want("POST /admin/api-keys/import", `{"keys":["anna@example.com----fake-Passw0rd-anna----fake-session-anna----`+annaKey+`","`+annaKey+`","short",
		{"api_key":"fake-bare-key-0123456789","username":"bare"}],"provider":"openrouter"}`, 200,
		`{"total":2,"added":2,"existing":1,"invalid":[{"line":3,"reason":"key is shorter than 8 characters"}],"invalidTotal":1}`)
	p.want("POST /admin/api-keys/import", `{"keys":[]}`, 200, `{"total":0,"added":0,"existing":0,"invalid":[],"invalidTotal":0}`)
	p.want("POST /admin/import?provider=openrouter", `{"accounts":["`+annaKey+`","boris@example.com----fake-Passw0rd-boris----fake-session-boris----`+borisKey+`",
		{"api_key":"fake-key-of-dora-0123456789","email":"dora@example.com","password":"fake-Passw0rd-dora"},{"email":"emil@example.com"},7]}`, 200,
		`{"success":true,"imported":2,"failed":2,"duplicates":1,"total":5,"details":[{"line":4,"reason":"no key"},{"line":5,"reason":"neither a text nor an object with an api_key"}]}`)
	names, _ := p.usernames("provider=openrouter&sort=username")
	if want := "[anna@example.com bare boris@example.com dora@example.com]"; fmt.Sprint(names) != want {
		t.Errorf("user names: %v", names)
	}
	var many strings.Builder
	for range 60 {
		many.WriteString(`"bad",`)
	}
	a := p.call("POST /admin/import", `{"accounts":[`+many.String()+`"fake-bare-key-0123456789"]}`)
	if n := strings.Count(a.body, `"reason"`); n != 50 || !strings.Contains(a.body, `"failed":60`) {
		t.Errorf("%d details in %s", n, a.body)
	}
}

func TestImportsThatAreRefused(t *testing.T) {
	p := start(t, "IMPORT_MAX_BYTES=2000")
	plantAccounts(p)
	p.wantError("POST /admin/api-keys/import", `{"keys":["`+annaKey+`"]}`, 401, "authentication_error", "authentication_error",
		"wrong admin token", "Authorization", "Bearer wrong")
	text, list, all := "POST /admin/api-keys/import-from-txt", "POST /admin/api-keys/import", "POST /admin/import"
	asText, asJSON := []string{"Content-Type", "text/plain"}, []string{"Content-Type", "application/json"}
	twoFiles, twoType := form(t, "file", "a.txt", annaKey)
	twoFiles = strings.TrimSuffix(twoFiles, "--\r\n") + "\r\nContent-Disposition: form-data; name=\"b\"; filename=\"b\"\r\n\r\nx\r\n" + twoFiles[:strings.Index(twoFiles, "\r\n")] + "--\r\n"
	noFile, noType := form(t, "other", "", annaKey)
	fields, fieldsType := form(t, "file", "a.txt", annaKey, "provider", "acme")

	for _, c := range []struct {
		call, body, message string
		headers             []string
	}{
		{list, `{"keys":["` + annaKey + `"]`, "the JSON document ends too early", nil},
		{list, `{"keys":["` + annaKey + `"]} more`, "not valid JSON at byte 47", nil},
		{list, `{"key":["` + annaKey + `"]}`, `there is no "keys" list`, nil},
		{list, `{"keys":["` + annaKey + `"],"provider":"acme"}`, `unknown provider "acme": use "ollama" or "openrouter"`, nil},
		{list + "?provider=acme", `{`, `unknown provider "acme": use "ollama" or "openrouter"`, nil},
		{list + "?provider=ollama", `{"keys":["` + annaKey + `"],"provider":"openrouter"}`, "provider in the query and provider in the body differ: send one of them", nil},
		{all, `{"keys":["` + annaKey + `"]}`, `there is no "accounts" list`, nil},
		{text, `{"content":"` + annaKey + `"`, "the body is not valid JSON: it ends in the middle", asJSON},
		{text, `{"content":"` + annaKey, "the body is not valid JSON: it ends in the middle", asJSON},
		{text, `{"content":7}`, `field "content" must be a string`, asJSON},
		{text, `{"text":"x"}`, "content is missing", asJSON},
		{text, `{}`, "content is missing", asJSON},
		{text, `{"content":"` + annaKey + `","content":"x"}`, `field "content" is there twice`, asJSON},
		{text, `{"content":"` + annaKey + `"},`, "something follows the JSON document", asJSON},
		{text, `{"content":"` + annaKey + `","provider":"acme"}`, `unknown provider "acme": use "ollama" or "openrouter"`, asJSON},
		{text, "a\x00n\x00n\x00a\x00", "this is UTF-16 text: save it as UTF-8 and import it again", asText},
		{text, twoFiles, "the form has more than one file: send one at a time", []string{"Content-Type", twoType}},
		{text, noFile, "the form has no file", []string{"Content-Type", noType}},
		{text, fields, `unknown provider "acme": use "ollama" or "openrouter"`, []string{"Content-Type", fieldsType}},
		{text, "--x--\r\n", "the form has no file", []string{"Content-Type", "multipart/form-data; boundary=x"}},
		{text, "--x\r\n" + annaKey + "\r\n", "the body is not a valid form (multipart/form-data); nothing was added", []string{"Content-Type", "multipart/form-data; boundary=x"}},
		{text, "x", "the form cannot be read: its Content-Type has no boundary", []string{"Content-Type", "multipart/form-data"}},
	} {
		p.wantInvalid(c.call, c.body, c.message, c.headers...)
	}
	for _, form := range []string{annaKey, "", " ", "content=" + annaKey, strings.Repeat(" ", 1500)} {
		p.wantError(text, form, 415, "invalid_request_error", "invalid_request_error",
			`Content-Type "application/x-www-form-urlencoded" is not understood here: send the text as text/plain, as a file of a form (multipart/form-data) or as JSON`,
			"Content-Type", "application/x-www-form-urlencoded")
	}
	p.wantError(text, annaKey, 415, "invalid_request_error", "invalid_request_error",
		`a body with Content-Encoding "gzip" is not understood; send it plain`, "Content-Type", "text/plain", "Content-Encoding", "gzip")

	padding := strings.Repeat("# nothing\n", 200)
	tooLargeForm, tooLargeType := form(t, "file", "a.txt", annaKey+"\n"+padding)
	for _, c := range []struct {
		call, body, contentType string
	}{
		{text, annaKey + "\n" + padding, "text/plain"},
		{text, tooLargeForm, tooLargeType},
		{text, `{"content":` + quote(t, annaKey+"\n"+padding) + `}`, "application/json"},
		{list, `{"keys":["` + annaKey + `"` + strings.Repeat(" ", 2000) + `]}`, "application/json"},
		{all, `{"accounts":["` + annaKey + `"` + strings.Repeat(" ", 2000) + `]}`, "application/json"},
	} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(c.body)
			if chunked {
				body = io.MultiReader(body) // of a length that nobody knows
			}
			method, address, _ := strings.Cut(c.call, " ")
			a := p.send(method, address, body, "Content-Type", c.contentType)
			if a.status != 413 || !strings.Contains(a.body, "larger than 2000 bytes (IMPORT_MAX_BYTES)") {
				t.Errorf("%s, %s, chunked %v: %d %s", c.call, c.contentType, chunked, a.status, a.body)
			}
		}
	}
	// One that says how large it is need not be sent.
	conn := testkit.DialRaw(t, strings.TrimPrefix(p.app.URL(), "http://"))
	head, _, _ := strings.Cut(testkit.HTTP11("POST", "/admin/import", strings.Repeat(" ", 1<<20), "Authorization", "Bearer "+adminToken), "\r\n\r\n")
	conn.Send(head + "\r\n\r\n")
	if res := conn.Response(); res.Status != 413 {
		t.Errorf("nothing but a head: %d %s", res.Status, res.Body)
	}
	conn.Close()
	for _, provider := range []string{"ollama", "openrouter"} {
		if _, total := p.usernames("provider=" + provider); total != 0 {
			t.Errorf("%d %s keys came in", total, provider)
		}
	}
}

func TestConcurrentImportsOfTheSameKeys(t *testing.T) {
	p := start(t)
	var text strings.Builder
	for i := range 500 {
		fmt.Fprintf(&text, "fake-shared-key-%04d-abcdefgh\n", i)
	}
	var mu sync.Mutex // guards sums
	var added, existing int
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			a := p.send(http.MethodPost, "/admin/api-keys/import-from-txt", strings.NewReader(text.String()), "Content-Type", "text/plain")
			var out struct{ Added, Existing, Total int }
			mu.Lock()
			defer mu.Unlock()
			p.decode(a, &out)
			added += out.Added
			existing += out.Existing
			if out.Total != 500 {
				t.Errorf("%d keys afterwards", out.Total)
			}
		})
	}
	wg.Wait()
	if added != 500 || existing != 1500 {
		t.Errorf("%d added, %d existing", added, existing)
	}
}

func TestImportThatIsCutOffLeavesNothing(t *testing.T) {
	p := start(t)
	var text strings.Builder
	for i := range 300 {
		fmt.Fprintf(&text, "user%d@example.com----fake-Passw0rd-cut----fake-session-cut----fake-cut-key-%04d-abcdefgh\n", i, i)
	}
	p.plant("fake-Passw0rd-cut", "fake-session-cut", "abcdefgh")
	formBody, formType := form(t, "file", "a.txt", text.String())
	addr := strings.TrimPrefix(p.app.URL(), "http://")
	for _, c := range []struct{ address, body, contentType string }{
		{"/admin/api-keys/import-from-txt", text.String(), "text/plain"},
		{"/admin/api-keys/import-from-txt", formBody, formType},
		{"/admin/api-keys/import-from-txt", `{"content":` + quote(t, text.String()) + `}`, "application/json"},
		{"/admin/api-keys/import", `{"keys":[` + strings.ReplaceAll(strings.TrimSpace(quoteLines(t, text.String())), "\n", ",") + `]}`, "application/json"},
	} {
		for range 6 {
			cut := 1 + rand.IntN(len(c.body)-1)
			raw := testkit.HTTP11("POST", c.address, c.body, "Authorization", "Bearer "+adminToken, "Content-Type", c.contentType)
			conn := testkit.DialRaw(t, addr)
			conn.Send(raw[:len(raw)-len(c.body)+cut])
			conn.CloseWrite()
			if res := conn.Response(); res.Status != 400 {
				t.Errorf("%s, cut at %d of %d: status %d %s", c.contentType, cut, len(c.body), res.Status, res.Body)
			}
			conn.Close()
			if _, total := p.usernames(""); total != 0 {
				t.Fatalf("%s, cut at %d of %d: %d keys", c.contentType, cut, len(c.body), total)
			}
		}
	}
}

// TestImportWhoseSenderLeaves sends everything and does not wait for the answer.
func TestImportWhoseSenderLeaves(t *testing.T) {
	p := start(t)
	addr := strings.TrimPrefix(p.app.URL(), "http://")
	before := 0
	for round := range 8 {
		var text strings.Builder
		for i := range 200 {
			fmt.Fprintf(&text, "fake-leaving-key-%d-%04d-abcdefgh\n", round, i)
		}
		conn := testkit.DialRaw(t, addr)
		conn.Send(testkit.HTTP11("POST", "/admin/api-keys/import-from-txt", text.String(), "Authorization", "Bearer "+adminToken, "Content-Type", "text/plain"))
		conn.Reset()
		// The same keys once more: they find all or none of the first call's.
		a := p.send(http.MethodPost, "/admin/api-keys/import-from-txt", strings.NewReader(text.String()), "Content-Type", "text/plain")
		var out struct{ Added, Existing, Total int }
		p.decode(a, &out)
		if out.Added != 200 && out.Existing != 200 || out.Total != before+200 {
			t.Errorf("half an import: %+v", out)
		}
		before = out.Total
	}
}

func TestHundredThousandLines(t *testing.T) {
	p := start(t)
	p.plant("fake-Passw0rd", "fake-session-cookie")
	cookie := strings.Repeat("fake-session-cookie", 5)
	var text bytes.Buffer
	for i := range 100_000 {
		switch {
		case i%10 == 9:
			text.WriteString("short\n")
		case i%20 == 0: // most are comments, so that the test is quick
			fmt.Fprintf(&text, "user%d@example.com----fake-Passw0rd----%s----fake-bulk-key-%06d-abcdefgh\n", i, cookie, i%60_000)
		default:
			text.WriteString("# " + cookie + "\n")
		}
	}
	a := p.send(http.MethodPost, "/admin/api-keys/import-from-txt", &text, "Content-Type", "text/plain")
	var done struct {
		Total, Added, Existing, InvalidTotal int
		Invalid                              []struct{ Line int }
	}
	p.decode(a, &done)
	if done.Total != 3_000 || done.Added != 3_000 || done.Existing != 2_000 ||
		done.InvalidTotal != 10_000 || len(done.Invalid) != 10_000 || done.Invalid[9_999].Line != 100_000 {
		t.Errorf("%d: %d keys, %d added, %d there, %d bad lines", a.status, done.Total, done.Added, done.Existing, len(done.Invalid))
	}
	testkit.MustNotContain(t, a.body, p.secrets...)
}
