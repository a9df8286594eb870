package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
	"ollama-api-pool/internal/testkit/servers"
)

// setting reads a number from the environment: FAULT_REQUESTS how many requests
// there are in all, FAULT_SEED what chance begins with, FAULT_SECONDS how long a
// fault lasts at most. `make faults` sets them; FAULT_TABLE names the file for
// the table.
func setting(t *testing.T, name string, standard int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// fault is something that happens to a server.
type fault struct {
	name    string
	servers []*servers.Server
	begin   func(s *servers.Server) error
	end     func(s *servers.Server) error
}

// kindsOfFault by name. What is restarted is back as soon as it can.
func kindsOfFault() map[string]fault {
	return map[string]fault{
		"stopped": {begin: (*servers.Server).Stop, end: (*servers.Server).Start},
		"killed":  {begin: func(s *servers.Server) error { s.Kill(); return nil }, end: (*servers.Server).Start},
		"frozen":  {begin: func(s *servers.Server) error { s.Freeze(); return nil }, end: func(s *servers.Server) error { s.Thaw(); return nil }},
		"restarted": {begin: func(s *servers.Server) error {
			if err := s.Stop(); err != nil {
				return err
			}
			return s.Start()
		}, end: func(*servers.Server) error { return nil }},
	}
}

// outcome is a line of the table.
type outcome struct {
	fault                          string
	lasted                         time.Duration
	requests, during, failed, diff int
	slowest, even                  time.Duration
}

// faulty is three instances and the servers that they need.
type faulty struct {
	*cluster
	*ledger
	rnd    *rand.Rand
	tokens []string
	book   *book
	most   time.Duration // that a fault lasts
	each   int           // requests while a fault begins and ends
	lines  []outcome
}

// TestFaults sends requests through three instances while what they need stops,
// is killed, stands still and comes back, one by one and by twos. No request
// fails but by the upstream; after each fault the counters are those of the
// upstream's and the clients' own books, and all that was acknowledged is there.
// Two instances speak with PostgreSQL itself, one through pgbouncer.
func TestFaults(t *testing.T) {
	t.Parallel()
	seed := uint64(setting(t, "FAULT_SEED", int(time.Now().UnixNano()%1_000_000)))
	defer func() {
		if t.Failed() {
			t.Logf("FAULT_SEED=%d", seed)
		}
	}()
	rnd := rand.New(rand.NewPCG(seed, 12))
	postgres, pooler, redis := ownServers(t)
	all := faultsOf(rnd, postgres.Server, pooler.Server, redis.Server)
	f := newFaulty(t, seed, postgres, pooler, redis)
	f.rnd, f.each = rnd, setting(t, "FAULT_REQUESTS", 6000)/len(all)
	f.most = time.Duration(setting(t, "FAULT_SECONDS", 1)) * time.Second
	for _, one := range all {
		f.suffer(t, one)
	}
	for n := range f.All { // and an orderly stop loses nothing
		f.All[n].Stop()
	}
	f.start(0)
	if n, what, _ := f.awaitEven(t, patience, f.All[:1]); n > 0 {
		t.Errorf("after a new start: %v", what)
	}
	f.book.check(t, f.All[0])
	f.All[0].Stop()
	f.table(t)
}

// ownServers are those of a test that breaks them.
func ownServers(t *testing.T) (*servers.Postgres, *servers.Pgbouncer, *servers.Redis) {
	t.Helper()
	postgres := have(t, func() (*servers.Postgres, error) {
		return servers.StartPostgres("", servers.PostgresOptions{Password: databasePassword})
	})
	pooler := have(t, func() (*servers.Pgbouncer, error) { return servers.StartPgbouncer("", postgres) })
	redis := have(t, func() (*servers.Redis, error) {
		return servers.StartRedis("", servers.RedisOptions{Password: databasePassword})
	})
	t.Cleanup(func() { // those after it would wait for those that stand still
		postgres.Kill()
		pooler.Kill()
		redis.Kill()
	})
	return postgres, pooler, redis
}

// faultsOf are every fault of every server in some order, and some by twos.
func faultsOf(rnd *rand.Rand, all ...*servers.Server) (faults []fault) {
	for _, s := range all {
		for name, f := range kindsOfFault() {
			f.name, f.servers = s.Name()+" "+name, []*servers.Server{s}
			faults = append(faults, f)
		}
	}
	for name, f := range kindsOfFault() {
		two := rnd.Perm(len(all))
		f.servers = []*servers.Server{all[two[0]], all[two[1]]}
		f.name = f.servers[0].Name() + " and " + f.servers[1].Name() + " " + name
		faults = append(faults, f)
	}
	rnd.Shuffle(len(faults), func(a, b int) { faults[a], faults[b] = faults[b], faults[a] })
	return faults
}

// newFaulty starts the instances, with keys of several fates.
func newFaulty(t *testing.T, seed uint64, postgres *servers.Postgres, pooler *servers.Pgbouncer, redis *servers.Redis) *faulty {
	t.Helper()
	known := map[string]fate{}
	var keys []string
	for n := range 40 {
		key := fakeKey(gateway.Ollama, n)
		known[key] = fateOK
		switch n {
		case 10:
			known[key] = simulator.FateOverQuota
		case 20:
			known[key] = simulator.FateRevoked
		case 30:
			known[key] = simulator.FateFlaky
		}
		keys = append(keys, key)
	}
	db := postgres.CreateDatabase(t)
	f := &faulty{ledger: newLedger(t, seed, known), book: newBook()}
	f.book.provider, f.book.pace = gateway.OpenRouter, 50*time.Millisecond
	f.cluster = newCluster(t, f.settings(), []string{postgres.URL(db), postgres.URL(db), pooler.URL(db)},
		"REDIS_URL="+redis.URL(), encryptionKey, "KEY_FAILED_SECONDS=1", "KEY_DISABLED_SECONDS=1",
		"ENABLE_RATE_LIMIT=true", "RATE_LIMIT_REQUESTS=1000000")
	f.Needs = []*servers.Server{postgres.Server, pooler.Server}
	f.Via.AddKeys(gateway.Ollama, keys...)
	f.tokens = []string{f.Via.CreateToken("free", "all")}
	bounded := post[tokenEntry](t, f.Via, "/admin/tokens", map[string]any{"name": "bounded", "limits": map[string]any{"requestsPerMinute": 1_000_000}})
	f.tokens = append(f.tokens, bounded.Token)
	for _, i := range f.All {
		i.secrets.plant(append(keys, f.tokens...)...)
	}
	for _, token := range f.tokens {
		f.spreads("a token", func() {}, f.All, func(i *Instance) bool { return knowsToken(i, token) })
	}
	return f
}

// suffer sends requests, lets a fault begin and end meanwhile, and compares.
func (f *faulty) suffer(t *testing.T, one fault) {
	t.Helper()
	f.mu.Lock()
	begun, failed := f.n, len(f.failures)
	f.slowest = 0
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	healed := make(chan struct{})
	writing, stopWriting := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		defer stopWriting()
		f.keepOn(ctx, f.Front.URL, f.tokens, 12, func() bool {
			select {
			case <-healed:
				return f.begun() >= begun+f.each || t.Failed()
			default:
				return ctx.Err() != nil
			}
		})
	})
	for _, write := range []func(context.Context, *Instance) error{f.book.writeKeys, f.book.writeTokens} {
		all.Go(func() {
			for writing.Err() == nil {
				_ = write(writing, f.Via) // refused while the database is away
			}
		})
	}
	await(t, "requests before the fault", func() bool { return f.begun() >= begun+f.each/10 })
	line := outcome{fault: one.name, lasted: 200*time.Millisecond + time.Duration(f.rnd.Int64N(int64(f.most)))}
	line.during = -f.begun()
	f.happen(t, one, line.lasted)
	line.during += f.begun()
	close(healed)
	all.Wait()
	line.diff, line.even = 0, 0
	var what []string
	line.diff, what, line.even = f.awaitEven(t, patience, f.All)
	if line.diff > 0 {
		t.Errorf("%s: the counters differ by %d: %s", one.name, line.diff, strings.Join(what, "; "))
	}
	for _, i := range f.All {
		f.book.check(t, i)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	line.requests, line.failed, line.slowest = f.n-begun, len(f.failures)-failed, f.slowest
	if line.failed > 0 {
		t.Errorf("%s: of %d requests %d failed, among them\n%s", one.name, line.requests, line.failed,
			strings.Join(f.failures[failed:min(failed+5, len(f.failures))], "\n"))
	}
	f.lines = append(f.lines, line)
}

