package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
	"ollama-api-pool/internal/testkit/servers"
)

// degrading is an instance of two, and the PostgreSQL that goes away.
type degrading struct {
	*cluster
	*ledger
	postgres *servers.Postgres
	token    string
	keys     []string
}

func newDegrading(t *testing.T, settings ...string) *degrading {
	t.Helper()
	d := &degrading{postgres: have(t, func() (*servers.Postgres, error) {
		return servers.StartPostgres("", servers.PostgresOptions{Password: databasePassword})
	})}
	t.Cleanup(d.postgres.Kill)
	known := map[string]fate{}
	for n := range 6 {
		d.keys = append(d.keys, fakeKey(gateway.Ollama, n))
		known[d.keys[n]] = fateOK
	}
	d.ledger = newLedger(t, 3, known)
	d.calm = true
	url := d.postgres.URL(d.postgres.CreateDatabase(t))
	d.cluster = newCluster(t, d.settings(), []string{url, url}, settings...)
	d.All[0].AddKeys(gateway.Ollama, d.keys...)
	d.token = d.All[0].CreateToken("degraded", "all")
	for _, i := range d.All {
		i.secrets.plant(append(d.keys, d.token)...)
		await(t, "the token", func() bool { return knowsToken(i, d.token) })
	}
	return d
}

// works sends requests to every instance, all of which must be served.
func (d *degrading) works(t *testing.T, when string, all ...*Instance) {
	t.Helper()
	for _, i := range all {
		for range 60 {
			d.request(t.Context(), i.URL(), d.token)
		}
	}
	if failed := d.refused + len(d.failures); failed > 0 {
		t.Fatalf("%s: %d requests failed, among them\n%s", when, failed, strings.Join(d.failures[:min(3, len(d.failures))], "\n"))
	}
}

// say waits until instances say how they are, with the right status.
func (d *degrading) say(t *testing.T, word string, all ...*Instance) {
	t.Helper()
	for _, i := range all {
		await(t, "instance that is "+word, func() bool {
			a := readyOf(i)
			return a.code == http.StatusOK && a.Status == word
		})
	}
}

// even waits until the counters are those of the ledger.
func (d *degrading) even(t *testing.T, when string, all ...*Instance) {
	t.Helper()
	if n, what, _ := d.awaitEven(t, patience, all); n > 0 {
		t.Errorf("%s the counters differ: %v", when, what)
	}
}

// refuses expects that nothing is changed while the database is away.
func (d *degrading) refuses(t *testing.T, i *Instance) {
	t.Helper()
	for _, c := range []call{
		withJSON("POST", "/admin/api-keys", map[string]any{"apiKey": fakeKey(gateway.Ollama, 99)}),
		withText(textImport, fakeKey(gateway.Ollama, 99)),
		withJSON("DELETE", "/admin/api-keys", map[string]any{"apiKey": idOf(d.keys[0])}),
		withJSON("POST", "/admin/keys/disable", map[string]any{"apiKey": idOf(d.keys[0])}),
		withJSON("POST", "/admin/keys/enable", map[string]any{"apiKey": idOf(d.keys[0])}),
		withJSON("POST", "/admin/tokens", map[string]any{"name": "x"}),
		withJSON("DELETE", "/admin/tokens", map[string]any{"token": idOfToken(d.token)}),
	} {
		reasonable(t, i, c)
	}
}

// TestServesWithoutItsDatabase takes PostgreSQL away, kills an instance and
// starts it again meanwhile, and brings PostgreSQL back: clients notice nothing,
// and everything is counted once.
func TestServesWithoutItsDatabase(t *testing.T) {
	t.Parallel()
	d := newDegrading(t, encryptionKey)
	first, second := d.All[0], d.All[1]
	d.works(t, "with the database", first, second)
	d.even(t, "with the database", first, second)
	moment := time.Now() // in which the local store follows
	await(t, "a moment to be past", func() bool { return time.Since(moment) > 5*time.Second })
	d.postgres.Kill()
	d.works(t, "at once after the database went", first, second)
	d.say(t, "degraded", first, second)
	d.works(t, "without the database", first, second)
	d.refuses(t, first)
	last := time.Now()
	await(t, "what a kill may cost to be past", func() bool { return time.Since(last) > lastMoments })
	first.Kill()
	searchFiles(t, first, false)
	if findMirror(t, first) == "" {
		t.Error("there is no local store")
	}
	d.start(0)
	d.say(t, "degraded", first)
	d.works(t, "started without the database", first)
	d.refuses(t, first)
	if err := d.postgres.Start(); err != nil {
		t.Fatal(err)
	}
	d.say(t, "ok", first, second)
	d.even(t, "with the database again", first, second)
	Admin[any](t, first, "POST", "/admin/keys/disable", map[string]any{"apiKey": idOf(d.keys[0]), "duration": 0})
	await(t, "the change at the other instance", func() bool { return second.Keys(gateway.Ollama)[idOf(d.keys[0])].Status == "disabled" })
	d.works(t, "with the database again", first, second)
	d.stop()
	searchFiles(t, first, false)
	d.start(0)
	d.even(t, "after all", first)
	first.Stop()
}

