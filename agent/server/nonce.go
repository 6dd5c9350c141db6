package server

import (
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
)

// maxNonces bounds the memory of the cache; only valid signatures enter it.
const maxNonces = 1 << 20

// nonces remembers what was used. Two generations are kept: each nonce lives for one to two
// lifetimes.
type nonces struct {
	lifetime time.Duration

	mu      sync.Mutex // protects what follows
	turned  time.Time
	current map[string]struct{}
	before  map[string]struct{}
}

func newNonces(lifetime time.Duration) *nonces {
	return &nonces{lifetime: lifetime, current: make(map[string]struct{})}
}

// use takes a nonce once.
func (n *nonces) use(nonce string, now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if age := now.Sub(n.turned); age >= n.lifetime {
		n.before = n.current
		if age >= 2*n.lifetime {
			n.before = nil
		}
		n.current, n.turned = make(map[string]struct{}), now
	}
	_, used := n.current[nonce]
	_, usedBefore := n.before[nonce]
	switch {
	case used || usedBefore:
		return agent.Errorf(agent.CodeReplayed, "this X-Nonce was used already")
	case len(n.current) >= maxNonces:
		return agent.Errorf(agent.CodeBusy, "too many requests within the time that nonces are remembered")
	}
	n.current[nonce] = struct{}{}
	return nil
}
