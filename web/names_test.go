package web

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	imports  = regexp.MustCompile(`(?s)\bimport\s+(?:(\w+)\s*,?\s*)?(?:\{([^}]*)\}|\*\s+as\s+(\w+))?\s*from\s*"([^"]+)"`)
	exported = regexp.MustCompile(`(?m)^export (?:async )?(?:const|let|class|function\*?) (\w+)`)
	listed   = regexp.MustCompile(`(?s)\bexport\s*\{([^}]*)\}`)
)

// named splits the names between the braces of a statement: those of the other
// module, and what they are called in this one.
func named(list string) (theirs, ours []string) {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		theirName, ourName, renamed := strings.Cut(one, " as ")
		if !renamed {
			ourName = theirName
		}
		theirs, ours = append(theirs, theirName), append(ours, strings.TrimSpace(ourName))
	}
	return theirs, ours
}

// idleNames says which names the modules below app import and do not use, or
// export while nobody imports them.
func idleNames(tb testing.TB, files fs.FS) (idle []string) {
	tb.Helper()
	texts := read(tb, files, "app", ".js")
	wanted := map[string]bool{} // "app/lib/a.js name", or "app/lib/a.js *"
	for name, text := range texts {
		text = aside.ReplaceAllString(text, "\n")
		body := imports.ReplaceAllString(text, "")
		for _, m := range imports.FindAllStringSubmatch(text, -1) {
			theirs, ours := named(m[2])
			from := path.Join(path.Dir(name), m[4])
			for _, their := range theirs {
				wanted[from+" "+their] = true
			}
			if m[3] != "" {
				wanted[from+" *"] = true
			}
			for _, our := range slices.Concat(ours, m[1:2], m[3:4]) {
				if our != "" && !regexp.MustCompile(`(?:^|[^\w$.]|\.\.\.)`+regexp.QuoteMeta(our)+`\b`).MatchString(body) {
					idle = append(idle, name+" imports "+our+" and does not use it")
				}
			}
		}
	}
	for name, text := range texts {
		text = aside.ReplaceAllString(text, "\n")
		var names []string
		for _, m := range exported.FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		for _, m := range listed.FindAllStringSubmatch(text, -1) {
			_, ours := named(m[1])
			names = append(names, ours...)
		}
		for _, one := range names {
			if !wanted[name+" "+one] && !wanted[name+" *"] {
				idle = append(idle, name+" exports "+one+", which nobody imports")
			}
		}
	}
	slices.Sort(idle)
	return idle
}

func TestIdleNames(t *testing.T) {
	for _, name := range idleNames(t, Files) {
		t.Error(name)
	}
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	got := idleNames(t, fstest.MapFS{
		"app/main.js":  text("import View, { a, b as c,\n d } from \"./lib/a.js\";\nimport * as all from \"./lib/b.js\";\nView(x.a, [...c]);\nconst e = all.f; // d\n"),
		"app/lib/a.js": text("export const a = 1, z = 2;\nexport async function b() {}\nexport function* d() {}\nexport class E {}\nexport default 1;\nexport { x as y };"),
		"app/lib/b.js": text("export const f = 1;\nexport const g = 2;\n"),
	})
	want := []string{
		"app/lib/a.js exports E, which nobody imports",
		"app/lib/a.js exports y, which nobody imports",
		"app/main.js imports a and does not use it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
