package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/gateway"
	"github.com/wgfleet/wgfleet/engine/netstack"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// mostNodes have an address each.
const mostNodes = 250

// Options describe a network.
type Options struct {
	Nodes int // 1 to 250
	// Hub leads everything through node 0, which carries between the others; else each node knows all others.
	Hub    bool
	Logger *slog.Logger // hears wireguard-go; nil for silence
}

// Network is a number of nodes that are connected.
type Network struct {
	wire  *Wire
	nodes []*Node
}

// Node is one WireGuard node of a network.
type Node struct {
	// Device is its interface, wg0: it can be observed and configured.
	Device    engine.Device
	PublicKey wgtypes.Key
	Addr      netip.Addr // its IPv4 address
	Addr6     netip.Addr
	Port      uint16 // of the wire

	private engine.SecretKey
	inside  *netstack.Net
}

// New makes a network. Errors: *engine.FieldError for the number of nodes; on an error nothing is left.
func New(o Options) (*Network, error) {
	if o.Nodes < 1 || o.Nodes > mostNodes {
		return nil, &engine.FieldError{Field: "nodes", Reason: fmt.Sprintf("expected 1 to %d", mostNodes)}
	}
	n := &Network{wire: NewWire()}
	for i := range o.Nodes {
		node, err := n.node(i, o)
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		n.nodes = append(n.nodes, node)
	}
	for i := range n.nodes {
		if err := n.introduce(i, o.Hub); err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// Start makes a network of nodes that know each other, for as long as a test runs.
func Start(t testing.TB, nodes int) *Network {
	t.Helper()
	n, err := New(Options{Nodes: nodes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n *Network) node(i int, o Options) (*Node, error) {
	key, err := engine.GeneratePrivateKey()
	if err != nil {
		return nil, err
	}
	options := userspace.Options{Logger: o.Logger, Bind: n.wire.Bind}
	if o.Hub && i == 0 {
		options.Gateway = new(gateway.Options)
	}
	b := userspace.NewNetstack(options)
	node := &Node{
		private: key, PublicKey: key.PublicKey(), Port: firstPort + uint16(i),
		Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), Addr6: netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i + 1)}),
	}
	node.Device, err = b.Create(context.Background(), engine.Interface{
		Name: "wg0", PrivateKey: key, ListenPort: node.Port,
		Addresses: []netip.Prefix{netip.PrefixFrom(node.Addr, 24), netip.PrefixFrom(node.Addr6, 64)},
	})
	if err != nil {
		return nil, fmt.Errorf("make node %d: %w", i, err)
	}
	node.inside, err = b.Net("wg0")
	return node, err
}

// introduce tells node i of those that it speaks with.
func (n *Network) introduce(i int, hub bool) error {
	var c engine.Changes
	for j, other := range n.nodes {
		if i == j || hub && i != 0 && j != 0 {
			continue
		}
		p := engine.Peer{PublicKey: other.PublicKey, Endpoint: Endpoint(other.Port)}
		p.AllowedIPs = []netip.Prefix{netip.PrefixFrom(other.Addr, 32), netip.PrefixFrom(other.Addr6, 128)}
		if hub && i != 0 {
			p.AllowedIPs = []netip.Prefix{netip.PrefixFrom(other.Addr, 24).Masked(), netip.PrefixFrom(other.Addr6, 64).Masked()}
		}
		c.Peers = append(c.Peers, engine.PeerChange{After: &p})
	}
	if g, ok := n.nodes[i].Device.(engine.Gateway); ok && hub && i == 0 {
		if err := g.SetGateway(context.Background(), engine.GatewayConfig{}); err != nil {
			return err
		}
	}
	return n.nodes[i].Device.Configure(context.Background(), c)
}

// Node returns the i-th node, from 0.
func (n *Network) Node(i int) *Node { return n.nodes[i] }

// Cut loses what two nodes send to each other, until Join: their handshakes and keepalives as well.
func (n *Network) Cut(i, j int) { n.wire.Cut(n.nodes[i].Port, n.nodes[j].Port) }

// Join ends a Cut.
func (n *Network) Join(i, j int) { n.wire.Join(n.nodes[i].Port, n.nodes[j].Port) }

// Lost counts the sends that a Cut lost, handshakes and keepalives included.
func (n *Network) Lost() int64 { return n.wire.Lost() }

// Close ends all nodes. A second call does nothing.
func (n *Network) Close() error {
	var errs []error
	for _, node := range n.nodes {
		errs = append(errs, node.Device.Close(context.Background()))
	}
	return errors.Join(errs...)
}

// Listen takes TCP connections on a port of the node's IPv4 address.
func (n *Node) Listen(port uint16) (net.Listener, error) {
	return n.inside.ListenTCPAddrPort(netip.AddrPortFrom(n.Addr, port))
}

// ListenPacket takes datagrams on a port of the node's IPv4 address; 0 is a free one.
func (n *Node) ListenPacket(port uint16) (net.PacketConn, error) {
	return n.inside.ListenUDPAddrPort(netip.AddrPortFrom(n.Addr, port))
}

// DialContext connects through the tunnel, "tcp" or "udp", to an address and a port: it fits http.Transport and the like.
func (n *Node) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.inside.DialContext(ctx, network, address)
}

// Net is all of the node's network, IPv6 included.
func (n *Node) Net() *netstack.Net { return n.inside }
