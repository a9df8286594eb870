package shared

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

// instance counts one token as an instance does: here first, then with the
// others.
type instance struct {
	r      *Redis
	demand gateway.TokenDemand

	mu    sync.Mutex // guards count
	count gateway.TokenCount
}

func newInstance(r *Redis, d gateway.TokenDemand) *instance {
	d.Count.PerDay, d.Count.Concurrent = d.PerDay > 0 || d.TokensPerDay > 0, d.Concurrent > 0
	d.Midnight = time.Hour
	if d.Count.Day == 0 {
		d.Count.Day = time.Now().Unix() / 86400
	}
	if d.Minute.Limit > 0 && d.Minute.Span == 0 {
		d.Minute.Span = time.Minute
	}
	return &instance{r: r, demand: d, count: d.Count}
}

// add changes the count and returns it with a number of its own.
func (i *instance) add(requests, tokens int64, running int) gateway.TokenCount {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.count.Number++
	i.count.Requests += requests
	i.count.Tokens += tokens
	i.count.Running += running
	return i.count
}

// take asks for a request.
func (i *instance) take(t testing.TB) gateway.TokenShare {
	t.Helper()
	d := i.demand
	d.Count = i.add(1, 0, 1)
	s, known := i.r.TakeToken(t.Context(), d)
	if !known {
		t.Errorf("no answer: %+v", i.r.Status())
	}
	if !s.Admitted {
		i.add(-1, 0, -1)
	}
	return s
}

// end ends a request that used tokens.
func (i *instance) end(t testing.TB, tokens int64) {
	t.Helper()
	i.r.TellToken(i.add(0, tokens, -1))
	i.flush(t)
}

