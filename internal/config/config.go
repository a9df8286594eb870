// Package config is what the operator decides: it reads the settings from the
// environment and a TOML file, checks them all at once, and hands the rest of
// the program one Config that never changes. One table (options.go) holds every
// setting; the reading, the printing and the reference page follow from it.
package config

import (
	"log/slog"
	"net/netip"
	"time"

	"ollama-api-pool/internal/gateway"
)

// LogFormat is how log lines are written.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// RequestLogMode is which requests the request log keeps.
type RequestLogMode string

// What the request log can keep.
const (
	LogFailures RequestLogMode = "failures" // what failed, or needed more than one attempt
	LogAll      RequestLogMode = "all"
	LogOff      RequestLogMode = "off"
)

// Retention is for how many days statistics are kept.
type Retention struct {
	Hours int // by the hour
	Days  int // by the day
}

// BotMode is what happens to a suspicious agent.
type BotMode string

// What can happen to a suspicious agent.
const (
	BotLog   BotMode = "log"   // it is counted and logged
	BotBlock BotMode = "block" // it is answered 403
)

// Config holds every setting in the form in which the program uses it. Load
// makes it; from then on nobody changes it or what its slices hold, so it may
// be read from anywhere at any time. A zero value means "not set" only where a
// field says so.
type Config struct {
	ListenAddr     string         // host:port; the host may be empty
	DataDir        string         // directory of the embedded store and local state
	PublicSiteURL  string         // without a slash at its end; "": not set
	TrustedProxies []netip.Prefix // masked; nil: none
	ShutdownDelay  time.Duration  // before new requests are refused; 0: at once
	ShutdownGrace  time.Duration  // 0: running requests are cut off at once
	MaxBodyBytes   int64
	ImportMaxBytes int64
	LogLevel       slog.Level
	LogFormat      LogFormat

	AdminToken         gateway.Secret // "": to be made at first start
	EncryptionKey      gateway.Secret // 32 raw bytes; "": upstream keys are stored as they are
	TokenInPath        bool
	ModelsRequireAuth  bool
	MetricsPublic      bool
	CORSAllowedOrigins []string // lower case; "*" alone: every site; nil: every site on the data plane, none on the admin API

	OllamaBaseURL      string // without a slash at its end
	OpenRouterBaseURL  string // without a slash at its end
	DisableOllama      bool
	DisableOpenRouter  bool
	OpenRouterAppURL   string // "": PublicSiteURL stands in
	OpenRouterAppTitle string // "": not set

	MaxRetries            int // attempts after the first
	KeyFailedFor          time.Duration
	KeyDisableThreshold   int // failures in a row
	KeyDisabledFor        time.Duration
	UpstreamHeaderTimeout time.Duration
	StreamIdleTimeout     time.Duration

	EnableRateLimit    bool
	RateLimitRequests  int
	RateLimitWindow    time.Duration
	EnableBotDetection bool
	BotDetectionMode   BotMode

	ResponseCacheTTL      time.Duration // 0: off
	ResponseCacheShared   bool
	ResponseCacheMaxBytes int64
	ModelsCacheTTL        time.Duration // 0: off

	EnableAnalytics      bool
	StatsSampleRate      float64 // 0..1
	ModelStatsSampleRate float64 // 0..1
	StatsRetention       Retention
	RequestLog           RequestLogMode
	RequestLogMaxAge     time.Duration
	RequestLogMaxBytes   int64
	HealthCheckInterval  time.Duration // 0: off
	CheckConcurrency     int           // checks of keys at the same time
	CheckPerSecond       int           // checks begun in a second, at most

	DatabaseURL            gateway.Secret // PostgreSQL, with its password; "": the embedded store
	RedisURL               gateway.Secret // with its password; "": no Redis
	SupabaseRESTURL        string         // without a slash at its end; "": not set
	SupabaseServiceRoleKey gateway.Secret
	DisableKVStorage       bool // nothing is written to the local disk
}

// BaseURL is the address below which a provider's paths lie, without a slash
// at its end.
func (c *Config) BaseURL(p gateway.ProviderName) string {
	if p == gateway.OpenRouter {
		return c.OpenRouterBaseURL
	}
	return c.OllamaBaseURL
}

// Disabled reports whether a provider is switched off.
func (c *Config) Disabled(p gateway.ProviderName) bool {
	if p == gateway.OpenRouter {
		return c.DisableOpenRouter
	}
	return c.DisableOllama
}

// Load reads every setting: from environ (NAME=value, as os.Environ gives it;
// of two the later counts), else from the TOML file unless its name is "", else
// the default. An empty value counts as unset. The error is Problems when
// settings are wrong, all of them at once, and names the file when that cannot
// be read. The report is filled in as far as the reading came, also with an error.
func Load(environ []string, file string) (*Config, Report, error) {
	src, err := gather(environ, file)
	report := Report{File: file, Warnings: src.warnings}
	if err != nil {
		return nil, report, err
	}
	c := &Config{}
	problems := src.problems
	for _, o := range options() {
		text, from := src.value(o.name)
		if from == FromDefault {
			text = o.def
		}
		report.Settings = append(report.Settings, Setting{
			Name: o.name, Group: o.group, Value: o.shown(text), Source: from,
			Default: o.def, Unset: o.whenUnset(), Help: o.help,
		})
		if text != "" && !o.rule.set(c, text) {
			problems = append(problems, Problem{Setting: o.name, Value: o.shownWrong(text), Source: from, Reason: "must be " + o.rule.allowed})
		}
	}
	problems = append(problems, conflicts(c, src)...)
	if len(problems) > 0 {
		return nil, report, problems
	}
	report.Warnings = append(report.Warnings, doubts(c)...)
	return c, report, nil
}
