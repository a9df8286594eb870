package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// every calls f for each of our commands.
func every(cmd *cobra.Command, f func(*cobra.Command)) {
	f(cmd)
	for _, c := range cmd.Commands() {
		if c.Name() != "help" {
			every(c, f)
		}
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	p := &program{}
	every(p.root(), func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())[1:]
		r := place{}.ok(t, "", append(path, "--help")...)
		wantText(t, cmd.CommandPath()+", standard error", r.err, "")
		wantAll(t, r.out, "Usage:\n  "+cmd.CommandPath())
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") || len(cmd.Short) > 80 {
			t.Errorf("%s: short help %q", cmd.CommandPath(), cmd.Short)
		}
		if !cmd.HasSubCommands() && cmd.Name() != "version" && cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Long + "\n" + cmd.Example) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > 120 {
				t.Errorf("%s: a line of help is %d characters long", cmd.CommandPath(), n)
			}
		}
	})
}

// A group of commands without one of them shows its help.
func TestGroups(t *testing.T) {
	for _, name := range []string{"keys", "tokens", "jobs", "config", "encryption"} {
		r := place{}.ok(t, "", name)
		wantAll(t, r.out, "Usage:\n  ollama-api-pool "+name, "Available Commands:")
		wantText(t, "standard error", r.err, "")
	}
}

func TestEveryExampleParses(t *testing.T) {
	p := &program{}
	seen := 0
	every(p.root(), func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			args := commandIn(line)
			if args == nil {
				t.Errorf("no command in %q", line)
				continue
			}
			seen++
			root := (&program{}).root()
			found, rest, err := root.Find(args)
			if err != nil {
				t.Errorf("%q: %v", line, err)
				continue
			}
			if cmd != cmd.Root() && !strings.HasPrefix(found.CommandPath(), cmd.CommandPath()) {
				t.Errorf("%q is an example of %s, not of %s", line, found.CommandPath(), cmd.CommandPath())
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%q: %v", line, err)
				continue
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%q: %v", line, err)
			}
			if found.HasSubCommands() && found != root && found.Name() != "requests" && found.Name() != "migrate" {
				t.Errorf("%q ends with a group", line)
			}
		}
	})
	if seen < 80 {
		t.Errorf("%d examples", seen)
	}
}

// commandIn finds our command in a line of shell and gives its arguments; what
// follows two blanks behind them is a remark.
func commandIn(line string) []string {
	line = strings.TrimRight(strings.TrimSpace(line), ")")
	_, line, ok := strings.Cut(line, "ollama-api-pool")
	if !ok {
		return nil
	}
	line, _, _ = strings.Cut(line, "   ")
	if words, remark, ok := strings.Cut(strings.TrimLeft(line, " "), "  "); ok && remark != "" {
		line = words
	}
	args := []string{}
	var word strings.Builder
	quote, inWord := rune(0), false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ':
			if w := word.String(); w == "|" || w == "<" || w == ">" {
				return args // what follows is the shell's
			}
			if inWord {
				args = append(args, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	return args
}

func TestCommandIn(t *testing.T) {
	for line, want := range map[string][]string{
		"  ollama-api-pool": {},
		"  A=$(cat x) ollama-api-pool keys list --json ":        {"keys", "list", "--json"},
		"  T=$(ollama-api-pool tokens create \"my app\")":       {"tokens", "create", "my app"},
		"  ollama-api-pool demo                  watch it":      {"demo"},
		"  ollama-api-pool keys import keys.txt  add keys":      {"keys", "import", "keys.txt"},
		`  ollama-api-pool classify --body '{"a": "b"}' -x`:     {"classify", "--body", `{"a": "b"}`, "-x"},
		"  ollama-api-pool                       serve on ...":  {},
		"  ollama-api-pool backup - | ssh x 'cat > y'":          {"backup", "-"},
		"  ollama-api-pool keys add - -x < key.txt":             {"keys", "add", "-", "-x"},
		"  ollama-api-pool completion zsh > \"${fpath[1]}/_x\"": {"completion", "zsh"},
	} {
		if got := commandIn(line); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "two\nlines\r\n": "two lines  ", "\x1b[2J": "·[2J", "a\x00b\x7f": "a·b·", "zero\u200bwidth\u202e": "zero·width·", "ü 漢字 …": "ü 漢字 …", "\xff": "\ufffd",
	} {
		wantText(t, "printable", printable(text), want)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("\x1b]0;title\x07")
	f.Add("a\u0085b\u2028c")
	f.Fuzz(func(t *testing.T, s string) {
		if got := cell(s, widestText); len(got) > widestText+len("…") || strings.ContainsAny(got, "\x1b\r\n\t\x07\u0085\u2028") || got == "" {
			t.Errorf("%q", got)
		}
	})
}

// brokenPipe is a standard output that nobody reads.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, bytes.ErrTooLarge }

func TestOutputThatCannotBeWritten(t *testing.T) {
	p := stopped(t)
	p.ok(t, keyA, "keys", "import", "-")
	for _, args := range [][]string{
		{"keys", "list"},
		{"keys", "list", "--json"},
		{"tokens", "list"},
		{"config", "check"},
		{"config", "print"},
		{"config", "print", "--json"},
		{"classify", "--status", "401"},
		{"classify", "--rules"},
		{"encryption", "status"},
		{"tokens", "create", "x"},
		{"keys", "show", id(keyA)},
		{"keys", "export"},
		{"keys", "disable", id(keyA)},
		{"keys", "add", keyB},
		{"stats"},
		{"stats", "--json"},
		{"requests"},
		{"jobs", "list"},
		{"backup", "-"},
		{"completion", "bash"},
		{"selftest", "--url", "http://127.0.0.1:1", "--token", "x"},
		{"selftest", "--url", "http://127.0.0.1:1", "--token", "x", "--json"},
	} {
		err := Run(t.Context(), append([]string{"x"}, args...), p.env, Streams{In: strings.NewReader(""), Out: brokenPipe{}, Err: &bytes.Buffer{}})
		if err == nil {
			t.Errorf("%v succeeds", args)
		}
	}
}
