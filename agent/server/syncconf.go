package server

import (
	"context"
	"encoding/base64"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// syncRequest is a whole configuration that was asked for.
type syncRequest struct {
	iface      wgquick.Interface                // what is not given stays
	peers      []engine.Peer                    // normalized
	named      map[wgtypes.Key][]netip.AddrPort // endpoints of the peers that name a host
	allowEmpty bool
}

// syncConf is POST syncconf: it replaces the peers, and the settings of the interface that are given.
func (s *Server) syncConf(ctx context.Context, q *request) (*answer, error) {
	if _, err := s.find(ctx, q.route.iface); err != nil {
		return nil, err
	}
	r, err := s.decodeSync(ctx, q)
	if err != nil {
		return nil, err
	}
	var out agent.Applied
	err = s.write(ctx, q, func(ctx context.Context, sl *slot, d engine.Device, m *model) error {
		if len(r.peers) == 0 && !r.allowEmpty {
			return agent.Errorf(agent.CodeEmpty, "the configuration has no peers: removing all of them needs allow_empty")
		}
		c := r.plan(m.state)
		if err := s.spell(sl, r, c); err != nil {
			return err
		}
		after, err := s.commit(ctx, sl, d, m, c)
		if err != nil {
			return err
		}
		out = applied(c, untouched(m.state.Peers, c.Peers), m.digest(q.mac), after.digest(q.mac))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ok(agent.Synced{
		Status: "success", Message: "Configuration synchronized successfully",
		Added: out.Added, Updated: out.Updated, Removed: out.Removed, Unchanged: out.Unchanged, Digest: out.After,
	})
}

func (s *Server) decodeSync(ctx context.Context, q *request) (syncRequest, error) {
	var r syncRequest
	o, err := decodeBody(q)
	if err != nil {
		return r, err
	}
	o.require("config")
	text := o.text("config", false)
	r.allowEmpty = o.boolean("allow_empty")
	if err := o.err(); err != nil {
		return r, err
	}
	loc := o.at("config")
	data, good := decodeBase64(*text)
	if !good || !utf8.Valid(data) {
		return r, fieldError(loc, "config", "expected base64 of a configuration in UTF-8", nil)
	}
	f, err := wgquick.ParseStrict(data)
	if err != nil {
		return r, fieldError(loc, "config", err.Error(), nil)
	}
	peers, err := f.Peers()
	if err == nil {
		r.iface, err = f.Interface()
	}
	if err != nil {
		return r, fieldError(loc, "config", err.Error(), nil)
	}
	var failed map[string]error
	if r.named, failed = s.resolve(ctx, peers); len(failed) > 0 {
		hosts := slices.Sorted(maps.Keys(failed))
		return r, fieldError(loc, "config", "the endpoint can't be looked up: "+strings.Join(hosts, ", "), nil)
	}
	for _, p := range peers {
		e := p.Engine()
		if _, named := r.named[p.PublicKey]; named {
			e.EndpointName = p.Endpoint
		}
		r.peers = append(r.peers, e)
	}
	r.peers = engine.NormalizePeers(r.peers)
	return r, nil
}

// decodeBase64 takes line breaks and spaces within, as the original's decoder did, and nothing else
// that is not base64.
func decodeBase64(s string) ([]byte, bool) {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(" \t\r\n", r) {
			return -1
		}
		return r
	}, s)
	data, err := base64.StdEncoding.DecodeString(s)
	return data, err == nil
}

// plan returns the changes from a state to the one that is asked for.
func (r syncRequest) plan(have engine.State) engine.Changes {
	want := engine.State{Interface: have.Interface, Peers: slices.Clone(r.peers)}
	for i, p := range want.Peers {
		if endpoints, named := r.named[p.PublicKey]; named {
			before, _ := engine.Lookup(have.Peers, p.PublicKey)
			want.Peers[i].Endpoint = nearest(before.Endpoint, endpoints)
		}
	}
	if !r.iface.PrivateKey.IsZero() {
		want.Interface.PrivateKey = r.iface.PrivateKey.Clamped()
	}
	if p := r.iface.ListenPort; p != nil && *p != 0 {
		want.Interface.ListenPort = uint16(*p)
	}
	if m := r.iface.FwMark; m != nil {
		want.Interface.FwMark = *m
	}
	c := engine.Diff(have, want, engine.DiffOptions{RemoveUnknown: true})
	for i, p := range c.Peers {
		if p.Before != nil && p.After != nil && !p.After.Endpoint.IsValid() {
			before := *p.Before
			before.Endpoint = p.After.Endpoint // peers roam: the device's own knowledge stays
			c.Peers[i].Before = &before
		}
	}
	return c
}

// spell makes the host's file name the hosts that were asked for, of peers that are as wanted on the
// device already.
func (s *Server) spell(sl *slot, r syncRequest, c engine.Changes) error {
	if len(r.named) == 0 {
		return nil
	}
	h, err := s.ownFile(sl)
	if err != nil || h == nil {
		return err
	}
	inFile, err := h.file.Peers()
	if err != nil {
		return err
	}
	changed := keysOf(c.Peers)
	var words engine.Changes
	for _, p := range inFile {
		want, _ := engine.Lookup(r.peers, p.PublicKey)
		if changed[p.PublicKey] || want.EndpointName == "" || want.EndpointName == p.Endpoint {
			continue
		}
		before := p.Engine()
		after := before
		after.EndpointName = want.EndpointName
		words.Peers = append(words.Peers, engine.PeerChange{Before: &before, After: &after})
	}
	if words.Empty() {
		return nil
	}
	file, err := s.prepareEdit(sl, words)
	if err != nil {
		return err
	}
	defer file.discard()
	return s.persist(sl, record{}, file)
}

// untouched returns the keys of the peers that no change names.
func untouched(peers []engine.Peer, changes []engine.PeerChange) []wgtypes.Key {
	changed := keysOf(changes)
	var out []wgtypes.Key
	for _, p := range peers {
		if !changed[p.PublicKey] {
			out = append(out, p.PublicKey)
		}
	}
	return out
}

func keysOf(changes []engine.PeerChange) map[wgtypes.Key]bool {
	keys := make(map[wgtypes.Key]bool, len(changes))
	for _, c := range changes {
		keys[c.Key()] = true
	}
	return keys
}
