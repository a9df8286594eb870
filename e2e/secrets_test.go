package e2e

import (
	"slices"
	"sync"
)

// plantedSecrets are the keys and tokens that an instance was given and must
// not write down. They may be added to concurrently.
type plantedSecrets struct {
	mu  sync.Mutex // guards all
	all []string
}

func (p *plantedSecrets) plant(secrets ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range secrets {
		if !slices.Contains(p.all, s) {
			p.all = append(p.all, s)
		}
	}
}

func (p *plantedSecrets) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.all)
}
