package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// putConfig is PUT config: all of it takes effect and is written to the host's file, or nothing.
func (s *Server) putConfig(ctx context.Context, q *request) (*answer, error) {
	name := q.route.iface
	if f, bad := errors.AsType[*engine.FieldError](engine.ValidateName(name)); bad {
		return nil, fieldError([]any{"path", f.Field}, f.Field, f.Reason, nil)
	}
	o, settings, err := decodeConfig(q)
	if err != nil {
		return nil, err
	}
	sl, release, err := s.take(ctx, func() (*slot, error) { return s.slotFor(name), nil })
	if err != nil {
		return nil, err
	}
	defer release()
	defer s.forgetIfNothing(sl)
	d, err := s.deviceIfUp(ctx, sl)
	if err != nil {
		return nil, err
	}
	if d == nil && s.foreignLink(name) {
		return nil, agent.Errorf(agent.CodeInterfaceExists, "%s is an interface of this host that is not WireGuard", name)
	}
	if err := s.precondition(ctx, q, sl, d); err != nil {
		return nil, err
	}
	if err := s.flush(sl); err != nil {
		return nil, err
	}
	e, err := s.editConfig(ctx, sl, d, o, settings)
	if err != nil {
		return nil, err
	}
	defer e.write.discard()
	reloaded, err := s.putInEffect(ctx, sl, d, e)
	if err != nil {
		return nil, err
	}
	return ok(agent.Success{Status: "success", Message: "Interface configuration updated successfully", Reloaded: &reloaded})
}

// foreignLink reports whether the host has a link of that name, for an interface that is not up.
// Netstack looks at nothing outside.
func (s *Server) foreignLink(name string) bool {
	if s.o.Backend.Kind() == engine.KindNetstack {
		return false
	}
	_, err := net.InterfaceByName(name)
	return err == nil
}

// forgetIfNothing drops the slot of a name for which nothing was made in the end.
func (s *Server) forgetIfNothing(sl *slot) {
	if d, _ := sl.current(); d != nil || s.hasFile(sl.name) || sl.journal == nil || sl.journal.state.known {
		return
	}
	if err := sl.journal.remove(); err != nil {
		s.o.Logger.Warn("an empty folder stays", "interface", sl.name, "error", err)
	}
	sl.journal = nil
	s.forget(sl)
}

// configEdit is a changed configuration that was checked and is not in effect yet.
type configEdit struct {
	old, new wgquick.Interface
	given    map[string]bool
	changed  bool
	content  []byte
	state    engine.State // of the file afterwards
	before   *model       // of the device; nil: down
	write    *fileEdit
}

// editConfig edits the file in memory and checks the outcome.
func (s *Server) editConfig(ctx context.Context, sl *slot, d engine.Device, o *object, settings []setting) (*configEdit, error) {
	e := &configEdit{given: make(map[string]bool)}
	h, err := s.readHostFile(sl.name)
	if err != nil {
		return nil, err
	}
	oldHash := ""
	if d != nil {
		_, known := sl.current()
		if e.before, err = sl.modelOf(ctx, d, known); err != nil {
			return nil, err
		}
	}
	if h == nil {
		if h, err = s.newHostFile(sl.name, e.before); err != nil {
			return nil, err
		}
	} else {
		oldHash = h.hash
	}
	before := h.file.Bytes()
	if e.old, err = h.file.Interface(); err != nil {
		return nil, fmt.Errorf("the interface's file can't be read: %w", err)
	}
	if err := s.allowHooks(e.old, settings); err != nil {
		return nil, err
	}
	if err := e.set(h.file, settings); err != nil {
		return nil, err
	}
	e.content = h.file.Bytes()
	e.changed = oldHash == "" || string(before) != string(e.content)
	if e.state, e.new, err = h.state(sl.name); err != nil {
		return nil, err
	}
	if e.state.Interface.PrivateKey.IsZero() {
		o.require("private_key")
		return nil, errors.Join(o.err(), fieldErrorIf(o.err() == nil, "private_key", "the interface has none"))
	}
	if err := engine.Validate(e.state); err != nil {
		return nil, err
	}
	e.write, err = s.replaceFile(sl, h.path, oldHash, e.content)
	return e, err
}

func fieldErrorIf(yes bool, field, reason string) error {
	if !yes {
		return nil
	}
	return &engine.FieldError{Field: field, Reason: reason}
}

