package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/httpkit"
)

const tags = `{"models":[{"name":"a:1b"}]}`

// question asks for a list on behalf of a client and returns what it got.
func question(ctx context.Context, h httpkit.Handler, service gateway.Service, path string) (*httptest.ResponseRecorder, *gateway.Exchange, error) {
	x := &gateway.Exchange{
		Principal: &gateway.Principal{},
		Route:     gateway.Route{Service: service, Provider: gateway.Ollama, Path: path, Model: "a:1b"},
	}
	r := httptest.NewRequestWithContext(gateway.WithExchange(ctx, x), http.MethodGet, path, nil)
	w := httptest.NewRecorder()
	return w, x, h(w, r)
}

func answerWith(status int, body string) httpkit.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		gateway.ExchangeFrom(r.Context()).Record.Status = status
		w.WriteHeader(status)
		_, err := io.WriteString(w, body)
		return err
	}
}

// A hundred ask at once, and again when the list has grown old.
func TestManyAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		h := NewModels(time.Minute, time.Now).Serve(func(w http.ResponseWriter, r *http.Request) error {
			asked++
			time.Sleep(time.Second)
			return answerWith(200, tags)(w, r)
		})
		for round := range 3 {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					w, x, err := question(t.Context(), h, gateway.ServiceModels, "/v1/models")
					if err != nil || w.Code != 200 || x.Record.Status != 200 || !x.Record.Counted || w.Header().Get("X-Cache") != "MISS" {
						t.Errorf("%v: %d, %+v, %v", err, w.Code, x.Record, w.Header())
					}
				})
			}
			wg.Wait()
			if asked != round+1 {
				t.Errorf("round %d: asked %d times", round, asked)
			}
			if w, _, _ := question(t.Context(), h, gateway.ServiceModel, "/v1/models/a:1b"); w.Header().Get("X-Cache") != "HIT" {
				t.Errorf("round %d: %v", round, w.Header())
			}
			time.Sleep(time.Minute)
		}
	})
}

// Whoever asked may leave, or fall over a fault of ours: another asks instead.
func TestAnotherAsks(t *testing.T) {
	for name, fail := range map[string]func(context.Context) error{
		"left":     func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("ask: %w", ctx.Err()) },
		"panicked": func(context.Context) error { time.Sleep(time.Second); panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				h := NewModels(time.Minute, time.Now).Serve(func(w http.ResponseWriter, r *http.Request) error {
					if asked++; asked == 1 {
						return fail(r.Context())
					}
					return answerWith(200, tags)(w, r)
				})
				leaving, leave := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() {
					defer func() { _ = recover() }()
					if _, _, err := question(leaving, h, gateway.ServiceModels, "/v1/models"); !errors.Is(err, context.Canceled) {
						t.Errorf("who left got %v", err)
					}
				})
				synctest.Wait()
				for range 10 {
					wg.Go(func() {
						if w, _, err := question(t.Context(), h, gateway.ServiceTags, "/api/tags"); err != nil || w.Body.String() != tags {
							t.Errorf("%v: %s", err, w.Body)
						}
					})
				}
				synctest.Wait()
				leave()
				wg.Wait()
				if asked != 2 {
					t.Errorf("asked %d times", asked)
				}
			})
		})
	}
}

// Who waits may leave without a harm to the others.
func TestWhoWaitsLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewModels(time.Minute, time.Now).Serve(func(w http.ResponseWriter, r *http.Request) error {
			time.Sleep(time.Hour)
			return answerWith(200, tags)(w, r)
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			if w, _, err := question(t.Context(), h, gateway.ServiceModels, "/v1/models"); err != nil || w.Code != 200 {
				t.Errorf("%v: %d", err, w.Code)
			}
		})
		synctest.Wait()
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, x, err := question(ctx, h, gateway.ServiceModels, "/v1/models")
		if !isGone(err) || x.Record.End != gateway.EndClientClosed || time.Since(began) != time.Second {
			t.Errorf("%v, %v after %v", err, x.Record.End, time.Since(began))
		}
		wg.Wait()
	})
}

// What all get of a failure is the failure, and it is not kept.
func TestFailuresAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		h := NewModels(time.Minute, time.Now).Serve(func(http.ResponseWriter, *http.Request) error {
			asked++
			time.Sleep(time.Second)
			return gateway.Errorf(gateway.KindNoKey, "no key")
		})
		for round := range 2 {
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					_, x, err := question(t.Context(), h, gateway.ServiceModels, "/v1/models")
					if gateway.AsError(err).Kind != gateway.KindNoKey || !x.Record.Counted || x.Record.End != gateway.EndDone {
						t.Errorf("%v, %+v", err, x.Record)
					}
				})
			}
			wg.Wait()
			if asked != round+1 {
				t.Errorf("asked %d times", asked)
			}
		}
	})
}

