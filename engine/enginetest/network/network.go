package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
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
	// Hub leads everything through node 0, which carries between the others: its peers are all nodes, and it is the only
	// peer of each. It does not reach itself: a gateway's stack keeps nothing for itself. Else each node has all others for
	// peers.
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

	inside *netstack.Net
	http   *http.Client
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
	return start(t, Options{Nodes: nodes})
}

// StartHub is Start with Options.Hub.
func StartHub(t testing.TB, nodes int) *Network {
	t.Helper()
	return start(t, Options{Nodes: nodes, Hub: true})
}

func start(t testing.TB, o Options) *Network {
	t.Helper()
	n, err := New(o)
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
		PublicKey: key.PublicKey(), Port: firstPort + uint16(i),
		Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), Addr6: netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i + 1)}),
	}
	node.Device, err = b.Create(context.Background(), engine.Interface{
		Name: "wg0", PrivateKey: key, ListenPort: node.Port,
		Addresses: []netip.Prefix{netip.PrefixFrom(node.Addr, 24), netip.PrefixFrom(node.Addr6, 64)},
	})
	if err != nil {
		return nil, fmt.Errorf("make node %d: %w", i, err)
	}
	if node.inside, err = b.Net("wg0"); err != nil {
		return nil, errors.Join(err, node.Device.Close(context.Background()))
	}
	node.http = &http.Client{Transport: &http.Transport{DialContext: node.inside.DialContext}}
	return node, nil
}

// introduce tells node i of those that it speaks with.
func (n *Network) introduce(i int, hub bool) error {
	var c engine.Changes
	for j, other := range n.nodes {
		if i == j || hub && i != 0 && j != 0 {
			continue
		}
		p := other.Peer()
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

// Nodes returns all of them, in order.
func (n *Network) Nodes() []*Node { return slices.Clone(n.nodes) }

// Cut loses what two nodes send to each other, until Join: their handshakes and keepalives as well. Of a network with a
// hub, cut a node off from node 0.
func (n *Network) Cut(i, j int) { n.wire.Cut(n.nodes[i].Port, n.nodes[j].Port) }

// Join ends a Cut.
func (n *Network) Join(i, j int) { n.wire.Join(n.nodes[i].Port, n.nodes[j].Port) }

// Lost counts the sends that a Cut lost, handshakes and keepalives included.
func (n *Network) Lost() int64 { return n.wire.Lost() }

// Close ends all nodes, with what was opened on them. A second call does nothing.
func (n *Network) Close() error {
	var errs []error
	for _, node := range n.nodes {
		errs = append(errs, node.Device.Close(context.Background()))
	}
	return errors.Join(errs...)
}

// Listen takes TCP connections as net.Listen does: "tcp" and ":80", or ":0" for a free port. Without a host it hears both of
// the node's addresses, and Addr is the IPv4 one.
func (n *Node) Listen(network, address string) (net.Listener, error) {
	return n.inside.Listen(network, address)
}

// ListenPacket takes datagrams as net.ListenPacket does: "udp" and ":53", or ":0"; see Listen.
func (n *Node) ListenPacket(network, address string) (net.PacketConn, error) {
	return n.inside.ListenPacket(network, address)
}

// DialContext connects through the tunnel, "tcp" or "udp", to an address and a port. It fits http.Transport, and as a dialer
// whatever else takes a function.
func (n *Node) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.inside.DialContext(ctx, network, address)
}

// HTTPClient sends its requests from the node, through the tunnel. It is the same one at each call and has no time limit; a
// copy may have one.
func (n *Node) HTTPClient() *http.Client { return n.http }

// Peer is the node as a peer of others in a full mesh: its key, its addresses and where it is.
func (n *Node) Peer() engine.Peer {
	return engine.Peer{
		PublicKey: n.PublicKey, Endpoint: Endpoint(n.Port),
		AllowedIPs: []netip.Prefix{netip.PrefixFrom(n.Addr, 32), netip.PrefixFrom(n.Addr6, 128)},
	}
}

// Net is the node's network, for what is not above.
func (n *Node) Net() *netstack.Net { return n.inside }
