package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/enginetest/mesh"
	"github.com/wgfleet/wgfleet/engine/enginetest/network"
	"github.com/wgfleet/wgfleet/engine/gateway"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

const (
	flowsPath  = "/v1/wg/wg0/flows"
	accessPath = "/v1/wg/wg0/access"
)

// hub is a node on netstack with a gateway, on a network in memory.
type hub struct {
	*node
	wire *network.Wire
}

func newHub(t *testing.T, directives string, edit func(*Options)) *hub {
	t.Helper()
	h := &hub{wire: network.NewWire()}
	b := userspace.NewNetstack(userspace.Options{Bind: h.wire.Bind, Gateway: &gateway.Options{}})
	h.node = newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", strings.Replace(basicConf(t), "[Interface]\n", "[Interface]\n"+directives, 1))
		o.Backend = b
		if edit != nil {
			edit(o)
		}
	})
	return h
}

// join adds a peer with the n-th address and connects a client of upstream's.
func (h *hub) join(n int) *mesh.Client {
	h.t.Helper()
	k := enginetest.PrivateKey(h.t)
	h.mustDo("POST", peersPath, map[string]any{
		"public_key": k.PublicKey().String(), "allowed_ips": []string{enginetest.PeerIP(n).String() + "/32"},
	})
	state := h.device("wg0")
	c, err := mesh.NewClient(mesh.Options{
		PrivateKey: k, Addresses: []netip.Addr{enginetest.PeerIP(n)}, Bind: h.wire.Bind(),
		Peer:       state.Interface.PrivateKey.PublicKey(),
		Endpoint:   netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), state.Interface.ListenPort),
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, PersistentKeepalive: 25,
	})
	require.NoError(h.t, err)
	h.t.Cleanup(c.Close)
	return c
}

// echoAt answers what it is sent, inside the tunnel.
func echoAt(t *testing.T, c *mesh.Client, at netip.AddrPort) {
	t.Helper()
	l, err := c.Net().ListenTCPAddrPort(at)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(in, in)
				in.Close()
			}()
		}
	}()
}

func echoes(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_, err := c.Write([]byte(text))
	require.NoError(t, err)
	got := make([]byte, len(text))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func TestFlows(t *testing.T) {
	port := freePort(t)
	target := netip.AddrPortFrom(enginetest.PeerIP(1), 443)
	h := newHub(t, fmt.Sprintf("# wgfleet: publish tcp 127.0.0.1:%d %s\n", port, target), nil)
	one, two := h.join(1), h.join(2)
	echoAt(t, one, target)

	outside, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	require.NoError(t, err)
	defer outside.Close()
	echoes(t, outside, "through a published port")
	inside, err := two.Net().DialContextTCPAddrPort(t.Context(), target)
	require.NoError(t, err)
	defer inside.Close()
	echoes(t, inside, "from peer to peer")

	var got agent.Flows
	h.mustDo("GET", flowsPath, nil).decode(t, &got)
	require.Equal(t, 2, got.Total)
	require.Len(t, got.Flows, 2)
	require.Equal(t, "in", got.Flows[0].Direction)
	require.Equal(t, one.PublicKey().String(), got.Flows[0].Peer)
	require.Equal(t, target.String(), got.Flows[0].Destination)
	require.EqualValues(t, len("through a published port"), got.Flows[0].TxBytes)
	require.Equal(t, "peer", got.Flows[1].Direction)
	require.Equal(t, two.PublicKey().String(), got.Flows[1].Peer)
	require.Len(t, got.Peers, 2)

	h.mustDo("GET", flowsPath+"?limit=1", nil).decode(t, &got)
	require.Equal(t, 2, got.Total)
	require.Len(t, got.Flows, 1)
	require.Equal(t, agent.CodeInvalidField, h.do("GET", flowsPath+"?limit=0", nil).code(t))

	metrics := string(h.mustDo("GET", "/v1/metrics", nil).body)
	require.Contains(t, metrics, `wgfleet_gateway_flows{interface="wg0",public_key="`)
	require.Contains(t, metrics, `wgfleet_netstack_drops_total{interface="wg0",reason="malformed"} 0`)
	require.NotContains(t, metrics, one.PublicKey().String())
}

func TestAccessIsKeptAndHeeded(t *testing.T) {
	h := newHub(t, "", nil)
	one, two := h.join(1), h.join(2)
	target := netip.AddrPortFrom(enginetest.PeerIP(1), 443)
	echoAt(t, one, target)
	before, err := two.Net().DialContextTCPAddrPort(t.Context(), target)
	require.NoError(t, err)
	defer before.Close()
	echoes(t, before, "allowed")

	deny := map[string]any{"peers": map[string]any{two.PublicKey().String(): map[string]any{"deny": []string{target.Addr().String() + " tcp 443"}}}}
	var state agent.AccessState
	h.mustDo("PUT", accessPath, deny).decode(t, &state)
	require.True(t, state.Active)
	require.Equal(t, []string{}, state.Allow, "never null")
	require.Contains(t, h.conf("wg0"), "# wgfleet: deny "+target.Addr().String()+" tcp 443\n")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = two.Net().DialContextTCPAddrPort(ctx, target)
	require.Error(t, err)
	require.NoError(t, ctx.Err(), "told at once")
	var flows agent.Flows
	h.mustDo("GET", flowsPath, nil).decode(t, &flows)
	require.Empty(t, flows.Flows, "what was carried before has ended")

	h.restart()
	h.mustDo("GET", accessPath, nil).decode(t, &state)
	require.Equal(t, []string{target.Addr().String() + " tcp 443"}, state.Peers[two.PublicKey().String()].Deny)
	require.NoFileExists(t, h.o.ConfDir+"/wg0.conf.tmp")

	same := h.conf("wg0")
	h.mustDo("PUT", accessPath, deny)
	require.Equal(t, same, h.conf("wg0"))
	h.mustDo("PUT", accessPath, map[string]any{})
	require.NotContains(t, h.conf("wg0"), "wgfleet:")
}

func TestAccessRefused(t *testing.T) {
	h := newHub(t, "", nil)
	same := h.conf("wg0")
	for name, tt := range map[string]struct {
		body any
		code agent.Code
		say  string
	}{
		"bad rule":      {map[string]any{"allow": []string{"any", "example.test"}}, agent.CodeInvalidField, "allow.1: "},
		"bad peer rule": {map[string]any{"peers": map[string]any{key(1): map[string]any{"deny": []string{"any 80"}}}}, agent.CodeInvalidField, "deny.0"},
		"bad limit":     {map[string]any{"limits": map[string]any{"rate": -2}}, agent.CodeInvalidField, "limits"},
		"misspelled":    {map[string]any{"denny": []string{"any"}}, agent.CodeInvalidField, "no other members"},
		"wrong type":    {map[string]any{"allow": "any"}, agent.CodeInvalidField, "allow"},
		"no key":        {map[string]any{"peers": map[string]any{"x": map[string]any{}}}, agent.CodeInvalidField, "peers"},
		"unknown peer":  {map[string]any{"peers": map[string]any{key(77): map[string]any{}}}, agent.CodeUnknownPeer, "no peer"},
		"no body":       {nil, agent.CodeInvalidField, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.do("PUT", accessPath, tt.body)
			require.Equal(t, tt.code, r.code(t))
			require.Contains(t, string(r.body), tt.say)
			require.Equal(t, same, h.conf("wg0"), "nothing changed")
		})
	}
	r := h.do("PUT", accessPath, map[string]any{"deny": []string{"any"}}, header("If-Match", `"another"`))
	require.Equal(t, agent.CodePrecondition, r.code(t))
	require.Equal(t, same, h.conf("wg0"))
	require.Equal(t, agent.CodeUnknownInterface, h.do("GET", "/v1/wg/wg7/access", nil).code(t))
}

