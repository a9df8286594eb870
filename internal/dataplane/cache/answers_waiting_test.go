package cache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

// A thousand ask the same at once: one of them asks upstream.
func TestThousandAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, slowly(says(200, "application/json", `{"a":1}`)))
		for round := range 3 {
			var hits, misses atomic.Int64
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					g := s.ask(asks{})
					if g.err != nil || g.Code != 200 || g.Body.String() != `{"a":1}` {
						t.Errorf("%v: %d %s", g.err, g.Code, g.Body)
					}
					switch g.how() {
					case "HIT":
						hits.Add(1)
					case "MISS":
						misses.Add(1)
					}
				})
			}
			wg.Wait()
			if s.asked.Load() != int64(round+1) || misses.Load() != 1 || hits.Load() != 999 {
				t.Errorf("asked %d times, %d hits, %d misses", s.asked.Load(), hits.Load(), misses.Load())
			}
			time.Sleep(2 * time.Minute)
		}
	})
}

// Whoever asked may leave or fall: another one asks, and all get the answer.
func TestAnotherAsksForAnAnswer(t *testing.T) {
	for _, name := range []string{"left", "panicked", "left in the middle"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s *shelf
				s = newShelf(t, func(w http.ResponseWriter, r *http.Request) error {
					if s.asked.Load() == 1 && name == "panicked" {
						time.Sleep(time.Millisecond)
						panic(http.ErrAbortHandler)
					}
					if s.asked.Load() == 1 && name == "left in the middle" {
						_ = says(200, "application/json", `{"a`)(w, r)
						time.Sleep(time.Millisecond)
						gateway.ExchangeFrom(r.Context()).Record.End = gateway.EndClientClosed
						return fmt.Errorf("write: %w", context.Canceled)
					}
					return slowly(says(200, "application/json", `{"a":1}`))(w, r)
				})
				ctx, leave := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() {
					defer func() { _ = recover() }()
					if g := s.ask(asks{ctx: ctx}); !isGone(g.err) {
						t.Errorf("who left got %v", g.err)
					}
				})
				synctest.Wait()
				for range 20 {
					wg.Go(func() {
						if g := s.ask(asks{}); g.err != nil || g.Body.String() != `{"a":1}` {
							t.Errorf("%v: %s", g.err, g.Body)
						}
					})
				}
				waiting, stop := context.WithTimeout(t.Context(), time.Millisecond/2)
				defer stop()
				wg.Go(func() {
					if g := s.ask(asks{ctx: waiting}); !isGone(g.err) || g.x.Record.End != gateway.EndClientClosed {
						t.Errorf("who waited and left: %v, %+v", g.err, g.x.Record)
					}
				})
				time.Sleep(time.Millisecond * 3 / 4) // who waited has left
				leave()
				wg.Wait()
				if s.asked.Load() != 2 || len(s.answers.flights) != 0 || s.answers.inHand.Load() != 0 {
					t.Errorf("asked %d times", s.asked.Load())
				}
			})
		})
	}
}

// What turns out to be no answer to keep goes to its client as it comes; the
// others ask by themselves, all at the same time, as soon as that is known.
func TestEachAsksByItself(t *testing.T) {
	for name, head := range map[string]httpkit.Handler{
		"stream": says(200, "text/event-stream", "data: {}\n\n"),
		"error":  says(503, "application/json", "{}"),
		"large":  says(200, "application/json", strings.Repeat("x", 1<<16+1)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newShelf(t, slowly(func(w http.ResponseWriter, r *http.Request) error {
					err := head(w, r)
					time.Sleep(time.Hour) // and much more comes
					return err
				}))
				began := time.Now()
				var wg sync.WaitGroup
				for range 50 {
					wg.Go(func() {
						if g := s.ask(asks{}); g.how() != "MISS" || g.Body.Len() == 0 {
							t.Errorf("%s, %s", g.how(), g.Body)
						}
					})
				}
				wg.Wait()
				if took := time.Since(began); s.asked.Load() != 50 || took != time.Hour+2*time.Second {
					t.Errorf("asked %d times in %v", s.asked.Load(), took)
				}
			})
		})
	}
	t.Run("an error of ours", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newShelf(t, slowly(func(http.ResponseWriter, *http.Request) error { return gateway.Errorf(gateway.KindNoKey, "no key") }))
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					if g := s.ask(asks{}); gateway.AsError(g.err).Kind != gateway.KindNoKey {
						t.Errorf("%v", g.err)
					}
				})
			}
			wg.Wait()
		})
	})
}

// stuck is a client that takes nothing until its time has come.
type stuck struct {
	*httptest.ResponseRecorder
	until <-chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.until
	return s.ResponseRecorder.Write(p)
}

// A client that does not take its answer does not keep the others waiting.
func TestStuckClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, says(200, "application/json", `{"a`, `":1}`))
		end := make(chan struct{})
		slow := &stuck{httptest.NewRecorder(), end}
		var wg, others sync.WaitGroup
		wg.Go(func() {
			if g := s.ask(asks{writer: slow}); g.err != nil {
				t.Errorf("the slow one: %v", g.err)
			}
		})
		synctest.Wait()
		began := time.Now()
		for range 20 {
			others.Go(func() {
				if g := s.ask(asks{}); g.err != nil || g.Body.String() != `{"a":1}` {
					t.Errorf("%v: %s", g.err, g.Body)
				}
			})
		}
		others.Wait()
		if took := time.Since(began); took > patience+2*lookAgain || s.asked.Load() != 2 {
			t.Errorf("waited %v, asked %d times", took, s.asked.Load())
		}
		close(end)
		wg.Wait()
		if slow.Body.String() != `{"a":1}` || s.ask(asks{}).how() != "HIT" {
			t.Errorf("the slow one got %s", slow.Body)
		}
	})
}

