package cli

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func id(key string) string { return string(gateway.IDOfKey(gateway.Secret(key))) }

func TestAddKeyEverywhere(t *testing.T) {
	everyPlace(t, func(t *testing.T, p place) {
		var said strings.Builder
		ok := func(in string, args ...string) string {
			t.Helper()
			r := p.ok(t, in, args...)
			said.WriteString(r.out + r.err)
			return r.out
		}
		wantText(t, "add", ok("\ufeff"+keyA+"\r\n\n", "keys", "add", "-", "--username", "alice@example.com", "--ttl", "30d"), "Key "+id(keyA)+" is added.\n")
		wantText(t, "again", ok("", "keys", "add", keyA), "Key "+id(keyA)+" is there already and stays as it is.\n")
		wantText(t, "a line", ok("bob@example.com----hunter2-canary----cookie-canary----"+keyB, "keys", "add", "-", "--provider", "openrouter"), "Key "+id(keyB)+" is added.\n")
		if got := fromJSON[addedKeyJSON](t, ok(keyC, "keys", "add", "-", "--json")); !got.Added || string(got.ID) != id(keyC) {
			t.Errorf("%+v", got)
		}
		list := ok("", "keys", "list", "--json")
		got := fromJSON[listedKeysJSON](t, list)
		if len(got.Keys) != 2 || got.Keys[0].Username != "alice@example.com" || got.Keys[0].ExpiresAt == nil || got.Keys[1].ExpiresAt != nil {
			t.Errorf("%+v", got)
		}
		wantAll(t, ok("", "keys", "list", "--provider", "openrouter"), "bob@example.com")
		wantNone(t, said.String(), "canary", keyA, keyB, keyC)

		p.fails(t, exitFailed, "no key on the standard input", " \n", "keys", "add", "-")
		p.fails(t, exitFailed, "more than one line: 'keys import -' adds many keys", keyA+"\n"+keyB, "keys", "add", "-")
		r := p.fails(t, exitFailed, "api_key cannot be used: key is shorter", "canary", "keys", "add", "-")
		wantNone(t, r.out+r.err, "canary")
		p.fails(t, exitUsage, "--ttl must be a time", keyA, "keys", "add", "-", "--ttl", "soon")
		p.fails(t, exitUsage, "KEY (or - for the standard input) is missing", "", "keys", "add")
		p.fails(t, exitUsage, "unknown provider", keyA, "keys", "add", "-", "--provider", "mistral")
	})
}

