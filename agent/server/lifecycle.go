package server

import (
	"context"
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
	// remembered: there are no words but the state's own, so that even what was chosen once is kept.
	remembered bool
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
			return setup{state: last.state(), remembered: true}, nil
		}
		return setup{}, agent.Errorf(agent.CodeUnknownInterface, "interface %s has no file: expected %s", sl.name, s.confPath(sl.name))
	}
	err = h.file.Recognized()
	var state engine.State
	var conf wgquick.Interface
	if err == nil {
		state, conf, err = h.state(sl.name)
	}
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
	for i, p := range out.state.Peers {
		if !p.Endpoint.IsValid() {
			out.state.Peers[i].Endpoint = last.peers[p.PublicKey].Endpoint // where it was seen last
		}
	}
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

// bringUp makes the interface with its peers, in the order of wg-quick(8) up. On an error nothing is
// left of what was done here; as with wg-quick(8), what hooks did is theirs.
func (s *Server) bringUp(ctx context.Context, sl *slot, up setup) (m *model, err error) {
	up.state.Interface.Name = sl.name
	if err := engine.Validate(up.state); err != nil {
		return nil, err
	}
	if up.state.Interface.PrivateKey.IsZero() {
		return nil, &engine.FieldError{Field: "private_key", Reason: "the interface has none"}
	}
	if err := s.own(sl, midway); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = also(err, "and in the data folder", s.own(sl, ""))
		}
	}()
	if err := s.runHooks(ctx, sl.name, "PreUp", up.conf.PreUp); err != nil {
		return nil, err
	}
	if err := s.choose(ctx, &up); err != nil {
		return nil, err
	}
	d, err := s.o.Backend.Create(ctx, up.state.Interface)
	if err != nil {
		return nil, err
	}
	m, err = s.fillUp(ctx, sl, d, up)
	if err != nil {
		return nil, also(err, "and its device is still there", d.Close(context.WithoutCancel(ctx)))
	}
	sl.made, sl.conf = linkID(sl.name), &up.conf // kept with the record of what came up
	sl.set(d, s.o.Backend.Kind(), m)
	s.govern(ctx, sl, d)
	s.greet(sl, d)
	return m, nil
}

// also adds to an error what failed while it was made good; the whole stays one sentence.
func also(err error, what string, second error) error {
	if second == nil {
		return err
	}
	return fmt.Errorf("%w; %s: %w", err, what, second)
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
			err = also(err, "and the host's network was not put back", s.o.Network.Down(context.WithoutCancel(ctx), network))
		}
		return nil, err
	}
	return m, nil
}

// downMode says what a failure means while an interface goes down, and whether that is its end.
type downMode int

const (
	strict     downMode = 0         // a failing PreDown or SaveConfig leaves the interface up
	bestEffort downMode = 1 << iota // it goes down all the same
	saving                          // SaveConfig is heeded: nobody else is about to write the file
)

// bringDown takes the interface down, in the order of wg-quick(8) down and with the hooks that the file
// has now. In strict mode an error means that the interface is still up.
func (s *Server) bringDown(ctx context.Context, sl *slot, d engine.Device, mode downMode) error {
	ctx = context.WithoutCancel(ctx)
	h, conf := s.lastWords(sl)
	failed := func(what string, err error) error {
		if err != nil && mode&bestEffort != 0 {
			s.o.Logger.Error("an interface goes down all the same", "interface", sl.name, "failed", what, "error", err)
			return nil
		}
		return err
	}
	if err := failed("a hook", s.runHooks(ctx, sl.name, "PreDown", conf.PreDown)); err != nil {
		return err
	}
	m, err := s.lastLook(ctx, sl, d, h, mode&saving != 0 && conf.SaveConfig)
	if err := failed("SaveConfig", err); err != nil {
		return err
	}
	was := sl.made
	if err := failed("the last good state", s.own(sl, midway)); err != nil {
		return err
	}
	words := conf
	if sl.conf != nil {
		words = *sl.conf // the network is as it came up; the hooks are those of now
	}
	if err := s.takeDown(ctx, sl, d, networkOf(m.state, words), was); err != nil {
		return err
	}
	if err := s.runHooks(ctx, sl.name, "PostDown", conf.PostDown); err != nil {
		s.o.Logger.Error("a hook failed after the interface went down", "interface", sl.name, "error", err)
	}
	return nil
}

// lastLook reads the device once more and keeps what it learned. The model is never nil.
func (s *Server) lastLook(ctx context.Context, sl *slot, d engine.Device, h *hostFile, save bool) (*model, error) {
	m, o, err := observe(ctx, d)
	if err != nil {
		return newModel(engine.State{Interface: engine.Interface{Name: sl.name}}), err
	}
	s.remember(sl, d, o)
	if save {
		err = s.saveConfig(sl, h, m)
	}
	return m, err
}

// lastWords returns the host's file as it is now; nothing where there is none or it can't be read.
func (s *Server) lastWords(sl *slot) (*hostFile, wgquick.Interface) {
	h, err := s.readHostFile(sl.name)
	if err == nil && h == nil {
		return nil, wgquick.Interface{}
	}
	var conf wgquick.Interface
	if err == nil {
		conf, err = h.file.Interface()
	}
	if err != nil {
		s.o.Logger.Warn("no hooks are run: the interface's file can't be read", "interface", sl.name, "error", err)
		return nil, wgquick.Interface{}
	}
	return h, conf
}

// takeDown takes back the host's share and closes the device. On an error both are there, and the link
// is whose it was.
func (s *Server) takeDown(ctx context.Context, sl *slot, d engine.Device, network link.Config, was string) error {
	if s.o.Network != nil {
		if err := s.o.Network.Down(ctx, network); err != nil {
			s.o.Logger.Error("the host's network was not put back", "interface", sl.name, "error", err)
		}
	}
	if err := d.Close(ctx); err != nil {
		if s.o.Network != nil && was != "" {
			err = also(err, "and the host's network is not as it was", s.o.Network.Up(ctx, network))
		}
		return also(err, "and in the data folder", s.own(sl, was))
	}
	sl.conf = nil
	sl.set(nil, "", nil)
	if err := s.own(sl, ""); err != nil {
		s.o.Logger.Error("the last good state can't be kept", "interface", sl.name, "error", err)
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
