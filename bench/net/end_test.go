//go:build root

package net

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	upstream "golang.zx2c4.com/wireguard/tun/netstack"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/gateway"
	"github.com/wgfleet/wgfleet/engine/netstack"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// roleVariable holds the role of a process that this binary starts of itself.
const roleVariable = "WGFLEET_BENCH_ROLE"

// role says what such a process is.
type role struct {
	// Kind is kernel (sockets of the host), ours or upstream (a netstack node), gateway, tun, or pair-ours and pair-upstream
	// (both ends of a tunnel in one process).
	Kind                string
	PrivateKey, PeerKey string // in hex
	Endpoint, Address   string
}

func TestMain(m *testing.M) {
	text := os.Getenv(roleVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		panic(err)
	}
	if err := r.play(); err != nil {
		fmt.Fprintln(os.Stderr, "bench-net:", err)
		os.Exit(1)
	}
}

// sockets are those of the host or of a network stack.
type sockets interface {
	dial(ctx context.Context, to netip.AddrPort) (net.Conn, error)
	listen(at netip.AddrPort) (net.Listener, error)
	dialUDP(to netip.AddrPort) (net.Conn, error)
	listenUDP(at netip.AddrPort) (net.PacketConn, error)
}

type kernelSockets struct{}

func (kernelSockets) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", to.String())
}

func (kernelSockets) listen(at netip.AddrPort) (net.Listener, error) {
	return net.Listen("tcp", fmt.Sprintf(":%d", at.Port()))
}

func (kernelSockets) dialUDP(to netip.AddrPort) (net.Conn, error) {
	return net.Dial("udp", to.String())
}

func (kernelSockets) listenUDP(at netip.AddrPort) (net.PacketConn, error) {
	return net.ListenPacket("udp", fmt.Sprintf(":%d", at.Port()))
}

type ourSockets struct{ *netstack.Net }

func (n ourSockets) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return n.DialContextTCPAddrPort(ctx, to)
}

func (n ourSockets) listen(at netip.AddrPort) (net.Listener, error) { return n.ListenTCPAddrPort(at) }

func (n ourSockets) dialUDP(to netip.AddrPort) (net.Conn, error) {
	return n.DialUDPAddrPort(netip.AddrPort{}, to)
}

func (n ourSockets) listenUDP(at netip.AddrPort) (net.PacketConn, error) {
	return n.ListenUDPAddrPort(at)
}

type theirSockets struct{ *upstream.Net }

func (n theirSockets) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return n.DialContextTCPAddrPort(ctx, to)
}

func (n theirSockets) listen(at netip.AddrPort) (net.Listener, error) {
	return n.ListenTCPAddrPort(at)
}

func (n theirSockets) dialUDP(to netip.AddrPort) (net.Conn, error) {
	return n.DialUDPAddrPort(netip.AddrPort{}, to)
}

func (n theirSockets) listenUDP(at netip.AddrPort) (net.PacketConn, error) {
	return n.ListenUDPAddrPort(at)
}

// play runs until standard input ends.
func (r role) play() error {
	e := &traffic{}
	switch r.Kind {
	case "kernel":
		e.sockets = kernelSockets{}
	case "tun":
		if err := r.backend(userspace.NewTUN(userspace.Options{})); err != nil {
			return err
		}
	case "gateway":
		if err := r.backend(userspace.NewNetstack(userspace.Options{Gateway: &gateway.Options{Limits: engine.Limits{Rate: engine.NoLimit}}})); err != nil {
			return err
		}
	case "ours", "upstream":
		s, err := r.stack(strings.TrimPrefix(r.Kind, "pair-"))
		if err != nil {
			return err
		}
		e.sockets = s
	case "pair-ours", "pair-upstream":
		far, err := r.pair(strings.TrimPrefix(r.Kind, "pair-"), e)
		if err != nil {
			return err
		}
		if err := far.serve(netip.MustParseAddr(nodeIn)); err != nil {
			return err
		}
		e.counted = &far.received
	}
	if e.sockets != nil && !strings.HasPrefix(r.Kind, "pair-") {
		if err := e.serve(netip.MustParseAddr(r.Address)); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		answer, err := e.obey(strings.Fields(in.Text()))
		if err != nil {
			return err
		}
		fmt.Println(answer)
	}
	return nil
}

// backend makes the interface as wgfleet does.
func (r role) backend(b engine.Backend) error {
	ctx := context.Background()
	peer := r.peer()
	var private wgtypes.Key
	if _, err := hex.Decode(private[:], []byte(r.PrivateKey)); err != nil {
		return err
	}
	d, err := b.Create(ctx, engine.Interface{
		Name: link("node"), PrivateKey: engine.NewSecretKey(private), ListenPort: port, MTU: mtu, Addresses: []netip.Prefix{netip.MustParsePrefix(r.Address + "/24")},
	})
	if err != nil {
		return err
	}
	if g, ok := d.(engine.Gateway); ok && b.Kind() == engine.KindNetstack {
		if err := g.SetGateway(ctx, engine.GatewayConfig{}); err != nil {
			return err
		}
	}
	return d.Configure(ctx, engine.Changes{Peers: []engine.PeerChange{{After: &engine.Peer{
		PublicKey: peer, AllowedIPs: []netip.Prefix{netip.MustParsePrefix(clientIn + "/32")}, Endpoint: netip.MustParseAddrPort(r.Endpoint),
	}}}})
}

