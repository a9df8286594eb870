package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// fakeKey is an encryption key for tests: 64 hex digits.
var fakeKey = strings.Repeat("0f", 32)

// defaults is what Load makes of nothing.
func defaults() Config {
	return Config{
		ListenAddr: ":8787", DataDir: "./data", ShutdownGrace: 30 * time.Second,
		MaxBodyBytes: 32 << 20, ImportMaxBytes: 256 << 20, LogLevel: slog.LevelInfo, LogFormat: LogText,
		TokenInPath:   true,
		OllamaBaseURL: "https://ollama.com", OpenRouterBaseURL: "https://openrouter.ai/api",
		MaxRetries: 3, KeyFailedFor: time.Hour, KeyDisableThreshold: 3, KeyDisabledFor: time.Hour,
		UpstreamHeaderTimeout: 300 * time.Second, StreamIdleTimeout: 300 * time.Second,
		RateLimitRequests: 60, RateLimitWindow: time.Minute, EnableBotDetection: true, BotDetectionMode: BotLog,
		ModelsCacheTTL: 300 * time.Second, EnableAnalytics: true, StatsSampleRate: 1, ModelStatsSampleRate: 1,
		ResponseCacheMaxBytes: 64 << 20, StatsRetention: Retention{Hours: 90, Days: 730},
		RequestLog: LogFailures, RequestLogMaxAge: 7 * 24 * time.Hour, RequestLogMaxBytes: 64 << 20,
		CheckConcurrency: 16, CheckPerSecond: 200,
	}
}

func settingsFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "settings.toml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// load loads settings that are right.
func load(t *testing.T, environ []string, file string) (*Config, Report) {
	t.Helper()
	c, report, err := Load(environ, file)
	if err != nil {
		t.Fatalf("Load(%q): %v", environ, err)
	}
	return c, report
}

func TestDefaults(t *testing.T) {
	for name, environ := range map[string][]string{
		"nothing":        nil,
		"empty values":   {"LISTEN_ADDR=", "MAX_RETRIES= ", "ADMIN_TOKEN=", "TRUSTED_PROXIES=\t"},
		"other programs": {"PATH=/bin", "MAX_RETRIE=x", "NOEQUALS", "=C:=x"},
	} {
		c, report := load(t, environ, "")
		if want := defaults(); !reflect.DeepEqual(*c, want) {
			t.Errorf("%s: got %+v, want %+v", name, *c, want)
		}
		if want := []string{"ENCRYPTION_KEY is not set: upstream keys are stored unencrypted"}; !slices.Equal(report.Warnings, want) {
			t.Errorf("%s: warnings %q, want %q", name, report.Warnings, want)
		}
	}
}

