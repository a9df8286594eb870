package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ollama-api-pool/e2e/program"
)

// ollamaCommand builds the ollama command beside the tests that do not need it.
type ollamaCommand struct {
	path string
	done chan struct{}
	err  error
}

var ollama ollamaCommand

func (o *ollamaCommand) begin(dir string) {
	o.path, o.done = filepath.Join(dir, "ollama"), make(chan struct{})
	go func() {
		defer close(o.done)
		o.err = o.build(filepath.Join(dir, "ollama-source"))
	}()
}

func (o *ollamaCommand) wait() { <-o.done }

// ollamaModule is the module that the command comes from.
const ollamaModule = "github.com/ollama/ollama"

// build builds the command as it is published, but for the packages below
// ollamacmd/standin: they belong to its server half, which loads models, and
// cannot be built from the published module, which lacks some of its C++.
func (o *ollamaCommand) build(tree string) error {
	out, err := program.Go("ollamacmd", nil, "mod", "download", "-json", ollamaModule)
	if err != nil {
		return err
	}
	var source struct{ Dir, Version string }
	if err := json.Unmarshal(out, &source); err != nil {
		return fmt.Errorf("where the module lies: %w", err)
	}
	if err := mirror(tree, source.Dir, filepath.Join("ollamacmd", "standin")); err != nil {
		return err
	}
	mod, err := replaceModule(tree)
	if err != nil {
		return err
	}
	_, err = program.Go("ollamacmd", []string{"CGO_ENABLED=0"}, "build", "-buildvcs=false", "-trimpath", "-modfile="+mod,
		"-ldflags=-s -w -X "+ollamaModule+"/version.Version="+strings.TrimPrefix(source.Version, "v"), "-o", o.path, ollamaModule)
	return err
}

// mirror makes a folder that holds the module's own folders and files as links,
// and copies of the stand-ins in place of those with their names.
func mirror(tree, module, standins string) error {
	if err := os.CopyFS(tree, os.DirFS(standins)); err != nil {
		return fmt.Errorf("copy the stand-ins: %w", err)
	}
	entries, err := os.ReadDir(module)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err := os.Symlink(filepath.Join(module, e.Name()), filepath.Join(tree, e.Name()))
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// replaceModule writes a go.mod beside the tree that takes the module from it.
func replaceModule(tree string) (path string, err error) {
	path = tree + ".mod"
	for from, to := range map[string]string{"go.mod": path, "go.sum": tree + ".sum"} {
		b, err := os.ReadFile(filepath.Join("ollamacmd", from))
		if err != nil {
			return "", err
		}
		if to == path {
			b = fmt.Appendf(b, "\nreplace %s => %s\n", ollamaModule, tree)
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			return "", err
		}
	}
	return path, nil
}

// run runs the command against a host. It returns what it printed; its exit
// code must be the expected one.
func (o *ollamaCommand) run(t *testing.T, host string, code int, args ...string) string {
	t.Helper()
	o.wait()
	if o.err != nil {
		t.Fatalf("the ollama command could not be built: %v", o.err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), o.path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "OLLAMA_HOST=" + host}
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // judged by the code
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("ollama %s: exit code %d:\n%s", strings.Join(args, " "), got, out.String())
	}
	return escapes.ReplaceAllString(out.String(), "")
}

// escapes are what the command moves the cursor with.
var escapes = regexp.MustCompile(`\x1b\[[?0-9]*[a-zA-Z]`)

func TestOllamaCommand(t *testing.T) {
	t.Parallel()
	_, i, token := serving(t, mixed)
	host := i.URL() + "/t/" + token
	for _, tt := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"--version"}, 0, []string{"ollama version is "}},
		{[]string{"list"}, 0, []string{"NAME", ollamaFace.chat, "13 GB", "qwen3-coder:480b"}},
		{[]string{"ls", "gpt-oss"}, 0, []string{"gpt-oss:20b", "gpt-oss:120b"}},
		{[]string{"show", ollamaFace.chat}, 0, []string{"architecture", "gptoss", "20.9B", "131072", "Capabilities", "completion"}},
		{[]string{"run", ollamaFace.chat, "Hello, pool"}, 0, []string{simulated, "“Hello, pool”"}},
		{[]string{"run", "--verbose", ollamaFace.chat, "Hello, pool"}, 0, []string{simulated, "eval count"}},
		{[]string{"run", ollamaFace.embed, "Hello, pool"}, 0, []string{"["}},
		{[]string{"ps"}, 0, []string{"NAME"}},
		{[]string{"show", "no-such-model"}, 1, []string{"not found"}},
		{[]string{"run", "no-such-model", "x"}, 1, []string{"does not manage"}}, // it tries to pull
		{[]string{"rm", ollamaFace.chat}, 1, []string{"does not manage"}},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			got := ollama.run(t, host, tt.code, tt.args...)
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("without %q:\n%s", want, got)
				}
			}
		})
	}
	t.Run("wrong token", func(t *testing.T) {
		// Of a 401 without a way to sign in the command says no more than that.
		got := ollama.run(t, i.URL()+"/t/sk-this-token-was-never-made", 1, "list")
		if !strings.Contains(got, "something went wrong") {
			t.Errorf("it says %q", got)
		}
	})
	i.Stop()
}
