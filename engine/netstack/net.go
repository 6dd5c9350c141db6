package netstack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Net gives Go code sockets inside the tunnel. It is safe for concurrent use; close what it opened before the device.
type Net struct {
	stack *stack.Stack
	dns   []netip.Addr
}

// full is an address for the stack; nil stands for any.
func full(a netip.AddrPort) (*tcpip.FullAddress, tcpip.NetworkProtocolNumber) {
	out := &tcpip.FullAddress{NIC: NIC, Port: a.Port()}
	if a.Addr().IsValid() {
		out.Addr = tcpip.AddrFromSlice(a.Addr().AsSlice())
	}
	return out, protocolOf(a.Addr())
}

// DialContextTCPAddrPort connects to an address inside the tunnel.
func (n *Net) DialContextTCPAddrPort(ctx context.Context, to netip.AddrPort) (*gonet.TCPConn, error) {
	address, proto := full(to)
	return gonet.DialContextTCP(ctx, n.stack, *address, proto)
}

// ListenTCPAddrPort listens on an own address; the zero address is any.
func (n *Net) ListenTCPAddrPort(at netip.AddrPort) (*gonet.TCPListener, error) {
	address, proto := full(at)
	return gonet.ListenTCP(n.stack, *address, proto)
}

// DialUDPAddrPort opens a socket that sends to one address; from may be zero.
func (n *Net) DialUDPAddrPort(from, to netip.AddrPort) (*UDPConn, error) {
	return openUDP(n.stack, from, to)
}

// ListenUDPAddrPort opens a socket that sends to any address; the zero address is any own one.
func (n *Net) ListenUDPAddrPort(at netip.AddrPort) (*UDPConn, error) {
	return openUDP(n.stack, at, netip.AddrPort{})
}

// DialContext connects as net.Dialer does, "tcp" or "udp", by address or by a name that the device's resolvers know.
func (n *Net) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("dial %s: the port %q is no number", address, service)
	}
	addrs, err := n.LookupNetIP(ctx, host)
	for _, a := range addrs {
		var c net.Conn
		if c, err = n.dial(ctx, network, netip.AddrPortFrom(a, uint16(port))); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func (n *Net) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	var c net.Conn
	var err error
	switch network {
	case "tcp":
		c, err = n.DialContextTCPAddrPort(ctx, to)
	case "udp":
		c, err = n.DialUDPAddrPort(netip.AddrPort{}, to)
	default:
		err = fmt.Errorf("dial %s: %w", to, net.UnknownNetworkError(network))
	}
	if err != nil {
		return nil, err // and no nil pointer in the interface
	}
	return c, nil
}

// LookupNetIP asks the device's resolvers, one after the other, for the addresses of a name.
func (n *Net) LookupNetIP(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	const dnsPort = 53
	err := errors.New("the device has no resolvers")
	for _, server := range n.dns {
		r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return n.dial(ctx, network[:3], netip.AddrPortFrom(server, dnsPort))
		}}
		var addrs []netip.Addr
		if addrs, err = r.LookupNetIP(ctx, "ip", host); err == nil {
			return addrs, nil
		}
	}
	return nil, fmt.Errorf("look up %s inside the tunnel: %w", host, err)
}
