package store

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"sync"
)

// defaultWatchBuffer is how many events a consumer may be behind. A bulk import is more: whoever watches then reads
// all again, which is cheaper than ten thousand events.
const defaultWatchBuffer = 1024

// hub tells watchers what was committed, in commit order. Commits are announced in that order but become durable in
// any, so each waits in the queue for those before it.
type hub struct {
	limit int // events that a watcher may be behind

	mu       sync.Mutex
	queue    []*ticket // announced commits, oldest first
	watchers map[*watcher]struct{}
	closed   bool
}

// ticket is a commit's place in the queue.
type ticket struct {
	writes  []*write
	settled bool
	durable bool
}

// watcher is one call of Watch; hub.mu protects its fields.
type watcher struct {
	prefix string // as stored
	events []Event
	err    error         // why it ended
	wake   chan struct{} // holds one token when there is news
	forget func() bool   // stops waiting for the context
}

func newHub(limit int) *hub {
	if limit <= 0 {
		limit = defaultWatchBuffer
	}
	return &hub{limit: limit, watchers: map[*watcher]struct{}{}}
}

// announce takes the next place in commit order.
func (h *hub) announce(writes []*write) *ticket {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := &ticket{writes: writes}
	h.queue = append(h.queue, t)
	return t
}

// settle says how a commit ended and tells the watchers all commits that no other stands before any more.
func (h *hub) settle(t *ticket, durable bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.settled, t.durable = true, durable
	for len(h.queue) > 0 && h.queue[0].settled {
		if h.queue[0].durable {
			h.tellLocked(h.queue[0].writes)
		}
		h.queue = h.queue[1:]
	}
}

func (h *hub) tellLocked(writes []*write) {
	for w := range h.watchers {
		for _, c := range writes {
			if !strings.HasPrefix(c.key, w.prefix) {
				continue
			}
			if len(w.events) == h.limit {
				h.endLocked(w, ErrWatchLagged)
				break
			}
			w.events = append(w.events, Event{Key: c.key[len(recordSpace):], Value: c.value, Deleted: c.deleted})
		}
		w.poke()
	}
}

// endLocked ends a watch; its consumer learns why with its next step.
func (h *hub) endLocked(w *watcher, err error) {
	if w.err == nil {
		w.err = err
	}
	delete(h.watchers, w)
	w.forget()
	w.poke()
}

func (w *watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (h *hub) watch(ctx context.Context, prefix string) iter.Seq2[Event, error] {
	w := &watcher{prefix: recordSpace + prefix, wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	w.forget = context.AfterFunc(ctx, func() { h.drop(w, context.Cause(ctx)) })
	if h.closed {
		h.endLocked(w, ErrClosed)
	} else {
		h.watchers[w] = struct{}{}
	}
	return func(yield func(Event, error) bool) {
		defer h.drop(w, ErrClosed)
		for {
			ev, ok, err := h.next(w)
			switch {
			case err != nil:
				yield(Event{}, err)
				return
			case !ok:
				<-w.wake
			case !yield(ev, nil):
				return
			}
		}
	}
}

// next takes the oldest event. One that ended because the store closed still yields what it holds.
func (h *hub) next(w *watcher) (ev Event, ok bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(w.events) == 0 || (w.err != nil && !errors.Is(w.err, ErrClosed)) {
		w.events = nil
		return Event{}, false, w.err
	}
	ev, w.events = w.events[0], w.events[1:]
	ev.Value = slices.Clone(ev.Value) // watchers share it
	return ev, true, nil
}

func (h *hub) drop(w *watcher, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endLocked(w, err)
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		h.endLocked(w, ErrClosed)
	}
}
