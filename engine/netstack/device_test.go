package netstack_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var pairs = map[string][2]kind{
	"ours to upstream": {newOurs, newTheirs}, "upstream to ours": {newTheirs, newOurs}, "ours to ours": {newOurs, newOurs},
}

func TestStreamsBothWays(t *testing.T) {
	for name, kinds := range pairs {
		for i, family := range []string{"IPv4", "IPv6"} {
			t.Run(name+" "+family, func(t *testing.T) {
				one, two := tunnel(t, kinds[0], kinds[1])
				at := netip.AddrPortFrom(two.addrs[i], 80)
				l, err := two.listen(at)
				require.NoError(t, err)
				defer l.Close()
				var echo sync.WaitGroup
				echo.Go(func() {
					if c, err := l.Accept(); err == nil {
						_, _ = io.Copy(c, c)
						c.Close()
					}
				})
				c, err := one.dial(t.Context(), at)
				require.NoError(t, err)
				defer c.Close()
				// Less than a receive buffer, so that no window closes: gVisor never asks again for the update of a small window
				// that was lost, and UDP on a busy host loses some.
				data := make([]byte, 512<<10)
				_, _ = rand.NewChaCha8([32]byte{}).Read(data)
				go func() {
					_, _ = io.Copy(c, bytes.NewReader(data))
					_ = c.(interface{ CloseWrite() error }).CloseWrite()
				}()
				got, err := io.ReadAll(c)
				require.NoError(t, err)
				require.Equal(t, sha256.Sum256(data), sha256.Sum256(got))
				echo.Wait()
			})
		}
	}
}

func TestDatagramsBothWays(t *testing.T) {
	for name, kinds := range pairs {
		for i, family := range []string{"IPv4", "IPv6"} {
			t.Run(name+" "+family, func(t *testing.T) {
				one, two := tunnel(t, kinds[0], kinds[1])
				at := netip.AddrPortFrom(two.addrs[i], 53)
				server, err := two.listenUDP(at)
				require.NoError(t, err)
				defer server.Close()
				c, err := one.dialUDP(at)
				require.NoError(t, err)
				defer c.Close()
				require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
				b := make([]byte, 65536)
				for _, size := range []int{1, 1372, 9000} { // the last one in fragments
					sent := slices.Repeat([]byte{byte(size)}, size)
					_, err := c.Write(sent)
					require.NoError(t, err)
					n, from, err := server.ReadFrom(b)
					require.NoError(t, err)
					require.Equal(t, sent, b[:n])
					_, err = server.WriteTo(sent, from)
					require.NoError(t, err)
					n, err = c.Read(b)
					require.NoError(t, err)
					require.Equal(t, sent, b[:n])
				}
			})
		}
	}
}

