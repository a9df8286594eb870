package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/gateway"
	"ollama-api-pool/internal/simulator"
)

const (
	demoAddr = "127.0.0.1:8787"
	demoPace = 40 * time.Millisecond // between streamed words, as a person reads
)

func (p *program) demoCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Serve with a simulated upstream and sample keys, to watch failover",
		Long: `Demo runs the same server against a simulated upstream on this machine, with
a pool of sample keys of which some are revoked, out of credit or over quota.
It needs no account and no internet, keeps its data in a temporary directory
and removes that at the end. Of the settings in the environment it follows
LISTEN_ADDR alone, unless --listen says otherwise.`,
		Example: `  ollama-api-pool demo
  ollama-api-pool demo --listen 127.0.0.1:9000`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.demo(cmd.Context(), cmp.Or(listen, p.variable("LISTEN_ADDR")))
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "listen on this `address` (default LISTEN_ADDR, else "+demoAddr+", or any free port if that is taken)")
	return cmd
}

func (p *program) demo(ctx context.Context, listen string) (err error) {
	dir, err := os.MkdirTemp("", "ollama-api-pool-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	upstream, stop, err := startSimulator(ctx)
	if err != nil {
		return err
	}
	defer stop()
	a, err := p.startDemo(ctx, listen, dir, upstream)
	if err != nil {
		return err
	}
	token, err := fillDemo(ctx, a.Roster())
	if err != nil {
		return errors.Join(err, a.Stop(ctx))
	}
	p.greetDemo(a, dir, token)
	return p.serveUntilDone(ctx, a)
}

// startSimulator runs the simulated upstream on a free loopback port.
func startSimulator(ctx context.Context) (url string, stop func(), err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("start the simulated upstream: %w", err)
	}
	srv := &http.Server{Handler: simulator.New(simulator.Options{Keys: simulator.SampleFates(), Pace: demoPace}), ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }() // ends with stop
	return "http://" + l.Addr().String(), func() { _ = srv.Close() }, nil
}

// startDemo starts the app with settings of its own: those of the environment
// belong to the real one, but for where to listen, "" where nobody said.
func (p *program) startDemo(ctx context.Context, listen, dir, upstream string) (*app.App, error) {
	addr := listen
	if addr == "" {
		addr = demoAddr
	}
	start := func(addr string) (*app.App, error) {
		cfg, report, err := config.Load([]string{
			"LISTEN_ADDR=" + addr,
			"DATA_DIR=" + dir,
			"OLLAMA_BASE_URL=" + upstream,
			"OPENROUTER_BASE_URL=" + upstream + simulator.OpenRouterPath,
			"LOG_LEVEL=error",
		}, "")
		if err != nil {
			return nil, err
		}
		return app.Start(ctx, cfg, app.Deps{Log: p.logger(cfg), Version: Version(), Settings: report})
	}
	a, err := start(addr)
	if err != nil && listen == "" {
		return start("127.0.0.1:0")
	}
	return a, err
}

// fillDemo fills the pool and makes a client token.
func fillDemo(ctx context.Context, r *app.Roster) (gateway.Secret, error) {
	for _, name := range gateway.Providers() {
		if _, _, err := r.AddKeys(ctx, name, sampleKeys(name)); err != nil {
			return "", err
		}
	}
	_, secret, err := r.CreateToken(ctx, "demo", gateway.Providers(), 0)
	return secret, err
}

func sampleKeys(name gateway.ProviderName) iter.Seq2[gateway.Key, error] {
	return func(yield func(gateway.Key, error) bool) {
		for _, s := range simulator.SampleKeys(name) {
			if !yield(gateway.Key{Secret: s.Secret, Username: s.Username, CreatedAt: time.Now().UTC()}, nil) {
				return
			}
		}
	}
}

func (p *program) greetDemo(a *app.App, dir string, token gateway.Secret) {
	var parts []string
	seen := map[simulator.Fate]int{}
	for _, s := range simulator.SampleKeys(gateway.Ollama) {
		if seen[s.Fate]++; seen[s.Fate] == 1 {
			parts = append(parts, string(s.Fate))
		}
	}
	for i, f := range parts {
		parts[i] = fmt.Sprintf("%d %s", seen[simulator.Fate(f)], f)
	}
	url, tok := a.URL(), token.Reveal()
	var b strings.Builder
	fmt.Fprintf(&b, "ollama-api-pool %s, demo: a simulated upstream, nothing leaves this machine\n\n", Version())
	fmt.Fprintf(&b, "  listening on  %s\n  sample keys   %s\n", url, strings.Join(parts, ", "))
	fmt.Fprintf(&b, "  client token  %s\n  admin token   in %s\n", tok, app.AdminTokenPath(dir))
	fmt.Fprintf(&b, `
Try it in another terminal. Each call gets the next key; those that are
refused are passed over and marked, and you get your answer all the same.

  # a chat
  curl %[1]s/v1/chat/completions -H 'Authorization: Bearer %[2]s' \
    -H 'Content-Type: application/json' \
    -d '{"model":"gpt-oss:20b","messages":[{"role":"user","content":"Hello"}]}'

  # the same, streamed word by word
  curl -N %[1]s/v1/chat/completions -H 'Authorization: Bearer %[2]s' \
    -H 'Content-Type: application/json' \
    -d '{"model":"gpt-oss:20b","stream":true,"messages":[{"role":"user","content":"Hello"}]}'

  # the models
  curl %[1]s/v1/models

  # what has become of the keys
  curl %[1]s/admin/api-keys -H "Authorization: Bearer $(cat %[3]s)"

Ctrl-C stops and removes all of it.
`, url, tok, app.AdminTokenPath(dir))
	_, _ = fmt.Fprint(p.Out, b.String())
}
