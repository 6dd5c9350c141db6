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
//
// It, the host's file and the device may each say something else. Who speaks:
//   - While the interface is up, the device does. One that came up without us is taken in whole.
//   - When it comes up, the last good state does, as long as it holds the interface (its private
//     key), nobody edited the file since, and the file is one of ours (its hash is in files).
//   - Otherwise the file does, with the pending changes on top: they were acknowledged and it does
//     not hold them yet.
//
// What a person wrote into the file is thus never undone, nor is what the agent acknowledged.
type lastState struct {
	known bool // anything was ever recorded
	iface engine.Interface
	peers map[wgtypes.Key]engine.Peer
	up    bool
	made  string // the link that we made, see made.go; "": none
	// alive are the peers that had a session when they were looked at last.
	alive map[wgtypes.Key]bool

	// files are the hashes under which the host's file is ours: the one before the last write, in
	// case the write did not happen, and the one after it. Any other was made by a person.
	files []string
	// edited: a person changed the file since the interface came up, so that it speaks at the next
	// start although we wrote to it later. Only a start, in which it spoke, ends that.
	edited bool
	// pending are the changes that the file was not seen with yet.
	pending map[wgtypes.Key]pendingChange
}

// pendingChange is a change that the host's file may lack.
type pendingChange struct {
	peer    *engine.Peer // nil: it was removed
	written bool         // the last of files holds it: once the file is that one, it is done
}

func newLastState() *lastState {
	return &lastState{
		peers: make(map[wgtypes.Key]engine.Peer), pending: make(map[wgtypes.Key]pendingChange),
		alive: make(map[wgtypes.Key]bool),
	}
}

// clone is a copy that later records do not touch.
func (s *lastState) clone() *lastState {
	c := *s
	c.peers, c.pending, c.alive = maps.Clone(s.peers), maps.Clone(s.pending), maps.Clone(s.alive)
	return &c
}

// whole reports whether it holds an interface, not only what was said of one.
func (s *lastState) whole() bool { return s.known && !s.iface.PrivateKey.IsZero() }

// never reports whether the interface never had a file.
func (s *lastState) never() bool { return len(s.files) == 0 || s.files[len(s.files)-1] == "" }

// speaks reports whether it says what the interface is to be, and not the file of that hash.
func (s *lastState) speaks(hash string) bool {
	return s.whole() && !s.edited && slices.Contains(s.files, hash)
}

// foreign reports whether somebody else made the file of that hash; "" stands for no file.
func (s *lastState) foreign(hash string) bool {
	return hash != "" && len(s.files) > 0 && !slices.Contains(s.files, hash)
}

// awaits reports whether changes are done once the file has that hash.
func (s *lastState) awaits(hash string) bool {
	if n := len(s.files); n == 0 || s.files[n-1] != hash {
		return false
	}
	for _, p := range s.pending {
		if p.written {
			return true
		}
	}
	return len(s.files) > 1
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
	Made      *string          `json:"made,omitempty"`
	Seen      []seenRecord     `json:"seen,omitempty"`
	// File is the hash that the host's file is about to have, with what came before in it; Was is
	// the one that it has. Files says which files are ours without announcing one.
	File   *string  `json:"file,omitempty"`
	Was    string   `json:"was,omitempty"`
	Files  []string `json:"files,omitempty"`
	Edited *bool    `json:"edited,omitempty"`
	// Pending and Written name the peers whose change the file was not seen with (with Reset).
	// Endpoints are those that were asked for with them, and not only seen.
	Pending   []string     `json:"pending,omitempty"`
	Written   []string     `json:"written,omitempty"`
	Endpoints []peerRecord `json:"endpoints,omitempty"`
	// Done: the host's file is the one that was announced.
	Done bool `json:"done,omitempty"`
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
	EndpointName string         `json:"endpoint_name,omitempty"`
}

func secretText(k engine.SecretKey) string { return k.RevealText() }

func parseSecretText(s string) (engine.SecretKey, error) {
	if s == "" {
		return engine.SecretKey{}, nil
	}
	return engine.ParseSecretKey(s)
}

