// Command mockupstream is a cheap stand-in for an LLM API: OpenAI chat
// completions (JSON and SSE), /v1/models, and Ollama's /api/chat (JSON and
// NDJSON) and /api/tags. It speaks plain HTTP/1.1 from a small hand-written
// loop so that its own cost stays low and even; with -tls it also serves the
// same answers over TLS with HTTP/1.1 or HTTP/2 from net/http (dearer, for
// comparing upstream protocols only).
//
// Behaviour is set by flags and, while it runs, by
//
//	GET /_mock/set?chunks=100&interval=100ms&latency=0&pad=0&burst=1
//	GET /_mock/stats[?keys=1][&reset=1]
//
// Every streamed event carries a mark ~SSSSSS:NNNNNNNNNNNNNNNNNNN~ in its
// content: sequence number and send time (Unix ns), which the load generator
// checks for order and uses for the delay of each event.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ollama-api-pool/bench/internal/h1"
)

type settings struct {
	Chunks   int
	Interval time.Duration
	Latency  time.Duration
	Pad      int // extra bytes in each event
	Burst    int // events per write when Interval is 0
	padding  string
}

var (
	cur       atomic.Pointer[settings]
	faults    []fault
	total     atomic.Int64
	chunksOut atomic.Int64
	streams   atomic.Int64
	aborted   atomic.Int64
	open      atomic.Int64
	accepted  atomic.Int64
	keys      keyCounter
)

type fault struct{ prefix, kind string }

// keyCounter counts requests per Authorization key.
type keyCounter struct{ shard [64]keyShard }

type keyShard struct {
	mu sync.Mutex
	m  map[string]*int64
	_  [40]byte
}

func (k *keyCounter) add(key []byte) {
	h := uint32(2166136261)
	for _, c := range key[max(0, len(key)-8):] {
		h = (h ^ uint32(c)) * 16777619
	}
	s := &k.shard[h&63]
	s.mu.Lock()
	p := s.m[string(key)]
	if p == nil {
		if s.m == nil {
			s.m = map[string]*int64{}
		}
		p = new(int64)
		s.m[string(key)] = p
	}
	*p++
	s.mu.Unlock()
}

func (k *keyCounter) dump(reset bool) map[string]int64 {
	out := map[string]int64{}
	for i := range k.shard {
		s := &k.shard[i]
		s.mu.Lock()
		for key, n := range s.m {
			out[key] = *n
		}
		if reset {
			s.m = nil
		}
		s.mu.Unlock()
	}
	return out
}

const completion = `{"id":"chatcmpl-bench000000000000000000000000","object":"chat.completion","created":1700000000,"model":"bench","system_fingerprint":"fp_bench","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog while the five boxing wizards look on, and then everybody goes home for tea and thinks about what to answer next time they are asked."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":57,"completion_tokens":42,"total_tokens":99,"prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}}`

const ollamaChat = `{"model":"bench","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog while the five boxing wizards look on."},"done_reason":"stop","done":true,"total_duration":1000000,"load_duration":1000,"prompt_eval_count":57,"prompt_eval_duration":1000,"eval_count":42,"eval_duration":1000000}`

const (
	models = `{"object":"list","data":[{"id":"bench","object":"model","created":1700000000,"owned_by":"bench"}]}`
	tags   = `{"models":[{"name":"bench","model":"bench","modified_at":"2025-01-01T00:00:00Z","size":1,"digest":"0","details":{"format":"gguf","family":"bench","families":["bench"],"parameter_size":"1B","quantization_level":"Q4_0"}}]}`

	sseHead    = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
	ndjsonHead = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"

	ssePre   = `data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"`
	ssePost  = "\"}}]}\n\n"
	sseUsage = `data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":57,"completion_tokens":42,"total_tokens":99}}` + "\n\n"
	sseDone  = "data: [DONE]\n\n"

	ndPre  = `{"model":"bench","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":"`
	ndPost = "\"},\"done\":false}\n"
	ndDone = `{"model":"bench","created_at":"2025-01-01T00:00:00Z","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"total_duration":1000000,"prompt_eval_count":57,"eval_count":42}` + "\n"
)

