//go:build vm

package kernel_test

import (
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/kernel"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// pair is two kernels with a cable between them; a knows where b is.
func pair(t *testing.T) (a, b end) {
	t.Helper()
	hostA, hostB := newHost(t), newHost(t)
	cable(t, "u", hostA, "192.0.2.1/24", hostB, "192.0.2.2/24")
	a, b = newEnd(t, hostA, kernel.New(), "10.8.0.1/24"), newEnd(t, hostB, kernel.New(), "10.8.0.2/24")
	a.echo("a", a.ip)
	b.echo("b", b.ip)
	return a, b
}

func TestTwoKernelsTalk(t *testing.T) {
	a, b := pair(t)
	psk := enginetest.PresharedKey(t)
	toB, toA := b.peerAt("192.0.2.2"), a.peer()
	toB.PresharedKey, toA.PresharedKey = psk, psk
	a.want(toB)
	b.want(toA)
	require.Equal(t, "b", a.ping(a.dialUDP(b.ip)))
	require.Equal(t, "a", b.ping(b.dialUDP(a.ip)))
	a.pour(b.ip, 200_000)
	s, r := a.statsOf(b), b.statsOf(a)
	require.WithinDuration(t, time.Now(), s.LastHandshake, patience)
	require.Greater(t, s.TxBytes, int64(200_000))
	require.Greater(t, r.RxBytes, int64(200_000))
	require.Equal(t, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), a.port), r.Endpoint, "learned from the packets")
}

// The other side is our own userspace device, in the test's own namespace: its goroutines open sockets.
func TestKernelTalksToOurTUN(t *testing.T) {
	hostA, hostB := newHost(t), &host{}
	cable(t, "u", hostA, "192.0.2.1/24", hostB, "192.0.2.2/24")
	a := newEnd(t, hostA, kernel.New(), "10.8.0.1/24")
	b := newEnd(t, hostB, userspace.NewTUN(userspace.Options{}), "10.8.0.2/24")
	a.echo("a", a.ip)
	b.echo("b", b.ip)
	psk := enginetest.PresharedKey(t)
	toB, toA := b.peerAt("192.0.2.2"), a.peer()
	toB.PresharedKey, toA.PresharedKey = psk, psk
	a.want(toB)
	b.want(toA)
	require.Equal(t, "b", a.ping(a.dialUDP(b.ip)))
	require.Equal(t, "a", b.ping(b.dialUDP(a.ip)))
	a.pour(b.ip, 200_000)
	b.pour(a.ip, 200_000)
	require.Equal(t, a.statsOf(b).LastHandshake.Unix(), b.statsOf(a).LastHandshake.Unix())
}

func TestPresharedKeysMustBeEqual(t *testing.T) {
	a, b := pair(t)
	toB := b.peerAt("192.0.2.2")
	toB.PresharedKey = enginetest.PresharedKey(t)
	a.want(toB)
	b.want(a.peerAt("192.0.2.1"))
	c := b.dialUDP(a.ip)
	_, err := c.Write([]byte("?"))
	require.NoError(t, err)
	// a answers the handshake, and b cannot read the answer.
	require.Eventually(t, func() bool { return a.statsOf(b).TxBytes > 0 }, patience, time.Millisecond)
	require.Zero(t, b.statsOf(a).LastHandshake)
	toB.PresharedKey = engine.SecretKey{}
	a.want(toB)
	require.Equal(t, "b", a.ping(a.dialUDP(b.ip)))
}

func TestRoaming(t *testing.T) {
	a, b := pair(t)
	a.want(b.peer())
	b.want(a.peerAt("192.0.2.1"))
	c := b.dialUDP(a.ip)
	b.ping(c)
	seen := a.statsOf(b)
	require.Equal(t, "192.0.2.2", seen.Endpoint.Addr().String())

	do(t, b.host, func() error {
		l, err := netlink.LinkByName("ub")
		if err != nil {
			return err
		}
		return errors.Join(netlink.AddrDel(l, address("192.0.2.2/24")), netlink.AddrAdd(l, address("192.0.2.3/24")))
	})
	b.ping(c)
	moved := a.statsOf(b)
	require.Equal(t, "192.0.2.3", moved.Endpoint.Addr().String())
	require.Equal(t, seen.LastHandshake, moved.LastHandshake, "the session moved along")

	p := b.peer()
	p.PersistentKeepalive = 25
	a.want(p)
	require.Equal(t, moved.Endpoint, a.statsOf(b).Endpoint, "a change that names no endpoint leaves it")
	require.Equal(t, "b", a.ping(a.dialUDP(b.ip)))
}

