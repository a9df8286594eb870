package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// quickStart is a block of shell commands that the tests run.
var quickStart = regexp.MustCompile("(?s)<!-- quick start -->\\s*```sh\n(.*?)```")

func TestQuickStart(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"README.md", "README.zh.md"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := os.ReadFile(filepath.Join("..", name))
			if err != nil {
				t.Fatal(err)
			}
			blocks := quickStart.FindAllStringSubmatch(string(page), -1)
			if len(blocks) == 0 {
				t.Fatal("no block of shell commands is marked with <!-- quick start -->")
			}
			for _, block := range blocks {
				follow(t, block[1])
			}
		})
	}
}

// follow runs a quick start in a directory as a checkout is after make build,
// beside a running program, and tries what it gives.
func follow(t *testing.T, script string) {
	key := found(regexp.MustCompile(`echo '([^']+)' > keys.txt`), script)
	if key == "" {
		t.Fatalf("the quick start makes no keys.txt:\n%s", script)
	}
	up := newUpstream(t, map[string]fate{key: fateOK})
	i := newInstance(t, up.settings()...)
	i.secrets.plant(key)
	if err := os.Mkdir(filepath.Join(i.Home, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(built, filepath.Join(i.Home, "bin", "ollama-api-pool")); err != nil {
		t.Fatal(err)
	}
	i.Start()
	said := i.Shell(script).works(t)
	token := found(regexp.MustCompile(`(?m)^(sk-\w+)$`), said.Out)
	if token == "" {
		t.Fatalf("no token among\n%s", said.Out)
	}
	i.secrets.plant(token)
	if status, answer, err := do(t.Context(), "POST", i.URL()+"/v1/chat/completions", token, chatBody); err != nil || status != 200 {
		t.Errorf("the token does not work: %d %s %v", status, answer, err)
	}
	if !strings.Contains(said.Out, "active") {
		t.Errorf("the list of keys is not there:\n%s", said.Out)
	}
	i.Stop()
}
