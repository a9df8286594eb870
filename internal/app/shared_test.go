package app_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
	"ollama-api-pool/internal/testkit/servers"
)

// atOnce is within what what one instance changes must show on the other. It is a
// second where the machine has nothing else to do.
const atOnce = 3 * time.Second

// What one instance changes shows on the other at once.
func TestTwoInstancesAgree(t *testing.T) {
	a := start(t, "DATABASE_URL="+servers.SharedPostgres(t).Database(t))
	a.up.Always(testkit.JSON(http.StatusOK, done))
	b := a.another()
	pool := func(p *program) string {
		return string(p.admin(http.MethodGet, "/admin/stats", "").Body)
	}
	a.addKeys(gateway.Ollama, 3)
	becomes(t, "keys that were added are there", atOnce, func() bool { return b.app.Keys() == 3 })
	b.serves(3) // with the token that a has made
	for _, step := range []struct{ path, body, want string }{
		{"/admin/keys/disable", `{"apiKey":"` + key(0) + `"}`, `"failed_keys":1`},
		{"/admin/keys/enable", `{"apiKey":"` + key(0) + `"}`, `"active_keys":3`},
	} {
		if got := b.admin(http.MethodPost, step.path, step.body); got.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", step.path, got.Status, got.Body)
		}
		becomes(t, step.path, atOnce, func() bool { return strings.Contains(pool(a), step.want) })
	}
	if got := b.admin(http.MethodDelete, "/admin/api-keys", `{"apiKey":"`+key(2)+`"}`); got.Status != http.StatusOK {
		t.Fatalf("%d %s", got.Status, got.Body)
	}
	becomes(t, "a key that was deleted is gone", atOnce, func() bool { return a.app.Keys() == 2 })
	a.serves(2)
	a.counted(5)
	if got := a.admin(http.MethodDelete, "/admin/tokens", `{"token":"`+a.token+`"}`); got.Status != http.StatusOK {
		t.Fatalf("%d %s", got.Status, got.Body)
	}
	becomes(t, "a token that was revoked is refused", atOnce, func() bool {
		return b.post("/v1/chat/completions", chat).Status == http.StatusUnauthorized
	})
	var seen string
	becomes(t, "each knows the other", soon, func() bool {
		seen = string(a.admin(http.MethodGet, "/admin/instances", "").Body)
		return strings.Count(seen, `"name"`) == 2
	})
	equal(t, "instances that answer", strings.Count(seen, `"self":true`), 1)
}

// While the database is stopped clients are served, what an operator wants is
// refused with the reason, and afterwards everything is counted once.
func TestDatabaseStopped(t *testing.T) {
	server, url := broken(t)
	a := start(t, "DATABASE_URL="+url)
	a.up.Always(testkit.JSON(http.StatusOK, done))
	a.addKeys(gateway.Ollama, 2)
	a.serves(2)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	a.isDegraded()
	a.serves(4)
	_, reasons := a.ready()
	if len(reasons) != 1 || !strings.Contains(reasons[0], "the database is out of reach since") {
		t.Errorf("reasons: %q", reasons)
	}
	began := time.Now()
	for _, call := range []struct{ method, path, body string }{
		{http.MethodPost, "/admin/api-keys", `{"apiKey":"fake-upstream-key-09"}`},
		{http.MethodPost, "/admin/keys/disable", `{"apiKey":"` + key(0) + `"}`},
		{http.MethodPost, "/admin/tokens", `{"name":"x"}`},
		{http.MethodGet, "/admin/api-keys", ""},
		{http.MethodGet, "/admin/overview", ""},
		{http.MethodGet, "/admin/jobs", ""},
		{http.MethodPost, "/admin/login", `{"token":"` + adminToken + `"}`},
	} {
		got := a.admin(call.method, call.path, call.body)
		if got.Status != http.StatusServiceUnavailable || !strings.Contains(string(got.Body), "out of reach since") {
			t.Errorf("%s %s: %d %s", call.method, call.path, got.Status, got.Body)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("refusals took %v", took)
	}
	settings := a.admin(http.MethodGet, "/admin/settings", "")
	equal(t, "settings", settings.Status, http.StatusOK)
	for _, want := range []string{`"engine":"postgresql"`, `"degraded":["the database`, `"outage":{"reason"`} {
		if !strings.Contains(string(settings.Body), want) {
			t.Errorf("no %s in %s", want, settings.Body)
		}
	}
	metrics := string(a.admin(http.MethodGet, "/metrics", "").Body)
	if !strings.Contains(metrics, "database_up 0") {
		t.Errorf("metrics: %s", metrics)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	a.isWell()
	a.serves(1)
	a.counted(7)
}
