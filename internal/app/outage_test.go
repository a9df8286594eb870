package app_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
	"ollama-api-pool/internal/testkit/rest"
	"ollama-api-pool/internal/testkit/servers"
)

// A database that stands still holds nobody up: neither clients nor the end of
// the program. What was counted arrives, once, after a restart.
func TestDatabaseFrozen(t *testing.T) {
	server, url := broken(t)
	a := start(t, "DATABASE_URL="+url)
	a.up.Always(testkit.JSON(http.StatusOK, done))
	a.addKeys(gateway.Ollama, 2)
	a.serves(1)
	server.Freeze()
	n := int64(1)
	slowest := time.Duration(0)
	becomes(t, "degraded", 20*time.Second, func() bool {
		began := time.Now()
		a.serves(1)
		n++
		slowest = max(slowest, time.Since(began))
		s, _ := a.ready()
		return s == "degraded"
	})
	if slowest > 2*time.Second {
		t.Errorf("a request took %v", slowest)
	}
	began := time.Now()
	a.stop(15 * time.Second)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if log := a.log.String(); strings.Count(log, "database is out of reach: clients are served") != 1 || strings.Contains(log, "background job failed") {
		t.Errorf("an outage is not told once: %s", log)
	}
	server.Thaw()
	a.open()
	a.counted(n)
}

// Started while the database is gone, the program serves from what it knew, with
// the states that it learnt and could not write, and sends all of it later.
func TestStartWithoutDatabase(t *testing.T) {
	server, url := broken(t)
	a := start(t, "DATABASE_URL="+url, "ENCRYPTION_KEY="+strings.Repeat("0f", 32))
	a.up.Handle(testkit.ByKey(map[string]testkit.Answer{
		key(0): testkit.JSON(http.StatusUnauthorized, `{"error":"unauthorized"}`),
	}, testkit.JSON(http.StatusOK, done)))
	a.addKeys(gateway.Ollama, 2)
	a.serves(1)
	a.counted(1)
	a.stop(soon) // which brings the mirror up to date
	a.open()
	server.Kill()
	a.serves(3)
	a.isDegraded()
	a.stop(soon)
	noSecretIn(t, filepath.Join(a.dir, "local.db"), key(0), key(1))

	a.open()
	status, _ := a.ready()
	equal(t, "status", status, "degraded")
	before := len(a.up.CallsFor(key(0)))
	a.serves(4)
	equal(t, "calls with the refused key", len(a.up.CallsFor(key(0))), before)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	a.isWell()
	a.serves(1)
	a.counted(9)
	state := a.key(gateway.Ollama, 0).State
	if !state.FailedUntil.After(time.Now()) {
		t.Errorf("the refused key is stored as %+v", state)
	}
}

// noSecretIn makes sure that a file and what belongs to it hold none of some texts.
func noSecretIn(t *testing.T, path string, secrets ...string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil && suffix == "" {
			t.Fatal(err)
		}
		for _, s := range secrets {
			if bytes.Contains(b, []byte(s)) {
				t.Errorf("%s holds a secret", path+suffix)
			}
		}
	}
}

// Neither is anything written where the database is reached over HTTPS.
func TestNothingOnTheDiskOverREST(t *testing.T) {
	script, err := app.Script(true)
	if err != nil {
		t.Fatal(err)
	}
	server := rest.Start(t, servers.SharedPostgres(t).Database(t))
	if err := server.Run(t.Context(), script); err != nil {
		t.Fatal(err)
	}
	nowhere := filepath.Join(t.TempDir(), "none")
	a := start(t, "SUPABASE_REST_URL="+server.URL, "SUPABASE_SERVICE_ROLE_KEY="+rest.ServiceKey, "DISABLE_KV_STORAGE=true", "DATA_DIR="+nowhere)
	a.up.Always(testkit.JSON(http.StatusOK, done))
	a.addKeys(gateway.Ollama, 2)
	a.serves(2)
	server.Away(true)
	a.isDegraded()
	a.serves(3)
	server.Away(false)
	a.isWell()
	a.counted(5)
	a.stop(soon)
	if _, err := os.Stat(nowhere); !os.IsNotExist(err) {
		t.Errorf("the data directory: %v", err)
	}
}

