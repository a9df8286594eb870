package background

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// journal is a log that loops write while the test reads.
type journal struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

// Take returns what was written since the last time.
func (j *journal) Take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.buf.String()
	j.buf.Reset()
	return s
}

// newGroup makes a group and the log that it writes.
func newGroup(ctx context.Context) (*Group, *journal) {
	out := new(journal)
	return NewGroup(ctx, slog.New(slog.NewTextHandler(out, nil))), out
}

func untilAsked(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestStopReversesTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		g, log := newGroup(ctx)
		ended := make(chan string, 3)
		for _, name := range []string{"store", "writer", "prober"} {
			g.Go(name, func(ctx context.Context) error {
				<-ctx.Done()
				time.Sleep(time.Second) // the last words of a loop take time
				ended <- name
				return ctx.Err()
			})
		}
		cancel()
		synctest.Wait()
		if len(ended) > 0 {
			t.Error("a loop ended with the context that the group was made with")
		}
		began := time.Now()
		if err := g.Stop(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		if a, b, c := <-ended, <-ended, <-ended; a != "prober" || b != "writer" || c != "store" {
			t.Errorf("order: %s, %s, %s", a, b, c)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %s", took)
		}
		if said := log.Take(); g.Err() != nil || said != "" {
			t.Errorf("an orderly stop is no failure: %v, %s", g.Err(), said)
		}
	})
}

func TestFailures(t *testing.T) {
	cause := errors.New("disk full")
	for _, tt := range []struct {
		name string
		run  func(context.Context) error
		want string
		logs []string
	}{
		{"error", func(context.Context) error { return cause }, "background loop bad: disk full", []string{"disk full"}},
		{"panic", func(context.Context) error { panic("boom") }, "background loop bad: panic: boom", []string{"boom", "group_test.go"}},
		{"cancelled by itself", func(context.Context) error { return context.Canceled }, "background loop bad: context canceled", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			g, log := newGroup(t.Context())
			g.Go("good", untilAsked)
			g.Go("bad", tt.run)
			<-g.Done()
			if err := g.Wait(t.Context()); err == nil || err.Error() != tt.want {
				t.Errorf("%s: %v", tt.name, err)
			}
			if err := g.Stop(within(t, time.Second)); err != nil {
				t.Errorf("%s: stop: %v", tt.name, err)
			}
			said := log.Take()
			for _, words := range append(tt.logs, "loop=bad") {
				if !strings.Contains(said, words) {
					t.Errorf("%s: the log does not say %q: %s", tt.name, words, said)
				}
			}
		})
	}
}

func TestFirstFailureIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, log := newGroup(t.Context())
		cause := errors.New("first")
		g.Go("a", func(context.Context) error { return cause })
		synctest.Wait()
		g.Go("b", func(context.Context) error { return errors.New("second") })
		synctest.Wait()
		if err := g.Err(); !errors.Is(err, cause) {
			t.Errorf("%v", err)
		}
		if said := log.Take(); !strings.Contains(said, "second") {
			t.Errorf("the second failure is not logged: %s", said)
		}
	})
}

func TestFailureWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup(t.Context())
		cause := errors.New("last flush failed")
		g.Go("writer", func(ctx context.Context) error {
			<-ctx.Done()
			return cause
		})
		if err := g.Stop(within(t, time.Second)); err != nil {
			t.Fatal(err)
		}
		if err := g.Err(); !errors.Is(err, cause) {
			t.Errorf("%v", err)
		}
	})
}

func TestALoopMayEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup(t.Context())
		g.Go("once", func(context.Context) error { return nil })
		synctest.Wait()
		if err := g.Wait(within(t, time.Second)); err != nil {
			t.Errorf("%v", err)
		}
		if err := g.Stop(within(t, time.Second)); err != nil {
			t.Errorf("%v", err)
		}
	})
}

func TestStopNamesWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup(t.Context())
		release := make(chan struct{})
		hang := func(context.Context) error {
			<-release
			return nil
		}
		began := time.Now()
		flushed := make(chan time.Duration, 1)
		g.Go("writer", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			flushed <- time.Since(began)
			return nil
		})
		g.Go("importer", hang)
		g.Go("prober", hang)
		err := g.Stop(within(t, 8*time.Second))
		if err == nil || err.Error() != "background loops still running: prober, importer: context deadline exceeded" {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != 8*time.Second {
			t.Errorf("took %s", took)
		}
		if at := <-flushed; at != 7*time.Second { // half of 8, half of the 4 left, and its own second
			t.Errorf("the first loop was done after %s", at)
		}
		close(release)
		if err := g.Stop(within(t, time.Second)); err != nil {
			t.Errorf("a second stop: %v", err)
		}
	})
}

func TestNothingStartsAfterStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, _ := newGroup(t.Context())
		if err := g.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.Go("late", func(context.Context) error {
			t.Error("started")
			return nil
		})
		synctest.Wait()
	})
}
