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
	// Copies is the folder that keeps the store as it was before each migration, beside Dir; "" for none.
	Copies string
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
	schema Schema                 // set before anybody else has the store

	journal sync.Mutex   // held by the large commit that uses the journal; taken before order's and gate
	gate    sync.RWMutex // write-locked while a large commit is half replayed: nobody may begin
	broken  error        // why nobody may begin any more; under gate

	mu      sync.Mutex
	closed  bool
	closing chan struct{}  // closed with the store: ends the pauses between retries
	running sync.WaitGroup // transactions; Add only under mu while not closed
}

var _ Store = (*db)(nil)

// Open opens the store in a folder, makes it where it is missing, puts one in its place that Restored.Commit left
// there, and brings its schema up to the newest migration, after a copy into Copies.
// Errors: ErrLocked, ErrSealed, ErrNewer, ErrCorrupt, ErrEngine, ErrNoSpace. It blocks while migrations run.
func Open(o Options) (Store, error) {
	if o.Dir == "" {
		return nil, errors.New("open the store: no folder was given")
	}
	lock, err := claimFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	if lock, err = finishRestore(o.Dir, lock); err != nil {
		return nil, err
	}
	s, err := openLocked(o, lock)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.upgrade(o), forgetReplaced(o.Dir)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openLocked opens the store in a folder that is claimed, and gives the lock back on an error.
func openLocked(o Options, lock *os.File) (*db, error) {
	s, err := open(o, o.Dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.lock = lock
	s.free = func() (uint64, error) { return freeBytes(o.Dir) }
	return s, nil
}

// OpenInMemory opens an empty store that writes no file, with the limits and the behaviour of one that does: for tests.
func OpenInMemory(k MasterKey) (Store, error) {
	s, err := open(Options{MasterKey: k}, "memory")
	if err != nil {
		return nil, err
	}
	s.free = func() (uint64, error) { return math.MaxUint64, nil }
	if err := s.upgrade(Options{}); err != nil {
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
	if o.Dir != "" {
		if err := dropUnborn(o.Dir); err != nil {
			return nil, fmt.Errorf("open the store in %s: %w", name, err)
		}
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
