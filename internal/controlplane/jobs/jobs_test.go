package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/testkit"
)

// memory is a Store that remembers every write.
type memory struct {
	mu     sync.Mutex // guards what follows
	writes []gateway.Job
	jobs   map[string]gateway.Job
	kept   int
	fault  error
}

func (m *memory) PutJob(_ context.Context, j gateway.Job) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault != nil {
		return m.fault
	}
	m.jobs[j.ID] = j
	m.writes = append(m.writes, j)
	return nil
}

func (m *memory) Job(_ context.Context, id string) (gateway.Job, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	j, ok := m.jobs[id]
	return j, ok, m.fault
}

func (m *memory) Jobs(_ context.Context, kind gateway.JobKind, offset, limit int) ([]gateway.Job, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.DeleteFunc(slices.Collect(maps.Values(m.jobs)), func(j gateway.Job) bool { return kind != "" && j.Kind != kind })
	slices.SortFunc(list, func(a, b gateway.Job) int { return b.StartedAt.Compare(a.StartedAt) })
	total := len(list)
	return list[min(offset, total):min(offset+limit, total)], total, m.fault
}

func (m *memory) InterruptJobs(context.Context, time.Duration) (n int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, j := range m.jobs {
		if j.State == gateway.JobRunning {
			j.State = gateway.JobInterrupted
			m.jobs[id] = j
			n++
		}
	}
	return n, m.fault
}

func (m *memory) PruneJobs(_ context.Context, keep int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = keep
	return m.fault
}

// scene is a registry with its store and its log.
type scene struct {
	*testing.T
	*Registry
	store *memory
	log   *testkit.SafeBuffer
}

func newScene(t *testing.T) *scene {
	store, log := &memory{jobs: map[string]gateway.Job{}}, &testkit.SafeBuffer{}
	return &scene{t, New(store, slog.New(slog.NewTextHandler(log, nil)), time.Now), store, log}
}

func (s *scene) start(plan Plan) gateway.Job {
	s.Helper()
	j, err := s.Start(s.Context(), plan)
	if err != nil {
		s.Fatal(err)
	}
	return j
}

// end waits for a job and compares how it ended.
func (s *scene) end(id string, state gateway.JobState, message string) gateway.Job {
	s.Helper()
	j, err := s.Await(s.Context(), id, 0, nil)
	if err != nil {
		s.Fatal(err)
	}
	if j.State != state || j.Error != message || j.FinishedAt.IsZero() {
		s.Errorf("the job is %s: %q, want %s: %q", j.State, j.Error, state, message)
	}
	if stored := s.store.jobs[id]; stored.State != state || stored.Error != message {
		s.Errorf("stored: %+v", stored)
	}
	return j
}

// endless works until its context ends.
func endless(ctx context.Context, _ *Progress) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func kindOf(err error) gateway.Kind {
	if err == nil {
		return 0
	}
	return gateway.AsError(err).Kind
}

func TestAJobFromItsBeginningToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		caller, leave := context.WithCancel(t.Context())
		j, err := s.Start(caller, Plan{
			Kind: gateway.JobCheck, Provider: gateway.Ollama, Source: "all keys", By: "api", Total: 10,
			Run: func(ctx context.Context, p *Progress) error {
				for range 10 {
					time.Sleep(700 * time.Millisecond)
					p.Update(func(j *gateway.Job) { j.Done++; j.Counts["healthy"]++; j.Categories["kimi"]++ })
					p.AddBad(gateway.BadKey{Reason: "401"})
				}
				return ctx.Err()
			},
		})
		if err != nil || len(j.ID) != 16 || j.State != gateway.JobRunning || j.Total != 10 {
			t.Fatalf("%+v, %v", j, err)
		}
		leave() // it goes on
		time.Sleep(5 * time.Second)
		synctest.Wait()
		now, err := s.Job(t.Context(), j.ID)
		if err != nil || now.Done != 7 || now.Counts["healthy"] != 7 || len(now.Bad) != 7 {
			t.Errorf("after 5 seconds: %+v, %v", now, err)
		}
		if running := s.Running(); len(running) != 1 || running[0].Done != 7 {
			t.Errorf("running: %+v", running)
		}
		if list, total, err := s.Jobs(t.Context(), "", 0, 10); err != nil || total != 1 || list[0].Done != 7 {
			t.Errorf("listed: %+v, %v", list, err)
		}
		if n := len(s.store.writes); n != 3 || s.store.writes[2].Done != 5 || s.store.writes[2].Bad != nil {
			t.Errorf("written down so far: %+v", s.store.writes)
		}
		end := s.end(j.ID, gateway.JobDone, "")
		if end.Done != 10 || end.FinishedAt.Sub(end.StartedAt) != 7*time.Second || len(s.store.jobs[j.ID].Bad) != 10 {
			t.Errorf("at the end: %+v", end)
		}
		if now.Done != 7 || now.Categories["kimi"] != 7 || len(now.Bad) != 7 {
			t.Error("a snapshot changes")
		}
		if len(s.Running()) != 0 || s.store.kept != keepJobs {
			t.Error("it still runs, or the list is not kept short")
		}
		if s.start(Plan{Provider: gateway.Ollama, Run: func(context.Context, *Progress) error { return nil }}).ID == j.ID {
			t.Error("two jobs have one name")
		}
		synctest.Wait()
	})
}

func TestHowJobsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		run     func(context.Context, *Progress) error
		do      func(s *scene, id string) error
		state   gateway.JobState
		message string
		log     string
	}{
		"error": {
			run: func(context.Context, *Progress) error {
				return fmt.Errorf("look: %w", gateway.Errorf(gateway.KindUpstream, "silent"))
			},
			state: gateway.JobFailed, message: "silent", log: "look: silent",
		},
		"our fault": {
			run:   func(context.Context, *Progress) error { return errors.New("disk full") },
			state: gateway.JobFailed, message: "internal error", log: "disk full",
		},
		"panic": {
			run:   func(context.Context, *Progress) error { panic("odd") },
			state: gateway.JobFailed, message: "internal error", log: "odd",
		},
		"cancelled": {
			run:   endless,
			do:    func(s *scene, id string) error { _, err := s.Cancel(s.Context(), id); return err },
			state: gateway.JobCancelled, message: "the job was cancelled",
		},
		"cancelled too late": {
			run:   func(ctx context.Context, _ *Progress) error { <-ctx.Done(); return nil },
			do:    func(s *scene, id string) error { _, err := s.Cancel(s.Context(), id); return err },
			state: gateway.JobDone,
		},
		"stopped": {
			run:   endless,
			do:    func(s *scene, _ string) error { return s.Stop(s.Context()) },
			state: gateway.JobInterrupted, message: "the program stopped before the job was done",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t)
				j := s.start(Plan{Provider: gateway.Ollama, Run: c.run})
				if c.do != nil {
					if err := c.do(s, j.ID); err != nil {
						t.Error(err)
					}
				}
				s.end(j.ID, c.state, c.message)
				if !strings.Contains(s.log.String(), c.log) {
					t.Errorf("log: %s", s.log.String())
				}
			})
		})
	}
}

