package config

import (
	"log/slog"
	"net/netip"
	"time"

	"ollama-api-pool/internal/gateway"
)

// option is one setting.
type option struct {
	name    string
	group   string
	def     string // the default as an operator would write it; "": none
	unset   string // what having no value means, in a few words
	help    string
	rule    rule
	secret  bool // its value is never shown
	address bool // a secret that is an address with a password in it
}

// whenUnset says what having no value means.
func (o *option) whenUnset() string {
	if o.unset == "" {
		return "none"
	}
	return o.unset
}

const (
	day  = 24 * time.Hour
	gib  = 1 << 30
	tick = time.Millisecond // the shortest time that means anything here
)

// table holds every setting, in the order of the reference page. Nobody
// changes it.
var table = grouped(
	group{"Server", server},
	group{"Access", access},
	group{"Providers", providers},
	group{"Keys and attempts", attempts},
	group{"Limits", limits},
	group{"Caches", caches},
	group{"Statistics", statistics},
	group{"Storage", storage},
)

type group struct {
	name    string
	options []option
}

func grouped(groups ...group) []*option {
	var all []*option
	for _, g := range groups {
		for _, o := range g.options {
			o.group = g.name
			all = append(all, &o)
		}
	}
	return all
}

func options() []*option { return table }

// lookup finds a setting by its name, or nil.
func lookup(name string) *option {
	for _, o := range table {
		if o.name == name {
			return o
		}
	}
	return nil
}

var server = []option{
	{
		name: "LISTEN_ADDR", def: ":8787", rule: listenAddress(func(c *Config) *string { return &c.ListenAddr }),
		help: "Address and port to listen on. Without a host, every interface.",
	},
	{
		name: "DATA_DIR", def: "./data", rule: path(func(c *Config) *string { return &c.DataDir }),
		help: "Directory of the embedded store and other local state. It is made with mode 0700.",
	},
	{
		name: "PUBLIC_SITE_URL", rule: baseAddress(func(c *Config) *string { return &c.PublicSiteURL }),
		help: "Address under which people reach this server. OpenRouter is told it where `OPENROUTER_APP_URL` is not set.",
	},
	{
		name: "TRUSTED_PROXIES", rule: networks(func(c *Config) *[]netip.Prefix { return &c.TrustedProxies }),
		help: "Proxies in front of this server whose `CF-Connecting-IP` or `X-Forwarded-For` is believed. The client is the rightmost address that is not itself trusted.",
	},
	{
		name: "SHUTDOWN_DELAY", def: "0s", rule: duration(0, time.Hour, func(c *Config) *time.Duration { return &c.ShutdownDelay }),
		help: "How long requests are still taken after the server is told to stop, while `/health/ready` already says 503: time for a load balancer to notice. `SHUTDOWN_GRACE` begins after it.",
	},
	{
		name: "SHUTDOWN_GRACE", def: "30s", rule: duration(0, time.Hour, func(c *Config) *time.Duration { return &c.ShutdownGrace }),
		help: "How long running requests may take to finish when the server is told to stop. `0` cuts them off at once.",
	},
	{
		name: "MAX_BODY_BYTES", def: "32MiB", rule: size(4*gib, func(c *Config) *int64 { return &c.MaxBodyBytes }),
		help: "Largest request body on the data plane. A larger one is answered 413.",
	},
	{
		name: "IMPORT_MAX_BYTES", def: "256MiB", rule: size(16*gib, func(c *Config) *int64 { return &c.ImportMaxBytes }),
		help: "Largest body of an import call. A larger one is answered 413.",
	},
	{
		name: "LOG_LEVEL", def: "info", rule: logLevel(func(c *Config) *slog.Level { return &c.LogLevel }),
		help: "Lines below this level are not logged.",
	},
	{
		name: "LOG_FORMAT", def: "text", rule: choice(func(c *Config) *LogFormat { return &c.LogFormat }, LogText, LogJSON),
		help: "How log lines are written: for people or for machines.",
	},
}

