package cli

import (
	"path/filepath"
	"testing"
)

// What is printed to be pasted into another terminal reaches this instance.
func TestElsewhere(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		environ      []string
		file         string
		begins, also string
	}{
		{nil, "", "bin/pool", ""},
		{[]string{"DATA_DIR=  ", "ADMIN_TOKEN="}, "", "bin/pool", ""},
		{[]string{"DATA_DIR=/var/lib/pool"}, "", "DATA_DIR=/var/lib/pool bin/pool", ""},
		{[]string{"DATA_DIR=/srv/the pool's"}, "", `DATA_DIR='/srv/the pool'\''s' bin/pool`, ""},
		{[]string{"DATA_DIR=sub"}, "", "DATA_DIR=" + shellWord(filepath.Join(here, "sub")) + " bin/pool", ""},
		{nil, "/etc/pool.toml", "bin/pool --config /etc/pool.toml", ""},
		{[]string{"ADMIN_TOKEN=" + testAdminToken, "DATA_DIR=/a"}, "/b", "DATA_DIR=/a bin/pool --config /b", ", with the same ADMIN_TOKEN"},
	} {
		p := &program{name: "bin/pool", environ: c.environ, configFile: c.file}
		wantText(t, "command", p.elsewhere(), c.begins)
		wantText(t, "also", p.alsoNeeded(), c.also)
	}
}
