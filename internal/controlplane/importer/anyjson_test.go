package importer

import (
	"bufio"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"ollama-api-pool/internal/gateway"
)

func TestJSONOfAnyForm(t *testing.T) {
	want := []Item{Entry{Line: 1, Secret: keyA}, BadLine{Line: 2, Reason: reasonThreeFields}, Entry{Line: 3, Secret: keyB, Username: "b@c.example"}}
	list := `["` + keyA + `","a----b----c",{"email":"b@c.example","password":"canary","api_key":"` + keyB + `"}]`
	for _, doc := range []string{
		list,
		"\ufeff \r\n" + list + "\n",
		`{"keys":` + list + `}`,
		`{"accounts":` + list + `,"provider":"ollama"}`,
		`{"total":3,"more":[1],"api_keys":` + list + `}`,
	} {
		items, err := collect(JSON(strings.NewReader(doc)))
		if err != nil || len(items) != len(want) {
			t.Errorf("%.30s: %v, %v", doc, items, err)
			continue
		}
		for i := range want {
			if items[i] != want[i] {
				t.Errorf("%.30s: item %d is %v, want %v", doc, i, items[i], want[i])
			}
		}
	}
}

func TestBrokenJSONOfAnyForm(t *testing.T) {
	for doc, want := range map[string]string{
		``:                                    "the JSON document ends too early",
		`["key-0001"`:                         "the JSON document ends too early",
		`["key-0001"]["canary-key"]`:          "something follows the JSON document",
		`["key-0001"] canary`:                 "not valid JSON at byte 13",
		`"canary"`:                            "expected a list or an object at byte 8",
		`{}`:                                  `there is no "keys" or "accounts" or "api_keys" list`,
		`{"keys":[],"accounts":["canary-1"]}`: `there are two lists, "keys" and "accounts"`,
		`{"keys":[],"keys":["canary-1"]}`:     `"keys" is there twice`,
		`{"api_keys":{}}`:                     `expected a list under "api_keys" at byte 13`,
	} {
		_, err := collect(JSON(strings.NewReader(doc)))
		var e *gateway.Error
		if !errors.As(err, &e) || e.Kind != gateway.KindInvalid || err.Error() != want {
			t.Errorf("%.60s: error %v, want %q", doc, err, want)
		}
	}
}

func TestIsJSON(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "\ufeff": false, "\xef": false, "\xef\xbb": false, "key-0001": false, " x{": false, "# {\n{": false,
		"{": true, "[": true, "\ufeff[": true, "\r\n\t {\"keys\"": true, "\ufeff\n{": true,
		strings.Repeat(" ", 5000) + "{": false, // beyond the buffer
	} {
		r := bufio.NewReader(iotest.OneByteReader(strings.NewReader(text)))
		got, err := IsJSON(r)
		if got != want || err != nil {
			t.Errorf("%.20q: %v, %v; want %v", text, got, err, want)
		}
		var rest strings.Builder
		if _, err := r.WriteTo(&rest); err != nil || rest.String() != text {
			t.Errorf("%.20q: %.20q is left, %v", text, rest.String(), err)
		}
	}
	broken := errors.New("broken")
	if _, err := IsJSON(bufio.NewReader(iotest.ErrReader(broken))); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}
