package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// The server of the benchmarks is a process of its own, so that what is
// measured is the client. It is this program, told so by the environment.
const benchServer = "UPSTREAM_BENCH_SERVER"

func TestMain(m *testing.M) {
	if how := os.Getenv(benchServer); how != "" {
		serveBench(how == "tls")
		return
	}
	os.Exit(m.Run())
}

// benchAnswers are what the server sends, by the path's first letter.
var benchAnswers = map[byte]string{
	'j': func() string { // a JSON answer
		body := strings.Repeat("y", 600)
		return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n" +
			"X-Request-Id: 0123456789\r\nServer: test\r\nContent-Length: 600\r\n\r\n" + body
	}(),
	's': func() string { // a stream of 100 events
		event := "data: {\"choices\":[{\"delta\":{\"content\":\"word \"}}]}\n\n"
		chunk := strconv.FormatInt(int64(len(event)), 16) + "\r\n" + event + "\r\n"
		return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
			strings.Repeat(chunk, 100) + "0\r\n\r\n"
	}(),
	'o': "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"6\r\nfirst\n\r\n", // a stream that stays open
}

// serveBench prints its address, and its certificate's key in effect: the
// clients do not check it. It ends with its standard input.
func serveBench(secure bool) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // the process ends it
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	if secure {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{authority().cert}})
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveBenchConn(c)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func serveBenchConn(c net.Conn) {
	defer func() { _ = c.Close() }()
	br := bufio.NewReaderSize(c, 64<<10)
	for {
		what, length := byte(0), 0
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				return
			}
			if what == 0 {
				what = line[len("POST /")]
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(value)))
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := br.Discard(length); err != nil {
			return
		}
		if _, err := io.WriteString(c, benchAnswers[what]); err != nil {
			return
		}
	}
}

// startBench starts the server's process and returns its address.
func startBench(b *testing.B, secure bool) string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), benchServer+"=plain")
	if secure {
		cmd.Env = append(os.Environ(), benchServer+"=tls")
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	if secure {
		return "https://" + strings.TrimSpace(addr)
	}
	return "http://" + strings.TrimSpace(addr)
}

// rivals are the clients that are compared.
func rivals(b *testing.B) map[string]http.RoundTripper {
	b.Helper()
	trust := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}
	theirs := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1024, ResponseHeaderTimeout: soon, TLSClientConfig: trust}
	mine := New(Options{HeaderTimeout: soon, TLS: trust})
	b.Cleanup(theirs.CloseIdleConnections)
	b.Cleanup(mine.CloseIdleConnections)
	return map[string]http.RoundTripper{"net-http": theirs, "ours": mine}
}

// BenchmarkRoundTrip measures a request with its answer, 64 at once, in time
// and in the process's CPU time.
func BenchmarkRoundTrip(b *testing.B) {
	for _, secure := range []bool{false, true} {
		url := startBench(b, secure)
		for _, tt := range []struct {
			name, path string
			size       int
		}{{"json", "/json", 300}, {"json-32KiB", "/json", 32 << 10}, {"stream", "/stream", 300}} {
			for name, rt := range rivals(b) {
				b.Run(fmt.Sprintf("tls=%v/%s/%s", secure, tt.name, name), func(b *testing.B) {
					body := bytes.Repeat([]byte("x"), tt.size)
					b.ReportAllocs()
					b.SetParallelism(64 / runtime.GOMAXPROCS(0))
					before := cpuTime()
					b.RunParallel(func(pb *testing.PB) {
						buf := make([]byte, 4096)
						for pb.Next() {
							if err := roundTrip(b.Context(), rt, url+tt.path, body, buf); err != nil {
								b.Error(err)
								return
							}
						}
					})
					b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
				})
			}
		}
	}
}

func roundTrip(ctx context.Context, rt http.RoundTripper, url string, body, buf []byte) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header["Authorization"] = []string{"Bearer test"}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = resp.Body.Read(buf)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return resp.Body.Close()
}

// BenchmarkOpenStream measures what a stream holds while nothing comes.
func BenchmarkOpenStream(b *testing.B) {
	for _, secure := range []bool{false, true} {
		url := startBench(b, secure)
		for name, rt := range rivals(b) {
			b.Run(fmt.Sprintf("tls=%v/%s", secure, name), func(b *testing.B) {
				const streams = 200
				for b.Loop() {
					before := heldMemory()
					var reading atomic.Int32
					ctx, cancel := context.WithCancel(b.Context())
					ended := make(chan struct{})
					for range streams {
						go func() {
							defer func() { ended <- struct{}{} }()
							req, _ := http.NewRequestWithContext(ctx, http.MethodPost, url+"/open", strings.NewReader("x"))
							resp, err := rt.RoundTrip(req)
							if err != nil {
								b.Error(err)
								return
							}
							defer func() { _ = resp.Body.Close() }()
							buf := make([]byte, 1024)
							_, _ = resp.Body.Read(buf)
							reading.Add(1)
							_, _ = resp.Body.Read(buf)
						}()
					}
					eventually(b, "all streams are open", func() bool { return reading.Load() == streams })
					b.ReportMetric(float64(heldMemory()-before)/streams, "B/stream")
					cancel()
					for range streams {
						<-ended
					}
				}
			})
		}
	}
}

// heldMemory is what heap and stacks take after a collection.
func heldMemory() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes in the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// A request costs about a dozen small allocations; these are counted with those
// of the caller, to make and to read it.
func TestAllocations(t *testing.T) {
	srv := ours.serveRaw(t, func(_ int, c net.Conn) {
		buf := make([]byte, 4096)
		answer := []byte(benchAnswers['j'])
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
	rt := ours.client(t, Options{HeaderTimeout: soon})
	body, buf := []byte(hex.EncodeToString(make([]byte, 150))), make([]byte, 4096)
	n := testing.AllocsPerRun(200, func() {
		if err := roundTrip(t.Context(), rt, srv.url+"/json", body, buf); err != nil {
			t.Error(err)
		}
	})
	if n > 30 {
		t.Errorf("%v allocations", n)
	}
}