// appendEvent appends one streamed event, without HTTP framing.
func appendEvent(b []byte, s *settings, sse bool, seq int, now int64) []byte {
	pre, post := ssePre, ssePost
	if !sse {
		pre, post = ndPre, ndPost
	}
	b = append(b, pre...)
	b = append(b, '~')
	var d [6]byte
	for i, n := 5, seq; i >= 0; i-- {
		d[i] = byte('0' + n%10)
		n /= 10
	}
	b = append(b, d[:]...)
	b = append(b, ':')
	b = strconv.AppendInt(b, now, 10)
	b = append(b, '~')
	b = append(b, s.padding...)
	return append(b, post...)
}

// markLen is the length of ~SSSSSS:NNNNNNNNNNNNNNNNNNN~.
const markLen = 1 + 6 + 1 + 19 + 1

func eventLen(s *settings, sse bool) int {
	if sse {
		return len(ssePre) + markLen + len(s.padding) + len(ssePost)
	}
	return len(ndPre) + markLen + len(s.padding) + len(ndPost)
}

func appendFramed(b []byte, parts ...string) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b = strconv.AppendInt(b, int64(n), 16)
	b = append(b, "\r\n"...)
	for _, p := range parts {
		b = append(b, p...)
	}
	return append(b, "\r\n"...)
}

func appendPlain(b []byte, status int, text, ctype, body string) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, text...)
	b = append(b, "\r\nContent-Type: "...)
	b = append(b, ctype...)
	if status == 429 {
		b = append(b, "\r\nRetry-After: 1"...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}

func faultOf(key []byte) string {
	for _, f := range faults {
		if len(key) >= len(f.prefix) && string(key[:len(f.prefix)]) == f.prefix {
			return f.kind
		}
	}
	return ""
}

func errorBody(code int) (string, string) {
	switch code {
	case 401:
		return "Unauthorized", `{"error":{"message":"Incorrect API key provided.","type":"invalid_request_error","code":"invalid_api_key"}}`
	case 402:
		return "Payment Required", `{"error":{"message":"Insufficient credits.","type":"insufficient_quota","code":402}}`
	case 403:
		return "Forbidden", `{"error":{"message":"Key disabled.","type":"permission_error","code":403}}`
	case 429:
		return "Too Many Requests", `{"error":{"message":"Rate limit reached.","type":"rate_limit_error","code":"rate_limit_exceeded"}}`
	case 503:
		return "Service Unavailable", `{"error":{"message":"Overloaded.","type":"server_error","code":503}}`
	}
	return "Internal Server Error", `{"error":{"message":"The server had an error.","type":"server_error","code":null}}`
}

func bearer(auth []byte) []byte {
	if len(auth) > 7 && h1.EqualFold(auth[:7], "bearer ") {
		return auth[7:]
	}
	return auth
}

// wantsStream looks at the "stream" member without parsing the JSON.
func wantsStream(body []byte, def bool) bool {
	i := bytes.LastIndex(body, []byte(`"stream":`))
	if i < 0 {
		return def
	}
	v := bytes.TrimLeft(body[i+9:], " ")
	return bytes.HasPrefix(v, []byte("true"))
}

var errReset = errors.New("reset")

func serve(c net.Conn) {
	open.Add(1)
	accepted.Add(1)
	defer open.Add(-1)
	defer c.Close()
	r := h1.NewReader(c, 4<<10)
	var h h1.Head
	var body []byte
	out := make([]byte, 0, 1<<10)
	collect := func(p []byte) error { body = append(body, p...); return nil }
	for {
		if err := r.ReadHead(&h, false); err != nil {
			return
		}
		if h.Expect {
			if _, err := c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")); err != nil {
				return
			}
		}
		body = body[:0]
		if _, err := r.Body(&h, false, collect); err != nil {
			return
		}
		if cap(body) > 1<<20 {
			body = nil
		}
		path, query, _ := bytes.Cut(h.Target, []byte("?"))
		if bytes.HasPrefix(path, []byte("/_mock/")) {
			out = control(out[:0], string(path), string(query))
			if _, err := c.Write(out); err != nil {
				return
			}
			continue
		}
		s := cur.Load()
		total.Add(1)
		key := bearer(h.Auth)
		keys.add(key)
		kind := faultOf(key)
		switch kind {
		case "":
		case "hang":
			// Answer nothing; leave when the peer does, or after ten minutes.
			c.SetReadDeadline(time.Now().Add(10 * time.Minute))
			var one [1]byte
			c.Read(one[:])
			aborted.Add(1)
			return
		case "reset":
		default:
			code, _ := strconv.Atoi(kind)
			text, b := errorBody(code)
			out = appendPlain(out[:0], code, text, "application/json", b)
			if _, err := c.Write(out); err != nil {
				return
			}
			continue
		}
		out = out[:0]
		isStream := false
		sse := true
		switch {
		case bytes.HasSuffix(path, []byte("/chat/completions")):
			if isStream = wantsStream(body, false); !isStream {
				out = append(out, completionResp...)
			}
		case bytes.HasSuffix(path, []byte("/api/chat")):
			sse = false
			if isStream = wantsStream(body, true); !isStream {
				out = appendPlain(out, 200, "OK", "application/json", ollamaChat)
			}
		case bytes.HasSuffix(path, []byte("/models")):
			out = appendPlain(out, 200, "OK", "application/json", models)
		case bytes.HasSuffix(path, []byte("/api/tags")):
			out = appendPlain(out, 200, "OK", "application/json", tags)
		case bytes.HasSuffix(path, []byte("/api/version")):
			out = appendPlain(out, 200, "OK", "application/json", `{"version":"0.9.0"}`)
		case len(path) <= 1 || bytes.HasSuffix(path, []byte("/health")):
			out = appendPlain(out, 200, "OK", "text/plain", "Ollama is running")
		default:
			out = appendPlain(out, 404, "Not Found", "application/json", `{"error":{"message":"not found"}}`)
		}
		if s.Latency > 0 {
			time.Sleep(s.Latency)
		}
		if isStream {
			var err error
			if out, err = stream(c, s, out, sse, kind == "reset"); err != nil {
				aborted.Add(1)
				return
			}
		} else {
			if kind == "reset" {
				reset(c)
				return
			}
			if _, err := c.Write(out); err != nil {
				aborted.Add(1)
				return
			}
		}
		if h.Close {
			return
		}
	}
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
}

