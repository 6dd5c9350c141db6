package netstack_test

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkTunnel moves one TCP stream from the first end to the second.
func BenchmarkTunnel(b *testing.B) {
	kinds := map[string]kind{"ours": newOurs, "upstream": newTheirs}
	for _, from := range []string{"upstream", "ours"} {
		for _, to := range []string{"upstream", "ours"} {
			b.Run(from+" to "+to, func(b *testing.B) {
				one, two := tunnel(b, kinds[from], kinds[to])
				stream(b, one, two)
			})
		}
	}
}

func stream(b *testing.B, from, to end) {
	const block = 1 << 20
	at := netip.AddrPortFrom(to.addrs[0], 80)
	l, err := to.listen(at)
	require.NoError(b, err)
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			accepted <- c
		}
	}()
	c, err := from.dial(b.Context(), at)
	require.NoError(b, err)
	defer c.Close()
	s := <-accepted
	defer s.Close()
	go func() {
		data := make([]byte, block)
		for {
			if _, err := c.Write(data); err != nil {
				return
			}
		}
	}()
	got := make([]byte, block)
	_, err = io.ReadFull(s, got)
	require.NoError(b, err)
	b.SetBytes(block)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.ReadFull(s, got); err != nil {
			b.Fatal(err)
		}
	}
}
