package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ollama-api-pool/bench/internal/program"
	"ollama-api-pool/internal/testkit/servers"
)

// The mock upstream listens here, as in the other measurements.
const mock = "127.0.0.1:9101"

// few is how many keys a program has under load.
const few = 100

// target is one of those that are driven in turn.
type target struct {
	Name    string            `json:"name"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	PID     int               `json:"pid"`
}

// requests measures what a request costs the program on either kind of storage,
// without and with limits that are counted but never reached.
func requests(ctx context.Context, o *options, dir string, w io.Writer) (err error) {
	var targets []target
	var running []*program.Program
	defer func() {
		for _, p := range running {
			err = errors.Join(err, p.Stop())
		}
	}()
	redis, err := servers.StartRedis("", servers.RedisOptions{})
	if err != nil {
		return err
	}
	limits := []string{"ENABLE_RATE_LIMIT=true", "RATE_LIMIT_REQUESTS=1000000", "RATE_LIMIT_WINDOW=60"}
	for _, c := range []struct {
		name     string
		shared   bool
		settings []string
	}{
		{"embedded", false, nil},
		{"shared", true, nil},
		{"embedded-limits", false, limits},
		{"shared-limits", true, limits},
	} {
		data := filepath.Join(dir, c.name)
		if err := os.Mkdir(data, 0o700); err != nil {
			return err
		}
		settings := program.Settings(data, "http://"+mock, c.settings...)
		if c.shared {
			p, err := servers.StartPostgres("", durable())
			if err != nil {
				return err
			}
			settings = append(settings, "DATABASE_URL="+p.URL("postgres"), "REDIS_URL="+redis.URL())
		}
		p, err := program.Start(ctx, o.program, settings)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		running = append(running, p)
		token, err := prepare(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		targets = append(targets, target{c.name, p.URL + "/v1/chat/completions", map[string]string{"Authorization": "Bearer " + token}, p.PID()})
	}
	return drive(ctx, o, dir, targets, w)
}

// prepare gives a program keys and a token.
func prepare(ctx context.Context, p *program.Program) (token string, err error) {
	var keys strings.Builder
	for n := range few {
		fmt.Fprintf(&keys, "sk-bench-%08d\n", n)
	}
	if _, err := p.Must(ctx, http.MethodPost, "/admin/api-keys/import-from-txt", "text/plain", keys.String(), nil); err != nil {
		return "", err
	}
	var made struct{ Token string }
	_, err = p.Must(ctx, http.MethodPost, "/admin/tokens", "application/json", `{"name":"bench"}`, &made)
	return made.Token, err
}

// drive lets the load driver measure them in turn.
func drive(ctx context.Context, o *options, dir string, targets []target, w io.Writer) error {
	config, err := json.Marshal(map[string]any{
		"mock":    map[string]any{"url": "http://" + mock, "cmd": []string{filepath.Join(o.bin, "mockupstream"), "-listen", mock}},
		"targets": append([]target{{Name: "direct", URL: "http://" + mock + "/v1/chat/completions", Headers: map[string]string{"Authorization": "Bearer sk-bench-00000000"}}}, targets...),
	})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "targets.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(o.bin, "run"), "-config", file, "-scenarios", "S1,S5",
		"-rounds", fmt.Sprint(o.rounds), "-d", o.time.String(), "-baseline", "embedded")
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	_, _ = fmt.Fprintf(w, "\nWhat a request costs the program: \"shared\" is PostgreSQL and Redis, \"limits\" a limit per client address that is never reached.\n")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("drive the load: %w", err)
	}
	return nil
}
