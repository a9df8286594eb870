package importer

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"ollama-api-pool/internal/gateway"
)

// reasons are all reasons there are. What is one of them repeats no line.
var reasons = []string{
	reasonNoKey, reasonNotUTF8, reasonControl, reasonThreeFields, reasonUnsure, reasonOnlyAid, reasonManyFields, reasonJSON, reasonQuotes,
	reasonWebAddress, reasonEmail, reasonUserLong, reasonUserText, reasonUserMore, reasonNotText, reasonKeyNotText, reasonUserNotText,
	gateway.CheckKey("x"), gateway.CheckKey("eight ch"), gateway.CheckKey("eight-ch\x7f"), gateway.CheckKey(strings.Repeat("x", 999)),
}

// checkEntry is what must be true of every key that is found.
func checkEntry(t *testing.T, key, user string) {
	t.Helper()
	if gateway.CheckKey(key) != "" || strings.Contains(key, separator) {
		t.Fatalf("key %q", key)
	}
	if !utf8.ValidString(user) || utf8.RuneCountInString(user) > maxUsername || strings.ContainsFunc(user, unicode.IsControl) || user != trim(user) {
		t.Fatalf("user name %q", user)
	}
}

func seeds() []string {
	return []string{
		"", " ", "# x", keyA, "alice----" + keyA, "a@b.example----hunter2", "a@b.example----pw----" + keyA,
		"a@b.example----pw----SESSION----" + keyA, "a@b.example----pw----SESSION;aid=1----1----" + keyB,
		"a@b.example-----pw-----s-------" + keyA, "--------", "N/A----" + keyA, `{"keys":["x"]}`, `"` + keyA + `",`,
		"\ufeff" + keyA + "\r\n" + keyB + "\r\r\n", "\xff\xfek\x00", "k\x00e\x00y\x00", "al\xe9----" + keyA, strings.Repeat("x", 300) + "\n" + keyB,
	}
}

func FuzzParseLine(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, reason, skip := ParseLine(line)
		switch {
		case skip:
			if trimmed := trim(line); reason != "" || e != (Entry{}) || trimmed != "" && trimmed[0] != '#' {
				t.Fatalf("%q skipped", line)
			}
		case reason != "":
			if e != (Entry{}) || !slices.Contains(reasons, reason) {
				t.Fatalf("reason %q, entry %v", reason, e)
			}
		default:
			checkEntry(t, e.Secret.Reveal(), e.Username)
			if !strings.HasSuffix(trim(line), e.Secret.Reveal()) || !strings.HasPrefix(trim(line), e.Username) {
				t.Fatalf("%q: the key %q is not the last, or the user name %q not the first", line, e.Secret.Reveal(), e.Username)
			}
		}
	})
}

// FuzzDropped puts fields between user name and key and expects that only
// those two come out.
func FuzzDropped(f *testing.F) {
	f.Add("hunter2", "SESSION")
	f.Add("--", "x;aid=1----1")
	f.Add("a----b", "c-----")
	f.Fuzz(func(t *testing.T, password, session string) {
		e, reason, skip := ParseLine("a@b.example----" + password + "----" + session + "----" + keyA)
		if skip || reason == "" && (e.Username != "a@b.example" || e.Secret.Reveal() != keyA) {
			t.Fatalf("user name %q, key %q, skipped %v", e.Username, e.Secret.Reveal(), skip)
		}
	})
}

func FuzzLines(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s, 0)
		f.Add(s+"\n"+s+"\r"+s, 40)
	}
	f.Fuzz(func(t *testing.T, text string, bound int) {
		checkItems(t, Lines(strings.NewReader(text), bound), strings.Count(text, "\n")+strings.Count(text, "\r")+1)
	})
}

func FuzzJSON(f *testing.F) {
	for _, s := range seeds() {
		f.Add(fmt.Sprintf(`{"keys":[%s,{"api_key":%s,"username":"x"}],"provider":"ollama"}`, quoted(s), quoted(s)))
	}
	f.Add(`{"accounts":[[[{"a":1}]],null,{"email":"x","apiKey":"key-0001"}]}`)
	f.Add(`{"keys":[}`)
	f.Add(`["key-0001",{"api_key":"key-0002"},[]]`)
	f.Fuzz(func(t *testing.T, text string) {
		checkItems(t, JSONKeys(strings.NewReader(text), nil), len(text))
		checkItems(t, JSONAccounts(strings.NewReader(text), func(string, string) {}), len(text))
		checkItems(t, JSON(strings.NewReader(text)), len(text))
	})
}

// checkItems reads a sequence: lines rise up to most, and items are sound.
func checkItems(t *testing.T, seq iter.Seq2[Item, error], most int) {
	t.Helper()
	items, err := collect(seq)
	if err != nil && strings.HasPrefix(err.Error(), "goes on") {
		t.Fatal(err)
	}
	last := 0
	for _, item := range items {
		line := 0
		switch it := item.(type) {
		case Entry:
			line = it.Line
			checkEntry(t, it.Secret.Reveal(), it.Username)
		case BadLine:
			line = it.Line
			if !slices.Contains(reasons, it.Reason) && !strings.HasPrefix(it.Reason, "longer than ") {
				t.Fatalf("reason %q", it.Reason)
			}
		}
		if line <= last || line > most {
			t.Fatalf("line %d after %d of %d", line, last, most)
		}
		last = line
	}
}
