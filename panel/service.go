package panel

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/notify"
	"github.com/wgfleet/wgfleet/panel/policy"
	"github.com/wgfleet/wgfleet/store"
)

// Defaults of Options.
const (
	DefaultNodeTimeout  = 10 * time.Second
	DefaultWriteTimeout = 5 * time.Minute
	DefaultPollInterval = 30 * time.Second
	DefaultParallel     = 64
)

// Options of a Service. The zero value of each optional field is its default.
type Options struct {
	Store store.Store               // required; the caller closes it after the Service
	Dial  func(Node) (Agent, error) // required; must not call the agent. See Dialer
	Now   func() time.Time
	Rand  io.Reader // of keys and ids
	// NodeTimeout bounds what reading one node may take.
	NodeTimeout time.Duration
	// PollInterval is how often Run asks each node for its health.
	PollInterval time.Duration
	// Parallel bounds how many nodes are asked at the same time.
	Parallel int
	// EventsKeep and EventsMax bound what is kept of what happened, by age and by number.
	EventsKeep time.Duration
	EventsMax  int
	// NotifyAllow makes exceptions from where notifications may not go.
	NotifyAllow notify.Allow
	// Version is the program's, for backups.
	Version string
	Logger  *slog.Logger
}

// Service holds the use cases of the panel. See New.
type Service struct {
	o          Options
	agents     agents
	states     states
	health     healthBook
	interfaces interfaceBook
	events     *event.Log
	verdicts   verdicts
	memories   memories
	plans      planBook
	keepers    keepers
	rollouts   rollouts
	rules      cached[[]Rule]
	policy     cached[policy.Input] // of the fleet
	notifier   *notify.Notifier
	rollbacks  rollbackBook
	deadlines  deadlines

	mu    sync.Mutex // protects slots and taken
	slots map[string]*slot
	taken map[string]uint64 // by node: how often its slot was taken
}

// New makes a Service; it calls no node and starts nothing. Run polls.
func New(o Options) (*Service, error) {
	if o.Store == nil || o.Dial == nil {
		return nil, errors.New("panel: a store and a way to dial agents must be given")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.NodeTimeout = orDefault(o.NodeTimeout, DefaultNodeTimeout)
	o.PollInterval = orDefault(o.PollInterval, DefaultPollInterval)
	o.Parallel = orDefault(o.Parallel, DefaultParallel)
	o.Store = storeBorder{o.Store}
	s := &Service{
		o:          o,
		agents:     agents{dial: o.Dial, byID: make(map[string]dialed)},
		states:     states{byNode: make(map[string]*nodeState)},
		health:     healthBook{byNode: make(map[string]NodeStatus)},
		interfaces: interfaceBook{byNode: make(map[string]seen)},
		events:     event.New(event.Options{Store: o.Store, Now: o.Now, Rand: o.Rand, Keep: o.EventsKeep, Max: o.EventsMax}),
		verdicts:   verdicts{byNode: make(map[string]verdict), turns: make(map[string]chan struct{})},
		keepers:    keepers{looking: make(chan struct{}, o.Parallel), byNode: make(map[string]*kept)},
		rollouts:   rollouts{queue: make(chan *rollout), ended: make(chan struct{})},
		memories:   memories{byNode: make(map[string]memory)},
		deadlines:  deadlines{wake: make(chan struct{}, 1)},
		slots:      make(map[string]*slot),
		taken:      make(map[string]uint64),
	}
	var err error
	s.notifier, err = s.newNotifier()
	return s, err
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// Close frees the connections to the agents. No method may be called after it.
func (s *Service) Close() { s.agents.close() }

// slot is held by who writes to a node.
type slot struct {
	busy  chan struct{} // capacity 1: full while somebody holds the slot
	users int           // holding or waiting
}

// hold takes the node's slot: writes of one node happen one after the other. The caller calls the
// returned function when done.
func (s *Service) hold(ctx context.Context, nodeID string) (release func(), err error) {
	s.mu.Lock()
	sl, ok := s.slots[nodeID]
	if !ok {
		sl = &slot{busy: make(chan struct{}, 1)}
		s.slots[nodeID] = sl
	}
	sl.users++
	s.mu.Unlock()
	leave := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if sl.users--; sl.users == 0 {
			delete(s.slots, nodeID)
		}
	}
	select {
	case sl.busy <- struct{}{}:
		s.mu.Lock()
		s.taken[nodeID]++
		s.mu.Unlock()
		return func() { <-sl.busy; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, &NodeError{NodeID: nodeID, Code: "busy", Reason: "another change of the node did not end in time"}
	}
}

// Run does what the panel does by itself, until the context ends. It returns early only on an error
// that no loop can go on after.
func (s *Service) Run(ctx context.Context) error {
	loops, ctx := errgroup.WithContext(ctx)
	for _, loop := range []func(context.Context) error{
		s.pollLoop,
		s.keepLoop,
		s.rolloutLoop,
		s.pruneLoop,
		s.notifier.Run,
		s.expiryLoop,
	} {
		loops.Go(func() error { return loop(ctx) })
	}
	return loops.Wait()
}

// quiet tells whether nobody holds a node's slot from now on until the returned function is called:
// what is seen of it meanwhile is not half of a change of ours.
func (s *Service) quiet(nodeID string) func() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, busy := s.slots[nodeID]
	began := s.taken[nodeID]
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !busy && s.taken[nodeID] == began
	}
}

// now is the time as records keep it.
func (s *Service) now() time.Time { return s.o.Now().UTC().Truncate(time.Millisecond) }
