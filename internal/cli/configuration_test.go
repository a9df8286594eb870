package cli

import (
	"strings"
	"testing"

	"ollama-api-pool/internal/config"
)

const testEncryptionKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

func TestConfigCheck(t *testing.T) {
	p := place{env: []string{"ENCRYPTION_KEY=" + testEncryptionKey}}
	r := p.ok(t, "", "config", "check")
	wantText(t, "fine", r.out+r.err, "The settings are fine.\n")

	doubtful := place{}.ok(t, "", "config", "check")
	wantText(t, "doubtful", doubtful.out, "The settings are fine.\n")
	wantAll(t, doubtful.err, "warning: ENCRYPTION_KEY is not set")

	p.env = []string{"MAX_RETRIES=many", "LISTEN_ADDR=nowhere", "ADMIN_TOKEN=your-canary", "ENCRYPTION_KEY=canary"}
	r = p.fails(t, exitFailed, "4 settings are wrong:", "", "config", "check")
	wantAll(t, r.err, "\n  MAX_RETRIES=many (environment) must be", "\n  LISTEN_ADDR=nowhere", "\n  ADMIN_TOKEN=***", "\n  ENCRYPTION_KEY=***")
	wantNone(t, r.out+r.err, "canary")
	wantText(t, "standard output", r.out, "")

	file := writeTemp(t, "pool.toml", "MAX_RETRIES = 2\nMAX_RETRYS = 3\n")
	r = p.fails(t, exitFailed, "wrong", "", "config", "check", "--config", file)
	wantAll(t, r.err, "MAX_RETRYS")
	place{}.fails(t, exitFailed, "no such file", "", "config", "check", "--config", "/nonexistent/pool.toml")
	r = place{env: []string{"DATABASE_URL=postgres://joe:pw-canary@db.example/pool?sslmode=bogus"}}.fails(t, exitFailed, "sslmode", "", "config", "check")
	wantNone(t, r.out+r.err, "pw-canary")
	r = place{env: []string{"REDIS_URL=redis://:pw-canary@localhost", "DATABASE_URL=postgres://joe:pw-canary@db.example/pool"}}.ok(t, "", "config", "check")
	wantNone(t, r.out+r.err, "canary")
}

func TestConfigPrint(t *testing.T) {
	file := writeTemp(t, "wrangler.toml", "[vars]\nMAX_RETRIES = 2\nRATE_LIMIT_REQUESTS = 7\n")
	p := place{env: []string{
		"ADMIN_TOKEN=canary-admin-token", "ENCRYPTION_KEY=" + testEncryptionKey, "DATABASE_URL=postgres://joe:canary-pw@db.example/pool",
		"MAX_RETRIES=5",
	}}
	r := p.ok(t, "", "config", "print", "--config", file)
	for _, line := range []string{
		"MAX_RETRIES 5 environment", "RATE_LIMIT_REQUESTS 7 file " + file, "ADMIN_TOKEN *** environment", "ENCRYPTION_KEY *** environment",
		"DATABASE_URL postgres://joe:***@db.example/pool environment", "LISTEN_ADDR :8787 default",
	} {
		found := false
		for got := range strings.Lines(r.out) {
			found = found || strings.Join(strings.Fields(got), " ") == line
		}
		if !found {
			t.Errorf("%q is not in:\n%s", line, r.out)
		}
	}

	j := p.ok(t, "", "config", "print", "--json", "--config", file)
	got := fromJSON[printedConfig](t, j.out)
	settings := map[string]printedSetting{}
	for _, s := range got.Settings {
		settings[s.Name] = s
	}
	if got.File != file || *settings["MAX_RETRIES"].Value != "5" || settings["MAX_RETRIES"].Source != config.FromEnvironment ||
		settings["RATE_LIMIT_REQUESTS"].Source != config.FromFile || settings["REDIS_URL"].Value != nil || settings["LISTEN_ADDR"].Group != "Server" {
		t.Errorf("%+v", got)
	}
	wantNone(t, r.out+r.err+j.out+j.err, "canary", testEncryptionKey)

	// Wrong settings are printed all the same, and are a failure.
	p.env = append(p.env, "LOG_LEVEL=canary-loud")
	for _, more := range [][]string{nil, {"--json"}} {
		r = p.fails(t, exitFailed, "LOG_LEVEL=canary-loud", "", append([]string{"config", "print"}, more...)...)
		wantAll(t, r.out, "LOG_LEVEL", "MAX_RETRIES")
	}
	place{}.fails(t, exitFailed, "no such file", "", "config", "print", "--config", "/nonexistent/pool.toml")
	p.fails(t, exitUsage, "unknown command", "", "config", "show")
}
