package server

import (
	"context"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/engine"
)

// How often a lookout looks at a device that others can change: so that looking takes about 2 % of one
// core, not more often than minPause, and often enough that a change shows within 5 s.
const (
	minPause = time.Second
	maxPause = 4 * time.Second
	restOf   = 50 // pauses are this many times as long as the look before
	overdue  = 2 * maxPause
)

// pauseAfter is how long to wait after a look that took so long.
func pauseAfter(cost time.Duration) time.Duration {
	return min(max(restOf*cost, minPause), maxPause)
}

// lookout watches one interface for all requests that are held on it, and for as long as there is one.
type lookout struct {
	name    string
	stop    context.CancelFunc
	holders int // protected by Server.mu

	mu     sync.Mutex // protects what follows
	sight  sight
	at     time.Time     // when the last look ended
	turned chan struct{} // closed when the sight changes
}

// sight is what a lookout knows.
type sight struct {
	model *model // nil: it could not look yet
	// clear: two reads agreed on the model. Else somebody writes right now, or a read was torn, which is
	// neither a change nor the word that nothing changed.
	clear bool
	err   error // a look failed twice: nobody can be held any longer
}

// join holds a request on the lookout of an interface, which it starts where there is none. The caller
// calls leave when done.
func (s *Server) join(name string) (_ *lookout, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lo := s.lookouts[name]
	if lo == nil {
		ctx, stop := context.WithCancel(s.holding)
		lo = &lookout{name: name, stop: stop, turned: make(chan struct{})}
		s.lookouts[name] = lo
		if s.running.Err() == nil {
			w := watcher{s: s, lookout: lo}
			s.tasks.Go(func() { w.run(ctx) })
		}
	}
	lo.holders++
	return lo, func() { s.leave(lo) }
}

func (s *Server) leave(lo *lookout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lo.holders--; lo.holders == 0 {
		s.dismissLocked(lo)
	}
}

func (s *Server) dismiss(lo *lookout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dismissLocked(lo)
}

// dismissLocked ends a lookout: who comes next starts another one.
func (s *Server) dismissLocked(lo *lookout) {
	lo.stop()
	if s.lookouts[lo.name] == lo {
		delete(s.lookouts, lo.name)
	}
}

// seen returns what is known, and a channel that is closed when it changes.
func (lo *lookout) seen() (sight, <-chan struct{}) {
	lo.mu.Lock()
	defer lo.mu.Unlock()
	return lo.sight, lo.turned
}

// vouched returns the model if it is known to be that of now: not where two reads did not agree, nor where
// the looks are late, because one of them hangs.
func (lo *lookout) vouched() *model {
	lo.mu.Lock()
	defer lo.mu.Unlock()
	if !lo.sight.clear || time.Since(lo.at) > overdue {
		return nil
	}
	return lo.sight.model
}

// turn tells who is held what a look saw; where that is nothing new, nobody wakes.
func (lo *lookout) turn(now sight) {
	lo.mu.Lock()
	defer lo.mu.Unlock()
	lo.at = time.Now()
	if lo.sight == now {
		return
	}
	lo.sight = now
	close(lo.turned)
	lo.turned = make(chan struct{})
}

// watcher is the eye of one lookout. One task uses it.
type watcher struct {
	s       *Server
	lookout *lookout

	slot   *slot
	device engine.Device
	moved  <-chan struct{} // closed when this process changed the interface
	model  *model
	mark   engine.Fingerprint // of the model, where the device is of others
	kept   *model             // the slot's, when it was last looked at
}

// run looks until nobody is held any longer, or a look fails.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		now := w.look(ctx)
		if now.err != nil && ctx.Err() == nil {
			now = w.look(ctx) // somebody's write may break a dump, and an interface may have come up again
		}
		if ctx.Err() != nil {
			return
		}
		w.lookout.turn(now)
		if now.err != nil {
			w.s.dismiss(w.lookout)
			return
		}
		w.rest(ctx, pauseAfter(time.Since(began)))
	}
}

// look finds the interface as a fresh request would, and reads of it what is needed to know whether
// it changed.
func (w *watcher) look(ctx context.Context) sight {
	sl, d, err := w.s.forRead(ctx, w.lookout.name)
	if err != nil {
		return sight{err: err}
	}
	w.moved = sl.changed()
	if sl != w.slot || d != w.device {
		w.slot, w.device, w.model = sl, d, nil
	}
	_, w.kept = sl.current()
	if _, owned := d.(engine.Owned); !owned {
		return w.lookAtOthers(ctx)
	}
	m, err := sl.modelOf(ctx, d, w.kept)
	if err != nil {
		return sight{err: err}
	}
	w.model = m
	if m.stands { // the slot has it now, which is no news
		w.kept = m
	}
	return sight{model: m, clear: m.stands}
}

// lookAtOthers compares the fingerprint of a device with that of the model. Where they differ the device is
// read, and what was read counts where the fingerprint from just before is its own: two reads in a row
// that agree are not torn.
func (w *watcher) lookAtOthers(ctx context.Context) sight {
	mark, err := fingerprint(ctx, w.device)
	if err != nil {
		return sight{err: w.slot.lost(w.device, err)}
	}
	if w.model != nil && w.mark == mark {
		return sight{model: w.model, clear: true}
	}
	m, _, err := observe(ctx, w.device)
	if err != nil {
		return sight{err: w.slot.lost(w.device, err)}
	}
	if engine.FingerprintOf(m.state) != mark {
		return sight{model: w.model}
	}
	w.model, w.mark = m, mark
	return sight{model: m, clear: true}
}

// rest waits until it is time for the next look.
func (w *watcher) rest(ctx context.Context, pause time.Duration) {
	t := time.NewTimer(pause)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			return
		case <-w.moved:
			if !w.adopt() {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// adopt takes over what this process itself wrote and read back, without a look; false where the device
// must be looked at.
func (w *watcher) adopt() bool {
	w.moved = w.slot.changed()
	d, m := w.slot.current()
	_, owned := d.(engine.Owned)
	if d == nil || d != w.device || m != nil && owned && !m.stands {
		return false
	}
	if m == nil || m == w.kept {
		return true
	}
	w.kept, w.model = m, m
	if !owned {
		w.mark = engine.FingerprintOf(m.state)
	}
	w.lookout.turn(sight{model: m, clear: true})
	return true
}

// fingerprint finds the fingerprint of a device, if need be by a full read.
func fingerprint(ctx context.Context, d engine.Device) (engine.Fingerprint, error) {
	if f, ok := d.(engine.Fingerprinter); ok {
		return f.Fingerprint(ctx)
	}
	o, err := d.Observe(ctx)
	if err != nil {
		return engine.Fingerprint{}, err
	}
	return engine.FingerprintOf(o.State), nil
}
