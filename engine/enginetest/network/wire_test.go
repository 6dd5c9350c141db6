package network_test

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/conn"

	"github.com/wgfleet/wgfleet/engine/enginetest/network"
)

// socket is one that is open on a wire.
type socket struct {
	conn.Bind
	port    uint16
	receive conn.ReceiveFunc
}

func open(t *testing.T, w *network.Wire) socket {
	t.Helper()
	b := w.Bind()
	receive, port, err := b.Open(0)
	require.NoError(t, err)
	require.Len(t, receive, 1)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return socket{b, port, receive[0]}
}

func (s socket) say(t *testing.T, to netip.AddrPort, datagrams ...[]byte) {
	t.Helper()
	e, err := s.ParseEndpoint(to.String())
	require.NoError(t, err)
	require.NoError(t, s.Send(datagrams, e))
}

// hear reads once, at most n datagrams, and returns them with where they are from.
func (s socket) hear(t *testing.T, n int) (texts []string, from []string) {
	t.Helper()
	bufs, sizes, eps := make([][]byte, n), make([]int, n), make([]conn.Endpoint, n)
	for i := range bufs {
		bufs[i] = make([]byte, 100)
	}
	got, err := s.receive(bufs, sizes, eps)
	require.NoError(t, err)
	for i := range got {
		texts, from = append(texts, string(bufs[i][:sizes[i]])), append(from, eps[i].DstToString())
	}
	return texts, from
}

func TestPortsOfAWire(t *testing.T) {
	w := network.NewWire()
	one, two := open(t, w), w.Bind()
	_, _, err := two.Open(one.port)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	_, other, err := two.Open(0)
	require.NoError(t, err)
	require.NotEqual(t, one.port, other)
	_, _, err = two.Open(0)
	require.ErrorIs(t, err, conn.ErrBindAlreadyOpen)
	require.NoError(t, two.Close())
	require.NoError(t, two.Close())
	to, err := two.ParseEndpoint(network.Endpoint(one.port).String())
	require.NoError(t, err)
	require.ErrorIs(t, two.Send([][]byte{{1}}, to), net.ErrClosed)
	_, again, err := two.Open(0)
	require.NoError(t, err, "it can be opened again")
	require.NotEqual(t, other, again, "a port that was let go is not at once another's")
	require.NoError(t, two.Close())
	_, _, err = two.Open(other)
	require.NoError(t, err)
	require.NoError(t, two.Close())
}

// What is sent at once is heard at once, in its order and as it was.
func TestBatches(t *testing.T) {
	w := network.NewWire()
	a, b := open(t, w), open(t, w)
	data := [][]byte{[]byte("one"), []byte("two"), {}, []byte("four")}
	a.say(t, network.Endpoint(b.port), data...)
	copy(data[0], "XXX") // the sender uses its buffers again
	texts, from := b.hear(t, 3)
	require.Equal(t, []string{"one", "two", ""}, texts)
	require.Equal(t, network.Endpoint(a.port).String(), from[2])
	texts, _ = b.hear(t, 3)
	require.Equal(t, []string{"four"}, texts)
	require.Positive(t, a.BatchSize())
}

// A sender never waits: what finds no room is lost, and what was there first is heard.
func TestAFullSocketLosesTheNewest(t *testing.T) {
	w := network.NewWire()
	a, b := open(t, w), open(t, w)
	for range 1024 {
		a.say(t, network.Endpoint(b.port), []byte("old"))
	}
	a.say(t, network.Endpoint(b.port), []byte("new"))
	for range 1024 / 128 {
		texts, _ := b.hear(t, 128)
		require.NotContains(t, texts, "new")
		require.Len(t, texts, 128)
	}
	a.say(t, network.Endpoint(b.port), []byte("last"))
	texts, _ := b.hear(t, 128)
	require.Equal(t, []string{"last"}, texts)
}

func TestCutAndJoinOfAWire(t *testing.T) {
	w := network.NewWire()
	a, b, c := open(t, w), open(t, w), open(t, w)
	w.Cut(a.port, b.port)
	a.say(t, network.Endpoint(b.port), []byte("cut"))
	b.say(t, network.Endpoint(a.port), []byte("cut"))
	c.say(t, network.Endpoint(a.port), []byte("from c"))
	require.EqualValues(t, 2, w.Lost())
	texts, _ := a.hear(t, 8)
	require.Equal(t, []string{"from c"}, texts)
	w.Join(b.port, a.port)
	a.say(t, network.Endpoint(b.port), []byte("joined"))
	texts, _ = b.hear(t, 8)
	require.Equal(t, []string{"joined"}, texts)
	require.EqualValues(t, 2, w.Lost())
}

// There is one address: a datagram to the right port elsewhere does not arrive.
func TestOtherAddressesAreNobodys(t *testing.T) {
	w := network.NewWire()
	a, b := open(t, w), open(t, w)
	a.say(t, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), b.port), []byte("lost"))
	a.say(t, netip.AddrPortFrom(netip.MustParseAddr("::1"), b.port), []byte("lost"))
	a.say(t, network.Endpoint(1), []byte("lost"))
	a.say(t, netip.AddrPortFrom(netip.MustParseAddr("::ffff:127.0.0.1"), b.port), []byte("heard"))
	texts, _ := b.hear(t, 8)
	require.Equal(t, []string{"heard"}, texts)
	_, err := a.ParseEndpoint("node:1")
	require.Error(t, err)
	theirs, err := conn.NewStdNetBind().ParseEndpoint("127.0.0.1:1")
	require.NoError(t, err)
	require.ErrorIs(t, a.Send([][]byte{{1}}, theirs), conn.ErrWrongEndpointType)
}

func TestCloseEndsReceive(t *testing.T) {
	b := network.NewWire().Bind()
	receive, _, err := b.Open(0)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := receive[0]([][]byte{make([]byte, 1)}, make([]int, 1), make([]conn.Endpoint, 1))
		ended <- err
	}()
	require.NoError(t, b.Close())
	select {
	case err := <-ended:
		require.ErrorIs(t, err, net.ErrClosed)
	case <-time.After(time.Minute):
		t.Fatal("it still waits")
	}
}
