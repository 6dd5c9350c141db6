package panel

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/store"
)

// keepers are the keepers of all nodes.
type keepers struct {
	looking chan struct{} // its capacity is how many look at the same time

	mu     sync.Mutex // protects byNode
	byNode map[string]*kept
}

// kept is a keeper at work.
type kept struct {
	*keeper
	stop context.CancelFunc
	done chan struct{}
}

// enter waits for a turn to look.
func (ks *keepers) enter(ctx context.Context) (leave func(), err error) {
	select {
	case ks.looking <- struct{}{}:
		return func() { <-ks.looking }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// kick makes a node's keeper look.
func (ks *keepers) kick(nodeID string) {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	if k, ok := ks.byNode[nodeID]; ok {
		k.kick()
	}
}

// kickAll makes all look, as after a change that may concern any.
func (ks *keepers) kickAll() {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	for _, k := range ks.byNode {
		k.kick()
	}
}

// keepLoop keeps a keeper for each node and wakes it when the node's record changes, which each change of what
// is wanted of it does, until the context ends.
func (s *Service) keepLoop(ctx context.Context) error {
	defer s.keepOnly(nil)
	for ctx.Err() == nil {
		if err := s.keepAll(ctx); err != nil && ctx.Err() == nil {
			s.o.Logger.LogAttrs(ctx, slog.LevelError, "the nodes are not watched for a moment", slog.String("error", err.Error()))
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
	return nil
}

func (s *Service) keepAll(ctx context.Context) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	changes := s.o.Store.Watch(watching, nodeTable.Prefix())
	nodes, err := s.allNodes(ctx)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(nodes))
	for _, n := range nodes {
		there[n.ID] = true
		s.keep(ctx, n.ID)
	}
	s.keepOnly(there)
	for e, err := range changes {
		switch id := strings.TrimPrefix(e.Key, nodeTable.Prefix()); {
		case errors.Is(err, store.ErrWatchLagged):
			return nil // all are looked at again
		case err != nil:
			return err
		case e.Deleted:
			s.leave(id)
		default:
			s.keep(ctx, id)
		}
	}
	return nil
}

// keep makes a node's keeper look, and begins with one where there is none.
func (s *Service) keep(ctx context.Context, nodeID string) {
	s.keepers.mu.Lock()
	defer s.keepers.mu.Unlock()
	if k, ok := s.keepers.byNode[nodeID]; ok {
		k.kick()
		return
	}
	ctx, stop := context.WithCancel(ctx)
	k := &kept{keeper: &keeper{s: s, nodeID: nodeID, kicked: make(chan struct{}, 1)}, stop: stop, done: make(chan struct{})}
	s.keepers.byNode[nodeID] = k
	go func() {
		defer close(k.done)
		k.run(ctx)
	}()
}

// leave ends a node's keeper, and returns when it has ended.
func (s *Service) leave(nodeID string) {
	s.keepers.mu.Lock()
	k, ok := s.keepers.byNode[nodeID]
	delete(s.keepers.byNode, nodeID)
	s.keepers.mu.Unlock()
	if ok {
		k.stop()
		<-k.done
	}
}

// keepOnly ends all keepers but those of these nodes.
func (s *Service) keepOnly(nodes map[string]bool) {
	s.keepers.mu.Lock()
	var gone []string
	for id, k := range s.keepers.byNode {
		if !nodes[id] {
			k.stop()
			gone = append(gone, id)
		}
	}
	s.keepers.mu.Unlock()
	for _, id := range gone {
		s.leave(id)
	}
}

// forgive makes a node's keeper forget that healing did not help: somebody has put it right by hand.
func (ks *keepers) forgive(nodeID string) {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	if k, ok := ks.byNode[nodeID]; ok {
		k.forgiven.Store(true)
	}
}
