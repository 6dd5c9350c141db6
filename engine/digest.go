package engine

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"slices"
	"strconv"
)

// MACKey turns preshared keys into values that can be compared by both ends of a shared secret and
// tell nothing to anybody else.
type MACKey [sha256.Size]byte

// DeriveMACKey derives the key from the secret that signs the requests.
func DeriveMACKey(sharedSecret []byte) MACKey {
	m := hmac.New(sha256.New, sharedSecret)
	m.Write([]byte("wgfleet psk 1"))
	return MACKey(m.Sum(nil))
}

// MAC returns the lower-case hex MAC of a preshared key, or "" for none.
func (k MACKey) MAC(psk SecretKey) string {
	return macWith(hmac.New(sha256.New, k[:]), psk)
}

// macWith is MAC with a hash that was made once: for many keys that is most of the work.
func macWith(h hash.Hash, psk SecretKey) string {
	if psk.IsZero() {
		return ""
	}
	var sum [sha256.Size]byte
	h.Reset()
	h.Write(psk.key[:])
	return hex.EncodeToString(h.Sum(sum[:0]))
}

// String redacts: the key is derived from a secret.
func (k MACKey) String() string { return "(secret)" }

// GoString redacts.
func (k MACKey) GoString() string { return "(secret)" }

// AppendDigestLine appends the peer's line of the digest: public key, MAC of the preshared key or
// "-", allowed IPs, keepalive; separated by tabs and ended by a newline. p must be normalized.
func AppendDigestLine(b []byte, p Peer, pskMAC string) []byte {
	b = base64.StdEncoding.AppendEncode(b, p.PublicKey[:])
	b = append(b, '\t')
	if pskMAC == "" {
		pskMAC = "-"
	}
	b = append(b, pskMAC...)
	b = append(b, '\t')
	for i, ip := range p.AllowedIPs {
		if i > 0 {
			b = append(b, ',')
		}
		b = ip.AppendTo(b)
	}
	b = append(b, '\t')
	b = strconv.AppendInt(b, int64(p.PersistentKeepalive), 10)
	return append(b, '\n')
}

// DigestLines sorts the lines by bytes, in place, and returns the hex SHA-256 of all of them.
func DigestLines(lines [][]byte) string {
	slices.SortFunc(lines, bytes.Compare)
	h := sha256.New()
	for _, l := range lines {
		h.Write(l)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Digest is the digest of the peers' configuration. Endpoints and statistics do not change it.
func Digest(peers []Peer, k MACKey) string {
	lines := make([][]byte, len(peers))
	buf := make([]byte, 0, 128*len(peers))
	h := hmac.New(sha256.New, k[:])
	for i, p := range peers {
		start := len(buf)
		buf = AppendDigestLine(buf, p, macWith(h, p.PresharedKey))
		lines[i] = buf[start:len(buf):len(buf)]
	}
	return DigestLines(lines)
}

// InterfaceDigest is the digest of the interface's own settings: public key, listen port, fwmark,
// addresses and MTU.
func InterfaceDigest(i Interface) string {
	public := ""
	if !i.PrivateKey.IsZero() {
		public = i.PrivateKey.PublicKey().String()
	}
	return InterfaceDigestOf(public, i)
}

// InterfaceDigestOf is InterfaceDigest for who knows the public key alone; i.PrivateKey is not
// looked at.
func InterfaceDigestOf(publicKey string, i Interface) string {
	var b []byte
	line := func(name string, value []byte) {
		b = append(append(append(append(b, name...), '\t'), value...), '\n')
	}
	line("public_key", []byte(publicKey))
	line("listen_port", strconv.AppendUint(nil, uint64(i.ListenPort), 10))
	line("fwmark", strconv.AppendUint(nil, uint64(i.FwMark), 10))
	var addrs []byte
	for n, a := range NormalizeAddresses(i.Addresses) {
		if n > 0 {
			addrs = append(addrs, ',')
		}
		addrs = a.AppendTo(addrs)
	}
	line("addresses", addrs)
	line("mtu", strconv.AppendInt(nil, int64(i.MTU), 10))
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