func stream(c net.Conn, s *settings, out []byte, sse, resetHalfway bool) ([]byte, error) {
	streams.Add(1)
	head := sseHead
	if !sse {
		head = ndjsonHead
	}
	if _, err := c.Write(append(out[:0], head...)); err != nil {
		return out, err
	}
	size := eventLen(s, sse)
	next := time.Now()
	burst := max(1, s.Burst)
	if s.Interval > 0 {
		burst = 1
	}
	for i := 0; i < s.Chunks; {
		if s.Interval > 0 {
			next = next.Add(s.Interval)
			time.Sleep(time.Until(next))
		}
		if resetHalfway && i >= s.Chunks/2 {
			reset(c)
			return out, errReset
		}
		out = out[:0]
		now := time.Now().UnixNano()
		for k := 0; k < burst && i < s.Chunks; k++ {
			out = strconv.AppendInt(out, int64(size), 16)
			out = append(out, "\r\n"...)
			out = appendEvent(out, s, sse, i, now)
			out = append(out, "\r\n"...)
			i++
		}
		if _, err := c.Write(out); err != nil {
			return out, err
		}
	}
	chunksOut.Add(int64(s.Chunks))
	if sse {
		out = appendFramed(out[:0], sseUsage)
		out = appendFramed(out, sseDone)
	} else {
		out = appendFramed(out[:0], ndDone)
	}
	out = append(out, "0\r\n\r\n"...)
	_, err := c.Write(out)
	return out, err
}

func control(out []byte, path, query string) []byte {
	q, err := url.ParseQuery(query)
	if err != nil {
		return appendPlain(out, 400, "Bad Request", "text/plain", err.Error())
	}
	switch path {
	case "/_mock/set":
		s := *cur.Load()
		for k, v := range q {
			if err := s.set(k, v[0]); err != nil {
				return appendPlain(out, 400, "Bad Request", "text/plain", err.Error())
			}
		}
		cur.Store(&s)
		return appendPlain(out, 200, "OK", "text/plain", "ok\n")
	case "/_mock/stats":
		return appendPlain(out, 200, "OK", "application/json", stats(q.Get("keys") != "", q.Get("reset") != ""))
	}
	return appendPlain(out, 404, "Not Found", "text/plain", "unknown control\n")
}

