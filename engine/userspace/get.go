package userspace

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// parser reads the answer to a UAPI get. Peers share one array of prefixes, and all text is cut out
// of the answer: a device of ten thousand peers costs a handful of allocations.
type parser struct {
	o        engine.Observation
	prefixes []netip.Prefix // of all peers so far
	first    int            // where the current peer's begin
	seconds  int64          // the current peer's last handshake
	nanos    int64
	stats    engine.Stats // the current peer's
}

// parse reads a whole answer into a normalized observation. Its errors name the key of the line
// alone: a value may be a secret.
func parse(text string) (engine.Observation, error) {
	peers := strings.Count(text, "public_key=")
	p := parser{prefixes: make([]netip.Prefix, 0, strings.Count(text, "allowed_ip="))}
	p.o.Peers = make([]engine.Peer, 0, peers)
	p.o.Stats = make(map[wgtypes.Key]engine.Stats, peers)
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return engine.Observation{}, errors.New("UAPI: a line without a value")
		}
		if err := p.line(key, value); err != nil {
			return engine.Observation{}, fmt.Errorf("UAPI: %.40q: %w", key, err)
		}
	}
	p.endPeer()
	p.o.State = engine.Normalize(p.o.State)
	return p.o, nil
}

func (p *parser) line(key, value string) error {
	if key == "public_key" {
		p.endPeer()
		k, err := parseKey(value)
		p.o.Peers = append(p.o.Peers, engine.Peer{PublicKey: k})
		return err
	}
	if n := len(p.o.Peers); n > 0 {
		return p.peerLine(&p.o.Peers[n-1], key, value)
	}
	return p.interfaceLine(key, value)
}

func (p *parser) interfaceLine(key, value string) error {
	var n uint64
	var err error
	switch i := &p.o.Interface; key {
	case "private_key":
		var k wgtypes.Key
		k, err = parseKey(value)
		i.PrivateKey = engine.NewSecretKey(k)
	case "listen_port":
		n, err = parseNumber(value, 16)
		i.ListenPort = uint16(n)
	case "fwmark":
		n, err = parseNumber(value, 32)
		i.FwMark = uint32(n)
	case "errno":
		if value != "0" {
			err = errors.New("the device reports an error")
		}
	default:
		err = errors.New("unknown to this program")
	}
	return err
}

func (p *parser) peerLine(peer *engine.Peer, key, value string) (err error) {
	switch key {
	case "preshared_key":
		var k wgtypes.Key
		k, err = parseKey(value)
		peer.PresharedKey = engine.NewSecretKey(k)
	case "endpoint":
		var e netip.AddrPort
		if e, err = netip.ParseAddrPort(value); err == nil {
			peer.Endpoint, p.stats.Endpoint = e, e
		}
	case "allowed_ip":
		var ip netip.Prefix
		if ip, err = netip.ParsePrefix(value); err == nil {
			p.prefixes = append(p.prefixes, ip)
		}
	case "persistent_keepalive_interval":
		var n uint64
		n, err = parseNumber(value, 16)
		peer.PersistentKeepalive = int(n)
	case "last_handshake_time_sec":
		p.seconds, err = parseCount(value)
	case "last_handshake_time_nsec":
		p.nanos, err = parseCount(value)
	case "tx_bytes":
		p.stats.TxBytes, err = parseCount(value)
	case "rx_bytes":
		p.stats.RxBytes, err = parseCount(value)
	case "protocol_version":
	default:
		return p.interfaceLine(key, value) // errno comes last
	}
	return err
}

// endPeer files what was collected of the current peer, if there is one.
func (p *parser) endPeer() {
	n := len(p.o.Peers)
	if n == 0 {
		return
	}
	peer := &p.o.Peers[n-1]
	// The capacity ends with the peer: who appends to the slice does not write into the next one.
	peer.AllowedIPs = p.prefixes[p.first:len(p.prefixes):len(p.prefixes)]
	if p.seconds != 0 || p.nanos != 0 {
		p.stats.LastHandshake = time.Unix(p.seconds, p.nanos)
	}
	p.o.Stats[peer.PublicKey] = p.stats
	p.first, p.seconds, p.nanos, p.stats = len(p.prefixes), 0, 0, engine.Stats{}
}

func parseKey(s string) (k wgtypes.Key, err error) {
	if len(s) != 2*wgtypes.KeyLen {
		return k, errors.New("not a key: expected 64 hexadecimal digits")
	}
	var digits [2 * wgtypes.KeyLen]byte
	copy(digits[:], s)
	if _, err := hex.Decode(k[:], digits[:]); err != nil {
		return wgtypes.Key{}, errors.New("not a key: expected 64 hexadecimal digits")
	}
	return k, nil
}

func parseNumber(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, fmt.Errorf("not a number of %d bits", bits)
	}
	return n, nil
}

// parseCount reads a counter; those fit into 63 bits.
func parseCount(s string) (int64, error) {
	n, err := parseNumber(s, 63)
	return int64(n), err
}