// An interface without a gateway keeps a policy, and says that nothing heeds it.
func TestAccessWithoutGateway(t *testing.T) {
	n := newNode(t, withConf(t))
	var state agent.AccessState
	n.mustDo("PUT", accessPath, map[string]any{"limits": map[string]any{"connections": 10}}).decode(t, &state)
	require.False(t, state.Active)
	require.Contains(t, n.conf("wg0"), "# wgfleet: limit connections=10\n")
	require.Equal(t, agent.CodeNoGateway, n.do("GET", flowsPath, nil).code(t))
	off := newNode(t, func(o *Options) {
		withConf(t)(o)
		o.Backend = userspace.NewNetstack(userspace.Options{})
	})
	require.Equal(t, agent.CodeNoGateway, off.do("GET", flowsPath, nil).code(t))
}

// A person's edit of the file takes effect by itself, one that can't be read leaves all as it is, and the agent's own ports are
// known.
func TestTheFileIsFollowed(t *testing.T) {
	set := make(chan engine.GatewayConfig, 10)
	n := newNode(t, func(o *Options) {
		withConf(t)(o)
		o.Backend = governedBackend{o.Backend, set}
		o.Gateway = GatewayOptions{
			Deny: []engine.AccessRule{{Prefix: netip.MustParsePrefix("192.0.2.0/24")}}, Resolver: true,
			OwnPorts: func() []uint16 { return []uint16{8080} },
		}
	})
	first := <-set
	require.Equal(t, n.o.Gateway.Deny, first.Access.Node.Deny)
	require.True(t, first.Resolver)
	require.Equal(t, []uint16{8080}, first.Access.OwnPorts)
	require.Contains(t, first.Access.HostAddresses, netip.MustParseAddr("127.0.0.1"))

	n.edit("[Interface]\n", "[Interface]\n# wgfleet: allow example.test\n")
	require.Eventually(t, func() bool { return strings.Contains(n.logs.String(), "does not do all that") }, 10*time.Second, 10*time.Millisecond)
	n.edit("example.test", "10.0.0.0/8")
	require.Eventually(t, func() bool {
		c := <-set
		return len(c.Access.Node.Allow) == 1
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, os.Remove(n.o.ConfDir+"/wg0.conf"))
}

// governedBackend is the fake with gateways that tell what they are given.
type governedBackend struct {
	engine.Backend
	set chan engine.GatewayConfig
}

type governedDevice struct {
	engine.Device
	set chan engine.GatewayConfig
}

func (b governedBackend) Create(ctx context.Context, i engine.Interface) (engine.Device, error) {
	d, err := b.Backend.Create(ctx, i)
	return governedDevice{d, b.set}, err
}

func (d governedDevice) Flows(context.Context) ([]engine.Flow, error) { return nil, nil }
func (d governedDevice) GatewayStats(context.Context) (engine.GatewayStats, error) {
	return engine.GatewayStats{}, nil
}

func (d governedDevice) SetGateway(_ context.Context, c engine.GatewayConfig) error {
	select {
	case d.set <- c:
	default:
	}
	return nil
}