// happen lets a fault begin, last and end.
func (f *faulty) happen(t *testing.T, one fault, lasts time.Duration) {
	t.Helper()
	for _, s := range one.servers {
		if err := one.begin(s); err != nil {
			t.Error(err)
		}
	}
	over := time.NewTimer(lasts)
	<-over.C
	for _, s := range one.servers {
		if err := one.end(s); err != nil {
			t.Error(err)
		}
	}
}

// table writes the table, as Markdown, where FAULT_TABLE says.
func (f *faulty) table(t *testing.T) {
	t.Helper()
	var b strings.Builder
	b.WriteString("| fault | lasted | requests | of them during it | failed | differences | slowest request | counters even after |\n" +
		"|---|---:|---:|---:|---:|---:|---:|---:|\n")
	var sum outcome
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	for _, l := range f.lines {
		fmt.Fprintf(&b, "| %s | %v | %d | %d | %d | %d | %v | %v |\n", l.fault, round(l.lasted), l.requests, l.during, l.failed, l.diff, round(l.slowest), round(l.even))
		sum.requests += l.requests
		sum.during += l.during
		sum.failed += l.failed
		sum.diff += l.diff
		sum.slowest = max(sum.slowest, l.slowest)
		sum.even = max(sum.even, l.even)
	}
	fmt.Fprintf(&b, "| all | | %d | %d | %d | %d | %v | %v |\n", sum.requests, sum.during, sum.failed, sum.diff, round(sum.slowest), round(sum.even))
	fmt.Fprintf(&b, "\n%d more requests failed at the upstream; %d changes were acknowledged, and all of them are there.\n", f.refused, f.book.acked())
	if path := os.Getenv("FAULT_TABLE"); path != "" {
		write(t, path, []byte(b.String()))
	}
}
