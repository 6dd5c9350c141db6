package server

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// networkOf is what an interface needs of its host.
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

// choose finds the MTU and the fwmark that the file does not give, as wg-quick(8) does at each up: what
// was chosen once says nothing of the network of today. The mark is there before the device is, so that
// no packet of its own ever enters the tunnel.
func (s *Server) choose(ctx context.Context, up *setup) error {
	i := &up.state.Interface
	if !up.remembered {
		if up.conf.MTU == nil {
			i.MTU = 0
		}
		if up.conf.FwMark == nil {
			i.FwMark = 0
		}
	}
	if s.o.Network == nil || i.MTU != 0 && i.FwMark != 0 {
		return nil
	}
	var endpoints []netip.AddrPort
	for _, p := range up.state.Peers {
		if p.Endpoint.IsValid() {
			endpoints = append(endpoints, p.Endpoint)
		}
	}
	found, err := s.o.Network.Choose(ctx, networkOf(up.state, up.conf), endpoints)
	if err != nil {
		return fmt.Errorf("choose the MTU and the fwmark of %s: %w", i.Name, err)
	}
	if i.MTU == 0 {
		i.MTU = found.MTU
	}
	if i.FwMark == 0 {
		i.FwMark = found.FwMark
	}
	return nil
}

// followPeers moves the host's routes along with the peers of an interface that we made; one that
// something else brought up is left to it. Where it fails, so would the next up of the interface.
func (s *Server) followPeers(ctx context.Context, sl *slot, before, after engine.State, c engine.Changes) error {
	if s.o.Network == nil || sl.made == "" || !movesTraffic(c) {
		return nil
	}
	conf := sl.conf
	if conf == nil { // it came up in an earlier life
		_, words := s.lastWords(sl)
		conf = &words
	}
	before.Interface.Name, after.Interface.Name = sl.name, sl.name
	if err := s.o.Network.Follow(ctx, networkOf(before, *conf), networkOf(after, *conf)); err != nil {
		return fmt.Errorf("the host's routes can't follow the peers of %s: %w", sl.name, err)
	}
	return nil
}

// movesTraffic reports whether other packets enter the tunnel after the changes.
func movesTraffic(c engine.Changes) bool {
	if c.Interface != nil && c.Interface.Before.FwMark != c.Interface.After.FwMark {
		return true
	}
	return slices.ContainsFunc(c.Peers, func(p engine.PeerChange) bool {
		return p.Before == nil || p.After == nil || !slices.Equal(p.Before.AllowedIPs, p.After.AllowedIPs)
	})
}