// With nothing written to the local disk an outage is lived through in memory.
func TestNothingOnTheDisk(t *testing.T) {
	server, url := broken(t)
	nowhere := filepath.Join(t.TempDir(), "none")
	a := start(t, "DATABASE_URL="+url, "DISABLE_KV_STORAGE=true", "DATA_DIR="+nowhere)
	a.up.Always(testkit.JSON(http.StatusOK, done))
	var many strings.Builder
	for range 3 {
		many.WriteString(strings.Repeat("#", 4<<20) + "\n")
	}
	many.WriteString(key(0) + "\n" + key(1) + "\n")
	got := testkit.RawRequest(t, a.addr, testkit.HTTP11(http.MethodPost, "/admin/api-keys/import-from-txt", many.String(),
		"Authorization", "Bearer "+adminToken, "Content-Type", "text/plain"))
	equal(t, "import", got.Status, http.StatusOK)
	a.serves(2)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	a.isDegraded()
	a.serves(3)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	a.isWell()
	a.counted(5)
	a.stop(soon)
	if _, err := os.Stat(nowhere); !os.IsNotExist(err) {
		t.Errorf("the data directory: %v", err)
	}
	a.open()
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	a.serves(2)
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	if err := a.app.Stop(ctx); err == nil || !strings.Contains(err.Error(), "the counts of 2 requests") {
		t.Errorf("stopped with %v, which does not say what is lost", err)
	}
	a.app = nil
}

// cutter passes connections on to a database and, when it is armed, cuts those in
// which a COMMIT was sent, after the database has done it and before that is
// known.
type cutter struct {
	to    string
	armed atomic.Int32 // how many are to be cut
}

// before starts a cutter and gives the address of the database through it.
func (c *cutter) before(t *testing.T, server *servers.Postgres, url string) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	c.to = server.Addr()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go c.pass(conn)
		}
	}()
	return strings.Replace(url, server.Addr(), l.Addr().String(), 1)
}

func (c *cutter) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", c.to) //nolint:noctx // ends with the client's
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	var cut atomic.Bool
	go func() {
		defer func() { _ = client.Close() }()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || cut.Load() { // it has answered, so it is done
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(bytes.ToLower(buf[:n]), []byte("commit")) && !bytes.Contains(bytes.ToLower(buf[:n]), []byte("read only")) && c.armed.Add(-1) >= 0 {
			cut.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
		if cut.Load() {
			_, _ = io.Copy(io.Discard, client) // until the other side has closed it
			return
		}
	}
}

// A batch whose commit was cut off counts once.
func TestCommitCutOff(t *testing.T) {
	server := servers.SharedPostgres(t)
	var c cutter
	a := start(t, "DATABASE_URL="+c.before(t, server, server.Database(t)))
	a.up.Always(testkit.JSON(http.StatusOK, done))
	a.addKeys(gateway.Ollama, 2)
	for range 2 {
		c.armed.Store(2)
		a.serves(4)
		becomes(t, "cut off", soon, func() bool { return c.armed.Load() <= 0 })
	}
	c.armed.Store(0)
	a.isWell()
	a.counted(8)
	uses := a.key(gateway.Ollama, 0).Counts.Total + a.key(gateway.Ollama, 1).Counts.Total
	equal(t, "attempts counted", uses, int64(8))
}

// What waits for the database is not given up for a key that somebody got wrong.
func TestAWrongKeyLeavesWhatWaits(t *testing.T) {
	server, url := broken(t)
	right, wrong := "ENCRYPTION_KEY="+strings.Repeat("0f", 32), "ENCRYPTION_KEY="+strings.Repeat("0e", 32)
	a := start(t, "DATABASE_URL="+url, right)
	a.up.Always(testkit.JSON(http.StatusOK, done))
	a.addKeys(gateway.Ollama, 2)
	a.serves(1)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	a.isDegraded()
	a.serves(3)
	a.stop(soon)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(append(slices.Clone(a.env), wrong), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Start(t.Context(), cfg, app.Deps{Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "ENCRYPTION_KEY") {
		t.Fatalf("started with a wrong key: %v", err)
	}
	a.open()
	a.counted(4)
}
