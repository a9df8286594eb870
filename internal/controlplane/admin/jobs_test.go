package admin_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/testkit"
)

// A job goes on when its caller leaves; while it runs there is no second one.
func TestJobsGoOn(t *testing.T) {
	for name, accept := range map[string]string{"plain": "*/*", "stream": "text/event-stream"} {
		t.Run(name, func(t *testing.T) {
			gate := testkit.NewGate()
			up := knows(t, func(c *testkit.Call) testkit.Answer {
				if c.Path == "/v1/chat/completions" {
					return testkit.After(gate, knowing(c))
				}
				return nil
			})
			p := startWith(t, up)
			p.add("good", 30)
			p.leave("/admin/keys/health-check", "", accept, func() { up.AwaitCalls(16, soon) })
			var jobs struct {
				Running []struct {
					ID    string
					Total int
				}
			}
			p.read("GET /admin/jobs", &jobs)
			if len(jobs.Running) != 1 || jobs.Running[0].Total != 30 {
				t.Fatalf("running: %+v", jobs.Running)
			}
			job := jobs.Running[0].ID
			for call, body := range map[string]string{
				"POST /admin/keys/health-check": "{}", "POST /admin/keys/health-check?async=true": "{}",
				"POST /admin/api-keys/import-with-validation": `{"keys":[]}`,
			} {
				p.wantError(call, body, 409, "invalid_request_error", "conflict",
					"job "+job+" is running: a check of ollama, 0 of 30 done; wait for its end or cancel it", "Content-Type", "application/json")
			}
			gate.Open()
			p.awaitJob(job, "done")
			if got, want := p.statuses(), "map[active kimi:30]"; got != want {
				t.Errorf("keys: %s, want %s", got, want)
			}
		})
	}
}

// leave makes a call and hangs up when something has happened.
func (p *pool) leave(address, body, accept string, happened func()) {
	p.Helper()
	ctx, hangUp := context.WithCancel(p.Context())
	defer hangUp()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.app.URL()+address, strings.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminToken)
	r.Header.Set("Accept", accept)
	r.Header.Set("Content-Type", "application/json")
	left := make(chan string, 1)
	go func() {
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			left <- ""
			return
		}
		b, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		left <- string(b)
	}()
	happened()
	hangUp()
	if got := <-left; got != "" && !strings.HasPrefix(got, "event: progress\n") || strings.Contains(got, "result") {
		p.Errorf("it was answered before its end: %s", got)
	}
}

const soon = 10 * time.Second

