// Command ollama-api-pool is one address for many upstream accounts. Run it
// without arguments to serve, or with help to see what else it does.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"ollama-api-pool/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := cli.Run(cli.WithStop(ctx, stop), os.Args, os.Environ(), cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	if err != nil {
		fmt.Fprintf(os.Stderr, "ollama-api-pool: %v\n", err)
		os.Exit(cli.ExitCode(err))
	}
}
