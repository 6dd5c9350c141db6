package server

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// lastState is the last good state of an interface: the device after the last successful write
// through the agent, whoever asked.
type lastState struct {
	known bool // anything was ever recorded
	iface engine.Interface
	peers map[wgtypes.Key]engine.Peer
	up    bool

	// files are the hashes under which the host's file is ours: the one before the last write, in
	// case the write did not happen, and the one after it. Any other was made by a person.
	files []string
	// edited: a person changed the file since the interface came up, so that it speaks at the next
	// start although we wrote to it later.
	edited bool
	// pending are the changes that the file does not hold yet; nil: the peer was removed.
	pending map[wgtypes.Key]*engine.Peer
}

func newLastState() *lastState {
	return &lastState{peers: make(map[wgtypes.Key]engine.Peer), pending: make(map[wgtypes.Key]*engine.Peer)}
}

// state returns it as the engine knows it.
func (s *lastState) state() engine.State {
	return engine.Normalize(engine.State{Interface: s.iface, Peers: slices.Collect(maps.Values(s.peers))})
}

// record is one entry of the journal. A snapshot is a record that begins with Reset.
type record struct {
	Reset     bool             `json:"reset,omitempty"`
	Interface *interfaceRecord `json:"interface,omitempty"`
	Put       []peerRecord     `json:"put,omitempty"`
	Remove    []string         `json:"remove,omitempty"`
	Up        *bool            `json:"up,omitempty"`
	// File is the hash that the host's file is about to have; what came before is in it.
	File   *string  `json:"file,omitempty"`
	Files  []string `json:"files,omitempty"` // snapshots only
	Edited *bool    `json:"edited,omitempty"`
	// Pending names the peers whose change the file does not hold yet (snapshots only).
	Pending []string `json:"pending,omitempty"`
}

type interfaceRecord struct {
	Name       string         `json:"name"`
	PrivateKey string         `json:"private_key"`
	ListenPort uint16         `json:"listen_port"`
	FwMark     uint32         `json:"fwmark"`
	Addresses  []netip.Prefix `json:"addresses"`
	MTU        int            `json:"mtu"`
}

type peerRecord struct {
	PublicKey    string         `json:"public_key"`
	PresharedKey string         `json:"preshared_key,omitempty"`
	AllowedIPs   []netip.Prefix `json:"allowed_ips,omitempty"`
	Keepalive    int            `json:"keepalive,omitempty"`
	Endpoint     netip.AddrPort `json:"endpoint,omitzero"`
}

func secretText(k engine.SecretKey) string {
	if k.IsZero() {
		return ""
	}
	return k.Reveal().String()
}

func parseSecretText(s string) (engine.SecretKey, error) {
	if s == "" {
		return engine.SecretKey{}, nil
	}
	return engine.ParseSecretKey(s)
}

func newPeerRecord(p engine.Peer) peerRecord {
	return peerRecord{
		PublicKey: p.PublicKey.String(), PresharedKey: secretText(p.PresharedKey), AllowedIPs: p.AllowedIPs,
		Keepalive: p.PersistentKeepalive, Endpoint: p.Endpoint,
	}
}

func (r peerRecord) peer() (engine.Peer, error) {
	key, err := engine.ParseKey(r.PublicKey)
	if err != nil {
		return engine.Peer{}, err
	}
	psk, err := parseSecretText(r.PresharedKey)
	return engine.Peer{
		PublicKey: key, PresharedKey: psk, AllowedIPs: engine.NormalizePrefixes(r.AllowedIPs),
		PersistentKeepalive: r.Keepalive, Endpoint: r.Endpoint,
	}, err
}

func newInterfaceRecord(i engine.Interface) *interfaceRecord {
	return &interfaceRecord{
		Name: i.Name, PrivateKey: secretText(i.PrivateKey), ListenPort: i.ListenPort, FwMark: i.FwMark,
		Addresses: i.Addresses, MTU: i.MTU,
	}
}

func (r interfaceRecord) iface() (engine.Interface, error) {
	key, err := parseSecretText(r.PrivateKey)
	return engine.Interface{
		Name: r.Name, PrivateKey: key, ListenPort: r.ListenPort, FwMark: r.FwMark,
		Addresses: engine.NormalizeAddresses(r.Addresses), MTU: r.MTU,
	}, err
}

