package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// piped makes a client whose connections are pipes, so that time can be false.
// Each is served by serve, and open counts those that are not closed yet.
func piped(opts Options, serve func(n int, c net.Conn)) (c *Client, open *atomic.Int32) {
	c = New(opts)
	open = &atomic.Int32{}
	dials := 0
	c.dial = func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		open.Add(1)
		go func(n int) {
			serve(n, far)
			_, _ = io.Copy(io.Discard, far) // until the client closes
			_ = far.Close()
			open.Add(-1)
		}(dials)
		dials++
		return near, nil
	}
	return c, open
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func mustGet(t *testing.T, c *Client) {
	t.Helper()
	get(t, c, request(t.Context(), t, "GET", "http://upstream.test", ""))
}

// several makes n requests at once, so that n connections come to be idle.
func several(t *testing.T, c *Client, n int) {
	t.Helper()
	var all []*http.Response
	for range n {
		resp, err := c.RoundTrip(request(t.Context(), t, "GET", "http://upstream.test/slow", ""))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, resp)
	}
	for _, resp := range all {
		_, _ = io.ReadAll(resp.Body)
		_ = resp.Body.Close()
	}
}

// slowly answers so that the answer's end is not there before it is read.
func slowly(_ int, c net.Conn) {
	answering(func(_, _ int, _ *http.Request, _ string, c net.Conn) bool {
		_, _ = io.WriteString(c, okAnswer[:len(okAnswer)-1])
		_, err := io.WriteString(c, okAnswer[len(okAnswer)-1:])
		return err == nil
	})(0, c)
}

func TestIdleConnectionsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, open := piped(Options{IdleTimeout: time.Minute}, slowly)
		several(t, c, 5)
		time.Sleep(50 * time.Second)
		mustGet(t, c) // keeps the last one
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if n := open.Load(); n != 5 {
			t.Fatalf("%d connections before they expire, want 5", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if n := open.Load(); n != 1 {
			t.Fatalf("%d connections after four have expired, want 1", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := open.Load(); n != 0 {
			t.Fatalf("%d connections after all have expired, want 0", n)
		}
		mustGet(t, c)
		c.CloseIdleConnections()
	})
}

// An expired connection is not used, even if nobody swept it away: the machine
// may have slept.
func TestExpiredConnectionIsNotTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := idleConns{timeout: time.Minute}
		near, far := net.Pipe()
		c := newConn(&host{}, near)
		p.put(c)
		p.timer.Stop()
		time.Sleep(time.Hour)
		if p.take() != nil {
			t.Error("taken")
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("not closed: %v", err)
		}
	})
}

// What the other side has closed is let go of without a request.
func TestDeadConnectionsAreSweptAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hangUp := make(chan struct{})
		c, open := piped(Options{}, func(n int, c net.Conn) {
			if n%2 == 0 {
				go func() {
					<-hangUp
					_ = c.Close()
				}()
			}
			slowly(n, c)
		})
		several(t, c, 6)
		close(hangUp)
		time.Sleep(sweepEvery + time.Second)
		synctest.Wait()
		if n := idling(c); n != 3 {
			t.Errorf("%d idle connections, want 3", n)
		}
		if n := open.Load(); n != 3 {
			t.Errorf("%d open connections, want 3", n)
		}
		several(t, c, 3)
		if n := idling(c); n != 3 {
			t.Errorf("%d idle connections after their use, want 3", n)
		}
		c.CloseIdleConnections()
	})
}

// No timer runs while there is nothing to watch.
func TestNoTickingWithoutConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := piped(Options{IdleTimeout: time.Minute}, slowly)
		several(t, c, 2)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		for _, h := range *c.hosts.Load() {
			h.idle.mu.Lock()
			if h.idle.ticking || h.idle.timer.Stop() {
				t.Error("a timer is running")
			}
			h.idle.mu.Unlock()
		}
	})
}

// The one that was used last is taken first.
func TestLastInFirstOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := idleConns{timeout: time.Minute}
		var conns []*conn
		for range 3 {
			near, _ := net.Pipe()
			conns = append(conns, newConn(&host{}, near))
			p.put(conns[len(conns)-1])
		}
		for i := range 3 {
			if p.take() != conns[2-i] {
				t.Errorf("take %d gave another", i)
			}
		}
		if p.take() != nil {
			t.Error("there is one too many")
		}
		p.closeAll()
	})
}

