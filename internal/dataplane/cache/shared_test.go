package cache

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
)

// closet is what instances share, as a test wants it.
type closet struct {
	mu     sync.Mutex // guards what follows
	away   bool       // nobody answers, and nothing is kept
	slow   time.Duration
	values map[string][]byte // by cache and name
	ttls   map[string]time.Duration
	asked  int
	during func() // called while it is asked
}

func newCloset() *closet {
	return &closet{values: map[string][]byte{}, ttls: map[string]time.Duration{}}
}

func (c *closet) Find(_ context.Context, cache, name string) []byte {
	c.mu.Lock()
	slow, during := c.slow, c.during
	c.asked++
	value := c.values[cache+"/"+name]
	if c.away {
		value = nil
	}
	c.mu.Unlock()
	time.Sleep(slow)
	if during != nil {
		during()
	}
	return value
}

func (c *closet) Keep(cache, name string, value []byte, ttl time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.away {
		c.values[cache+"/"+name], c.ttls[cache+"/"+name] = value, ttl
	}
}

func (c *closet) Drop(cache string, head int, chosen func([]byte) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for key, v := range c.values {
		if strings.HasPrefix(key, cache+"/") && (chosen == nil || chosen(v[:min(head, len(v))])) {
			delete(c.values, key)
			n++
		}
	}
	return n
}

// change makes something else of every value.
func (c *closet) change(f func([]byte) []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, v := range c.values {
		c.values[key] = f(bytes.Clone(v))
	}
}

func TestAnswersOfOtherInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloset()
		one, two := newShelf(t, says(200, "application/json", `{"a":1}`)), newShelf(t, says(200, "application/json", `{"b":2}`))
		one.answers.Share(c)
		two.answers.Share(c)
		if g := one.ask(asks{who: "canary"}); g.how() != "MISS" {
			t.Fatal(g.how(), g.err)
		}
		time.Sleep(40 * time.Second)
		g := two.ask(asks{who: "canary"})
		if g.how() != "HIT" || g.Body.String() != `{"a":1}` || g.Code != 200 || g.x.Record.Cache != "HIT" || g.Header().Get("Content-Type") != "application/json" || g.Header().Get("X-Request-Id") != "own" {
			t.Errorf("%s %q %v %+v", g.how(), g.Body, g.Header(), g.x.Record)
		}
		if f := two.answers.Figures(); f.Hits != 1 || f.Misses != 0 || f.Entries != 1 || two.asked.Load() != 0 {
			t.Errorf("%+v", f)
		}
		asked := c.asked
		if two.ask(asks{who: "canary"}).how() != "HIT" || c.asked != asked {
			t.Error("it is not kept here")
		}
		// Another one's answer it is not, nor that to another question.
		for _, a := range []asks{{who: "another"}, {who: "canary", path: "/v1/embeddings"}, {who: "canary", body: chat + " "}, {who: "canary", from: gateway.OpenRouter}} {
			if g := two.ask(a); g.how() != "MISS" || g.Body.String() != `{"b":2}` {
				t.Errorf("%+v: %s %q", a, g.how(), g.Body)
			}
		}
		// It grows no older here than where it was made.
		time.Sleep(21 * time.Second)
		if g := two.ask(asks{who: "canary"}); g.how() != "MISS" {
			t.Error("an answer is given after its time")
		}
		for key, v := range c.values {
			if strings.Contains(key+string(v), "canary") || c.ttls[key] != time.Minute {
				t.Errorf("%q for %s", key, c.ttls[key])
			}
		}
	})
}

func TestAnswersWithoutTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloset()
		c.away = true
		s := newShelf(t, says(200, "application/json", "{}"))
		s.answers.Share(c)
		if s.ask(asks{}).how() != "MISS" || s.ask(asks{}).how() != "HIT" {
			t.Error("not as ever")
		}
		// What wants none from a cache asks none, and what is not kept is not shared.
		c.away = false
		asked := c.asked
		no := http.Header{"Cache-Control": {"no-store"}}
		if s.ask(asks{who: "x", header: no}).how() != "BYPASS" || c.asked != asked || len(c.values) != 0 {
			t.Errorf("%d asked, %d kept", c.asked-asked, len(c.values))
		}
		fresh := http.Header{"Cache-Control": {"no-cache"}}
		if s.ask(asks{who: "x", header: fresh}).how() != "BYPASS" || c.asked != asked || len(c.values) != 1 {
			t.Errorf("%d asked, %d kept", c.asked-asked, len(c.values))
		}
		stream := asks{body: `{"model":"m","stream":true}`}
		if s.ask(stream).how() != "" || c.asked != asked {
			t.Error("asked for a stream")
		}
	})
}