func TestChangeKeysEverywhere(t *testing.T) {
	everyPlace(t, func(t *testing.T, p place) {
		p.ok(t, "alice@example.com----"+keyA+"\nalice@example.com----"+keyB+"\nbob@example.com----"+keyC, "keys", "import", "-")
		status := func(want ...string) {
			t.Helper()
			var got []string
			for _, k := range fromJSON[listedKeysJSON](t, p.ok(t, "", "keys", "list", "--json").out).Keys {
				got = append(got, k.Masked[len(k.Masked)-4:]+" "+string(k.Status))
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("keys %q, want %q", got, want)
			}
		}
		says := func(want string, args ...string) {
			t.Helper()
			r := p.ok(t, "", args...)
			wantText(t, strings.Join(args, " "), r.out, want+"\n")
			wantNone(t, r.out+r.err, keyA, keyB, keyC)
		}

		says("1 key would be disabled.", "keys", "disable", id(keyA), "--dry-run")
		status("aaaa active", "bbbb active", "cccc active")
		says("1 key disabled.", "keys", "disable", keyA)
		status("aaaa disabled", "bbbb active", "cccc active")
		const why = "disabled by the operator"
		if got := fromJSON[listedKeysJSON](t, p.ok(t, "", "keys", "list", "--reason", why, "--json").out); got.Total != 1 || string(got.Keys[0].ID) != id(keyA) {
			t.Errorf("list by reason: %+v", got)
		}
		wantText(t, "a part of a reason", p.ok(t, "", "keys", "list", "--reason", "disabled by").out, "No ollama key matches.\n")
		wantText(t, "export by reason", p.ok(t, "", "keys", "export", "--reason", why).out, "alice@example.com----fake-k…aaaa\n")
		says("1 key would be enabled.", "keys", "enable", "--reason", why, "--dry-run")
		p.fails(t, exitPart, "no ollama key matches", "", "keys", "delete", "--status", "active", "--reason", why, "--yes")
		p.fails(t, exitUsage, "the filter is empty: for all keys say --all", "", "keys", "delete", "--reason", " ", "--yes")
		r := p.part(t, "", "keys", "disable", id(keyB), "0000000000000000", "--for", "2h")
		wantText(t, "some are missing", r.out+r.err, "1 key disabled.\nnot there: 1 key\n")
		list := p.ok(t, "", "keys", "list", "--status", "disabled").out
		wantAll(t, list, "disabled  enabled", "(2h)")
		says("2 keys enabled.", "keys", "enable", "--status", "disabled", "--yes")
		status("aaaa active", "bbbb active", "cccc active")
		says("2 keys disabled.", "keys", "disable", "--search", "alice", "--for", "7d", "-y")
		status("aaaa disabled", "bbbb disabled", "cccc active")
		got := fromJSON[changedKeys](t, p.ok(t, "", "keys", "enable", "--all", "--dry-run", "--json").out)
		if want := (changedKeys{Provider: gateway.Ollama, Done: "enabled", DryRun: true, Changed: 3, Total: 3}); got != want {
			t.Errorf("%+v", got)
		}
		says("3 keys enabled.", "keys", "enable", "--all", "--yes")
		says("0 keys cleared of their rest.", "keys", "clear-rest", "--all", "--yes")

		// What destroys is asked for.
		for _, args := range [][]string{{"delete", id(keyA)}, {"delete", "--all"}, {"disable", "--all"}, {"enable", "--search", "alice"}, {"clear-rest", "--all"}} {
			p.fails(t, exitUsage, "say --yes where nobody can be asked", "", append([]string{"keys"}, args...)...)
		}
		status("aaaa active", "bbbb active", "cccc active")
		says("3 keys would be deleted.", "keys", "delete", "--all", "--dry-run")
		status("aaaa active", "bbbb active", "cccc active")
		names := p.ok(t, "# mine\n"+keyA+"\n\n"+id(keyB)+"\n"+keyA+"\n", "keys", "delete", "-", "--yes")
		wantText(t, "by names", names.out, "2 keys deleted.\n")
		status("cccc active")
		r = p.part(t, "", "keys", "delete", id(keyA), "--yes")
		wantText(t, "gone", r.out+r.err, "0 keys deleted.\nnot there: 1 key\n")
		p.fails(t, exitPart, "no ollama key matches", "", "keys", "delete", "--status", "expired", "--yes")
		p.fails(t, exitPart, "no openrouter key matches", "", "keys", "delete", "--all", "--yes", "--provider", "openrouter")
		p.fails(t, exitPart, "no key is named on the standard input", "# none\n", "keys", "delete", "-", "--yes")
		status("cccc active")
	})
}

func TestChangeKeysUsage(t *testing.T) {
	p := stopped(t)
	for _, c := range []struct{ args, words string }{
		{"delete", "which keys? Give their ids, or --status"},
		{"delete --yes", "which keys?"},
		{"delete a --all", "not both"},
		{"delete a --status failed", "not both"},
		{"delete --all --status failed", "--all and a filter are both there"},
		{"delete - a", "- stands alone"},
		{"delete --status all --yes", "for all keys say --all"},
		{"delete --search= --yes", "for all keys say --all"},
		{"delete --status broken", `unknown state "broken"`},
		{"disable a --for soon", "--for must be a time"},
		{"enable a --for 2h", "unknown flag"},
		{"check", "which keys?"},
		{"check a --dry-run", "unknown flag"},
		{"clear-rest", "which keys?"},
		{"export --format xml", `unknown form "xml"`},
		{"export --output=", "--output is empty"},
		{"import - --include-inconclusive", "--include-inconclusive goes with --validate"},
		{"list --page 0", "--page must be from 1 on"},
		{"list --page 2 --limit 0", "there is no other page"},
		{"show", "ID is missing"},
	} {
		r := p.fails(t, exitUsage, c.words, "", append([]string{"keys"}, strings.Fields(c.args)...)...)
		wantText(t, "standard output", r.out, "")
	}
	if _, err := os.Stat(p.dir()); err == nil {
		t.Error("a data directory was made")
	}
}