func TestListTooLarge(t *testing.T) {
	h := NewModels(time.Minute, time.Now).Serve(func(w http.ResponseWriter, r *http.Request) error {
		block := make([]byte, 1<<20)
		for range maxPage>>20 + 1 {
			if _, err := w.Write(block); err != nil {
				gateway.ExchangeFrom(r.Context()).Record.End = gateway.EndClientClosed
				return context.Canceled // as forward does when its client takes no more
			}
		}
		t.Error("all was taken")
		return nil
	})
	_, x, err := question(t.Context(), h, gateway.ServiceTags, "/api/tags")
	if e := gateway.AsError(err); e.Kind != gateway.KindUpstream || x.Record.End != gateway.EndDone {
		t.Errorf("%v, %+v", err, x.Record)
	}
}

func TestClear(t *testing.T) {
	m := NewModels(time.Minute, time.Now)
	h := m.Serve(answerWith(200, tags))
	for _, want := range []string{"MISS", "HIT"} {
		if w, _, _ := question(t.Context(), h, gateway.ServiceModels, "/v1/models"); w.Header().Get("X-Cache") != want {
			t.Errorf("%v, want %s", w.Header(), want)
		}
	}
	if n := m.Clear(""); n != 1 {
		t.Errorf("cleared %d", n)
	}
	if n := m.Clear(""); n != 0 {
		t.Errorf("cleared %d once more", n)
	}
	if w, _, _ := question(t.Context(), h, gateway.ServiceModels, "/v1/models"); w.Header().Get("X-Cache") != "MISS" {
		t.Errorf("%v", w.Header())
	}
}

// Everything else passes, untouched.
// A question of a client's own wording goes past the cache; a stranger's does not.
func TestWordedQuestions(t *testing.T) {
	asked := 0
	h := NewModels(time.Minute, time.Now).Serve(func(w http.ResponseWriter, r *http.Request) error {
		asked++
		return answerWith(200, `{"data":[{"id":"a:1b"}]}`)(w, r)
	})
	ask := func(who *gateway.Principal) string {
		x := &gateway.Exchange{Principal: who, Route: gateway.Route{Service: gateway.ServiceModels, Provider: gateway.OpenRouter}}
		r := httptest.NewRequestWithContext(gateway.WithExchange(t.Context(), x), http.MethodGet, "/v1/models?category=x", nil)
		w := httptest.NewRecorder()
		if err := h(w, r); err != nil || w.Code != 200 {
			t.Fatalf("%d, %v", w.Code, err)
		}
		return w.Header().Get("X-Cache")
	}
	if a, b := ask(nil), ask(nil); a != "MISS" || b != "HIT" || asked != 1 {
		t.Errorf("a stranger got %s and %s with %d calls", a, b, asked)
	}
	if a, b := ask(&gateway.Principal{}), ask(&gateway.Principal{}); a != "BYPASS" || b != "BYPASS" || asked != 3 {
		t.Errorf("a client got %s and %s with %d calls", a, b, asked)
	}
}

func TestOthersPass(t *testing.T) {
	for _, service := range []gateway.Service{gateway.ServiceForward, gateway.ServiceForbidden, gateway.ServiceGreeting} {
		passed := false
		h := NewModels(time.Minute, time.Now).Serve(func(http.ResponseWriter, *http.Request) error { passed = true; return nil })
		if w, x, err := question(t.Context(), h, service, "/api/chat"); !passed || err != nil || len(w.Header()) > 0 || x.Record.Counted {
			t.Errorf("%d: passed %v, %v, %v", service, passed, err, w.Header())
		}
	}
}

func FuzzLists(f *testing.F) {
	for _, s := range []string{
		tags, `{"data":[{"id":"a/b","created":1,"x":{"y":[]}}]}`, `{"models":null}`, `{"data":[]}`, `{"models":[{"name":"a","modified_at":7}]}`,
		`{"models":[null]}`, `{"data":[null,{"id":null}]}`, `[]`, ``, `{"models":[{"name":"\ud800"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, name := range gateway.Providers() {
			p := &page{status: http.StatusOK, body: body}
			l, err := p.list(name)
			if err != nil {
				continue
			}
			var list struct {
				Object string
				Data   []struct {
					ID, Object, Root string
					Created          *float64
					OwnedBy          *string `json:"owned_by"`
				}
			}
			if err := json.Unmarshal(l.whole, &list); err != nil && !strings.Contains(err.Error(), "cannot unmarshal") { // odd types of a model's own
				t.Fatalf("%s: %v", l.whole, err)
			}
			for _, e := range list.Data {
				if e.ID == "" || l.find(e.ID) == nil {
					t.Fatalf("%q is in the list only: %s", e.ID, l.whole)
				}
			}
		}
	})
}