// awaitJob waits until a job has a state.
func (p *pool) awaitJob(id, state string) (job struct {
	State  string
	Error  string
	Done   int
	Counts map[string]int
},
) {
	p.Helper()
	for until := time.Now().Add(soon); ; {
		p.read("GET /admin/jobs/"+id, &job)
		if job.State == state {
			return job
		}
		if time.Now().After(until) {
			p.Fatalf("job %s: %+v, want it %s", id, job, state)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// begin starts a job and returns its id.
func (p *pool) begin(call, body string, headers ...string) string {
	p.Helper()
	a := p.call(call, body, headers...)
	var out struct{ Job struct{ ID, State string } }
	if p.decode(a, &out); a.status != 202 || len(out.Job.ID) != 16 || out.Job.State != "running" {
		p.Fatalf("%s: %d %s", call, a.status, a.body)
	}
	return out.Job.ID
}

// A job that waits for its upstream says so instead of guessing when it ends.
func TestJobWaits(t *testing.T) {
	var up atomic.Bool
	p := startWith(t, knows(t, func(*testkit.Call) testkit.Answer {
		if up.Load() {
			return nil
		}
		return testkit.JSON(503, `{"error":"busy"}`)
	}))
	p.add("good", 40)
	streamed := make(chan string, 1)
	go func() {
		streamed <- p.call("POST /admin/keys/health-check", "", "Accept", "text/event-stream").body
	}()
	var page struct {
		Running []struct {
			ID          string
			Done        int
			Waiting     *string
			SecondsLeft *int
		}
	}
	for until := time.Now().Add(soon); len(page.Running) == 0 || page.Running[0].Waiting == nil; time.Sleep(5 * time.Millisecond) {
		if p.read("GET /admin/jobs", &page); time.Now().After(until) {
			t.Fatalf("no job waits: %+v", page)
		}
	}
	if j := page.Running[0]; *j.Waiting != "the upstream gives no usable answer at present" || j.SecondsLeft != nil || j.Done == 0 {
		t.Errorf("%s, %d done, %v left", *j.Waiting, j.Done, j.SecondsLeft)
	}
	up.Store(true)
	p.awaitJob(page.Running[0].ID, "done")
	if a := p.call("GET /admin/jobs/"+page.Running[0].ID, ""); !strings.Contains(a.body, `"waiting":null`) {
		t.Errorf("when it is done: %s", a.body)
	}
	if got := <-streamed; !strings.Contains(got, `"waiting":"the upstream gives`) || !strings.Contains(got, `"done":40,"total":40,"healthy":40,"unhealthy":0,"inconclusive":0}`) {
		t.Errorf("the stream: %s", got)
	}
}

func TestJobsAreShown(t *testing.T) {
	gate := testkit.NewGate()
	up := knows(t, func(c *testkit.Call) testkit.Answer {
		if strings.HasPrefix(c.Key, "fake-good-key-00001") {
			return testkit.After(gate, knowing(c))
		}
		return nil
	})
	p := startWith(t, up, "CHECK_CONCURRENCY=4")
	for _, call := range []string{"GET /admin/jobs", "GET /admin/jobs/x", "POST /admin/jobs/x/cancel", "GET /admin/jobs/x/bad"} {
		p.wantError(call, "", 401, "authentication_error", "authentication_error", "wrong admin token", "Authorization", "Bearer wrong")
	}
	p.wantMissing("GET /admin/jobs/0123456789abcdef", "", "job")
	p.wantMissing("POST /admin/jobs/0123456789abcdef/cancel", "", "job")
	p.wantMissing("GET /admin/jobs/0123456789abcdef/bad", "", "job")
	p.wantInvalid("GET /admin/jobs?kind=odd&page=0", "", "page must be a whole number from 1 to 2147483647; kind must be import or check")
	p.want("GET /admin/jobs", "", 200, `{"jobs":[],"running":[],"total":0,"page":1,"pageSize":50,"totalPages":1}`)

	p.add("good", 30)
	first := p.begin("POST /admin/keys/health-check?async=true", `{}`)
	up.AwaitCalls(4, soon)
	var page struct {
		Jobs, Running []struct {
			ID, Kind, State string
			SecondsLeft     *int
		}
		Total int
	}
	p.read("GET /admin/jobs?kind=check", &page)
	if page.Total != 1 || len(page.Running) != 1 || page.Jobs[0].ID != first || page.Jobs[0].State != "running" {
		t.Errorf("%+v", page)
	}
	a := p.call("POST /admin/jobs/"+first+"/cancel", "")
	if a.status != 200 || !strings.Contains(a.body, `"state":"cancelled"`) || !strings.Contains(a.body, `"error":"the job was cancelled"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	p.wantError("POST /admin/jobs/"+first+"/cancel", "", 409, "invalid_request_error", "conflict", "job "+first+" does not run any more: it is cancelled")
	gate.Open()

	text := "fake-good-key-000777\nfake-bad-key-000778\n\nodd one----x\n=cmd-bad-key-000779\n"
	p.plant("fake-good-key-000777", "fake-bad-key-000778", "=cmd-bad-key-000779")
	second := p.begin("POST /admin/api-keys/import-with-validation?async=true", text, "Content-Type", "text/plain", "X-Import-Source", "new.txt")
	job := p.awaitJob(second, "done")
	if job.Counts["added"] != 1 || job.Counts["invalid"] != 2 || job.Counts["bad"] != 1 {
		t.Errorf("%+v", job)
	}
	a = p.call("GET /admin/jobs/"+second+"/bad", "")
	lines := strings.Split(strings.TrimSpace(a.body), "\n")
	slices.Sort(lines)
	want := []string{"2,fake-b…0778,401 unauthorized", "4,,key is shorter than 8 characters", "5,'=cmd-b…0779,401 unauthorized", "line,key,reason"}
	if !slices.Equal(lines, want) || !strings.HasPrefix(a.header.Get("Content-Type"), "text/csv") || !strings.Contains(a.header.Get("Content-Disposition"), second) {
		t.Errorf("%v %q", a.header, lines)
	}
	p.read("GET /admin/jobs?pageSize=1", &page)
	if page.Total < 3 || page.Jobs[0].ID != second || page.Jobs[0].Kind != "import" || len(page.Running) != 0 {
		t.Errorf("%+v", page)
	}
}
