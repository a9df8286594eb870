package web

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// entries are the modules that pages begin with.
var entries = []string{"app/early.js", "app/main.js", "app/stats.js", "app/docs.js"}

var (
	statically  = regexp.MustCompile(`(?:^|[\n;}])\s*(?:import|export)\b\s*(?:[\w$*{},\s]*\bfrom\s*)?["']([^"'\n]+)["']`)
	dynamically = regexp.MustCompile(`\bimport\(\s*([^)]*)\)`)
	aside       = regexp.MustCompile(`(?s)/\*.*?\*/|(?:^|\n)\s*//[^\n]*`) // comments that have lines of their own

	// What no module of ours may do: the policy forbids it, or it lets text in as
	// markup.
	banned = regexp.MustCompile(`\b(?:innerHTML|outerHTML|insertAdjacentHTML|dangerouslySetInnerHTML|createContextualFragment|srcdoc)\b` +
		`|\bdocument\.write|\beval\(|\bnew Function\b|\bjavascript:|\bstyle="|\bsetAttribute\("style"`)
	outside = regexp.MustCompile(`\bhttps?://[^\s"'<>)]*|\bwss?://[^\s"'<>)]*`)
)

// read gives the text of every file below a folder whose name ends in ext.
func read(tb testing.TB, files fs.FS, folder, ext string) map[string]string {
	tb.Helper()
	texts := map[string]string{}
	err := fs.WalkDir(files, folder, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ext) {
			return err
		}
		text, err := fs.ReadFile(files, name)
		texts[name] = string(text)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return texts
}

// moduleFaults says what is wrong with the modules below app: with what they
// import, with what they must not do, and which of them nothing imports.
func moduleFaults(tb testing.TB, files fs.FS) (faults []string) {
	tb.Helper()
	texts := read(tb, files, ".", ".js")
	reached := slices.Clone(entries)
	for i := 0; i < len(reached); i++ {
		text := aside.ReplaceAllString(texts[reached[i]], "\n")
		for _, to := range importsOf(text) {
			target := path.Join(path.Dir(reached[i]), to)
			switch {
			case !strings.HasPrefix(to, "./") && !strings.HasPrefix(to, "../"):
				faults = append(faults, fmt.Sprintf("%s imports %s, which is no relative address", reached[i], to))
			case texts[target] == "":
				faults = append(faults, fmt.Sprintf("%s imports %s, which is not there", reached[i], to))
			case !slices.Contains(reached, target):
				reached = append(reached, target)
			}
		}
	}
	for name, text := range texts {
		if !strings.HasPrefix(name, "app/") {
			continue
		}
		if !slices.Contains(reached, name) {
			faults = append(faults, name+" is imported by nothing")
		}
		text = aside.ReplaceAllString(text, "\n")
		for _, found := range banned.FindAllString(text, -1) {
			faults = append(faults, name+" has "+found)
		}
		for _, found := range outside.FindAllString(text, -1) {
			faults = append(faults, name+" names an address of another site: "+found)
		}
	}
	slices.Sort(faults)
	return faults
}

// importsOf lists what a module imports, at once or later. What import() is
// given has to be a text.
func importsOf(text string) (to []string) {
	for _, m := range statically.FindAllStringSubmatch(text, -1) {
		to = append(to, m[1])
	}
	for _, m := range dynamically.FindAllStringSubmatch(text, -1) {
		to = append(to, strings.Trim(strings.TrimSpace(m[1]), `"'`))
	}
	return to
}

func TestModules(t *testing.T) {
	for _, fault := range moduleFaults(t, Files) {
		t.Error(fault)
	}
}

