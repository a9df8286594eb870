package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ollama-api-pool/e2e/program"
	"ollama-api-pool/internal/testkit"
)

// ended is how a command ended.
type ended struct {
	Code     int
	Out, Err string
}

// Run runs a command of the program to its end, with the settings and in the
// directory of the instance.
func (i *Instance) Run(args ...string) ended {
	i.tb.Helper()
	return runIn(i.tb, i.Home, i.Env, i.Path, args...)
}

// Shell runs a script with sh, as if it had been pasted, with the settings and
// in the directory of the instance.
func (i *Instance) Shell(script string) ended {
	i.tb.Helper()
	return runIn(i.tb, i.Home, i.Env, "sh", "-e", "-c", script)
}

func runIn(tb testing.TB, dir string, env []string, name string, args ...string) ended {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, &out, &errs
	_ = cmd.Run() // judged by the code
	if cmd.ProcessState == nil || ctx.Err() != nil {
		tb.Fatalf("%s %s did not run to its end:\n%s%s", name, strings.Join(args, " "), out.String(), errs.String())
	}
	return ended{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// works expects that a command succeeded.
func (e ended) works(tb testing.TB) ended {
	tb.Helper()
	if e.Code != 0 {
		tb.Fatalf("exit code %d:\n%s%s", e.Code, e.Out, e.Err)
	}
	return e
}

// TestEmptyPool follows what the program prints while its pool is empty: where
// things are, and two commands to fill it.
func TestEmptyPool(t *testing.T) {
	t.Parallel()
	key := fakeKey("ollama", 1)
	up := newUpstream(t, map[string]fate{key: fateOK})
	i := newInstance(t, up.settings()...)
	i.secrets.plant(key)
	i.Start()
	said := i.Out.String()
	for _, want := range []string{program.Version, "listening on  " + i.URL(), "The dashboard is at " + i.URL() + "/dashboard", i.Data, filepath.Join(i.Data, "admin-token"), "0 keys, 0 client tokens"} {
		if !strings.Contains(said, want) {
			t.Errorf("without %q:\n%s", want, said)
		}
	}
	// What is logged comes by another pipe than what is said.
	await(t, "warning that keys are not encrypted", func() bool {
		return strings.Contains(i.Err.String(), "ENCRYPTION_KEY is not set")
	})
	var commands []string
	for line := range strings.Lines(said) {
		if strings.Contains(line, built+" ") {
			commands = append(commands, strings.TrimSpace(line))
		}
	}
	if len(commands) != 2 {
		t.Fatalf("%d commands, want 2:\n%s", len(commands), said)
	}
	if err := os.WriteFile(filepath.Join(i.Home, "FILE"), []byte("# mine\n"+key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Another terminal knows nothing of this one's settings.
	elsewhere := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + i.Home}
	imported := runIn(t, i.Home, elsewhere, "sh", "-e", "-c", commands[0]).works(t)
	if !strings.Contains(imported.Out, "1") {
		t.Errorf("the import says %q", imported.Out)
	}
	made := runIn(t, i.Home, elsewhere, "sh", "-e", "-c", commands[1]).works(t)
	token := strings.TrimSpace(made.Out)
	i.secrets.plant(token)
	if status, answer, err := do(t.Context(), "POST", i.URL()+"/v1/chat/completions", token, chatBody); err != nil || status != 200 {
		t.Fatalf("the token does not work: %d %s %v", status, answer, err)
	}
	curl := i.Shell(pasted(made.Err)[0]).works(t)
	if !strings.Contains(curl.Out, `"object"`) {
		t.Errorf("the line to try it with gives %q", curl.Out)
	}
	list := i.Run("keys", "list").works(t)
	testkit.MustNotContain(t, imported.Out+imported.Err+list.Out+list.Err, key)
	i.Restart()
	if said := i.Out.String(); strings.Contains(said, "The pool is empty") || !strings.Contains(said, "1 key, 1 client token") {
		t.Errorf("with a key in the pool it says:\n%s", said)
	}
	i.Stop()
	if got := i.Run("keys", "list").works(t); got.Out != list.Out {
		t.Errorf("running it listed\n%s\nand stopped\n%s", list.Out, got.Out)
	}
}

// chatBody is the body of a chat completion that works.
var chatBody = map[string]any{
	"model": ollamaFace.chat, "messages": []map[string]string{{"role": "user", "content": "Hello, pool"}},
}

// pasted finds the curl commands in a text, each with the lines that a
// backslash at the end of a line joins to it.
func pasted(text string) []string {
	var commands []string
	goesOn := false
	for line := range strings.Lines(text) {
		if at := strings.Index(line, "curl "); goesOn {
			commands[len(commands)-1] += line
		} else if at >= 0 && !strings.Contains(line, "`curl") {
			commands = append(commands, line[at:])
		} else {
			continue
		}
		goesOn = strings.HasSuffix(strings.TrimRight(line, "\n"), `\`)
	}
	return commands
}
