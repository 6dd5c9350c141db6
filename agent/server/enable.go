package server

import (
	"context"
	"errors"
	"fmt"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// precondition is If-Match for the writes of a whole interface; one that is down matches nothing.
func (s *Server) precondition(ctx context.Context, q *request, sl *slot, d engine.Device) error {
	if len(q.http.Header.Values("If-Match")) == 0 {
		return nil
	}
	if d == nil {
		return ifMatch(q, nil)
	}
	_, known := sl.current()
	m, err := sl.modelOf(ctx, d, known)
	if err != nil {
		return err
	}
	return ifMatch(q, m)
}

// deviceIfUp returns nil where the interface is down. The caller holds the slot.
func (s *Server) deviceIfUp(ctx context.Context, sl *slot) (engine.Device, error) {
	d, err := s.forWrite(ctx, sl)
	if err == nil {
		_, known := sl.current()
		_, err = sl.modelOf(ctx, d, known) // it may have been taken down behind our back
	}
	if err != nil {
		if toError(err).Code == agent.CodeInterfaceDown {
			return nil, nil
		}
		return nil, err
	}
	return d, nil
}

// takeMatched holds the slot of the request's interface, which is as If-Match wants it, and returns
// its device; nil where it is down. Who gets no error calls release.
func (s *Server) takeMatched(ctx context.Context, q *request) (sl *slot, d engine.Device, release func(), err error) {
	if sl, release, err = s.takeKnown(ctx, q.route.iface); err != nil {
		return nil, nil, nil, err
	}
	if d, err = s.deviceIfUp(ctx, sl); err == nil {
		err = s.precondition(ctx, q, sl, d)
	}
	if err != nil {
		release()
		return nil, nil, nil, err
	}
	return sl, d, release, nil
}

// enable is POST enable.
func (s *Server) enable(ctx context.Context, q *request) (*answer, error) {
	sl, d, release, err := s.takeMatched(ctx, q)
	if err != nil {
		return nil, err
	}
	defer release()
	wasDown := d == nil
	message := fmt.Sprintf("Interface %s is already up", sl.name)
	if wasDown {
		if err := s.start(ctx, sl); err != nil {
			return nil, err
		}
		message = fmt.Sprintf("Interface %s enabled successfully", sl.name)
	}
	return ok(agent.Success{Status: "success", Message: message, WasDown: &wasDown})
}

// start brings an interface up as it is wanted and keeps that. The caller holds the slot.
func (s *Server) start(ctx context.Context, sl *slot) error {
	ctx = context.WithoutCancel(ctx)
	up, err := s.wanted(ctx, sl)
	if err != nil {
		return err
	}
	m, err := s.bringUp(ctx, sl, up)
	if err != nil {
		return err
	}
	if err := s.keepUp(sl, m, up.file); err != nil {
		d, _ := sl.current()
		return also(fmt.Errorf("%w; the interface was taken down again", err), "which failed", s.bringDown(ctx, sl, d, bestEffort))
	}
	return nil
}

// keepUp records an interface that just came up from the file h (nil: none), and writes into the
// file what that does not hold. Where a hook or a person changed it meanwhile, it is not ours.
func (s *Server) keepUp(sl *slot, m *model, h *hostFile) error {
	was := sl.journal.state.clone()
	r := was.replaced(m.state, engine.Changes{})
	edited, hash := false, ""
	if h != nil {
		hash = h.hash
	}
	r.Edited, r.Files = &edited, []string{hash}
	if err := s.persist(sl, r, nil); err != nil {
		return err
	}
	if err := s.flush(sl); err != nil {
		return errors.Join(err, s.persist(sl, was.snapshot(), nil))
	}
	sl.kept = m
	return nil
}

// disable is POST disable.
func (s *Server) disable(ctx context.Context, q *request) (*answer, error) {
	sl, d, release, err := s.takeMatched(ctx, q)
	if err != nil {
		return nil, err
	}
	defer release()
	wasUp := d != nil
	message := fmt.Sprintf("Interface %s is already down", sl.name)
	if wasUp {
		if err := s.halt(ctx, sl, d); err != nil {
			return nil, err
		}
		message = fmt.Sprintf("Interface %s disabled successfully", sl.name)
	}
	return ok(agent.Success{Status: "success", Message: message, WasUp: &wasUp})
}

// halt takes an interface down and keeps that, with its peers for the next time.
func (s *Server) halt(ctx context.Context, sl *slot, d engine.Device) error {
	m, _, err := observe(ctx, d)
	if err != nil {
		return sl.lost(d, err)
	}
	if err := s.flush(sl); err != nil {
		return err
	}
	r, up := stateRecord(m.state), true
	r.Up = &up
	if err := s.persist(sl, r, nil); err != nil {
		return err
	}
	if err := s.bringDown(ctx, sl, d, strict|saving); err != nil {
		return err
	}
	up = false
	return s.persist(sl, record{Up: &up}, nil)
}

// deleteInterface is DELETE: the interface goes down, its file and its last good state are removed.
func (s *Server) deleteInterface(ctx context.Context, q *request) (*answer, error) {
	sl, d, release, err := s.takeMatched(ctx, q)
	if err != nil {
		return nil, err
	}
	defer release()
	if d != nil {
		if err := s.bringDown(ctx, sl, d, strict); err != nil {
			return nil, err
		}
	}
	sweep(s.confPath(sl.name))
	if err := removeFile(s.confPath(sl.name)); err != nil {
		return nil, err
	}
	if err := sl.journal.remove(); err != nil {
		return nil, err
	}
	s.forget(sl)
	return success(fmt.Sprintf("Interface %s deleted successfully", sl.name), nil)
}
