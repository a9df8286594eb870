package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
)

const (
	keyA = "fake-key-aaaaaaaaaaaaaaaaaaaa"
	keyB = "fake-key-bbbbbbbbbbbbbbbbbbbb"
	keyC = "fake-key-cccccccccccccccccccc"
)

func TestKeysEverywhere(t *testing.T) {
	everyPlace(t, func(t *testing.T, p place) {
		wantText(t, "empty pool", p.ok(t, "", "keys", "list").out,
			"The ollama pool is empty. Add keys from a file, one a line:\n\n  ollama-api-pool keys import FILE\n")
		wantText(t, "empty pool", p.ok(t, "", "keys", "list", "--provider", "openrouter").out,
			"The openrouter pool is empty. Add keys from a file, one a line:\n\n  ollama-api-pool keys import FILE --provider openrouter\n")

		text := "# my accounts\n\n" + keyA + "\r\nalice@example.com----hunter2-canary----cookie-canary----" + keyB + "\nshort\na----canary----c\n" + keyA + "\n"
		file := writeTemp(t, "keys.txt", text)
		dry := p.part(t, "", "keys", "import", file, "--dry-run")
		wantText(t, "dry run", dry.out, "2 to be added, 1 already there, 2 bad lines\n")
		wantAll(t, p.ok(t, "", "keys", "list").out, "is empty")

		r := p.part(t, "", "keys", "import", file)
		wantText(t, "import", r.out, "2 added, 1 already there, 2 bad lines\n")
		wantText(t, "import, problems", r.err, "Bad lines, by number:\n  5: key is shorter than 8 characters\n  6: three fields: it is not clear which of them is the key\nnot all of it could be used: 2 of 5\n")
		wantNone(t, r.out+r.err+dry.out+dry.err, "canary", keyA, keyB)
		wantText(t, "again", p.part(t, text, "keys", "import", "-", "--dry-run").out, "0 to be added, 3 already there, 2 bad lines\n")
		wantText(t, "again", p.part(t, text, "keys", "import", "-").out, "0 added, 3 already there, 2 bad lines\n")

		list := p.ok(t, "", "keys", "list", "--sort", "-username")
		wantText(t, "list", list.out, ""+
			"ID                KEY          USER               STATUS  UNTIL  FAILURES  LAST ERROR  REQUESTS\n"+
			string(gateway.IDOfKey(keyB))+"  fake-k…bbbb  alice@example.com  active  -      0         -           0\n"+
			string(gateway.IDOfKey(keyA))+"  fake-k…aaaa  -                  active  -      0         -           0\n")
		wantNone(t, list.out+list.err, "canary", keyA, keyB)

		wantAll(t, p.ok(t, "", "keys", "list", "--search", "ALICE").out, "fake-k…bbbb")
		wantText(t, "no match", p.ok(t, "", "keys", "list", "--search", keyC).out, "No ollama key matches.\n")
		wantText(t, "no match", p.ok(t, "", "keys", "list", "--status", "resting").out, "No ollama key matches.\n")
		short := p.ok(t, "", "keys", "list", "--limit", "1", "--sort", "username")
		if lines := strings.Count(short.out, "\n"); lines != 2 || short.err != "1 of 2 keys; --limit 0 shows all.\n" {
			t.Errorf("%d lines and %q", lines, short.err)
		}

		got := fromJSON[listedKeysJSON](t, p.ok(t, "", "keys", "list", "--json", "--search", string(gateway.IDOfKey(keyA))).out)
		if len(got.Keys) != 1 || got.Total != 1 || got.Provider != gateway.Ollama {
			t.Fatalf("%+v", got)
		}
		k := got.Keys[0]
		if k.ID != gateway.IDOfKey(keyA) || k.Masked != "fake-k…aaaa" || k.Status != gateway.KeyActive || k.CreatedAt == nil || time.Since(*k.CreatedAt) > time.Hour {
			t.Errorf("%+v", k)
		}
		wantAll(t, p.ok(t, "", "keys", "list", "--json", "--provider", "openrouter").out, `"api_keys": []`, `"total": 0`)
	})
}

