//go:build unix

package testkit

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// ReservePort finds a free port of 127.0.0.1 and keeps it with a socket that is
// bound but does not listen. Connections to it are refused, another socket with
// SO_REUSEADDR, which Go sets, may listen on it, and no process is given the
// port by chance while nothing does. It gives the address, and what frees it.
func ReservePort() (io.Closer, string, error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, "", fmt.Errorf("open a socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "reserved port")
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		_ = file.Close()
		return nil, "", fmt.Errorf("set SO_REUSEADDR: %w", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		_ = file.Close()
		return nil, "", fmt.Errorf("bind a port: %w", err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		_ = file.Close()
		return nil, "", fmt.Errorf("read the port: %w", err)
	}
	in4, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		_ = file.Close()
		return nil, "", fmt.Errorf("read the port: got %T", name)
	}
	return file, fmt.Sprintf("127.0.0.1:%d", in4.Port), nil
}
