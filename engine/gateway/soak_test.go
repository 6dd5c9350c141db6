//go:build soak

package gateway

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
)

// TestSoak lets peers do all that they may, and some of what they may not, for WGFLEET_SOAK (10m): streams that end well and badly,
// datagrams, ports that refuse, each other; while policies change and peers come and go. In the end nothing is left, and what
// each flow carried was what was sent.
func TestSoak(t *testing.T) {
	d, err := time.ParseDuration(os.Getenv("WGFLEET_SOAK"))
	if err != nil {
		d = 10 * time.Minute
	}
	l := newLab(t, Options{Timeouts: Timeouts{UDP: 2 * time.Second, Peer: 2 * time.Second}, Limits: engine.Limits{Rate: engine.NoLimit}})
	s := &soak{lab: l, stream: listen(t, loopback4, echo), end: time.Now().Add(d)}
	u, at := hostUDP(t, loopback4)
	s.datagrams = at
	go func() {
		for b := make([]byte, 65536); ; {
			n, from, err := u.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = u.WriteTo(b[:n], from)
		}
	}()
	var peers []*peer
	for i := range byte(8) {
		peers = append(peers, l.join(2+i))
	}
	before := live()
	var tasks sync.WaitGroup
	for i, p := range peers {
		tasks.Go(func() { s.client(p, uint64(i)) })
	}
	tasks.Go(func() { s.operator(peers) })
	tasks.Wait()
	require.Eventually(t, func() bool { return len(l.g.Flows()) == 0 && l.g.dialing.empty() }, time.Minute, 100*time.Millisecond)
	require.Eventually(t, func() bool { return live() < before+before/10+8<<20 }, 2*time.Minute, time.Second, "live before: %d KiB", before>>10)
	t.Logf("%s: %d streams, %d datagrams; live before %d KiB, after %d KiB", d, s.streams, s.answers, before>>10, live()>>10)
}

type soak struct {
	*lab
	stream, datagrams netip.AddrPort
	end               time.Time

	mu               sync.Mutex // protects what follows
	streams, answers int
}

// client does one thing after the other. An operator may end any of it; a wrong byte is an error.
func (s *soak) client(p *peer, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for time.Now().Before(s.end) {
		switch r.IntN(5) {
		case 0, 1:
			s.whole(p, r)
		case 2:
			s.broken(p, r)
		case 3:
			s.datagram(p, r)
		case 4:
			c, err := p.DialContextTCPAddrPort(s.context(5*time.Second), netip.AddrPortFrom(loopback4, 1))
			if err == nil {
				c.Close()
				s.t.Error("a port that nobody has was connected to")
			}
		}
	}
}

func (s *soak) whole(p *peer, r *rand.Rand) {
	c, err := p.DialContextTCPAddrPort(s.context(10*time.Second), s.stream)
	if err != nil {
		return // the policy of the moment
	}
	defer c.Close()
	size, seed := r.Int64N(4<<20), r.Uint64()
	go func() {
		_, _ = io.CopyN(c, pattern(seed), size)
		_ = c.CloseWrite()
	}()
	same, n := compare(c, pattern(seed))
	if !same || n > size {
		s.t.Errorf("another byte came after %d", n)
	}
	s.mu.Lock()
	s.streams++
	s.mu.Unlock()
}

func pattern(seed uint64) io.Reader {
	return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
}

// compare reads to the end and reports whether all that came was as wanted.
func compare(got, want io.Reader) (same bool, n int64) {
	a, b := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		k, err := got.Read(a)
		if _, bad := io.ReadFull(want, b[:k]); bad != nil || string(a[:k]) != string(b[:k]) {
			return false, n
		}
		n += int64(k)
		if err != nil {
			return true, n
		}
	}
}

func (s *soak) broken(p *peer, r *rand.Rand) {
	c, err := p.DialContextTCPAddrPort(s.context(10*time.Second), s.stream)
	if err != nil {
		return
	}
	_, _ = c.Write(make([]byte, r.IntN(200<<10)))
	c.Close() // with its answer unread
}

func (s *soak) datagram(p *peer, r *rand.Rand) {
	c, err := p.DialUDPAddrPort(netip.AddrPort{}, s.datagrams)
	if err != nil {
		return
	}
	defer c.Close()
	text := fmt.Appendf(nil, "%0*d", 1+r.IntN(3000), r.Uint64())
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = c.Write(text)
	b := make([]byte, 65536)
	n, err := c.Read(b)
	if err != nil {
		return // lost
	}
	if string(b[:n]) != string(text) {
		s.t.Error("another datagram came")
	}
	s.mu.Lock()
	s.answers++
	s.mu.Unlock()
}

// operator changes what the gateway does.
func (s *soak) operator(peers []*peer) {
	r := rand.New(rand.NewPCG(99, 1))
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for time.Now().Before(s.end) {
		<-t.C
		p := peers[r.IntN(len(peers))]
		switch r.IntN(3) {
		case 0:
			s.g.ChangePeers([]engine.PeerChange{{Before: &p.conf}})
			s.g.ChangePeers([]engine.PeerChange{{After: &p.conf}})
		case 1:
			s.set(engine.GatewayConfig{Access: engine.AccessPolicy{Node: engine.Access{
				Deny: []engine.AccessRule{{Prefix: netip.PrefixFrom(loopback4, 32), Protocol: engine.ProtocolTCP}},
			}}})
			s.set(engine.GatewayConfig{})
		case 2:
			s.g.Flows()
			s.g.Stats()
		}
	}
}