func TestManyKeysEverywhere(t *testing.T) {
	const n = largestPage + 3 // more than one answer of the API holds
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "user%03d----fake-key-number-%06d\n", i, i)
	}
	everyPlace(t, func(t *testing.T, p place) {
		wantText(t, "import", p.ok(t, b.String(), "keys", "import", "-", "--provider", "openrouter").out, fmt.Sprintf("%d added, 0 already there, 0 bad lines\n", n))
		for _, limit := range []int{0, 1, largestPage, largestPage + 1, n, 1000} {
			got := fromJSON[listedKeysJSON](t, p.ok(t, "", "keys", "list", "--provider", "openrouter", "--json", "--limit", fmt.Sprint(limit)).out)
			want := limit
			if want == 0 || want > n {
				want = n
			}
			if len(got.Keys) != want || got.Total != n {
				t.Fatalf("limit %d: %d keys of %d", limit, len(got.Keys), got.Total)
			}
			seen := map[gateway.KeyID]bool{}
			for _, k := range got.Keys {
				seen[k.ID] = true
			}
			if len(seen) != want {
				t.Fatalf("limit %d: %d keys, of which %d differ", limit, want, len(seen))
			}
		}
	})
}

func TestImportForms(t *testing.T) {
	accounts := `[{"email":"bob@example.com","password":"canary","api_key":"` + keyA + `"},"` + keyB + `",7]`
	for name, text := range map[string]string{
		"list":     accounts,
		"keys":     "\ufeff{\"keys\":" + accounts + "}",
		"accounts": " \n{\"more\":\"canary\",\"accounts\":" + accounts + "}",
		"lines":    "bob@example.com----canary----canary----" + keyA + "\n\n" + keyB + "\nfake key canary",
	} {
		t.Run(name, func(t *testing.T) {
			p := stopped(t)
			r := p.part(t, text, "keys", "import", "-", "--json")
			got := fromJSON[tally](t, r.out)
			if got.Added != 2 || got.Existing != 0 || got.BadCount != 1 || len(got.Bad) != 1 || got.DryRun || r.err != "not all of it could be used: 1 of 3\n" {
				t.Errorf("%+v, %q", got, r.err)
			}
			list := p.ok(t, "", "keys", "list")
			wantAll(t, list.out, "fake-k…aaaa  bob@example.com", "fake-k…bbbb  -")
			wantNone(t, r.out+list.out, "canary")
		})
	}
}

func TestImportOfNothing(t *testing.T) {
	everyPlace(t, func(t *testing.T, p place) {
		p.fails(t, exitFailed, "there is no key in it", "", "keys", "import", "-")
		p.fails(t, exitFailed, "there is no key in it", "# nothing\n", "keys", "import", "-", "--dry-run")
		p.fails(t, exitFailed, "there is no key in it", "[]", "keys", "import", "-")
		r := p.fails(t, exitFailed, "none of it can be used", strings.Repeat("canary\n", 25), "keys", "import", "-")
		wantText(t, "summary", r.out, "0 added, 0 already there, 25 bad lines\n")
		wantAll(t, r.err, "\n  20: key is shorter than 8 characters\n  and 5 more\n")
		wantNone(t, r.err, "canary", "  21:")
		p.fails(t, exitFailed, "ends too early", `{"keys":["`+keyA+`"`, "keys", "import", "-")
		p.fails(t, exitFailed, `there is no "keys" or "accounts"`, `{"key":["`+keyA+`"]}`, "keys", "import", "-")
		p.fails(t, exitFailed, "UTF-16", "\xff\xfek\x00", "keys", "import", "-")
		p.fails(t, exitFailed, "no such file", "", "keys", "import", "/nonexistent/keys.txt")
		wantAll(t, p.ok(t, "", "keys", "list").out, "is empty")
	})
}

// An import whose text cannot be read to its end adds nothing.
func TestImportCutOff(t *testing.T) {
	var b strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&b, "fake-key-number-%06d\n", i)
	}
	everyPlace(t, func(t *testing.T, p place) {
		p.ok(t, keyA, "keys", "import", "-")
		for _, cut := range []int{1, 60, 70_000} {
			text := &cutOff{text: strings.NewReader(b.String()[:cut])}
			var out, errs strings.Builder
			err := Run(t.Context(), append([]string{"x", "keys", "import", "-"}, p.args...), p.env, Streams{In: text, Out: &out, Err: &errs})
			if err == nil || !strings.Contains(err.Error(), iotest.ErrTimeout.Error()) {
				t.Errorf("cut at %d: %v, %q", cut, err, out.String())
			}
		}
		got := fromJSON[listedKeysJSON](t, p.ok(t, "", "keys", "list", "--json").out)
		if got.Total != 1 {
			t.Errorf("%d keys, want the one from before", got.Total)
		}
	})
}

// cutOff is a text that breaks off.
type cutOff struct{ text *strings.Reader }