func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		a := s.start(Plan{Kind: gateway.JobImport, Provider: gateway.Ollama, Total: 7, Run: endless})
		b := s.start(Plan{Provider: gateway.OpenRouter, Run: endless})
		_, err := s.Start(t.Context(), Plan{Provider: gateway.Ollama, Run: endless})
		want := "job " + a.ID + " is running: an import of ollama, 0 of 7 done; wait for its end or cancel it"
		if kindOf(err) != gateway.KindConflict || err.Error() != want {
			t.Errorf("%v", err)
		}
		if _, err := s.Cancel(t.Context(), a.ID); err != nil {
			t.Error(err)
		}
		if _, err := s.Cancel(t.Context(), a.ID); kindOf(err) != gateway.KindConflict {
			t.Errorf("cancelled twice: %v", err)
		}
		if _, err := s.Cancel(t.Context(), "0123456789abcdef"); kindOf(err) != gateway.KindNotFound {
			t.Errorf("no such job: %v", err)
		}
		if got := s.Running(); len(got) != 1 || got[0].ID != b.ID {
			t.Errorf("running: %+v", got)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := s.Start(t.Context(), Plan{Provider: gateway.Ollama, Run: endless}); kindOf(err) != gateway.KindUnavailable {
			t.Errorf("started while stopping: %v", err)
		}
	})
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		j := s.start(Plan{Provider: gateway.Ollama, Run: func(_ context.Context, p *Progress) error {
			for range 4 {
				time.Sleep(time.Second)
				p.Update(func(j *gateway.Job) { j.Done++ })
			}
			return nil
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if _, err := s.Await(ctx, j.ID, time.Second, func(gateway.Job) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller left: %v", err)
		}
		var seen []int
		end, err := s.Await(t.Context(), j.ID, 300*time.Millisecond, func(j gateway.Job) { seen = append(seen, j.Done) })
		if err != nil || end.State != gateway.JobDone || !slices.IsSorted(seen) || len(seen) != 8 || seen[0] != 1 {
			t.Errorf("%v, %+v, seen %v", err, end, seen)
		}
		if again, err := s.Await(t.Context(), j.ID, time.Second, nil); err != nil || again.State != gateway.JobDone {
			t.Errorf("over already: %+v, %v", again, err)
		}
	})
}

func TestTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		full := errors.New("disk full")
		s.store.fault = full
		if _, err := s.Start(t.Context(), Plan{Provider: gateway.Ollama, Run: endless}); !errors.Is(err, full) {
			t.Errorf("start: %v", err)
		}
		if err := s.Recover(t.Context()); !errors.Is(err, full) {
			t.Errorf("recover: %v", err)
		}
		if err := s.Record(t.Context(), gateway.Job{}); !errors.Is(err, full) {
			t.Errorf("record: %v", err)
		}
		s.store.fault = nil
		j := s.start(Plan{Provider: gateway.Ollama, Run: endless}) // the place is free again
		s.store.mu.Lock()
		s.store.fault = full
		s.store.mu.Unlock()
		time.Sleep(saveEvery + time.Second)
		if _, err := s.Cancel(t.Context(), j.ID); err != nil && !errors.Is(err, full) {
			t.Error(err)
		}
		if n := strings.Count(s.log.String(), "could not be written down"); n != 2 {
			t.Errorf("%d complaints: %s", n, s.log.String())
		}
	})
}

func TestRecordAndRecover(t *testing.T) {
	s := newScene(t)
	for _, j := range []gateway.Job{
		{State: gateway.JobDone, Kind: gateway.JobImport, Bad: make([]gateway.BadKey, maxBad+1)},
		{ID: "0123456789abcdef", State: gateway.JobRunning},
	} {
		if err := s.Record(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	if first := s.store.writes[0]; len(first.ID) != 16 || len(first.Bad) != maxBad {
		t.Errorf("recorded: %q with %d bad lines", first.ID, len(first.Bad))
	}
	if err := s.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	if j, err := s.Job(t.Context(), "0123456789abcdef"); err != nil || j.State != gateway.JobInterrupted {
		t.Errorf("%+v, %v", j, err)
	}
	if !strings.Contains(s.log.String(), "interrupted") {
		t.Error("nothing is said of the interrupted job")
	}
}

// A job that hangs does not keep the program from stopping.
func TestStopGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		free := make(chan struct{})
		j := s.start(Plan{Provider: gateway.Ollama, Run: func(context.Context, *Progress) error { <-free; return nil }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		close(free)
		s.end(j.ID, gateway.JobDone, "")
	})
}