var access = []option{
	{
		name: "ADMIN_TOKEN", unset: "made at first start", secret: true,
		rule: adminToken(func(c *Config) *gateway.Secret { return &c.AdminToken }),
		help: "Credential for the admin API. Without one a strong token is made at first start and kept in `DATA_DIR/admin-token`.",
	},
	{
		name: "ENCRYPTION_KEY", secret: true, rule: encryptionKey(func(c *Config) *gateway.Secret { return &c.EncryptionKey }),
		help: "Key with which upstream keys are encrypted in the store (AES-256-GCM). Without it they are stored as they are.",
	},
	{
		name: "TOKEN_IN_PATH", def: "true", rule: toggle(func(c *Config) *bool { return &c.TokenInPath }),
		help: "Whether clients that can send no header may put their token into the address, as `/t/sk-…/`.",
	},
	{
		name: "MODELS_REQUIRE_AUTH", def: "false", rule: toggle(func(c *Config) *bool { return &c.ModelsRequireAuth }),
		help: "Whether the model lists need a client token.",
	},
	{
		name: "METRICS_PUBLIC", def: "false", rule: toggle(func(c *Config) *bool { return &c.MetricsPublic }),
		help: "Whether `/metrics` can be read without the admin token.",
	},
	{
		name: "CORS_ALLOWED_ORIGINS", unset: "every site on the data plane, none on the admin API",
		rule: origins(func(c *Config) *[]string { return &c.CORSAllowedOrigins }),
		help: "Sites whose pages may call this server from a browser, both on the data plane and on the admin API.",
	},
}

var providers = []option{
	{
		name: "OLLAMA_BASE_URL", def: "https://ollama.com", rule: baseAddress(func(c *Config) *string { return &c.OllamaBaseURL }),
		help: "Address of Ollama Cloud. Paths such as `/v1/chat/completions` are added to it.",
	},
	{
		name: "OPENROUTER_BASE_URL", def: "https://openrouter.ai/api", rule: baseAddress(func(c *Config) *string { return &c.OpenRouterBaseURL }),
		help: "Address of OpenRouter. Paths such as `/v1/chat/completions` are added to it.",
	},
	{
		name: "DISABLE_OLLAMA", def: "false", rule: toggle(func(c *Config) *bool { return &c.DisableOllama }),
		help: "Switches Ollama Cloud off: its addresses answer 503.",
	},
	{
		name: "DISABLE_OPENROUTER", def: "false", rule: toggle(func(c *Config) *bool { return &c.DisableOpenRouter }),
		help: "Switches OpenRouter off: its addresses answer 503.",
	},
	{
		name: "OPENROUTER_APP_URL", unset: "PUBLIC_SITE_URL", rule: link(func(c *Config) *string { return &c.OpenRouterAppURL }),
		help: "Sent to OpenRouter as `HTTP-Referer` where the client sent none.",
	},
	{
		name: "OPENROUTER_APP_TITLE", rule: title(func(c *Config) *string { return &c.OpenRouterAppTitle }),
		help: "Sent to OpenRouter as `X-Title` where the client sent none.",
	},
}

