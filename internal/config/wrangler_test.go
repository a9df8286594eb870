package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// Files as people have them.
func TestWranglerFiles(t *testing.T) {
	jsonc := func(c *Config) {
		c.AdminToken, c.PublicSiteURL, c.RateLimitRequests = "example-admin-token-not-real", "https://pool.example.com/a//b", 120
		c.StatsSampleRate, c.EnableRateLimit, c.DisableOpenRouter = 0.5, true, true
	}
	for _, tc := range []struct {
		file     string
		environ  []string
		want     func(*Config)
		warnings []string // parts of them, in order
	}{
		{"testdata/wrangler.jsonc", nil, jsonc, []string{"[env.production.vars]"}},
		{"testdata/wrangler.jsonc", []string{"CLOUDFLARE_ENV=production"}, func(c *Config) {
			c.AdminToken, c.MaxRetries = "example-production-token", 9
		}, nil},
		{"testdata/wrangler.toml", []string{"CLOUDFLARE_ENV=production", "ADMIN_TOKEN=example-token"}, func(c *Config) {
			c.AdminToken, c.MaxRetries = "example-token", 9
		}, []string{"unknown setting SOMETHING_ELSE"}},
		{"testdata/wrangler-2023.toml", []string{"CLOUDFLARE_ENV=staging"}, func(c *Config) {
			c.AdminToken, c.RateLimitRequests = "example-staging-token", 7
		}, nil},
		{"testdata/wrangler-2023.toml", []string{"CLOUDFLARE_ENV=empty"}, func(*Config) {}, nil},
		{"testdata/wrangler-2023.toml", []string{"RATE_LIMIT_REQUESTS=100"}, func(c *Config) {
			c.AdminToken, c.EnableAnalytics, c.RateLimitRequests, c.RateLimitWindow = "example-admin-token-not-real", false, 100, 90*time.Second
		}, []string{"unknown setting CACHE_TTL_SECONDS", "unknown setting JWT_SECRET", "[env.staging.vars]"}},
	} {
		c, report := load(t, append(tc.environ, "ENCRYPTION_KEY="+fakeKey), tc.file)
		want := defaults()
		want.EncryptionKey = c.EncryptionKey
		tc.want(&want)
		if !reflect.DeepEqual(*c, want) {
			t.Errorf("%s %v: got %+v, want %+v", tc.file, tc.environ, *c, want)
		}
		missing := slices.Clone(tc.warnings)
		for _, w := range report.Warnings {
			missing = slices.DeleteFunc(missing, func(part string) bool { return strings.Contains(w, part) })
		}
		if len(missing) > 0 || len(report.Warnings) != len(tc.warnings) {
			t.Errorf("%s %v: warnings %q, want %q", tc.file, tc.environ, report.Warnings, tc.warnings)
		}
		if text := strings.Join(report.Warnings, "\n"); strings.Contains(text, "example-") {
			t.Errorf("a warning repeats a value: %s", text)
		}
	}
}

func TestWranglerFilesThatAreWrong(t *testing.T) {
	for _, tc := range []struct {
		file    string
		environ []string
		words   string
	}{
		{"testdata/wrangler.toml", []string{"CLOUDFLARE_ENV=nowhere"}, "CLOUDFLARE_ENV=nowhere (environment) must be the name of an [env.…] section"},
		{"testdata/wrangler-2023.toml", nil, "RATE_LIMIT_REQUESTS=1_00 (file) must be a whole number"},
	} {
		if _, _, err := Load(tc.environ, tc.file); err == nil || !strings.Contains(err.Error(), tc.words) {
			t.Errorf("%s %v: %v, want %q", tc.file, tc.environ, err, tc.words)
		}
	}
}

func TestJSONWithComments(t *testing.T) {
	for text, want := range map[string]map[string]any{
		`{"a": 1, // one` + "\n" + `"b": [1.5, "x,]", ], }`: {"a": int64(1), "b": []any{1.5, "x,]"}},
		`/* {"a": 2} */ {"a": "\"//\\", "c": null}`:         {"a": `"//\`, "c": nil},
		"\ufeff{}": {},
	} {
		if got, err := parseJSONC(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for text, line := range map[string]string{
		"{\n\"secret\n}": "line", "{\n\n\"a\": secret}": "line 3", "{} {}": "line 1", "[]": "line 1", "": "line 1", "{\"a\": 1 /* secret": "line 1",
	} {
		_, err := parseJSONC(text)
		if err == nil || !strings.Contains(err.Error(), line) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", text, err, line)
		}
	}
}

func FuzzJSONWithComments(f *testing.F) {
	f.Add("{\"a\": 1, /* x */ }")
	f.Add("// \n[{},]")
	f.Add("\"\\")
	f.Add("/*")
	f.Fuzz(func(t *testing.T, text string) {
		bare := dropJSONComments(text)
		if len(bare) != len(text) || strings.Count(string(bare), "\n") != strings.Count(text, "\n") {
			t.Errorf("%q became %q", text, bare)
		}
		_, _ = parseJSONC(text)
	})
}
