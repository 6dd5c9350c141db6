package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// shortHold is how long a reader waits for a slot of which it needs a glance.
const shortHold = time.Second

// comparison is what one version of a file and one state of the device differ in. It never changes.
type comparison struct {
	version fileVersion
	model   *model
	conf    *wgquick.Interface // what the interface came up with; nil: not known
	hash    string             // of the file; "" where it can't be read as one
	drift   []agent.FileMismatch
	count   int
}

// glance is what only a holder of the slot sees.
type glance struct {
	sl     *slot
	device engine.Device
	known  *model
	conf   *wgquick.Interface
	last   lastState // without peers
}

// fileDrift is GET file: the running device against the host's file.
func (s *Server) fileDrift(ctx context.Context, q *request) (*answer, error) {
	g, err := s.glance(ctx, q.route.iface)
	if err != nil {
		return nil, err
	}
	m, err := g.sl.modelOf(ctx, g.device, g.known)
	if err != nil {
		return nil, err
	}
	out := agent.FileDrift{Interface: g.sl.name, Path: s.confPath(g.sl.name), Present: true, Speaks: true, Drift: []agent.FileMismatch{}}
	c, err := s.compare(g, m)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		out.Present = false
		if out.Speaks = !g.last.known || !g.last.never(); out.Speaks {
			out.Drift, out.Count = []agent.FileMismatch{{Field: agent.FieldFile, File: "missing", Device: "up"}}, 1
		}
		return ok(out)
	case err != nil:
		return nil, err
	}
	out.Drift, out.Count = append(out.Drift, c.drift...), c.count
	out.Speaks = c.hash == "" || !g.last.speaks(c.hash)
	return ok(out)
}

// glance takes the slot for no longer than it takes to look.
func (s *Server) glance(ctx context.Context, name string) (glance, error) {
	ctx, cancel := context.WithTimeout(ctx, shortHold)
	defer cancel()
	sl, release, err := s.takeKnown(ctx, name)
	if err != nil {
		return glance{}, err
	}
	defer release()
	d, err := s.forWrite(ctx, sl)
	if err != nil {
		return glance{}, err
	}
	_, known := sl.current()
	g := glance{sl: sl, device: d, known: known, conf: sl.conf, last: *sl.journal.state}
	g.last.peers, g.last.pending = nil, nil
	if pending := sl.journal.state.pending; len(pending) > 0 { // an emptied map has its old size
		g.last.pending = maps.Clone(pending)
	}
	return g, nil
}

// compare compares the file with the device, or remembers what it found last where neither changed.
func (s *Server) compare(g glance, m *model) (*comparison, error) {
	path := s.confPath(g.sl.name)
	version, err := versionOf(path)
	if err != nil {
		return nil, fmt.Errorf("read the interface's file: %w", err)
	}
	if c := g.sl.comparison(); c != nil && c.version.same(version) && c.conf == g.conf && c.model.same(m) {
		if c.model != m {
			newer := *c
			newer.model = m // so that the next look need not compare them
			g.sl.compared(&newer)
		}
		return c, nil
	}
	h, err := s.readHostFile(g.sl.name)
	c := &comparison{version: version, model: m, conf: g.conf}
	var state engine.State
	var conf wgquick.Interface
	if err == nil && h == nil {
		return nil, fmt.Errorf("read the interface's file: %w", fs.ErrNotExist)
	}
	if err == nil {
		state, conf, err = h.state(g.sl.name)
	}
	switch _, broken := errors.AsType[*wgquick.ParseError](err); {
	case broken:
		c.add(nil, agent.FieldFile, err.Error(), "up")
	case err != nil:
		return nil, err
	default:
		c.hash = h.hash
		c.interfaces(conf, m.state.Interface)
		if g.conf != nil {
			c.host(conf, *g.conf)
		}
		c.peers(g.last.late(state.Peers), m.state.Peers)
	}
	if version.settled(s.o.Now()) && len(g.last.pending) == 0 {
		g.sl.compared(c)
	}
	return c, nil
}

// late returns the peers of the file with the pending changes, as they would come up.
func (s *lastState) late(peers []engine.Peer) []engine.Peer {
	var changes []engine.PeerChange
	for key, p := range s.pending {
		changes = append(changes, engine.PeerChange{Before: &engine.Peer{PublicKey: key}, After: p.peer})
	}
	return engine.Patch(peers, changes)
}

// add notes a difference; only the first ones are kept.
func (c *comparison) add(peer *string, field string, file, device any) {
	c.count++
	if len(c.drift) < agent.MaxFileDrift {
		c.drift = append(c.drift, agent.FileMismatch{Peer: peer, Field: field, File: file, Device: device})
	}
}

