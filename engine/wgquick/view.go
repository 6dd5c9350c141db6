package wgquick

import (
	"net/netip"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// Interface is what the [Interface] sections of a file mean. Nil: not given.
type Interface struct {
	PrivateKey engine.SecretKey // zero: not given
	ListenPort *int             // 0: chosen by the device
	FwMark     *uint32          // 0: off
	Addresses  []netip.Prefix   // host bits kept; an address without a prefix length is /32 or /128
	DNS        []netip.Addr
	Search     []string // the names among the DNS values
	MTU        *int     // bytes
	Table      string   // "": auto
	SaveConfig bool

	PreUp, PostUp, PreDown, PostDown []string // in the order of the file, "%i" unexpanded

	// Forward and Masquerade come from comments "# wgfleet: forward" and "# wgfleet: masquerade",
	// which may name links; nil: no such comment, {AnyLink}: one that names none.
	Forward, Masquerade []string
}

// Peer is what the [Peer] sections with one public key mean.
type Peer struct {
	PublicKey           wgtypes.Key
	PresharedKey        engine.SecretKey // zero: none
	AllowedIPs          []netip.Prefix   // masked, in the order of the file
	PersistentKeepalive int              // seconds; 0: off
	// Endpoint is host:port; the host may be a name. PutPeer leaves the endpoint of the file alone
	// where it is empty.
	Endpoint string

	Name string // from a comment "# Name = ..." in the section or right above it; PutPeer ignores it
	Line int    // of the header, counted from 1; PutPeer ignores it
}

// NewPeer returns p as PutPeer takes it; the name of an endpoint goes before its address.
func NewPeer(p engine.Peer) Peer {
	q := Peer{
		PublicKey: p.PublicKey, PresharedKey: p.PresharedKey,
		AllowedIPs: p.AllowedIPs, PersistentKeepalive: p.PersistentKeepalive, Endpoint: p.EndpointName,
	}
	if q.Endpoint == "" && p.Endpoint.IsValid() {
		q.Endpoint = p.Endpoint.String()
	}
	return q
}

// Engine returns the peer as the engine knows it. An endpoint with a host name is left out: to
// look it up is not a file's business.
func (p Peer) Engine() engine.Peer {
	endpoint, _ := netip.ParseAddrPort(p.Endpoint) // the zero value means no endpoint
	return engine.Peer{
		PublicKey: p.PublicKey, PresharedKey: p.PresharedKey, AllowedIPs: slices.Clone(p.AllowedIPs),
		PersistentKeepalive: p.PersistentKeepalive, Endpoint: endpoint,
	}
}

// Engine returns what a device itself knows of the interface, normalized; name is the one that the device gets.
func (i Interface) Engine(name string) engine.Interface {
	out := engine.Interface{Name: name, PrivateKey: i.PrivateKey.Clamped(), Addresses: engine.NormalizeAddresses(i.Addresses)}
	if i.ListenPort != nil {
		out.ListenPort = uint16(*i.ListenPort)
	}
	if i.FwMark != nil {
		out.FwMark = *i.FwMark
	}
	if i.MTU != nil {
		out.MTU = *i.MTU
	}
	return out
}

// Interface reads the [Interface] sections, which add up. A directive of an unknown name, or in
// another section, is an error: what it asks for must not be lost in silence. The error is a
// *ParseError.
func (f *File) Interface() (Interface, error) {
	var out Interface
	for n, b := range f.blocks() {
		for i := range b.lines {
			l := &b.lines[i]
			var err *ParseError
			switch {
			case l.kind == lineDirective:
				err = out.readDirective(l, b.section)
			case b.section == sectionInterface && l.kind == linePair && l.key.info().section == sectionInterface:
				err = out.read(l.key, l.value())
			}
			if err != nil {
				return Interface{}, f.at(err, n+i, l.key)
			}
		}
	}
	return out, nil
}

// at completes the error of a value with its place.
func (f *File) at(err *ParseError, line int, key keyID) *ParseError {
	err.File, err.Line, err.Key = f.Name, line, key.String()
	return err
}

// read takes one value into i.
func (i *Interface) read(key keyID, value string) *ParseError {
	if key.info().wg {
		return i.readWG(key, compact(value))
	}
	if key.info().ours {
		return i.readLinks(key, value)
	}
	if value == "" && key != keySaveConfig {
		return i.clear(key)
	}
	var err *ParseError
	switch key {
	case keyAddress:
		for _, w := range words(value) {
			a, bad := parseAddress(w)
			if bad != nil {
				return bad
			}
			i.Addresses = append(i.Addresses, a)
		}
	case keyDNS:
		return i.readDNS(value)
	case keyMTU:
		var mtu int
		mtu, err = parseMTU(value)
		i.MTU = &mtu
	case keyTable:
		i.Table, err = parseTable(value)
	case keySaveConfig:
		i.SaveConfig, err = parseBool(value)
	default:
		hooks := i.hooks(key)
		*hooks = append(*hooks, value)
	}
	return err
}

// clear is what wg-quick(8) makes of a key without a value.
func (i *Interface) clear(key keyID) *ParseError {
	switch key {
	case keyMTU:
		i.MTU = nil
	case keyTable:
		i.Table = ""
	}
	return nil
}

func (i *Interface) readWG(key keyID, value string) (err *ParseError) {
	switch key {
	case keyPrivateKey:
		i.PrivateKey, err = parseSecret(value)
	case keyListenPort:
		var port int
		port, err = parsePort(value)
		i.ListenPort = &port
	case keyFwMark:
		var mark uint32
		mark, err = parseFwMark(value)
		i.FwMark = &mark
	}
	return err
}

func (i *Interface) readDNS(value string) *ParseError {
	for _, w := range words(value) {
		addr, domain, err := parseDNS(w)
		if err != nil {
			return err
		}
		if domain != "" {
			i.Search = append(i.Search, domain)
		} else {
			i.DNS = append(i.DNS, addr)
		}
	}
	return nil
}

func (i *Interface) hooks(key keyID) *[]string {
	switch key {
	case keyPreUp:
		return &i.PreUp
	case keyPostUp:
		return &i.PostUp
	case keyPreDown:
		return &i.PreDown
	default:
		return &i.PostDown
	}
}

// peerSection is what one [Peer] section says.
type peerSection struct {
	key       wgtypes.Key
	psk       engine.SecretKey
	keepalive int
	endpoint  string
	ips       []netip.Prefix
	given     [keyPersistentKeepalive + 1]bool
	errors    []lineError // in the order of the lines
}

type lineError struct {
	index int // in the block
	key   keyID
	err   *ParseError
}

// bad reports whether a value of the key could not be read.
func (s *peerSection) bad(key keyID) bool {
	return slices.ContainsFunc(s.errors, func(e lineError) bool { return e.key == key })
}

// peer reads a [Peer] section. What can't be read is in errors and otherwise left out.
func (b *block) peer() peerSection {
	var s peerSection
	for i := range b.lines {
		l := &b.lines[i]
		if l.kind != linePair || l.key.info().section != sectionPeer {
			continue
		}
		if err := s.read(l.key, compact(l.value())); err != nil {
			s.errors = append(s.errors, lineError{index: i, key: l.key, err: err})
			continue
		}
		s.given[l.key] = true
	}
	if !s.given[keyPublicKey] && !s.bad(keyPublicKey) {
		err := want("a public key in this [Peer] section", "")
		s.errors = append(s.errors, lineError{index: b.header, key: keyPublicKey, err: err})
	}
	return s
}

func (s *peerSection) read(key keyID, value string) (err *ParseError) {
	switch key {
	case keyPublicKey:
		s.key, err = parsePublicKey(value)
	case keyPresharedKey:
		s.psk, err = parseSecret(value)
	case keyPersistentKeepalive:
		s.keepalive, err = parseKeepalive(value)
	case keyEndpoint:
		s.endpoint, err = parseEndpoint(value)
	case keyAllowedIPs:
		var ips []allowedIP
		if ips, err = parseAllowedIPs(value); err != nil {
			return err
		}
		for _, ip := range ips {
			s.ips = append(s.ips, ip.prefix)
		}
	}
	return err
}

// merge lets a later section of the same peer speak: as in wg(8), its allowed IPs replace the
// earlier ones, given or not, and each other value only where it is given.
func (p *Peer) merge(s *peerSection) {
	p.PublicKey = s.key
	p.AllowedIPs = dedupe(s.ips)
	if s.given[keyPresharedKey] {
		p.PresharedKey = s.psk
	}
	if s.given[keyPersistentKeepalive] {
		p.PersistentKeepalive = s.keepalive
	}
	if s.given[keyEndpoint] {
		p.Endpoint = s.endpoint
	}
}

// dedupe drops repeats and keeps the order.
func dedupe(ips []netip.Prefix) []netip.Prefix {
	if len(ips) < 2 {
		return ips
	}
	seen := make(map[netip.Prefix]struct{}, len(ips))
	return slices.DeleteFunc(ips, func(p netip.Prefix) bool {
		_, again := seen[p]
		seen[p] = struct{}{}
		return again
	})
}

// Peers reads the [Peer] sections. Sections with the same public key are one peer, as in wg(8),
// in the place of the first. That a prefix is held by two peers is not judged here; in wg(8) the
// last one gets it. The error is a *ParseError.
func (f *File) Peers() ([]Peer, error) {
	peers := make([]Peer, 0, len(f.peers))
	var seen map[wgtypes.Key]int
	for n, b := range f.blocks() {
		if b.section != sectionPeer {
			continue
		}
		s := b.peer()
		if len(s.errors) > 0 {
			e := s.errors[0]
			return nil, f.at(e.err, n+e.index, e.key)
		}
		name := b.peerName()
		if len(f.peers[s.key]) > 1 {
			if i, again := seen[s.key]; again {
				peers[i].merge(&s)
				peers[i].Name = nameOr(peers[i].Name, name)
				continue
			}
			if seen == nil {
				seen = make(map[wgtypes.Key]int)
			}
			seen[s.key] = len(peers)
		}
		p := Peer{Name: name, Line: n + b.header}
		p.merge(&s)
		peers = append(peers, p)
	}
	return peers, nil
}

func nameOr(name, other string) string {
	if name != "" {
		return name
	}
	return other
}

// peerName finds "# Name = ..." among the comments of a section.
func (b *block) peerName() string {
	for i := range b.lines {
		if b.lines[i].kind != lineComment {
			continue
		}
		key, value, ok := strings.Cut(commentText(&b.lines[i]), "=")
		if ok && fold(trimmed(key)) == "name" {
			return trimmed(value)
		}
	}
	return ""
}
