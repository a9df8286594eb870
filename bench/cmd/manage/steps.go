package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"ollama-api-pool/bench/internal/program"
	"ollama-api-pool/internal/gateway"
)

const (
	text  = "text/plain"
	asked = "application/json"

	importText = "/admin/api-keys/import-from-txt"
)

// imported is what an import tells.
type imported struct{ Total, Added, Existing, InvalidTotal int }

// imports fills the empty pool, and does it again.
func (m *measurement) imports(ctx context.Context) error {
	if err := os.MkdirAll(m.data(), 0o700); err != nil {
		return err
	}
	if err := m.start(ctx, "start, empty"); err != nil {
		return err
	}
	body := lines("one", m.o.keys)
	for _, c := range []struct {
		what, path string
		want       imported
	}{
		{"import, dry run", importText + "?dryRun=true", imported{m.o.keys, m.o.keys, 0, 0}},
		{"import", importText, imported{m.o.keys, m.o.keys, 0, 0}},
		{"the same import again", importText, imported{m.o.keys, 0, m.o.keys, 0}},
	} {
		m.pool.Calm()
		before := m.pool.Resident(program.Now)
		var got imported
		took, err := m.pool.Must(ctx, http.MethodPost, c.path, text, body, &got)
		if err != nil {
			return err
		}
		if got != c.want {
			return fmt.Errorf("%s says %+v", c.what, got)
		}
		m.report.add(fmt.Sprintf("%s of %d lines, %.1f MB", c.what, m.o.keys, float64(len(body))/1e6), seconds(took), m.pool.Grown(before), "")
	}
	return nil
}

// reads times everything that is read again and again.
func (m *measurement) reads(ctx context.Context) error {
	one := key("one", m.o.keys/2)
	id := string(gateway.IDOfKey(gateway.Secret(one)))
	deep := fmt.Sprint(m.o.keys/200 - 1)
	list := "/admin/api-keys"
	calls := [][2]string{
		{"keys, first page", list},
		{"keys, last page of 200", list + "?pageSize=200&page=" + deep},
		{"search, part of a name", list + "?search=user05"},
		{"search, nothing found", list + "?search=nobody"},
		{"search, whole key", list + "?search=" + url.QueryEscape(one)},
		{"search, id", list + "?search=" + id},
		{"keys that are out", list + "?status=failed"},
	}
	for _, by := range []string{"username", "created_at", "expires_at", "status", "consecutive_failures", "last_used"} {
		calls = append(calls, [2]string{"sorted by " + by, list + "?sort=" + by}, [2]string{"sorted by -" + by + ", deep", list + "?pageSize=200&sort=-" + by + "&page=" + deep})
	}
	calls = append(calls, [][2]string{
		{"one key's story", list + "/" + id},
		{"keys/stats, first page", "/admin/keys/stats"},
		{"keys/stats, last page", "/admin/keys/stats?pageSize=200&page=" + deep},
		{"stats", "/admin/stats"},
		{"overview, 1 h", "/admin/overview?range=1h"},
		{"overview, 24 h", "/admin/overview"},
		{"overview, 30 d", "/admin/overview?range=30d"},
		{"analytics, 24 h", "/admin/analytics"},
		{"analytics, 7 d", "/admin/analytics?range=7d"},
		{"analytics, 30 d", "/admin/analytics?range=30d"},
		{"analytics, 30 d, in another zone", "/admin/analytics?range=30d&tz=Asia/Shanghai"},
		{"table of models, 24 h", "/admin/analytics/models"},
		{"table of models, 30 d, by p95", "/admin/analytics/models?range=30d&sort=-duration.p95"},
		{"table of keys", "/admin/analytics/keys"},
		{"table of keys, deep", "/admin/analytics/keys?pageSize=200&page=" + deep},
		{"table of tokens, 24 h", "/admin/analytics/tokens"},
		{"table of tokens, 7 d", "/admin/analytics/tokens?range=7d"},
		{"public-stats", "/admin/public-stats"},
		{"metrics", "/metrics"},
		{"requests, first page", "/admin/requests"},
		{"requests that were retried, 200", "/admin/requests?status=retried&limit=200"},
		{"requests of one key", "/admin/requests?key=" + id},
		{"jobs", "/admin/jobs"},
		{"settings", "/admin/settings"},
	}...)
	for _, c := range calls {
		all := make([]time.Duration, m.o.calls)
		for n := range all {
			var err error
			if all[n], err = m.pool.Must(ctx, http.MethodGet, c[1], "", "", nil); err != nil {
				return err
			}
		}
		slices.Sort(all)
		m.report.add(c[0], "", "", fmt.Sprintf("%s, at most %s", milliseconds(all[len(all)/2]), milliseconds(all[len(all)-1])))
	}
	m.report.add("after these calls", "", m.pool.Memory(), "")
	return nil
}

