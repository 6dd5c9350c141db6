package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// Server is the agent. Make one with New, then Start it.
type Server struct {
	o        Options
	router   *router
	identity *identity
	nonces   *nonces
	failures *failures
	budget   *budget
	macs     map[agent.Secret]engine.MACKey
	started  time.Time
	host     *hostSampler
	scrape   *scraper
	hosts    hostLog

	running context.Context // ends when the server closes
	stop    context.CancelFunc
	holding context.Context // ends before that; with it, every wait for a change
	letGo   context.CancelFunc
	tasks   sync.WaitGroup // background work of slots and lookouts

	mu       sync.Mutex // protects what follows, and who joins tasks
	slots    map[string]*slot
	lookouts map[string]*lookout // by interface; those of requests that are held
}

// Sizes that the HTTP server must let through: headers of 32 kB and a target of 70 kB.
const maxHeaderBytes = 128 << 10

// New checks the options and opens the data folder. Nothing runs before Start.
func New(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{o.DataDir, filepath.Join(o.DataDir, StateFolder)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the data folder: %w", err)
		}
	}
	if err := os.MkdirAll(o.ConfDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the configuration files: %w", err)
	}
	id, err := openIdentity(o.DataDir)
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(context.Background())
	holding, letGo := context.WithCancel(running)
	s := &Server{
		o: o, router: newRouter(), identity: id,
		nonces:   newNonces(2 * o.MaxTimestampAge),
		failures: newFailures(o.RateLimit), budget: newBudget(),
		macs: make(map[agent.Secret]engine.MACKey), started: o.Now(), host: newHostSampler(),
		hosts: hostLog{lost: make(map[string]bool)}, running: running, stop: stop, holding: holding, letGo: letGo,
		slots: make(map[string]*slot), lookouts: make(map[string]*lookout),
	}
	s.scrape = newScraper(s)
	for _, secret := range o.secrets() {
		s.macs[secret] = engine.DeriveMACKey([]byte(secret))
	}
	return s, nil
}

// ID returns the agent's own id.
func (s *Server) ID() string { return s.identity.id }

// Handler returns the API.
func (s *Server) Handler() http.Handler { return s }

// LetGo answers who waits for a change, now and from now on.
func (s *Server) LetGo() { s.letGo() }

// NewHTTPServer returns a server of the agent's API with the limits that it needs. Its Shutdown calls LetGo. The caller
// sets TLS and listens.
func NewHTTPServer(s *Server, logger *slog.Logger) *http.Server {
	h := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	h.RegisterOnShutdown(s.letGo)
	return h
}

// Close ends the background work, writes what is still to be written and, where down is set, takes
// the interfaces down that this agent made, hooks included; they come up at the next start as if the
// process had been killed. A second call does nothing more.
func (s *Server) Close(ctx context.Context, down bool) error {
	s.mu.Lock()
	s.stop() // from here on nothing joins tasks
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tasks.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("close the agent: %w", ctx.Err())
	}
	var errs []error
	for _, sl := range s.known() {
		errs = append(errs, s.closeSlot(ctx, sl, down))
	}
	return errors.Join(errs...)
}

func (s *Server) closeSlot(ctx context.Context, sl *slot, down bool) error {
	release, err := sl.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	if sl.gone { // by an earlier call
		return nil
	}
	err = s.flush(sl)
	if device, _ := sl.current(); down && device != nil && sl.made != "" {
		err = errors.Join(err, s.bringDown(ctx, sl, device, bestEffort|saving))
	}
	if sl.journal != nil {
		err = errors.Join(err, sl.journal.close())
		sl.journal = nil
	}
	sl.gone = true
	return err
}

// work runs a background task that Close waits for.
func (s *Server) work(task func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running.Err() == nil {
		s.tasks.Go(task)
	}
}

// known returns the slots, sorted by name.
func (s *Server) known() []*slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*slot, 0, len(s.slots))
	for _, sl := range s.slots {
		out = append(out, sl)
	}
	slices.SortFunc(out, func(a, b *slot) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return out
}

func unknownInterface(name string) error {
	return agent.Errorf(agent.CodeUnknownInterface, "interface %q is unknown here: it has no file and is not up", logged(name))
}

// find returns the slot of an interface that is up or has a file. A name that no interface can have
// is unknown, too.
func (s *Server) find(ctx context.Context, name string) (*slot, error) {
	if err := engine.ValidateName(name); err != nil {
		return nil, agent.Errorf(agent.CodeUnknownInterface, "unknown %s", err.Error())
	}
	s.mu.Lock()
	sl := s.slots[name]
	s.mu.Unlock()
	if sl != nil {
		return sl, nil
	}
	if _, err := os.Lstat(s.confPath(name)); errors.Is(err, fs.ErrNotExist) && !s.live(ctx, name) {
		return nil, unknownInterface(name)
	}
	return s.slotFor(name), nil
}

