package netstack

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// Listen takes TCP connections as net.Listen does: "tcp" and host:port, where no host is all of the device's addresses, IPv4
// and IPv6 at once, and port 0 a free one. Its Addr can be dialed; once it is closed, Accept returns net.ErrClosed.
func (n *Net) Listen(network, address string) (net.Listener, error) {
	at, err := n.local("tcp", network, address)
	if err != nil {
		return nil, err
	}
	l, err := n.ListenTCPAddrPort(at)
	if err != nil {
		return nil, err
	}
	bound, ok := l.Addr().(*net.TCPAddr)
	if !ok { // it was closed in between, with the device
		_ = l.Close()
		return nil, listenError(network, address, net.ErrClosed)
	}
	return listener{l, net.TCPAddrFromAddrPort(n.dialable(bound.AddrPort()))}, nil
}

// ListenPacket takes datagrams as net.ListenPacket does: "udp" and host:port, both as in Listen.
func (n *Net) ListenPacket(network, address string) (net.PacketConn, error) {
	at, err := n.local("udp", network, address)
	if err != nil {
		return nil, err
	}
	c, err := n.ListenUDPAddrPort(at)
	if err != nil {
		return nil, err
	}
	bound, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		_ = c.Close()
		return nil, listenError(network, address, net.ErrClosed)
	}
	return packetConn{c, net.UDPAddrFromAddrPort(n.dialable(bound.AddrPort()))}, nil
}

// local reads an address to listen at; one without a host, or with the unspecified one, is invalid but for its port. The
// stack itself takes any IPv4 address, and such a listener would hear nobody.
func (n *Net) local(want, network, address string) (netip.AddrPort, error) {
	if network != want {
		return netip.AddrPort{}, listenError(network, address, net.UnknownNetworkError(network))
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, listenError(network, address, err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return netip.AddrPort{}, listenError(network, address, fmt.Errorf("the port %q is no number", service))
	}
	if host == "" {
		return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, listenError(network, address, err)
	}
	switch {
	case a.IsUnspecified():
		a = netip.Addr{}
	case n.stack.CheckLocalAddress(0, protocolOf(a), tcpip.AddrFromSlice(a.AsSlice())) == 0:
		return netip.AddrPort{}, listenError(network, address, syscall.EADDRNOTAVAIL)
	}
	return netip.AddrPortFrom(a, uint16(port)), nil
}

func listenError(network, address string, err error) error {
	return fmt.Errorf("listen on %s %s: %w", network, address, err)
}

// dialable puts the device's own address, IPv4 before IPv6, in the place of any.
func (n *Net) dialable(at netip.AddrPort) netip.AddrPort {
	if at.Addr().IsValid() && !at.Addr().IsUnspecified() {
		return at
	}
	own, err := n.stack.GetMainNICAddress(NIC, ipv4.ProtocolNumber)
	if err != nil || own.Address.Len() == 0 {
		own, _ = n.stack.GetMainNICAddress(NIC, ipv6.ProtocolNumber) // none: the listener hears nobody
	}
	a, _ := netip.AddrFromSlice(own.Address.AsSlice())
	return netip.AddrPortFrom(a, at.Port())
}

// listener is a TCP listener that ends as those of net do.
type listener struct {
	net.Listener
	at net.Addr
}

// Addr is where it is reached.
func (l listener) Addr() net.Addr { return l.at }

// Accept waits for a connection. All that fails it is the end of the listener or of its device.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.at, Err: net.ErrClosed}
	}
	return c, nil
}

// packetConn is a UDP socket that says where it is reached.
type packetConn struct {
	*UDPConn
	at net.Addr
}

// LocalAddr is where it is reached.
func (c packetConn) LocalAddr() net.Addr { return c.at }
