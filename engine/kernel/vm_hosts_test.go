//go:build vm

package kernel_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// patience bounds what should be there at once: the machine is emulated.
const patience = 30 * time.Second

// host is a network namespace of its own, and the one thread that lives in it. The zero value is the
// namespace of the test itself.
type host struct {
	calls chan func()
	ns    *os.File
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{calls: make(chan func())}
	begun := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			h.ns, err = os.Open("/proc/thread-self/ns/net")
		}
		begun <- err
		for f := range h.calls {
			f()
		}
	}()
	require.NoError(t, <-begun)
	t.Cleanup(func() {
		close(h.calls)
		h.ns.Close()
	})
	return h
}

// on calls f in the host. Sockets that f opens stay there, whoever uses them.
func on[T any](h *host, f func() (T, error)) (v T, err error) {
	if h.calls == nil {
		return f()
	}
	done := make(chan struct{})
	h.calls <- func() { v, err = f(); close(done) }
	<-done
	return v, err
}

func must[T any](t *testing.T, h *host, f func() (T, error)) T {
	t.Helper()
	v, err := on(h, f)
	require.NoError(t, err)
	return v
}

func do(t *testing.T, h *host, f func() error) {
	t.Helper()
	must(t, h, func() (struct{}, error) { return struct{}{}, f() })
}

// cable joins two hosts.
func cable(t *testing.T, name string, a *host, ipA string, b *host, ipB string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name + "a"
	require.NoError(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "b"}))
	plug(t, a, name+"a", ipA)
	plug(t, b, name+"b", ipB)
	t.Cleanup(func() { do(t, a, func() error { return netlink.LinkDel(&netlink.Veth{LinkAttrs: attrs}) }) })
}

func plug(t *testing.T, h *host, name, ip string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	require.NoError(t, err)
	if h.ns != nil {
		require.NoError(t, netlink.LinkSetNsFd(l, int(h.ns.Fd())))
	}
	do(t, h, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrAdd(l, address(ip)), netlink.LinkSetUp(l))
	})
}

func address(s string) *netlink.Addr {
	p := netip.MustParsePrefix(s)
	return &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
}

// end is one end of a tunnel.
type end struct {
	*testing.T
	engine.Device
	host *host
	key  engine.SecretKey
	ip   netip.Addr // in the tunnel
	port uint16
}

func newEnd(t *testing.T, h *host, b engine.Backend, addresses ...string) end {
	t.Helper()
	e := end{T: t, host: h, key: enginetest.PrivateKey(t)}
	i := engine.Interface{Name: "wgt0", PrivateKey: e.key}
	for _, a := range addresses {
		i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
	}
	e.ip = i.Addresses[0].Addr()
	e.Device = there{must(t, h, func() (engine.Device, error) { return b.Create(t.Context(), i) }), h}
	t.Cleanup(func() { require.NoError(t, e.Close(context.Background())) })
	e.port = e.observe().Interface.ListenPort
	return e
}

// there is a device of another host.
type there struct {
	engine.Device
	host *host
}

func (d there) Observe(ctx context.Context) (engine.Observation, error) {
	return on(d.host, func() (engine.Observation, error) { return d.Device.Observe(ctx) })
}

func (d there) Configure(ctx context.Context, c engine.Changes) error {
	_, err := on(d.host, func() (struct{}, error) { return struct{}{}, d.Device.Configure(ctx, c) })
	return err
}

func (d there) Close(ctx context.Context) error {
	_, err := on(d.host, func() (struct{}, error) { return struct{}{}, d.Device.Close(ctx) })
	return err
}

func (e end) observe() engine.Observation {
	e.Helper()
	o, err := e.Observe(e.Context())
	require.NoError(e, err)
	return o
}

// want makes the peers so, by the difference alone.
func (e end) want(peers ...engine.Peer) {
	e.Helper()
	before := e.observe().State
	c := engine.Changes{Peers: engine.DiffPeers(before.Peers, engine.NormalizePeers(peers), engine.DiffOptions{RemoveUnknown: true})}
	_, err := engine.Apply(e.Context(), e.Device, before, c)
	require.NoError(e, err)
}

func (e end) statsOf(other end) engine.Stats {
	e.Helper()
	s, ok := e.observe().Stats[other.key.PublicKey()]
	require.True(e, ok)
	return s
}

// peer is how another end knows this one, without an endpoint.
func (e end) peer(ips ...string) engine.Peer {
	p := engine.Peer{PublicKey: e.key.PublicKey()}
	for _, ip := range append(ips, netip.PrefixFrom(e.ip, e.ip.BitLen()).String()) {
		p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix(ip))
	}
	return p
}

func (e end) peerAt(underlay string, ips ...string) engine.Peer {
	p := e.peer(ips...)
	p.Endpoint = netip.AddrPortFrom(netip.MustParseAddr(underlay), e.port)
	return p
}

const echoPort = 7

// echo answers what comes to ip by UDP with its name and the same, by TCP with the same.
func (e end) echo(name string, ip netip.Addr) {
	e.Helper()
	at := netip.AddrPortFrom(ip, echoPort)
	u := must(e.T, e.host, func() (*net.UDPConn, error) { return net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)) })
	l := must(e.T, e.host, func() (*net.TCPListener, error) { return net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at)) })
	e.Cleanup(func() { u.Close(); l.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			u.WriteToUDPAddrPort(append([]byte(name), b[:n]...), from)
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
}

func (e end) dialUDP(to netip.Addr) *net.UDPConn {
	e.Helper()
	c := must(e.T, e.host, func() (*net.UDPConn, error) {
		return net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, echoPort)))
	})
	e.Cleanup(func() { c.Close() })
	return c
}

// ping sends one packet and returns the name of who answered. None is sent again.
func (e end) ping(c *net.UDPConn) string {
	e.Helper()
	_, err := c.Write([]byte("?"))
	require.NoError(e, err)
	require.NoError(e, c.SetReadDeadline(time.Now().Add(patience)))
	b := make([]byte, 100)
	n, err := c.Read(b)
	require.NoError(e, err, "no answer")
	require.Equal(e, "?", string(b[n-1:n]))
	return string(b[:n-1])
}

// pour sends that many bytes by TCP and reads them back.
func (e end) pour(to netip.Addr, bytes int) {
	e.Helper()
	c := must(e.T, e.host, func() (*net.TCPConn, error) {
		return net.DialTCP("tcp4", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(to, echoPort)))
	})
	defer c.Close()
	require.NoError(e, c.SetDeadline(time.Now().Add(patience)))
	sent := make([]byte, bytes)
	for i := range sent {
		sent[i] = byte(i * 7 >> 3)
	}
	go func() { c.Write(sent); c.CloseWrite() }()
	got, err := io.ReadAll(c)
	require.NoError(e, err)
	require.Equal(e, len(sent), len(got))
	require.Equal(e, sha256.Sum256(sent), sha256.Sum256(got), "what came back is what was sent")
}
