package panel

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// memory is what is kept of a node's status over a restart of the panel: since when it is so, and which
// drift was told already. It is no knowledge of how the node is now.
type memory struct {
	Conditions map[string]since `json:"conditions,omitempty"`
	Verdict    string           `json:"verdict,omitempty"` // of package drift; "": none yet
	Issues     string           `json:"issues,omitempty"`  // a hash of what differed
}

// since is a status, and when it began.
type since struct {
	Status string    `json:"status"`
	Since  time.Time `json:"since"`
}

var memoryTable = store.NewTable[memory]("memory") // by node

// memories are those that were read.
type memories struct {
	mu     sync.Mutex // protects byNode, whose values never change
	byNode map[string]memory
}

func (b *memories) of(nodeID string) memory {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byNode[nodeID]
}

func (b *memories) change(nodeID string, edit func(*memory)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.byNode[nodeID]
	m.Conditions = maps.Clone(m.Conditions)
	if m.Conditions == nil {
		m.Conditions = make(map[string]since)
	}
	edit(&m)
	b.byNode[nodeID] = m
}

// recall returns what is remembered of a node; nothing where the store fails, which is logged.
func (s *Service) recall(ctx context.Context, nodeID string) memory {
	s.memories.mu.Lock()
	m, ok := s.memories.byNode[nodeID]
	s.memories.mu.Unlock()
	if ok {
		return m
	}
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		var err error
		m, err = memoryTable.Get(tx, nodeID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	if err != nil {
		s.o.Logger.LogAttrs(ctx, slog.LevelError, "a node's status is not remembered", slog.String("node", nodeID), slog.String("error", err.Error()))
		return memory{}
	}
	s.memories.mu.Lock()
	defer s.memories.mu.Unlock()
	if newer, ok := s.memories.byNode[nodeID]; ok {
		return newer
	}
	s.memories.byNode[nodeID] = m
	return m
}

// remember changes what is remembered of a node that is there still. It is no wish of anybody: a failure
// is logged, and the memory of this process stays.
func (s *Service) remember(ctx context.Context, nodeID string, change func(*memory)) {
	s.recall(ctx, nodeID)
	s.memories.change(nodeID, change)
	err := s.o.Store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		if _, err := nodeTable.Get(tx, nodeID); err != nil {
			return err
		}
		// Of two at the same time, the one that commits last must not bring back what was before the other.
		if _, err := memoryTable.Get(tx, nodeID); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return memoryTable.Put(tx, nodeID, s.memories.of(nodeID))
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		s.o.Logger.LogAttrs(ctx, slog.LevelError, "a node's status is not remembered", slog.String("node", nodeID), slog.String("error", err.Error()))
	}
}

// forget drops what is remembered of a node that is gone.
func (s *Service) forget(nodeID string) {
	s.memories.mu.Lock()
	defer s.memories.mu.Unlock()
	delete(s.memories.byNode, nodeID)
}
