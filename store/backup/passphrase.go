package backup

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// MinPassphrase is how many characters the passphrase of a new backup has at the least. All of a fleet's private keys
// are in it, and whoever has the file can guess for as long as they like.
const MinPassphrase = 12

// What a new backup's passphrase may not be.
var (
	ErrNoPassphrase    = errors.New("no passphrase was given: a backup is never written without one")
	ErrLinesPassphrase = errors.New("the passphrase has more than one line")
	ErrShortPassphrase = fmt.Errorf("the passphrase is too short: %d characters or more, for example six words drawn at random", MinPassphrase)
)

// Passphrase encrypts a backup. It prints as "(secret)" with every verb and codec.
type Passphrase string

// Check refuses what may not encrypt a new backup. One that was made elsewhere is opened with whatever it was made with.
func (p Passphrase) Check() error {
	switch n := utf8.RuneCountInString(string(p)); {
	case n == 0:
		return ErrNoPassphrase
	case n < MinPassphrase:
		return ErrShortPassphrase
	case strings.ContainsAny(string(p), "\r\n"):
		return ErrLinesPassphrase // a file of one line, and a form made of it, could not say it
	}
	return nil
}

// String redacts.
func (Passphrase) String() string { return "(secret)" }

// Format redacts whatever the verb.
func (Passphrase) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "(secret)") }

// MarshalText redacts, for JSON and slog alike.
func (Passphrase) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }
