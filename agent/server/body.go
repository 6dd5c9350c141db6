package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
)

const (
	maxBody       = 8 << 20
	maxUnverified = 64 << 20 // of all requests together
	maxOfSource   = maxUnverified / 4
	bodyStep      = 64 << 10
)

// errBroken: a body did not arrive whole, or not in time.
var errBroken = agent.Errorf(agent.CodeBadRequest, "the body did not arrive whole")

// budget bounds the memory that requests hold before their signature was verified: of all together,
// and of each source, so that no stranger can take all of it.
type budget struct {
	mu       sync.Mutex // protects what follows
	held     int64
	bySource map[netip.Prefix]int64
}

func newBudget() *budget { return &budget{bySource: make(map[netip.Prefix]int64)} }

// take adds n bytes to what the source holds, or reports that there is no room.
func (b *budget) take(source netip.Prefix, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held+n > maxUnverified || b.bySource[source]+n > maxOfSource {
		return false
	}
	b.held += n
	b.bySource[source] += n
	return true
}

// unverified is a body and what it holds of the budget.
type unverified struct {
	buf    []byte
	source netip.Prefix
	held   int64
}

// bytes is never nil: that marks a body that was not read.
func (u *unverified) bytes() []byte { return u.buf }

func (b *budget) release(u *unverified) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= u.held
	b.bySource[u.source] -= u.held
	if b.bySource[u.source] == 0 {
		delete(b.bySource, u.source)
	}
	u.held = 0
}

// discard takes as much as a good body off the wire and keeps it nowhere, after the answer was
// sent. Most clients send before they listen: they would see a reset connection in its place.
func discard(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if control.Flush() == nil && control.SetReadDeadline(time.Now().Add(discardTimeout)) == nil {
		io.CopyN(io.Discard, r.Body, maxBody) //nolint:errcheck // it was refused already
	}
}

// read reads the whole body of a request within bodyTimeout.
func (b *budget) read(w http.ResponseWriter, r *http.Request) (*unverified, error) {
	u := &unverified{buf: []byte{}, source: addressOf(r)}
	tooLarge := agent.Errorf(agent.CodeTooLarge, "the body is larger than 8 MiB")
	if r.ContentLength > maxBody {
		return nil, tooLarge // before a byte of it came: see discard
	}
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return u, nil
	}
	// Not every ResponseWriter has deadlines (tests); the server's own has.
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(bodyTimeout)); err == nil {
		defer control.SetReadDeadline(time.Time{}) //nolint:errcheck // it worked a moment ago
	}
	if err := b.fill(u, r.Body); err != nil {
		b.release(u)
		return nil, err
	}
	if len(u.buf) > maxBody {
		b.release(u)
		return nil, tooLarge
	}
	return u, nil
}

func (b *budget) fill(u *unverified, from io.Reader) error {
	for len(u.buf) <= maxBody {
		if len(u.buf) == cap(u.buf) {
			step := int64(min(max(bodyStep, cap(u.buf)), maxBody+1-cap(u.buf))) // doubles
			if !b.take(u.source, step) {
				return agent.Errorf(agent.CodeBusy, "too many bodies wait to be verified")
			}
			u.held += step
			grown := make([]byte, len(u.buf), cap(u.buf)+int(step))
			copy(grown, u.buf)
			u.buf = grown
		}
		n, err := from.Read(u.buf[len(u.buf):cap(u.buf)])
		u.buf = u.buf[:len(u.buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%w: %w", errBroken, err)
		}
	}
	return nil
}
