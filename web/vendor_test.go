package web

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

const tests = "../e2e/browser/testdata" // where axe-core is

// sums reads what sha256sum wrote: file to sum.
func sums(t *testing.T, text []byte, err error) map[string]string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	of := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok || of[name] != "" {
			t.Fatalf("odd line %q", line)
		}
		of[name] = sum
	}
	return of
}

func sum(body []byte) string {
	s := sha256.Sum256(body)
	return hex.EncodeToString(s[:])
}

// What is vendored is what scripts/vendor-web put there, and nothing else is.
func TestVendoredFiles(t *testing.T) {
	text, err := Files.ReadFile("vendor/SHA256SUMS")
	want := sums(t, text, err)
	err = fs.WalkDir(Files, "vendor", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || name == "vendor/SHA256SUMS" || name == "vendor/versions.txt" {
			return err
		}
		body, err := Files.ReadFile(name)
		short := strings.TrimPrefix(name, "vendor/")
		if got := sum(body); err == nil && got != want[short] {
			t.Errorf("%s has the sum %s, and not %q", name, got, want[short])
		}
		delete(want, short)
		if _, err := fs.Stat(Files, path.Dir(name)+"/LICENSE"); err != nil {
			t.Errorf("%s has no licence beside it: %v", name, err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

func TestAxe(t *testing.T) {
	text, err := os.ReadFile(tests + "/axe.SHA256SUMS")
	want := sums(t, text, err)
	for _, name := range []string{"axe.min.js", "axe.LICENSE", "axe.LICENSE-3RD-PARTY"} {
		body, err := os.ReadFile(tests + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if got := sum(body); got != want[name] {
			t.Errorf("%s has the sum %s, and not %q", name, got, want[name])
		}
	}
}

// The list of what is vendored is whole, and every version is an exact one.
func TestVersions(t *testing.T) {
	text, err := Files.ReadFile("vendor/versions.txt")
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]string{ // package to the licence in the tree
		"preact": "vendor/preact/LICENSE", "@preact/signals": "vendor/signals/LICENSE", "@preact/signals-core": "vendor/signals/LICENSE",
		"htm": "vendor/htm/LICENSE", "uplot": "vendor/uplot/LICENSE", "@tabler/icons": "style/icons.LICENSE", "axe-core": tests + "/axe.LICENSE",
	}
	begins := map[string]string{"MIT": "MIT", "Apache-2.0": "Apache License", "MPL-2.0": "Mozilla Public License"}
	form := regexp.MustCompile(`^(\S+) +\d+\.\d+\.\d+ +(\S+) +sha512-[A-Za-z0-9+/]{86}==$`)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := form.FindStringSubmatch(line)
		if m == nil || places[m[1]] == "" {
			t.Errorf("odd line %q", line)
			continue
		}
		licence, err := fs.ReadFile(Files, places[m[1]])
		if m[1] == "axe-core" {
			licence, err = os.ReadFile(places[m[1]])
		}
		if head := string(licence[:min(400, len(licence))]); err != nil || !strings.Contains(head, begins[m[2]]) && !strings.Contains(head, "Permission is hereby granted") {
			t.Errorf("%s is said to be under %s: %v %q", m[1], m[2], err, head)
		}
		delete(places, m[1])
	}
	for name := range places {
		t.Errorf("%s is not in versions.txt", name)
	}
}