func TestModulesFaultsAreFound(t *testing.T) {
	text := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	files := fstest.MapFS{
		"app/early.js": text(`document.documentElement.dataset.theme = "dark";`),
		"app/main.js": text("// import \"./never.js\"; innerHTML\nimport {\n  a,\n} from \"./lib/a.js\";\nimport \"preact\";\n" +
			"const later = () => import(\"../words/en.js\"), never = () => import(\"./gone.js\");\n"),
		"app/lib/a.js": text("export * from \"../../vendor/v.js\";\nexport { b } from './b.js';\nel.innerHTML = `<p style=\"x\">`;\n"),
		"app/stats.js": text("const u = \"https://cdn.example/x.js\"; /* http://a.example */ import(name);\n"),
		"app/docs.js":  text("eval(x);"),
		"app/alone.js": text("export default 1;"),
		"vendor/v.js":  text("export const a=1;"),
		"words/en.js":  text("export default {};"),
	}
	want := []string{
		"app/alone.js is imported by nothing",
		"app/docs.js has eval(",
		"app/lib/a.js has innerHTML",
		"app/lib/a.js has style=\"",
		"app/lib/a.js imports ./b.js, which is not there",
		"app/main.js imports ./gone.js, which is not there",
		"app/main.js imports preact, which is no relative address",
		"app/stats.js imports name, which is no relative address",
		"app/stats.js names an address of another site: https://cdn.example/x.js",
	}
	if got := moduleFaults(t, files); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

var (
	tag       = regexp.MustCompile(`<(\w+)([^>]*)>([^<]*)`)
	attribute = regexp.MustCompile(`([\w-]+)="([^"]*)"`)
)

// shellFaults says what a page must not have in it.
func shellFaults(text string) (faults []string) {
	for _, m := range tag.FindAllStringSubmatch(text, -1) {
		attributes := map[string]string{}
		for _, a := range attribute.FindAllStringSubmatch(m[2], -1) {
			attributes[a[1]] = a[2]
			if a[1] == "style" || strings.HasPrefix(a[1], "on") {
				faults = append(faults, "<"+m[1]+"> has "+a[1])
			}
			if (a[1] == "src" || a[1] == "href") && !strings.HasPrefix(a[2], "{{assets}}/") {
				faults = append(faults, "<"+m[1]+"> loads "+a[2])
			}
		}
		if m[1] == "style" || m[1] == "script" && (attributes["src"] == "" || strings.TrimSpace(m[3]) != "") {
			faults = append(faults, "<"+m[1]+"> stands in the page")
		}
	}
	return faults
}

func TestShells(t *testing.T) {
	shells := read(t, Files, "pages", ".html")
	if len(shells) != 3 {
		t.Errorf("%d pages", len(shells))
	}
	for name, text := range shells {
		for _, fault := range shellFaults(text) {
			t.Errorf("%s: %s", name, fault)
		}
		for _, m := range regexp.MustCompile(`\{\{assets\}\}/([^"]+)`).FindAllStringSubmatch(text, -1) {
			if _, err := fs.Stat(Files, m[1]); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for text, want := range map[string]string{
		`<script src="{{assets}}/app/x.js"></script>`:        "",
		`<script src="{{assets}}/app/x.js">go()</script>`:    "<script> stands in the page",
		`<script type="module">go()</script>`:                "<script> stands in the page",
		`<style>p{}</style>`:                                 "<style> stands in the page",
		`<p style="color:red">`:                              "<p> has style",
		`<body onload="go()">`:                               "<body> has onload",
		`<link rel="stylesheet" href="//cdn.example/x.css">`: "<link> loads //cdn.example/x.css",
	} {
		if got := strings.Join(shellFaults(text), "; "); got != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// Styles and drawings load nothing from elsewhere either.
func TestStyles(t *testing.T) {
	for _, ext := range []string{".css", ".svg"} {
		for name, text := range read(t, Files, "style", ext) {
			text = strings.ReplaceAll(text, `xmlns="http://www.w3.org/2000/svg"`, "")
			if found := outside.FindString(text); found != "" {
				t.Errorf("%s names %s", name, found)
			}
			if strings.Contains(text, "@import") || strings.Contains(text, "<script") {
				t.Errorf("%s loads or runs something", name)
			}
		}
	}
}
