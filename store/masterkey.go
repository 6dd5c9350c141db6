package store

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	masterKeySize = 32
	redacted      = "(secret)"
)

// MasterKey seals all values at rest. It prints as "(secret)" with every verb and codec; the zero value is no key.
type MasterKey struct {
	// A function, so that fmt shows no key byte even where it may not call Format, in unexported fields of others:
	// there it follows a pointer for a verb that does not fit.
	bytes func() *[masterKeySize]byte
}

// NewMasterKey makes a random key.
func NewMasterKey() MasterKey {
	var b [masterKeySize]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return newMasterKey(&b)
}

func newMasterKey(b *[masterKeySize]byte) MasterKey {
	return MasterKey{bytes: func() *[masterKeySize]byte { return b }}
}

// ParseMasterKey reads 32 bytes in standard base64.
func ParseMasterKey(text string) (MasterKey, error) {
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(text))
	if err != nil || len(raw) != masterKeySize {
		// The decoder's error is dropped: it would quote the key.
		return MasterKey{}, errors.New("a master key is 32 bytes in base64")
	}
	return newMasterKey((*[masterKeySize]byte)(raw)), nil
}

// IsZero tells whether there is no key.
func (k MasterKey) IsZero() bool { return k.bytes == nil }

// Equal compares in constant time.
func (k MasterKey) Equal(other MasterKey) bool {
	if k.IsZero() || other.IsZero() {
		return k.IsZero() && other.IsZero()
	}
	return subtle.ConstantTimeCompare(k.bytes()[:], other.bytes()[:]) == 1
}

// Reveal returns the key in base64, as it stands in its file.
func (k MasterKey) Reveal() string {
	if k.IsZero() {
		return ""
	}
	return base64.StdEncoding.EncodeToString(k.bytes()[:])
}

// String redacts.
func (k MasterKey) String() string { return redacted }

// Format redacts whatever the verb.
func (k MasterKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText redacts, for JSON and slog alike.
func (k MasterKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LoadOrCreateMasterKey reads the key in the file at path, or makes the file with a new key. The file is 0600 and
// complete and on disk before it has its name; when two processes make it at once, both return the key of the one
// that came first. A file that group or others may read, or that holds anything else, is refused; but for root's own
// file that a group of ours may read: that is how a process without privileges is given one, by Kubernetes for one.
func LoadOrCreateMasterKey(path string) (MasterKey, error) {
	k, err := loadMasterKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := createMasterKey(path, NewMasterKey()); err != nil && !errors.Is(err, fs.ErrExist) {
		return MasterKey{}, fmt.Errorf("make the master key file %s: %w", path, err)
	}
	return loadMasterKey(path)
}

func loadMasterKey(path string) (MasterKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return MasterKey{}, fmt.Errorf("read the master key: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return MasterKey{}, fmt.Errorf("read the master key: %w", err)
	}
	if perm := info.Mode().Perm(); perm&openTo(ownerOf(info), uint32(os.Geteuid())) != 0 {
		return MasterKey{}, fmt.Errorf("the master key file %s is open to others (mode %04o): chmod 600 %s", path, perm, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return MasterKey{}, fmt.Errorf("read the master key: %w", err)
	}
	k, err := ParseMasterKey(string(text))
	if err != nil {
		return MasterKey{}, fmt.Errorf("the master key file %s is damaged: %w", path, err)
	}
	return k, nil
}

// openTo are the permissions that make a file of this owner open to others: reading by the group is none of them
// where the file is root's and we are not.
func openTo(owner, us uint32) fs.FileMode {
	if owner == 0 && us != 0 {
		return 0o037
	}
	return 0o077
}

// ownerOf returns our own id where the system tells no owner.
func ownerOf(info fs.FileInfo) uint32 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Uid
	}
	return uint32(os.Geteuid())
}

// createMasterKey gives the name by link(2), which unlike rename(2) never replaces a key that is there already.
func createMasterKey(path string, k MasterKey) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".master-*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	_, err = tmp.WriteString(k.Reveal() + "\n")
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}
