package cli

import (
	"fmt"
	"strings"
	"testing"
)

func TestTokenLimitsEverywhere(t *testing.T) {
	everyPlace(t, func(t *testing.T, p place) {
		made := fromJSON[createdTokenJSON](t, p.ok(t, "", "tokens", "create", "guest", "--models", "gpt-oss*, kimi*", "--rpm", "20", "--requests-per-day", "100",
			"--tokens-per-day", "500000", "--concurrent", "3", "--networks", "192.0.2.0/24,2001:db8::1", "--json").out)
		want := limits{[]string{"gpt-oss*", "kimi*"}, 20, 100, 500000, 3, []string{"192.0.2.0/24", "2001:db8::1"}}
		if made.Limits == nil || fmt.Sprint(*made.Limits) != fmt.Sprint(want) {
			t.Errorf("%+v", made.Limits)
		}
		wantAll(t, p.ok(t, "", "tokens", "list").out, "gpt-oss*,kimi*; 20 requests/min; 100 requests/day; 500000 to…")
		says := func(words string, args ...string) {
			t.Helper()
			r := p.ok(t, "", append([]string{"tokens", "limit", made.ID}, args...)...)
			wantText(t, strings.Join(args, " "), r.out, "Token "+made.ID+", "+words+".\n")
			wantNone(t, r.out+r.err, made.Token)
		}
		says(`"guest": gpt-oss*,kimi*; 60 requests/min; 100 requests/day; 500000 tokens/day; 3 at once; from 192.0.2.0/24,2001:db8::1`, "--rpm", "60")
		says(`"guest": kimi*; 60 requests/min; 500000 tokens/day; 3 at once`, "--models", "kimi*", "--networks", "", "--requests-per-day", "0")
		says(`"friend": 5 at once`, "--clear", "--concurrent", "5", "--name", "friend", "--expires", "30d", "--provider", "openrouter")
		rows := fromJSON[listedTokensJSON](t, p.ok(t, "", "tokens", "list", "--json").out)
		if len(rows.Tokens) != 1 || rows.Tokens[0].ExpiresAt == nil || len(rows.Tokens[0].Providers) != 1 {
			t.Errorf("%+v", rows)
		}
		row := fromJSON[tokenRow](t, p.ok(t, "", "tokens", "limit", made.Token, "--clear", "--expires", "never", "--json").out)
		if row.Limits != nil || row.ExpiresAt != nil || row.Name != "friend" {
			t.Errorf("%+v", row)
		}
		says(`"friend": no limits`, "--clear")

		p.fails(t, exitPart, "no such token", "", "tokens", "limit", "0000000000000000", "--clear")
		for _, c := range [][2]string{
			{"", "say what is to change"},
			{"--rpm -1", "must not be below 0"},
			{"--networks here", `"here" is neither an address`},
			{"--expires soon", "or never, not"},
			{"--expires=", "or never, not"},
			{"--name=", "is empty"},
			{"--provider mistral", "unknown provider"},
			{"--provider=", "unknown provider"},
		} {
			p.fails(t, exitUsage, c[1], "", append([]string{"tokens", "limit", made.ID}, strings.Fields(c[0])...)...)
		}
		p.fails(t, exitFailed, "limits.requestsPerMinute must be between 0 (none) and", "", "tokens", "limit", made.ID, "--rpm", "99999999")
	})
}
