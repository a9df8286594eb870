// Command run drives several targets through the same scenarios in turn,
// interleaved round by round, in front of one mock upstream, and reports what
// each costs: CPU time of the target's process tree for each request or event,
// memory, and added latency, with ratios to a baseline target taken within the
// same round.
//
// Usage: run -config targets.json [-scenarios S4,S5,S1,S2,S3] [-rounds 3] ...
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"ollama-api-pool/bench/internal/loadgen"
	"ollama-api-pool/bench/internal/procstat"
)

// Config is the file given with -config.
type Config struct {
	Mock    Mock     `json:"mock"`
	Targets []Target `json:"targets"`
}

// Mock is the upstream. Its URL is where /_mock/set is found.
type Mock struct {
	URL string   `json:"url"`
	Cmd []string `json:"cmd"`
	Pid int      `json:"pid"`
	pid int
}

// Target is one thing to measure. With Cmd the driver starts and ends it,
// otherwise Pid or PidFile names the process whose tree is charged; with none
// (a direct run) only latency and rate are reported.
type Target struct {
	Name    string            `json:"name"`
	URL     string            `json:"url"` // of the chat completions endpoint
	Headers map[string]string `json:"headers"`
	Model   string            `json:"model"`
	Cmd     []string          `json:"cmd"`
	Env     []string          `json:"env"`
	Dir     string            `json:"dir"`
	Pid     int               `json:"pid"`
	PidFile string            `json:"pidfile"`
	Skip    []string          `json:"skip"` // scenarios
	pid     int
}

// Scenario is one way to drive every target.
type Scenario struct {
	Name, Title string
	Mock        string // query for /_mock/set
	Load        loadgen.Config
	Body        int
	Rounds      int // 0: the -rounds flag
}

// Sample is one target in one scenario in one round.
type Sample struct {
	Scenario string          `json:"scenario"`
	Target   string          `json:"target"`
	Round    int             `json:"round"`
	CPU      float64         `json:"cpu_seconds"`
	User     float64         `json:"user_seconds"`
	Sys      float64         `json:"sys_seconds"`
	PerReq   float64         `json:"cpu_us_per_request"`
	PerEvent float64         `json:"cpu_us_per_event,omitempty"`
	PerSMin  float64         `json:"cpu_s_per_stream_minute,omitempty"`
	MockReq  float64         `json:"mock_cpu_us_per_request"`
	RSS0     int64           `json:"rss_before"`
	RSSPeak  int64           `json:"rss_peak"`
	RSSPer   float64         `json:"rss_growth_per_conn"`
	Load     *loadgen.Result `json:"load"`
	Note     string          `json:"note,omitempty"`
}

