package web

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/internal/config"
)

// The settings page tells in Chinese what each setting is for, and of none that
// there is not.
func TestHelpInChinese(t *testing.T) {
	_, report, err := config.Load(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, s := range report.Settings {
		want = append(want, s.Name)
	}
	text := read(t, Files, "app/views/settings", "help.zh.js")["app/views/settings/help.zh.js"]
	for _, m := range regexp.MustCompile(`(?m)^  ([A-Z0-9_]+): "[^"]+。",$`).FindAllStringSubmatch(text, -1) {
		got = append(got, m[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("there is help for\n%s\nand there are\n%s", strings.Join(got, " "), strings.Join(want, " "))
	}
}
