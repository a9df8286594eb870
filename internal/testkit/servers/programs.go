package servers

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
)

// findProgram finds the program of a server in the path or where Debian's
// packages put it, the newest version first.
func findProgram(name, debian string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	for _, place := range []string{"/usr/lib/postgresql/*/bin/", "/usr/sbin/", "/usr/local/sbin/", "/usr/local/bin/"} {
		found, err := filepath.Glob(place + name)
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return slices.MaxFunc(found, byVersion), nil
		}
	}
	return "", fmt.Errorf("%s is not installed (Debian package: %s)", name, debian)
}

// byVersion compares paths such as /usr/lib/postgresql/15/bin/postgres.
func byVersion(a, b string) int {
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path)))) // 0 for what has none
		return n
	}
	return version(a) - version(b)
}

// portOf is the port of a host:port.
func portOf(addr string) (int, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}