// All answers together stay below the bound, and so do those under way.
func TestBounded(t *testing.T) {
	const bound = 1 << 20
	s := newShelf(t, says(200, "application/json", strings.Repeat("x", 50_000)))
	for i := range 200 {
		s.ask(asks{body: fmt.Sprintf(`{"n":%d}`, i)})
		if f := s.answers.Figures(); f.Bytes > bound || f.Entries > 20 {
			t.Fatalf("after %d: %+v", i, f)
		}
	}
	if f := s.answers.Figures(); f.Entries < 10 {
		t.Errorf("%+v", f)
	}
	synctest.Test(t, func(t *testing.T) {
		var most atomic.Int64
		var s *shelf
		s = newShelf(t, func(w http.ResponseWriter, r *http.Request) error {
			err := says(200, "application/json", strings.Repeat("x", 50_000))(w, r)
			time.Sleep(time.Second)
			for n, old := s.answers.inHand.Load(), most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			return err
		})
		var wg sync.WaitGroup
		for i := range 200 {
			wg.Go(func() {
				if g := s.ask(asks{body: fmt.Sprintf(`{"n":%d}`, i)}); g.Body.Len() != 50_000 {
					t.Errorf("%d bytes", g.Body.Len())
				}
			})
		}
		wg.Wait()
		if most.Load() > bound || most.Load() < bound/2 || s.answers.inHand.Load() != 0 {
			t.Errorf("%d in hand, in the end %d", most.Load(), s.answers.inHand.Load())
		}
	})
}

func TestAnswersClear(t *testing.T) {
	s := newShelf(t, says(200, "application/json", "{}"))
	fill := func() {
		s.ask(asks{})
		s.ask(asks{path: "/v1/embeddings"})
		s.ask(asks{from: gateway.OpenRouter})
	}
	for pattern, want := range map[string]int{"": 3, "*": 3, "ollama": 2, "openrouter/*": 1, "embed": 1, "gpt-oss:*": 3, "llama3": 0} {
		fill()
		if n := s.answers.Clear(pattern); n != want || s.answers.Figures().Entries != 3-want {
			t.Errorf("%q: cleared %d, left %+v", pattern, n, s.answers.Figures())
		}
	}
}

// What was asked before the cache was cleared is not kept after it, though who
// waits gets it.
func TestClearWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, slowly(says(200, "application/json", "{}")))
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if g := s.ask(asks{}); g.Body.String() != "{}" {
					t.Errorf("%v", g.err)
				}
			})
		}
		synctest.Wait()
		s.answers.Clear("")
		wg.Wait()
		if s.asked.Load() != 1 || s.answers.Figures().Entries != 0 {
			t.Errorf("asked %d times, %+v", s.asked.Load(), s.answers.Figures())
		}
	})
}

// Expired answers take no memory after a Tick.
func TestTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, says(200, "application/json", "{}"))
		s.ask(asks{})
		time.Sleep(2 * time.Minute)
		s.answers.Tick()
		if n := s.answers.store.EstimatedSize(); n != 0 {
			t.Errorf("%d entries", n)
		}
	})
}

// What is refused before gets nothing out of the cache.
func TestRefusedQuestions(t *testing.T) {
	refusal := error(nil)
	s := newShelf(t, says(200, "application/json", "{}"), func(o *AnswersOptions) {
		open := o.Open
		o.Open = func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
			if refusal != nil {
				return nil, refusal
			}
			return open(w, r)
		}
	})
	s.ask(asks{})
	refusal = gateway.Errorf(gateway.KindForbidden, "not this model")
	if g := s.ask(asks{}); !errors.Is(g.err, refusal) || g.how() != "" || g.Body.Len() > 0 {
		t.Errorf("%v, %s", g.err, g.how())
	}
}

// Clients that read, leave, clear and count, for the race detector.
func TestAnswersConcurrently(t *testing.T) {
	s := newShelf(t, says(200, "application/json", "{}"), func(o *AnswersOptions) { o.TTL = time.Millisecond })
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if n%5 == i%5 {
					cancel()
				}
				if g := s.ask(asks{ctx: ctx, body: fmt.Sprintf(`{"n":%d}`, n%7)}); g.err == nil && g.Body.String() != "{}" {
					t.Errorf("%s", g.Body)
				}
				cancel()
				switch n % 50 {
				case 0:
					s.answers.Clear("*")
				case 1:
					s.answers.Figures()
				case 2:
					s.answers.Tick()
				}
			}
		})
	}
	wg.Wait()
	if len(s.answers.flights) != 0 || s.answers.inHand.Load() != 0 {
		t.Errorf("%d inquiries, %d bytes are left over", len(s.answers.flights), s.answers.inHand.Load())
	}
}

func FuzzWantsWhole(f *testing.F) {
	for _, s := range []string{chat, `{"stream":true}`, `{"stream":false,"Stream":true}`, `{"stream":"x"}`, `[]`, `{`, `{"stream":null}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if wantsWhole("/api/chat", body) && !wantsWhole(chatPath, body) {
			t.Fatalf("%q", body)
		}
	})
}
