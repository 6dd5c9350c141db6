package store

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// sealVersion stands in front of each sealed value: version, 24 bytes of nonce, ciphertext with its tag.
const sealVersion = 1

// sealPurpose binds the sealing key to this use, so that the master key may serve others.
const sealPurpose = "wgfleet store 1"

// sealer seals values with XChaCha20-Poly1305. Its nonce is long enough to be random for ever, and the record's key
// is authenticated with the value, so that a value moved to another key does not open.
type sealer struct {
	aead cipher.AEAD
}

func newSealer(k MasterKey) (sealer, error) {
	if k.IsZero() {
		return sealer{}, fmt.Errorf("%w: no key was given", ErrSealed)
	}
	derived, err := hkdf.Key(sha256.New, k.bytes()[:], nil, sealPurpose, chacha20poly1305.KeySize)
	if err != nil {
		return sealer{}, fmt.Errorf("derive the sealing key: %w", err)
	}
	aead, err := chacha20poly1305.NewX(derived)
	if err != nil {
		return sealer{}, fmt.Errorf("derive the sealing key: %w", err)
	}
	return sealer{aead: aead}, nil
}

func sealed(key string) []byte { return append([]byte{sealVersion}, key...) }

func (s sealer) seal(key string, value []byte) []byte {
	head := 1 + s.aead.NonceSize()
	out := make([]byte, head, head+len(value)+s.aead.Overhead())
	out[0] = sealVersion
	_, _ = rand.Read(out[1:head]) // never fails: crypto/rand ends the process instead
	return s.aead.Seal(out, out[1:head], value, sealed(key))
}

func (s sealer) open(key string, box []byte) ([]byte, error) {
	head := 1 + s.aead.NonceSize()
	if len(box) < head || box[0] != sealVersion {
		return nil, fmt.Errorf("%w: %s is not sealed as this wgfleet seals", ErrCorrupt, shown(key))
	}
	value, err := s.aead.Open([]byte{}, box[1:head], box[head:], sealed(key))
	if err != nil {
		return nil, fmt.Errorf("%w: %s does not open with the master key", ErrCorrupt, shown(key))
	}
	return value, nil
}
