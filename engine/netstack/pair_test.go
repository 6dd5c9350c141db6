package netstack_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	upstream "golang.zx2c4.com/wireguard/tun/netstack"

	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

const testMTU = 1420

// network is what both netstacks give: sockets inside the tunnel.
type network interface {
	dial(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	listen(at netip.AddrPort) (net.Listener, error)
	dialUDP(to netip.AddrPort) (net.Conn, error)
	listenUDP(at netip.AddrPort) (net.PacketConn, error)
}

type ours struct{ *netstack.Net }

func (n ours) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return n.DialContextTCPAddrPort(ctx, to)
}
func (n ours) listen(at netip.AddrPort) (net.Listener, error) { return n.ListenTCPAddrPort(at) }
func (n ours) dialUDP(to netip.AddrPort) (net.Conn, error) {
	return n.DialUDPAddrPort(netip.AddrPort{}, to)
}

func (n ours) listenUDP(at netip.AddrPort) (net.PacketConn, error) { return n.ListenUDPAddrPort(at) }

type theirs struct{ *upstream.Net }

func (n theirs) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return n.DialContextTCPAddrPort(ctx, to)
}
func (n theirs) listen(at netip.AddrPort) (net.Listener, error) { return n.ListenTCPAddrPort(at) }
func (n theirs) dialUDP(to netip.AddrPort) (net.Conn, error) {
	return n.DialUDPAddrPort(netip.AddrPort{}, to)
}

func (n theirs) listenUDP(at netip.AddrPort) (net.PacketConn, error) {
	return n.ListenUDPAddrPort(at)
}

// kind makes a device and its network.
type kind func(t testing.TB, addrs []netip.Addr) (tun.Device, network)

func newOurs(t testing.TB, addrs []netip.Addr) (tun.Device, network) {
	d, err := netstack.New(netstack.Options{Addresses: addrs, MTU: testMTU})
	require.NoError(t, err)
	return d, ours{d.Net()}
}

func newTheirs(t testing.TB, addrs []netip.Addr) (tun.Device, network) {
	d, n, err := upstream.CreateNetTUN(addrs, nil, testMTU)
	require.NoError(t, err)
	return d, theirs{n}
}

// end is one side of a tunnel.
type end struct {
	network
	dev   *device.Device
	addrs []netip.Addr
}

// tunnel is two devices of wireguard-go that know each other, over UDP on loopback.
func tunnel(t testing.TB, a, b kind) (one, two end) {
	t.Helper()
	keys := [2]string{}
	public := [2]string{}
	for i := range 2 {
		k := enginetest.PrivateKey(t)
		secret, pub := k.Reveal(), k.PublicKey()
		keys[i], public[i] = hex.EncodeToString(secret[:]), hex.EncodeToString(pub[:])
	}
	var ends [2]end
	for i, open := range []kind{a, b} {
		addrs := []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, byte(1 + i)}), netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(1 + i)})}
		d, n := open(t, addrs)
		ends[i] = end{network: n, addrs: addrs, dev: device.NewDevice(d, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))}
		require.NoError(t, ends[i].dev.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=0\npublic_key=%s\nallowed_ip=0.0.0.0/0\nallowed_ip=::/0\n", keys[i], public[1-i])))
		require.NoError(t, ends[i].dev.Up())
	}
	for i := range 2 {
		require.NoError(t, ends[i].dev.IpcSet(fmt.Sprintf("public_key=%s\nendpoint=127.0.0.1:%s\n", public[1-i], port(t, ends[1-i].dev))))
	}
	t.Cleanup(func() {
		for _, e := range ends {
			_ = e.dev.Down()
		}
		for _, e := range ends {
			e.dev.Close()
		}
	})
	return ends[0], ends[1]
}

func port(t testing.TB, d *device.Device) string {
	t.Helper()
	text, err := d.IpcGet()
	require.NoError(t, err)
	for line := range strings.Lines(text) {
		if p, ok := strings.CutPrefix(strings.TrimSpace(line), "listen_port="); ok {
			return p
		}
	}
	require.Fail(t, "no port")
	return ""
}
