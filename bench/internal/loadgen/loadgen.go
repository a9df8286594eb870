// Package loadgen drives one HTTP/1.1 target over keep-alive connections, in a
// closed loop (each connection sends its next request when the last is
// answered), an open loop (a fixed rate, whatever the answers do), or holding
// a number of concurrent streams, and checks the answers.
package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ollama-api-pool/bench/internal/h1"
)

// Config describes one run.
type Config struct {
	URL     string
	Method  string // POST by default
	Headers map[string]string
	Body    []byte

	Conns    int           // connections, or concurrent streams
	Rate     float64       // requests a second over all connections; 0: closed loop
	Warm     time.Duration // not measured
	Duration time.Duration // measured
	Requests int           // if positive, each connection stops after this many and Warm and Duration are ignored
	Ramp     time.Duration // spreads the starts of the connections
	Timeout  time.Duration // for one request; 2 minutes by default

	Stream  bool // the answer is an event stream
	Events  int  // marked events expected in each stream
	OnStart func()
	OnEnd   func()
}

// Quantiles are in nanoseconds.
type Quantiles struct {
	N    int   `json:"n"`
	P50  int64 `json:"p50"`
	P90  int64 `json:"p90"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
	Max  int64 `json:"max"`
	Mean int64 `json:"mean"`
}

// Result is what one run saw in its measured part.
type Result struct {
	Seconds    float64   `json:"seconds"`
	Requests   int64     `json:"requests"`
	Events     int64     `json:"events,omitempty"`
	Bytes      int64     `json:"bytes"`
	PerSecond  float64   `json:"per_second"`
	EventRate  float64   `json:"events_per_second,omitempty"`
	Latency    Quantiles `json:"latency"`                   // from the send
	Scheduled  Quantiles `json:"latency_scheduled"`         // from the time the request was due (open loop)
	FirstEvent Quantiles `json:"first_event,omitempty"`     // from the request's send to its first event
	Delay      Quantiles `json:"event_delay,omitempty"`     // from the upstream's send of an event to its arrival here
	Gap        Quantiles `json:"event_gap_delta,omitempty"` // how far the gap between two arrivals is from that between their sends

	Errors     int64            `json:"errors"`
	Incomplete int64            `json:"incomplete_streams,omitempty"`
	Disordered int64            `json:"disordered_events,omitempty"`
	Reconnects int64            `json:"reconnects"`
	Status     map[int]int64    `json:"status"`
	ErrorKinds map[string]int64 `json:"error_kinds,omitempty"`
}

const (
	phaseWarm = iota
	phaseMeasure
	phaseStop
)

type worker struct {
	cfg   *Config
	addr  string
	msg   []byte
	id    int
	phase *atomic.Int32

	conn net.Conn
	r    *h1.Reader
	head h1.Head

	lat, sched, first, delay, gap []int64
	reqs, events, bytes           int64
	errs, incomplete, disorder    int64
	reconnects                    int64
	status                        map[int]int64
	kinds                         map[string]int64

	sse     scanner
	sent    time.Time
	collect func(p []byte) error
}

// Run performs the run.
func Run(cfg Config) (*Result, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" {
		return nil, fmt.Errorf("loadgen: want an http URL, have %q", cfg.URL)
	}
	if cfg.Conns < 1 {
		return nil, errors.New("loadgen: no connections")
	}
	if cfg.Method == "" {
		cfg.Method = "POST"
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Minute
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), "80")
	}
	msg := message(&cfg, u)
	var phase atomic.Int32
	counted := cfg.Requests > 0
	if counted {
		phase.Store(phaseMeasure)
	}
	workers := make([]*worker, cfg.Conns)
	for i := range workers {
		w := &worker{cfg: &cfg, addr: addr, msg: msg, id: i, phase: &phase, status: map[int]int64{}, kinds: map[string]int64{}}
		w.collect = w.onBody
		workers[i] = w
	}
	var wg sync.WaitGroup
	start := time.Now()
	begin := start
	if counted && cfg.OnStart != nil {
		cfg.OnStart()
	}
	for _, w := range workers {
		wg.Go(func() { w.loop(start) })
	}
	if counted {
		wg.Wait()
	} else {
		time.Sleep(cfg.Warm)
		if cfg.OnStart != nil {
			cfg.OnStart()
		}
		begin = time.Now()
		phase.Store(phaseMeasure)
		time.Sleep(cfg.Duration)
		phase.Store(phaseStop)
	}
	took := time.Since(begin)
	if cfg.OnEnd != nil {
		cfg.OnEnd()
	}
	wg.Wait()
	return merge(workers, took), nil
}

func message(cfg *Config, u *url.URL) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", cfg.Method, u.RequestURI(), u.Host)
	names := make([]string, 0, len(cfg.Headers))
	for k := range cfg.Headers {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		fmt.Fprintf(&b, "%s: %s\r\n", k, cfg.Headers[k])
	}
	if cfg.Method != "GET" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(cfg.Body))
	}
	b.WriteString("\r\n")
	b.Write(cfg.Body)
	return b.Bytes()
}

func merge(ws []*worker, took time.Duration) *Result {
	res := &Result{Seconds: took.Seconds(), Status: map[int]int64{}, ErrorKinds: map[string]int64{}}
	var lat, sched, first, delay, gap []int64
	for _, w := range ws {
		lat = append(lat, w.lat...)
		sched = append(sched, w.sched...)
		first = append(first, w.first...)
		delay = append(delay, w.delay...)
		gap = append(gap, w.gap...)
		res.Requests += w.reqs
		res.Events += w.events
		res.Bytes += w.bytes
		res.Errors += w.errs
		res.Incomplete += w.incomplete
		res.Disordered += w.disorder
		res.Reconnects += w.reconnects
		for k, n := range w.status {
			res.Status[k] += n
		}
		for k, n := range w.kinds {
			res.ErrorKinds[k] += n
		}
	}
	res.PerSecond = float64(res.Requests) / res.Seconds
	res.EventRate = float64(res.Events) / res.Seconds
	res.Latency, res.Scheduled = quantiles(lat), quantiles(sched)
	res.FirstEvent, res.Delay, res.Gap = quantiles(first), quantiles(delay), quantiles(gap)
	return res
}

func quantiles(v []int64) Quantiles {
	if len(v) == 0 {
		return Quantiles{}
	}
	slices.Sort(v)
	at := func(q float64) int64 { return v[min(len(v)-1, int(q*float64(len(v))))] }
	var sum int64
	for _, x := range v {
		sum += x
	}
	return Quantiles{N: len(v), P50: at(.5), P90: at(.9), P99: at(.99), P999: at(.999), Max: v[len(v)-1], Mean: sum / int64(len(v))}
}

func (w *worker) loop(start time.Time) {
	defer func() {
		if w.conn != nil {
			w.conn.Close()
		}
	}()
	cfg := w.cfg
	if cfg.Ramp > 0 {
		time.Sleep(cfg.Ramp * time.Duration(w.id) / time.Duration(cfg.Conns))
	}
	fails := 0
	for k := 0; w.phase.Load() != phaseStop; k++ {
		if cfg.Requests > 0 && k >= cfg.Requests {
			return
		}
		due := time.Now()
		if cfg.Rate > 0 {
			due = start.Add(time.Duration(float64(k*cfg.Conns+w.id) / cfg.Rate * float64(time.Second)))
			for {
				d := time.Until(due)
				if d <= 0 {
					break
				}
				if w.phase.Load() == phaseStop {
					return
				}
				time.Sleep(min(d, 100*time.Millisecond))
			}
		}
		err := w.one(due)
		if err == nil {
			fails = 0
			continue
		}
		if w.conn != nil {
			w.conn.Close()
			w.conn = nil
		}
		if w.phase.Load() == phaseMeasure {
			w.errs++
			w.kinds[kind(err)]++
		}
		if fails++; fails > 3 {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func kind(err error) string {
	s := err.Error()
	if i := bytes.LastIndex([]byte(s), []byte(": ")); i >= 0 {
		s = s[i+2:]
	}
	return s
}

type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

var errIncomplete = errors.New("incomplete stream")

func (w *worker) one(due time.Time) error {
	cfg := w.cfg
	for {
		fresh := w.conn == nil
		if fresh {
			c, err := net.DialTimeout("tcp", w.addr, 5*time.Second)
			if err != nil {
				return err
			}
			w.conn = c
			w.reconnects++
			if w.r == nil {
				w.r = h1.NewReader(c, 4<<10)
			} else {
				w.r.Reset(c)
			}
		}
		w.sent = time.Now()
		w.conn.SetDeadline(w.sent.Add(cfg.Timeout))
		_, err := w.conn.Write(w.msg)
		if err == nil {
			err = w.r.ReadHead(&w.head, true)
		}
		if err == nil {
			break
		}
		// A kept connection may have been closed while idle; try a new one once.
		w.conn.Close()
		w.conn = nil
		if fresh {
			return err
		}
	}
	w.sse = scanner{partial: w.sse.partial[:0]}
	n, err := w.r.Body(&w.head, true, w.collect)
	end := time.Now()
	measured := w.phase.Load() == phaseMeasure
	if measured {
		w.bytes += n
		w.status[w.head.Status]++
	}
	if err != nil {
		if measured && cfg.Stream {
			w.incomplete++
		}
		return err
	}
	if w.head.Close {
		w.conn.Close()
		w.conn = nil
	}
	if w.head.Status != 200 {
		return statusError(w.head.Status)
	}
	if cfg.Stream && (!w.sse.done || w.sse.next != cfg.Events) {
		if measured {
			w.incomplete++
		}
		return errIncomplete
	}
	if measured {
		w.reqs++
		w.lat = append(w.lat, int64(end.Sub(w.sent)))
		if cfg.Rate > 0 {
			w.sched = append(w.sched, int64(end.Sub(due)))
		}
	}
	return nil
}

func (w *worker) onBody(p []byte) error {
	if !w.cfg.Stream {
		return nil
	}
	now := time.Now()
	seen := w.sse.next
	w.sse.feed(p, now.UnixNano(), w)
	if n := w.sse.next - seen; n > 0 && w.phase.Load() == phaseMeasure {
		w.events += int64(n)
		if seen == 0 {
			w.first = append(w.first, int64(now.Sub(w.sent)))
		}
	}
	return nil
}

// scanner splits a stream into lines and follows the marks in them.
type scanner struct {
	partial            []byte
	next               int
	done               bool
	lastSent, lastSeen int64
}

func (s *scanner) feed(p []byte, now int64, w *worker) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			s.partial = append(s.partial, p...)
			return
		}
		line := p[:i]
		p = p[i+1:]
		if len(s.partial) > 0 {
			s.partial = append(s.partial, line...)
			line = s.partial
			s.partial = s.partial[:0]
		}
		s.line(line, now, w)
	}
}

var doneMark = []byte(`"done":true`)

func (s *scanner) line(line []byte, now int64, w *worker) {
	if len(line) < 6 {
		return
	}
	if line[0] == 'd' { // data:
		line = bytes.TrimLeft(line[5:], " ")
		if len(line) >= 6 && line[0] == '[' {
			s.done = string(line[:6]) == "[DONE]"
			return
		}
	}
	i := bytes.IndexByte(line, '~')
	if i < 0 || len(line) < i+28 {
		if bytes.Contains(line, doneMark) {
			s.done = true
		}
		return
	}
	seq, sent := digits(line[i+1:i+7]), digits(line[i+8:i+27])
	measuring := w.phase.Load() == phaseMeasure
	if seq != int64(s.next) && measuring {
		w.disorder++
	}
	s.next++
	if measuring {
		w.delay = append(w.delay, now-sent)
		if s.lastSent != 0 {
			g := (now - s.lastSeen) - (sent - s.lastSent)
			w.gap = append(w.gap, max(g, -g))
		}
	}
	s.lastSent, s.lastSeen = sent, now
}

func digits(p []byte) int64 {
	var n int64
	for _, c := range p {
		n = n*10 + int64(c-'0')
	}
	return n
}

// Once makes one request and returns status and body, for checks before a run.
func Once(cfg Config) (int, []byte, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return 0, nil, err
	}
	if cfg.Method == "" {
		cfg.Method = "POST"
	}
	c, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write(message(&cfg, u)); err != nil {
		return 0, nil, err
	}
	r := h1.NewReader(c, 4<<10)
	var h h1.Head
	if err := r.ReadHead(&h, true); err != nil {
		return 0, nil, err
	}
	var body bytes.Buffer
	_, err = r.Body(&h, true, func(p []byte) error { body.Write(p); return nil })
	if err == io.EOF {
		err = nil
	}
	return h.Status, body.Bytes(), err
}
