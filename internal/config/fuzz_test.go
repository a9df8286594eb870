package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

func field(*Config) func(*Config) *[]netip.Prefix {
	return func(c *Config) *[]netip.Prefix { return &c.TrustedProxies }
}

func secretField(c *Config) *gateway.Secret { return &c.AdminToken }

// FuzzSettingsFile reads files around a line with secrets, of whatever form,
// and expects that no output repeats them.
func FuzzSettingsFile(f *testing.F) {
	sample, err := os.ReadFile("testdata/wrangler.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(sample), "")
	for _, s := range [][2]string{
		{"", ""},
		{"MAX_RETRIES = 3\n", "\n[vars]\nMAX_RETRIES = 'x'"},
		{"LOG_LEVEL = \"\"\"", "\"\"\""},
		{"LOG_LEVEL = \"\"\"\\", "\"\"\""},
		{"LOG_LEVEL = '''", "'''"},
		{"A = [", "]"},
		{"vars = ", ""},
		{"# \xff\xfe", "\x00"},
		{"ADMIN_TOKEN = 1", "ADMIN_TOKEN = 2"},
		{"[vars]", "DISABLE_KV_STORAGE = true\nDATA_DIR = '\x00'"},
		{"TRUSTED_PROXIES = ['1.2.3.4', ", "]\nSHUTDOWN_GRACE = inf"},
	} {
		f.Add(s[0], s[1])
	}
	const canary = "canary-s3cret"
	lines := []string{
		"ADMIN_TOKEN = \"" + canary + "\"",
		"ADMIN_TOKEN = " + canary,
		"ENCRYPTION_KEY = '" + canary + "'",
		"DATABASE_URL = \"postgres://u:" + canary + "@h/db\"",
		"REDIS_URL = \"redis://h?" + canary + "@x\"",
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		if strings.Count(before+after, ".") > 500 {
			return // the TOML reader takes long over names nested that deep
		}
		for _, line := range lines {
			file := filepath.Join(t.TempDir(), "settings.toml")
			if err := os.WriteFile(file, []byte(before+"\n"+line+"\n"+after), 0o600); err != nil {
				t.Fatal(err)
			}
			c, report, err := Load(nil, file)
			if (c == nil) == (err == nil) {
				t.Fatalf("config %v with error %v", c, err)
			}
			var out strings.Builder
			if err := report.Print(&out); err != nil {
				t.Fatal(err)
			}
			if shown := fmt.Sprintf("%v %v %s", err, report, out.String()); strings.Contains(shown, canary) {
				t.Fatalf("secret shown by %q: %s", before+"\n"+line+"\n"+after, shown)
			}
		}
	})
}

// FuzzValues reads arbitrary values for every setting.
func FuzzValues(f *testing.F) {
	for _, s := range []string{"", "1", "-1", "1h", "32MiB", "true", "https://h.example", "postgres://u:p@h/db", "10.0.0.0/8,::1", ":8787", "*", "\x00", "é", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, o := range options() {
			c, report, err := Load([]string{o.name + "=" + value}, "")
			if (c == nil) == (err == nil) {
				t.Fatalf("%s=%q: config %v with error %v", o.name, value, c, err)
			}
			for _, s := range report.Settings {
				if strings.ContainsAny(s.Value, "\n\r\x00\x1b") {
					t.Fatalf("%s=%q: shown as %q", o.name, value, s.Value)
				}
			}
		}
	})
}