// TestEveryFieldHasItsOption sets every setting to something else than its
// default and expects every field to change.
func TestEveryFieldHasItsOption(t *testing.T) {
	values := map[string]string{
		"LISTEN_ADDR": "[::1]:80", "DATA_DIR": "/srv/pool", "PUBLIC_SITE_URL": "https://pool.example.com/", "TRUSTED_PROXIES": "10.1.2.3/8,::1",
		"SHUTDOWN_DELAY": "10s", "SHUTDOWN_GRACE": "1m", "MAX_BODY_BYTES": "1MiB", "IMPORT_MAX_BYTES": "1MB", "LOG_LEVEL": "WARN", "LOG_FORMAT": "Json",
		"ADMIN_TOKEN": "example-admin-token", "ENCRYPTION_KEY": fakeKey, "TOKEN_IN_PATH": "off", "MODELS_REQUIRE_AUTH": "ON",
		"METRICS_PUBLIC": "yes", "CORS_ALLOWED_ORIGINS": "https://a.example.com", "OLLAMA_BASE_URL": "http://127.0.0.1:11434",
		"OPENROUTER_BASE_URL": "http://127.0.0.1:2/api/", "DISABLE_OLLAMA": "1", "DISABLE_OPENROUTER": "True",
		"OPENROUTER_APP_URL": "https://app.example.com/?a=b", "OPENROUTER_APP_TITLE": "An App", "MAX_RETRIES": "0",
		"KEY_FAILED_SECONDS": "2", "KEY_DISABLE_THRESHOLD": "4", "KEY_DISABLED_SECONDS": "5m", "UPSTREAM_HEADER_TIMEOUT": "500ms",
		"STREAM_IDLE_TIMEOUT": "1.5", "ENABLE_RATE_LIMIT": "yes", "RATE_LIMIT_REQUESTS": "1", "RATE_LIMIT_WINDOW": "2s",
		"ENABLE_BOT_DETECTION": "no", "BOT_DETECTION_MODE": "block", "RESPONSE_CACHE_TTL": "60", "RESPONSE_CACHE_SHARED": "true",
		"MODELS_CACHE_TTL": "0", "ENABLE_ANALYTICS": "0", "STATS_SAMPLE_RATE": "0", "MODEL_STATS_SAMPLE_RATE": "0.25",
		"DATABASE_URL": "postgres://u:example-password@h/db", "REDIS_URL": "rediss://:example-password@h:6380/1",
		"SUPABASE_REST_URL": "https://x.example.com", "SUPABASE_SERVICE_ROLE_KEY": "example-service-key", "DISABLE_KV_STORAGE": "true",
		"RESPONSE_CACHE_MAX_BYTES": "1MiB", "STATS_RETENTION_DAYS": "7", "REQUEST_LOG": "All", "REQUEST_LOG_MAX_AGE": "24h",
		"REQUEST_LOG_MAX_BYTES": "1GiB", "HEALTH_CHECK_INTERVAL": "15m", "CHECK_CONCURRENCY": "4", "CHECK_PER_SECOND": "50",
	}
	var environ []string
	for _, o := range options() {
		if values[o.name] == "" {
			t.Errorf("%s has no value in this test", o.name)
		}
		environ = append(environ, o.name+"="+values[o.name])
	}
	c, report := load(t, environ, "")
	for _, s := range report.Settings {
		if s.Source != FromEnvironment {
			t.Errorf("%s comes from %s", s.Name, s.Source)
		}
	}
	got, def := reflect.ValueOf(*c), reflect.ValueOf(defaults())
	if got.NumField() != len(options()) {
		t.Errorf("%d fields for %d settings", got.NumField(), len(options()))
	}
	for i := range got.NumField() {
		if reflect.DeepEqual(got.Field(i).Interface(), def.Field(i).Interface()) {
			t.Errorf("%s is still its default", got.Type().Field(i).Name)
		}
	}
	if want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}; !slices.Equal(c.TrustedProxies, want) {
		t.Errorf("TrustedProxies = %v, want %v", c.TrustedProxies, want)
	}
	if c.BaseURL(gateway.Ollama) != "http://127.0.0.1:11434" || c.BaseURL(gateway.OpenRouter) != "http://127.0.0.1:2/api" {
		t.Errorf("base addresses %q, %q", c.BaseURL(gateway.Ollama), c.BaseURL(gateway.OpenRouter))
	}
	if !c.Disabled(gateway.Ollama) || !c.Disabled(gateway.OpenRouter) {
		t.Error("a provider is not disabled")
	}
}

func TestWholeWranglerFile(t *testing.T) {
	const file = "testdata/wrangler.toml"
	c, report := load(t, []string{"RATE_LIMIT_REQUESTS=7"}, file)
	want := defaults()
	want.AdminToken = "example-admin-token-not-real"
	want.DisableOpenRouter = true
	want.EnableRateLimit = true
	want.RateLimitRequests = 7
	want.StatsSampleRate = 0.5
	want.DatabaseURL = "postgresql://pool:example-db-password@db.example.com:6543/postgres?pgbouncer=true"
	if !reflect.DeepEqual(*c, want) {
		t.Errorf("got %+v, want %+v", *c, want)
	}
	if len(report.Warnings) != 2 || !strings.Contains(report.Warnings[0], "[env.production.vars]") || !strings.HasPrefix(report.Warnings[1], "ENCRYPTION_KEY") {
		t.Errorf("warnings %q", report.Warnings)
	}
	sources := map[string]Source{"RATE_LIMIT_REQUESTS": FromEnvironment, "STATS_SAMPLE_RATE": FromFile, "REDIS_URL": FromDefault, "MAX_RETRIES": FromDefault}
	for _, s := range report.Settings {
		if from, ok := sources[s.Name]; ok && s.Source != from {
			t.Errorf("%s from %s, want %s", s.Name, s.Source, from)
		}
	}
}