// files times what is given as one file.
func (m *measurement) files(ctx context.Context) error {
	for _, c := range [][2]string{
		{"export of all keys, masked, txt", "/admin/api-keys/export"},
		{"export, csv", "/admin/api-keys/export?format=csv"},
		{"export, jsonl", "/admin/api-keys/export?format=jsonl"},
		{"table of keys as a file", "/admin/analytics/keys?format=csv"},
		{"list of all keys on one page", "/admin/api-keys?fetch=all"},
	} {
		m.pool.Calm()
		before := m.pool.Resident(program.Now)
		took, err := m.pool.Must(ctx, http.MethodGet, c[1], "", "", nil)
		if err != nil {
			return err
		}
		m.report.add(c[0], seconds(took), m.pool.Grown(before), "")
	}
	return nil
}

// checks checks every key.
func (m *measurement) checks(ctx context.Context) error {
	type checked struct{ Healthy, Unhealthy, Inconclusive int }
	var got checked
	return m.upstreamed(ctx, fmt.Sprintf("health check of %d keys, without a pace", m.o.keys), "/admin/keys/health-check", asked, `{"status":"all"}`, &got, func() error {
		if bad := (m.o.keys + 12) / 20; got.Healthy+got.Unhealthy != m.o.keys || got.Unhealthy != bad {
			return fmt.Errorf("the check says %+v", got)
		}
		return nil
	})
}

// validated imports as many new keys, each of which is checked before.
func (m *measurement) validated(ctx context.Context) error {
	var got struct{ Total, Added, Existing, InvalidTotal int }
	what := fmt.Sprintf("validated import of %d lines, without a pace", m.o.keys)
	return m.upstreamed(ctx, what, "/admin/api-keys/import-with-validation", text, lines("two", m.o.keys), &got, func() error {
		if got.Total != m.o.keys || got.Added+got.InvalidTotal != m.o.keys {
			return fmt.Errorf("the import says %+v", got)
		}
		return nil
	})
}

// upstreamed times a call that asks the upstream about many keys.
func (m *measurement) upstreamed(ctx context.Context, what, path, kind, body string, into any, right func() error) error {
	m.pool.Calm()
	before, questions := m.pool.Resident(program.Now), m.up.questions.Load()
	took, err := m.pool.Must(ctx, http.MethodPost, path, kind, body, into)
	if err != nil {
		return err
	}
	if err := right(); err != nil {
		return err
	}
	n := m.up.questions.Load() - questions
	m.report.add(what, seconds(took), m.pool.Grown(before), fmt.Sprintf("%d questions, %.0f a second, %d tokens spent", n, float64(n)/took.Seconds(), m.up.generating.Load()))
	return nil
}

// backups makes a backup while the program serves, and puts it in place of the
// data.
func (m *measurement) backups(ctx context.Context) error {
	file := filepath.Join(m.o.dir, "pool.backup")
	took, err := m.command(ctx, "backup", file)
	if err != nil {
		return err
	}
	size := func(path string) float64 {
		if info, err := os.Stat(path); err == nil {
			return float64(info.Size()) / 1e6
		}
		return 0
	}
	m.report.add("backup while it serves", seconds(took), "", fmt.Sprintf("%.1f MB of a store of %.1f MB", size(file), size(filepath.Join(m.data(), "pool.db"))))
	if err := m.pool.Stop(); err != nil {
		return err
	}
	if err := os.RemoveAll(m.data()); err != nil {
		return err
	}
	if took, err = m.command(ctx, "restore", file); err != nil {
		return err
	}
	m.report.add("restore", seconds(took), "", "")
	return m.start(ctx, "start with twice as many keys")
}

func (m *measurement) command(ctx context.Context, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, m.o.program, args...)
	cmd.Env = m.settings()
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", args[0], err, out)
	}
	return time.Since(began), nil
}

// bulk changes all keys at once, and deletes them.
func (m *measurement) bulk(ctx context.Context) error {
	const all = `{"filter":{"status":"all"}}`
	for _, c := range []struct{ what, method, path string }{
		{"disable all keys in one call", http.MethodPost, "/admin/keys/disable"},
		{"enable them", http.MethodPost, "/admin/keys/enable"},
		{"delete them", http.MethodDelete, "/admin/api-keys"},
	} {
		m.pool.Calm()
		before := m.pool.Resident(program.Now)
		var got struct{ Total int }
		took, err := m.pool.Must(ctx, c.method, c.path, asked, all, &got)
		if err != nil {
			return err
		}
		m.report.add(fmt.Sprintf("%s, %d", c.what, got.Total), seconds(took), m.pool.Grown(before), "")
	}
	return m.pool.Stop()
}
