package panel

import (
	"maps"
	"slices"
	"sync"
)

// Values of NodeStatus.Health.
const (
	HealthOnline  = "online"
	HealthOffline = "offline"
	HealthUnknown = "unknown"
)

// healthBook keeps what was last learnt of each node.
type healthBook struct {
	mu     sync.Mutex // protects byNode
	byNode map[string]NodeStatus
}

func (h *healthBook) of(id string) NodeStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, ok := h.byNode[id]
	if !ok {
		s.Health = HealthUnknown
	}
	s.Conditions = slices.Clone(s.Conditions)
	return s
}

// change edits a node's status.
func (h *healthBook) change(id string, edit func(*NodeStatus)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.byNode[id]
	s.Conditions = slices.Clone(s.Conditions)
	edit(&s)
	h.byNode[id] = s
}

func (h *healthBook) drop(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.byNode, id)
}

// keep drops all nodes but these.
func (h *healthBook) keep(ids map[string]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.byNode, func(id string, _ NodeStatus) bool { return !ids[id] })
}
