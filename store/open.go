package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"os"
	"sync"

	badger "github.com/dgraph-io/badger/v4"
)

// Options of Open.
type Options struct {
	Dir         string       // the store's own folder; made where it is missing
	MasterKey   MasterKey    // seals all values
	Logger      *slog.Logger // the engine's messages, at debug and warn; nil for none
	Migrations  []Migration  // versions 1 to n; nil for Baseline alone
	WatchBuffer int          // events that a watcher may be behind; 0 for 1024
}

// db is the Store on Badger.
type db struct {
	name   string // for messages
	engine *badger.DB
	lock   *os.File // nil in memory
	sealer sealer
	order  *order
	hub    *hub
	free   func() (uint64, error) // bytes that the disk has left
	tries  int                    // of an Update, before ErrConflict

	journal sync.Mutex   // held by the large commit that uses the journal; taken before order's and gate
	gate    sync.RWMutex // write-locked while a large commit is half replayed: nobody may begin
	broken  error        // why nobody may begin any more; under gate

	mu      sync.Mutex
	closed  bool
	closing chan struct{}  // closed with the store: ends the pauses between retries
	running sync.WaitGroup // transactions; Add only under mu while not closed
}

var _ Store = (*db)(nil)

// Open opens the store in a folder, makes it where it is missing, and brings its schema up to the newest migration.
// Errors: ErrLocked, ErrSealed, ErrNewer, ErrCorrupt, ErrEngine. It blocks while migrations run.
func Open(o Options) (Store, error) {
	if o.Dir == "" {
		return nil, errors.New("open the store: no folder was given")
	}
	lock, err := claimFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	s, err := open(o, o.Dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	s.free = func() (uint64, error) { return freeBytes(o.Dir) }
	if err := s.prepare(o.Migrations); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenInMemory opens an empty store that writes no file, with the limits and the behaviour of one that does: for tests.
func OpenInMemory(k MasterKey) (Store, error) {
	s, err := open(Options{MasterKey: k}, "memory")
	if err != nil {
		return nil, err
	}
	s.free = func() (uint64, error) { return math.MaxUint64, nil }
	if err := s.prepare(nil); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func open(o Options, name string) (*db, error) {
	sealer, err := newSealer(o.MasterKey)
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", name, err)
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	engine, err := badger.Open(engineOptions(o.Dir, log))
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", name, translate(err))
	}
	return &db{
		name:    name,
		engine:  engine,
		sealer:  sealer,
		order:   newOrder(),
		hub:     newHub(o.WatchBuffer),
		tries:   maxTries,
		closing: make(chan struct{}),
	}, nil
}

// Watch implements Store.
func (d *db) Watch(ctx context.Context, prefix string) iter.Seq2[Event, error] {
	return d.hub.watch(ctx, prefix)
}

// Close implements Store.
func (d *db) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	close(d.closing)
	d.mu.Unlock()

	d.running.Wait()
	d.hub.close()
	err := translate(d.engine.Close())
	if d.lock != nil {
		err = errors.Join(err, d.lock.Close())
	}
	return err
}

// enter counts a transaction in; each nil answer needs a running.Done.
func (d *db) enter() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	d.running.Add(1)
	return nil
}
