package web_test

import (
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"ollama-api-pool/internal/controlplane/web"
	sources "ollama-api-pool/web"
)

// A page names all modules that it will need at once, and the dashboard what it
// asks first; nothing else.
func TestWhatIsFetchedAhead(t *testing.T) {
	s := open(t, small())
	at := s.assets()
	var modules []string
	for _, m := range regexp.MustCompile(`<link rel="modulepreload" href="([^"]*)">`).FindAllStringSubmatch(s.ask("GET /").body, -1) {
		modules = append(modules, strings.TrimPrefix(m[1], at+"/"))
	}
	if got, want := strings.Join(modules, " "), "app/lib/a.js vendor/h.js app/lib/b.js app/lib/c.js app/lib/d.js vendor/h2.js"; got != want {
		t.Errorf("modules ahead: %s, want %s", got, want)
	}
	const session = `<link rel="preload" href="/admin/session?optional=true" as="fetch" crossorigin="anonymous">`
	if !strings.Contains(s.ask("GET /dashboard/keys").body, session) || strings.Contains(s.ask("GET /stats").body, "preload") {
		t.Error("what is asked ahead")
	}
}

func TestFilesThatDoNotFit(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for want, spoil := range map[string]func(fstest.MapFS){
		"favicon.svg":     func(f fstest.MapFS) { delete(f, "style/favicon.svg") },
		"stats.html":      func(f fstest.MapFS) { delete(f, "pages/stats.html") },
		"app/stats.js":    func(f fstest.MapFS) { delete(f, "app/stats.js") },
		"{{other}}":       func(f fstest.MapFS) { f["pages/api-docs.html"] = file("<p>{{other}}</p>") },
		"no content type": func(f fstest.MapFS) { f["app/main.wasm"] = file("x") },
	} {
		files := small()
		spoil(files)
		if _, err := web.New(web.Options{Files: files, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := web.New(web.Options{Files: sources.Files, Log: slog.New(slog.DiscardHandler)}); err != nil {
			b.Fatal(err)
		}
	}
}