func (c *cutOff) Read(b []byte) (int, error) {
	if c.text.Len() == 0 {
		return 0, iotest.ErrTimeout
	}
	return c.text.Read(b)
}

func TestKeysUsage(t *testing.T) {
	p := stopped(t)
	for _, c := range []struct {
		args  string
		words string
	}{
		{"keys import", "FILE (or - for the standard input) is missing"},
		{"keys import a " + keyA, "2 arguments where one is wanted"},
		{"keys import - --provider mistral", `unknown provider "mistral"`},
		{"keys import - --dry", "unknown flag"},
		{"keys imprt", "unknown command"},
		{"keys list x", "unknown command or argument"},
		{"keys list --provider mistral", `unknown provider "mistral"`},
		{"keys list --status broken", `unknown state "broken"`},
		{"keys list --sort secret", `cannot sort by "secret"`},
		{"keys list --limit -1", "--limit must not be below 0"},
		{"keys list --limit many", "invalid argument"},
		{"keys list --server pool.example.com", "--server must be an address"},
		{"keys list --server http://user:pw-canary@pool.example.com", "--server must be an address"},
	} {
		r := p.fails(t, exitUsage, c.words, "", strings.Fields(c.args)...)
		wantNone(t, r.out+r.err, keyA, "canary")
		wantText(t, "standard output", r.out, "")
	}
	p.fails(t, exitFailed, "set ADMIN_TOKEN", "", "keys", "list", "--server", "http://127.0.0.1:1")
	p.env = append(p.env, "MAX_RETRIES=many")
	p.fails(t, exitFailed, "MAX_RETRIES=many", "", "keys", "list")
}

func TestCellsOfKey(t *testing.T) {
	now := time.Date(2026, 11, 22, 20, 30, 0, 0, time.UTC)
	f := func(k gateway.Key, want string) {
		t.Helper()
		k.Secret = keyA
		row := rowOfKey(&k, now)
		got := strings.Join(cellsOfKey(&row, now)[2:], "|")
		wantText(t, "cells", got, want)
	}
	f(gateway.Key{}, "-|active|-|0|-|0")
	f(gateway.Key{Username: "N/A", Counts: gateway.KeyCounts{Total: 7}}, "N/A|active|-|0|-|7")
	f(gateway.Key{State: gateway.KeyState{RestsUntil: now.Add(90 * time.Minute), LastError: "quota: hourly"}}, "-|resting|22:00:00 (1h30m)|0|quota: hourly|0")
	f(gateway.Key{State: gateway.KeyState{FailedUntil: now.Add(20 * time.Second), ConsecutiveFailures: 2, LastError: "401 unauthorized"}}, "-|failed|20:30:20 (20s)|2|401 unauthorized|0")
	f(gateway.Key{State: gateway.KeyState{Disabled: gateway.DisabledAuto, DisabledUntil: now.Add(49 * time.Hour)}}, "-|disabled|2026-11-24 21:30 (2d1h)|0|-|0")
	f(gateway.Key{State: gateway.KeyState{Disabled: gateway.DisabledManual}}, "-|disabled|enabled|0|-|0")
	f(gateway.Key{ExpiresAt: now}, "-|expired|-|0|-|0")
	f(gateway.Key{Username: "\x1b[31mred\n\u202e" + strings.Repeat("é", 40), State: gateway.KeyState{LastError: strings.Repeat("x", 100)}},
		"·[31mred ·"+strings.Repeat("é", 14)+"…|active|-|0|"+strings.Repeat("x", 60)+"…|0")
}

func TestStateOfKeys(t *testing.T) {
	p := stopped(t)
	p.ok(t, "eve----"+keyA, "keys", "import", "-")
	cfg, _, err := config.Load(p.env, "")
	if err != nil {
		t.Fatal(err)
	}
	store, err := app.OpenOffline(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.DisableKeys(t.Context(), gateway.Ollama, []gateway.KeyID{gateway.IDOfKey(keyA)}, 0)
	if err := errors.Join(err, store.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	wantAll(t, p.ok(t, "", "keys", "list", "--status", "disabled").out, "eve   disabled  enabled  0", "disabled by the operator")
	start(t, p)
	wantAll(t, p.ok(t, "", "keys", "list", "--status", "disabled").out, "eve   disabled  enabled  0", "disabled by the operator")
	got := fromJSON[listedKeysJSON](t, p.ok(t, "", "keys", "list", "--json").out)
	if len(got.Keys) != 1 || got.Keys[0].DisabledReason == nil || *got.Keys[0].DisabledReason != "manual" {
		t.Errorf("%+v", got)
	}
}
