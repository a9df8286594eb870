package importer

import (
	"fmt"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

const (
	keyA = "0123456789abcdef0123456789abcdef.Abc_def-GHI_jkl-mno_PQR-" // as Ollama's keys look
	keyB = "sk-or-v1-00000000000000000000000000000000000000000000000"  // as OpenRouter's keys look
)

// tooShort, notASCII and blank are what the vocabulary says of such keys.
var (
	tooShort = gateway.CheckKey("x")
	notASCII = gateway.CheckKey("eight-ch\x7f")
	blank    = gateway.CheckKey("eight ch")
)

func TestParseLine(t *testing.T) {
	for _, tc := range []struct {
		name, line     string
		user, key, why string // key "" and why "": the line is skipped
	}{
		{"blank", "", "", "", ""},
		{"blanks", " \t\u00a0\ufeff\u200b\r\n", "", "", ""},
		{"comment", "# a----b----c----" + keyA, "", "", ""},
		{"comment after blanks", "  #x\x00", "", "", ""},

		{"bare", keyA, "", keyA, ""},
		{"bare with blanks", "\ufeff \t" + keyB + " \r", "", keyB, ""},
		{"bare, shortest", "12345678", "", "12345678", ""},
		{"bare, longest", strings.Repeat("k", 512), "", strings.Repeat("k", 512), ""},
		{"bare, any printable character", "!k$%&/()=?*+~|^<>;,.", "", "!k$%&/()=?*+~|^<>;,.", ""},
		{"bare with colon", "user:key-1234", "", "user:key-1234", ""},
		{"bare with short runs of dashes", "a--b---c-defgh", "", "a--b---c-defgh", ""},
		{"bare, dash in front", "-abcdefgh", "", "-abcdefgh", ""},
		{"bare, short", "1234567", "", "", tooShort},
		{"bare, long", strings.Repeat("k", 513), "", "", gateway.CheckKey(strings.Repeat("k", 513))},
		{"bare with a blank inside", "12345678 90", "", "", blank},
		{"bare, not ASCII", "12345678é", "", "", notASCII},
		{"other dashes", "a@b.example————" + keyA, "", "", notASCII},

		{"user and key", "alice----" + keyA, "alice", keyA, ""},
		{"user and short key", "alice----12345678", "alice", "12345678", ""},
		{"e-mail and key", "a@b.example----" + keyA, "a@b.example", keyA, ""},
		{"e-mail and 20 characters", "a@b.example----abcdefghij0123456789", "a@b.example", "abcdefghij0123456789", ""},
		{"e-mail and 19 characters", "a@b.example----abcdefghij012345678", "", "", reasonUnsure},
		{"e-mail and odd characters", "a@b.example----abcdefghij0123456789!", "", "", reasonUnsure},
		{"e-mail without a dot and a password", "root@localhost----hunter2hunter2", "", "", reasonUnsure},
		{"no e-mail: any key", "@alice----hunter2!hunter2", "@alice", "hunter2!hunter2", ""},
		{"N/A", "N/A----" + keyB, "N/A", keyB, ""},
		{"no user", "----" + keyA, "", keyA, ""},
		{"blanks around fields", "  alice\t---- " + keyA + "  ", "alice", keyA, ""},
		{"user with blanks", "Alice B. ---- " + keyA, "Alice B.", keyA, ""},
		{"user in letters of the world", "爱丽丝----" + keyA, "爱丽丝", keyA, ""},
		{"five dashes", "alice-----" + keyA, "alice", keyA, ""},
		{"seven dashes after an e-mail", "a@b.example-------" + keyA, "a@b.example", keyA, ""},
		{"no key", "alice----", "", "", reasonNoKey},
		{"no key, blanks", "alice---- ", "", "", reasonNoKey},
		{"short key", "alice----1234567", "", "", tooShort},
		{"dashes only", "--------------------", "", "", reasonNoKey},

		{"three fields", "a@b.example----hunter2----" + keyA, "", "", reasonThreeFields},
		{"three, one empty", "a@b.example--------" + keyA, "", "", reasonThreeFields},
		{"three, the last empty", "alice----" + keyA + "----", "", "", reasonNoKey},

		{"four fields", "a@b.example----hunter2----SESSION.cookie/+==----" + keyA, "a@b.example", keyA, ""},
		{"four, short key", "a@b.example----hunter2----SESSION----12345678", "a@b.example", "12345678", ""},
		{"four, two empty", "a@b.example------------" + keyA, "a@b.example", keyA, ""},
		{"four, password begins with a dash", "a@b.example-----hunter2----SESSION----" + keyA, "a@b.example", keyA, ""},
		{"four, session ends with a dash", "a@b.example----hunter2----SESSION-----" + keyA, "a@b.example", keyA, ""},
		{"four, session ends with three dashes", "a@b.example----hunter2----SESSION-------" + keyB, "a@b.example", keyB, ""},
		{"four, no user", "----hunter2----SESSION----" + keyA, "", keyA, ""},
		{"four, no key", "a@b.example----hunter2----SESSION----", "", "", reasonNoKey},
		{"four, aid in the session", "a@b.example----hunter2----SESSION;aid=ac-1----" + keyA, "a@b.example", keyA, ""},
		{"four, aid in place of the key", "a@b.example----hunter2----SESSION;aid=account-0001;x=y----account-0001", "", "", reasonOnlyAid},

		{"five fields", "a@b.example----hunter2----SESSION;aid=account-0001----account-0001----" + keyA, "a@b.example", keyA, ""},
		{"five, short key", "a@b.example----hunter2----SESSION;aid=account-0001----account-0001----12345678", "a@b.example", "12345678", ""},
		{"five, no key", "a@b.example----hunter2----SESSION;aid=account-0001----account-0001----", "", "", reasonNoKey},
		{"five, dashes in the password", "a@b.example----hun----ter2----SESSION----" + keyA, "a@b.example", keyA, ""},
		{"five, no aid, no key at the end", "a@b.example----hun----ter2----SESSION----12345678!", "", "", reasonManyFields},
		{"six, dashes in the password", "a@b.example----hun----ter2----SESSION;aid=a----a----" + keyA, "a@b.example", keyA, ""},
		{"six, no key at the end", "a@b.example----h----SESSION;aid=a----a----b----hunter2hunter2", "", "", reasonManyFields},

		{"JSON object", `{"api_key":"` + keyA + `"}`, "", "", reasonJSON},
		{"JSON list", `["` + keyA + `","` + keyB + `"]`, "", "", reasonJSON},
		{"JSON list of objects", `[{"api_key":"x"}]`, "", "", reasonJSON},
		{"JSON member", `"api_key":"` + keyA + `",`, "", "", reasonJSON},
		{"JSON element", `"` + keyA + `",`, "", "", reasonQuotes},
		{"quotes", `'` + keyA + `'`, "", "", reasonQuotes},
		{"quotes in a field", "alice----`" + keyA + "`", "", "", reasonQuotes},
		{"web address", "https://shop.example/keys", "", "", reasonWebAddress},
		{"e-mail alone", "alice@mail.example", "", "", reasonEmail},
		{"e-mail with password", "alice@mail.example:hunter2", "", "", reasonEmail},
		{"e-mail with password, bar", "alice@mail.example|hunter2|x", "", "", reasonEmail},
		{"e-mail at the end", "alice----hunter2----SESSION----alice@mail.example", "", "", reasonEmail},
		{"at sign in a key", "abc@def.gh!i", "", "abc@def.gh!i", ""},
		{"at sign without domain", "abcdefgh@", "", "abcdefgh@", ""},

		{"NUL", "alice----" + keyA + "\x00", "", "", reasonControl},
		{"control in a password", "a@b.example----hunter\x1b2----SESSION----" + keyA, "", "", reasonControl},
		{"tab in a password", "a@b.example----hunter\t2----SESSION----" + keyA, "a@b.example", keyA, ""},
		{"two lines in one", keyA + "\n" + keyB, "", "", reasonControl},
		{"not UTF-8", "al\xe9ce----" + keyA, "", "", reasonNotUTF8},
		{"direction mark in the user name", "al\u202eice----" + keyA, "", "", reasonUserText},
		{"replacement character in the user name", "al\ufffdce----" + keyA, "", "", reasonUserText},
		{"long user name", strings.Repeat("é", 320) + "----" + keyA, strings.Repeat("é", 320), keyA, ""},
		{"too long a user name", strings.Repeat("é", 321) + "----" + keyA, "", "", reasonUserLong},
		{"password behind the e-mail address", "a@b.example:hunter2----" + keyA, "", "", reasonUserMore},
		{"password behind the e-mail address, blank", "a@b.example hunter2----" + keyA, "", "", reasonUserMore},
	} {
		e, why, skip := ParseLine(tc.line)
		if e.Username != tc.user || e.Secret.Reveal() != tc.key || why != tc.why || skip != (tc.key == "" && tc.why == "") {
			t.Errorf("%s: got user %q, key %q, reason %q, skip %v", tc.name, e.Username, e.Secret.Reveal(), why, skip)
		}
		first, _, _ := strings.Cut(tc.name, " ")
		if want := map[string]int{"bare": 1, "bare,": 1, "e-mail": 2, "four": 4, "four,": 4, "five,": 5}[first]; e.Secret != "" && want != 0 && e.Fields != want {
			t.Errorf("%s: %d fields", tc.name, e.Fields)
		}
		if e.Line != 0 {
			t.Errorf("%s: line %d", tc.name, e.Line)
		}
	}
}

// TestPasswordsAndCookiesStayInside looks for them in everything that comes
// out, printed in every way.
func TestPasswordsAndCookiesStayInside(t *testing.T) {
	const pw, cookie = "canary-password", "CANARY-cookie"
	lines := []string{
		"a@b.example----" + pw + "----" + cookie + "----" + keyA,
		"a@b.example----" + pw + "----" + cookie + ";aid=1----1----" + keyA,
		"a@b.example----" + pw + "----" + cookie + "----",
		"a@b.example----" + pw,
		"a@b.example----" + pw + "----" + cookie,
		"a@b.example:" + pw,
		"a@b.example:" + pw + "----" + keyA,
		"a@b.example----" + pw + "----" + cookie + "----bad key",
		"a@b.example-----" + pw + "-----" + cookie + "-----" + keyA,
		"a----" + pw + "----" + cookie + "----x----y----z",
		pw + "\x00" + cookie,
		cookie + "\xff",
		`{"password":"` + pw + `"}`,
		strings.Repeat(cookie, MaxLine),
	}
	check := func(where string, items []Item, err error) {
		t.Helper()
		out := fmt.Sprintf("%v %+v %#v %q %v", items, items, items, items, err)
		for _, item := range items {
			if e, ok := item.(Entry); ok {
				out += e.Secret.Reveal() + e.Username
				if e.Secret.Reveal() != keyA || e.Username != "a@b.example" {
					t.Errorf("%s: found %q of %q", where, e.Secret.Reveal(), e.Username)
				}
			}
		}
		if strings.Contains(out, pw) || strings.Contains(out, cookie) || strings.Contains(fmt.Sprintf("%v %+v %#v", items, items, items), keyA) {
			t.Errorf("%s: shows a secret: %s", where, out)
		}
	}
	for _, line := range lines {
		items, err := collect(Lines(strings.NewReader(line+"\n"), 0))
		check("line "+line[:min(len(line), 40)], items, err)
		for _, doc := range []string{
			fmt.Sprintf(`{"keys":[%s]}`, quoted(line)),
			fmt.Sprintf(`{"accounts":[{"api_key":%s,"password":%q,"session":%q}]}`, quoted(line), pw, cookie),
			fmt.Sprintf(`{"accounts":[{"password":%q,"api_key":%q,"email":"a@b.example"}],%q: ]}`, pw, keyA, cookie),
			fmt.Sprintf(`{"accounts":[], "password":%q, %s`, pw, cookie),
		} {
			name := "keys"
			if strings.Contains(doc, "accounts") {
				name = "accounts"
			}
			items, err := collect(jsonList(strings.NewReader(doc), name, nil))
			check(doc[:min(len(doc), 60)], items, err)
		}
	}
}
