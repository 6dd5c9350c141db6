package network_test

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest/network"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryNodeReachesEveryOther(t *testing.T) {
	for name, hub := range map[string]bool{"mesh": false, "hub": true} {
		t.Run(name, func(t *testing.T) {
			n, err := network.New(network.Options{Nodes: 4, Hub: hub})
			require.NoError(t, err)
			defer n.Close()
			for i := range 4 {
				l, err := n.Node(i).Listen(7)
				require.NoError(t, err)
				defer l.Close()
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
			for i := range 4 {
				for j := range 4 {
					if i == j {
						continue
					}
					c, err := n.Node(i).DialContext(t.Context(), "tcp", netip.AddrPortFrom(n.Node(j).Addr, 7).String())
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
		})
	}
}

func TestCut(t *testing.T) {
	n := network.Start(t, 2)
	server, err := n.Node(1).ListenPacket(9)
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

func TestPortsOfAWire(t *testing.T) {
	w := network.NewWire()
	one, two := w.Bind(), w.Bind()
	_, port, err := one.Open(0)
	require.NoError(t, err)
	_, _, err = two.Open(port)
	require.Error(t, err, "it is taken")
	_, other, err := two.Open(0)
	require.NoError(t, err)
	require.NotEqual(t, port, other)
	require.NoError(t, one.Close())
	require.NoError(t, one.Close())
	to, err := one.ParseEndpoint(network.Endpoint(other).String())
	require.NoError(t, err)
	require.ErrorIs(t, one.Send([][]byte{{1}}, to), net.ErrClosed)
	_, _, err = one.Open(port)
	require.NoError(t, err, "it can be opened again")
	require.NoError(t, one.Close())
	require.NoError(t, two.Close())
}

func TestNumberOfNodes(t *testing.T) {
	for _, n := range []int{-1, 0, 251} {
		_, err := network.New(network.Options{Nodes: n})
		var field *engine.FieldError
		require.ErrorAs(t, err, &field)
	}
}

// The ten lines of the README.
func TestService(t *testing.T) {
	n := network.Start(t, 2)
	l, err := n.Node(0).Listen(80)
	require.NoError(t, err)
	defer l.Close()
	server := http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	go server.Serve(l)
	defer server.Close()
	client := http.Client{Transport: &http.Transport{DialContext: n.Node(1).DialContext, DisableKeepAlives: true}}
	res, err := client.Get("http://" + n.Node(0).Addr.String())
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusNotFound, res.StatusCode)
}