var attempts = []option{
	{
		name: "MAX_RETRIES", def: "3", rule: number(0, 10, func(c *Config) *int { return &c.MaxRetries }),
		help: "Further attempts with other keys after the first one failed.",
	},
	{
		name: "KEY_FAILED_SECONDS", def: "3600", rule: duration(tick, 365*day, func(c *Config) *time.Duration { return &c.KeyFailedFor }),
		help: "How long a key that the upstream refused stays out.",
	},
	{
		name: "KEY_DISABLE_THRESHOLD", def: "3", rule: number(1, 1000, func(c *Config) *int { return &c.KeyDisableThreshold }),
		help: "Failures in a row after which a key is disabled.",
	},
	{
		name: "KEY_DISABLED_SECONDS", def: "3600", rule: duration(tick, 365*day, func(c *Config) *time.Duration { return &c.KeyDisabledFor }),
		help: "How long a key that was disabled by failures stays out.",
	},
	{
		name: "HEALTH_CHECK_INTERVAL", def: "0", rule: pauseOrOff(time.Minute, 30*day, func(c *Config) *time.Duration { return &c.HealthCheckInterval }),
		help: "How often keys that failed are checked again before they return. A check costs no tokens. `0` never.",
	},
	{
		name: "CHECK_CONCURRENCY", def: "16", rule: number(1, 1000, func(c *Config) *int { return &c.CheckConcurrency }),
		help: "How many keys are checked at the same time, at validated imports too.",
	},
	{
		name: "CHECK_PER_SECOND", def: "200", rule: number(1, 100_000, func(c *Config) *int { return &c.CheckPerSecond }),
		help: "How many checks may begin in a second, so that an upstream is not overrun.",
	},
	{
		name: "UPSTREAM_HEADER_TIMEOUT", def: "300s", rule: duration(tick, day, func(c *Config) *time.Duration { return &c.UpstreamHeaderTimeout }),
		help: "How long to wait for the head of an upstream's answer. Models can think for minutes before the first byte.",
	},
	{
		name: "STREAM_IDLE_TIMEOUT", def: "300s", rule: duration(tick, day, func(c *Config) *time.Duration { return &c.StreamIdleTimeout }),
		help: "How long an upstream may be silent in the middle of an answer before it is given up.",
	},
}

var limits = []option{
	{
		name: "ENABLE_RATE_LIMIT", def: "false", rule: toggle(func(c *Config) *bool { return &c.EnableRateLimit }),
		help: "Whether requests are limited per client address. It concerns the data plane only.",
	},
	{
		name: "RATE_LIMIT_REQUESTS", def: "60", rule: number(1, 1_000_000, func(c *Config) *int { return &c.RateLimitRequests }),
		help: "Requests that one client address may make within the window.",
	},
	{
		name: "RATE_LIMIT_WINDOW", def: "60", rule: duration(time.Second, day, func(c *Config) *time.Duration { return &c.RateLimitWindow }),
		help: "Length of the sliding window.",
	},
	{
		name: "ENABLE_BOT_DETECTION", def: "true", rule: toggle(func(c *Config) *bool { return &c.EnableBotDetection }),
		help: "Whether a suspicious `User-Agent` (scripts, crawlers, spiders) is noticed.",
	},
	{
		name: "BOT_DETECTION_MODE", def: "log", rule: choice(func(c *Config) *BotMode { return &c.BotDetectionMode }, BotLog, BotBlock),
		help: "What is done about it: `log` counts and logs it, `block` answers 403, also to an empty `User-Agent`.",
	},
}

var caches = []option{
	{
		name: "RESPONSE_CACHE_TTL", def: "0", rule: duration(0, 30*day, func(c *Config) *time.Duration { return &c.ResponseCacheTTL }),
		help: "How long whole answers are kept and given again to the same request of the same token. `0` keeps none.",
	},
	{
		name: "RESPONSE_CACHE_SHARED", def: "false", rule: toggle(func(c *Config) *bool { return &c.ResponseCacheShared }),
		help: "Whether an answer that is kept may be given to other tokens as well.",
	},
	{
		name: "RESPONSE_CACHE_MAX_BYTES", def: "64MiB", rule: size(64*gib, func(c *Config) *int64 { return &c.ResponseCacheMaxBytes }),
		help: "Memory that kept answers may take. What was not asked for the longest time goes first.",
	},
	{
		name: "MODELS_CACHE_TTL", def: "300", rule: duration(0, 7*day, func(c *Config) *time.Duration { return &c.ModelsCacheTTL }),
		help: "How long a model list is kept. `0` asks the upstream every time.",
	},
}