// Hundreds of others come, change and go: the session of a peer that is as wanted is the same one.
func TestUntouchedPeersKeepTheirSessions(t *testing.T) {
	a, b := pair(t)
	others := enginetest.Peers(300)
	for i := range others {
		others[i].AllowedIPs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32)}
	}
	changed := make([]engine.Peer, len(others))
	for i, p := range others {
		p.PersistentKeepalive, p.AllowedIPs = 25, others[(i+1)%len(others)].AllowedIPs
		changed[i] = p
	}
	toB := b.peerAt("192.0.2.2")
	a.want(toB)
	b.want(a.peer())
	c := a.dialUDP(b.ip)
	a.ping(c)
	last := a.statsOf(b)
	for _, all := range [][]engine.Peer{others, changed, changed[:7], nil} {
		a.want(append([]engine.Peer{toB}, all...)...)
		now := a.statsOf(b)
		require.Equal(t, last, now)
		require.Equal(t, "b", a.ping(c))
		last = a.statsOf(b)
		require.Equal(t, now.LastHandshake, last.LastHandshake, "the session goes on")
		require.Greater(t, last.RxBytes, now.RxBytes)
		require.Greater(t, last.TxBytes, now.TxBytes)
	}
}

// An address moves from one peer to another and back; each packet reaches who has it then.
func TestAllowedIPsMoveBetweenLivePeers(t *testing.T) {
	a, b := pair(t)
	const moving = "10.9.0.9/32"
	movingIP := netip.MustParsePrefix(moving).Addr()
	hostC := newHost(t)
	cable(t, "v", a.host, "198.51.100.1/24", hostC, "198.51.100.2/24")
	c := newEnd(t, hostC, kernel.New(), "10.8.0.3/24")
	onLink := func(e end, f func(netlink.Link) error) {
		do(t, e.host, func() error {
			l, err := netlink.LinkByName("wgt0")
			if err != nil {
				return err
			}
			return f(l)
		})
	}
	for name, e := range map[string]end{"b": b, "c": c} {
		e.want(a.peer())
		onLink(e, func(l netlink.Link) error { return netlink.AddrAdd(l, address(moving)) })
		e.echo(name, movingIP)
	}
	onLink(a, func(l netlink.Link) error {
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: address(moving).IPNet})
	})
	who, stays := a.dialUDP(movingIP), a.dialUDP(b.ip)
	for range 5 {
		a.want(b.peerAt("192.0.2.2", moving), c.peerAt("198.51.100.2"))
		require.Equal(t, "b", a.ping(who))
		a.want(b.peerAt("192.0.2.2"), c.peerAt("198.51.100.2", moving))
		require.Equal(t, "c", a.ping(who))
		require.Equal(t, "b", a.ping(stays))
	}
}

// While an allowed IP moves, those that stay with their peers are there at every moment. The kernel
// says ENOKEY to who sends to an address of no peer, and something else where a peer has no endpoint.
func TestNoGapWhileAllowedIPsMove(t *testing.T) {
	a := newEnd(t, newHost(t), kernel.New(), "10.8.0.1/24")
	with := func(n int, ips ...string) engine.Peer {
		p := engine.Peer{PublicKey: enginetest.PeerKey(n)}
		for _, ip := range ips {
			p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix(ip))
		}
		return p
	}
	there := func() { a.want(with(0, "10.8.0.2/32", "10.9.0.9/32"), with(1, "10.8.0.3/32")) }
	back := func() { a.want(with(0, "10.8.0.2/32"), with(1, "10.8.0.3/32", "10.9.0.9/32")) }
	there()
	var stop atomic.Bool
	gaps := make(chan error, 2)
	for _, ip := range []string{"10.8.0.2", "10.8.0.3"} {
		c := a.dialUDP(netip.MustParseAddr(ip))
		go func() {
			var err error
			for !stop.Load() && !errors.Is(err, unix.ENOKEY) {
				_, err = c.Write([]byte("!"))
			}
			if !errors.Is(err, unix.ENOKEY) {
				err = nil
			}
			gaps <- err
		}()
	}
	for range 15 {
		back()
		there()
	}
	stop.Store(true)
	require.NoError(t, errors.Join(<-gaps, <-gaps))
}
