package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
)

// readAll gives the items as text, the fields, and the error.
func readAll(r io.Reader) (items, fields []string, err error) {
	field := func(name, value string) { fields = append(fields, name+"="+value) }
	for item, e := range jsonText(r, "content", field) {
		if e != nil {
			return items, fields, e
		}
		items = append(items, itemText(item))
	}
	return items, fields, nil
}

func itemText(item importer.Item) string {
	switch item := item.(type) {
	case importer.Entry:
		return fmt.Sprintf("%d %s %s", item.Line, item.Username, item.Secret.Reveal())
	case importer.BadLine:
		return fmt.Sprintf("%d bad: %s", item.Line, item.Reason)
	}
	return "?"
}

func TestJSONText(t *testing.T) {
	for body, want := range map[string]string{
		`{"content":"fake-key-1"}`: "[1  fake-key-1] []",
		"\ufeff" + ` { "content" : "user----fake-key-1\r\nfake-key-2\n" , "provider" : "ollama" } `:            "[1 user fake-key-1 2  fake-key-2] [provider=ollama]",
		`{"provider":null,"content":"a\u0062\/\"\\c-key-1"}`:                                                   `[1  ab/"\c-key-1] []`,
		`{"content":"\ud83d\ude00----fake-key-1"}`:                                                             "[1 😀 fake-key-1] []",
		`{"content":"\ud83dx----fake-key-1\n\ud83d\u0041----fake-key-2"}`:                                      "[1 bad: user name has a character that cannot be printed 2 bad: user name has a character that cannot be printed] []",
		`{"content":"fake\tkey"}`:                                                                              "[1 bad: key has a blank inside] []",
		`{"a":[],"b":{},"c":[{"d":[1,-2.5e+3,true]},null,"e"],"content":"fake-key-1","f":{"g":"h","i":false}}`: "[1  fake-key-1] []",
		`{"note":"` + strings.Repeat("x", 300) + `","content":"fake-key-1"}`:                                   "[1  fake-key-1] [note=" + strings.Repeat("x", 257) + "]",
		`{"content":""}`: "[] []",
	} {
		for _, r := range []io.Reader{strings.NewReader(body), iotest.OneByteReader(strings.NewReader(body))} {
			items, fields, err := readAll(r)
			if got := fmt.Sprint(items, fields); err != nil || got != want {
				t.Errorf("%q: %s, %v", body, got, err)
			}
		}
	}
	for body, want := range map[string]string{
		``:                                       "the body is not valid JSON: it ends in the middle",
		`{`:                                      "the body is not valid JSON: it ends in the middle",
		`{"content":"a\`:                         "the body is not valid JSON: it ends in the middle",
		`{"content":"a\u00`:                      "the body is not valid JSON: it ends in the middle",
		`{"content":"a`:                          "the body is not valid JSON: it ends in the middle",
		`{"content":"a\x"}`:                      "the body is not valid JSON at byte 15",
		`{"content":"a\u00zz"}`:                  "the body is not valid JSON at byte 15",
		"{\"content\":\"a\nb\"}":                 "the body is not valid JSON at byte 14",
		`["content"]`:                            "the body is not valid JSON at byte 1",
		`{"content" "a"}`:                        "the body is not valid JSON at byte 12",
		`{"content":"a",}`:                       "the body is not valid JSON at byte 16",
		`{"content":"a" "b":"c"}`:                "the body is not valid JSON at byte 16",
		`{"content":["a"]}`:                      `field "content" must be a string`,
		`{"content":null}`:                       `field "content" must be a string`,
		`{"a":[1,],"content":"a"}`:               "the body is not valid JSON at byte 9",
		`{"a":{"b"},"content":"a"}`:              "the body is not valid JSON at byte 10",
		`{"a":{1:2},"content":"a"}`:              "the body is not valid JSON at byte 7",
		`{"a":tru,"content":"a"}`:                "the body is not valid JSON at byte 8",
		`{"a":[1 2],"content":"a"}`:              "the body is not valid JSON at byte 9",
		`{"a":` + strings.Repeat("[", 40):        "the body is nested too deep at byte 38",
		`{}`:                                     "content is missing",
		`{"provider":"ollama"}`:                  "content is missing",
		`{"content":"a"}{}`:                      "something follows the JSON document",
		`{"content":"a","content":"b"}`:          `field "content" is there twice`,
		`{"` + strings.Repeat("x", 300) + `":1}`: "a name or a text at byte 259 is too long",
	} {
		var e *gateway.Error
		if _, _, err := readAll(strings.NewReader(body)); !errors.As(err, &e) || e.Kind != gateway.KindInvalid || e.Message != want {
			t.Errorf("%q: %v", body, err)
		}
	}
	broken := io.MultiReader(strings.NewReader(`{"content":"fake-key-1\n`), iotest.ErrReader(io.ErrUnexpectedEOF))
	if _, _, err := readAll(broken); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that breaks off: %v", err)
	}
}

// TestJSONTextIsNotHeld reads a long text whose second half is not there before
// the key in the first was found.
func TestJSONTextIsNotHeld(t *testing.T) {
	comments := strings.Repeat(`# a comment of some length, which stands for a cookie\n`, 10_000)
	found := false
	second := readerFunc(func([]byte) (int, error) {
		if !found {
			t.Error("the second half was asked for before the first was read")
		}
		return 0, io.EOF
	})
	in := io.MultiReader(strings.NewReader(`{"content":"fake-key-1\n`+comments), second, strings.NewReader(`"}`))
	for item, err := range jsonText(in, "content", nil) {
		if err != nil {
			t.Fatal(err)
		}
		found = itemText(item) == "1  fake-key-1"
	}
	if !found {
		t.Error("the key was not found")
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// FuzzJSONText compares with encoding/json.
func FuzzJSONText(f *testing.F) {
	for _, seed := range []string{
		`{"content":"user----fake-key-1\r\nfake-key-2\n","provider":"ollama"}`,
		`{"provider":null,"content":"\ud83d\ude00\u0000\"\\\/\b\f\n\r\t"}`,
		`{"content":"\ud83d\ud83d\ude00","content":"x"}`, "\ufeff{ } ", `{"content":7}`, `{"a":[1,{"b":[]}],"content":"x","c":-1.5e3}`, "{\"content\":\"\xff\"}", `{"a":"b"} x`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		items, _, err := readAll(strings.NewReader(body))
		var object map[string]any
		jsonErr := json.Unmarshal([]byte(strings.TrimPrefix(body, "\ufeff")), &object)
		if err == nil && jsonErr != nil {
			t.Fatalf("taken, though it is no JSON: %v", jsonErr)
		}
		if err != nil {
			return
		}
		text, _ := object["content"].(string)
		if strings.Contains(text, "\ufffd") {
			return // encoding/json puts that in place of bytes which are left as they are here
		}
		var want []string
		for item, err := range importer.Lines(strings.NewReader(text), 0) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, itemText(item))
		}
		if fmt.Sprint(items) != fmt.Sprint(want) {
			t.Errorf("got %q\nwant %q", items, want)
		}
	})
}