func scenarios(d, warm time.Duration, streams int) []Scenario {
	hold := loadgen.Config{Conns: streams, Stream: true, Events: 100, Requests: 1, Ramp: time.Second}
	return []Scenario{
		{Name: "S4", Title: fmt.Sprintf("%d concurrent streams, one event each 100 ms for 10 s", streams), Mock: "chunks=100&interval=100ms&latency=0&burst=1", Load: hold, Body: 300, Rounds: 2},
		{Name: "S5", Title: "fixed 200 requests/s over 16 connections, small body", Mock: "latency=0", Load: loadgen.Config{Conns: 16, Rate: 200, Warm: warm, Duration: d * 3 / 2}, Body: 300},
		{Name: "S1", Title: "closed loop, 64 connections, 300 B body, JSON answer", Mock: "latency=0", Load: loadgen.Config{Conns: 64, Warm: warm, Duration: d}, Body: 300},
		{Name: "S2", Title: "closed loop, 64 connections, 32 KiB body, JSON answer", Mock: "latency=0", Load: loadgen.Config{Conns: 64, Warm: warm, Duration: d}, Body: 32 << 10},
		{Name: "S3", Title: "closed loop, 64 streams of 100 events back to back", Mock: "chunks=100&interval=0&latency=0&burst=1", Load: loadgen.Config{Conns: 64, Stream: true, Events: 100, Warm: warm, Duration: d}, Body: 300},
		{Name: "S6", Title: "closed loop, 64 connections, 300 B body, upstream takes 20 ms", Mock: "latency=20ms", Load: loadgen.Config{Conns: 64, Warm: warm, Duration: d}, Body: 300},
	}
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("run: ")
	file := flag.String("config", "", "targets (JSON)")
	names := flag.String("scenarios", "S4,S5,S1,S2,S3", "scenarios, in order; S4 first shows memory growth of fresh processes")
	rounds := flag.Int("rounds", 3, "rounds")
	dur := flag.Duration("d", 4*time.Second, "measured time of each timed run")
	warm := flag.Duration("warm", time.Second, "warm-up of each timed run")
	nstreams := flag.Int("streams", 500, "streams in S4")
	base := flag.String("baseline", "nginx", "target that ratios are taken to")
	direct := flag.String("direct", "direct", "target that added latency is taken from")
	only := flag.String("targets", "", "only these targets")
	mdOut := flag.String("md", "", "write the tables here as well")
	jsonOut := flag.String("json", "", "write every sample here")
	flag.Parse()
	if *rounds < 1 || *rounds > 20 || *dur > time.Minute || *nstreams > 10000 {
		log.Fatal("out of bounds: at most 20 rounds, one minute a run, 10000 streams")
	}
	var cfg Config
	b, err := os.ReadFile(*file)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.Unmarshal([]byte(os.ExpandEnv(string(b))), &cfg); err != nil {
		log.Fatalf("%s: %v", *file, err)
	}
	if err := check(&cfg); err != nil {
		log.Fatal(err)
	}
	if *only != "" {
		keep := strings.Split(*only, ",")
		cfg.Targets = slices.DeleteFunc(cfg.Targets, func(t Target) bool { return !slices.Contains(keep, t.Name) })
	}
	raiseFiles()

	var procs procs
	defer procs.stop()
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
	go func() { <-sig; procs.stop(); os.Exit(130) }()

	if len(cfg.Mock.Cmd) > 0 {
		if cfg.Mock.pid, err = procs.start(cfg.Mock.Cmd, nil, "", cfg.Mock.URL); err != nil {
			log.Print(err)
			return
		}
	} else {
		cfg.Mock.pid = cfg.Mock.Pid
	}
	var live []*Target
	for i := range cfg.Targets {
		t := &cfg.Targets[i]
		if err := t.resolve(&procs); err != nil {
			log.Printf("%s: left out: %v", t.Name, err)
			continue
		}
		live = append(live, t)
	}
	all := scenarios(*dur, *warm, *nstreams)
	var picked []Scenario
	var samples []Sample
	for _, name := range strings.Split(*names, ",") {
		i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
		if i < 0 {
			log.Printf("no scenario %q", name)
			return
		}
		sc := all[i]
		picked = append(picked, sc)
		n := *rounds
		if sc.Rounds > 0 {
			n = min(n, sc.Rounds)
		}
		bad := map[string]bool{}
		for r := range n {
			for k := range live {
				t := live[(k+r*(len(live)/2+1))%len(live)] // another order each round
				if bad[t.Name] || slices.Contains(t.Skip, sc.Name) {
					continue
				}
				s, err := one(&cfg.Mock, t, sc, r)
				if err != nil {
					log.Printf("%s %s: %v", sc.Name, t.Name, err)
					samples = append(samples, Sample{Scenario: sc.Name, Target: t.Name, Round: r, Note: err.Error()})
					bad[t.Name] = true
					continue
				}
				log.Printf("%s r%d %-20s %8.1f us/req %7.2f us/event %9.0f req/s %9.0f ev/s p50 %7.0f p99 %7.0f us rss %4d MiB err %d", sc.Name, r, t.Name, s.PerReq, s.PerEvent, s.Load.PerSecond, s.Load.EventRate, float64(s.Load.Latency.P50)/1e3, float64(s.Load.Latency.P99)/1e3, s.RSSPeak>>20, s.Load.Errors)
				samples = append(samples, *s)
				time.Sleep(300 * time.Millisecond)
			}
		}
	}
	procs.stop()
	w := io.Writer(os.Stdout)
	if *mdOut != "" {
		f, err := os.Create(*mdOut)
		if err != nil {
			log.Fatal(err)
		}
		defer f.Close()
		w = io.MultiWriter(w, f)
	}
	report(w, picked, live, samples, *base, *direct)
	if *jsonOut != "" {
		b, _ := json.MarshalIndent(map[string]any{"cpus": runtime.NumCPU(), "go": runtime.Version(), "time": time.Now().UTC(), "baseline": *base, "samples": samples}, "", " ")
		if err := os.WriteFile(*jsonOut, b, 0o644); err != nil {
			log.Print(err)
		}
	}
}

// check refuses targets that are not on loopback.
func check(c *Config) error {
	urls := []string{c.Mock.URL}
	for _, t := range c.Targets {
		urls = append(urls, t.URL)
	}
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			return err
		}
		if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
			return fmt.Errorf("%s: only loopback addresses are driven", s)
		}
	}
	return nil
}

func (t *Target) resolve(p *procs) (err error) {
	switch {
	case len(t.Cmd) > 0:
		t.pid, err = p.start(t.Cmd, t.Env, t.Dir, t.URL)
	case t.PidFile != "":
		var b []byte
		if b, err = os.ReadFile(t.PidFile); err == nil {
			t.pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		}
	default:
		t.pid = t.Pid
	}
	if err == nil && t.pid != 0 && !procstat.Alive(t.pid) {
		err = fmt.Errorf("no process %d", t.pid)
	}
	return err
}

func setMock(m *Mock, query string) error {
	resp, err := http.Get(strings.TrimSuffix(m.URL, "/") + "/_mock/set?" + query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		b, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("mock: %s", b)
	}
	return nil
}