// What is larger than the MTU of a moment is cut by the MTU of that moment.
func TestMTUChangesWhileRunning(t *testing.T) {
	d, err := netstack.New(netstack.Options{Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, MTU: 1420})
	require.NoError(t, err)
	defer d.Close()
	c, err := d.Net().DialUDPAddrPort(netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:9"))
	require.NoError(t, err)
	defer c.Close()
	largest := func() (most int) {
		_, err := c.Write(make([]byte, 4000))
		require.NoError(t, err)
		bufs, sizes := buffers(8)
		n, err := d.Read(bufs, sizes, 0)
		require.NoError(t, err)
		return slices.Max(sizes[:n])
	}
	require.InDelta(t, 1420, largest(), 8)
	d.SetMTU(1280)
	require.InDelta(t, 1280, largest(), 8)
	mtu, err := d.MTU()
	require.NoError(t, err)
	require.Equal(t, 1280, mtu)
}

func buffers(n int) ([][]byte, []int) {
	bufs := make([][]byte, n)
	for i := range bufs {
		bufs[i] = make([]byte, 65536)
	}
	return bufs, make([]int, n)
}

func TestAFullQueueCounts(t *testing.T) {
	d, err := netstack.New(netstack.Options{MTU: 1420})
	require.NoError(t, err)
	defer d.Close()
	packet := make([]byte, 100)
	sent := 0
	for d.Send(packet) {
		sent++
	}
	require.Equal(t, 2048, sent)
	require.EqualValues(t, 1, d.Drops()["queue_full"])
	bufs, sizes := buffers(128)
	n, err := d.Read(bufs, sizes, 0)
	require.NoError(t, err)
	require.Equal(t, 128, n)
	require.True(t, d.Send(packet), "there is room again")
}

func TestNoWholePacketIsDroppedAndCounted(t *testing.T) {
	d, err := netstack.New(netstack.Options{MTU: 1420, Promiscuous: true})
	require.NoError(t, err)
	defer d.Close()
	seen := 0
	d.Filter(func([]byte) bool { seen++; return true })
	good := udpPacket(t, []byte("payload"))
	bad := slices.Clone(good)
	bad[8]-- // its header's sum is wrong now
	packets := [][]byte{nil, {0x45}, good[:len(good)-1], bad, slices.Repeat([]byte{0x60}, 39), slices.Repeat([]byte{0}, 100), good}
	n, err := d.Write(packets, 0)
	require.NoError(t, err)
	require.Equal(t, len(packets), n)
	require.Equal(t, 1, seen)
	require.EqualValues(t, len(packets)-1, d.Drops()["malformed"])
}

func TestAddressTwiceIsAnError(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	_, err := netstack.New(netstack.Options{Addresses: []netip.Addr{a, a}, MTU: 1420})
	var field *engine.FieldError
	require.ErrorAs(t, err, &field)
	require.Equal(t, "addresses", field.Field)
}

func TestCloseWakesRead(t *testing.T) {
	d, err := netstack.New(netstack.Options{MTU: 1420})
	require.NoError(t, err)
	over := make(chan error)
	go func() {
		bufs, sizes := buffers(1)
		_, err := d.Read(bufs, sizes, 0)
		over <- err
	}()
	require.NoError(t, d.Close())
	require.ErrorIs(t, <-over, os.ErrClosed)
	require.NoError(t, d.Close())
	require.False(t, d.Send([]byte{1}))
	_, err = d.Write([][]byte{{1}}, 0)
	require.ErrorIs(t, err, os.ErrClosed)
	_, open := <-d.Events()
	require.False(t, open)
}

// 1,000 devices are opened and closed in the midst of traffic of all kinds; goleak and the heap tell what they leave.
func TestOpenCloseUnderTraffic(t *testing.T) {
	const rounds = 1000
	var before uint64
	for i := range rounds {
		if i == rounds/10 { // pools are filled
			before = heap()
		}
		openClose(t)
	}
	after := heap()
	require.Less(t, after, before+before/2+8<<20, "bytes of heap after %d rounds", rounds)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func openClose(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	one, err := netstack.New(netstack.Options{Addresses: []netip.Addr{a}, MTU: 1420})
	require.NoError(t, err)
	two, err := netstack.New(netstack.Options{Addresses: []netip.Addr{b}, MTU: 1420})
	require.NoError(t, err)
	var tasks sync.WaitGroup
	wire := func(from, to *netstack.Device) {
		bufs, sizes := make([][]byte, 16), make([]int, 16)
		for i := range bufs {
			bufs[i] = make([]byte, 1500)
		}
		for {
			n, err := from.Read(bufs, sizes, 0)
			if err != nil {
				return
			}
			packets := make([][]byte, n)
			for i := range n {
				packets[i] = bufs[i][:sizes[i]]
			}
			if _, err := to.Write(packets, 0); err != nil {
				return
			}
		}
	}
	tasks.Go(func() { wire(one, two) })
	tasks.Go(func() { wire(two, one) })
	l, err := two.Net().ListenTCPAddrPort(netip.AddrPortFrom(b, 80))
	require.NoError(t, err)
	flowing := make(chan struct{})
	tasks.Go(func() {
		c, err := l.Accept()
		if err != nil {
			close(flowing)
			return
		}
		_, _ = io.ReadFull(c, make([]byte, 64<<10))
		close(flowing)
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	})
	c, err := one.Net().DialContextTCPAddrPort(t.Context(), netip.AddrPortFrom(b, 80))
	require.NoError(t, err)
	tasks.Go(func() {
		block := make([]byte, 64<<10)
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	u, err := one.Net().DialUDPAddrPort(netip.AddrPort{}, netip.AddrPortFrom(b, 9))
	require.NoError(t, err)
	tasks.Go(func() {
		datagram, packet := make([]byte, 1000), make([]byte, 20)
		for {
			_, _ = u.Write(datagram)
			if !one.Send(packet) {
				return
			}
		}
	})
	<-flowing
	tasks.Go(func() { _ = one.Close() })
	require.NoError(t, two.Close())
	_ = one.Close()
	c.Close()
	l.Close()
	u.Close()
	tasks.Wait()
}

// A writer that finds the socket full goes on when there is room, at its deadline, or when the socket is closed.
func TestDatagramsWaitForRoom(t *testing.T) {
	full := func(t *testing.T) (*netstack.Device, *netstack.UDPConn) {
		d, err := netstack.New(netstack.Options{Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, MTU: 1420})
		require.NoError(t, err)
		t.Cleanup(func() { d.Close() })
		c, err := d.Net().DialUDPAddrPort(netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:9"))
		require.NoError(t, err)
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(10*time.Millisecond)))
		for err == nil {
			_, err = c.Write(make([]byte, 1000))
		}
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.SetWriteDeadline(time.Time{}))
		return d, c
	}
	write := func(c *netstack.UDPConn) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := c.Write(make([]byte, 1000))
			done <- err
		}()
		return done
	}
	t.Run("room", func(t *testing.T) {
		d, c := full(t)
		done := write(c)
		bufs, sizes := buffers(128)
		_, err := d.Read(bufs, sizes, 0)
		require.NoError(t, err)
		require.NoError(t, <-done)
		c.Close()
	})
	t.Run("close", func(t *testing.T) {
		_, c := full(t)
		done := write(c)
		require.NoError(t, c.Close())
		require.Error(t, <-done)
	})
	t.Run("a deadline that comes later", func(t *testing.T) {
		_, c := full(t)
		done := write(c)
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(-time.Second)))
		require.ErrorIs(t, <-done, os.ErrDeadlineExceeded)
		c.Close()
	})
}