// stack makes an end on a netstack, ours or upstream's, under the same wireguard-go.
func (r role) stack(kind string) (sockets, error) {
	t, s, err := newStack(kind, r.Address)
	if err != nil {
		return nil, err
	}
	return s, r.up(t, port)
}

func newStack(kind, address string) (tun.Device, sockets, error) {
	addrs := []netip.Addr{netip.MustParseAddr(address)}
	if kind == "ours" {
		d, err := netstack.New(netstack.Options{Addresses: addrs, MTU: mtu})
		if err != nil {
			return nil, nil, err
		}
		return d, ourSockets{d.Net()}, nil
	}
	d, n, err := upstream.CreateNetTUN(addrs, nil, mtu)
	return d, theirSockets{n}, err
}

func (r role) up(t tun.Device, listen int) error {
	d := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
	if err := d.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nallowed_ip=0.0.0.0/0\nendpoint=%s\n",
		r.PrivateKey, listen, r.PeerKey, r.Endpoint)); err != nil {
		return err
	}
	return d.Up()
}

// pair makes both ends in this process, over UDP on loopback; near drives, the one that is returned serves.
func (r role) pair(kind string, near *traffic) (*traffic, error) {
	one, two := r.other(port+1, clientIn), r.other(port, nodeIn)
	a, err := engine.GeneratePrivateKey()
	if err != nil {
		return nil, err
	}
	b, err := engine.GeneratePrivateKey()
	if err != nil {
		return nil, err
	}
	one.PrivateKey, one.PeerKey = hexKey(a.Reveal()), hexKey(b.PublicKey())
	two.PrivateKey, two.PeerKey = hexKey(b.Reveal()), hexKey(a.PublicKey())
	far := &traffic{}
	for i, end := range []struct {
		r      role
		listen int
		to     *traffic
	}{{one, port, near}, {two, port + 1, far}} {
		t, s, err := newStack(kind, end.r.Address)
		if err != nil {
			return nil, fmt.Errorf("end %d: %w", i, err)
		}
		end.to.sockets = s
		if err := end.r.up(t, end.listen); err != nil {
			return nil, err
		}
	}
	return far, nil
}

func (r role) other(peerPort int, address string) role {
	return role{Endpoint: fmt.Sprintf("127.0.0.1:%d", peerPort), Address: address}
}

func hexKey(k [32]byte) string { return fmt.Sprintf("%x", k[:]) }

// Ports of the services of every end.
const (
	sinkPort, sourcePort, udpPort = 5001, 5002, 5003
	block                         = 256 << 10
)

// traffic serves on an end's sockets and sends from them.
type traffic struct {
	sockets  sockets
	received counts
	counted  *counts // of the other end in this process; nil: this one's
	stop     func()
}

type counts struct{ bytes, packets atomic.Int64 }

// serve takes what is sent, sends to who asks, and counts datagrams.
func (e *traffic) serve(at netip.Addr) error {
	sink, err := e.sockets.listen(netip.AddrPortFrom(at, sinkPort))
	if err != nil {
		return err
	}
	source, err := e.sockets.listen(netip.AddrPortFrom(at, sourcePort))
	if err != nil {
		return err
	}
	datagrams, err := e.sockets.listenUDP(netip.AddrPortFrom(at, udpPort))
	if err != nil {
		return err
	}
	go accept(sink, e.take)
	go accept(source, send)
	go func() {
		for b := make([]byte, 65536); ; {
			n, _, err := datagrams.ReadFrom(b)
			if err != nil {
				return
			}
			e.received.bytes.Add(int64(n))
			e.received.packets.Add(1)
		}
	}()
	return nil
}

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go serve(c)
	}
}

func (e *traffic) take(c net.Conn) {
	defer c.Close()
	for b := make([]byte, block); ; {
		n, err := c.Read(b)
		e.received.bytes.Add(int64(n))
		if err != nil {
			return
		}
	}
}

func send(c net.Conn) {
	defer c.Close()
	for b := make([]byte, block); ; {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// obey does one command: send, fetch or flood to an address, stop, or tell what was received (of two ends in
// one process: by the far one, unless it says near).
func (e *traffic) obey(words []string) (string, error) {
	var amount int
	if len(words) == 3 {
		if _, err := fmt.Sscan(words[2], &amount); err != nil {
			return "", err
		}
	}
	switch words[0] {
	case "tell":
		c := &e.received
		if e.counted != nil && len(words) == 1 {
			c = e.counted
		}
		return fmt.Sprintf("%d %d", c.bytes.Load(), c.packets.Load()), nil
	case "stop":
		e.stop()
		return "stopped", nil
	case "send":
		return "begun", e.streams(words[1], sinkPort, amount, send)
	case "fetch":
		return "begun", e.streams(words[1], sourcePort, amount, e.take)
	case "flood":
		return "begun", e.flood(words[1], amount)
	}
	return "", fmt.Errorf("no command %q", words)
}

func (e *traffic) streams(to string, port uint16, n int, run func(net.Conn)) error {
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	for range n {
		c, err := e.sockets.dial(ctx, netip.AddrPortFrom(netip.MustParseAddr(to), port))
		if err != nil {
			cancel()
			return err
		}
		context.AfterFunc(ctx, func() { c.Close() })
		go run(c)
	}
	return nil
}

func (e *traffic) flood(to string, size int) error {
	c, err := e.sockets.dialUDP(netip.AddrPortFrom(netip.MustParseAddr(to), udpPort))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	go func() {
		defer c.Close()
		for b := make([]byte, size); ctx.Err() == nil; {
			_, _ = c.Write(b) // lost as any datagram may be
		}
	}()
	return nil
}
