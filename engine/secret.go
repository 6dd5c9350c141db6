package engine

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// SecretKey is a private or preshared key. The zero value means "none". It prints as "(secret)"
// under every verb and refuses to be marshalled; Reveal is the one way to the bytes.
type SecretKey struct {
	key wgtypes.Key
}

// NewSecretKey wraps k. A key of 32 zero bytes means none, as it does for WireGuard.
func NewSecretKey(k wgtypes.Key) SecretKey { return SecretKey{key: k} }

// ParseSecretKey reads a base64 key. Its error never contains the text it was given.
func ParseSecretKey(s string) (SecretKey, error) {
	k, err := ParseKey(s)
	if err != nil {
		return SecretKey{}, errors.New("not a WireGuard key: expected 44 characters of base64 that hold 32 bytes")
	}
	return SecretKey{key: k}, nil
}

// GeneratePrivateKey makes a new clamped Curve25519 private key.
func GeneratePrivateKey() (SecretKey, error) {
	k, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return SecretKey{}, fmt.Errorf("generate private key: %w", err)
	}
	return SecretKey{key: k}, nil
}

// GeneratePresharedKey makes 32 random bytes.
func GeneratePresharedKey() (SecretKey, error) {
	k, err := wgtypes.GenerateKey()
	if err != nil {
		return SecretKey{}, fmt.Errorf("generate preshared key: %w", err)
	}
	return SecretKey{key: k}, nil
}

// Reveal returns the key itself, for a device, a file or a signed answer.
func (s SecretKey) Reveal() wgtypes.Key { return s.key }

// RevealText is Reveal as a file has it: base64, "" for none.
func (s SecretKey) RevealText() string {
	if s.IsZero() {
		return ""
	}
	return s.key.String()
}

// IsZero reports whether there is no key.
func (s SecretKey) IsZero() bool { return s.Equal(SecretKey{}) }

// Equal compares in constant time.
func (s SecretKey) Equal(o SecretKey) bool {
	return subtle.ConstantTimeCompare(s.key[:], o.key[:]) == 1
}

// PublicKey derives the public key; it is the zero key where there is no private key.
func (s SecretKey) PublicKey() wgtypes.Key {
	if s.IsZero() {
		return wgtypes.Key{}
	}
	return s.key.PublicKey()
}

// Clamped returns the private key with the bits of curve25519(2) set, as wg genkey does.
func (s SecretKey) Clamped() SecretKey {
	if s.IsZero() {
		return s
	}
	s.key[0] &= 248
	s.key[31] = s.key[31]&127 | 64
	return s
}

// String returns "(secret)", or "(none)" for the zero value.
func (s SecretKey) String() string {
	if s.IsZero() {
		return "(none)"
	}
	return "(secret)"
}

// Format redacts under every verb, %x and %#v included.
func (s SecretKey) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue redacts in slog.
func (s SecretKey) LogValue() slog.Value { return slog.StringValue(s.String()) }

// errMarshal stops a secret from entering an answer or a record by accident.
var errMarshal = errors.New("engine: a SecretKey is not marshalled, reveal it on purpose")

// MarshalText always fails.
func (s SecretKey) MarshalText() ([]byte, error) { return nil, errMarshal }

// MarshalJSON always fails.
func (s SecretKey) MarshalJSON() ([]byte, error) { return nil, errMarshal }