func stats(withKeys, reset bool) string {
	m := keys.dump(reset)
	counts := make([]int64, 0, len(m))
	var sum int64
	for _, n := range m {
		counts = append(counts, n)
		sum += n
	}
	slices.Sort(counts)
	st := map[string]any{
		"requests": total.Load(), "streams": streams.Load(), "events": chunksOut.Load(), "aborted": aborted.Load(),
		"connections_open": open.Load(), "connections_accepted": accepted.Load(), "keys": len(m),
	}
	if len(counts) > 0 {
		st["per_key_min"], st["per_key_median"], st["per_key_max"] = counts[0], counts[len(counts)/2], counts[len(counts)-1]
		st["per_key_mean"] = float64(sum) / float64(len(counts))
	}
	if withKeys {
		st["per_key"] = m
	}
	if reset {
		total.Store(0)
		streams.Store(0)
		chunksOut.Store(0)
		aborted.Store(0)
		accepted.Store(0)
	}
	b, _ := json.Marshal(st)
	return string(b)
}

func (s *settings) set(k, v string) (err error) {
	num := func(p *int) {
		var n int
		if n, err = strconv.Atoi(v); err == nil && (n < 0 || n > 1_000_000) {
			err = fmt.Errorf("%s: out of range", k)
		}
		if err == nil {
			*p = n
		}
	}
	dur := func(p *time.Duration) {
		if v == "0" {
			*p = 0
			return
		}
		var d time.Duration
		if d, err = time.ParseDuration(v); err == nil {
			*p = d
		}
	}
	switch k {
	case "chunks":
		num(&s.Chunks)
	case "interval":
		dur(&s.Interval)
	case "latency":
		dur(&s.Latency)
	case "pad":
		if num(&s.Pad); err == nil {
			s.padding = strings.Repeat("x", s.Pad)
		}
	case "burst":
		num(&s.Burst)
	default:
		err = fmt.Errorf("unknown setting %q", k)
	}
	return err
}

var completionResp = appendPlain(nil, 200, "OK", "application/json", completion)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mockupstream: ")
	var s settings
	listen := flag.String("listen", "127.0.0.1:9101", "comma-separated plain HTTP/1.1 listen addresses")
	tlsListen := flag.String("tls", "", "TLS listen address (HTTP/1.1 and HTTP/2, self-signed)")
	flag.IntVar(&s.Chunks, "chunks", 100, "events per stream")
	flag.DurationVar(&s.Interval, "interval", 0, "pause before each event")
	flag.DurationVar(&s.Latency, "latency", 0, "pause before each answer")
	flag.IntVar(&s.Pad, "pad", 0, "extra bytes in each event")
	flag.IntVar(&s.Burst, "burst", 1, "events per write when interval is 0")
	fl := flag.String("fault", "sk-401-=401,sk-402-=402,sk-403-=403,sk-429-=429,sk-500-=500,sk-503-=503,sk-hang-=hang,sk-reset-=reset", "faults by key prefix, prefix=kind,...; kind is a status, hang or reset")
	flag.Parse()
	s.padding = strings.Repeat("x", s.Pad)
	cur.Store(&s)
	for _, f := range strings.Split(*fl, ",") {
		if p, k, ok := strings.Cut(f, "="); ok {
			faults = append(faults, fault{p, k})
		}
	}
	for _, a := range strings.Split(*listen, ",") {
		ln, err := net.Listen("tcp", strings.TrimSpace(a))
		if err != nil {
			log.Fatal(err)
		}
		log.Printf("listening on %s", ln.Addr())
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					log.Fatal(err)
				}
				go serve(c)
			}
		}()
	}
	if *tlsListen != "" {
		go func() { log.Fatal(serveTLS(*tlsListen)) }()
	}
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, os.Interrupt, syscall.SIGTERM)
	<-sig
	log.Print(stats(false, false))
}
