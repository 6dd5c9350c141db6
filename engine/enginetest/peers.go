package enginetest

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// PeerKey is the n-th of a fixed row of public keys, none of which anybody has the private key of.
// Keys in a row are far apart in every order.
func PeerKey(n int) wgtypes.Key {
	var k wgtypes.Key
	binary.BigEndian.PutUint64(k[:], uint64(n+1)*0x9e3779b97f4a7c15)
	k[31] = 9
	return k
}

// PeerIP is the tunnel address of the n-th peer, in 10.0.0.0/8.
func PeerIP(n int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 10<<24+uint32(n)+2)
	return netip.AddrFrom4(a)
}

// Peers makes n peers, normalized, each with one address.
func Peers(n int) []engine.Peer {
	peers := make([]engine.Peer, n)
	for i := range peers {
		peers[i] = engine.Peer{PublicKey: PeerKey(i), AllowedIPs: []netip.Prefix{netip.PrefixFrom(PeerIP(i), 32)}}
	}
	return engine.NormalizePeers(peers)
}

// PrivateKey makes a private key or fails the test.
func PrivateKey(t testing.TB) engine.SecretKey {
	t.Helper()
	k, err := engine.GeneratePrivateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// PresharedKey makes a preshared key or fails the test.
func PresharedKey(t testing.TB) engine.SecretKey {
	t.Helper()
	k, err := engine.GeneratePresharedKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}
