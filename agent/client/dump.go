package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// Query asks for a dump.
type Query struct {
	// IfNot is a digest; where the agent's peers have it, the answer is NotModified.
	IfNot string
	// IfNotInterface is the interface's digest that was last seen. It ends a wait where it is another by
	// now; "" is the one at the time that the wait begins.
	IfNotInterface string
	// Wait holds a NotModified back until something changes, in whole seconds and agent.MaxWait at most; 0: not
	// at all. The context must outlast it by what an answer takes: nothing else ends a call to an agent
	// that hangs. Who has no agent.CapWait answers at once, as the original does.
	Wait time.Duration
}

// Snapshot is one full read of an interface's peers, or the word that nothing changed.
type Snapshot struct {
	NotModified     bool
	Digest          string // of the peers, see engine.Digest
	InterfaceDigest string // "" from an agent without agent.CapETag
	Peers           []Peer // sorted by key; none where NotModified
}

// Peer is one peer of a Snapshot. PresharedKey is zero where the agent hides it: compare by
// PresharedKeyMAC.
type Peer struct {
	engine.Peer
	PresharedKeyMAC string // "" for none
	Stats           engine.Stats
}

func interfacePath(name, rest string) (string, error) {
	if err := engine.ValidateName(name); err != nil {
		return "", &Error{Kind: BadSettings, Reason: err.Error(), Err: err}
	}
	return "/v1/wg/" + name + rest, nil
}