func one(m *Mock, t *Target, sc Scenario, round int) (*Sample, error) {
	if err := setMock(m, sc.Mock); err != nil {
		return nil, err
	}
	cfg := sc.Load
	cfg.URL = t.URL
	cfg.Headers = map[string]string{"Content-Type": "application/json"}
	for k, v := range t.Headers {
		cfg.Headers[k] = v
	}
	model := t.Model
	if model == "" {
		model = "bench"
	}
	cfg.Body = loadgen.ChatBody(model, sc.Body, cfg.Stream)
	if round == 0 {
		// Once by itself, without the pauses: does it answer at all, and rightly?
		probe := cfg
		if err := setMock(m, sc.Mock+"&interval=0"); err != nil {
			return nil, err
		}
		status, body, err := loadgen.Once(probe)
		if err != nil {
			return nil, err
		}
		if status != 200 || !strings.Contains(string(body), `"usage"`) && !cfg.Stream {
			return nil, fmt.Errorf("status %d: %.200s", status, body)
		}
		if err := setMock(m, sc.Mock); err != nil {
			return nil, err
		}
	}
	var tree []int
	if t.pid != 0 {
		tree = procstat.Tree(t.pid)
	}
	var mockTree []int
	if m.pid != 0 {
		mockTree = procstat.Tree(m.pid)
	}
	s := &Sample{Scenario: sc.Name, Target: t.Name, Round: round, RSS0: procstat.RSS(tree)}
	var c0, c1, m0, m1 procstat.CPU
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for tk := time.NewTicker(50 * time.Millisecond); ; {
			select {
			case <-stop:
				tk.Stop()
				return
			case <-tk.C:
				s.RSSPeak = max(s.RSSPeak, procstat.RSS(tree))
			}
		}
	})
	cfg.OnStart = func() { c0, m0 = procstat.ReadCPU(tree), procstat.ReadCPU(mockTree) }
	cfg.OnEnd = func() { c1, m1 = procstat.ReadCPU(tree), procstat.ReadCPU(mockTree) }
	res, err := loadgen.Run(cfg)
	close(stop)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	if res.Requests == 0 {
		return nil, fmt.Errorf("no request succeeded: %v %v", res.Status, res.ErrorKinds)
	}
	s.Load = res
	cpu := c1.Sub(c0)
	s.CPU, s.User, s.Sys = cpu.Total().Seconds(), cpu.User.Seconds(), cpu.Sys.Seconds()
	s.PerReq = s.CPU * 1e6 / float64(res.Requests)
	s.MockReq = m1.Sub(m0).Total().Seconds() * 1e6 / float64(res.Requests)
	if res.Events > 0 {
		s.PerEvent = s.CPU * 1e6 / float64(res.Events)
	}
	if sc.Load.Requests > 0 {
		minutes := float64(res.Latency.Mean) * float64(res.Latency.N) / float64(time.Minute)
		s.PerSMin = s.CPU / minutes
	}
	s.RSSPer = float64(s.RSSPeak-s.RSS0) / float64(cfg.Conns)
	return s, nil
}

func raiseFiles() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil && l.Cur < l.Max {
		l.Cur = l.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

// procs are the processes this command started, and the only ones it ends.
type procs struct {
	mu   sync.Mutex
	list []*proc
}

type proc struct {
	cmd  *exec.Cmd
	done chan struct{}
}

func (p *procs) start(cmd, env []string, dir, rawURL string) (int, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return 0, err
	}
	if c, err := net.DialTimeout("tcp", u.Host, time.Second); err == nil {
		c.Close()
		return 0, fmt.Errorf("%s is taken", u.Host)
	}
	c := exec.Command(cmd[0], cmd[1:]...)
	c.Env = append(os.Environ(), env...)
	c.Dir = dir
	out, err := c.StderrPipe()
	if err != nil {
		return 0, err
	}
	if err := c.Start(); err != nil {
		return 0, err
	}
	pr := &proc{cmd: c, done: make(chan struct{})}
	p.mu.Lock()
	p.list = append(p.list, pr)
	p.mu.Unlock()
	go func() {
		sc := bufio.NewScanner(out)
		for n := 0; sc.Scan(); n++ {
			if n < 5 {
				log.Printf("[%s] %s", cmd[0], sc.Text())
			}
		}
		c.Wait()
		close(pr.done)
	}()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		select {
		case <-pr.done:
			return 0, errors.New("ended at once")
		default:
		}
		if nc, err := net.DialTimeout("tcp", u.Host, time.Second); err == nil {
			nc.Close()
			return c.Process.Pid, nil
		}
	}
	return 0, fmt.Errorf("does not listen on %s", u.Host)
}

func (p *procs) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pr := range p.list {
		pr.cmd.Process.Signal(syscall.SIGTERM)
	}
	for _, pr := range p.list {
		select {
		case <-pr.done:
		case <-time.After(5 * time.Second):
			pr.cmd.Process.Kill()
			<-pr.done
		}
	}
	p.list = nil
}
