package gateway

import (
	"strings"
	"testing"
)

func TestStrikeTokens(t *testing.T) {
	token := "sk-" + strings.Repeat("aB3d", 12)
	for text, want := range map[string]string{
		"":                                       "",
		"gpt-oss:120b":                           "gpt-oss:120b",
		"disk-usage-of-a-long-name-v12":          "disk-usage-of-a-long-name-v12",
		"sk-short":                               "sk-short",
		"sk-" + strings.Repeat("x", 23):          "sk-" + strings.Repeat("x", 23),
		token:                                    "***",
		"gpt-" + token + ":20b":                  "gpt-***:20b",
		"agent/1 (" + token + ") " + token + "x": "agent/1 (***) ***",
		"sk-or-v1-" + strings.Repeat("0f", 32):   "***",
		"sk-sk-" + token[3:] + "/sk-":            "***/sk-",
		"vendor@sha256:" + token[3:]:             "vendor@sha256:" + token[3:],
	} {
		if got := StrikeTokens(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { StrikeTokens("disk-usage-of-a-long-name") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzStrikeTokens(f *testing.F) {
	f.Add("gpt-", "0123456789abcdef01234567", ":20b")
	f.Add("sk-", "sk-0123456789abcdef01234567", "sk-")
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		got := StrikeTokens(before + "sk-" + secret + after)
		if again := StrikeTokens(got); again != got {
			t.Errorf("%q became %q", got, again)
		}
		if end, whole := wordFrom(secret, 0); whole && end == len(secret) && strings.Contains(got, "sk-"+secret) && !strings.Contains(before+after, secret) {
			t.Errorf("%q is left in %q", secret, got)
		}
	})
}