// At a terminal it is asked, and of many keys their number is to be typed.
func TestAsking(t *testing.T) {
	p := stopped(t)
	p.ok(t, keyA+"\n"+keyB, "keys", "import", "-")
	ask := func(in string, args ...string) result {
		var out, errs bytes.Buffer
		pr := &program{Streams: Streams{In: strings.NewReader(in), Out: &out, Err: &errs}, name: "x", environ: p.env, watched: func(any) bool { return true }}
		err := pr.run(t.Context(), append([]string{"x"}, args...))
		r := result{out: out.String(), err: errs.String()}
		if err != nil {
			r.err, r.code = r.err+err.Error(), ExitCode(err)
		}
		return r
	}
	for _, in := range []string{"", "\n", "n\n", "no\n", "yess\n", "2\n"} {
		if r := ask(in, "keys", "delete", "--all"); r.code != exitFailed || r.out != "" || !strings.Contains(r.err, "Delete 2 keys of ollama? [y/N] ") || !strings.HasSuffix(r.err, "nothing was changed") {
			t.Errorf("%q: %+v", in, r)
		}
	}
	if r := ask("Yes\n", "keys", "delete", id(keyA)); r.code != 0 || r.out != "1 key deleted.\n" {
		t.Errorf("%+v", r)
	}
	var many strings.Builder
	for i := range manyKeys {
		fmt.Fprintf(&many, "fake-key-number-%06d\n", i)
	}
	p.ok(t, many.String(), "keys", "import", "-")
	for _, in := range []string{"y\n", "100\n"} {
		if r := ask(in, "keys", "disable", "--all"); r.code != exitFailed || !strings.Contains(r.err, "Disable 101 keys of ollama? Type 101 to go on: ") {
			t.Errorf("%q: %+v", in, r)
		}
	}
	if r := ask("101\n", "keys", "disable", "--all"); r.code != 0 || r.out != "101 keys disabled.\n" {
		t.Errorf("%+v", r)
	}
	if r := ask("", "backup", "-"); r.code != exitUsage || !strings.Contains(r.err, "not for a terminal") {
		t.Errorf("%+v", r)
	}
	if r := ask("", "restore", "-"); r.code != exitUsage || !strings.Contains(r.err, "cannot be typed") {
		t.Errorf("%+v", r)
	}
	if r := ask(keyC+"\nmore\n", "keys", "add", "-"); r.code != 0 || !strings.Contains(r.err, "Paste the key and press Enter") {
		t.Errorf("%+v", r)
	}

	// Nobody has to wait for an answer.
	ctx, cancel := context.WithCancel(t.Context())
	in, _ := io.Pipe()
	pr := &program{Streams: Streams{In: in, Out: io.Discard, Err: &waiting{cancel}}, name: "x", environ: p.env, watched: func(any) bool { return true }}
	if err := pr.run(ctx, []string{"x", "keys", "delete", "--all"}); err == nil || err.Error() != "interrupted: nothing was changed" {
		t.Errorf("error %v", err)
	}
}

// waiting cancels when something is written.
type waiting struct{ cancel context.CancelFunc }

func (w *waiting) Write(b []byte) (int, error) {
	w.cancel()
	return len(b), nil
}

func TestShowKeyEverywhere(t *testing.T) {
	everyPlace(t, func(t *testing.T, p place) {
		p.ok(t, "alice@example.com----"+keyA+"\nalice@example.com----"+keyB, "keys", "import", "-")
		p.ok(t, "", "keys", "disable", id(keyA), "--for", "2h")
		for _, ref := range []string{id(keyA), strings.ToUpper(id(keyA)), keyA} {
			r := p.ok(t, "", "keys", "show", ref)
			wantAll(t, r.out, "ollama key "+id(keyA)+", fake-k…aaaa\n\n  status    disabled\n", "  why       An operator disabled it", "  returns   ",
				"(2h)\n", "alice@example.com, with 2 keys", "  attempts  0: 0 good, 0 failed (0.00%); the last never\n", "  disabled", "  added")
			wantNone(t, r.out+r.err, keyA)
		}
		got := fromJSON[keyStory](t, p.ok(t, "", "keys", "show", id(keyA), "--json").out)
		if got.ID != gateway.IDOfKey(keyA) || got.Status != gateway.KeyDisabled || got.Account == nil || got.Account.Keys != 2 || len(got.Hours) != 24 || len(got.Events) < 2 {
			t.Errorf("%+v", got)
		}
		p.fails(t, exitPart, "no such key", "", "keys", "show", id(keyC))
		r := p.fails(t, exitPart, "no such key", "", "keys", "show", keyC)
		wantNone(t, r.err, keyC)
		p.fails(t, exitPart, "no such key", "", "keys", "show", id(keyA), "--provider", "openrouter")
	})
}

