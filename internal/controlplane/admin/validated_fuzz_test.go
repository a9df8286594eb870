package admin

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"ollama-api-pool/internal/controlplane/importer"
	"ollama-api-pool/internal/gateway"
)

func TestListIn(t *testing.T) {
	for body, want := range map[string]string{
		`{"keys":[]}`: "keys", ` {"provider":"x","keys":["`: "keys", `{"accounts":`: "accounts", `{"content":"`: "content",
		"\ufeff{\"keys\":[": "keys", `{"a":{"keys":1},"content":"x"}`: "content", `{}`: "", ``: "", `[`: "", `x`: "", `{"a":x,"keys":[]}`: "",
		`{"a":"` + strings.Repeat("x", maxBeforeList) + `","keys":[]}`: "",
		`{"keys":["` + strings.Repeat("x", 2*maxBeforeList) + `"]}`:    "keys",
	} {
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(body), "bytewise": iotest.OneByteReader(strings.NewReader(body))} {
			in := bufio.NewReaderSize(r, 64<<10)
			if got := listIn(in); got != want {
				t.Errorf("%s of %.40s: %q, want %q", name, body, got, want)
			}
			if rest, err := io.ReadAll(in); err != nil || string(rest) != body {
				t.Errorf("%.40s: something was taken: %q, %v", body, rest, err)
			}
		}
	}
}

// What was gathered can be gone through several times, from a file as well.
func TestGatheredTwice(t *testing.T) {
	for name, limit := range map[string]int{"memory": spoolMemory, "file": 1} {
		s := newSpool(t.TempDir())
		s.limit = limit
		for i := range 100 {
			if err := s.add(importer.Entry{Secret: gateway.Secret(fmt.Sprintf("fake-key-%03d", i)), Username: "anna"}); err != nil {
				t.Fatal(err)
			}
		}
		for round := range 3 {
			n := 0
			for k, err := range s.keys(time.Now()) {
				if want := fmt.Sprintf("fake-key-%03d", n); err != nil || string(k.Secret) != want || k.Username != "anna" {
					t.Fatalf("%s, round %d: %v, %v, want %s", name, round, gateway.IDOfKey(k.Secret), err, want)
				}
				if n++; n == 50 && round == 1 {
					break
				}
			}
		}
		s.close()
	}
}

func FuzzListIn(f *testing.F) {
	for _, s := range []string{`{"keys":[]}`, `{"provider":"x","accounts":[1]}`, `{"content":"`, "\ufeff{", `{"a":[{}],"keys":`, "{\"a\":\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got := listIn(bufio.NewReaderSize(strings.NewReader(body), 64<<10))
		var whole map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &whole) != nil || len(body) > maxBeforeList {
			return
		}
		if _, there := whole[got]; got != "" && !there {
			t.Errorf("%q is not in %q", got, body)
		}
	})
}
