package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the generated reference page")

const referencePage = "../../docs/configuration.md"

func TestReferencePage(t *testing.T) {
	want := Reference()
	if *update {
		if err := os.MkdirAll("../../docs", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(referencePage, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what the option table says: run go test ./internal/config -update", referencePage)
	}
}

func TestOptionTable(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range options() {
		if seen[o.name] {
			t.Errorf("%s stands in the table twice", o.name)
		}
		seen[o.name] = true
		if !looksLikeSetting(o.name) {
			t.Errorf("%s is not written like a setting", o.name)
		}
		if o.def != "" && !o.rule.set(&Config{}, o.def) {
			t.Errorf("%s: its default %q is not allowed", o.name, o.def)
		}
		if !strings.HasSuffix(o.help, ".") || o.rule.allowed == "" || o.group == "" {
			t.Errorf("%s lacks a help sentence, what is allowed, or its group", o.name)
		}
		if o.address && !o.secret {
			t.Errorf("%s has a password and is no secret", o.name)
		}
	}
}
