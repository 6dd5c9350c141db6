package server

import (
	"errors"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/wgfleet/wgfleet/agent"
)

const (
	maxBody       = 8 << 20
	maxUnverified = 64 << 20 // of all requests together
	bodyStep      = 64 << 10
)

// budget bounds the memory that requests hold before their signature was verified.
type budget struct {
	held *semaphore.Weighted
}

func newBudget() *budget { return &budget{held: semaphore.NewWeighted(maxUnverified)} }

// unverified is a body and what it holds of the budget.
type unverified struct {
	buf  []byte
	held int64
}

// bytes is never nil: that marks a body that was not read.
func (u *unverified) bytes() []byte { return u.buf }

func (b *budget) release(u *unverified) {
	b.held.Release(u.held)
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
	u := &unverified{buf: []byte{}}
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
			if !b.held.TryAcquire(step) {
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
			return agent.Errorf(agent.CodeBadRequest, "the body did not arrive whole")
		}
	}
	return nil
}
