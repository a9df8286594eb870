package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
	"ollama-api-pool/internal/controlplane/check"
	"ollama-api-pool/internal/simulator"
)

const (
	demoAddr   = "127.0.0.1:8787"
	demoPace   = 40 * time.Millisecond // between streamed words, as a person reads
	demoWindow = 3 * time.Minute       // of quotas: short enough to see keys come back
	demoSlow   = 45                    // one answer in so many is slow
)

// demoOptions are what may be said about a demo.
type demoOptions struct {
	listen  string
	keys    int
	past    bool
	traffic bool
}

func (p *program) demoCommand() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Serve with a simulated upstream, sample keys and clients, to look around",
		Long: `Demo runs the same server against a simulated upstream on this machine, with
a pool of sample keys of which some are revoked, out of credit or over quota,
a month of made-up history, and simulated clients that keep asking. It needs no
account and no internet, keeps its data in a temporary directory and removes that
at the end. Of the settings in the environment it follows LISTEN_ADDR alone,
unless --listen says otherwise.`,
		Example: `  ollama-api-pool demo
  ollama-api-pool demo --listen 127.0.0.1:9000
  ollama-api-pool demo --traffic=false`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.keys < simulator.MinSceneKeys || o.keys > simulator.MaxSceneKeys {
				return usageError{fmt.Errorf("--keys must be %d to %d, not %d", simulator.MinSceneKeys, simulator.MaxSceneKeys, o.keys)}
			}
			o.listen = cmp.Or(o.listen, p.variable("LISTEN_ADDR"))
			return p.demo(cmd.Context(), &o)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.listen, "listen", "", "listen on this `address` (default LISTEN_ADDR, else "+demoAddr+", or any free port if that is taken)")
	flags.IntVar(&o.keys, "keys", simulator.SceneKeys, "so many `keys` for Ollama, and some more for OpenRouter")
	flags.BoolVar(&o.past, "past", true, "begin with a month of history")
	flags.BoolVar(&o.traffic, "traffic", true, "simulated clients that keep asking; --traffic=false: nobody asks but you")
	return cmd
}

func (p *program) demo(ctx context.Context, o *demoOptions) (err error) {
	dir, err := os.MkdirTemp("", "ollama-api-pool-demo-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	scene := simulator.NewScene(time.Now(), o.keys, Version(), check.Family)
	upstream, stop, err := startSimulator(ctx, scene)
	if err != nil {
		return err
	}
	defer stop()
	a, err := p.startDemo(ctx, o.listen, dir, upstream)
	if err != nil {
		return err
	}
	if err := fillDemo(ctx, a.Roster(), scene, o.past); err != nil {
		return errors.Join(err, a.Stop(ctx))
	}
	admin, err := app.AdminToken(dir)
	if err != nil {
		return errors.Join(err, a.Stop(ctx))
	}
	p.greetDemo(a, o, dir, admin, scene.Clients()[0].Secret)
	if o.traffic {
		defer beginTraffic(ctx, a.URL(), scene)()
	}
	return p.serveUntilDone(ctx, a)
}

// beginTraffic lets the clients ask until ctx ends, and returns what ends them and
// waits for that.
func beginTraffic(ctx context.Context, url string, scene *simulator.Scene) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	t := simulator.Traffic{URL: url, Version: Version(), Clients: scene.Clients()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// startSimulator runs the simulated upstream on a free loopback port.
func startSimulator(ctx context.Context, scene *simulator.Scene) (url string, stop func(), err error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, fmt.Errorf("start the simulated upstream: %w", err)
	}
	upstream := simulator.New(simulator.Options{
		Keys: scene.Fates(), Accounts: scene.Accounts(), Pace: demoPace, SlowEvery: demoSlow, Window: demoWindow,
	})
	srv := &http.Server{Handler: upstream, ReadHeaderTimeout: time.Minute}
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
			"REQUEST_LOG=all",
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
