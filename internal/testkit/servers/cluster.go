package servers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Cluster is a Redis Cluster of three nodes that share the slots.
type Cluster struct {
	Nodes []*Redis
}

// StartCluster starts a Redis Cluster, its files below dir as with
// StartPostgres.
func StartCluster(dir string, o RedisOptions) (*Cluster, error) {
	const nodes, slots = 3, 16384
	c := &Cluster{}
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	var bus []int
	for i := range nodes {
		port, err := home.port()
		if err != nil {
			return nil, fmt.Errorf("start a cluster: %w", err)
		}
		busPort, err := home.port()
		if err != nil {
			return nil, fmt.Errorf("start a cluster: %w", err)
		}
		node := o
		node.Settings = append([]string{"cluster-enabled", "yes", "cluster-port", strconv.Itoa(busPort), "cluster-node-timeout", "2000"}, o.Settings...)
		r, err := startRedis(dir, "redis", port, node)
		if err != nil {
			return nil, err
		}
		c.Nodes, bus = append(c.Nodes, r), append(bus, busPort)
		if _, err := r.Do(ctx, "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/nodes), strconv.Itoa((i+1)*slots/nodes-1)); err != nil {
			return nil, fmt.Errorf("start a cluster: %w", err)
		}
	}
	for i, r := range c.Nodes[1:] {
		if _, err := c.Nodes[0].Do(ctx, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(r.Port()), strconv.Itoa(bus[i+1])); err != nil {
			return nil, fmt.Errorf("start a cluster: %w", err)
		}
	}
	for _, r := range c.Nodes {
		if err := r.await(r.clustered); err != nil {
			return nil, fmt.Errorf("start a cluster: %w", err)
		}
	}
	return c, nil
}

// clustered is nil when a node knows the whole cluster.
func (r *Redis) clustered(ctx context.Context) error {
	info, err := r.Do(ctx, "CLUSTER", "INFO")
	if err == nil && (!strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3")) {
		err = errors.New(info)
	}
	return err
}

// Addresses are those of the nodes, host:port.
func (c *Cluster) Addresses() []string {
	var all []string
	for _, one := range c.Nodes {
		all = append(all, one.Addr())
	}
	return all
}
