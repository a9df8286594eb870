package web

import (
	"fmt"
	"html"
	"io/fs"
	"regexp"
	"strings"
)

// views are the pages of the dashboard below /dashboard/.
var views = []string{"keys", "import", "tokens", "playground", "requests", "analytics", "settings"}

// sessionAt is what the dashboard asks first.
const sessionAt = "/admin/session?optional=true"

// readShells fills in the pages and gives them their addresses.
func (p *Pages) readShells(o Options) error {
	dashboard, err := p.shell(o, "dashboard.html", `<link rel="preload" href="`+sessionAt+`" as="fetch" crossorigin="anonymous">`)
	if err != nil {
		return err
	}
	stats, err := p.shell(o, "stats.html")
	if err != nil {
		return err
	}
	docs, err := p.shell(o, "api-docs.html")
	if err != nil {
		return err
	}
	p.lost = dashboard
	p.shells = map[string]*file{"/": dashboard, "/dashboard": dashboard, "/stats": stats, "/api-docs": docs}
	for _, view := range views {
		p.shells["/dashboard/"+view] = dashboard
	}
	return nil
}

// entryOf finds the module that a page begins with.
var entryOf = regexp.MustCompile(`<script type="module" src="\{\{assets\}\}/([^"]+)">`)

// shell fills in one page: the place of what it loads, the program's version,
// and what a browser should fetch before it is told to by a module.
func (p *Pages) shell(o Options, name string, ahead ...string) (*file, error) {
	text, err := fs.ReadFile(o.Files, "pages/"+name)
	if err != nil {
		return nil, err
	}
	prefix := assetsAt + p.hash
	if m := entryOf.FindSubmatch(text); m != nil {
		if p.assets[string(m[1])] == nil {
			return nil, fmt.Errorf("%s begins with %s: %w", name, m[1], fs.ErrNotExist)
		}
		for _, module := range graph(p.assets, string(m[1])) {
			ahead = append(ahead, `<link rel="modulepreload" href="`+prefix+"/"+module+`">`)
		}
	}
	filled := strings.NewReplacer(
		"{{assets}}", prefix,
		"{{version}}", html.EscapeString(o.Version),
		"{{preload}}", strings.Join(ahead, "\n"),
	).Replace(string(text))
	if _, rest, left := strings.Cut(filled, "{{"); left {
		return nil, fmt.Errorf("%s: nothing is known to stand for {{%.20s", name, rest)
	}
	return newFile("text/html; charset=utf-8", []byte(filled)), nil
}
