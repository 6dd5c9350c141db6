package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// Fingerprint tells whether two configurations are the same one: interface, peers and preshared keys,
// all that the two digests speak of. It stays in this process: whoever knew one could try keys on it.
type Fingerprint [sha256.Size]byte

// String redacts: it is made of secrets.
func (Fingerprint) String() string { return "(secret)" }

// GoString redacts.
func (Fingerprint) GoString() string { return "(secret)" }

// Fingerprinter is a Device that finds out for less than a full read whether it changed.
type Fingerprinter interface {
	Device
	// Fingerprint is FingerprintOf the state that Observe would read now. A write during the read may
	// tear it, as it may tear an Observe: the two are then unequal. Errors: as Observe.
	Fingerprint(ctx context.Context) (Fingerprint, error)
}

// FingerprintOf is the fingerprint of a whole state. The order of peers, and of the allowed IPs of each,
// does not matter.
func FingerprintOf(s State) Fingerprint {
	var f Fingerprints
	for i := range s.Peers {
		f.Add(&s.Peers[i])
	}
	return f.Sum(s.Interface)
}

// Fingerprints makes one Fingerprint of peers that come one by one, in any order. The zero value is
// ready, and allocates for the largest peer alone.
type Fingerprints struct {
	sum   [4]uint64 // of the peers' hashes, as one number of 256 bits: their order does not matter
	count uint64
	buf   []byte
	ips   []netip.Prefix
}

// Add takes a peer, of which nothing is kept. Its allowed IPs are masked and each is there once, as a
// device reads them back.
func (f *Fingerprints) Add(p *Peer) {
	f.buf = append(append(f.buf[:0], p.PublicKey[:]...), p.PresharedKey.key[:]...)
	f.buf = binary.BigEndian.AppendUint64(f.buf, uint64(p.PersistentKeepalive))
	f.buf = f.appendPrefixes(f.buf, p.AllowedIPs)
	h := sha256.Sum256(f.buf)
	var carry uint64
	for i := range f.sum {
		f.sum[i], carry = bits.Add64(f.sum[i], binary.LittleEndian.Uint64(h[8*i:]), carry)
	}
	f.count++
}

// Sum is the fingerprint of an interface with the peers that were added.
func (f *Fingerprints) Sum(i Interface) Fingerprint {
	key := i.PrivateKey.Clamped()
	b := append(f.buf[:0], key.key[:]...)
	b = binary.BigEndian.AppendUint16(b, i.ListenPort)
	b = binary.BigEndian.AppendUint32(b, i.FwMark)
	b = binary.BigEndian.AppendUint64(b, uint64(i.MTU))
	b = f.appendPrefixes(b, i.Addresses)
	b = binary.BigEndian.AppendUint64(b, f.count)
	for _, part := range f.sum {
		b = binary.LittleEndian.AppendUint64(b, part)
	}
	f.buf = b
	return sha256.Sum256(b)
}

// appendPrefixes appends the set: sorted, each in 18 bytes, their number first.
func (f *Fingerprints) appendPrefixes(b []byte, set []netip.Prefix) []byte {
	f.ips = append(f.ips[:0], set...)
	slices.SortFunc(f.ips, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	b = binary.BigEndian.AppendUint64(b, uint64(len(f.ips)))
	for _, p := range f.ips {
		a := p.Addr().As16()
		b = append(append(b, a[:]...), byte(p.Bits()), byte(p.Addr().BitLen()))
	}
	return b
}
