package server

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// lookUps is how many host names are looked up at a time.
const lookUps = 32

// namedPeer is a peer whose endpoint is a host name in a configuration.
type namedPeer struct {
	key  wgtypes.Key
	host string
	port uint16
}

// namedPeers returns the peers whose endpoint is a host name.
func namedPeers(peers []wgquick.Peer) []namedPeer {
	var out []namedPeer
	for _, p := range peers {
		host, text, err := net.SplitHostPort(p.Endpoint)
		if err != nil {
			continue // it has none
		}
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			continue
		}
		if _, err := netip.ParseAddr(host); err != nil {
			out = append(out, namedPeer{key: p.PublicKey, host: host, port: uint16(port)})
		}
	}
	return out
}

// at returns the endpoint behind each address of the peer's host.
func (p namedPeer) at(addrs []netip.Addr) []netip.AddrPort {
	out := make([]netip.AddrPort, len(addrs))
	for i, a := range addrs {
		out[i] = netip.AddrPortFrom(a, p.port)
	}
	return out
}

// found is what became of one look-up: at least one address, or an error.
type found struct {
	addrs []netip.Addr
	err   error
}

// lookUp looks host names up, each once, side by side and each within resolveTimeout.
func (s *Server) lookUp(ctx context.Context, peers []namedPeer) map[string]found {
	hosts := make([]string, len(peers))
	for i, p := range peers {
		hosts[i] = p.host
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	results := make([]found, len(hosts))
	places, done := make(chan struct{}, lookUps), make(chan struct{}, len(hosts))
	for i, host := range hosts {
		places <- struct{}{}
		go func() {
			results[i] = s.lookUpOne(ctx, host)
			<-places
			done <- struct{}{}
		}()
	}
	out := make(map[string]found, len(hosts))
	for range hosts {
		<-done
	}
	for i, host := range hosts {
		out[host] = results[i]
	}
	return out
}

func (s *Server) lookUpOne(ctx context.Context, host string) found {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	addrs, err := s.o.Resolver.LookupNetIP(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = errors.New("it has no address")
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return found{addrs, err}
}

// resolve looks up the endpoints that are host names, all of them within resolveTimeout.
func (s *Server) resolve(ctx context.Context, peers []wgquick.Peer) (map[wgtypes.Key][]netip.AddrPort, map[string]error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	named := namedPeers(peers)
	results := s.lookUp(ctx, named)
	endpoints, failed := make(map[wgtypes.Key][]netip.AddrPort), make(map[string]error)
	for _, p := range named {
		if r := results[p.host]; r.err != nil {
			failed[p.host] = r.err
		} else {
			endpoints[p.key] = p.at(r.addrs)
		}
	}
	return endpoints, failed
}

// nearest chooses one of the endpoints of a name: the present one where it is among them, else one at
// its address, else one of its family, else the first.
func nearest(present netip.AddrPort, endpoints []netip.AddrPort) netip.AddrPort {
	now := present.Addr().Unmap()
	for _, fits := range []func(netip.AddrPort) bool{
		func(e netip.AddrPort) bool { return e.Addr() == now && e.Port() == present.Port() },
		func(e netip.AddrPort) bool { return e.Addr() == now },
		func(e netip.AddrPort) bool { return e.Addr().BitLen() == now.BitLen() },
	} {
		if i := slices.IndexFunc(endpoints, fits); i >= 0 {
			return endpoints[i]
		}
	}
	return endpoints[0]
}
