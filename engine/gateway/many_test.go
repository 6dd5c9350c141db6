package gateway

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
)

// serverVariable makes this binary an echo server: its sockets count against another process's limit.
const serverVariable = "WGFLEET_TEST_ECHO_SERVER"

// serveEcho prints where it listens and echoes until standard input ends.
func serveEcho() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				echo(c.(*net.TCPConn))
				c.Close()
			}()
		}
	}()
	fmt.Println(l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// talk sends a line and waits for it.
func talk(c net.Conn, text string) error {
	if _, err := c.Write([]byte(text)); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return errors.New("another answer came")
	}
	return nil
}

// live is the heap that something still holds.
func live() uint64 {
	runtime.GC()
	runtime.GC() // pools let go at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Floods of one peer: SYNs to a port that answers and is never acknowledged, to ports all over, and datagrams to everywhere. Another
// peer notices nothing, and what the flood may take is bounded.
func TestFloodsHarmNobody(t *testing.T) {
	l := newLab(t, Options{Limits: engine.Limits{Connections: 100, Rate: 50}})
	flooder, p := l.wire(2, false), l.join(3)
	target := listen(t, loopback4, echo)
	stop := make(chan struct{})
	var floods sync.WaitGroup
	floods.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			dst := target
			if i%2 == 0 {
				dst = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), uint16(1+i))
			}
			_, _ = l.hub.Write([][]byte{syn(flooder.addr, dst, uint16(i)), quoteUDP(netip.AddrPortFrom(flooder.addr, uint16(i)), dst)}, 0)
		}
	})
	for i := range 30 {
		c, err := p.DialContextTCPAddrPort(l.context(10*time.Second), target)
		require.NoError(t, err)
		require.NoError(t, talk(c, fmt.Sprint("flow ", i)))
		c.Close()
	}
	require.LessOrEqual(t, l.g.Stats().Peers[flooder.conf.PublicKey].Flows, 100)
	close(stop)
	floods.Wait()
	refused := l.g.Stats().Peers[flooder.conf.PublicKey].Refused
	require.Positive(t, refused[RefusedRate]+refused[RefusedConnections])
	require.Empty(t, l.g.Stats().Peers[p.conf.PublicKey].Refused)
	l.g.ChangePeers([]engine.PeerChange{{Before: &flooder.conf}}) // else the server waits for who never answered
}
