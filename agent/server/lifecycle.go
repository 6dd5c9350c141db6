package server

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// setup is what an interface is to be, and what goes with it on the host.
type setup struct {
	state engine.State
	conf  wgquick.Interface
	file  *hostFile // nil: none
}

// wanted finds what an interface is to be when it comes up: what who speaks says (see lastState).
// The caller holds the slot.
func (s *Server) wanted(ctx context.Context, sl *slot) (setup, error) {
	h, err := s.ownFile(sl)
	if err != nil {
		return setup{}, err
	}
	last := sl.journal.state
	if h == nil {
		if last.known && last.never() {
			return setup{state: last.state()}, nil
		}
		return setup{}, agent.Errorf(agent.CodeUnknownInterface, "interface %s has no file: expected %s", sl.name, s.confPath(sl.name))
	}
	state, conf, err := h.state(sl.name)
	if err != nil {
		return setup{}, fmt.Errorf("interface %s can't come up: %w", sl.name, err)
	}
	out := setup{state: state, conf: conf, file: h}
	if last.speaks(h.hash) {
		out.state = last.state()
		out.state.Interface.Name = sl.name
		return out, nil
	}
	s.resolvePeers(ctx, &out)
	out.state.Peers = last.late(out.state.Peers)
	return out, nil
}

// resolvePeers looks up the endpoints of a file that are host names. One that can't be found leaves
// its peer without an endpoint: the interface comes up all the same.
func (s *Server) resolvePeers(ctx context.Context, out *setup) {
	peers, err := out.file.file.Peers()
	if err != nil {
		return // state has read them already
	}
	found, failed := s.resolve(ctx, peers)
	for host, err := range failed {
		s.hosts.note(s.o.Logger, host, err)
	}
	for i, p := range out.state.Peers {
		if endpoints, ok := found[p.PublicKey]; ok {
			out.state.Peers[i].Endpoint = nearest(p.Endpoint, endpoints)
		}
	}
}

// bringUp makes the interface with its peers, as wg-quick(8) up does. On an error nothing is left.
func (s *Server) bringUp(ctx context.Context, sl *slot, up setup) (*model, error) {
	up.state.Interface.Name = sl.name
	if err := engine.Validate(up.state); err != nil {
		return nil, err
	}
	if up.state.Interface.PrivateKey.IsZero() {
		return nil, &engine.FieldError{Field: "private_key", Reason: "the interface has none"}
	}
	if err := s.runHooks(ctx, sl.name, "PreUp", up.conf.PreUp); err != nil {
		return nil, err
	}
	d, err := s.o.Backend.Create(ctx, up.state.Interface)
	if err != nil {
		return nil, err
	}
	m, err := s.fillUp(ctx, sl, d, up)
	if err != nil {
		return nil, errors.Join(err, d.Close(context.WithoutCancel(ctx)))
	}
	sl.made, sl.conf = true, &up.conf
	sl.set(d, s.o.Backend.Kind(), m)
	return m, nil
}

// fillUp gives a new device its peers and the host its share.
func (s *Server) fillUp(ctx context.Context, sl *slot, d engine.Device, up setup) (*model, error) {
	var c engine.Changes
	for _, p := range up.state.Peers {
		c.Peers = append(c.Peers, engine.PeerChange{After: &p})
	}
	bare, _, err := observe(ctx, d)
	if err != nil {
		return nil, err
	}
	m := bare
	if !c.Empty() {
		if m, err = configure(ctx, d, bare, c, false); err != nil {
			return nil, err
		}
	}
	network := networkOf(m.state, up.conf)
	if s.o.Network != nil {
		if err := s.o.Network.Up(ctx, network); err != nil {
			return nil, err
		}
	}
	if err := s.runHooks(ctx, sl.name, "PostUp", up.conf.PostUp); err != nil {
		if s.o.Network != nil {
			err = errors.Join(err, s.o.Network.Down(context.WithoutCancel(ctx), network))
		}
		return nil, err
	}
	return m, nil
}

func networkOf(state engine.State, conf wgquick.Interface) link.Config {
	c := link.Config{
		Interface: state.Interface.Name, Addresses: state.Interface.Addresses,
		Table: conf.Table, FwMark: state.Interface.FwMark, DNS: conf.DNS, Search: conf.Search,
		Forward: conf.Forward, Masquerade: conf.Masquerade,
	}
	for _, p := range state.Peers {
		c.AllowedIPs = append(c.AllowedIPs, p.AllowedIPs...)
	}
	return c
}

// downMode says what a failing hook means while an interface goes down.
type downMode bool

const (
	strict     downMode = false // a failing PreDown leaves the interface up
	bestEffort downMode = true  // it goes down all the same
)

// bringDown takes the interface down with the hooks that the file has now, as wg-quick(8) down does.
// In strict mode an error means that the interface is still up.
func (s *Server) bringDown(ctx context.Context, sl *slot, d engine.Device, mode downMode) error {
	ctx = context.WithoutCancel(ctx)
	var conf wgquick.Interface
	if h, err := s.readHostFile(sl.name); err == nil && h != nil {
		conf, err = h.file.Interface()
		if err != nil {
			s.o.Logger.Warn("no hooks are run: the interface's file can't be read", "interface", sl.name, "error", err)
		}
	}
	if err := s.runHooks(ctx, sl.name, "PreDown", conf.PreDown); err != nil {
		if mode == strict {
			return err
		}
		s.o.Logger.Error("a hook failed", "interface", sl.name, "error", err)
	}
	if s.o.Network != nil {
		_, m := sl.current()
		state := engine.State{Interface: engine.Interface{Name: sl.name}}
		if m != nil {
			state = m.state
		}
		if err := s.o.Network.Down(ctx, networkOf(state, conf)); err != nil {
			s.o.Logger.Error("the host's network was not put back", "interface", sl.name, "error", err)
		}
	}
	if err := d.Close(ctx); err != nil {
		return err
	}
	sl.set(nil, "", nil)
	if err := s.runHooks(ctx, sl.name, "PostDown", conf.PostDown); err != nil {
		s.o.Logger.Error("a hook failed after the interface went down", "interface", sl.name, "error", err)
	}
	return nil
}

// runHooks runs the commands of one key in their order; the first that fails ends it.
func (s *Server) runHooks(ctx context.Context, name, key string, commands []string) error {
	if len(commands) == 0 {
		return nil
	}
	if s.o.HookRunner == nil {
		s.o.Logger.Warn("hooks are not run here", "interface", name, "key", key)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTimeout)
	defer cancel()
	for i, command := range commands {
		if err := s.o.HookRunner.RunHook(ctx, name, strings.ReplaceAll(command, "%i", name)); err != nil {
			return fmt.Errorf("%s hook %d of %s failed: %s", key, i+1, name, engine.RedactKeys(err.Error()))
		}
	}
	return nil
}
