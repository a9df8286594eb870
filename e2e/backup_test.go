package e2e

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// backs makes a backup while the program serves, looks through it, loses the
// data directory and puts the backup in its place.
func backs(t *testing.T, i *Instance) {
	t.Helper()
	before := i.Keys(gateway.OpenRouter)
	state := i.Keys(gateway.Ollama)
	said := i.Run("backup", "pool.backup").works(t)
	testkit.MustNotContain(t, said.Out+said.Err, i.secrets.list()...)
	searchBackup(t, i, filepath.Join(i.Home, "pool.backup"))
	i.Stop()
	if err := os.RemoveAll(i.Data); err != nil {
		t.Fatal(err)
	}
	i.Run("restore", "pool.backup").works(t)
	i.Start()
	sameKeys(t, before, i.Keys(gateway.OpenRouter))
	sameKeys(t, state, i.Keys(gateway.Ollama))
}

// sameKeys expects that two lists say the same.
func sameKeys(t *testing.T, before, after map[string]keyEntry) {
	t.Helper()
	wrong := 0
	for id, was := range before {
		now, there := after[id]
		if there && was.DisabledUntil != nil && now.DisabledUntil != nil && was.DisabledUntil.Equal(*now.DisabledUntil) {
			now.DisabledUntil = was.DisabledUntil
		}
		if was != now {
			if wrong++; wrong <= 5 {
				t.Errorf("key %s: before %+v, after %+v", id, was, now)
			}
		}
	}
	if len(before) != len(after) || wrong > 0 {
		t.Errorf("before %d keys, after %d; %d have changed", len(before), len(after), wrong)
	}
}

// searchBackup looks for secrets in what a backup holds.
func searchBackup(t *testing.T, i *Instance, path string) {
	t.Helper()
	packed, err := gzip.NewReader(bytes.NewReader(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewReader(packed)
	bytesIn := 0
	for {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		bytesIn += len(content)
		for _, secret := range i.secrets.list() {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("the backup's %s holds a secret of %d characters", head.Name, len(secret))
			}
		}
	}
	if bytesIn == 0 {
		t.Error("the backup is empty")
	}
}
