package web_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"ollama-api-pool/internal/controlplane/web"
	sources "ollama-api-pool/web"
)

const policy = "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; " +
	"base-uri 'none'; object-src 'none'; form-action 'self'"

// site is the pages on a socket; what is not theirs gets 418.
type site struct {
	t     *testing.T
	url   string
	log   *bytes.Buffer
	pages *web.Pages
}

func open(t *testing.T, files fs.FS) *site {
	t.Helper()
	s := &site{t: t, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	var err error
	if s.pages, err = web.New(web.Options{Files: files, Version: `v1.2.3-"<test>`, Log: log}); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.pages.Serves(r) {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		s.pages.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	return s
}

type answer struct {
	status int
	header http.Header
	body   string
	length int64
}

// ask makes a call, "GET /stats", and follows no redirect. Nothing is asked to
// be compressed, or is unpacked, but by the headers given.
func (s *site) ask(call string, header ...string) answer {
	s.t.Helper()
	method, path, _ := strings.Cut(call, " ")
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	transport := &http.Transport{DisableCompression: true}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if cerr := res.Body.Close(); err != nil || cerr != nil {
		s.t.Fatal(err, cerr)
	}
	return answer{res.StatusCode, res.Header, string(body), res.ContentLength}
}

var placeOf = regexp.MustCompile(`<meta name="assets" content="(/assets/([0-9a-f]{16}))">`)

// assets is the address below which the pages say that everything is.
func (s *site) assets() string {
	s.t.Helper()
	m := placeOf.FindStringSubmatch(s.ask("GET /dashboard").body)
	if m == nil {
		s.t.Fatal("the page does not say where its assets are")
	}
	return m[1]
}

// small is a set of pages that fits in here.
func small() fstest.MapFS {
	shell := `<meta name="version" content="{{version}}"><meta name="assets" content="{{assets}}">` +
		`{{preload}}<script type="module" src="{{assets}}/app/ENTRY"></script>`
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	return fstest.MapFS{
		"pages/dashboard.html": file(strings.ReplaceAll(shell, "ENTRY", "main.js")),
		"pages/stats.html":     file(strings.ReplaceAll(shell, "ENTRY", "stats.js")),
		"pages/api-docs.html":  file("<p>docs</p>"),
		"style/favicon.svg":    file("<svg/>"),
		"style/style.css":      file(strings.Repeat("p { color: red }\n", 100)),
		"app/main.js": file("// import \"./never.js\";\nimport {\n  a,\n} from './lib/a.js';import{h}from\"../vendor/h.js\"\nimport \"./lib/b.js\"\n" +
			"export * from \"./lib/c.js\";\nconst later = () => import(\"./later.js\");\nconst s = \"import './never.js'\";\nexport const d = \"./never.js\";\n"),
		"app/lib/a.js":   file(`import "./b.js"; import "../main.js"; import "./missing.js"; import "./d.js"`),
		"app/lib/b.js":   file("export default 1"),
		"app/lib/c.js":   file("export default 1"),
		"app/lib/d.js":   file("export default 1"),
		"app/later.js":   file("export default 1"),
		"app/never.js":   file("export default 1"),
		"app/stats.js":   file("export default 1"),
		"vendor/h.js":    file(`import{o}from"./h2.js";export{o as h}`),
		"vendor/h2.js":   file("export const o=1"),
		"vendor/LICENSE": file("Anybody may"),
	}
}

func TestPages(t *testing.T) {
	s := open(t, sources.Files)
	dashboard := s.ask("GET /dashboard")
	for call, status := range map[string]int{
		"GET /": 200, "GET /dashboard": 200, "GET /dashboard/keys": 200, "GET /dashboard/import": 200, "GET /dashboard/tokens": 200,
		"GET /dashboard/playground": 200, "GET /dashboard/requests?status=failed": 200, "GET /dashboard/analytics": 200, "GET /dashboard/settings": 200,
		"GET /stats": 200, "GET /api-docs": 200,
		"GET /dashboard/nope": 404, "GET /dashboard/keys/1": 404, "GET /dashboard/%6Beys": 404, "GET /dashboard//": 404,
	} {
		a := s.ask(call, "Accept", "text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8")
		if a.status != status || a.header.Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%s: %d %s", call, a.status, a.header.Get("Content-Type"))
		}
		keep := map[int]string{200: "no-cache", 404: "no-store"}[status]
		for name, want := range map[string]string{
			"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
			"Cache-Control": keep,
		} {
			if got := a.header.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s is %q, want %q", call, name, got, want)
			}
		}
		if own := strings.HasPrefix(call, "GET /stats") || strings.HasPrefix(call, "GET /api-docs"); own == (a.body == dashboard.body) {
			t.Errorf("%s shows another page", call)
		}
		if (a.header.Get("Etag") != "") != (status == 200) || a.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v", call, a.header)
		}
		head := s.ask("HEAD" + strings.TrimPrefix(call, "GET"))
		if head.status != status || head.body != "" || head.length != int64(len(a.body)) {
			t.Errorf("HEAD of %s: %d, %d bytes, want %d", call, head.status, head.length, len(a.body))
		}
		if again := s.ask(call, "If-None-Match", a.header.Get("Etag")); status == 200 && (again.status != 304 || again.body != "") {
			t.Errorf("%s again: %d", call, again.status)
		}
	}
	if !strings.Contains(dashboard.body, `<meta name="version" content="v1.2.3-&#34;&lt;test&gt;">`) || strings.Contains(dashboard.body, "{{") {
		t.Errorf("not filled in: %s", dashboard.body)
	}
	if s.log.Len() > 0 {
		t.Errorf("lines in the log: %s", s.log)
	}
}

