package app_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
	"ollama-api-pool/internal/testkit/servers"
)

// A job runs on one instance at a time. The other one knows of it, shows how far
// it is, says where it runs, and cancels it.
func TestJobsOfSeveralInstances(t *testing.T) {
	a := start(t, "DATABASE_URL="+servers.SharedPostgres(t).Database(t))
	b := a.another()
	gate := testkit.NewGate()
	t.Cleanup(gate.Open)
	a.up.Always(testkit.After(gate, testkit.JSON(http.StatusBadRequest, `{"error":"model is required"}`)))
	a.addKeys(gateway.Ollama, 2)
	becomes(t, "keys are there", soon, func() bool { return b.app.Keys() == 2 })
	const path = "/admin/keys/health-check?async=true"
	got := a.admin(http.MethodPost, path, `{"status":"all"}`)
	var started struct{ Job struct{ ID string } }
	if err := json.Unmarshal(got.Body, &started); err != nil || got.Status != http.StatusAccepted {
		t.Fatalf("%d %s %v", got.Status, got.Body, err)
	}
	id := started.Job.ID
	got = b.admin(http.MethodPost, path, `{"status":"all"}`)
	if got.Status != http.StatusConflict || !strings.Contains(string(got.Body), "job "+id+" is running on ") {
		t.Errorf("a second job: %d %s", got.Status, got.Body)
	}
	becomes(t, "the other one shows it", soon, func() bool {
		var list struct{ Running []struct{ ID string } }
		err := json.Unmarshal(b.admin(http.MethodGet, "/admin/jobs", "").Body, &list)
		return err == nil && len(list.Running) == 1 && list.Running[0].ID == id
	})
	got = b.admin(http.MethodPost, "/admin/jobs/"+id+"/cancel", "")
	if got.Status != http.StatusOK || !strings.Contains(string(got.Body), `"state":"cancelled"`) {
		t.Errorf("cancelled from the other one: %d %s", got.Status, got.Body)
	}
	gate.Open()
	got = b.admin(http.MethodPost, "/admin/keys/health-check", `{"status":"all"}`)
	if got.Status != http.StatusOK || !strings.Contains(string(got.Body), `"healthy":2`) {
		t.Errorf("a job on the other one: %d %s", got.Status, got.Body)
	}
}

// With Redis the instances count limits together and hear of changes at once;
// without it each goes on by itself, and says so.
func TestRedisComesAndGoes(t *testing.T) {
	redis, err := servers.StartRedis("", servers.RedisOptions{Password: "fake-redis-password"})
	if err != nil {
		t.Fatal(err)
	}
	a := start(t, "DATABASE_URL="+servers.SharedPostgres(t).Database(t), "REDIS_URL="+redis.URL(), "ENABLE_RATE_LIMIT=true", "RATE_LIMIT_REQUESTS=6", "RATE_LIMIT_WINDOW=3600")
	a.up.Always(testkit.JSON(http.StatusOK, done))
	b := a.another()
	a.addKeys(gateway.Ollama, 2)
	becomes(t, "keys are there", soon, func() bool { return b.app.Keys() == 2 })
	a.isWell()
	b.isWell()
	a.serves(3)
	b.serves(3)
	for _, p := range []*program{a, b} {
		equal(t, "beyond the limit of all", p.post("/v1/chat/completions", chat).Status, http.StatusTooManyRequests)
	}
	if err := redis.Stop(); err != nil {
		t.Fatal(err)
	}
	a.isDegraded()
	a.serves(1) // by its own count
	if _, reasons := a.ready(); len(reasons) != 1 || !strings.HasPrefix(reasons[0], "Redis is out of reach") {
		t.Errorf("reasons: %q", reasons)
	}
	if got := a.admin(http.MethodPost, "/admin/keys/disable", `{"apiKey":"`+key(0)+`"}`); got.Status != http.StatusOK {
		t.Errorf("a change without Redis: %d %s", got.Status, got.Body)
	}
	testkit.MustNotContain(t, string(a.admin(http.MethodGet, "/admin/settings", "").Body), "fake-redis-password")
}
