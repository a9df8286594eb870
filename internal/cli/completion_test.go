package cli

import (
	"os"
	"strings"
	"testing"
)

func TestCompletion(t *testing.T) {
	p := stopped(t)
	for _, shell := range shells {
		wantAll(t, p.ok(t, "", "completion", shell).out, "ollama-api-pool")
	}
	p.fails(t, exitUsage, `unknown shell "tcsh"`, "", "completion", "tcsh")
	p.fails(t, exitUsage, "SHELL (bash, zsh, fish, powershell) is missing", "", "completion")
	complete := func(args ...string) string {
		t.Helper()
		out, _ := strings.CutSuffix(p.ok(t, "", append([]string{"__complete"}, args...)...).out, ":4\n") // 4: no names of files
		return strings.TrimSpace(out)
	}
	wantText(t, "no store yet", complete("keys", "show", ""), "")
	if _, err := os.Stat(p.dir()); err == nil {
		t.Error("a completion made the data directory")
	}
	p.ok(t, "alice@example.com----"+keyA+"\n"+keyB, "keys", "import", "-")
	token := p.makeToken(t)
	wantAll(t, complete("keys", "show", ""), id(keyA)+"\tactive alice@example.com", id(keyB)+"\tactive -")
	wantText(t, "what was begun", complete("keys", "delete", id(keyA)[:4]), id(keyA)+"\tactive alice@example.com")
	wantText(t, "what is there already", complete("keys", "delete", id(keyA), id(keyA)[:4]), "")
	wantAll(t, complete("tokens", "revoke", ""), idOfToken(token)+"\tapp")
	wantText(t, "state", complete("keys", "list", "--status", ""), "active\nresting\nfailed\ndisabled\nexpired")
	wantText(t, "provider", complete("keys", "show", "--provider", ""), "ollama\nopenrouter")
	wantText(t, "another provider", complete("keys", "show", "--provider", "openrouter", ""), "")
	wantText(t, "format", complete("keys", "export", "--format", ""), "txt\ncsv\njsonl")
	wantText(t, "shell", complete("completion", ""), "bash\nzsh\nfish\npowershell")
	start(t, p)
	wantAll(t, complete("keys", "enable", ""), id(keyA), id(keyB))
}