func TestFilePlacesAndKinds(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		environ    []string
		warning    string
		want       func(*Config)
	}{
		{"top level", `MAX_RETRIES = 5`, nil, "", func(c *Config) { c.MaxRetries = 5 }},
		{"float", `MAX_RETRIES = 5.0`, nil, "", func(c *Config) { c.MaxRetries = 5 }},
		{"vars", "[vars]\nMAX_RETRIES = '5'", nil, "", func(c *Config) { c.MaxRetries = 5 }},
		{"dotted vars", `vars.MAX_RETRIES = 5`, nil, "", func(c *Config) { c.MaxRetries = 5 }},
		{"both: vars", "MAX_RETRIES = 1\n[vars]\nMAX_RETRIES = 2", nil, "twice", func(c *Config) { c.MaxRetries = 2 }},
		{"both, vars empty", "MAX_RETRIES = 1\n[vars]\nMAX_RETRIES = ''", nil, "", func(c *Config) { c.MaxRetries = 1 }},
		{"environment wins", `MAX_RETRIES = 1`, []string{"MAX_RETRIES=2"}, "", func(c *Config) { c.MaxRetries = 2 }},
		{"environment wins over nonsense", `MAX_RETRIES = "x"`, []string{"MAX_RETRIES=2"}, "", func(c *Config) { c.MaxRetries = 2 }},
		{"empty environment", `MAX_RETRIES = 1`, []string{"MAX_RETRIES="}, "", func(c *Config) { c.MaxRetries = 1 }},
		{"later in the environment", ``, []string{"MAX_RETRIES=1", "MAX_RETRIES=2"}, "", func(c *Config) { c.MaxRetries = 2 }},
		{"switch", `METRICS_PUBLIC = true`, nil, "", func(c *Config) { c.MetricsPublic = true }},
		{"number as switch", `METRICS_PUBLIC = 1`, nil, "", func(c *Config) { c.MetricsPublic = true }},
		{"number as address", `LISTEN_ADDR = 9000`, nil, "", func(c *Config) { c.ListenAddr = ":9000" }},
		{"array", `CORS_ALLOWED_ORIGINS = ["https://a.example", " https://b.example/ "]`, nil, "", func(c *Config) {
			c.CORSAllowedOrigins = []string{"https://a.example", "https://b.example"}
		}},
		{"BOM and CRLF", "\ufeffMAX_RETRIES = 5\r\n", nil, "", func(c *Config) { c.MaxRetries = 5 }},
		{"unknown", `MAX_RETRYS = 5`, nil, "unknown setting MAX_RETRYS in the file is ignored: did you mean MAX_RETRIES?", nil},
		{"unknown under vars", "[vars]\nZZZ = 5", nil, "unknown setting ZZZ in the file is ignored", nil},
		{"lower case", `max_retries = 5`, nil, "max_retries in the file is ignored: the setting is written MAX_RETRIES", nil},
		{"no setting", "foo = 5\nFoo = 1\n'A B' = 2\n[BAR]\nX = 1\n[[QUX]]\nY = 2", nil, "", nil},
	} {
		c, report := load(t, append(tc.environ, "ENCRYPTION_KEY="+fakeKey), settingsFile(t, tc.file))
		want := defaults()
		want.EncryptionKey = c.EncryptionKey
		if tc.want != nil {
			tc.want(&want)
		}
		if !reflect.DeepEqual(*c, want) {
			t.Errorf("%s: got %+v, want %+v", tc.name, *c, want)
		}
		warnings := strings.Join(report.Warnings, "\n")
		if (tc.warning == "") != (warnings == "") || !strings.Contains(warnings, tc.warning) {
			t.Errorf("%s: warnings %q, want %q", tc.name, report.Warnings, tc.warning)
		}
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Load(nil, filepath.Join(dir, "none.toml")); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("missing file: %v", err)
	}
	if _, _, err := Load(nil, dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("directory: %v", err)
	}
	for _, tc := range []struct{ name, text, want string }{
		{"no quotes", "A = 1\nADMIN_TOKEN = canary-secret\n", "line 2: no value after =, or a text without quotes"},
		{"digits without quotes", "ENCRYPTION_KEY = 99999999999999999999999999", "line 1: a number that is too large; a text needs quotes around it"},
		{"not a date", "DATABASE_URL = 2020-13-45", "line 1: not a number, date or switch; a text needs quotes around it"},
		{"open quote", "ADMIN_TOKEN = \"canary-secret\nA = 1", "line 1: a text without its closing quote"},
		{"open quote at the end", "\n\nADMIN_TOKEN = \"canary-secret", "line 3: the file ends in the middle of something"},
		{"twice", "MAX_RETRIES = 1\nMAX_RETRIES = 2", "line 2: a name or table stands there twice"},
		{"no value", "canary-secret\nA = 1", "line 1: a name without = and a value"},
		{"more after the value", `ADMIN_TOKEN = "a" canary-secret`, "line 1: something after the value; a text needs quotes around it"},
		{"escape", `ADMIN_TOKEN = "C:\qcanary-secret"`, "line 1: a backslash with something unknown after it; in 'single quotes' a backslash is only a backslash"},
		{"UTF-16", "A\x00=\x001\x00", "line 1: the file holds NUL bytes; save it as UTF-8"},
		{"not UTF-8", "A = '\xe9'", "line 1: the file is not UTF-8"},
		{"control", "A = '\x01'", "line 1: a control character"},
		{"open table", "[vars\nA=1", "line 2: a table name that is not closed or empty"},
		{"another file", strings.Repeat("# x\n", maxFile/4+1), "is larger than 262144 bytes, which no settings file is"},
	} {
		name := settingsFile(t, tc.text)
		c, _, err := Load(nil, name)
		if c != nil || err == nil {
			t.Errorf("%s: no error", tc.name)
			continue
		}
		if s := err.Error(); !strings.Contains(s, name+": "+tc.want) || strings.Contains(s, "canary") {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestEverythingWrongIsListedAtOnce(t *testing.T) {
	file := settingsFile(t, `
KEY_DISABLE_THRESHOLD = 0
TRUSTED_PROXIES = ["10.0.0.0/8", 5]
STATS_SAMPLE_RATE = { a = 1 }
LOG_LEVEL = 2020-01-01
REDIS_URL = "http://u:canary-secret@h"
vars = 3
`)
	_, report, err := Load([]string{
		"LISTEN_ADDR=localhost", "MAX_RETRIES=99", "ADMIN_TOKEN=your-canary-secret", "ENCRYPTION_KEY=canary-secret",
		"DISABLE_KV_STORAGE=true", "OLLAMA_BASE_URL=https://canary:canary-secret@h", "SUPABASE_REST_URL=https://x.example.com",
		"MAX_BODY_BYTES=0", "UPSTREAM_HEADER_TIMEOUT=soon", "BOT_DETECTION_MODE=a\nb",
	}, file)
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatalf("error %v", err)
	}
	want := []string{
		"LOG_LEVEL=(a date or time) (file) must be one of debug, info, warn, error",
		"STATS_SAMPLE_RATE=(a table) (file) must be a number from 0 to 1",
		"TRUSTED_PROXIES=(an array) (file) must be IP addresses and CIDRs parted by commas, such as 10.0.0.0/8, 2001:db8::1",
		"vars=(a single value) (file) must be a table: [vars]",
		"LISTEN_ADDR=localhost (environment) must be host:port, :port or a port from 0 to 65535, such as :8787 or 127.0.0.1:8787",
		"MAX_BODY_BYTES=0 (environment) must be a size from 1 byte to 4GiB (bytes, or such as 32MiB, 256MB, 1GiB)",
		"ADMIN_TOKEN=*** (environment) must be a secret of your own in printable characters, not the placeholder of an example",
		"ENCRYPTION_KEY=*** (environment) must be 32 bytes as 64 hex digits or as base64, such as openssl rand -hex 32 makes",
		"OLLAMA_BASE_URL=***@h (environment) must be an http:// or https:// address without user name, query or fragment",
		"MAX_RETRIES=99 (environment) must be a whole number from 0 to 10",
		"KEY_DISABLE_THRESHOLD=0 (file) must be a whole number from 1 to 1000",
		"UPSTREAM_HEADER_TIMEOUT=soon (environment) must be a duration from 1ms to 24h (such as 300s, 1h, 500ms or a bare number of seconds)",
		"BOT_DETECTION_MODE=*** (environment) must be one of log, block",
		"REDIS_URL=*** (file) must be a redis:// or rediss:// address, with special characters of the password percent-encoded",
		"SUPABASE_REST_URL=https://x.example.com (environment) needs SUPABASE_SERVICE_ROLE_KEY, which is not set: the address alone lets nobody in",
	}
	var got []string
	for _, p := range ps {
		got = append(got, p.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := "15 settings are wrong:\n  " + strings.Join(want, "\n  "); err.Error() != want {
		t.Errorf("error %q", err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, report), "canary") {
		t.Error("a secret is shown")
	}
}

func TestConflictsAndDoubts(t *testing.T) {
	key := "ENCRYPTION_KEY=" + fakeKey
	for _, tc := range []struct {
		name     string
		environ  []string
		problem  string
		warnings []string
	}{
		{"nothing on disk, nowhere else", []string{"DISABLE_KV_STORAGE=1", "ADMIN_TOKEN=example-admin-token", key}, "DISABLE_KV_STORAGE=true (environment) needs DATABASE_URL", nil},
		{"nothing on disk, no token", []string{"DISABLE_KV_STORAGE=1", "DATABASE_URL=postgres://h/d", key}, "DISABLE_KV_STORAGE=true (environment) needs ADMIN_TOKEN", nil},
		{"nothing on disk, over rest", []string{"DISABLE_KV_STORAGE=1", "SUPABASE_REST_URL=https://h.example", "SUPABASE_SERVICE_ROLE_KEY=example", "ADMIN_TOKEN=example-admin-token", key}, "", nil},
		{"nothing on disk", []string{"DISABLE_KV_STORAGE=1", "DATABASE_URL=postgres://h/d", "ADMIN_TOKEN=example-admin-token", key}, "", nil},
		{"supabase without key", []string{"SUPABASE_REST_URL=https://h.example", key}, "needs SUPABASE_SERVICE_ROLE_KEY", nil},
		{"key without supabase", []string{"SUPABASE_SERVICE_ROLE_KEY=example", key}, "", []string{"SUPABASE_SERVICE_ROLE_KEY is set without SUPABASE_REST_URL and is not used"}},
		{"supabase in the clear", []string{"SUPABASE_REST_URL=http://abc.example.com", "SUPABASE_SERVICE_ROLE_KEY=example", key}, "", []string{"SUPABASE_REST_URL begins with http:// and is not in a private network: the service key, which opens the whole database, can be read on the way"}},
		{"supabase at a public address", []string{"SUPABASE_REST_URL=http://203.0.113.7:8000", "SUPABASE_SERVICE_ROLE_KEY=example", key}, "", []string{"SUPABASE_REST_URL begins with http:// and is not in a private network: the service key, which opens the whole database, can be read on the way"}},
		{"supabase next door", []string{"SUPABASE_REST_URL=http://kong:8000", "SUPABASE_SERVICE_ROLE_KEY=example", key}, "", nil},
		{"supabase in the cluster", []string{"SUPABASE_REST_URL=http://kong.pool.internal:8000", "SUPABASE_SERVICE_ROLE_KEY=example", key}, "", nil},
		{"supabase here", []string{"SUPABASE_REST_URL=http://127.0.0.1:8000", "SUPABASE_SERVICE_ROLE_KEY=example", key}, "", nil},
		{"supabase at home", []string{"SUPABASE_REST_URL=http://[fd00::7]:8000", "SUPABASE_SERVICE_ROLE_KEY=example", key}, "", nil},
		{"supabase beside a database", []string{"SUPABASE_REST_URL=https://abc.example.com", "SUPABASE_SERVICE_ROLE_KEY=example", "DATABASE_URL=postgres://h/d", key}, "", []string{"SUPABASE_REST_URL is set beside DATABASE_URL and is not used"}},
		{"short token", []string{"ADMIN_TOKEN=abc", key}, "", []string{"ADMIN_TOKEN has fewer than 8 characters and can be guessed"}},
		{"both off", []string{"DISABLE_OLLAMA=1", "DISABLE_OPENROUTER=1", key}, "", []string{"both providers are disabled: every request is answered 503"}},
		{"all trusted", []string{"TRUSTED_PROXIES=0.0.0.0/0", key}, "", []string{"TRUSTED_PROXIES trusts every address: any client can claim to be any other"}},
		{"double v1", []string{"OLLAMA_BASE_URL=https://h.example/v1/", key}, "", []string{"OLLAMA_BASE_URL ends in /v1, and /v1 is added to it: leave it out unless the upstream has it twice"}},
	} {
		_, report, err := Load(tc.environ, "")
		if (err == nil) != (tc.problem == "") || err != nil && !strings.Contains(err.Error(), tc.problem) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.problem)
		}
		if !slices.Equal(report.Warnings, tc.warnings) {
			t.Errorf("%s: warnings %q, want %q", tc.name, report.Warnings, tc.warnings)
		}
	}
}

func TestNothingShowsASecret(t *testing.T) {
	environ := []string{
		"ADMIN_TOKEN=canary-admin-token", "ENCRYPTION_KEY=" + strings.Repeat("ca", 32), "SUPABASE_REST_URL=https://h.example", "SUPABASE_SERVICE_ROLE_KEY=canary-service",
		"DATABASE_URL=postgres://pool:canary-password@db.example.com/pool?pgbouncer=true&password=canary-other", "REDIS_URL=redis://canary-name@h.example:6379/2",
	}
	c, report := load(t, environ, settingsFile(t, "MAX_RETRIES = 2\nDATA_DIR = '/srv/a@b'"))
	var out bytes.Buffer
	if err := report.Print(&out); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(map[string]any{"config": c, "report": report})
	if err != nil {
		t.Fatal(err)
	}
	everything := out.String() + string(asJSON) + fmt.Sprintf("%v %+v %#v %v", c, *c, *c, report)
	for _, bad := range []string{"canary", "cacaca", "\xca\xca"} {
		if strings.Contains(everything, bad) {
			t.Errorf("%q is shown: %s", bad, everything)
		}
	}
	for _, want := range []string{
		"# Server\n", "LISTEN_ADDR              :8787 ", "  default\n", "ADMIN_TOKEN               ***  environment\n",
		"postgres://pool:***@db.example.com/pool?password=***&pgbouncer=true  environment\n", "redis://***@h.example:6379/2 ",
		"MAX_RETRIES              2      file " + report.File + "\n", "PUBLIC_SITE_URL          (none) ",
	} {
		if !strings.Contains(squeeze(out.String()), squeeze(want)) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// squeeze makes one blank of several, since columns' widths do not matter here.
func squeeze(s string) string {
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, fs.ErrClosed }

func TestPrintReportsTheWritersError(t *testing.T) {
	_, report := load(t, nil, "")
	if err := report.Print(brokenWriter{}); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

func TestRetention(t *testing.T) {
	for text, want := range map[string]Retention{
		"90": {90, 730}, "1000": {1000, 1000}, "1": {1, 730}, "90,730": {90, 730}, "7, 30": {7, 30}, "5,5": {5, 5},
	} {
		if got, ok := parseRetention(text); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"0", "-1", "x", "90,", ",730", "90,30", "90,730,1", "1.5", "90d", "40000"} {
		if got, ok := parseRetention(text); ok {
			t.Errorf("%q is taken as %v", text, got)
		}
	}
}

func TestCheckInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "60": time.Minute, "1h": time.Hour} {
		if c, _ := load(t, []string{"HEALTH_CHECK_INTERVAL=" + text}, ""); c.HealthCheckInterval != want {
			t.Errorf("%q: %v, want %v", text, c.HealthCheckInterval, want)
		}
	}
	for _, text := range []string{"1s", "59s", "off", "-1h", "1000h"} {
		if _, _, err := Load([]string{"HEALTH_CHECK_INTERVAL=" + text}, ""); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
