package agent

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/url"
	"strconv"
	"strings"
)

// Secret is a shared secret that signs requests. It redacts itself; convert to []byte on purpose.
type Secret string

// String redacts.
func (Secret) String() string { return "(secret)" }

// GoString redacts.
func (Secret) GoString() string { return "(secret)" }

// MarshalText redacts.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// NewSecret makes a shared secret of 32 random bytes, base64url.
func NewSecret() Secret { return Secret(NewNonce() + NewNonce()) }

// NewNonce returns 16 random bytes as base64url without padding.
func NewNonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// NewID returns 128 random bits in hex: the id of an agent.
func NewID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Nonce lengths, in characters.
const (
	minNonce = 22
	maxNonce = 86
)

// ValidNonce reports whether s is 22 to 86 characters of base64url without padding.
func ValidNonce(s string) bool {
	if len(s) < minNonce || len(s) > maxNonce {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// Request is what of a request is signed.
type Request struct {
	Method    string
	Target    string // path and query as on the wire
	Body      []byte
	Timestamp string // the raw text of X-Timestamp
	Nonce     string // v2 only
	Node      string // v2 only
}

func (s Secret) sign(parts ...string) string {
	m := hmac.New(sha256.New, []byte(s))
	for i, p := range parts {
		if i > 0 {
			io.WriteString(m, "|") //nolint:errcheck // a hash never fails
		}
		io.WriteString(m, p) //nolint:errcheck // a hash never fails
	}
	return hex.EncodeToString(m.Sum(nil))
}

// SignV1 signs METHOD|PATH|BODY|TIMESTAMP, PATH as the original's client does: undecoded, without
// the query.
func (s Secret) SignV1(r Request) string {
	path, _, _ := strings.Cut(r.Target, "?")
	return s.sign(r.Method, path, string(r.Body), r.Timestamp)
}

// VerifyV1 accepts the undecoded path, which the original's client signs, and the percent-decoded
// one, which the original's server verifies.
func (s Secret) VerifyV1(r Request, signature string) bool {
	path, _, _ := strings.Cut(r.Target, "?")
	ok := equal(signature, s.sign(r.Method, path, string(r.Body), r.Timestamp))
	decoded, err := url.PathUnescape(path)
	if err != nil || decoded == path || strings.Contains(decoded, "|") {
		return ok
	}
	return equal(signature, s.sign(r.Method, decoded, string(r.Body), r.Timestamp)) || ok
}

// SignV2 signs METHOD|PATH?QUERY|BODY|TIMESTAMP|NONCE|NODE.
func (s Secret) SignV2(r Request) string {
	return s.sign(r.Method, r.Target, string(r.Body), r.Timestamp, r.Nonce, r.Node)
}

// VerifyV2 compares in constant time.
func (s Secret) VerifyV2(r Request, signature string) bool {
	return equal(signature, s.SignV2(r))
}

// Answer is what of an answer is signed.
type Answer struct {
	Status          int
	Nonce           string // of the request
	ETag            string // the header as sent, quotes included; "" where there is none
	InterfaceDigest string
	Body            []byte
}

// SignAnswer signs wgfleet-answer|STATUS|NONCE|ETAG|INTERFACE_DIGEST|hex SHA-256 of BODY.
func (s Secret) SignAnswer(a Answer) string {
	sum := sha256.Sum256(a.Body)
	return s.sign("wgfleet-answer", strconv.Itoa(a.Status), a.Nonce, a.ETag, a.InterfaceDigest, hex.EncodeToString(sum[:]))
}

// VerifyAnswer compares in constant time.
func (s Secret) VerifyAnswer(a Answer, signature string) bool {
	return equal(signature, s.SignAnswer(a))
}

func equal(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }
