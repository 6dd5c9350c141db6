package wgquick

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

const benchPeers = 10_000

func benchKey(i int) wgtypes.Key {
	var k wgtypes.Key
	binary.BigEndian.PutUint32(k[:], uint32(i+1))
	k[31] = 0x40
	return k
}

func benchPeer(i int) Peer {
	return Peer{
		PublicKey:           benchKey(i),
		AllowedIPs:          []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)},
		PersistentKeepalive: 25,
	}
}

func benchData(tb testing.TB) []byte {
	tb.Helper()
	f := New()
	if err := f.SetInterface("Address", "10.0.0.1/8"); err != nil {
		tb.Fatal(err)
	}
	for i := range benchPeers {
		if err := f.PutPeer(benchPeer(i)); err != nil {
			tb.Fatal(err)
		}
	}
	return f.Bytes()
}

func benchFile(tb testing.TB, data []byte) *File {
	tb.Helper()
	f, err := Parse(data)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

func BenchmarkParse(b *testing.B) {
	data := benchData(b)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		benchFile(b, data)
	}
}

func BenchmarkPeers(b *testing.B) {
	f := benchFile(b, benchData(b))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Peers(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBytes(b *testing.B) {
	f := benchFile(b, benchData(b))
	b.ReportAllocs()
	for b.Loop() {
		f.Bytes()
	}
}

func BenchmarkRedacted(b *testing.B) {
	f := benchFile(b, benchData(b))
	b.ReportAllocs()
	for b.Loop() {
		f.Redacted()
	}
}

// BenchmarkPutPeer changes one peer of 10,000.
func BenchmarkPutPeer(b *testing.B) {
	f := benchFile(b, benchData(b))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p := benchPeer(i % benchPeers)
		p.PersistentKeepalive = i % 60
		if err := f.PutPeer(p); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkRemoveHalf removes 5,000 of 10,000 peers one by one.
func BenchmarkRemoveHalf(b *testing.B) {
	data := benchData(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		f := benchFile(b, data)
		b.StartTimer()
		for i := range benchPeers / 2 {
			f.RemovePeer(benchKey(i * 2))
		}
	}
}

// TestEditsOfManyPeersAreNotQuadratic counts the work instead of timing it: an edit of one peer
// allocates no more in a file of 10,000 than in one of 10.
func TestEditsOfManyPeersAreNotQuadratic(t *testing.T) {
	cost := func(peers int) float64 {
		f := New()
		for i := range peers {
			if err := f.PutPeer(benchPeer(i)); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		return testing.AllocsPerRun(100, func() {
			p := benchPeer(n % peers)
			p.PersistentKeepalive = 1 + n%50
			n++
			if err := f.PutPeer(p); err != nil {
				t.Fatal(err)
			}
			f.RemovePeer(p.PublicKey)
		})
	}
	if small, big := cost(10), cost(benchPeers); big > small*2 {
		t.Fatalf("%.0f allocations in a small file, %.0f in a big one", small, big)
	}
}
