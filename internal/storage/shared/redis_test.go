package shared

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit/servers"
)

func TestMain(m *testing.M) { servers.Main(m) }

// ample is a deadline that is not missed on a machine with too much to do.
const ample = 20 * time.Second

// start runs a Redis under a name of its own until the test ends, and waits until
// it is up.
func start(t testing.TB, url, store string, o Options) *Redis {
	t.Helper()
	r := run(t, url, store, o)
	await(t, "the Redis is up", r.Up)
	return r
}

func run(t testing.TB, url, store string, o Options) *Redis {
	t.Helper()
	if o.Deadline == 0 {
		o.Deadline = ample
	}
	if o.Pause == 0 {
		o.Pause = 20 * time.Millisecond
	}
	r, err := New(gateway.Secret(url), o)
	if err != nil {
		t.Fatal(err)
	}
	if store != "" {
		r.SetPrefix(own(t, store))
	}
	stop := running(t, r)
	t.Cleanup(func() { _ = stop() }) // what Run says is up to those who stop it
	return r
}

// stores are the names that tests gave, so that each is new.
var stores sync.Map

// own makes a name that no other test, nor this one when it ran before, uses.
func own(t testing.TB, store string) string {
	t.Helper()
	type place struct {
		t    testing.TB
		name string
	}
	p := place{t, store}
	name, there := stores.LoadOrStore(p, store+rand.Text())
	if !there {
		t.Cleanup(func() { stores.Delete(p) })
	}
	return name.(string)
}

// running runs it; what is returned ends that, and may be called again.
func running(t testing.TB, r *Redis) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = r.Run(ctx)
	}()
	return func() error {
		cancel()
		<-done
		return err
	}
}

// await waits until something holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	late := time.After(60 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// startRedis starts a Redis that the test may stop and freeze.
func startRedis(t testing.TB, o servers.RedisOptions) *servers.Redis {
	t.Helper()
	s, err := servers.StartRedis("", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Thaw()
		_ = s.Stop() // it may be stopped already
	})
	return s
}

// minute is a demand for one request of at most so many in a minute.
func minute(token string, limit int) gateway.TokenDemand {
	return gateway.TokenDemand{
		Count:  gateway.TokenCount{Hash: token, Life: 1, Number: 1},
		Minute: gateway.Sliding{Limit: limit, Span: time.Minute},
	}
}

// asks makes calls at the same time, as requests do.
func asks(r *Redis, n int) (answered int64) {
	var yes atomic.Int64
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if _, known := r.TakeRequest(context.Background(), "192.0.2.1", gateway.Sliding{Limit: 1 << 30, Span: time.Minute, Grain: time.Second}); known {
				yes.Add(1)
			}
		})
	}
	all.Wait()
	return yes.Load()
}

func TestNobodyIsAskedBeforeTheStoreIsKnown(t *testing.T) {
	t.Parallel()
	r := run(t, servers.SharedRedis(t).URL(), "", Options{})
	if r.Up() || asks(r, 3) != 0 || r.Status().Calls != 0 {
		t.Fatalf("something was asked: %+v", r.Status())
	}
	r.SetPrefix(own(t, "known"))
	await(t, "up", r.Up)
	if asks(r, 3) != 3 {
		t.Fatalf("no answer: %+v", r.Status())
	}
}