var statistics = []option{
	{
		name: "ENABLE_ANALYTICS", def: "true", rule: toggle(func(c *Config) *bool { return &c.EnableAnalytics }),
		help: "Whether statistics per model are kept, in total and by the hour. Totals and those of providers, tokens and keys are kept in any case.",
	},
	{
		name: "STATS_SAMPLE_RATE", def: "1.0", rule: rate(func(c *Config) *float64 { return &c.StatsSampleRate }),
		help: "Share of the requests that is counted. Below 1 the counts are scaled up, so that totals stay unbiased.",
	},
	{
		name: "MODEL_STATS_SAMPLE_RATE", def: "1.0", rule: rate(func(c *Config) *float64 { return &c.ModelStatsSampleRate }),
		help: "The same for the statistics per model.",
	},
	{
		name: "STATS_RETENTION_DAYS", def: "90,730", rule: retention(func(c *Config) *Retention { return &c.StatsRetention }),
		help: "For how many days statistics by the hour are kept and, after a comma, statistics by the day. Totals are kept for good.",
	},
	{
		name: "REQUEST_LOG", def: "failures", rule: choice(func(c *Config) *RequestLogMode { return &c.RequestLog }, LogFailures, LogAll, LogOff),
		help: "Which requests the request log keeps: `failures` those that failed or needed more than one attempt, `all` every one, `off` none. Bodies and credentials are never kept.",
	},
	{
		name: "REQUEST_LOG_MAX_AGE", def: "168h", rule: duration(time.Minute, 365*day, func(c *Config) *time.Duration { return &c.RequestLogMaxAge }),
		help: "How long the request log keeps a request.",
	},
	{
		name: "REQUEST_LOG_MAX_BYTES", def: "64MiB", rule: size(16*gib, func(c *Config) *int64 { return &c.RequestLogMaxBytes }),
		help: "How large the request log may become. The oldest requests go first.",
	},
}

var storage = []option{
	{
		name: "DATABASE_URL", unset: "the embedded store", secret: true, address: true,
		rule: databaseAddress(func(c *Config) *gateway.Secret { return &c.DatabaseURL }),
		help: "PostgreSQL to use instead of the embedded store, which several instances can share. Several hosts stand with commas between them (`host1:5432,host2:5432`): the one that can be written is used, unless `target_session_attrs` says otherwise; a socket's directory is given as `?host=/run/postgresql`. `sslmode` is `disable`, `allow`, `prefer`, `require`, `verify-ca` or `verify-full`, with `sslrootcert` for the authority's certificate; `ssl=true` and `sslmode=no-verify` are understood, too. Behind a transaction pooler add `?pgbouncer=true`; Supabase's and Neon's are known. Parameters that mean nothing here are left out with a warning.",
	},
	{
		name: "REDIS_URL", secret: true, address: true, rule: redisAddress(func(c *Config) *gateway.Secret { return &c.RedisURL }),
		help: "Redis through which several instances count limits together, share their caches and hear of changes at once: `redis://user:password@host:6379/0`, `rediss://` for TLS, `redis://sentinel1:26379,sentinel2:26379/0?master_name=mymaster&password=…` with Sentinels, `redis://host1:6379,host2:6379` or `?cluster=true` for a cluster. A request waits for it 50 ms at most; while it is down each instance limits and caches by itself.",
	},
	{
		name: "SUPABASE_REST_URL", rule: baseAddress(func(c *Config) *string { return &c.SupabaseRESTURL }),
		help: "Address of a Supabase project (`https://abc.supabase.co`), or of another PostgREST below `/rest/v1`, for hosts that allow no TCP to the database. Needs `SUPABASE_SERVICE_ROLE_KEY` and a script that is run once in the SQL editor, see `ollama-api-pool migrate sql --rest` and docs/supabase.md. Not used where `DATABASE_URL` is set, which is the better way.",
	},
	{
		name: "SUPABASE_SERVICE_ROLE_KEY", secret: true, rule: credential(func(c *Config) *gateway.Secret { return &c.SupabaseServiceRoleKey }),
		help: "Credential for `SUPABASE_REST_URL`: the project's `service_role` key or one of its secret keys (`sb_secret_…`). It opens the whole database.",
	},
	{
		name: "DISABLE_KV_STORAGE", def: "false", rule: toggle(func(c *Config) *bool { return &c.DisableKVStorage }),
		help: "Whether the local disk is left alone: nothing is written to it. Needs `ADMIN_TOKEN` and `DATABASE_URL`, or `SUPABASE_REST_URL`. An instance that starts while the database is away then has nothing to start from.",
	},
}
