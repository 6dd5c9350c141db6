package network_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest/network"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers what it is sent, until the network ends.
func echo(t *testing.T, n *network.Node) {
	t.Helper()
	l, err := n.Listen("tcp", ":7")
	require.NoError(t, err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
}

func TestEveryNodeReachesEveryOther(t *testing.T) {
	for name, start := range map[string]func(testing.TB, int) *network.Network{"mesh": network.Start, "hub": network.StartHub} {
		t.Run(name, func(t *testing.T) {
			n := start(t, 4)
			for _, node := range n.Nodes() {
				echo(t, node)
			}
			for i, from := range n.Nodes() {
				for j, to := range n.Nodes() {
					if name == "hub" && i == 0 && j == 0 {
						continue // see Options.Hub
					}
					for _, at := range []netip.Addr{to.Addr, to.Addr6} {
						c, err := from.DialContext(t.Context(), "tcp", netip.AddrPortFrom(at, 7).String())
						require.NoError(t, err, "%d to %d", i, j)
						_, err = c.Write([]byte("hello"))
						require.NoError(t, err)
						got := make([]byte, 5)
						_, err = io.ReadFull(c, got)
						require.NoError(t, err)
						require.Equal(t, "hello", string(got))
						c.Close()
					}
				}
			}
		})
	}
}

// Who is whose peer, by the devices.
func TestTopology(t *testing.T) {
	peers := func(n *network.Network) (out []int) {
		for _, node := range n.Nodes() {
			o, err := node.Device.Observe(t.Context())
			require.NoError(t, err)
			require.Equal(t, node.PublicKey, o.Interface.PrivateKey.PublicKey())
			out = append(out, len(o.Peers))
		}
		return out
	}
	require.Equal(t, []int{2, 2, 2}, peers(network.Start(t, 3)))
	require.Equal(t, []int{2, 1, 1}, peers(network.StartHub(t, 3)))
	require.Equal(t, []int{0}, peers(network.Start(t, 1)))
}

// A device of a network is changed as any other: here by the peer that another node is.
func TestPeerCanBeTakenAndGiven(t *testing.T) {
	n := network.Start(t, 2)
	echo(t, n.Node(1))
	d, peer := n.Node(0).Device, n.Node(1).Peer()
	dial := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := n.Node(0).DialContext(ctx, "tcp", n.Node(1).Addr.String()+":7")
		if err == nil {
			c.Close()
		}
		return err
	}
	require.NoError(t, dial(time.Minute))
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.True(t, engine.SamePeer(o.Peers[0], engine.NormalizePeers([]engine.Peer{peer})[0]))
	require.False(t, o.Stats[peer.PublicKey].LastHandshake.IsZero())
	gone, err := engine.Apply(t.Context(), d, o.State, engine.Changes{Peers: []engine.PeerChange{{Before: &o.Peers[0]}}})
	require.NoError(t, err)
	require.Error(t, dial(200*time.Millisecond), "nobody has the address")
	_, err = engine.Apply(t.Context(), d, gone.State, engine.Changes{Peers: []engine.PeerChange{{After: &peer}}})
	require.NoError(t, err)
	require.NoError(t, dial(time.Minute))
}

// What is large goes through whole, in both directions at once.
func TestLargeTransfer(t *testing.T) {
	n := network.Start(t, 2)
	echo(t, n.Node(0))
	c, err := n.Node(1).DialContext(t.Context(), "tcp", n.Node(0).Addr.String()+":7")
	require.NoError(t, err)
	defer c.Close()
	sent := make([]byte, 8<<20)
	for i := range sent {
		sent[i] = byte(i * i >> 8)
	}
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(sent)
		written <- err
	}()
	got := make([]byte, len(sent))
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.NoError(t, <-written)
	require.True(t, bytes.Equal(sent, got))
}

// Close ends what was opened, and whoever waits for it; goleak sees that nothing is left.
func TestCloseEndsWhatIsOpen(t *testing.T) {
	n, err := network.New(network.Options{Nodes: 2})
	require.NoError(t, err)
	l, err := n.Node(0).Listen("tcp", ":80")
	require.NoError(t, err)
	served := make(chan error)
	server := http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	go func() { served <- server.Serve(l) }()
	res, err := n.Node(1).HTTPClient().Get("http://" + l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	c, err := n.Node(1).DialContext(t.Context(), "tcp", l.Addr().String())
	require.NoError(t, err)
	read := make(chan error)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	require.NoError(t, n.Close())
	require.ErrorIs(t, <-served, net.ErrClosed)
	require.Error(t, <-read)
	require.NoError(t, n.Close())
	_, err = n.Node(1).DialContext(t.Context(), "tcp", l.Addr().String())
	require.Error(t, err)
}

func TestCut(t *testing.T) {
	n := network.Start(t, 2)
	server, err := n.Node(1).ListenPacket("udp", ":9")
	require.NoError(t, err)
	defer server.Close()
	c, err := n.Node(0).DialContext(t.Context(), "udp", server.LocalAddr().String())
	require.NoError(t, err)
	defer c.Close()
	got := make(chan string, 10)
	go func() {
		b := make([]byte, 100)
		for {
			size, _, err := server.ReadFrom(b)
			if err != nil {
				close(got)
				return
			}
			got <- string(b[:size])
		}
	}()
	say := func(text string) {
		_, err := c.Write([]byte(text))
		require.NoError(t, err)
	}
	say("before")
	require.Equal(t, "before", <-got)
	n.Cut(0, 1)
	say("lost")
	require.Eventually(t, func() bool { return n.Lost() > 0 }, 5*time.Second, time.Millisecond)
	n.Join(0, 1)
	say("after")
	require.Equal(t, "after", <-got)
}

// A running network has not one socket of the host.
func TestNoSocketOfTheHost(t *testing.T) {
	sockets := func() (n int) {
		open, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		for _, fd := range open {
			to, _ := os.Readlink("/proc/self/fd/" + fd.Name()) // one is that of the folder, which is closed
			if strings.HasPrefix(to, "socket:") {
				n++
			}
		}
		return n
	}
	before := sockets()
	n := network.Start(t, 2)
	echo(t, n.Node(0))
	c, err := n.Node(1).DialContext(t.Context(), "tcp", n.Node(0).Addr.String()+":7")
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, before, sockets())
}

func TestNumberOfNodes(t *testing.T) {
	for _, n := range []int{-1, 0, 251} {
		_, err := network.New(network.Options{Nodes: n})
		var field *engine.FieldError
		require.ErrorAs(t, err, &field)
	}
}