// TestManyAskTheOthersOnce: of many with the same question one asks, and all get
// what it finds.
func TestManyAskTheOthersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloset()
		one, two := newShelf(t, says(200, "application/json", "{}")), newShelf(t, says(200, "application/json", "{}"))
		one.answers.Share(c)
		two.answers.Share(c)
		one.ask(asks{})
		c.slow, c.asked = 30*time.Millisecond, 0
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if g := two.ask(asks{}); g.how() != "HIT" {
					t.Error(g.how(), g.err)
				}
			})
		}
		all.Wait()
		if c.asked != 1 || two.asked.Load() != 0 {
			t.Errorf("asked the others %d times, upstream %d times", c.asked, two.asked.Load())
		}
	})
}

func TestAFaultWhileTheOthersAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloset()
		s := newShelf(t, says(200, "application/json", "{}"))
		s.answers.Share(c)
		c.slow, c.during = time.Second, func() { panic("a fault of ours") }
		var all sync.WaitGroup
		all.Go(func() {
			defer func() { _ = recover() }()
			s.ask(asks{})
		})
		synctest.Wait()
		all.Go(func() { // it waits, and then asks by itself
			if g := s.ask(asks{}); g.how() != "MISS" {
				t.Error(g.how(), g.err)
			}
		})
		synctest.Wait()
		c.mu.Lock()
		c.during = nil
		c.mu.Unlock()
		all.Wait()
	})
}

// TestClearedEverywhere clears what lies here and what is shared, also when that
// is being found at the same time.
func TestClearedEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloset()
		one, two := newShelf(t, says(200, "application/json", "{}")), newShelf(t, says(200, "application/json", "{}"))
		one.answers.Share(c)
		two.answers.Share(c)
		for pattern, want := range map[string]int{"": 3, "ollama": 2, "openrouter/*": 1, "embed": 1, "gpt-oss:*": 3, "llama3": 0} {
			one.ask(asks{})
			one.ask(asks{path: "/v1/embeddings"})
			one.ask(asks{from: gateway.OpenRouter})
			if n := two.answers.Clear(pattern); n != want || len(c.values) != 3-want {
				t.Errorf("%q: cleared %d, left %d", pattern, n, len(c.values))
			}
			one.answers.Clear("")
		}
		one.ask(asks{})
		c.change(func(b []byte) []byte { b[1] = '9'; return b }) // of another version, nobody knows what about
		if n := two.answers.Clear("no such model"); n != 1 {
			t.Errorf("%d cleared", n)
		}
		one.answers.Clear("")
		one.ask(asks{})
		c.during = func() { two.answers.clear("") }
		two.ask(asks{})
		if two.asked.Load() != 1 {
			t.Error("what was cleared is given")
		}
	})
}

// TestForeignBytes puts other things where answers should be: they are no
// answers.
func TestForeignBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, f := range map[string]func([]byte) []byte{
			"nothing":         func([]byte) []byte { return []byte{} },
			"another version": func(b []byte) []byte { b[1]++; return b },
			"cut":             func(b []byte) []byte { return b[:len(b)-1] },
			"more":            func(b []byte) []byte { return append(b, 'x') },
			"too large": func([]byte) []byte {
				return (&packed{until: time.Now().Add(time.Hour), status: 200, body: make([]byte, 1<<17)}).pack()
			},
			"old":         func([]byte) []byte { return (&packed{until: time.Now(), status: 200}).pack() },
			"an error":    func([]byte) []byte { return (&packed{until: time.Now().Add(time.Hour), status: 500}).pack() },
			"no status":   func([]byte) []byte { return (&packed{until: time.Now().Add(time.Hour), status: 100}).pack() },
			"no header":   func([]byte) []byte { return withHeader("X\r\nSet-Cookie", "a") },
			"no name":     func([]byte) []byte { return withHeader("", "a") },
			"wrong name":  func([]byte) []byte { return withHeader("content-type", "a") },
			"wrong value": func([]byte) []byte { return withHeader("X-A", "a\r\nb: c") },
		} {
			c := newCloset()
			one, two := newShelf(t, says(200, "application/json", "{}")), newShelf(t, says(200, "application/json", `{"b":2}`))
			one.answers.Share(c)
			two.answers.Share(c)
			one.ask(asks{})
			c.change(f)
			if g := two.ask(asks{}); g.how() != "MISS" || g.Body.String() != `{"b":2}` {
				t.Errorf("%s: %s %q", name, g.how(), g.Body)
			}
			if two.ask(asks{}).how() != "HIT" {
				t.Errorf("%s: not kept", name)
			}
		}
	})
}

func withHeader(name, value string) []byte {
	return (&packed{until: time.Now().Add(time.Hour), status: 200, header: http.Header{name: {value}}}).pack()
}

func TestListsOfOtherInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCloset()
		one, two := NewModels(time.Minute, time.Now), NewModels(time.Minute, time.Now)
		one.Share(c)
		two.Share(c)
		asked := 0
		upstream := func(w http.ResponseWriter, r *http.Request) error {
			asked++
			return answerWith(200, tags)(w, r)
		}
		h1, h2 := one.Serve(upstream), two.Serve(upstream)
		ask := func(on int, service gateway.Service, path, want string) {
			t.Helper()
			h := h1
			if on == 2 {
				h = h2
			}
			w, x, err := question(t.Context(), h, service, path)
			if err != nil || w.Header().Get("X-Cache") != want || x.Record.Cache != want || !strings.Contains(w.Body.String(), "a:1b") {
				t.Errorf("%d: %v %v %s, want %s", on, err, w.Header(), w.Body, want)
			}
		}
		ask(1, gateway.ServiceModels, "/v1/models", "MISS")
		time.Sleep(40 * time.Second)
		ask(2, gateway.ServiceModels, "/v1/models", "HIT")
		ask(2, gateway.ServiceModel, "/v1/models/a:1b", "HIT")
		if f := two.Figures(); f.Hits != 2 || f.Misses != 0 || asked != 1 {
			t.Errorf("%+v, asked %d times", f, asked)
		}
		time.Sleep(21 * time.Second)
		ask(2, gateway.ServiceTags, "/api/tags", "MISS") // it is no younger here
		ask(1, gateway.ServiceTags, "/api/tags", "HIT")
		for _, f := range []func([]byte) []byte{
			func([]byte) []byte { return []byte("K1") },
			func(b []byte) []byte { b[1]++; return b },
			func([]byte) []byte {
				return (&packed{until: time.Now().Add(time.Hour), provider: "ollama", path: "/api/tags", status: 200, body: []byte("<html>")}).pack()
			},
			func([]byte) []byte {
				return (&packed{until: time.Now().Add(time.Hour), provider: "openrouter", path: "/api/tags", status: 200, body: []byte(tags)}).pack()
			},
		} {
			one.clear("")
			c.change(f)
			ask(1, gateway.ServiceModels, "/v1/models", "MISS")
		}
		if n := two.Clear("openrouter"); n != 0 {
			t.Errorf("%d cleared", n)
		}
		if n := two.Clear("tags"); n != 1 || len(c.values) != 0 {
			t.Errorf("%d cleared, %d left", n, len(c.values))
		}
		one.clear("")
		c.during = func() { one.clear("") } // what was cleared meanwhile is not kept
		ask(1, gateway.ServiceModels, "/v1/models", "MISS")
		if one.Figures().Entries != 0 || len(c.values) != 0 {
			t.Errorf("%+v, %d shared", one.Figures(), len(c.values))
		}
	})
}

func TestListsThatAreNotKeptAreNotShared(t *testing.T) {
	c := newCloset()
	m := NewModels(0, time.Now)
	m.Share(c)
	h := m.Serve(answerWith(200, tags))
	for range 2 {
		if w, _, err := question(t.Context(), h, gateway.ServiceModels, "/v1/models"); err != nil || w.Header().Get("X-Cache") != "MISS" {
			t.Errorf("%v %v", err, w.Header())
		}
	}
	if c.asked != 0 || len(c.values) != 0 {
		t.Errorf("asked %d times, %d kept", c.asked, len(c.values))
	}
}

func FuzzUnpack(f *testing.F) {
	whole := packed{
		until: time.UnixMilli(1_800_000_000_000), provider: "ollama", path: "/v1/chat/completions", model: "gpt-oss:120b", status: 200,
		header: http.Header{"Content-Type": {"application/json"}, "X-Two": {"a", "b"}}, body: []byte(`{"a":1}`),
	}
	f.Add(whole.pack())
	f.Add(whole.pack()[:40])
	f.Add([]byte(packedVersion))
	f.Add([]byte("K1\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add((&packed{status: 204, until: time.UnixMilli(1)}).pack())
	f.Fuzz(func(t *testing.T, b []byte) {
		label, err := labelOf(b[:min(len(b), packedHead)])
		p, err2 := unpack(b)
		if err2 != nil {
			return
		}
		if err == nil && (label.provider != p.provider || label.path != p.path || label.model != p.model || !label.until.Equal(p.until)) {
			t.Fatalf("%+v, but the head says %+v", p, label)
		}
		if len(b) <= packedHead && err != nil {
			t.Fatalf("%+v, but the head says nothing", p)
		}
		again, err := unpack(p.pack())
		if err != nil || again.status != p.status || !bytes.Equal(again.body, p.body) || !maps.EqualFunc(again.header, p.header, func(a, b []string) bool { return reflect.DeepEqual(a, b) }) {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}