func TestAddressesWithASlashAtTheEnd(t *testing.T) {
	s := open(t, small())
	for from, to := range map[string]string{
		"/dashboard/": "/dashboard", "/dashboard/keys/": "/dashboard/keys", "/stats/": "/stats", "/api-docs/": "/api-docs",
		"/stats/?provider=ollama": "/stats?provider=ollama",
	} {
		if a := s.ask("GET " + from); a.status != 308 || a.header.Get("Location") != to {
			t.Errorf("%s: %d to %q, want %q", from, a.status, a.header.Get("Location"), to)
		}
	}
}

// What is not of the pages is left to others.
func TestServes(t *testing.T) {
	s := open(t, small())
	const json = "application/json"
	for _, c := range []struct {
		call, accept string
		ours         bool
	}{
		{"GET /", "", true},
		{"HEAD /", "", true},
		{"GET /", "*/*", true},
		{"GET /", "text/html, " + json, true},
		{"GET /", json, false},
		{"GET /", "Application/JSON, */*", false},
		{"HEAD /", json, false},
		{"POST /", "", false},
		{"OPTIONS /", "", false},
		{"GET /stats", json, true},
		{"POST /stats", "", true},
		{"GET /assets/x/y", "", true},
		{"GET /favicon.ico", "", true},
		{"GET /dashboard/x", "", true},
		{"GET //", "", false},
		{"GET /assets", "", false},
		{"GET /stats/x", "", false},
		{"GET /dashboards", "", false},
		{"GET /admin/stats", "", false},
		{"GET /v1/models", "", false},
		{"GET /health", "", false},
		{"GET /openapi.json", "", false},
	} {
		if a := s.ask(c.call, "Accept", c.accept); (a.status != http.StatusTeapot) != c.ours {
			t.Errorf("%s, Accept %q: %d", c.call, c.accept, a.status)
		}
	}
	if a := s.ask("GET /"); strings.Join(a.header.Values("Vary"), ", ") != "Accept, Accept-Encoding" {
		t.Errorf("Vary is %q", a.header.Values("Vary"))
	}
}

func TestOtherMethods(t *testing.T) {
	s := open(t, small())
	for _, path := range []string{"/stats", "/dashboard", "/dashboard/nope", "/favicon.ico", s.assets() + "/app/main.js"} {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
			a := s.ask(method + " " + path)
			want := `{"error":{"message":"method ` + method + ` is not allowed here: use GET","type":"invalid_request_error","code":"invalid_request_error","param":null}}`
			if a.status != 405 || a.header.Get("Allow") != "GET, HEAD" || a.header.Get("Cache-Control") != "no-store" || strings.TrimSpace(a.body) != want {
				t.Errorf("%s %s: %d %v %s", method, path, a.status, a.header, a.body)
			}
		}
	}
}

