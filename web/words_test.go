package web

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	entryForm = regexp.MustCompile(`^  ("[a-zA-Z0-9_.-]+"): ("(?:[^"\\]|\\.)+"),$`)
	holes     = regexp.MustCompile(`\{(\w+)(?::[^{}|]*\|[^{}]*)?\}|\]\((\w+)\)`) // {name}, {name:one|many}, [text](name)
	brace     = regexp.MustCompile(`[{}]`)

	asked    = regexp.MustCompile(`\b(?:t|rich|known)\(`)
	literal  = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	compared = regexp.MustCompile(`(?:[=!]==?\s*|\[\s*|\.(?:get|has|includes|startsWith|endsWith)\(\s*)$`)
	pieced   = regexp.MustCompile("`([^`$]*)\\$\\{")
	declared = regexp.MustCompile(`// words: ([^\n]+)`)
)

// dictionary reads the words of one language: one entry a line, in order.
func dictionary(text string) (words map[string]string, faults []string) {
	words = map[string]string{}
	body, begins := strings.CutPrefix(text, "export default {\n")
	body, ends := strings.CutSuffix(body, "};\n")
	if !begins || !ends {
		return nil, []string{`does not begin with "export default {" and end with "};"`}
	}
	last := ""
	for line := range strings.Lines(body) {
		m := entryForm.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			faults = append(faults, "odd line: "+strings.TrimSpace(line))
			continue
		}
		var key, said string
		if json.Unmarshal([]byte(m[1]), &key) != nil || json.Unmarshal([]byte(m[2]), &said) != nil {
			faults = append(faults, "odd text: "+strings.TrimSpace(line))
			continue
		}
		if key <= last {
			faults = append(faults, fmt.Sprintf("%s stands after %s", key, last))
		}
		if brace.MatchString(holes.ReplaceAllString(said, "")) {
			faults = append(faults, key+" has a brace that is no part of a placeholder")
		}
		words[key], last = said, key
	}
	return words, faults
}

// placeholders are the names that a text waits for, each once.
func placeholders(text string) string {
	var names []string
	for _, m := range holes.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1]+m[2])
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}

// wordFaults compares the languages with each other and with what the modules
// ask for.
func wordFaults(tb testing.TB, files fs.FS) (faults []string) {
	tb.Helper()
	note := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	languages := map[string]map[string]string{}
	for name, text := range read(tb, files, "words", ".js") {
		words, wrong := dictionary(text)
		for _, w := range wrong {
			note("%s: %s", name, w)
		}
		languages[name] = words
	}
	en := languages["words/en.js"]
	for name, words := range languages {
		for key, text := range words {
			if _, there := en[key]; !there {
				note("%s is in %s and not in English", key, name)
			} else if got, want := placeholders(text), placeholders(en[key]); got != want {
				note("%s has the placeholders %q in %s, and %q in English", key, got, name, want)
			}
		}
		for key := range en {
			if _, there := words[key]; !there {
				note("%s is not in %s", key, name)
			}
		}
	}
	faults = append(faults, useFaults(en, read(tb, files, "app", ".js"))...)
	slices.Sort(faults)
	return slices.Compact(faults)
}

// useFaults compares the keys with what the modules ask for: with t("key"), with
// texts that are keys, and with what they declare to put together (words: prefix.*).
func useFaults(words map[string]string, modules map[string]string) (faults []string) {
	used := map[string]bool{}
	for name, text := range modules {
		var prefixes []string
		for _, m := range declared.FindAllStringSubmatch(text, -1) {
			for key := range strings.FieldsFuncSeq(m[1], func(r rune) bool { return r == ' ' || r == ',' }) {
				prefix, some := strings.CutSuffix(key, "*")
				hit := false
				for known := range words {
					if known == key || some && strings.HasPrefix(known, prefix) {
						used[known], hit = true, true
					}
				}
				if !hit {
					faults = append(faults, fmt.Sprintf("%s declares %s, which no key is", name, key))
				}
				prefixes = append(prefixes, prefix)
			}
		}
		text = aside.ReplaceAllString(text, "\n")
		for _, m := range literal.FindAllStringSubmatch(text, -1) {
			used[m[1]] = true
		}
		for _, at := range asked.FindAllStringIndex(text, -1) {
			argument := firstArgument(text[at[1]:])
			for _, m := range literal.FindAllStringSubmatchIndex(argument, -1) {
				if key := argument[m[2]:m[3]]; words[key] == "" && !compared.MatchString(argument[:m[0]]) {
					faults = append(faults, fmt.Sprintf("%s asks for %s, which is no key", name, key))
				}
			}
			if m := pieced.FindStringSubmatch(argument); m != nil && !slices.ContainsFunc(prefixes, func(p string) bool { return p != "" && strings.HasPrefix(m[1], p) }) {
				faults = append(faults, fmt.Sprintf("%s puts together a key that begins with %q and does not declare it: // words: %[2]s*", name, m[1]))
			}
		}
	}
	for key := range words {
		if !used[key] {
			faults = append(faults, key+" is used by no module")
		}
	}
	return faults
}

