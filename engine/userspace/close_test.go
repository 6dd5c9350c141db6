package userspace_test

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A device that is closed under load ends: no goroutine stays, nothing panics.
func TestCloseUnderTraffic(t *testing.T) {
	for range 5 {
		x := newTunnel(t)
		l, err := x.net.ListenTCPAddrPort(netip.AddrPortFrom(nodeIP, 7))
		require.NoError(t, err)
		var all sync.WaitGroup
		var served net.Conn
		accepted := make(chan struct{})
		all.Go(func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				close(accepted)
				return
			}
			served = c
			close(accepted)
			for b := make([]byte, 64<<10); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		})
		c, err := x.client.Net().DialContextTCPAddrPort(t.Context(), netip.AddrPortFrom(nodeIP, 7))
		require.NoError(t, err)
		all.Go(func() { _, _ = io.Copy(io.Discard, c) })
		<-accepted
		_, err = io.CopyN(io.Discard, c, 1<<20)
		require.NoError(t, err)
		require.NoError(t, x.node.Close(t.Context()))
		x.client.Close()
		served.Close()
		c.Close()
		l.Close()
		all.Wait()
	}
}
