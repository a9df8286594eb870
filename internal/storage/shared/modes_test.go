package shared

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// everything uses all there is through two instances.
func everything(t testing.TB, a, b *hearer) {
	t.Helper()
	for n := range 40 { // many names, so that each server gets some
		d := gateway.TokenDemand{
			Count: gateway.TokenCount{Hash: fmt.Sprint("sha256:", own(t, "token"), n)}, Minute: gateway.Sliding{Limit: 2}, PerDay: 2, TokensPerDay: 10, Concurrent: 2,
		}
		one, two := newInstance(a.Redis, d), newInstance(b.Redis, d)
		if !one.take(t).Admitted || !two.take(t).Admitted || one.take(t).Admitted || two.take(t).Admitted {
			t.Fatalf("token %d: the limit does not hold", n)
		}
		one.r.TellToken(one.add(-1, 0, -1))
		two.r.TellToken(two.add(0, 3, -1))
		one.r.TakeBack(d.Count.Hash, 0)
		one.flush(t)
		two.flush(t)
		if s := one.take(t); !s.Admitted || s.Requests != 2 || s.Tokens != 3 || s.Running != 1 || s.PerMinute != 2 {
			t.Fatalf("token %d: %+v", n, s)
		}
		client := fmt.Sprint(own(t, "client"), n)
		for want, r := range []*Redis{a.Redis, b.Redis, a.Redis} {
			if wait, known := r.TakeRequest(t.Context(), client, gateway.Sliding{Limit: 2, Span: time.Minute}); !known || (wait > 0) != (want == 2) {
				t.Fatalf("client %d: %v %v", n, wait, known)
			}
		}
		a.Keep("cache", fmt.Sprint(n), []byte(fmt.Sprint("value ", n%2)), time.Minute)
		isKept(t, b.Redis, "cache", fmt.Sprint(n), fmt.Sprint("value ", n%2))
	}
	if n := b.Drop("cache", 7, func(head []byte) bool { return string(head) == "value 1" }); n != 20 {
		t.Fatalf("%d were dropped", n)
	}
	if n := a.Drop("cache", 7, nil); n != 20 {
		t.Fatalf("%d were dropped", n)
	}
	heard(t, a, b)
	heard(t, b, a)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	const password = "fake-canary"
	c, err := servers.StartCluster("", servers.RedisOptions{Password: password})
	if err != nil {
		t.Fatal(err)
	}
	for name, url := range map[string]string{
		"one host": "redis://:" + password + "@" + c.Addresses()[0] + "/?cluster=true",
		"hosts":    "redis://:" + password + "@" + strings.Join(c.Addresses(), ","),
	} {
		a, b := newHearer(t, url, name, Options{}), newHearer(t, url, name, Options{})
		if s := a.Status(); s.Mode != ModeCluster || strings.Contains(s.Address, "canary") {
			t.Fatalf("%+v", s)
		}
		everything(t, a, b)
	}
	// Every server got some of it: the names do not all lie in one slot.
	for _, n := range c.Nodes {
		if size, err := n.Do(t.Context(), "DBSIZE"); err != nil || size == "0" {
			t.Fatalf("%s %v", size, err)
		}
	}
	// One server that stands still concerns everybody: who asks cannot know where.
	r := start(t, "redis://:"+password+"@"+strings.Join(c.Addresses(), ","), "still", Options{Deadline: time.Second})
	c.Nodes[1].Freeze()
	await(t, "it is seen", func() bool { asks(r, 1); return !r.Up() })
	c.Nodes[1].Thaw()
	await(t, "it is back", r.Up)
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	const password = "fake-canary"
	s, err := servers.StartSentinel("", servers.RedisOptions{Password: password})
	if err != nil {
		t.Fatal(err)
	}
	url := "redis://" + strings.Join(s.Addresses(), ",") + "/0?master_name=" + servers.MasterName + "&password=" + password
	a, b := newHearer(t, url, "sentinel", Options{}), newHearer(t, url, "sentinel", Options{})
	if st := a.Status(); st.Mode != ModeSentinel || strings.Contains(st.Address, "canary") {
		t.Fatalf("%+v", st)
	}
	everything(t, a, b)
	d := gateway.TokenDemand{Count: gateway.TokenCount{Hash: "sha256:failover", RequestsBefore: 3}, PerDay: 6}
	one, two := newInstance(a.Redis, d), newInstance(b.Redis, d)
	if !one.take(t).Admitted || !two.take(t).Admitted {
		t.Fatal("refused")
	}
	old, err := s.Master(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Nodes {
		if n.Addr() == old {
			n.Kill()
		}
	}
	await(t, "it is seen", func() bool { asks(a.Redis, 1); asks(b.Redis, 1); return !a.Up() && !b.Up() })
	await(t, "there is a new master", func() bool {
		now, err := s.Master(t.Context())
		return err == nil && now != old
	})
	await(t, "they have found it", func() bool { return a.Up() && b.Up() })
	one.flush(t) // what the old one had not passed on is told anew
	two.flush(t)
	if x := two.take(t); !x.Admitted || x.Requests != 6 {
		t.Fatalf("the day is not what it was: %+v", x)
	}
	if x := one.take(t); x.Admitted {
		t.Fatalf("%+v", x)
	}
	everything(t, newHearer(t, url, "after", Options{}), newHearer(t, url, "after", Options{}))
	heard(t, a, b)
	heard(t, b, a)
}

// narrowUser is all that a user of the Redis needs to be allowed.
const narrowUser = "~ollama-api-pool:* &ollama-api-pool:* -@all +ping +select +eval +evalsha +script|load +time" +
	" +get +getrange +set +unlink +scan +publish +subscribe +unsubscribe +pexpire" +
	" +lrange +ltrim +rpush +lset +lrem +hget +hgetall +hset +hsetnx +hdel"

func TestAUserThatMayDoNoMore(t *testing.T) {
	t.Parallel()
	s := startRedis(t, servers.RedisOptions{})
	words := append([]string{"ACL", "SETUSER", "narrow", "on", ">fake-canary"}, strings.Fields(narrowUser)...)
	if _, err := s.Do(t.Context(), words...); err != nil {
		t.Fatal(err)
	}
	url := "redis://narrow:fake-canary@" + s.Addr() + "/2"
	everything(t, newHearer(t, url, "narrow", Options{}), newHearer(t, url, "narrow", Options{}))
}