// Sweeping does not get in the way of requests.
func TestSweepingWhileInUse(t *testing.T) {
	t.Parallel()
	p := idleConns{}
	h := &host{}
	for range 20 {
		near, _ := net.Pipe()
		p.put(newConn(h, near))
	}
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for range 500 {
				if c := p.take(); c != nil {
					p.put(c)
				}
			}
		})
	}
	running.Go(func() {
		for range 50 {
			p.sweep()
		}
	})
	running.Wait()
	if n := len(p.conns); n != 20 {
		t.Errorf("%d connections are left of 20", n)
	}
	p.closeAll()
}

// The exact times, over connections without a network.
func TestTimes(t *testing.T) {
	t.Parallel()
	took := func(t *testing.T, f func() error) time.Duration {
		t.Helper()
		began := time.Now()
		if err := f(); !isTimeout(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("not a timeout: %v", err)
		}
		return time.Since(began)
	}
	for name, tt := range map[string]struct {
		url   string
		opts  Options
		serve func(int, net.Conn)
		want  time.Duration
	}{
		"head": {"http://upstream.test", Options{HeaderTimeout: 5 * time.Minute}, func(_ int, c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
		}, 5 * time.Minute},
		"head, after hints": {"http://upstream.test", Options{HeaderTimeout: 5 * time.Minute}, func(_ int, c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			time.Sleep(4 * time.Minute)
			_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\n\r\n")
		}, 5 * time.Minute},
		"handshake": {"https://upstream.test", Options{TLSTimeout: 10 * time.Second}, func(int, net.Conn) {}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, _ := piped(tt.opts, tt.serve)
				d := took(t, func() error {
					return exchanged(c, request(t.Context(), t, "GET", tt.url, "")).HeadErr
				})
				if d != tt.want {
					t.Errorf("after %v, want %v", d, tt.want)
				}
			})
		})
	}
}

// The time for the head begins with the end of a long upload.
func TestHeaderTimeoutBeginsAfterTheBody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := piped(Options{HeaderTimeout: time.Minute}, func(_ int, c net.Conn) {
			buf := make([]byte, 10<<10)
			for n := 0; n < 1<<20; {
				time.Sleep(10 * time.Second)
				m, err := c.Read(buf)
				if err != nil {
					return
				}
				n += m
			}
			time.Sleep(50 * time.Second)
			_, _ = io.WriteString(c, okAnswer)
		})
		began := time.Now()
		req := request(t.Context(), t, "POST", "http://upstream.test", "")
		forms[0].set(req, pattern(1, 1<<20))
		get(t, c, req)
		if d := time.Since(began); d < 10*time.Minute {
			t.Errorf("done after %v", d)
		}
		c.CloseIdleConnections()
	})
}

// The head comes while the body is still being sent. When that ends later, no
// time for the head begins any more.
func TestHeaderTimeoutAfterAnEarlyHead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := piped(Options{HeaderTimeout: time.Minute}, func(_ int, c net.Conn) {
			br := bufio.NewReader(c)
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			_, _ = io.CopyN(io.Discard, req.Body, 1000)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
			time.Sleep(time.Second)
			_, _ = io.Copy(io.Discard, req.Body)
			time.Sleep(time.Hour)
			_, _ = io.WriteString(c, "ok")
		})
		req := request(t.Context(), t, "POST", "http://upstream.test", "")
		forms[0].set(req, pattern(1, 1<<20))
		get(t, c, req)
		if n := idling(c); n != 1 {
			t.Errorf("%d idle connections, want 1", n)
		}
		c.CloseIdleConnections()
	})
}

// A bound on one write is not one on later writes.
func TestStallDoesNotOutliveTheWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		last := 0
		c, _ := piped(Options{}, func(n int, c net.Conn) {
			last = n
			sends(okAnswer)(n, c)
		})
		for _, size := range []int{20 << 10, 100, 20 << 10, 1 << 20, 100} {
			req := request(t.Context(), t, "POST", "http://upstream.test", "")
			forms[0].set(req, pattern(1, size))
			get(t, c, req)
			time.Sleep(10 * stall)
		}
		if last != 0 {
			t.Errorf("%d connections, want 1", last+1)
		}
		c.CloseIdleConnections()
	})
}