func (i *instance) flush(t testing.TB) {
	t.Helper()
	if err := i.r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// three are three instances of one demand on one Redis.
func three(t testing.TB, url, store string, d gateway.TokenDemand) [3]*instance {
	t.Helper()
	var all [3]*instance
	for i := range all {
		all[i] = newInstance(start(t, url, store, Options{}), d)
	}
	return all
}

func TestRequestsPerMinuteOfThreeInstances(t *testing.T) {
	t.Parallel()
	all := three(t, servers.SharedRedis(t).URL(), "minute", gateway.TokenDemand{
		Count: gateway.TokenCount{Hash: "sha256:minute"}, Minute: gateway.Sliding{Limit: 5},
	})
	for n := range 5 {
		if s := all[n%3].take(t); !s.Admitted || s.PerMinute != n+1 || s.MinuteWait != 0 {
			t.Fatalf("request %d: %+v", n, s)
		}
	}
	for _, i := range all {
		if s := i.take(t); s.Admitted || s.PerMinute != 5 || s.MinuteWait <= 0 || s.MinuteWait > time.Minute {
			t.Fatalf("%+v", s)
		}
	}
}

func TestAPlaceTakenBackIsFree(t *testing.T) {
	t.Parallel()
	for name, grain := range map[string]time.Duration{"exact": 0, "grains": time.Second} {
		all := three(t, servers.SharedRedis(t).URL(), "back-"+name, gateway.TokenDemand{
			Count: gateway.TokenCount{Hash: "sha256:back"}, Minute: gateway.Sliding{Limit: 3, Grain: grain},
		})
		var last gateway.TokenShare
		for n := range 3 {
			last = all[n].take(t)
		}
		if s := all[0].take(t); s.Admitted {
			t.Fatalf("%s: %+v", name, s)
		}
		all[2].r.TakeBack("sha256:back", last.At)
		await(t, "there is room", func() bool { return all[0].take(t).Admitted })
		if s := all[1].take(t); s.Admitted {
			t.Fatalf("%s: room for two: %+v", name, s)
		}
	}
}

func TestRequestsPerDayOfThreeInstances(t *testing.T) {
	t.Parallel()
	all := three(t, servers.SharedRedis(t).URL(), "day", gateway.TokenDemand{
		Count: gateway.TokenCount{Hash: "sha256:day"}, PerDay: 10,
	})
	// Each knows what was used before, by the database; it counts once.
	for i, before := range []int64{4, 6, 5} {
		all[i].count.RequestsBefore = before
	}
	for n := range 6 {
		if s := all[n%3].take(t); !s.Admitted || s.Requests != int64(4+n+1) {
			t.Fatalf("request %d: %+v", n, s)
		}
	}
	for _, i := range all {
		if s := i.take(t); s.Admitted || s.Requests != 10 {
			t.Fatalf("%+v", s)
		}
	}
	// One that was taken back leaves room for one.
	all[1].r.TellToken(all[1].add(-1, 0, 0))
	all[1].flush(t)
	if s := all[2].take(t); !s.Admitted || s.Requests != 10 {
		t.Fatalf("%+v", s)
	}
	if s := all[0].take(t); s.Admitted {
		t.Fatalf("%+v", s)
	}
	// The next day is another one.
	all[0].count.Day++
	all[0].count.Requests, all[0].count.RequestsBefore = 0, 0
	if s := all[0].take(t); !s.Admitted || s.Requests != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestTokensPerDayOfThreeInstances(t *testing.T) {
	t.Parallel()
	all := three(t, servers.SharedRedis(t).URL(), "tokens", gateway.TokenDemand{
		Count: gateway.TokenCount{Hash: "sha256:tokens", TokensBefore: 100}, TokensPerDay: 1000,
	})
	for n, i := range all {
		if s := i.take(t); !s.Admitted || s.Tokens != int64(100+300*n) {
			t.Fatalf("request %d: %+v", n, s)
		}
		i.end(t, 300)
	}
	for _, i := range all {
		if s := i.take(t); s.Admitted || s.Tokens != 1000 {
			t.Fatalf("%+v", s)
		}
	}
}

func TestConcurrentRequestsOfThreeInstances(t *testing.T) {
	t.Parallel()
	all := three(t, servers.SharedRedis(t).URL(), "running", gateway.TokenDemand{
		Count: gateway.TokenCount{Hash: "sha256:running"}, Concurrent: 2,
	})
	for n := range 2 {
		if s := all[n].take(t); !s.Admitted || s.Running != n+1 {
			t.Fatalf("%+v", s)
		}
	}
	for _, i := range all {
		if s := i.take(t); s.Admitted || s.Running != 2 {
			t.Fatalf("%+v", s)
		}
	}
	all[0].end(t, 0)
	if s := all[2].take(t); !s.Admitted || s.Running != 2 {
		t.Fatalf("%+v", s)
	}
	if s := all[0].take(t); s.Admitted {
		t.Fatalf("%+v", s)
	}
}

// TestWhatRunsOnACrashedInstanceEnds lets one instance vanish with a request
// under way, while another one that lives keeps its own.
func TestWhatRunsOnACrashedInstanceEnds(t *testing.T) {
	t.Parallel()
	d := gateway.TokenDemand{Count: gateway.TokenCount{Hash: "sha256:crash"}, Concurrent: 2}
	var all [3]*instance
	var crash func() error
	for i := range all {
		r, err := New(gateway.Secret(servers.SharedRedis(t).URL()), Options{Deadline: ample, Pause: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		r.renews, r.holds = 200*time.Millisecond, 2*time.Second
		r.SetPrefix(own(t, "crash"))
		stop := running(t, r)
		t.Cleanup(func() { _ = stop() })
		await(t, "up", r.Up)
		all[i] = newInstance(r, d)
		if i == 0 {
			crash = stop
		}
	}
	if !all[0].take(t).Admitted || !all[1].take(t).Admitted {
		t.Fatal("refused")
	}
	if all[2].take(t).Admitted {
		t.Fatal("one too many")
	}
	if err := crash(); err != nil { // it says nothing of its request
		t.Fatal(err)
	}
	await(t, "its request does not count any more", func() bool { return all[2].take(t).Admitted })
	// That of the living one went on all the time, longer than it holds unsaid.
	if s := all[2].take(t); s.Admitted || s.Running != 2 {
		t.Fatalf("%+v", s)
	}
}

// TestARefusalUsesNothing refuses by one limit after the other.
func TestARefusalUsesNothing(t *testing.T) {
	t.Parallel()
	d := gateway.TokenDemand{
		Count: gateway.TokenCount{Hash: "sha256:refusal"}, Minute: gateway.Sliding{Limit: 4}, PerDay: 4, TokensPerDay: 100, Concurrent: 1,
	}
	all := three(t, servers.SharedRedis(t).URL(), "refusal", d)
	if !all[0].take(t).Admitted {
		t.Fatal("refused")
	}
	for range 5 {
		if s := all[1].take(t); s.Admitted || s.PerMinute != 1 || s.Requests != 1 || s.Running != 1 {
			t.Fatalf("%+v", s)
		}
	}
	all[0].end(t, 100)
	for range 5 {
		if s := all[2].take(t); s.Admitted || s.PerMinute != 1 || s.Requests != 1 || s.Tokens != 100 || s.Running != 0 {
			t.Fatalf("%+v", s)
		}
	}
}

// TestALimitHoldsUnderAttack has three instances ask at the same time, each for
// itself from many requests.
func TestALimitHoldsUnderAttack(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]gateway.TokenDemand{
		"minute":     {Minute: gateway.Sliding{Limit: 40}},
		"grains":     {Minute: gateway.Sliding{Limit: 40, Grain: time.Second}},
		"day":        {PerDay: 40},
		"concurrent": {Concurrent: 40},
	} {
		d.Count.Hash = "sha256:attack-" + name
		all := three(t, servers.SharedRedis(t).URL(), "attack-"+name, d)
		var admitted int
		var mu sync.Mutex // guards admitted
		var group sync.WaitGroup
		for n := range 150 {
			group.Go(func() {
				if all[n%3].take(t).Admitted {
					mu.Lock()
					admitted++
					mu.Unlock()
				}
			})
		}
		group.Wait()
		// Requests that are asked for at the same time know of each other before it
		// is certain that they are let in: a few may be refused for one that was, too.
		if admitted > 40 {
			t.Errorf("%s: %d were let in", name, admitted)
		}
		for range 10 {
			for _, i := range all {
				if i.take(t).Admitted {
					admitted++
				}
			}
		}
		if admitted != 40 {
			t.Errorf("%s: %d were let in at the end", name, admitted)
		}
	}
}

// TestCountsThatComeLateChangeNothing tells counts in the wrong order.
func TestCountsThatComeLateChangeNothing(t *testing.T) {
	t.Parallel()
	r := start(t, servers.SharedRedis(t).URL(), "late", Options{})
	i := newInstance(r, gateway.TokenDemand{Count: gateway.TokenCount{Hash: "sha256:late"}, PerDay: 100, TokensPerDay: 1000, Concurrent: 10})
	first, second := i.add(1, 5, 1), i.add(1, 5, 1)
	for _, c := range []gateway.TokenCount{second, first, second, first} {
		if err := r.pipeline(t.Context(), []gateway.TokenCount{c}, nil); err != nil {
			t.Fatal(err)
		}
	}
	other := newInstance(start(t, servers.SharedRedis(t).URL(), "late", Options{}), i.demand)
	if s := other.take(t); s.Requests != 3 || s.Tokens != 10 || s.Running != 3 {
		t.Fatalf("%+v", s)
	}
}

// TestRedisForgets has it lose all it knew, while it is down: the day is what it
// was, since each instance tells anew what it counted.
func TestRedisForgets(t *testing.T) {
	t.Parallel()
	s := startRedis(t, servers.RedisOptions{Settings: []string{"appendonly", "no"}})
	all := three(t, s.URL(), "forgets", gateway.TokenDemand{
		Count: gateway.TokenCount{Hash: "sha256:forgets", RequestsBefore: 7}, PerDay: 11, TokensPerDay: 1000,
	})
	for n := range 3 {
		if !all[n].take(t).Admitted {
			t.Fatal("refused")
		}
	}
	s.Kill()
	await(t, "everybody sees it", func() bool { return !all[0].r.Up() && !all[1].r.Up() && !all[2].r.Up() })
	all[0].r.TellToken(all[0].add(0, 50, -1)) // while it is away
	all[1].r.TellToken(all[1].add(0, 25, -1))
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		await(t, "it is back", i.r.Up)
		i.flush(t)
	}
	// What the third one counted, which did nothing since, is known as well.
	if a := all[0].take(t); !a.Admitted || a.Requests != 11 || a.Tokens != 75 {
		t.Fatalf("%+v", a)
	}
	if a := all[2].take(t); a.Admitted {
		t.Fatalf("%+v", a)
	}
}

// TestWhatWasCountedIsToldAtTheEnd stops an instance with something left to say.
func TestWhatWasCountedIsToldAtTheEnd(t *testing.T) {
	t.Parallel()
	d := gateway.TokenDemand{Count: gateway.TokenCount{Hash: "sha256:end"}, PerDay: 100, TokensPerDay: 1000, Concurrent: 9}
	r, err := New(gateway.Secret(servers.SharedRedis(t).URL()), Options{Deadline: ample, Pause: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.SetPrefix(own(t, "end"))
	stop := running(t, r)
	await(t, "up", r.Up)
	i := newInstance(r, d)
	for range 20 {
		i.take(t)
		r.TellToken(i.add(0, 3, -1))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	other := newInstance(start(t, servers.SharedRedis(t).URL(), "end", Options{}), d)
	if s := other.take(t); s.Requests != 21 || s.Tokens != 60 || s.Running != 1 {
		t.Fatalf("%+v", s)
	}
}

// TestKeysInRedis looks at what lies there: names that begin alike, give no token
// or address away, and end by themselves; and at what a request takes.
func TestKeysInRedis(t *testing.T) {
	t.Parallel()
	s := startRedis(t, servers.RedisOptions{})
	r := start(t, s.URL(), "st{or}e", Options{})
	i := newInstance(r, gateway.TokenDemand{
		Count: gateway.TokenCount{Hash: "sha256:canary"}, Minute: gateway.Sliding{Limit: 100, Grain: time.Second}, PerDay: 100, TokensPerDay: 100, Concurrent: 10,
	})
	evals := func() string {
		info, err := s.Do(t.Context(), "INFO", "commandstats")
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(info, "cmdstat_evalsha:calls=")
		calls, _, _ := strings.Cut(rest, ",")
		return calls
	}
	await(t, "nothing else is done", func() bool { return evals() != "" })
	before := evals()
	i.take(t)
	if after := evals(); len(after) > 3 || after == before {
		t.Fatalf("%s calls before, %s after", before, after)
	}
	if _, known := r.TakeRequest(t.Context(), "192.0.2.77", gateway.Sliding{Limit: 3, Span: time.Minute}); !known {
		t.Fatal("no answer")
	}
	r.Keep("answers", "canary", []byte("value"), time.Minute)
	await(t, "it is kept", func() bool { return r.Find(t.Context(), "answers", "canary") != nil })
	keys, err := s.Do(t.Context(), "KEYS", "*")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(keys)); n < 5 {
		t.Fatalf("%d keys: %s", n, keys)
	}
	for key := range strings.FieldsSeq(keys) {
		if !strings.HasPrefix(key, "ollama-api-pool:store") || strings.Contains(key, "canary") || strings.Contains(key, "192.0.2") {
			t.Errorf("the key %s", key)
		}
		if left, err := s.Do(t.Context(), "PTTL", key); err != nil || left == "-1" {
			t.Errorf("%s stays for good: %s %v", key, left, err)
		}
	}
}

// TestForeignThingsInRedis puts other things where counts should be.
func TestForeignThingsInRedis(t *testing.T) {
	t.Parallel()
	r := start(t, servers.SharedRedis(t).URL(), "foreign", Options{})
	ctx := t.Context()
	d := gateway.TokenDemand{Count: gateway.TokenCount{Hash: "sha256:foreign"}, Minute: gateway.Sliding{Limit: 5}, PerDay: 5, Concurrent: 5}
	i := newInstance(r, d)
	keys := r.tokenKeys(&i.count)
	for _, err := range []error{
		r.client.RPush(ctx, keys[0], "", "x", "1:", "9e9:1", "-5:2", ":").Err(),
		r.client.HSet(ctx, keys[1], "before", "x", "y", "1:2", "z", "a:b:c").Err(),
		r.client.HSet(ctx, keys[2], "x", "", "y", "1:2:x").Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if s := i.take(t); !s.Admitted || s.Requests != 1 || s.Running != 1 {
		t.Fatalf("%+v", s)
	}
	i.end(t, 1)
	// Something of another kind altogether concerns this token alone.
	for _, key := range keys {
		if err := r.client.Del(ctx, key).Err(); err != nil {
			t.Fatal(err)
		}
		if err := r.client.SAdd(ctx, key, "x").Err(); err != nil {
			t.Fatal(err)
		}
	}
	if _, known := r.TakeToken(ctx, i.demand); known {
		t.Fatal("an answer from a set")
	}
	r.TellToken(i.add(0, 0, 0))
	r.TakeBack("sha256:foreign", 1)
	i.flush(t)
	if !r.Up() || asks(r, 3) != 3 {
		t.Fatalf("others suffer: %+v", r.Status())
	}
}

// TestTheWindowIsTheOneOfEachInstance compares the script with what it should be,
// at times of the test's own.
func TestTheWindowIsTheOneOfEachInstance(t *testing.T) {
	t.Parallel()
	r := start(t, servers.SharedRedis(t).URL(), "property", Options{})
	atTimes := redis.NewScript(strings.Replace(windowText, "redis.call('TIME')", "{ ARGV[4], ARGV[5] }", 1))
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct{ limit, span, grain int64 }{{1, 60_000, 0}, {5, 60_000, 0}, {64, 60_000, 0}, {100, 60_000, 1000}, {20, 90_000, 1500}} {
		key := r.key("p", tagOf(strings.Repeat("x", int(c.limit))), "")
		var want reference
		now := int64(1_700_000_000_000)
		for step := range 400 {
			now += random.Int64N(3 * c.span / c.limit)
			if random.IntN(20) == 0 {
				now -= random.Int64N(c.span / 2) // a clock that is set back
			}
			got, err := atTimes.Run(t.Context(), r.client, []string{key}, c.limit, c.span, c.grain, now/1000, now%1000*1000).Int64()
			if err != nil {
				t.Fatal(err)
			}
			if wait := want.take(now, c.limit, c.span, c.grain); got != wait {
				t.Fatalf("%+v, step %d: wait %d, want %d", c, step, got, wait)
			}
		}
	}
}

// reference is the window as it is meant.
type reference struct{ marks [][2]int64 } // time, requests

func (w *reference) take(now, limit, span, grain int64) (wait int64) {
	if n := len(w.marks); n > 0 {
		now = max(now, w.marks[n-1][0])
	}
	used := int64(0)
	for len(w.marks) > 0 && now-w.marks[0][0] >= span {
		w.marks = w.marks[1:]
	}
	for _, m := range w.marks {
		used += m[1]
	}
	if used >= limit {
		for _, m := range w.marks {
			if used -= m[1]; used < limit {
				return span - (now - m[0])
			}
		}
	}
	if n := len(w.marks); n > 0 && grain > 0 && now/grain == w.marks[n-1][0]/grain {
		w.marks[n-1] = [2]int64{now, w.marks[n-1][1] + 1}
	} else {
		w.marks = append(w.marks, [2]int64{now, 1})
	}
	return 0
}

func BenchmarkTakeToken(b *testing.B) {
	r := start(b, servers.SharedRedis(b).URL(), "bench", Options{})
	i := newInstance(r, gateway.TokenDemand{
		Count: gateway.TokenCount{Hash: "sha256:bench"}, Minute: gateway.Sliding{Limit: 1 << 30, Grain: time.Second},
		PerDay: 1 << 30, TokensPerDay: 1 << 40, Concurrent: 1 << 20,
	})
	ctx := context.Background()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d := i.demand
			d.Count = i.add(1, 0, 0)
			if _, known := r.TakeToken(ctx, d); !known {
				b.Fatal("no answer")
			}
		}
	})
}
