package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"ollama-api-pool/internal/controlplane/admin"
	"ollama-api-pool/internal/gateway"
)

// How instances know of each other. What an instance has sent is remembered for
// keepInstances: a batch that waited so long on a disk would be counted again.
const (
	hereEvery     = 5 * time.Second
	seenWithin    = 20 * time.Second
	keepInstances = 60 * 24 * time.Hour
	keepChanges   = 10 * time.Minute
)

// presence says that this instance is there, and knows who else is. It may be
// used concurrently.
type presence struct {
	self gateway.Instance

	mu   sync.Mutex // guards what follows
	seen []gateway.Instance
}

func newPresence(id, version string, started time.Time) *presence {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "unknown"
	}
	self := gateway.Instance{ID: id, Name: name, Version: version, StartedAt: started.UTC(), SeenAt: started.UTC()}
	return &presence{self: self, seen: []gateway.Instance{self}}
}

// at adds the port to the name, since one machine may have several instances.
// It is called before anybody else knows the presence.
func (p *presence) at(addr net.Addr) {
	if _, port, err := net.SplitHostPort(addr.String()); err == nil {
		p.self.Name = net.JoinHostPort(p.self.Name, port)
		p.seen = []gateway.Instance{p.self}
	}
}

// list gives the instances that there were when somebody looked.
func (p *presence) list() []gateway.Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]gateway.Instance{}, p.seen...)
}

func (p *presence) note(seen []gateway.Instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = seen
}

// sayHere tells the others that this instance is there, and looks who else is.
func (a *App) sayHere(ctx context.Context) error {
	if !a.standing.shared() {
		self := a.presence.self
		self.SeenAt = time.Now().UTC()
		a.presence.note([]gateway.Instance{self})
		return nil
	}
	if !a.standing.up() {
		return nil
	}
	return a.standing.ask(ctx, func(ctx context.Context) error {
		self := a.presence.self
		self.SeenAt = time.Now().UTC()
		if err := a.store.SayHere(ctx, self); err != nil {
			return err
		}
		seen, err := a.store.Instances(ctx, time.Now().Add(-seenWithin))
		if err == nil {
			a.presence.note(seen)
		}
		return err
	})
}

// sayGone tells the others that this instance is no longer there: one without a
// name is listed nowhere. Where that fails they find out by themselves.
func (a *App) sayGone(ctx context.Context) {
	if !a.standing.shared() || !a.standing.up() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaseWithin)
	defer cancel()
	if err := a.store.SayHere(ctx, gateway.Instance{ID: a.presence.self.ID, StartedAt: a.started}); err != nil {
		a.log.LogAttrs(ctx, slog.LevelDebug, "the others were not told that this instance ends", slog.Any("error", err))
	}
}

// Instances lists the instances that work on the store.
func (a *App) Instances(ctx context.Context) ([]admin.Instance, error) {
	if err := a.sayHere(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	if err := a.standing.refusal(); err != nil {
		return nil, err
	}
	return a.knownInstances(), nil
}

// knownInstances are those of which was heard lately, without asking.
func (a *App) knownInstances() []admin.Instance {
	out := []admin.Instance{}
	for _, i := range a.presence.list() {
		out = append(out, admin.Instance{
			ID: i.ID, Name: i.Name, Version: i.Version, StartedAt: i.StartedAt, SeenAt: i.SeenAt, Self: i.ID == a.presence.self.ID,
		})
	}
	return out
}