func newPeerRecord(p engine.Peer) peerRecord {
	return peerRecord{
		PublicKey: p.PublicKey.String(), PresharedKey: secretText(p.PresharedKey), AllowedIPs: p.AllowedIPs,
		Keepalive: p.PersistentKeepalive, Endpoint: p.Endpoint, EndpointName: p.EndpointName,
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
		PersistentKeepalive: r.Keepalive, Endpoint: r.Endpoint, EndpointName: r.EndpointName,
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

// replaced is the record of a whole state that c led to; what the file does not hold yet stays noted.
func (s *lastState) replaced(after engine.State, c engine.Changes) record {
	r := stateRecord(after)
	up := true
	r.Up = &up
	next := lastState{pending: maps.Clone(s.pending)}
	for _, p := range c.Peers {
		next.ask(p.Key(), p.After)
	}
	for key, p := range next.pending {
		r.Pending = append(r.Pending, key.String())
		r.ask(p.peer)
	}
	return r
}

// ask notes the endpoint that was asked for with a pending peer; nil: it is to go.
func (r *record) ask(p *engine.Peer) {
	if p != nil && p.Endpoint.IsValid() {
		r.Endpoints = append(r.Endpoints, peerRecord{
			PublicKey: p.PublicKey.String(), Endpoint: p.Endpoint, EndpointName: p.EndpointName,
		})
	}
}

// snapshot is the record that makes s from nothing.
func (s *lastState) snapshot() record {
	r := stateRecord(s.state())
	r.Up, r.Edited, r.Files = &s.up, &s.edited, s.files
	r.Made, r.Seen = &s.made, s.seen()
	for key, p := range s.pending {
		if p.written {
			r.Written = append(r.Written, key.String())
		} else {
			r.Pending = append(r.Pending, key.String())
		}
		r.ask(p.peer)
	}
	slices.Sort(r.Pending)
	slices.Sort(r.Written)
	return r
}

// do takes a record in, or refuses it and changes nothing.
func (s *lastState) do(r record) error {
	p, err := r.parse()
	if err != nil {
		return err
	}
	s.known = s.known || r.says() || r.Up != nil
	if r.Made != nil {
		s.made = *r.Made
	}
	if r.Reset {
		s.peers, s.pending = make(map[wgtypes.Key]engine.Peer, len(p.put)), make(map[wgtypes.Key]pendingChange)
	}
	if r.Interface != nil {
		s.iface = p.iface
	}
	for _, peer := range p.put {
		if !r.Reset {
			s.ask(peer.PublicKey, &peer)
		}
		if !peer.Endpoint.IsValid() { // not asked for: it stays
			peer.Endpoint = s.peers[peer.PublicKey].Endpoint
		}
		s.peers[peer.PublicKey] = peer
	}
	for _, key := range p.remove {
		delete(s.peers, key)
		s.ask(key, nil)
	}
	for i, key := range p.seen {
		s.saw(key, r.Seen[i].Endpoint, r.Seen[i].Alive)
	}
	maps.DeleteFunc(s.alive, func(key wgtypes.Key, _ bool) bool { _, there := s.peers[key]; return !there })
	s.setPending(p.pending, false)
	s.doFile(r)
	s.setPending(p.written, true)
	for _, asked := range p.endpoints {
		if p := s.pending[asked.PublicKey].peer; p != nil {
			p.Endpoint, p.EndpointName = asked.Endpoint, asked.EndpointName
		}
	}
	return nil
}

// ask notes a change that the file is to hold; nil: the peer goes. An endpoint that the file was to
// hold already stays.
func (s *lastState) ask(key wgtypes.Key, peer *engine.Peer) {
	if peer != nil {
		p := *peer
		if was := s.pending[key].peer; was != nil && !p.Endpoint.IsValid() {
			p.Endpoint, p.EndpointName = was.Endpoint, was.EndpointName
		}
		peer = &p
	}
	s.pending[key] = pendingChange{peer: peer}
}

// setPending notes that the file was not seen with these peers as they are.
func (s *lastState) setPending(keys []wgtypes.Key, written bool) {
	for _, key := range keys {
		c := pendingChange{written: written}
		if peer, there := s.peers[key]; there {
			peer.Endpoint, peer.EndpointName = netip.AddrPort{}, "" // it may only have been seen
			c.peer = &peer
		}
		s.pending[key] = c
	}
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
		s.markPending(false)
	}
	if r.File != nil {
		s.files = slices.Compact([]string{r.Was, *r.File})
		s.markPending(true)
	}
	if r.Done {
		maps.DeleteFunc(s.pending, func(_ wgtypes.Key, p pendingChange) bool { return p.written })
		if n := len(s.files); n > 1 {
			s.files = s.files[n-1:] // who puts the old file back from now on is a person
		}
	}
}

// markPending says of all changes whether the file that is announced holds them.
func (s *lastState) markPending(written bool) {
	for key, p := range s.pending {
		p.written = written
		s.pending[key] = p
	}
}

// parsed is a record in the engine's terms.
type parsed struct {
	iface                          engine.Interface
	put, endpoints                 []engine.Peer
	remove, pending, written, seen []wgtypes.Key
}

func (r record) parse() (p parsed, err error) {
	if r.Interface != nil {
		if p.iface, err = r.Interface.iface(); err != nil {
			return p, err
		}
	}
	for _, list := range []struct {
		from []peerRecord
		to   *[]engine.Peer
	}{{r.Put, &p.put}, {r.Endpoints, &p.endpoints}} {
		for _, q := range list.from {
			peer, err := q.peer()
			if err != nil {
				return p, err
			}
			*list.to = append(*list.to, peer)
		}
	}
	for _, list := range []struct {
		from []string
		to   *[]wgtypes.Key
	}{{r.Remove, &p.remove}, {r.Pending, &p.pending}, {r.Written, &p.written}, {seenKeys(r.Seen), &p.seen}} {
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
