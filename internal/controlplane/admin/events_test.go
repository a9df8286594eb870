package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ollama-api-pool/internal/gateway"
)

// countedFigures counts how often the store is asked.
type countedFigures struct {
	figuresOf
	asked atomic.Int64
}

func (c *countedFigures) TallySeries(ctx context.Context, p gateway.ProviderName, q gateway.TallyQuery) ([]gateway.TallyPoint, error) {
	c.asked.Add(1)
	return c.figuresOf.TallySeries(ctx, p, q)
}

// eventsScene is a scene whose clock runs and whose viewers look often.
func eventsScene(t *testing.T) (*figuresScene, *countedFigures, string) {
	t.Helper()
	s := newFiguresScene(t, func(o *Options) { o.Now = time.Now })
	counted := &countedFigures{figuresOf: figuresOf{s.store}}
	s.api.figures = counted
	s.api.hub.figuresEvery, s.api.hub.entriesEvery, s.api.hub.lookEvery = 20*time.Millisecond, 10*time.Millisecond, 5*time.Millisecond
	return s, counted, s.listen().URL + "/admin/events"
}

// stream is a viewer on a real connection.
type stream struct {
	testing.TB
	response *http.Response
	lines    *bufio.Reader
	leave    context.CancelFunc
}

func view(t testing.TB, address string, headers ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+figuresToken)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return &stream{TB: t, response: res, lines: bufio.NewReader(res.Body), leave: cancel}
}

// event is one event as it came.
type event struct{ id, name, data string }

// next reads the next event, io.EOF at the end of the stream.
func (s *stream) next() (e event, err error) {
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				return e, nil
			}
		}
	}
}

// until reads up to an event of a name, "" any, with something in its data.
func (s *stream) until(name, part string) event {
	s.Helper()
	for {
		e, err := s.next()
		if err != nil {
			s.Fatalf("no %s with %q came: %v", name, part, err)
		}
		if (name == "" || e.name == name) && strings.Contains(e.data, part) {
			return e
		}
	}
}

func TestEvents(t *testing.T) {
	s, _, address := eventsScene(t)
	s.live.standing[gateway.Ollama] = Standing{Enabled: true, Keys: states(3, 1, 0, 0, 0), InFlight: 7}
	var jobs atomic.Pointer[[]gateway.Job]
	s.live.jobs = func() []gateway.Job {
		if j := jobs.Load(); j != nil {
			return *j
		}
		return nil
	}
	s.apply(requested(gateway.Ollama, "m", "", time.Now(), tallied(10, 4, time.Second, time.Second)))

	v := view(t, address)
	if h := v.response.Header; v.response.StatusCode != http.StatusOK || h.Get("Content-Type") != eventType || h.Get("Cache-Control") != "no-store" || h.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d %v", v.response.StatusCode, h)
	}
	if line, err := v.lines.ReadString('\n'); line != "retry: 3000\n" || err != nil {
		t.Fatal(line, err)
	}
	first, err := v.next()
	if err != nil || first.name != "figures" || first.id != "0" {
		t.Fatal(first, err)
	}
	var f figuresEvent
	if err := json.Unmarshal([]byte(first.data), &f); err != nil {
		t.Fatal(err)
	}
	if f.InFlight != 7 || f.States.Active != 3 || f.Verdict.Verdict != healthy || len(f.Providers) != 2 || f.Providers[0].Requests != 10 || f.Providers[0].Failure != 4 || len(f.Minutes) != 5 {
		t.Errorf("%+v", f)
	}

	// New entries of the log, told once.
	s.apply(gateway.Delta{Provider: gateway.Ollama, Log: []gateway.LogEntry{{ID: "req-1", StartedAt: time.Now()}, {ID: "req-2", StartedAt: time.Now()}}})
	e := v.until("requests", `"count":2`)
	var r requestsEvent
	if err := json.Unmarshal([]byte(e.data), &r); err != nil || *r.Newest != e.id {
		t.Errorf("%+v %+v %v", e, r, err)
	}
	s.apply(gateway.Delta{Provider: gateway.Ollama, Log: []gateway.LogEntry{{ID: "req-3", StartedAt: time.Now()}}})
	last := v.until("requests", `"count":1`)

	// Jobs while they run, and when the last one has ended.
	jobs.Store(&[]gateway.Job{{ID: "0123456789abcdef", Kind: gateway.JobCheck, Provider: gateway.Ollama, State: gateway.JobRunning, Done: 3, Total: 9}})
	v.until("jobs", `"done":3,"total":9`)
	jobs.Store(&[]gateway.Job{{ID: "0123456789abcdef", State: gateway.JobRunning, Done: 4, Total: 9, Waiting: "the upstream is down"}})
	v.until("jobs", `"waiting":"the upstream is down"`)
	jobs.Store(&[]gateway.Job{{ID: "0123456789abcdef", State: gateway.JobRunning, Done: 5, Total: 9}})
	v.until("jobs", `"done":5,"total":9,"counts":null,"waiting":null`)
	later := view(t, address, "Last-Event-ID", e.id)
	if missed := later.until("requests", `"count":1`); missed.id != last.id {
		t.Errorf("%+v", missed)
	}
	later.until("jobs", `"done":5`) // it runs already
	jobs.Store(nil)
	v.until("jobs", `{"jobs":[]}`)
	// Figures go on coming.
	if again := v.until("figures", ""); again.data == first.data {
		t.Error("the same figures again")
	}
}