// interfaces compares the settings that the file gives; what it leaves out is the device's to choose.
func (c *comparison) interfaces(file wgquick.Interface, device engine.Interface) {
	want := file.Engine(device.Name)
	if !want.PrivateKey.IsZero() && !want.PrivateKey.Equal(device.PrivateKey.Clamped()) {
		c.add(nil, "public_key", want.PrivateKey.PublicKey().String(), device.PrivateKey.PublicKey().String())
	}
	if want.ListenPort != 0 && want.ListenPort != device.ListenPort {
		c.add(nil, "listen_port", want.ListenPort, device.ListenPort)
	}
	have := engine.NormalizeAddresses(device.Addresses)
	if len(want.Addresses) > 0 && !slices.Equal(want.Addresses, have) {
		c.add(nil, "addresses", prefixTexts(want.Addresses), prefixTexts(have))
	}
	if want.MTU != 0 && want.MTU != device.MTU {
		c.add(nil, "mtu", want.MTU, device.MTU)
	}
	if want.FwMark != 0 && want.FwMark != device.FwMark { // without one, wg-quick(8) may choose it
		c.add(nil, "fwmark", want.FwMark, device.FwMark)
	}
}

// host compares what is set beside the device, as far as it is known.
func (c *comparison) host(file, up wgquick.Interface) {
	if a, b := dnsText(file), dnsText(up); a != b {
		c.add(nil, "dns", a, b)
	}
	if a, b := tableText(file), tableText(up); a != b {
		c.add(nil, "table", a, b)
	}
	if !slices.EqualFunc(hooks(file), hooks(up), slices.Equal) {
		c.add(nil, "hooks", shownHooks(file), shownHooks(up))
	}
	if !slices.Equal(file.Forward, up.Forward) {
		c.add(nil, "forward", file.Forward, up.Forward)
	}
	if !slices.Equal(file.Masquerade, up.Masquerade) {
		c.add(nil, "masquerade", file.Masquerade, up.Masquerade)
	}
}

func hooks(i wgquick.Interface) [][]string {
	return [][]string{i.PreUp, i.PostUp, i.PreDown, i.PostDown}
}

func dnsText(i wgquick.Interface) string {
	var words []string
	for _, a := range i.DNS {
		words = append(words, a.String())
	}
	return strings.Join(append(words, i.Search...), ", ")
}

func tableText(i wgquick.Interface) string {
	if i.Table == "" {
		return "auto"
	}
	return i.Table
}

// shownHooks are the commands with their keys hidden.
func shownHooks(i wgquick.Interface) agent.Hooks {
	show := func(commands []string) []string {
		out := make([]string, len(commands))
		for n, command := range commands {
			out[n] = engine.RedactKeys(command)
		}
		return out
	}
	return agent.Hooks{PreUp: show(i.PreUp), PostUp: show(i.PostUp), PreDown: show(i.PreDown), PostDown: show(i.PostDown)}
}

func prefixTexts(prefixes []netip.Prefix) []string {
	out := make([]string, len(prefixes))
	for i, p := range prefixes {
		out[i] = p.String()
	}
	return out
}

// peers compares two sorted lists. Endpoints are no configuration.
func (c *comparison) peers(file, device []engine.Peer) {
	for len(file) > 0 || len(device) > 0 {
		var order int
		switch {
		case len(file) == 0:
			order = 1
		case len(device) == 0:
			order = -1
		default:
			order = bytes.Compare(file[0].PublicKey[:], device[0].PublicKey[:])
		}
		switch {
		case order < 0:
			c.add(new(file[0].PublicKey.String()), agent.FieldUnknown, prefixTexts(file[0].AllowedIPs), nil)
		case order > 0:
			c.add(new(device[0].PublicKey.String()), agent.FieldMissing, nil, prefixTexts(device[0].AllowedIPs))
		default:
			c.peer(file[0], device[0])
		}
		if order <= 0 {
			file = file[1:]
		}
		if order >= 0 {
			device = device[1:]
		}
	}
}

func (c *comparison) peer(file, device engine.Peer) {
	key := new(file.PublicKey.String())
	if !slices.Equal(file.AllowedIPs, device.AllowedIPs) {
		c.add(key, "allowed_ips", prefixTexts(file.AllowedIPs), prefixTexts(device.AllowedIPs))
	}
	if file.PersistentKeepalive != device.PersistentKeepalive {
		c.add(key, "persistent_keepalive", file.PersistentKeepalive, device.PersistentKeepalive)
	}
	if !file.PresharedKey.Equal(device.PresharedKey) {
		has := func(k engine.SecretKey) string {
			if k.IsZero() {
				return "unset"
			}
			return "set"
		}
		a, b := has(file.PresharedKey), has(device.PresharedKey)
		if a == b {
			b = "different"
		}
		c.add(key, "preshared_key", a, b)
	}
}