// Dump reads the peers. A dump that is torn, repeats a peer or does not have the digest that it
// was signed with is Malformed.
func (c *Client) Dump(ctx context.Context, name string, q Query) (Snapshot, error) {
	path, err := interfacePath(name, "/dump")
	if err != nil {
		return Snapshot{}, err
	}
	v2, err := c.dialect(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	digests, err := c.can(ctx, agent.CapETag)
	if err != nil {
		return Snapshot{}, err
	}
	waits, err := c.can(ctx, agent.CapWait)
	if err != nil {
		return Snapshot{}, err
	}
	r := call{method: http.MethodGet, path: path, header: map[string]string{}}
	if digests && q.IfNot != "" {
		r.header["If-None-Match"] = quote(q.IfNot)
		if waits && q.Wait > 0 {
			r.header["Prefer"] = fmt.Sprintf("wait=%d", int(math.Ceil(min(q.Wait, agent.MaxWait).Seconds())))
		}
		if waits && q.Wait > 0 && q.IfNotInterface != "" {
			r.header[agent.HeaderInterfaceDigest] = q.IfNotInterface
		}
	}
	a, err := c.send(ctx, r, v2)
	if err != nil {
		return Snapshot{}, err
	}
	if digests && a.interfaceDigest == "" {
		return Snapshot{}, errorf(NotAuthentic, "the agent's answer has no X-Interface-Digest")
	}
	if a.status == http.StatusNotModified {
		if !digests || q.IfNot == "" || a.etag != quote(q.IfNot) {
			return Snapshot{}, errorf(NotAuthentic, "the agent says that nothing changed, but not since what it was asked about")
		}
		return Snapshot{NotModified: true, Digest: q.IfNot, InterfaceDigest: a.interfaceDigest}, nil
	}
	s, err := c.snapshot(a, name)
	if err != nil {
		return s, err
	}
	if digests && a.etag != quote(s.Digest) {
		return s, errorf(Malformed, "the dump is torn: its peers do not have the digest that it names")
	}
	if q.IfNot != "" && s.Digest == q.IfNot { // without agent.CapETag there is no 304
		s.NotModified = true
	}
	return s, nil
}

func quote(digest string) string { return `"` + digest + `"` }

func (c *Client) snapshot(a *answer, name string) (Snapshot, error) {
	var d agent.Dump
	if err := read(a, &d); err != nil {
		return Snapshot{}, err
	}
	if d.Interface != name || d.Peers == nil {
		return Snapshot{}, errorf(Malformed, "the dump is not of interface %s", name)
	}
	s := Snapshot{InterfaceDigest: a.interfaceDigest, Peers: make([]Peer, 0, len(d.Peers))}
	holders := make(map[netip.Prefix]wgtypes.Key, len(d.Peers))
	for i := range d.Peers {
		p, err := c.peer(&d.Peers[i])
		if err != nil {
			return Snapshot{}, &Error{Kind: Malformed, Reason: fmt.Sprintf("the dump is malformed at peer %d: %v", i+1, err), Err: err}
		}
		for _, ip := range p.AllowedIPs {
			if _, twice := holders[ip]; twice {
				return Snapshot{}, errorf(Malformed, "the dump is torn: allowed IP %s is on two peers", ip)
			}
			holders[ip] = p.PublicKey
		}
		s.Peers = append(s.Peers, p)
	}
	sortPeers(s.Peers)
	lines := make([][]byte, len(s.Peers))
	for i, p := range s.Peers {
		if i > 0 && p.PublicKey == s.Peers[i-1].PublicKey {
			return Snapshot{}, errorf(Malformed, "the dump is torn: peer %s is in it twice", p.PublicKey)
		}
		lines[i] = engine.AppendDigestLine(nil, p.Peer, p.PresharedKeyMAC)
	}
	s.Digest = engine.DigestLines(lines)
	return s, nil
}

// peer reads one peer. Errors never hold a preshared key.
func (c *Client) peer(d *agent.DumpPeer) (Peer, error) {
	var p Peer
	key, err := engine.ParseKey(d.PublicKey)
	if err != nil {
		return p, fmt.Errorf("public_key: %w", err)
	}
	p.PublicKey, p.PersistentKeepalive = key, d.PersistentKeepalive
	if len(d.AllowedIPs) == 1 && d.AllowedIPs[0] == "(none)" { // the original passes on what wg(8) prints
		d.AllowedIPs = nil
	}
	ips := make([]netip.Prefix, 0, len(d.AllowedIPs))
	for _, text := range d.AllowedIPs {
		ip, err := engine.ParsePrefix(text)
		if err != nil {
			return p, fmt.Errorf("allowed_ips: %w", err)
		}
		ips = append(ips, ip)
	}
	p.AllowedIPs = engine.NormalizePrefixes(ips)
	if err := engine.ValidatePeer(p.Peer); err != nil {
		return p, err
	}
	if err := c.preshared(&p, d); err != nil {
		return p, err
	}
	p.Stats = engine.Stats{RxBytes: d.TransferRx, TxBytes: d.TransferTx}
	if d.Endpoint != nil {
		p.Stats.Endpoint, _ = netip.ParseAddrPort(*d.Endpoint)
	}
	if d.LatestHandshake != nil && *d.LatestHandshake > 0 {
		p.Stats.LastHandshake = time.Unix(*d.LatestHandshake, 0).UTC()
	}
	return p, nil
}

// preshared reads the key, where it is shown, and its MAC.
func (c *Client) preshared(p *Peer, d *agent.DumpPeer) error {
	if d.PresharedKey != nil {
		k, err := engine.ParseSecretKey(*d.PresharedKey)
		if err != nil {
			return fmt.Errorf("preshared_key: %w", err)
		}
		p.PresharedKey, p.PresharedKeyMAC = k, c.mac.MAC(k)
	}
	if d.PresharedKeyMAC == nil {
		return nil
	}
	mac := *d.PresharedKeyMAC
	if len(mac) != 64 || strings.Trim(mac, "0123456789abcdef") != "" {
		return errors.New("preshared_key_mac: expected 64 hex digits")
	}
	if d.PresharedKey != nil && mac != p.PresharedKeyMAC {
		return errors.New("preshared_key_mac: is not that of the preshared key")
	}
	p.PresharedKeyMAC = mac
	return nil
}
