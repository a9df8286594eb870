//go:build !linux

package servers

import (
	"errors"
	"syscall"
)

// Elsewhere there is no sure way to end the servers with the tests.
var errLinux = errors.New("throwaway servers are started on Linux only")

func attributes(bool) (*syscall.SysProcAttr, error) { return nil, errLinux }
func apart() *syscall.SysProcAttr                   { return nil }
func give(string) error                             { return errLinux }
func family(pid int) []int                          { return []int{pid} }
func freeze(pid int) []int                          { return []int{pid} }
func resume([]int)                                  {}
func signalAll([]int, syscall.Signal)               {}
func anyAlive([]int) bool                           { return false }
