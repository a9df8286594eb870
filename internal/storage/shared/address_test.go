package shared

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"ollama-api-pool/internal/gateway"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		mode  Mode
		shown string
		addrs []string // of Sentinels or of a cluster
		db    int
	}{
		"redis://127.0.0.1":                                   {ModeSingle, "redis://127.0.0.1:6379", []string{"127.0.0.1:6379"}, 0},
		"redis://cache.example:7000/2":                        {ModeSingle, "redis://cache.example:7000", []string{"cache.example:7000"}, 2},
		"redis://cache.example:7000?db=4&pool_size=7":         {ModeSingle, "redis://cache.example:7000", []string{"cache.example:7000"}, 4},
		"rediss://u:p@[2001:db8::1]:7000/0":                   {ModeSingle, "rediss://[2001:db8::1]:7000", []string{"[2001:db8::1]:7000"}, 0},
		"redis://[2001:db8::1]":                               {ModeSingle, "redis://[2001:db8::1]:6379", []string{"[2001:db8::1]:6379"}, 0},
		"redis://:fake%2Fword@h:1/1?skip_verify=true":         {ModeSingle, "redis://h:1", []string{"h:1"}, 1},
		"redis://s1?master_name=m":                            {ModeSentinel, "redis://s1:26379", []string{"s1:26379"}, 0},
		"redis://s1:1/5?master_name=m&addr=s2:2&addr=s3:3":    {ModeSentinel, "redis://s1:1,s2:2,s3:3", []string{"s1:1", "s2:2", "s3:3"}, 5},
		"redis://a:b@s1:1,s2,s3:3/5?master_name=m&password=c": {ModeSentinel, "redis://s1:1,s2:26379,s3:3", []string{"s1:1", "s2:26379", "s3:3"}, 5},
		"redis://h1,h2:2,h3":                                  {ModeCluster, "redis://h1:6379,h2:2,h3:6379", []string{"h1:6379", "h2:2", "h3:6379"}, 0},
		"rediss://u:p@h1:1/0?cluster=true":                    {ModeCluster, "rediss://h1:1", []string{"h1:1"}, 0},
		"redis://h1:1?addr=h2:2&addr=h3:3":                    {ModeCluster, "redis://h1:1,h2:2,h3:3", []string{"h1:1", "h2:2", "h3:3"}, 0},
	} {
		a, err := parseAddress(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var addrs []string
		db := 0
		switch a.mode {
		case ModeSentinel:
			addrs, db = a.sentinel.SentinelAddrs, a.sentinel.DB
		case ModeCluster:
			addrs = a.cluster.Addrs
		case ModeSingle:
			addrs, db = []string{a.single.Addr}, a.single.DB
		}
		if a.mode != want.mode || a.shown != want.shown || !slices.Equal(addrs, want.addrs) || db != want.db {
			t.Errorf("%s: %s %s %v %d, want %+v", text, a.mode, a.shown, addrs, db, want)
		}
	}
}

func TestAddressesOfWhoMayComeIn(t *testing.T) {
	t.Parallel()
	a, err := parseAddress("rediss://user:fake%2Fpass%40word@h:1/1")
	if err != nil {
		t.Fatal(err)
	}
	if o := a.single; o.Username != "user" || o.Password != "fake/pass@word" || o.TLSConfig == nil || o.TLSConfig.ServerName != "h" {
		t.Errorf("%+v", o)
	}
	// go-redis' own way: in front of the @ stands what Sentinels want.
	a, err = parseAddress("redis://su:sp@s1:1,s2:2?master_name=m&username=u&password=p")
	if err != nil {
		t.Fatal(err)
	}
	if o := a.sentinel; o.SentinelUsername != "su" || o.SentinelPassword != "sp" || o.Username != "u" || o.Password != "p" || o.MasterName != "m" {
		t.Errorf("%+v", o)
	}
	a, err = parseAddress("rediss://u:p@h1:1,h2:2?skip_verify=true")
	if err != nil {
		t.Fatal(err)
	}
	if o := a.cluster; o.Username != "u" || o.Password != "p" || !o.TLSConfig.InsecureSkipVerify {
		t.Errorf("%+v", o)
	}
}

func TestWrongAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                      "of the form",
		"http://h":                              "of the form",
		"unix:///run/redis.sock":                "of the form",
		"redis://":                              "host 1 of 1",
		"redis://h:0":                           "host 1 of 1",
		"redis://h:1:2":                         "host 1 of 1",
		"redis://h1,h2:70000":                   "host 2 of 2",
		"redis://h1,,h3":                        "host 2 of 3",
		"redis://h1?addr=h2:x":                  "host 2 of 2",
		"redis://h/abc":                         "the database",
		"redis://h/-1":                          "the database",
		"redis://h/1/2":                         "the database",
		"redis://h1,h2/1":                       "a cluster has no database",
		"redis://h1?cluster=maybe":              "cluster must be true or false",
		"redis://h1?cluster=1&master_name=m":    "cannot be both",
		"redis://h?tiemout=3":                   `unknown parameter "tiemout" for the mode single`,
		"redis://h?a=1&b=2":                     `unknown parameter "a", "b"`,
		"redis://h?max_redirects=2":             `unknown parameter "max_redirects" for the mode single`,
		"redis://h,h2?username=x":               `unknown parameter "username" for the mode cluster`,
		"redis://h?pool_size=many":              "pool_size",
		"redis://:canary#x@h":                   "of the form",
		"redis://:can/ary@h":                    "of the form",
		"redis://:can?ary@h":                    "of the form",
		"redis://:can ary@h":                    "of the form",
		"redis://:can%ary@h":                    "of the form",
		"redis://:canary@h:port":                "of the form",
		"redis://u:canary@h?canary=1":           `unknown parameter "***"`,
		"redis://h?master_name=m&password=a%zz": "of the form",
	} {
		_, err := New(gateway.Secret(text), Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "ary@") {
			t.Errorf("%s: the error shows the password: %v", text, err)
		}
	}
}

// TestNothingLetsACallLastLonger sees to it that what an address says cannot
// undo the deadlines.
func TestNothingLetsACallLastLonger(t *testing.T) {
	t.Parallel()
	const slow = "max_retries=9&read_timeout=60&write_timeout=60&dial_timeout=60&pool_timeout=60&context_timeout_enabled=false&min_idle_conns=5"
	for _, text := range []string{"redis://h?" + slow, "redis://h?master_name=m&route_by_latency=true&replica_only=true&" + slow, "redis://h?cluster=1&read_only=true&" + slow} {
		a, err := parseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(a.ignored, "read_timeout") || !slices.Contains(a.ignored, "max_retries") {
			t.Errorf("%s: not told that it has no effect: %v", text, a.ignored)
		}
		c := a.connect(Options{})
		switch c := c.(type) {
		case *redis.Client:
			if o := c.Options(); o.MaxRetries != 0 || o.ReadTimeout != patience || o.DialTimeout != patience || o.PoolTimeout != patience || !o.ContextTimeoutEnabled || o.DialerRetries != 1 || o.MinIdleConns != 0 {
				t.Errorf("%s: %+v", text, o)
			}
		case *redis.ClusterClient:
			if o := c.Options(); o.MaxRetries != -1 || o.ReadTimeout != patience || o.DialTimeout != patience || o.PoolTimeout != patience || !o.ContextTimeoutEnabled || o.ReadOnly || o.MinIdleConns != 0 {
				t.Errorf("%s: %+v", text, o)
			}
		default:
			t.Errorf("%s: %T", text, c)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"redis://h", "rediss://u:canary@h:1/2?pool_size=3", "redis://h1,h2:2,[::1]:3?cluster=true",
		"redis://u:canary@h?master_name=m&addr=h2:2&password=canary", "redis://:can%2Fary@h/x", "redis://@,@", "redis://h?addr=&addr=%00",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := New(gateway.Secret(text), Options{})
		if err != nil {
			// What stands in front of the @ is in no message.
			_, rest, _ := strings.Cut(text, "://")
			if at := strings.LastIndexByte(rest, '@'); at > 8 && strings.Contains(err.Error(), rest[:at]) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if s := r.Status(); s.Address == "" || s.Mode == "" || strings.Contains(s.Address, "@") {
			t.Fatalf("%q: %+v", text, s)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