// firstArgument is what stands before the first comma or closing bracket that
// belongs to no inner pair, nor to a text.
func firstArgument(text string) string {
	depth := 0
	var quote byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"', c == '\'', c == '`':
			quote = c
		case strings.IndexByte("([{", c) >= 0:
			depth++
		case strings.IndexByte(")]}", c) >= 0:
			if depth--; depth < 0 {
				return text[:i]
			}
		case c == ',' && depth == 0:
			return text[:i]
		}
	}
	return text
}

func TestWords(t *testing.T) {
	for _, fault := range wordFaults(t, Files) {
		t.Error(fault)
	}
}

func TestWordFaultsAreFound(t *testing.T) {
	lines := func(l ...string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("export default {\n" + strings.Join(l, "\n") + "\n};\n")}
	}
	files := fstest.MapFS{
		"words/en.js": lines(`  "a.b": "{n:key|keys} of {all}",`, `  "a.c": "[here](link)",`, `  "a.d": "d",`, `  "a.e": "e",`, `  "p.one": "1",`, `  "p.two": "2",`),
		"words/zh.js": lines(`  "a.b": "{n} {all}",`, `  "a.d": "丁 {n}",`, `  "a.c": "[x](lin)",`, `  "a.c": "x {",`, `  "a.f": "己",`, `  a.g: "g"`, `  "p.one": "一",`, `  "p.two": "二",`),
		"app/main.js": &fstest.MapFile{Data: []byte("t(\"a.b\", { n, all: t(\"a.x\") });\nrich(kind === \"k\" ? \"a.c\" : \"a.y\");\n// t(\"a.e\")\n" +
			"const titles = [\"a.d\"];\nt(`p.${which}`); // words: p.*\nt(`q.${which}`);\n// words: r.*\n")},
	}
	want := []string{
		`a.c has the placeholders "" in words/zh.js, and "link" in English`,
		`a.d has the placeholders "n" in words/zh.js, and "" in English`,
		"a.e is not in words/zh.js",
		"a.e is used by no module",
		"a.f is in words/zh.js and not in English",
		"app/main.js asks for a.x, which is no key",
		"app/main.js asks for a.y, which is no key",
		"app/main.js declares r.*, which no key is",
		`app/main.js puts together a key that begins with "q." and does not declare it: // words: q.*`,
		"words/zh.js: a.c has a brace that is no part of a placeholder",
		"words/zh.js: a.c stands after a.c",
		"words/zh.js: a.c stands after a.d",
		`words/zh.js: odd line: a.g: "g"`,
	}
	if got := wordFaults(t, files); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Every icon that a module names is in the sprite, once.
func TestIcons(t *testing.T) {
	sprite, err := Files.ReadFile("style/icons.svg")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]int{}
	for _, m := range regexp.MustCompile(`<symbol id="([\w-]+)"`).FindAllStringSubmatch(string(sprite), -1) {
		there[m[1]]++
	}
	for name, n := range there {
		if n > 1 {
			t.Errorf("the icon %s is there %d times", name, n)
		}
	}
	named := regexp.MustCompile(`\$\{Icon\} name="([^"]*)"|\bicon(?:=|: )"([^"]*)"`)
	modules := read(t, Files, "app", ".js")
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		for _, m := range named.FindAllStringSubmatch(modules[name], -1) {
			if there[m[1]+m[2]] == 0 {
				t.Errorf("%s shows the icon %q, which there is not", name, m[1]+m[2])
			}
		}
	}
}
