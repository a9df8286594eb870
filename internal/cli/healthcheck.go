package cli

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"ollama-api-pool/internal/app"
	"ollama-api-pool/internal/config"
)

func (p *program) healthcheckCommand() *cobra.Command {
	var server string
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Say by the exit code whether the instance of this machine serves",
		Long: `Healthcheck asks /health/ready of the instance on this machine, at the address of
LISTEN_ADDR, and waits two seconds for the answer. The exit code is 0 if it takes
requests, else 1. It is meant for containers and supervisors: it needs no shell, no
token and no other program.`,
		Example: `  ollama-api-pool healthcheck
  LISTEN_ADDR=:9000 ollama-api-pool healthcheck
  ollama-api-pool healthcheck --url http://127.0.0.1:9000`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.healthcheck(cmd.Context(), server, cmd.Flags().Changed("url"))
		},
	}
	cmd.Flags().StringVar(&server, "url", "", "ask the instance at this `address` (default: that of LISTEN_ADDR on this machine)")
	return cmd
}

func (p *program) healthcheck(ctx context.Context, server string, given bool) error {
	var err error
	if given {
		server, err = serverAddress("--url", server)
	} else {
		server, err = p.here()
	}
	if err != nil {
		return err
	}
	r := newRemote(server, "", nil)
	err = errors.Join(r.ready(ctx), r.Close(ctx))
	if err != nil {
		return err
	}
	return p.say("ready\n")
}

// here is the address at which this machine reaches its instance.
func (p *program) here() (string, error) {
	cfg, err := p.settings()
	if err != nil {
		return "", err
	}
	addr, err := listening(cfg)
	return "http://" + addr, err
}

// listening is where the instance listens, as this machine reaches it: by the
// settings, or where they leave the port open as it has told.
func listening(cfg *config.Config) (string, error) {
	if _, port, err := net.SplitHostPort(cfg.ListenAddr); err != nil || port != "0" {
		return app.Reachable(cfg.ListenAddr), err
	}
	i, err := app.ReadInstance(cfg.DataDir)
	return i.Addr, err
}

// serverAddress reads the address of an instance that a flag names, without a
// slash at its end.
func serverAddress(flag, s string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", usageError{errors.New(flag + " must be an address such as https://pool.example.com, without a user name or a query")}
	}
	return strings.TrimRight(u.String(), "/"), nil
}
