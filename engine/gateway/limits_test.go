package gateway

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// A peer's bandwidth holds for all of its flows together, and for nobody else's.
func TestBandwidth(t *testing.T) {
	l := newLab(t, Options{})
	slow, quick := l.join(2), l.join(3)
	l.set(engine.GatewayConfig{Access: engine.AccessPolicy{Peers: map[wgtypes.Key]engine.Access{
		slow.conf.PublicKey: {Limits: engine.Limits{Bandwidth: 1_000_000}},
	}}})
	target := listen(t, loopback4, func(c *net.TCPConn) { _, _ = c.Write(make([]byte, 1<<20)) })
	fetch := func(p *peer) time.Duration {
		begin := time.Now()
		c, err := p.DialContextTCPAddrPort(l.context(20*time.Second), target)
		require.NoError(t, err)
		defer c.Close()
		n, err := io.Copy(io.Discard, c)
		require.NoError(t, err)
		require.EqualValues(t, 1<<20, n)
		return time.Since(begin)
	}
	// 250,000 bytes pass at once; the limit can only make it longer than this.
	require.Greater(t, fetch(slow), 700*time.Millisecond)
	fetch(quick)
	require.Empty(t, l.g.Stats().Peers[quick.conf.PublicKey].Refused)
}

func TestMemoryLimitRefusesTheNewest(t *testing.T) {
	l := newLab(t, Options{Memory: 1}) // it is full
	p := l.join(2)
	_, err := p.DialContextTCPAddrPort(l.context(10*time.Second), listen(t, loopback4, echo))
	require.ErrorContains(t, err, "refused")
	require.EqualValues(t, 1, l.count(p, RefusedMemory))
}

// A burst of connections beyond the rate is late, not refused: SYNs come again.
func TestRateDelays(t *testing.T) {
	l := newLab(t, Options{Limits: engine.Limits{Rate: 2}})
	p := l.join(2)
	target := listen(t, loopback4, echo)
	for range 5 { // 4 pass at once
		c, err := p.DialContextTCPAddrPort(l.context(20*time.Second), target)
		require.NoError(t, err)
		c.Close()
	}
	require.Positive(t, l.count(p, RefusedRate))
}
