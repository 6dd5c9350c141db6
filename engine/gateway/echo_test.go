package gateway

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/wgfleet/wgfleet/engine"
)

// wire is a peer that is nothing but packets.
type wire struct {
	conf engine.Peer
	addr netip.Addr
	got  chan []byte
}

// take takes what the gateway sends to the peer; what nobody waits for is lost in the end.
func (w *wire) take(packet []byte) {
	select {
	case w.got <- append([]byte(nil), packet...):
	default:
	}
}

func ping(t *testing.T, src, dst netip.Addr, ttl uint8, id, seq int, data []byte) []byte {
	t.Helper()
	if src.Is4() {
		m, err := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: data}}).Marshal(nil)
		require.NoError(t, err)
		return ip(src, dst, header.ICMPv4ProtocolNumber, ttl, m)
	}
	m, err := (&icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: id, Seq: seq, Data: data}}).
		Marshal(icmp.IPv6PseudoHeader(src.AsSlice(), dst.AsSlice()))
	require.NoError(t, err)
	return ip(src, dst, header.ICMPv6ProtocolNumber, ttl, m)
}

func ip(src, dst netip.Addr, proto tcpip.TransportProtocolNumber, ttl uint8, payload []byte) []byte {
	head := quoteIP(src, dst, proto, len(payload))
	if src.Is4() {
		h := header.IPv4(head)
		h.SetTTL(ttl)
		h.SetChecksum(0)
		h.SetChecksum(^h.CalculateChecksum())
	} else {
		header.IPv6(head).SetHopLimit(ttl)
	}
	return append(head, payload...)
}

// parse reads an ICMP message of either family.
func parse(t *testing.T, packet []byte) (from netip.Addr, m *icmp.Message) {
	t.Helper()
	from, to, ok := addresses(packet)
	require.True(t, ok)
	proto, payload, part := transportOf(packet)
	require.False(t, part)
	m, err := icmp.ParseMessage(int(proto), payload)
	require.NoError(t, err)
	_ = to
	return from, m
}

func (l *lab) wire(n byte, v6 bool) *wire {
	w := &wire{addr: netip.AddrFrom4([4]byte{10, 8, 0, n}), got: make(chan []byte, 100)}
	if v6 {
		w.addr = netip.AddrFrom16([16]byte{0: 0xfd, 3: 8, 15: n})
	}
	w.conf = engine.Peer{PublicKey: [32]byte{n}, AllowedIPs: []netip.Prefix{netip.PrefixFrom(w.addr, w.addr.BitLen())}}
	l.mu.Lock()
	l.wires[w.addr] = w
	l.mu.Unlock()
	l.g.ChangePeers([]engine.PeerChange{{After: &w.conf}})
	return w
}

func (l *lab) send(packet []byte) {
	l.t.Helper()
	_, err := l.hub.Write([][]byte{packet}, 0)
	require.NoError(l.t, err)
}

func (w *wire) next(t *testing.T) []byte {
	t.Helper()
	select {
	case p := <-w.got:
		return p
	case <-time.After(10 * time.Second):
		require.Fail(t, "nothing came")
		return nil
	}
}

func TestTheNodeItselfAnswersPings(t *testing.T) {
	for i, node := range nodeAddrs {
		l := newLab(t, Options{})
		w := l.wire(2, i == 1)
		l.send(ping(t, w.addr, node.Addr(), 64, 7, 1, []byte("data")))
		from, m := parse(t, w.next(t))
		require.Equal(t, node.Addr(), from)
		require.Equal(t, &icmp.Echo{ID: 7, Seq: 1, Data: []byte("data")}, m.Body)
		require.Empty(t, l.g.Flows())
	}
}

func TestHopsEnd(t *testing.T) {
	for name, host := range families {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{})
			w := l.wire(2, host.Is6())
			l.send(ping(t, w.addr, host, 1, 7, 1, nil))
			from, m := parse(t, w.next(t))
			require.Contains(t, nodeAddrs[0].Addr().String()+nodeAddrs[1].Addr().String(), from.String())
			require.IsType(t, &icmp.TimeExceeded{}, m.Body)
		})
	}
}

func TestNobodyThereIsToldSo(t *testing.T) {
	for name, dst := range map[string]string{"IPv4": "10.8.0.99", "IPv6": "fd00:8::99"} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, Options{})
			to := netip.MustParseAddr(dst)
			w := l.wire(2, to.Is6())
			l.send(ping(t, w.addr, to, 64, 7, 1, nil))
			_, m := parse(t, w.next(t))
			require.IsType(t, &icmp.DstUnreach{}, m.Body)
		})
	}
}