func TestNewOpensNothing(t *testing.T) {
	t.Parallel()
	l := listen(t)
	var opened atomic.Int64
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			opened.Add(1)
			_ = c.Close()
		}
	}()
	for _, more := range []string{"", "?master_name=m", "?cluster=true"} {
		r, err := New(gateway.Secret("redis://"+l.Addr().String()+more), Options{})
		if err != nil {
			t.Fatal(err)
		}
		r.SetPrefix("nothing")
		if s := r.Status(); s.Up || s.Address != "redis://"+l.Addr().String() {
			t.Fatalf("%+v", s)
		}
		r.Hint(t.Context())
		r.TellToken(gateway.TokenCount{Hash: "a", PerDay: true})
		r.Keep("cache", "name", []byte("value"), time.Minute)
		if asks(r, 3) != 0 || r.Find(t.Context(), "cache", "name") != nil || r.Drop("cache", 1, nil) != 0 {
			t.Fatal("an answer from nowhere")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := opened.Load(); n != 0 {
		t.Fatalf("%d connections", n)
	}
}

func TestADeadRedisIsNotAsked(t *testing.T) {
	t.Parallel()
	s := startRedis(t, servers.RedisOptions{})
	var log lines
	r := start(t, s.URL(), "dead", Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Pause: 50 * time.Millisecond})
	asks(r, 8)
	s.Kill()
	await(t, "it is seen to be down", func() bool { asks(r, 1); return !r.Up() })
	before := r.Status()
	if asks(r, 100) != 0 {
		t.Fatal("answers from the dead")
	}
	if after := r.Status(); after.Calls != before.Calls || after.Skipped < before.Skipped+100 || after.Up || after.Error == "" || after.ErrorAt.IsZero() {
		t.Fatalf("before %+v, after %+v", before, after)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "it is back", r.Up)
	if asks(r, 8) != 8 {
		t.Fatalf("no answers: %+v", r.Status())
	}
	if got := log.String(); strings.Count(got, "level=WARN") > 1 {
		t.Fatalf("more than one warning for one outage:\n%s", got)
	}
}

// TestAFrozenRedisIsAskedOnce holds the server still while requests ask it: those
// that ask at that time wait for the deadline, all together, and nobody after
// them.
func TestAFrozenRedisIsAskedOnce(t *testing.T) {
	t.Parallel()
	s := startRedis(t, servers.RedisOptions{})
	r := start(t, s.URL(), "frozen", Options{Deadline: 200 * time.Millisecond, Pause: 50 * time.Millisecond})
	await(t, "answers", func() bool { return asks(r, 4) == 4 })
	s.Freeze()
	before := r.Status()
	began := time.Now()
	if n := asks(r, 20); n != 0 {
		t.Fatalf("%d answers of a frozen server", n)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Fatalf("the requests waited for %s", took)
	}
	asked := r.Status()
	if r.Up() || asked.Missed == before.Missed {
		t.Fatalf("nobody noticed: %+v", asked)
	}
	if asks(r, 1000) != 0 || r.Status().Calls != asked.Calls {
		t.Fatalf("others asked: before %+v, after %+v", asked, r.Status())
	}
	s.Thaw()
	await(t, "it is back", r.Up)
	await(t, "answers", func() bool { return asks(r, 4) == 4 })
}

// TestASlowRedisIsNotAsked puts a proxy before the server that holds back what it
// says for longer than the deadline.
func TestASlowRedisIsNotAsked(t *testing.T) {
	t.Parallel()
	s := servers.SharedRedis(t)
	slow := newSlow(t, s.Addr())
	r := start(t, "redis://"+slow.addr, "slow", Options{Deadline: 300 * time.Millisecond, Pause: 30 * time.Millisecond})
	await(t, "answers", func() bool { return asks(r, 4) == 4 })
	slow.delay.Store(int64(600 * time.Millisecond))
	asks(r, 4)
	if r.Up() {
		t.Fatalf("still up: %+v", r.Status())
	}
	calls := r.Status().Calls
	// It answers, but never as fast as it has to: nobody is made to wait again.
	looks := slow.passed.Load()
	await(t, "it was looked at several times", func() bool { asks(r, 1); return slow.passed.Load() > looks+6 })
	if s := r.Status(); s.Up || s.Calls != calls {
		t.Fatalf("somebody was made to wait: %d calls before, now %+v", calls, s)
	}
	slow.delay.Store(0)
	await(t, "it is fast again", r.Up)
	await(t, "answers", func() bool { return asks(r, 4) == 4 })
}

