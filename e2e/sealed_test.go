package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// What an import file holds beside its key.
const (
	fakePassword = "fake-Passw0rd-of-an-account"
	fakeSession  = "aid=fake-session-cookie"
)

// TestSecretsAtRest fills an instance with secrets of every kind, lets it work,
// kills it, lets it work again and stops it, and each time looks through every
// file that it wrote.
func TestSecretsAtRest(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		settings []string
		inClear  bool // upstream keys may stand in the store
	}{
		"encrypted": {[]string{encryptionKey}, false},
		"plain":     {nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, i, token := serving(t, mixed, append(tt.settings, "ADMIN_TOKEN=fake-admin-token-of-the-operator")...)
			line := "ada@example.invalid----" + fakePassword + "----" + fakeSession + "----" + fakeKey(gateway.Ollama, 500)
			Admin[any](t, i, "POST", "/admin/api-keys/import-from-txt", line)
			i.secrets.plant(fakePassword, fakeSession, fakeKey(gateway.Ollama, 500))
			write(t, filepath.Join(i.Home, "more.txt"), []byte(strings.ReplaceAll(line, "000500", "000501")))
			i.secrets.plant(fakeKey(gateway.Ollama, 501))
			said := i.Run("keys", "import", "more.txt").works(t)
			testkit.MustNotContain(t, said.Out+said.Err, i.secrets.list()...)
			if err := os.Remove(filepath.Join(i.Home, "more.txt")); err != nil {
				t.Fatal(err)
			}
			work := func() {
				t.Helper()
				for _, address := range []string{"/v1/chat/completions", "/t/" + token + "/v1/chat/completions", "/t/" + token + "/no/such/address"} {
					for range len(mixed) {
						if _, _, err := do(t.Context(), "POST", i.URL()+address, token, chatBody); err != nil {
							t.Error(err)
						}
					}
				}
			}
			work()
			i.Keys(gateway.Ollama) // what is pending is written now
			i.Kill()
			searchFiles(t, i, tt.inClear)
			i.Start()
			work()
			i.Stop()
			searchFiles(t, i, tt.inClear)
		})
	}
}

// searchFiles looks for the instance's secrets in all files of its directory.
// Where keys may stand in clear they must be found, which shows that the search
// finds what is there.
func searchFiles(t *testing.T, i *Instance, inClear bool) {
	t.Helper()
	foundKeys := 0
	err := filepath.WalkDir(i.Home, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content := read(t, path)
		for _, secret := range i.secrets.list() {
			isKey := strings.HasPrefix(secret, "fake-e2e-")
			if !bytes.Contains(content, []byte(secret)) {
				continue
			}
			if isKey {
				foundKeys++
			}
			if !isKey || !inClear {
				t.Errorf("a secret of %d characters stands in %s", len(secret), filepath.Base(path))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if inClear && foundKeys == 0 {
		t.Error("the search does not even find keys that are stored in clear")
	}
}