func TestExportKeysEverywhere(t *testing.T) {
	everyPlace(t, func(t *testing.T, p place) {
		dir := t.TempDir()
		p.ok(t, "alice@example.com----"+keyA+"\n"+keyB+"\nbob@example.com----"+keyC, "keys", "import", "-")
		p.ok(t, "", "keys", "disable", id(keyC))

		r := p.ok(t, "", "keys", "export")
		wantText(t, "masked", sorted(r.out), sorted("alice@example.com----fake-k…aaaa\nfake-k…bbbb\nbob@example.com----fake-k…cccc\n"))
		wantAll(t, r.err, "The keys are masked")
		whole := p.ok(t, "", "keys", "export", "--reveal")
		wantText(t, "whole", sorted(whole.out), sorted("alice@example.com----"+keyA+"\n"+keyB+"\nbob@example.com----"+keyC+"\n"))
		wantText(t, "standard error", whole.err, "")
		other := stopped(t)
		wantAll(t, other.ok(t, whole.out, "keys", "import", "-").out, "3 added")

		file := filepath.Join(dir, "keys.csv")
		r = p.ok(t, "", "keys", "export", "--format", "csv", "-o", file, "--status", "disabled")
		wantText(t, "said", r.out+r.err, "1 key written to "+file+".\n")
		if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		rows, err := csv.NewReader(bytes.NewReader(mustRead(t, file))).ReadAll()
		if err != nil || len(rows) != 2 || rows[0][0] != "id" || rows[1][0] != id(keyC) {
			t.Errorf("%v, %v", rows, err)
		}
		p.fails(t, exitFailed, "is there already: --force replaces it", "", "keys", "export", "-o", file)
		p.ok(t, "", "keys", "export", "-o", file, "--force", "--search", "alice")
		wantText(t, "file", string(mustRead(t, file)), "alice@example.com----fake-k…aaaa\n")

		lines := p.ok(t, "", "keys", "export", "--format", "jsonl", "--search", id(keyB)).out
		if got := fromJSON[keyRow](t, lines); string(got.ID) != id(keyB) || got.Masked != "fake-k…bbbb" {
			t.Errorf("%+v", got)
		}
		for _, format := range exportFormats {
			none := filepath.Join(dir, "none."+format)
			p.fails(t, exitPart, "no ollama key matches", "", "keys", "export", "--category", "kimi", "--format", format, "-o", none)
			if _, err := os.Stat(none); err == nil {
				t.Errorf("%s was made", none)
			}
		}
		if files, _ := os.ReadDir(dir); len(files) != 1 {
			t.Errorf("there is %v", files)
		}
	})
}

func sorted(lines string) string {
	l := strings.Split(lines, "\n")
	slices.Sort(l)
	return strings.Join(l, "\n")
}

func TestListPages(t *testing.T) {
	const n = largestPage + 7
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "user%03d----fake-key-number-%06d\n", i, i)
	}
	p := stopped(t)
	start(t, p)
	p.ok(t, b.String(), "keys", "import", "-")
	for _, c := range []struct{ limit, page, from, to int }{
		{50, 2, 50, 100}, {largestPage, 2, largestPage, n}, {300, 1, 0, n}, {201, 2, 201, n}, {1, n, n - 1, n}, {300, 2, 0, 0}, {50, 99, 0, 0},
	} {
		r := p.ok(t, "", "keys", "list", "--sort", "username", "--json", "--limit", fmt.Sprint(c.limit), "--page", fmt.Sprint(c.page))
		got := fromJSON[listedKeysJSON](t, r.out)
		if len(got.Keys) != c.to-c.from || got.Total != n {
			t.Errorf("%+v: %d keys of %d", c, len(got.Keys), got.Total)
			continue
		}
		for i, k := range got.Keys {
			if want := fmt.Sprintf("user%03d", c.from+i); k.Username != want {
				t.Errorf("%+v: key %d is of %s, want %s", c, i, k.Username, want)
				break
			}
		}
	}
	wantText(t, "remark", p.ok(t, "", "keys", "list", "--page", "2").err, "51 to 100 of 207 keys.\n")
	wantText(t, "behind the end", p.ok(t, "", "keys", "list", "--page", "99").out, "There are 207 keys, none on page 99.\n")
}

func TestExitCodes(t *testing.T) {
	plain := errors.New("x")
	for err, want := range map[error]int{
		plain: 1, usageError{plain}: 2, partError{plain}: 3, fmt.Errorf("y: %w", partError{plain}): 3, errors.Join(usageError{plain}, nil): 2,
	} {
		if got := ExitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
	wantAll(t, place{}.ok(t, "", "--help").out, exitTable)
}
