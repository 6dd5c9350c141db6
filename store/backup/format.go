package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"time"
)

// Format is the version of the format that this package writes. It reads that one and all before it.
const Format = 1

// Limits of one record, in bytes, wider than those of the store; a file that breaks them is damaged.
const (
	maxKey   = 4 << 10
	maxValue = 4 << 20
	maxJSON  = 4 << 10 // of the header and of the trailer
)

// The errors of a file.
var (
	// ErrPassphrase: age can't tell a wrong passphrase from a damaged salt.
	ErrPassphrase = errors.New("the passphrase does not open this backup")
	ErrNotBackup  = errors.New("this is no backup of wgfleet")
	ErrDamaged    = errors.New("the backup is damaged or not complete")
	ErrNewer      = errors.New("the backup was written by a newer wgfleet")
)

// Header says what wrote a backup.
type Header struct {
	Format     int       `json:"wgfleet_backup"`
	Schema     int       `json:"schema"` // of the records
	SchemaName string    `json:"schema_name"`
	Program    string    `json:"program"` // its version
	CreatedAt  time.Time `json:"created_at"`
}

// Summary is a whole backup in short.
type Summary struct {
	Header
	Records int
	SHA256  string // hex, of the records: see Digest
}

// trailer ends the records.
type trailer struct {
	Records int    `json:"records"`
	SHA256  string `json:"sha256"`
}

// Digest is the hash of an ordered set of records. The zero value is not usable; see NewDigest.
type Digest struct {
	hash    hash.Hash
	records int
}

// NewDigest begins with no records.
func NewDigest() *Digest { return &Digest{hash: sha256.New()} }

// Add takes the next record, by ascending key.
func (d *Digest) Add(key string, value []byte) {
	_ = writeRecord(d.hash, key, value) // a hash never fails
	d.records++
}

// Records is how many there were.
func (d *Digest) Records() int { return d.records }

// Sum is the SHA-256 of all records so far, in hex.
func (d *Digest) Sum() string { return hex.EncodeToString(d.hash.Sum(nil)) }

func (d *Digest) trailer() trailer { return trailer{Records: d.records, SHA256: d.Sum()} }

// writeRecord writes a record as it is hashed and kept.
func writeRecord(w io.Writer, key string, value []byte) error {
	frame := make([]byte, 8, 8+len(key)+len(value))
	binary.BigEndian.PutUint32(frame, uint32(len(key)))
	binary.BigEndian.PutUint32(frame[4:], uint32(len(value)))
	frame = append(append(frame, key...), value...)
	_, err := w.Write(frame)
	return err
}