func TestAClientThatLeavesIsNoFault(t *testing.T) {
	t.Parallel()
	r := start(t, servers.SharedRedis(t).URL(), "leaves", Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, known := r.TakeToken(ctx, minute("leaves", 5)); !known || !s.Admitted || !r.Up() {
		t.Fatalf("%+v %v %+v", s, known, r.Status())
	}
}

func TestEverythingEndsWithRun(t *testing.T) {
	t.Parallel()
	r, err := New(gateway.Secret(servers.SharedRedis(t).URL()), Options{Deadline: ample, Pause: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.SetPrefix(own(t, "ends"))
	stop := running(t, r)
	await(t, "up", r.Up)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if r.Up() || asks(r, 3) != 0 || r.Drop("cache", 1, nil) != 0 {
		t.Fatal("asked after the end")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWaysToGetIn are the ways a server can want to be spoken to.
func TestWaysToGetIn(t *testing.T) {
	t.Parallel()
	const password = "fake/canary@pass:word%"
	for name, o := range map[string]servers.RedisOptions{
		"password": {Password: password},
		"user":     {User: "pool", Password: password},
		"tls":      {TLS: true, Password: password},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startRedis(t, o)
			url := strings.TrimSuffix(s.URL(), "/0")
			roots := x509.NewCertPool()
			if o.TLS {
				pem, err := os.ReadFile(s.CAFile())
				if err != nil || !roots.AppendCertsFromPEM(pem) {
					t.Fatal(err)
				}
			}
			r := start(t, url+"/3", "ways", Options{RootCAs: roots})
			if asks(r, 4) != 4 {
				t.Fatalf("%+v", r.Status())
			}
			info, err := s.Do(t.Context(), "INFO", "keyspace")
			if err != nil || !strings.Contains(info, "db3:") || strings.Contains(info, "db0:") {
				t.Fatalf("%v: %s", err, info)
			}
			var log lines
			wrong := run(t, strings.Replace(url, "word", "wrong", 1), "ways", Options{
				RootCAs: roots, Log: slog.New(slog.NewTextHandler(&log, nil)),
			})
			await(t, "it is refused", func() bool { return wrong.Status().Error != "" })
			await(t, "that is logged", func() bool { return log.String() != "" })
			if why := wrong.Status().Why; why != refusedLogin || !strings.Contains(log.String(), why) {
				t.Fatalf("the cause is said to be %q:\n%s", why, log.String())
			}
			for _, text := range []string{wrong.Status().Error, log.String(), wrong.Status().Address} {
				if strings.Contains(text, "canary") {
					t.Fatalf("a password is shown: %s", text)
				}
			}
		})
	}
}

// TestATalkativeServer repeats what it is sent in its errors, as servers do that
// do not know a command.
func TestATalkativeServer(t *testing.T) {
	t.Parallel()
	l := listen(t)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					said := strings.NewReplacer("\r", " ", "\n", " ").Replace(string(buf[:n]))
					if _, err := c.Write([]byte("-ERR unknown command, with args: " + said + "\r\n")); err != nil {
						return
					}
				}
			}()
		}
	}()
	var log lines
	r := run(t, "redis://someone:fake-canary%2Fpassword@"+l.Addr().String(), "talk", Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	await(t, "it is refused", func() bool { return r.Status().Error != "" && log.String() != "" })
	if all := r.Status().Error + log.String(); strings.Contains(all, "canary") || !strings.Contains(all, "unknown command") {
		t.Fatal(all)
	}
}

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// slowly is a proxy that holds back what the server says.
type slowly struct {
	addr   string
	delay  atomic.Int64 // ns
	passed atomic.Int64 // pieces
}

func newSlow(t testing.TB, to string) *slowly {
	t.Helper()
	l := listen(t)
	s := &slowly{addr: l.Addr().String()}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := new(net.Dialer).Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				return
			}
			go func() {
				_, _ = io.Copy(out, in)
				_ = out.Close()
			}()
			go s.hold(in, out)
		}
	}()
	return s
}

func (s *slowly) hold(in, out net.Conn) {
	defer func() { _ = in.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := out.Read(buf)
		if err != nil {
			return
		}
		time.Sleep(time.Duration(s.delay.Load())) // what a slow line does
		s.passed.Add(1)
		if _, err := in.Write(buf[:n]); err != nil {
			return
		}
	}
}
