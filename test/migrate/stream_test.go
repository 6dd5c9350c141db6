//go:build root

package migrate

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/engine/enginetest/mesh"
)

const (
	echoPort = 7777
	settle   = 30 * time.Second // how long what is on its way may take
	look     = 20 * time.Millisecond
)

// stream is a client of wg0 that sends numbered datagrams and one long TCP stream; the host sends both back. Nothing is
// sent twice by us: a datagram that the tunnel loses is missing for good.
type stream struct {
	datagrams, long net.Conn
	pause           time.Duration // between two datagrams, and between two pieces of the long stream
	piece           int           // bytes

	stop     chan struct{}
	sent     uint64 // datagrams, once sending has ended
	here     tally  // datagrams that came to the host
	back     tally  // and those that came back to the client
	wrote    hash.Hash
	read     hash.Hash
	echoed   atomic.Int64 // bytes of the long stream
	workers  sync.WaitGroup
	problems chan error
}

// tally counts the numbers of datagrams.
type tally struct {
	mu      sync.Mutex // protects what follows
	seen    map[uint64]int
	last    time.Time
	longest time.Duration // without one
}

func (t *tally) add(b []byte) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[uint64]int{}
	} else {
		t.longest = max(t.longest, now.Sub(t.last))
	}
	t.last = now
	t.seen[binary.BigEndian.Uint64(b)]++
}

func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.seen)
}

// missing are the numbers below sent that did not come, ten of them at most.
func (t *tally) missing(sent uint64) (out []uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range sent {
		if t.seen[n] == 0 && len(out) < 10 {
			out = append(out, n)
		}
	}
	return out
}

// stream starts the client, and the host's answers to it.
func (h host) stream() *stream {
	h.Helper()
	s := &stream{stop: make(chan struct{}), wrote: sha256.New(), read: sha256.New(), problems: make(chan error, 4)}
	s.pause, s.piece = 5*time.Millisecond, 8<<10
	if h.kernel { // in a machine that is emulated
		s.pause, s.piece = 50*time.Millisecond, 1<<10
	}
	h.answer(s)
	c, err := mesh.NewClient(mesh.Options{
		PrivateKey: h.client.private, PresharedKey: h.client.preshared, Addresses: []netip.Addr{clientAddr}, Peer: h.node,
		Endpoint: netip.MustParseAddrPort("127.0.0.1:51820"), AllowedIPs: []netip.Prefix{netip.PrefixFrom(nodeAddr, 24).Masked()},
	})
	require.NoError(h, err)
	h.Cleanup(c.Close)
	to := netip.AddrPortFrom(nodeAddr, echoPort)
	s.long, err = c.Net().DialContextTCPAddrPort(h.Context(), to)
	require.NoError(h, err)
	h.Cleanup(func() { s.long.Close() })
	s.datagrams, err = c.Net().DialUDPAddrPort(netip.AddrPort{}, to)
	require.NoError(h, err)
	h.Cleanup(func() { s.datagrams.Close() })
	s.workers.Go(s.sendDatagrams)
	s.workers.Go(s.sendLong)
	s.workers.Go(s.readLong)
	go s.readDatagrams()
	s.advance(h)
	return s
}

// answer is the host's side.
func (h host) answer(s *stream) {
	h.Helper()
	packets, err := net.ListenUDP("udp4", &net.UDPAddr{Port: echoPort})
	require.NoError(h, err)
	h.Cleanup(func() { packets.Close() })
	raw, err := packets.SyscallConn()
	require.NoError(h, err)
	// No datagram may be lost here only because this machine is busy.
	var forced error
	require.NoError(h, raw.Control(func(fd uintptr) {
		forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	}))
	require.NoError(h, forced)
	go func() {
		b := make([]byte, 1500)
		for {
			n, from, err := packets.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			s.here.add(b[:n])
			_, _ = packets.WriteToUDPAddrPort(b[:n], from) // what did not go is missing at the client
		}
	}()
	l, err := net.Listen("tcp4", fmt.Sprintf(":%d", echoPort))
	require.NoError(h, err)
	h.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if _, err := io.Copy(struct{ io.Writer }{conn}, conn); err != nil {
			s.problems <- fmt.Errorf("the host's side of the long stream: %w", err)
		}
	}()
}

// each calls f with 0, 1, … until the stream is stopped, and returns how often that was.
func (s *stream) each(f func(n uint64) error) uint64 {
	tick := time.NewTicker(s.pause)
	defer tick.Stop()
	for n := uint64(0); ; n++ {
		if err := f(n); err != nil {
			s.problems <- err
			return n
		}
		select {
		case <-s.stop:
			return n + 1
		case <-tick.C:
		}
	}
}

func (s *stream) sendDatagrams() {
	b := make([]byte, 64)
	s.sent = s.each(func(n uint64) error {
		binary.BigEndian.PutUint64(b, n)
		_, err := s.datagrams.Write(b)
		return err
	})
}

func (s *stream) readDatagrams() {
	b := make([]byte, 1500)
	for {
		n, err := s.datagrams.Read(b)
		if err != nil {
			return
		}
		s.back.add(b[:n])
	}
}

func (s *stream) sendLong() {
	b := make([]byte, s.piece)
	random := rand.NewChaCha8([32]byte{1})
	s.each(func(uint64) error {
		_, _ = random.Read(b) // never fails
		s.wrote.Write(b)
		_, err := s.long.Write(b)
		return err
	})
	if w, ok := s.long.(interface{ CloseWrite() error }); ok {
		if err := w.CloseWrite(); err != nil {
			s.problems <- err
		}
	}
}

func (s *stream) readLong() {
	b := make([]byte, 64<<10)
	for {
		n, err := s.long.Read(b)
		s.read.Write(b[:n])
		s.echoed.Add(int64(n))
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.problems <- err
			}
			return
		}
	}
}

// advance waits until more of both has come back.
func (s *stream) advance(h host) {
	h.Helper()
	datagrams, bytes := s.back.count(), s.echoed.Load()
	require.Eventually(h, func() bool {
		return s.back.count() > datagrams+10 && s.echoed.Load() > bytes+int64(10*s.piece)
	}, settle, look, "the stream stands still")
}

// end stops sending and wants everything to have come back, once.
func (s *stream) end(h host) {
	h.Helper()
	s.advance(h)
	close(s.stop)
	require.NoError(h, s.long.SetReadDeadline(time.Now().Add(settle)))
	s.workers.Wait()
	select {
	case err := <-s.problems:
		require.NoError(h, err)
	default:
	}
	for until := time.Now().Add(settle); s.back.count() < int(s.sent) && time.Now().Before(until) && time.Since(s.back.at()) < settle/6; {
		time.Sleep(look) //nolint:forbidigo // what is on its way comes by itself
	}
	require.Empty(h, s.here.missing(s.sent), "datagrams of %d that did not come to the host", s.sent)
	require.Empty(h, s.back.missing(s.sent), "datagrams of %d that did not come back", s.sent)
	require.True(h, bytes.Equal(s.wrote.Sum(nil), s.read.Sum(nil)), "the long stream came back as another one")
	h.Logf("%d datagrams and a stream of %d bytes, both ways, nothing lost; the longest time without a datagram: %v", s.sent, s.echoed.Load(), s.back.longest)
}

func (t *tally) at() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}
