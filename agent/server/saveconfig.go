package server

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// saveConfig makes the host's file say what the device is, as SaveConfig asks of wg-quick(8): what was
// changed by wg(8) is kept. Unlike there, comments stay, and so does the host name of an endpoint.
func (s *Server) saveConfig(sl *slot, h *hostFile, m *model) error {
	if err := h.save(m.state); err != nil {
		return fmt.Errorf("save %s: %w", h.path, err)
	}
	file, err := s.replaceFile(sl, h.path, h.hash, h.file.Bytes())
	if err != nil {
		return err
	}
	defer file.discard()
	return s.persist(sl, sl.journal.state.replaced(m.state, engine.Changes{}), file)
}

// save edits the file in memory.
func (h *hostFile) save(state engine.State) error {
	conf, err := h.file.Interface()
	if err != nil {
		return err
	}
	peers, err := h.file.Peers()
	if err != nil {
		return err
	}
	i := state.Interface
	settings := []struct {
		key    string
		values []string
	}{
		{"PrivateKey", []string{secretText(i.PrivateKey)}},
		{"ListenPort", []string{number(int(i.ListenPort))}},
		{"FwMark", []string{fwMarkText(i.FwMark)}},
		{"Address", inFileOrder(conf.Addresses, i.Addresses)},
		{"MTU", []string{number(i.MTU)}},
	}
	for _, set := range settings {
		if set.key == "MTU" && conf.MTU == nil {
			continue // it is found anew at each up
		}
		if err := h.file.SetInterface(set.key, set.values...); err != nil {
			return err
		}
	}
	return h.savePeers(peers, state.Peers)
}

func (h *hostFile) savePeers(had []wgquick.Peer, peers []engine.Peer) error {
	for _, p := range had {
		if _, there := engine.Lookup(peers, p.PublicKey); !there {
			h.file.RemovePeer(p.PublicKey)
		}
	}
	named := make(map[wgtypes.Key]bool)
	for _, p := range namedPeers(had) {
		named[p.key] = true
	}
	for _, p := range peers {
		if named[p.PublicKey] {
			p.Endpoint = netip.AddrPort{}
		}
		if err := h.file.PutPeer(wgquick.NewPeer(p)); err != nil {
			return err
		}
	}
	return nil
}

// inFileOrder returns the addresses of a device, those that the file has in its order.
func inFileOrder(file, device []netip.Prefix) []string {
	var out []string
	add := func(a netip.Prefix) {
		if !slices.Contains(out, a.String()) {
			out = append(out, a.String())
		}
	}
	for _, a := range file {
		if slices.Contains(device, a) {
			add(a)
		}
	}
	for _, a := range device {
		add(a)
	}
	return out
}