// changesRecord is the record of changes of a device.
func changesRecord(c engine.Changes) record {
	var r record
	if c.Interface != nil {
		r.Interface = newInterfaceRecord(c.Interface.After)
	}
	for _, p := range c.Peers {
		if p.After == nil {
			r.Remove = append(r.Remove, p.Key().String())
		} else {
			r.Put = append(r.Put, newPeerRecord(*p.After))
		}
	}
	return r
}

// stateRecord is the record of a whole state.
func stateRecord(s engine.State) record {
	r := record{Reset: true, Interface: newInterfaceRecord(s.Interface)}
	for _, p := range s.Peers {
		r.Put = append(r.Put, newPeerRecord(p))
	}
	return r
}

// whole is the record of a whole state that c led to; what the file does not hold yet stays noted.
func (s *lastState) whole(after engine.State, c engine.Changes) record {
	r := stateRecord(after)
	up := true
	r.Up = &up
	for key := range s.pending {
		r.Pending = append(r.Pending, key.String())
	}
	for _, p := range c.Peers {
		r.Pending = append(r.Pending, p.Key().String())
	}
	return r
}

// snapshot is the record that makes s from nothing.
func (s *lastState) snapshot() record {
	r := stateRecord(s.state())
	r.Up, r.Edited, r.Files = &s.up, &s.edited, s.files
	for key := range s.pending {
		r.Pending = append(r.Pending, key.String())
	}
	slices.Sort(r.Pending)
	return r
}

// do takes a record in, or refuses it and changes nothing.
func (s *lastState) do(r record) error {
	p, err := r.parse()
	if err != nil {
		return err
	}
	s.known = true
	if r.Reset {
		s.peers, s.pending = make(map[wgtypes.Key]engine.Peer, len(p.put)), make(map[wgtypes.Key]*engine.Peer)
	}
	if r.Interface != nil {
		s.iface = p.iface
	}
	for _, peer := range p.put {
		if !r.Reset {
			asked := peer
			s.pending[peer.PublicKey] = &asked
		}
		if !peer.Endpoint.IsValid() { // not asked for: it stays
			peer.Endpoint = s.peers[peer.PublicKey].Endpoint
		}
		s.peers[peer.PublicKey] = peer
	}
	for _, key := range p.remove {
		delete(s.peers, key)
		s.pending[key] = nil
	}
	for _, key := range p.pending {
		s.pending[key] = nil
		if peer, there := s.peers[key]; there {
			s.pending[key] = &peer
		}
	}
	s.doFile(r)
	return nil
}

// doFile takes in what a record says of the host's file.
func (s *lastState) doFile(r record) {
	if r.Up != nil {
		s.up = *r.Up
	}
	if r.Edited != nil {
		s.edited = *r.Edited
	}
	if r.Files != nil {
		s.files = r.Files
	}
	if r.File != nil {
		if n := len(s.files); n == 0 || s.files[n-1] != *r.File {
			s.files = append(s.files[max(0, n-1):n:n], *r.File)
		}
		clear(s.pending)
	}
}

// parsed is a record in the engine's terms.
type parsed struct {
	iface           engine.Interface
	put             []engine.Peer
	remove, pending []wgtypes.Key
}

func (r record) parse() (p parsed, err error) {
	if r.Interface != nil {
		if p.iface, err = r.Interface.iface(); err != nil {
			return p, err
		}
	}
	for _, q := range r.Put {
		peer, err := q.peer()
		if err != nil {
			return p, err
		}
		p.put = append(p.put, peer)
	}
	for _, list := range []struct {
		from []string
		to   *[]wgtypes.Key
	}{{r.Remove, &p.remove}, {r.Pending, &p.pending}} {
		for _, text := range list.from {
			key, err := engine.ParseKey(text)
			if err != nil {
				return p, err
			}
			*list.to = append(*list.to, key)
		}
	}
	return p, nil
}

func (r record) encode() ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode a record of the last good state: %w", err)
	}
	return data, nil
}
