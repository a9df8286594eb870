package forward

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestModelName(t *testing.T) {
	long := strings.Repeat("m", 300)
	for body, want := range map[string]string{
		``:                                      "",
		`{}`:                                    "",
		` [] `:                                  "",
		`"model"`:                               "",
		`null`:                                  "",
		`{"model":"a"}`:                         "a",
		" \t\r\n{ \"model\" : \"a\" , \"b\":1}": "a",
		`{"model":""}`:                          "",
		`{"name":"old"}`:                        "old",
		`{"name":"old","model":"new"}`:          "new",
		`{"model":"new","name":"old"}`:          "new",
		`{"model":7,"name":"old"}`:              "old",
		`{"model":null}`:                        "",
		`{"model":["a"]}`:                       "",
		`{"messages":[{"model":"inner"}],"model":"outer"}`:                    "outer",
		`{"messages":[{"content":"\"model\":\"said\""}],"model":"outer"}`:     "outer",
		`{"a":{"b":[1,{"c":"}]"}]},"x":-1.5e3,"t":true,"n":null,"model":"m"}`: "m",
		`{"a":"\\","model":"m"}`:                        "m",
		`{"a":"\\\"","model":"m"}`:                      "m",
		`{"a":"x\"}","model":"m"}`:                      "m",
		`{"model":"org\/kimi-k2:1t"}`:                   "org/kimi-k2:1t",
		`{"model":"\u00e9\ud83d\ude00"}`:                "é😀",
		`{"model":"größe"}`:                             "größe",
		`{"model":"a\u0000b\n\u007fc"}`:                 "abc",
		"{\"model\":\"a\xffb\"}":                        "ab",
		`{"model":"` + long + `"}`:                      long[:200],
		`{"model":"` + strings.Repeat("é", 150) + `"}`:  strings.Repeat("é", 100),
		`{"model":"` + strings.Repeat("x", 199) + `é"}`: strings.Repeat("x", 199),
		`{"model":"\x"}`:                                "",
		`{"model":"a`:                                   "",
		`{"model":"a"`:                                  "a",
		`{"model"`:                                      "",
		`{"model":`:                                     "",
		`{"a":[1,2`:                                     "",
		`{"a":"x`:                                       "",
		`{"a" "model":"m"}`:                             "",
		`{"a":1 "model":"m"}`:                           "",
		`{"model":"first","model":"second"}`:            "first",
		`{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,"model":"deep"}`: "deep",
	} {
		if got := modelName([]byte(body)); got != want {
			t.Errorf("%.80s: %q, want %q", body, got, want)
		}
	}
}

// Nothing is built but the name.
func TestModelNameAllocates(t *testing.T) {
	body := []byte(`{"messages":[{"content":"hi"}],"model":"gpt-oss:120b"}`)
	if n := testing.AllocsPerRun(100, func() { modelName(body) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzModelName(f *testing.F) {
	for _, s := range []string{
		`{"model":"a"}`, `{"messages":[{"model":"b"}],"model":"a"}`, `{"name":"a","x":{"y":[1,2,"]"]}}`, `{"a":"\\\"","model":"\u00e9"}`,
		`{"model":"a`, `{`, `{"a":1.5e-3,"b":null,"model":"x"}`, "{\"model\":\"\xff\x7f\"}", `[{"model":"a"}]`, `{"":"","model":"m"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := modelName(body)
		if len(got) > maxModelName || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Fatalf("not fit for a table: %q", got)
		}
		if !json.Valid(body) || bytes.IndexByte(body, '\\') >= 0 || len(body) > maxModelName {
			return
		}
		if want := decodedName(body); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	})
}

// decodedName finds the name by decoding a body without escapes.
func decodedName(body []byte) string {
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return ""
	}
	name := ""
	for dec.More() {
		key, _ := dec.Token()
		var value any
		if dec.Decode(&value) != nil {
			return name
		}
		s, ok := value.(string)
		switch {
		case key == "model" && ok:
			return cleanName([]byte(s))
		case key == "name" && ok && name == "":
			name = cleanName([]byte(s))
		}
	}
	return name
}

func BenchmarkModelName(b *testing.B) {
	for _, size := range []int{300, 32 << 10} {
		body := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("word ", size/5) + `"}],"model":"gpt-oss:120b"}`)
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				modelName(body)
			}
		})
	}
}
