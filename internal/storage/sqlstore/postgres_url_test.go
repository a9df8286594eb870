package sqlstore

import (
	"strconv"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
)

const canary = "canary-password"

func TestPostgresAddresses(t *testing.T) {
	t.Setenv("PGPASSFILE", "/nonexistent")
	t.Setenv("PGSSLMODE", "")
	for text, want := range map[string]struct {
		hosts, user, database, password string
		tls, pooler                     bool
		searchPath, ignored             string
	}{
		"postgres://pool:pa%40ss@db.example.com/keys":                                          {hosts: "db.example.com:5432", user: "pool", database: "keys", password: "pa@ss", tls: true},
		"postgresql://pool@db.example.com:6432/keys?sslmode=disable":                           {hosts: "db.example.com:6432", user: "pool", database: "keys"},
		"POSTGRES://pool:p@ss@h/keys?sslmode=disable":                                          {hosts: "h:5432", user: "pool", database: "keys", password: "p@ss"},
		"postgres://pool@h1:5432,h2:5433/keys?target_session_attrs=read-write&sslmode=disable": {hosts: "h1:5432 h2:5433", user: "pool", database: "keys"},
		"postgres://pool@h1,h2/keys?sslmode=disable":                                           {hosts: "h1:5432 h2:5432", user: "pool", database: "keys"},
		"postgres://pool@[::1]:5433/keys?sslmode=disable":                                      {hosts: "::1:5433", user: "pool", database: "keys"},
		"postgres://pool@/keys?host=/run/postgresql":                                           {hosts: "/run/postgresql:5432", user: "pool", database: "keys"},
		"postgres://pool@%2Frun%2Fpostgresql/keys":                                             {hosts: "/run/postgresql:5432", user: "pool", database: "keys"},
		"postgres:///keys?host=h&port=5433&user=pool&password=secret+1&sslmode=disable":        {hosts: "h:5433", user: "pool", database: "keys", password: "secret+1"},
		"postgres://pool@h/keys?ssl=true":                                                      {hosts: "h:5432", user: "pool", database: "keys", tls: true},
		"postgres://pool@h/keys?ssl=false":                                                     {hosts: "h:5432", user: "pool", database: "keys"},
		"postgres://pool@h/keys?sslmode=no-verify":                                             {hosts: "h:5432", user: "pool", database: "keys", tls: true},
		"postgres://pool@h/keys?sslmode=verify-full":                                           {hosts: "h:5432", user: "pool", database: "keys", tls: true},
		"postgres://pool@h/keys?sslmode=disable&pgbouncer=true":                                {hosts: "h:5432", user: "pool", database: "keys", pooler: true},
		"postgres://pool@h/keys?sslmode=disable&pgbouncer=false":                               {hosts: "h:5432", user: "pool", database: "keys"},
		"postgresql://postgres.ref:x@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?sslmode=require": {
			hosts: "aws-0-eu-central-1.pooler.supabase.com:6543", user: "postgres.ref", database: "postgres", password: "x", tls: true, pooler: true,
		},
		"postgres://pool@ep-cool-name-pooler.eu-central-1.aws.neon.tech/keys?sslmode=require&channel_binding=prefer": {
			hosts: "ep-cool-name-pooler.eu-central-1.aws.neon.tech:5432", user: "pool", database: "keys", tls: true, pooler: true,
		},
		"postgres://pool@h/keys?sslmode=disable&schema=our&connection_limit=5&pool_timeout=10": {
			hosts: "h:5432", user: "pool", database: "keys", searchPath: `"our"`, ignored: "connection_limit pool_timeout",
		},
		"postgres://pool@h/keys?sslmode=disable&options=-c%20search_path%3Dour,public": {hosts: "h:5432", user: "pool", database: "keys", searchPath: "our,public"},
		"postgres://pool@h/keys?sslmode=disable&options=-c%20work_mem%3D1MB":           {hosts: "h:5432", user: "pool", database: "keys", ignored: "options"},
		"postgres://pool@h/keys?sslmode=disable&connect_timeout=0":                     {hosts: "h:5432", user: "pool", database: "keys"},
	} {
		a, err := parsePostgresURL(gateway.Secret(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		c := a.config
		hosts := c.Host + ":" + portText(c.Port)
		for _, f := range c.Fallbacks {
			if one := f.Host + ":" + portText(f.Port); !strings.Contains(" "+hosts+" ", " "+one+" ") {
				hosts += " " + one
			}
		}
		got := []any{hosts, c.User, c.Database, c.Password, c.TLSConfig != nil, a.pooler, a.searchPath, strings.Join(a.ignored, " ")}
		wantEqual(t, text, got, []any{want.hosts, want.user, want.database, want.password, want.tls, want.pooler, want.searchPath, want.ignored})
		if c.ConnectTimeout <= 0 {
			t.Errorf("%s: connecting takes as long as it likes", text)
		}
	}
}

func portText(port uint16) string { return strconv.Itoa(int(port)) }

func TestPostgresAddressesThatMakeNoSense(t *testing.T) {
	for text, words := range map[string]string{
		canary:                                                                      "postgres://",
		"mysql://u:" + canary + "@h/db":                                             "postgres://",
		"postgres://u:" + canary + "@h:port/db":                                     "port",
		"postgres://u:" + canary + "@h:99999/db":                                    "65535",
		"postgres://u:" + canary + "@h:1,h:2,h:x/db":                                "port",
		"postgres://u:" + canary + "%zz@h/db":                                       "percent",
		"postgres://u:12/" + canary + "@h/db":                                       "percent-encoded",
		"postgres://u:12?" + canary + "@h/db":                                       "percent-encoded",
		"postgres://u:1?2&" + canary + ";x=1":                                       "sensible name",
		"postgres://u:" + canary + "@h/db?sslmode=" + canary:                        "verify-full",
		"postgres://u:" + canary + "@h/db?ssl=" + canary:                            "no-verify",
		"postgres://u:" + canary + "@h/db?target_session_attrs=" + canary:           "read-write",
		"postgres://u:" + canary + "@h/db?connect_timeout=" + canary:                "seconds",
		"postgres://u:" + canary + "@h1:1,h2/db?port=1,2,3":                         "3 ports",
		"postgres://u:" + canary + "@::1/db":                                        "square brackets",
		"postgres://u:" + canary + "@[::1/db":                                       "colons",
		"postgres://u:" + canary + "@h/db?x\n=" + canary:                            "control character",
		"postgres://u:" + canary + "@h/db?sslrootcert=/nonexistent/ca.pem":          "no such file",
		"postgres://u:" + canary + "@h/db?sslmode=verify-ca&sslrootcert=/" + canary: "no such file",
	} {
		_, err := New(Options{URL: gateway.Secret(text)})
		wantKind(t, text, err, gateway.KindInvalid)
		if err == nil || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want one with %q and without the password", text, err, words)
		}
	}
}

func TestFingerprints(t *testing.T) {
	of := func(text string) string {
		t.Helper()
		s, err := New(Options{URL: gateway.Secret(text)})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(s.Place(), canary) || strings.Contains(s.Fingerprint(), canary) {
			t.Errorf("the place %q or the fingerprint %q shows the password", s.Place(), s.Fingerprint())
		}
		return s.Fingerprint()
	}
	same := of("postgres://u:" + canary + "@h:5432,h2/db?sslmode=disable")
	if of("postgresql://u:other@H2,h/db?sslmode=require&connection_limit=1") != same {
		t.Error("another password, or order of machines, makes another database")
	}
	for _, other := range []string{"postgres://u@h/db", "postgres://u@h,h2/db2", "postgres://v@h,h2/db", "postgres://u@h,h2:1/db", "postgres://u@h,h2/db?schema=x"} {
		if of(other) == same {
			t.Errorf("%s is taken for another database", other)
		}
	}
}

func FuzzPostgresURL(f *testing.F) {
	for _, seed := range []string{
		"postgres://u:%s@h:5432,h2/db?pgbouncer=true&schema=a", "postgres://%s@h/db", "postgres://u:%s@[::1]:5432/db?ssl=true", "%s",
		"postgres://u@/db?host=/x&password=%s", "postgres://u:%s?a=b@h", "postgres://u:p/%s@h/d", "postgres://u:%%41%s@h/d?options=-csearch_path=x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, form string) {
		if strings.Contains(form, "/nonexistent") || strings.Contains(form, "service") || strings.Contains(form, "cert") || strings.Contains(form, "passfile") {
			return // what reads files is not asked for here
		}
		a, err := parsePostgresURL(gateway.Secret(strings.ReplaceAll(form, "%s", canary)))
		if err != nil {
			if strings.Contains(err.Error(), canary) {
				t.Fatalf("%q: the error shows the password: %v", form, err)
			}
			return
		}
		if a.config.Password == canary && strings.Contains(a.fingerprint+strings.Join(a.ignored, " "), canary) {
			t.Fatalf("%q: the password shows in %q", form, a.ignored)
		}
		if a.config.ConnectTimeout <= 0 || len(a.place) > 400 {
			t.Fatalf("%q: %+v", form, a)
		}
	})
}
