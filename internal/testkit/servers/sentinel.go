package servers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
)

// MasterName is what sentinels call what they watch.
const MasterName = "pool"

// Sentinel is a Redis with a replica, and sentinels that put the replica in its
// place when it is gone.
type Sentinel struct {
	Nodes     []*Redis // the first one is the master at the start
	Sentinels []*Redis
}

const sentinelSettings = `sentinel monitor pool 127.0.0.1 %d 2
sentinel down-after-milliseconds pool 1000
sentinel failover-timeout pool 3000
%s`

// StartSentinel starts a Redis, a replica and three sentinels, their files
// below dir as with StartPostgres. The password is the servers' own; sentinels
// need none.
func StartSentinel(dir string, o RedisOptions) (*Sentinel, error) {
	if o.TLS || o.User != "" {
		return nil, errors.New("start sentinel: with a password at most")
	}
	master, err := StartRedis(dir, o)
	if err != nil {
		return nil, err
	}
	replicaOptions := o
	replicaOptions.Settings = append([]string{"replicaof", fmt.Sprintf("127.0.0.1 %d", master.Port())}, o.Settings...)
	replica, err := StartRedis(dir, replicaOptions)
	if err != nil {
		return nil, err
	}
	s := &Sentinel{Nodes: []*Redis{master, replica}}
	for range 3 {
		one, err := startOneSentinel(dir, master.Port(), o.Password)
		if err != nil {
			return nil, err
		}
		s.Sentinels = append(s.Sentinels, one)
	}
	for _, one := range s.Sentinels {
		if err := one.await(one.watches); err != nil {
			return nil, fmt.Errorf("start sentinel: %w", err)
		}
	}
	return s, nil
}

func startOneSentinel(dir string, master int, password string) (*Redis, error) {
	path, err := findProgram("redis-server", "redis-server")
	if err != nil {
		return nil, err
	}
	port, err := home.port()
	if err != nil {
		return nil, fmt.Errorf("start sentinel: %w", err)
	}
	if dir, err = home.directory(dir, "sentinel"); err != nil {
		return nil, fmt.Errorf("start sentinel: %w", err)
	}
	auth := ""
	if password != "" {
		auth = "sentinel auth-pass pool " + password + "\n"
	}
	file := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\n", port, dir) + fmt.Sprintf(sentinelSettings, master, auth)
	if err := write(file, text); err != nil {
		return nil, fmt.Errorf("start sentinel: %w", err)
	}
	r := &Redis{}
	r.Server = &Server{
		name: "sentinel", dir: dir, path: path, args: []string{file, "--sentinel"}, port: port,
		orderly: syscall.SIGTERM, hurry: syscall.SIGKILL,
		answers: func(ctx context.Context) error {
			_, err := r.Do(ctx, "PING")
			return err
		},
	}
	return r, r.Start()
}

// watches is nil when a sentinel knows the others and a replica.
func (r *Redis) watches(ctx context.Context) error {
	info, err := r.Do(ctx, "INFO", "sentinel")
	if err == nil && (!strings.Contains(info, "slaves=1") || !strings.Contains(info, "sentinels=3")) {
		err = errors.New(info)
	}
	return err
}

// Addresses are those of the sentinels, host:port.
func (s *Sentinel) Addresses() []string {
	var all []string
	for _, one := range s.Sentinels {
		all = append(all, one.Addr())
	}
	return all
}

// Master is the address of what the sentinels hold for the master now.
func (s *Sentinel) Master(ctx context.Context) (string, error) {
	answer, err := s.Sentinels[0].Do(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterName)
	return strings.ReplaceAll(answer, "\n", ":"), err
}