// findMirror is the path of the local store, "" where there is none.
func findMirror(t *testing.T, i *Instance) string {
	t.Helper()
	for path := range contents(t, i.Home) {
		if strings.HasSuffix(path, "local.db") {
			return path
		}
	}
	return ""
}

// TestNothingOnDisk runs an instance that may write nothing to its disk through
// all that it can do, without the database too.
func TestNothingOnDisk(t *testing.T) {
	t.Parallel()
	d := newDegrading(t, encryptionKey, "DISABLE_KV_STORAGE=true")
	first := d.All[0]
	for _, i := range d.All {
		if err := os.Chmod(i.Home, 0o500); err != nil {
			t.Fatal(err)
		}
	}
	clean := func(when string) {
		t.Helper()
		for _, i := range d.All {
			entries, err := os.ReadDir(i.Home)
			if err != nil || len(entries) > 0 {
				t.Errorf("%s there is %v in the directory of an instance that writes nothing: %v", when, entries, err)
			}
		}
	}
	Admin[any](t, first, "POST", textImport+"?provider=openrouter", longLine(1, fakeKey(gateway.OpenRouter, 50)))
	d.works(t, "with the database", d.All...)
	clean("with the database")
	d.postgres.Kill()
	d.say(t, "degraded", d.All...)
	d.works(t, "without the database", d.All...)
	d.refuses(t, first)
	clean("without the database")
	if err := d.postgres.Start(); err != nil {
		t.Fatal(err)
	}
	d.say(t, "ok", d.All...)
	d.even(t, "with the database again", d.All...)
	d.stop()
	clean("in the end")
}

// TestStartWithoutDatabase starts instances for which there is no database, and
// nothing that they know of an earlier one: each says so, once it has tried for
// a while, and shows no password.
func TestStartWithoutDatabase(t *testing.T) {
	t.Parallel()
	frozen := have(t, func() (*servers.Postgres, error) {
		return servers.StartPostgres("", servers.PostgresOptions{Password: databasePassword})
	})
	t.Cleanup(frozen.Kill)
	frozen.Freeze()
	wrong := strings.Replace(have(t, lockedPostgres).Database(t), databasePassword, databasePassword+"-wrong", 1)
	closed, addr, err := testkit.ReservePort()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closed.Close() })
	login := "postgres://postgres:" + databasePassword + "@"
	all := map[string]*Instance{}
	for name, settings := range map[string][]string{
		"nobody listens":    {"DATABASE_URL=" + login + addr + "/pool"},
		"nobody answers":    {"DATABASE_URL=" + frozen.URL("postgres")},
		"no such host":      {"DATABASE_URL=" + login + "database.example.invalid/pool"},
		"wrong password":    {"DATABASE_URL=" + wrong},
		"no such database":  {"DATABASE_URL=" + have(t, lockedPostgres).URL("no_such_database")},
		"nothing on disk":   {"DATABASE_URL=" + login + addr + "/pool", "DISABLE_KV_STORAGE=true"},
		"address of no use": {"DATABASE_URL=" + login + "127.0.0.1:port/pool"},
	} {
		i := newInstance(t, append(settings, "ADMIN_TOKEN="+clusterAdmin, encryptionKey)...)
		i.Path = quickProgram(t)
		i.secrets.plant(databasePassword)
		i.launch() // all of them wait side by side
		all[name] = i
	}
	for name, i := range all {
		awaitWithin(t, 45*time.Second, "end of the start where "+name, func() bool { return !i.Running() })
		code := i.Wait()
		said := withoutWarnings(i.Err.String())
		lines := strings.Split(strings.TrimSpace(said), "\n")
		if last := lines[len(lines)-1]; code != 1 || !strings.HasPrefix(last, "ollama-api-pool: ") || !strings.Contains(said, "DATABASE_URL") {
			t.Errorf("%s: exit code %d and\n%s%s", name, code, i.Out.String(), said)
		}
	}
}
