package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"ollama-api-pool/internal/gateway"
)

func TestJSONLists(t *testing.T) {
	entry := func(n int, user, key string) Item {
		return Entry{Line: n, Secret: gateway.Secret(key), Username: user}
	}
	bad := func(n int, why string) Item { return BadLine{Line: n, Reason: why} }
	for _, tc := range []struct {
		name, list string
		want       []Item
	}{
		{"empty", `[]`, nil},
		{"texts", `["key-0001", "alice----key-0002"]`, []Item{entry(1, "", "key-0001"), entry(2, "alice", "key-0002")}},
		{"every form", fmt.Sprintf(`["a@b.example----pw----s----%s","a@b.example----pw----s;aid=1----1----%s","x----y----z"]`, keyA, keyB), []Item{
			entry(1, "a@b.example", keyA), entry(2, "a@b.example", keyB), bad(3, reasonThreeFields),
		}},
		{"blank and comment", `[""," ","# x","key-0004\n"]`, []Item{entry(4, "", "key-0004")}},
		{"escapes", `["\u006bey-0001\r\n","key\u0000-02","key-\ud800-03"]`, []Item{entry(1, "", "key-0001"), bad(2, reasonControl), bad(3, notASCII)}},
		{"not texts", `[1,1e999,true,null,[],["key-0001",{"a":[]}],"key-0007"]`, []Item{
			bad(1, reasonNotText), bad(2, reasonNotText), bad(3, reasonNotText), bad(4, reasonNotText), bad(5, reasonNotText), bad(6, reasonNotText), entry(7, "", "key-0007"),
		}},
		{"accounts", `[{"api_key":"key-0001","username":"alice"},{"email":"a@b.example","apiKey":"key-0002"},{"api_key":" key-0003 ","username":"","email":" N/A "},{"api_key":"key-0004","username":null}]`, []Item{
			entry(1, "alice", "key-0001"), entry(2, "a@b.example", "key-0002"), entry(3, "N/A", "key-0003"), entry(4, "", "key-0004"),
		}},
		{"user name over e-mail", `[{"email":"a@b.example","api_key":"key-0001","username":"alice"}]`, []Item{entry(1, "alice", "key-0001")}},
		{"more than is known", `[{"password":"hunter2","session":{"a":[1,{"b":"c"}]},"api_key":"key-0001","n":1.5}]`, []Item{entry(1, "", "key-0001")}},
		{"a whole line as key", fmt.Sprintf(`[{"api_key":"a@b.example----pw----s----%s"},{"api_key":"a@b.example----pw----s----%s","username":"alice"}]`, keyA, keyA), []Item{
			entry(1, "a@b.example", keyA), entry(2, "alice", keyA),
		}},
		{"no key", `[{},{"username":"alice"},{"api_key":""},{"api_key":null},{"api_key":"# x"}]`, []Item{
			bad(1, reasonNoKey), bad(2, reasonNoKey), bad(3, reasonNoKey), bad(4, reasonNoKey), bad(5, reasonNoKey),
		}},
		{"bad accounts", `[{"api_key":1},{"api_key":"key-0002","username":["x"]},{"api_key":"key-0003","email":5},{"api_key":"short"},{"api_key":"key-0005","username":"a\u0007"},{"api_key":"key-0006","email":"a@b.example:pw"}]`, []Item{
			bad(1, reasonKeyNotText), bad(2, reasonUserNotText), bad(3, reasonUserNotText), bad(4, tooShort), bad(5, reasonUserText), bad(6, reasonUserMore),
		}},
	} {
		for _, doc := range []string{`{"%s":%s}`, "\ufeff\n { \"other\" : {\"%[1]s\":[]}, \"%[1]s\" : %[2]s , \"n\":1 }\n\n"} {
			keys := fmt.Sprintf(doc, "keys", tc.list)
			got, err := collect(JSONKeys(iotest.OneByteReader(strings.NewReader(keys)), nil))
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%s: got %v, %v; want %v", tc.name, got, err, tc.want)
			}
			got, err = collect(JSONAccounts(strings.NewReader(fmt.Sprintf(doc, "accounts", tc.list)), nil))
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("%s as accounts: got %v, %v; want %v", tc.name, got, err, tc.want)
			}
		}
	}
}

func TestJSONOtherFields(t *testing.T) {
	var got []string
	items, err := collect(JSONKeys(strings.NewReader(`{"provider":"openrouter","n":1,"o":{"a":"b"},"keys":["key-0001"],"z":null,"after":"x"}`), func(name, value string) {
		got = append(got, name+"="+value)
	}))
	if want := []string{"provider=openrouter", "z=", "after=x"}; err != nil || len(items) != 1 || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, %v; want %v", items, err, got, want)
	}
}

func TestBrokenJSON(t *testing.T) {
	deep := strings.Repeat("[", 65)
	for doc, want := range map[string]string{
		``:                                 "the JSON document ends too early",
		`{`:                                "the JSON document ends too early",
		`{"keys":["key-0001"`:              "the JSON document ends too early",
		`{"keys":["canary`:                 "the JSON document ends too early",
		`{"keys":[{"api_key":"canary-key"`: "the JSON document ends too early",
		`[]`:                               "expected an object at byte 1",
		`"canary"`:                         "expected an object at byte 8",
		`canary----canary`:                 "not valid JSON at byte 0",
		`{}`:                               `there is no "keys" list`,
		`{"Keys":["key-0001"]}`:            `there is no "keys" list`,
		`{"keys":"canary"}`:                `expected a list under "keys" at byte 16`,
		`{"keys":null}`:                    `expected a list under "keys" at byte 12`,
		`{"keys":[],"keys":["canary-1"]}`:  `"keys" is there twice`,
		`{"keys":[]} canary`:               "not valid JSON at byte 12",
		`{"keys":[]}{}`:                    "something follows the JSON document",
		`{"keys":["a" "canary"]}`:          "not valid JSON at byte 13",
		`{"keys":["canary\q"]}`:            "not valid JSON at byte 9",
		`{"keys":["a",]}`:                  "not valid JSON at byte 13",
		`{"keys":[}`:                       "not valid JSON at byte 9",
		`{"a":` + deep:                     "nested more than 64 deep",
		`{"keys":["key-0001","` + strings.Repeat("canary", MaxLine) + `"]}`: "a text after element 2 is longer than 65536 bytes",
	} {
		_, err := collect(JSONKeys(strings.NewReader(doc), nil))
		var e *gateway.Error
		if !errors.As(err, &e) || e.Kind != gateway.KindInvalid || err.Error() != want {
			t.Errorf("%.60s: error %v, want %q", doc, err, want)
		}
	}
}

func TestManyElements(t *testing.T) {
	const n = 20_000
	var b strings.Builder
	b.WriteString(`{"keys":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"user%d----key-%08d"`, i, i)
	}
	b.WriteString(`]}`)
	items, err := collect(JSONKeys(strings.NewReader(b.String()), nil))
	if err != nil || len(items) != n || items[n-1] != (Entry{Line: n, Username: "user19999", Secret: "key-00019999"}) {
		t.Errorf("%d items, %v", len(items), err)
	}
}