// newHostFile is the file of an interface that has none: what the device holds, where it is up.
func (s *Server) newHostFile(name string, m *model) (*hostFile, error) {
	h := &hostFile{path: s.confPath(name), file: wgquick.New()}
	if m == nil {
		return h, nil
	}
	i := m.state.Interface
	for _, a := range i.Addresses {
		if err := h.file.SetInterface("Address", append(h.file.Values("Interface", "Address"), a.String())...); err != nil {
			return nil, err
		}
	}
	if err := editInterface(h.file, engine.Interface{}, i); err != nil {
		return nil, err
	}
	for _, p := range m.state.Peers {
		if err := h.file.PutPeer(wgquick.NewPeer(p)); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// set writes the settings; one hook that the file has already is not touched, and neither are the
// others under its key.
func (e *configEdit) set(f *wgquick.File, settings []setting) error {
	for _, set := range settings {
		e.given[set.field] = true
		if have, hook := hooksOf(e.old, set.key); hook && set.unchanged(have) {
			continue
		}
		if err := set.write(f); err != nil {
			return fieldError([]any{"body", set.field}, set.field, err.Error(), nil)
		}
	}
	return nil
}

// putInEffect does the change on the device, where it is up, and writes the file.
func (s *Server) putInEffect(ctx context.Context, sl *slot, d engine.Device, e *configEdit) (bool, error) {
	if d == nil {
		return false, s.keepDown(sl, e)
	}
	after := e.device()
	change := engine.Changes{}
	if s := (engine.State{Interface: after}); !engine.Diff(engine.State{Interface: e.before.state.Interface}, s, engine.DiffOptions{}).Empty() {
		change.Interface = &engine.InterfaceChange{Before: e.before.state.Interface, After: after}
	}
	if !e.changed && change.Empty() {
		return false, nil
	}
	if e.needsReload(after) {
		return true, s.reload(ctx, sl, d, e, after)
	}
	if change.Empty() { // the file alone lagged behind
		return true, s.persist(sl, record{}, e.write)
	}
	sl.holders.sync(e.before)
	if err := sl.holders.judge(e.before.state, change); err != nil {
		return false, err
	}
	_, err := s.commitFile(ctx, sl, d, e.before, change, e.write)
	return true, err
}

// device returns the settings of the device with what was given.
func (e *configEdit) device() engine.Interface {
	out, file := e.before.state.Interface, e.state.Interface
	if e.given["private_key"] {
		out.PrivateKey = file.PrivateKey
	}
	if e.given["listen_port"] && (file.ListenPort != 0 || e.old.ListenPort != nil && *e.old.ListenPort != 0) {
		out.ListenPort = file.ListenPort
	}
	if e.given["fwmark"] {
		out.FwMark = file.FwMark
	}
	if e.given["address"] {
		out.Addresses = file.Addresses
	}
	if e.given["mtu"] && (file.MTU != 0 || e.old.MTU != nil) {
		out.MTU = file.MTU
	}
	return out
}

// needsReload reports whether the interface must go down and up: what is not the device's own is
// only set there.
func (e *configEdit) needsReload(after engine.Interface) bool {
	have := e.before.state.Interface
	return !slices.Equal(have.Addresses, engine.NormalizeAddresses(after.Addresses)) || have.MTU != after.MTU ||
		!slices.Equal(e.old.PreUp, e.new.PreUp) || !slices.Equal(e.old.PostUp, e.new.PostUp) ||
		!slices.Equal(e.old.PreDown, e.new.PreDown) || !slices.Equal(e.old.PostDown, e.new.PostDown) ||
		!slices.Equal(e.old.Forward, e.new.Forward) || !slices.Equal(e.old.Masquerade, e.new.Masquerade) ||
		!slices.Equal(e.old.DNS, e.new.DNS) || !slices.Equal(e.old.Search, e.new.Search) || e.old.Table != e.new.Table
}

// reload takes the interface down with its old hooks and up with the new ones and all of its peers.
// Where that fails it comes up as it was.
func (s *Server) reload(ctx context.Context, sl *slot, d engine.Device, e *configEdit, after engine.Interface) error {
	ctx = context.WithoutCancel(ctx)
	m, _, err := observe(ctx, d)
	if err != nil {
		return sl.lost(d, err)
	}
	old := setup{state: m.state, conf: e.old}
	next := setup{state: engine.State{Interface: after, Peers: m.state.Peers}, conf: e.new}
	if err := engine.Validate(next.state); err != nil {
		return err
	}
	if err := s.bringDown(ctx, sl, d, strict); err != nil {
		return err
	}
	up, err := s.bringUp(ctx, sl, next)
	if err == nil {
		if err = s.keepReload(sl, up, e); err == nil {
			return nil
		}
		now, _ := sl.current()
		err = errors.Join(err, s.bringDown(ctx, sl, now, bestEffort))
	}
	if _, back := s.bringUp(ctx, sl, old); back != nil {
		return fmt.Errorf("%w; the interface could not be brought up again as it was: %w", err, back)
	}
	if failed := s.own(sl, sl.made); failed != nil { // no other record follows
		s.o.Logger.Error("the last good state can't be kept", "interface", sl.name, "error", failed)
	}
	return fmt.Errorf("%w; the interface was put back as it was", err)
}

// keepReload records what the device is now. A person's edit of the file stays noted: it was the
// device's peers that came up, not the file's.
func (s *Server) keepReload(sl *slot, m *model, e *configEdit) error {
	r, up := stateRecord(m.state), true
	r.Up = &up
	if err := s.persist(sl, r, e.write); err != nil {
		return err
	}
	sl.kept = m
	return nil
}

// keepDown writes the file of an interface that stays down. Where the last good state speaks its
// peers stay, with the endpoints that were looked up or seen; else the file goes on speaking.
func (s *Server) keepDown(sl *slot, e *configEdit) error {
	if !e.changed {
		return nil
	}
	state, up, edited := e.state, false, true
	if last := sl.journal.state; last.speaks(e.write.old) {
		state.Peers, edited = last.state().Peers, false
	}
	r := stateRecord(state)
	r.Up, r.Edited = &up, &edited
	return s.persist(sl, r, e.write)
}