// TestEventsAreShared has many viewers look at one picture.
func TestEventsAreShared(t *testing.T) {
	s, counted, address := eventsScene(t)
	s.api.hub.figuresEvery = time.Hour
	data := make([]string, 10)
	var wg sync.WaitGroup
	for i := range data {
		v := view(t, address)
		wg.Go(func() {
			e, err := v.next()
			if err != nil {
				t.Error(err)
			}
			data[i] = e.data
		})
	}
	wg.Wait()
	for _, d := range data {
		if d != data[0] || d == "" {
			t.Error("two viewers see different figures")
		}
	}
	if n := counted.asked.Load(); n != int64(len(gateway.Providers())) {
		t.Errorf("the store was asked %d times", n)
	}
}

// TestEventsEnd has streams end when their viewers leave, and all of them when
// the program stops.
func TestEventsEnd(t *testing.T) {
	s, _, address := eventsScene(t)
	viewers := func(n int32) {
		t.Helper()
		for s.api.hub.viewers.Load() != n {
			if t.Context().Err() != nil {
				t.Fatalf("%d viewers, want %d", s.api.hub.viewers.Load(), n)
			}
			runtime.Gosched()
		}
	}
	one, two := view(t, address), view(t, address)
	one.until("figures", "")
	two.until("figures", "")
	viewers(2)
	one.leave()
	viewers(1)
	s.api.EndStreams()
	for {
		if _, err := two.next(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("the end is not clean: %v", err)
			}
			break
		}
	}
	viewers(0)
	s.api.EndStreams() // again does no harm
	late := view(t, address)
	for n := 0; ; n++ {
		if _, err := late.next(); err != nil {
			break
		}
		if n > 3 {
			t.Fatal("a stream goes on after the end")
		}
	}
}

func TestTooManyViewers(t *testing.T) {
	s, _, address := eventsScene(t)
	s.api.hub.viewers.Store(maxViewers)
	v := view(t, address)
	if v.response.StatusCode != http.StatusServiceUnavailable || v.response.Header.Get("Retry-After") != "3" {
		t.Errorf("%d %v", v.response.StatusCode, v.response.Header)
	}
	s.api.hub.viewers.Store(maxViewers - 1)
	view(t, address).until("figures", "")
}

func TestHeadOfEvents(t *testing.T) {
	_, _, address := eventsScene(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodHead, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+figuresToken)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != eventType {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
}

// failingFigures fail as long as they are told to.
type failingFigures struct {
	figuresOf
	fail atomic.Bool
}

func (f *failingFigures) TallySeries(ctx context.Context, p gateway.ProviderName, q gateway.TallyQuery) ([]gateway.TallyPoint, error) {
	if f.fail.Load() {
		return nil, fmt.Errorf("read statistics: the disk is gone")
	}
	return f.figuresOf.TallySeries(ctx, p, q)
}

// TestEventsOfAFailingStore keeps the stream, and says nothing of the cause.
func TestEventsOfAFailingStore(t *testing.T) {
	s, _, address := eventsScene(t)
	f := &failingFigures{figuresOf: figuresOf{s.store}}
	s.api.figures = f
	f.fail.Store(true)
	if v := view(t, address); v.response.StatusCode != http.StatusInternalServerError {
		t.Errorf("at the beginning: %d", v.response.StatusCode)
	}
	f.fail.Store(false)
	v := view(t, address)
	first := v.until("figures", "")
	f.fail.Store(true)
	s.apply(gateway.Delta{Provider: gateway.Ollama, Log: []gateway.LogEntry{{ID: "req-1", StartedAt: time.Now()}}})
	f.fail.Store(false)
	for told, fresh := false, false; !told || !fresh; {
		e := v.until("", "")
		told = told || e.name == "requests" && strings.Contains(e.data, `"count":1`)
		fresh = fresh || e.name == "figures" && e.data != first.data
	}
}

func TestEventWriter(t *testing.T) {
	var out strings.Builder
	w := &recordedWriter{to: &out}
	e := newEventWriter(w)
	e.event("figures", "", []byte(`{"a":1}`))
	e.event("requests", "c1", []byte(`{}`))
	e.keepAlive() // there is something to send already
	if err := e.flush(); err != nil {
		t.Fatal(err)
	}
	e.keepAlive() // just sent
	e.sentAt = e.sentAt.Add(-keepAlive)
	e.keepAlive()
	if err := e.flush(); err != nil {
		t.Fatal(err)
	}
	want := "id: 0\nevent: figures\ndata: {\"a\":1}\n\nid: c1\nevent: requests\ndata: {}\n\n: still here\n\n"
	if out.String() != want {
		t.Errorf("%q", out.String())
	}
}

// recordedWriter takes down what is sent.
type recordedWriter struct {
	to     io.Writer
	header http.Header
}

func (w *recordedWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}
func (w *recordedWriter) Write(p []byte) (int, error) { return w.to.Write(p) }
func (w *recordedWriter) WriteHeader(int)             {}
func (w *recordedWriter) Flush()                      {}
