package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"ollama-api-pool/e2e/program"
	"ollama-api-pool/internal/testkit/servers"
)

const (
	// databasePassword must be seen nowhere.
	databasePassword = "fake-canary-of-the-database"
	clusterAdmin     = "fake-admin-token-of-the-cluster"
)

// The servers of tests that let them be.
var (
	lockedPostgres = sync.OnceValues(func() (*servers.Postgres, error) {
		return servers.StartPostgres("", servers.PostgresOptions{Password: databasePassword})
	})
	lockedPooler = sync.OnceValues(func() (*servers.Pgbouncer, error) {
		p, err := lockedPostgres()
		if err != nil {
			return nil, err
		}
		return servers.StartPgbouncer("", p)
	})
)

// have returns a server, or fails the test.
func have[T any](tb testing.TB, start func() (T, error)) T {
	tb.Helper()
	s, err := start()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// cluster is instances that share a database, and a front before them.
type cluster struct {
	tb    testing.TB
	All   []*Instance
	Front *front
	Via   *Instance         // no process: what is asked of it goes to each in turn
	Needs []*servers.Server // whose logs a failure shows
	asked atomic.Int64
}

// newCluster starts an instance for each of the addresses of one database, all
// at once. The program is the one without the race detector: what is measured
// is how long things take.
func newCluster(tb testing.TB, up []string, databases []string, settings ...string) *cluster {
	tb.Helper()
	c := &cluster{tb: tb, Front: newFront(tb)}
	for _, url := range databases {
		c.All = append(c.All, c.instance(up, url, settings...))
	}
	tb.Cleanup(c.tell)
	for _, i := range c.All {
		i.launch()
	}
	for n, i := range c.All {
		i.awaitServing()
		c.Front.set(n, i.URL())
	}
	c.Via = &Instance{tb: tb, Process: program.At(c.Front.URL, clusterAdmin)}
	return c
}

// tell shows what the instances of a test that has failed said in the end.
func (c *cluster) tell() {
	if !c.tb.Failed() {
		return
	}
	for n, i := range c.All {
		var said string
		for line := range strings.Lines(i.Err.String()) {
			if !strings.Contains(line, "msg=request ") && !strings.Contains(line, `msg="admin api"`) {
				said += line
			}
		}
		c.tb.Logf("instance %d said in the end:\n%s", n+1, said[max(0, len(said)-4000):])
	}
	for _, s := range c.Needs {
		c.tb.Logf("%s said in the end:\n%s", s.Name(), s.LogTail())
	}
}

// instance makes an instance of the cluster that is not started.
func (c *cluster) instance(up []string, database string, settings ...string) *Instance {
	i := newInstance(c.tb, append(append(slices.Clone(up),
		"DATABASE_URL="+database, "ADMIN_TOKEN="+clusterAdmin, "LOG_LEVEL=info", "SHUTDOWN_GRACE=10s"), settings...)...)
	i.Path = quickProgram(c.tb)
	i.secrets.plant(databasePassword)
	return i
}

// start starts an instance again, wherever it listens now.
func (c *cluster) start(n int) {
	c.tb.Helper()
	c.All[n].Start()
	c.Front.set(n, c.All[n].URL())
}

// stop ends all instances in an orderly way.
func (c *cluster) stop() {
	c.tb.Helper()
	for _, i := range c.All {
		i.Stop()
	}
}

// ask sends a request for an embedding that nobody has sent before, and returns
// how it was answered; 0 where it was not.
func (c *cluster) ask(i *Instance, token string) (status int) {
	body := map[string]any{"model": ollamaFace.embed, "input": fmt.Sprint("x", c.asked.Add(1)), "dimensions": 8}
	status, _, err := do(c.tb.Context(), http.MethodPost, i.URL()+"/v1/embeddings", token, body)
	if err != nil {
		return 0
	}
	return status
}

// knowsToken tells whether an instance takes a token; asked so, nothing is
// counted. What was done before the token was made is known then as well.
func knowsToken(i *Instance, token string) bool {
	status, _, err := do(i.tb.Context(), http.MethodGet, i.URL()+"/t/"+token+"/", "", nil)
	return err == nil && status == http.StatusOK
}

// spreads does something through one instance, and measures how long after its
// answer the last of some instances shows it.
func (c *cluster) spreads(what string, act func(), on []*Instance, shows func(i *Instance) bool) time.Duration {
	c.tb.Helper()
	act()
	began := time.Now()
	var all sync.WaitGroup
	took := make([]time.Duration, len(on))
	for n, i := range on {
		all.Go(func() {
			again := time.NewTicker(20 * time.Millisecond) // asking costs time, too
			defer again.Stop()
			for !shows(i) {
				if took[n] = time.Since(began); took[n] > patience/2 {
					return
				}
				<-again.C
			}
			took[n] = time.Since(began)
		})
	}
	all.Wait()
	last := slices.Max(took)
	if last > patience/2 {
		c.tb.Fatalf("%s: after %v not seen on instance %d", what, last, slices.Index(took, last)+1)
	}
	return last
}

// agreement is how soon instances have to agree.
const agreement = time.Second

// inTime expects that the median of delays, by what was done, is short enough.
// One delay may be the machine's fault, half of them are the program's.
func inTime(t *testing.T, delays map[string][]time.Duration) {
	t.Helper()
	for what, took := range delays {
		slices.Sort(took)
		if median := took[len(took)/2]; median > agreement {
			t.Errorf("%s: seen everywhere after %v, all of them: %v", what, median, took)
		}
	}
}

// execute runs statements on a database, past the program.
func execute(tb testing.TB, url string, statements ...string) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, s := range statements {
		if _, err := conn.Exec(ctx, s); err != nil {
			tb.Fatalf("%s: %v", s, err)
		}
	}
}

// readiness of an instance.
type readyAnswer struct {
	code   int
	Status string
	text   string
}

// readyOf asks an instance how it is; the zero value where it does not answer.
func readyOf(i *Instance) (a readyAnswer) {
	status, text, err := do(i.tb.Context(), http.MethodGet, i.URL()+"/health/ready", "", nil)
	if err == nil && json.Unmarshal(text, &a) == nil {
		a.code, a.text = status, string(text)
	}
	return a
}

// reasonable expects that an admin call was refused since the database is away,
// with words that say so and no secret.
func reasonable(t *testing.T, i *Instance, c call) {
	t.Helper()
	got, err := i.Ask(t.Context(), c)
	if err != nil || got.Status != http.StatusServiceUnavailable || !strings.Contains(strings.ToLower(string(got.Body)), "database") {
		t.Errorf("%s %s while the database is away: %d %s %v", c.method, c.path, got.Status, got.Body, err)
	}
	if got.Header.Get("Retry-After") == "" {
		t.Errorf("%s %s while the database is away: no Retry-After", c.method, c.path)
	}
}