// slotFor returns the slot of a valid name, which it makes where there is none.
func (s *Server) slotFor(name string) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[name]
	if sl == nil {
		sl = newSlot(name)
		s.slots[name] = sl
	}
	return sl
}

// forget drops a slot whose interface is gone for good. The caller holds the slot.
func (s *Server) forget(sl *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl.gone = true
	if s.slots[sl.name] == sl {
		delete(s.slots, sl.name)
	}
}

// take holds the slot of a name for a write.
func (s *Server) take(ctx context.Context, find func() (*slot, error)) (*slot, func(), error) {
	for {
		sl, err := find()
		if err != nil {
			return nil, nil, err
		}
		release, err := sl.hold(ctx)
		if err != nil {
			return nil, nil, err
		}
		if s.running.Err() != nil {
			release()
			return nil, nil, agent.Errorf(agent.CodeBusy, "the agent is stopping")
		}
		if sl.gone { // deleted while we waited
			release()
			continue
		}
		if err := s.openSlot(sl); err != nil {
			release()
			return nil, nil, err
		}
		return sl, release, nil
	}
}

// takeKnown holds the slot of an interface that exists.
func (s *Server) takeKnown(ctx context.Context, name string) (*slot, func(), error) {
	return s.take(ctx, func() (*slot, error) { return s.find(ctx, name) })
}

// openSlot opens what only a holder needs.
func (s *Server) openSlot(sl *slot) error {
	if sl.journal != nil {
		return nil
	}
	j, err := openJournal(s.journalDir(sl.name))
	if errors.Is(err, errDamaged) {
		s.o.Logger.Error("the last good state is set aside: the interface's file speaks", "interface", sl.name, "error", err)
		if err = setAside(s.journalDir(sl.name)); err == nil {
			j, err = openJournal(s.journalDir(sl.name))
		}
	}
	if err != nil {
		return err
	}
	if j.cut > 0 {
		s.o.Logger.Warn("a record of the last good state was torn, and was never acknowledged", "interface", sl.name, "bytes", j.cut)
	}
	sl.journal = j
	return nil
}

// StateFolder is where the data folder has the last good state of each interface, in a folder of its name.
const StateFolder = "interfaces"

func (s *Server) journalDir(name string) string {
	return filepath.Join(s.o.DataDir, StateFolder, name)
}

// backends lists where an interface may be found.
func (s *Server) backends() []engine.Backend {
	if s.o.Attach == nil || s.o.Attach == s.o.Backend {
		return []engine.Backend{s.o.Backend}
	}
	return []engine.Backend{s.o.Backend, s.o.Attach}
}

// live reports whether an interface of that name is up, ours or not.
func (s *Server) live(ctx context.Context, name string) bool {
	for _, b := range s.backends() {
		names, err := b.Names(ctx)
		if err == nil && slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// attach takes over an interface that came up without us. The caller holds the slot.
func (s *Server) attach(ctx context.Context, sl *slot) (engine.Device, error) {
	for _, b := range s.backends() {
		d, err := b.Attach(ctx, sl.name)
		if err == nil {
			return s.attached(ctx, sl, b, d)
		}
		if !errors.Is(err, engine.ErrUnknownInterface) {
			return nil, err
		}
	}
	return nil, sl.down()
}

// attached takes a device that was found. One that a crash left on its way up or down is no interface
// that anybody asked for: it goes, and Start decides what comes.
func (s *Server) attached(ctx context.Context, sl *slot, b engine.Backend, d engine.Device) (engine.Device, error) {
	kind := b.Kind()
	if k, ok := d.(engine.Kinded); ok {
		kind = k.Kind()
	}
	sl.set(d, kind, nil)
	last := sl.journal.state
	if last.made == midway {
		s.o.Logger.Warn("an interface that a crash left half made is taken down", "interface", sl.name)
		if err := s.bringDown(ctx, sl, d, bestEffort); err != nil {
			return nil, err
		}
		return nil, sl.down()
	}
	sl.made, sl.conf = "", nil
	if last.ours(linkID(sl.name)) {
		sl.made = last.made
	}
	return d, s.takeOver(ctx, sl, d)
}

// forRead returns the device of an interface and its model, without waiting for who changes it.
func (s *Server) forRead(ctx context.Context, name string) (*slot, engine.Device, error) {
	sl, err := s.find(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	d, _ := sl.current()
	if d != nil {
		return sl, d, nil
	}
	select {
	case sl.busy <- struct{}{}:
	default:
		return nil, nil, sl.down()
	}
	defer func() { <-sl.busy }()
	d, err = s.forWrite(ctx, sl)
	return sl, d, err
}

// forWrite returns the device of an interface. The caller holds the slot.
func (s *Server) forWrite(ctx context.Context, sl *slot) (engine.Device, error) {
	if d, _ := sl.current(); d != nil {
		return d, nil
	}
	if err := s.openSlot(sl); err != nil {
		return nil, err
	}
	return s.attach(ctx, sl)
}
