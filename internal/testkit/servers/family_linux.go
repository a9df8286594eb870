package servers

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// attributes start a process in a group of its own and never as root; a bound
// one ends with the thread that started it.
func attributes(bound bool) (*syscall.SysProcAttr, error) {
	a := &syscall.SysProcAttr{Setpgid: true}
	if bound {
		a.Pdeathsig = syscall.SIGKILL
	}
	if os.Geteuid() != 0 {
		return a, nil
	}
	uid, gid, err := unprivileged()
	if err != nil {
		return nil, err
	}
	a.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	return a, nil
}

// apart starts a process in a session of its own, which no terminal ends.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// unprivileged is the user as whom servers run where the tests run as root.
func unprivileged() (uid, gid uint32, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		var u *user.User
		if u, err = user.Lookup(name); err != nil {
			continue
		}
		id, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return 0, 0, fmt.Errorf("user %s: %w", name, err)
		}
		group, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return 0, 0, fmt.Errorf("user %s: %w", name, err)
		}
		return uint32(id), uint32(group), nil
	}
	return 0, 0, fmt.Errorf("find a user that is not root: %w", err)
}

// give hands a file to the user as whom servers run.
func give(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := unprivileged()
	if err != nil {
		return err
	}
	return os.Chown(path, int(uid), int(gid))
}

// family lists a process and all that come from it, it first.
func family(pid int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []int{pid}
	}
	for _, e := range entries {
		if child, err := strconv.Atoi(e.Name()); err == nil {
			if _, parent, ok := stat(child); ok {
				children[parent] = append(children[parent], child)
			}
		}
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// stat reads the state and the parent of a process; see proc(5).
func stat(pid int) (state byte, parent int, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	// The name stands in brackets and may hold anything.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0][0], parent, err == nil
}

// freeze stops a process and all that come from it, it first so that no more
// come, and lists them.
func freeze(pid int) []int {
	var done []int
	for {
		all := family(pid)
		fresh := slices.DeleteFunc(slices.Clone(all), func(p int) bool { return slices.Contains(done, p) })
		if len(fresh) == 0 {
			return done
		}
		signalAll(fresh, syscall.SIGSTOP)
		done = append(done, fresh...)
	}
}

// resume lets frozen processes go on.
func resume(pids []int) { signalAll(pids, syscall.SIGCONT) }

// signalAll sends a signal to processes; some may be gone.
func signalAll(pids []int, s syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, s)
	}
}

// anyAlive tells whether a process of these is still there and no zombie.
func anyAlive(pids []int) bool {
	return slices.ContainsFunc(pids, func(pid int) bool {
		state, _, ok := stat(pid)
		return ok && state != 'Z' && state != 'X'
	})
}
