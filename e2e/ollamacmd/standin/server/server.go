// Package server stands in for the server that the ollama command can run.
package server

import (
	"errors"
	"net"
)

// Serve is what the command's own "serve" calls.
func Serve(net.Listener) error { return errors.New("this build has no server") }
