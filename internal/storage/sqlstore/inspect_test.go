package sqlstore

import (
	"os"
	"path/filepath"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	made := func(name string, key []byte, keys int) string {
		path := filepath.Join(dir, name)
		s := mustOpen(t, Options{Path: path, EncryptionKey: key})
		add(t, s, gateway.OpenRouter, someKeys(0, keys)...)
		mustClose(t, s)
		return path
	}
	empty, plain := made("empty.db", nil, 0), made("plain.db", nil, 2)
	sealed, sealedEmpty := made("sealed.db", masterKey(1), 2), made("sealed-empty.db", masterKey(1), 0)
	for _, c := range []struct {
		path string
		key  []byte
		want Sealing
	}{
		{empty, nil, Sealing{Fits: true}},
		{empty, masterKey(1), Sealing{Fits: true}},
		{plain, nil, Sealing{HasKeys: true, Fits: true}},
		{plain, masterKey(1), Sealing{HasKeys: true}},
		{sealed, masterKey(1), Sealing{Encrypted: true, HasKeys: true, Fits: true}},
		{sealed, masterKey(2), Sealing{Encrypted: true, HasKeys: true}},
		{sealed, nil, Sealing{Encrypted: true, HasKeys: true}},
		{sealedEmpty, nil, Sealing{Encrypted: true}},
	} {
		if got, err := Inspect(t.Context(), c.path, c.key); got != c.want || err != nil {
			t.Errorf("%s with key %x: %+v, %v; want %+v", filepath.Base(c.path), c.key, got, err, c.want)
		}
	}

	inUse := mustOpen(t, Options{Path: plain})
	if got, err := Inspect(t.Context(), plain, nil); !got.Fits || err != nil {
		t.Errorf("while another has it open: %+v, %v", got, err)
	}
	mustClose(t, inUse)

	missing := filepath.Join(dir, "missing.db")
	_, err := Inspect(t.Context(), missing, nil)
	wantLine(t, err, missing, "look into the store", "there is no store")
	if _, err := os.Stat(missing); err == nil {
		t.Error("a missing file was made")
	}
	_, err = Inspect(t.Context(), plain, []byte("short"))
	wantKind(t, "a short key", err, gateway.KindInvalid)
}