// Every file that the pages may load is there, as it is, under the hash.
func TestAssets(t *testing.T) {
	s := open(t, sources.Files)
	prefix := s.assets()
	kinds := map[string]string{"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml", "txt": "text/plain; charset=utf-8"}
	err := fs.WalkDir(sources.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(sources.Files, name)
		if err != nil {
			return err
		}
		plain := s.ask("GET " + prefix + "/" + name)
		if strings.HasPrefix(name, "pages/") {
			if plain.status != 404 {
				t.Errorf("%s is served as it is", name)
			}
			return nil
		}
		kind := kinds[name[strings.LastIndex(name, ".")+1:]]
		if kind == "" {
			kind = kinds["txt"]
		}
		for header, want := range map[string]string{
			"Content-Type": kind, "Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff",
			"Vary": "Accept-Encoding", "Content-Length": strconv.Itoa(len(body)), "Content-Encoding": "",
		} {
			if got := plain.header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
		if plain.status != 200 || plain.body != string(body) {
			t.Errorf("%s: %d, %d bytes, want %d", name, plain.status, len(plain.body), len(body))
		}
		s.compareGzip(prefix+"/"+name, body, plain)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.log.Len() > 0 {
		t.Errorf("lines in the log: %s", s.log)
	}
}

// compareGzip proves that what is sent compressed is the file, and smaller.
func (s *site) compareGzip(path string, body []byte, plain answer) {
	s.t.Helper()
	a := s.ask("GET "+path, "Accept-Encoding", "br, gzip")
	tag := a.header.Get("Etag")
	for _, known := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		again := s.ask("GET "+path, "Accept-Encoding", "gzip", "If-None-Match", known)
		if again.status != 304 || again.body != "" || again.header.Get("Etag") != tag || again.header.Get("Cache-Control") != a.header.Get("Cache-Control") {
			s.t.Errorf("%s, If-None-Match %s: %d", path, known, again.status)
		}
	}
	if a.header.Get("Content-Encoding") == "" { // no smaller
		if a.body != plain.body || tag != plain.header.Get("Etag") || len(body) > 400 {
			s.t.Errorf("%s, %d bytes, is not compressed", path, len(body))
		}
		return
	}
	z, err := gzip.NewReader(strings.NewReader(a.body))
	if err != nil {
		s.t.Errorf("%s: %v", path, err)
		return
	}
	unpacked, err := io.ReadAll(z)
	if err != nil || !bytes.Equal(unpacked, body) || len(a.body) >= len(body) || a.length != int64(len(a.body)) || tag == plain.header.Get("Etag") {
		s.t.Errorf("%s compressed: %v, %d bytes for %d, tag %s", path, err, len(a.body), len(body), tag)
	}
	if head := s.ask("HEAD "+path, "Accept-Encoding", "gzip"); head.length != a.length || head.header.Get("Content-Encoding") != "gzip" {
		s.t.Errorf("HEAD of %s: %d bytes %q", path, head.length, head.header.Get("Content-Encoding"))
	}
	if wrong := s.ask("GET "+path, "Accept-Encoding", "gzip", "If-None-Match", `"x"`); wrong.status != 200 || wrong.body != a.body {
		s.t.Errorf("%s, another tag: %d", path, wrong.status)
	}
}

func TestWhoTakesGzip(t *testing.T) {
	s := open(t, small())
	path := s.assets() + "/style/style.css"
	for accepts, want := range map[string]string{
		"gzip": "gzip", "GZIP": "gzip", "deflate, gzip;q=1.0, *;q=0.5": "gzip", "*": "gzip", "*;q=0.1": "gzip", "x-gzip": "gzip", "br , gzip ; q=0.001": "gzip",
		"": "", "identity": "", "gzip;q=0": "", "gzip; q=0.0, *": "", "*;q=0": "", "br": "", "gzip;q=odd": "", "gzipped": "",
	} {
		if got := s.ask("GET "+path, "Accept-Encoding", accepts).header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: %q", accepts, got)
		}
	}
	if got := s.ask("GET "+s.assets()+"/vendor/LICENSE", "Accept-Encoding", "gzip"); got.header.Get("Content-Encoding") != "" || got.body != "Anybody may" {
		t.Errorf("what gets no smaller: %v", got)
	}
}

// The page of another version finds its files and keeps nothing under that name.
func TestAssetsOfAnotherVersion(t *testing.T) {
	s := open(t, small())
	for _, hash := range []string{"0000000000000000", "x"} {
		a := s.ask("GET /assets/" + hash + "/app/lib/b.js")
		if a.status != 200 || a.body != "export default 1" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", hash, a.status, a.header)
		}
	}
	changed := small()
	changed["app/lib/b.js"] = &fstest.MapFile{Data: []byte("export default 2")}
	renamed := small()
	renamed["app/lib/e.js"] = renamed["app/lib/d.js"]
	delete(renamed, "app/lib/d.js")
	seen := map[string]bool{s.assets(): true}
	for _, files := range []fstest.MapFS{changed, renamed} {
		seen[open(t, files).assets()] = true
	}
	if len(seen) != 3 || !seen[open(t, small()).assets()] {
		t.Errorf("the hash does not follow the files: %v", seen)
	}
}

func TestAssetsThatThereAreNot(t *testing.T) {
	s := open(t, small())
	at := s.assets()
	for _, path := range []string{
		"/assets/", at, at + "/", at + "/app", at + "/app/", at + "/app/none.js", at + "/pages/dashboard.html", "/assets//app/main.js/",
		at + "/../pages/dashboard.html", at + "/app/../app/main.js", at + "/app/%2e%2e/app/main.js", at + "/app%2Fmain.js", at + "//app/main.js",
		at + "/app/main.js/", at + "/app\\main.js", at + "/app/main.js%00", at + "/web.go", at + "/./app/main.js", "/assets/app/main.js",
	} {
		a := s.ask("GET " + path)
		if a.status != 404 || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" || strings.Contains(a.body, "import") {
			t.Errorf("%s: %d %v %s", path, a.status, a.header, a.body)
		}
	}
}

func TestFavicon(t *testing.T) {
	a := open(t, small()).ask("GET /favicon.ico")
	if a.status != 200 || a.header.Get("Content-Type") != "image/svg+xml" || a.body != "<svg/>" || a.header.Get("Cache-Control") != "public, max-age=86400" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
}
