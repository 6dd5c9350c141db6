package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// slot is one interface. Who changes it holds the slot; who reads does not.
type slot struct {
	name string
	busy chan struct{} // capacity 1: full while somebody holds the slot

	mu        sync.Mutex // protects what follows; never held over I/O
	device    engine.Device
	backend   engine.Kind
	model     *model        // the last one known; may be outdated
	moved     chan struct{} // closed at the next change
	following bool          // background work is scheduled
	lag       time.Duration // how much longer it waits, since it failed
	lastFile  *comparison   // of the device and the host's file; may be outdated
	governed  governed

	// The holder of the slot alone uses these.
	holders holders
	journal *journal
	kept    *model             // what the journal holds; nil: it may differ from the device
	made    string             // the link that this agent made, also in an earlier life, see made.go; "": another's
	conf    *wgquick.Interface // of the file that it came up with; nil: in an earlier life
	gone    bool               // not in use any more: look the name up again
}

func newSlot(name string) *slot {
	return &slot{name: name, busy: make(chan struct{}, 1), moved: make(chan struct{})}
}

// hold takes the slot. The caller calls the returned function when done.
func (sl *slot) hold(ctx context.Context) (func(), error) {
	t := time.NewTimer(slotTimeout)
	defer t.Stop()
	select {
	case sl.busy <- struct{}{}:
		return func() { <-sl.busy }, nil
	case <-t.C:
	case <-ctx.Done():
	}
	return nil, agent.Errorf(agent.CodeBusy, "interface %s is busy with another change", sl.name)
}

// current returns the device, nil while the interface is down, and the last known model.
func (sl *slot) current() (engine.Device, *model) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	return sl.device, sl.model
}

// set replaces the device and its model, and wakes who waits for a change.
func (sl *slot) set(d engine.Device, kind engine.Kind, m *model) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.device, sl.backend, sl.model, sl.lastFile = d, kind, m, nil
	sl.wakeLocked()
}

func (sl *slot) wakeLocked() {
	close(sl.moved)
	sl.moved = make(chan struct{})
}

// changed returns a channel that is closed at the next change that this process makes or sees.
func (sl *slot) changed() <-chan struct{} {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	return sl.moved
}

// store keeps m as the model of d, unless the device was replaced meanwhile.
func (sl *slot) store(d engine.Device, m *model) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.device != d {
		return
	}
	sl.model = m
	sl.wakeLocked()
}

// learn keeps what a reader saw, unless a writer was quicker.
func (sl *slot) learn(d engine.Device, old, seen *model) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.device == d && sl.model == old && seen.stands {
		sl.model = seen
		sl.wakeLocked()
	}
}

// modelOf returns the model of a device: the one that is known where it stands, else a new one from
// a full read. It needs no slot.
func (sl *slot) modelOf(ctx context.Context, d engine.Device, known *model) (*model, error) {
	if known.valid(d) {
		return sl.withHost(ctx, d, known)
	}
	seen, _, err := observe(ctx, d)
	if err != nil {
		return nil, sl.lost(d, err)
	}
	sl.learn(d, known, seen)
	return seen, nil
}

// withHost returns the known model of a device, with the addresses and the MTU that it has now: on a TUN ip(8)
// may change them.
func (sl *slot) withHost(ctx context.Context, d engine.Device, known *model) (*model, error) {
	hosted, ok := d.(engine.Hosted)
	if !ok {
		return known, nil
	}
	now := known.state.Interface
	if err := hosted.ReadHost(ctx, &now); err != nil {
		return nil, sl.lost(d, err)
	}
	if now.MTU == known.state.Interface.MTU && slices.Equal(now.Addresses, known.state.Interface.Addresses) {
		return known, nil
	}
	seen := known.patched(engine.Changes{Interface: &engine.InterfaceChange{Before: known.state.Interface, After: now}})
	seen.revision, seen.stands = known.revision, known.stands
	sl.learn(d, known, seen)
	return seen, nil
}

// valid reports whether m is what the device holds right now.
func (m *model) valid(d engine.Device) bool {
	owned, ok := d.(engine.Owned)
	return ok && m != nil && m.stands && owned.Revision() == m.revision
}

// observe reads the whole device.
func observe(ctx context.Context, d engine.Device) (*model, engine.Observation, error) {
	owned, ok := d.(engine.Owned)
	var before uint64
	if ok {
		before = owned.Revision()
	}
	o, err := d.Observe(ctx)
	if err != nil {
		return nil, o, err
	}
	m := newModel(o.State)
	if ok {
		m.revision = before
		m.stands = owned.Revision() == before
	}
	return m, o, nil
}

// lost forgets a device that is gone, whoever took it down.
func (sl *slot) lost(d engine.Device, err error) error {
	if !errors.Is(err, engine.ErrClosed) && !errors.Is(err, engine.ErrUnknownInterface) {
		return err
	}
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if sl.device == d {
		sl.device = nil
		sl.wakeLocked()
	}
	return sl.down()
}

// down is the error for who needs the interface up.
func (sl *slot) down() error {
	return agent.Errorf(agent.CodeInterfaceDown, "interface %s is down: enable it first", sl.name)
}

// compared keeps what the device and the host's file were found to differ in.
func (sl *slot) compared(c *comparison) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	sl.lastFile = c
}

// comparison returns what was kept, or nil.
func (sl *slot) comparison() *comparison {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	return sl.lastFile
}

// kind returns the kind of the backend that the device belongs to.
func (sl *slot) kind() engine.Kind {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	return sl.backend
}
