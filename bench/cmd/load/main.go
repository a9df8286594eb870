// Command load drives one target and prints what it saw.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"ollama-api-pool/bench/internal/loadgen"
)

type headers map[string]string

func (h headers) String() string { return fmt.Sprint(map[string]string(h)) }

func (h headers) Set(s string) error {
	k, v, ok := strings.Cut(s, ":")
	if !ok {
		return fmt.Errorf("want Name: value")
	}
	h[strings.TrimSpace(k)] = strings.TrimSpace(v)
	return nil
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("load: ")
	h := headers{"Content-Type": "application/json"}
	cfg := loadgen.Config{Headers: h}
	flag.StringVar(&cfg.URL, "url", "http://127.0.0.1:9101/v1/chat/completions", "target")
	flag.StringVar(&cfg.Method, "method", "POST", "method")
	flag.Var(h, "H", "header, Name: value (repeat)")
	flag.IntVar(&cfg.Conns, "c", 64, "connections or concurrent streams")
	flag.Float64Var(&cfg.Rate, "rate", 0, "requests a second in all (0: closed loop)")
	flag.DurationVar(&cfg.Warm, "warm", time.Second, "time before measuring")
	flag.DurationVar(&cfg.Duration, "d", 5*time.Second, "time to measure")
	flag.IntVar(&cfg.Requests, "n", 0, "requests on each connection (0: by time)")
	flag.DurationVar(&cfg.Ramp, "ramp", 0, "spread the connections' starts over this time")
	flag.BoolVar(&cfg.Stream, "stream", false, "expect an event stream")
	flag.IntVar(&cfg.Events, "events", 100, "marked events in each stream")
	size := flag.Int("size", 300, "request body size")
	model := flag.String("model", "bench", "model name")
	body := flag.String("body", "", "request body, or @file (overrides -size and -model)")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	if d := cfg.Duration; d > 10*time.Minute || cfg.Conns > 20000 {
		log.Fatal("at most ten minutes and 20000 connections")
	}
	cfg.Body = loadgen.ChatBody(*model, *size, cfg.Stream)
	if strings.HasPrefix(*body, "@") {
		b, err := os.ReadFile((*body)[1:])
		if err != nil {
			log.Fatal(err)
		}
		cfg.Body = b
	} else if *body != "" {
		cfg.Body = []byte(*body)
	}
	r, err := loadgen.Run(cfg)
	if err != nil {
		log.Fatal(err)
	}
	if *asJSON {
		json.NewEncoder(os.Stdout).Encode(r)
	} else {
		fmt.Printf("%.2f s, %d requests, %.0f/s, %.1f MB, %d errors %v, status %v, %d dials\n", r.Seconds, r.Requests, r.PerSecond, float64(r.Bytes)/1e6, r.Errors, r.ErrorKinds, r.Status, r.Reconnects)
		line("latency", r.Latency)
		if cfg.Rate > 0 {
			line("from due time", r.Scheduled)
		}
		if cfg.Stream {
			fmt.Printf("%d events, %.0f/s, %d streams incomplete, %d events out of order\n", r.Events, r.EventRate, r.Incomplete, r.Disordered)
			line("first event", r.FirstEvent)
			line("event delay", r.Delay)
			line("gap change", r.Gap)
		}
	}
	if r.Errors > 0 || r.Incomplete > 0 || r.Disordered > 0 {
		os.Exit(1)
	}
}

func line(name string, q loadgen.Quantiles) {
	us := func(n int64) float64 { return float64(n) / 1e3 }
	fmt.Printf("%-14s p50 %9.1f  p90 %9.1f  p99 %9.1f  p99.9 %9.1f  max %9.1f us\n", name, us(q.P50), us(q.P90), us(q.P99), us(q.P999), us(q.Max))
}
