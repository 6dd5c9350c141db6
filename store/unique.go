package store

import (
	"encoding/base64"
	"errors"
	"fmt"
)

// Unique makes each value belong to one owner, as a public key to a peer. Values stand in keys, which are not
// sealed: never use it for a secret. The zero value is not usable.
type Unique struct {
	prefix string // ends with a slash
	err    error  // of the scope that In was given
}

// TakenError is ErrTaken with the name of who has the value.
type TakenError struct{ Owner string }

// Error implements error.
func (e *TakenError) Error() string { return ErrTaken.Error() + " by " + e.Owner }

// Is makes it ErrTaken.
func (e *TakenError) Is(target error) bool { return target == ErrTaken }

// NewUnique makes an index. The name is a constant of the program: it panics on one that is no valid part of a key.
func NewUnique(name string) Unique {
	prefix, err := within(uniqueName+"/", nil, name)
	if err != nil {
		panic("store: not a usable name of an index: " + name)
	}
	return Unique{prefix: prefix}
}

// In is the part of the index that belongs to a scope: the same value may have an owner in each.
func (u Unique) In(scope string) Unique {
	u.prefix, u.err = within(u.prefix, u.err, scope)
	return u
}

// Owner returns who has the value, or ErrNotFound.
func (u Unique) Owner(tx Tx, value string) (string, error) {
	key, err := u.key(value)
	if err != nil {
		return "", err
	}
	owner, err := tx.Get(key)
	return string(owner), err
}

// Claim gives the value to the owner, or returns a TakenError; one's own may be claimed again.
func (u Unique) Claim(tx Tx, value, owner string) error {
	switch has, err := u.Owner(tx, value); {
	case errors.Is(err, ErrNotFound):
		return tx.Put(u.prefix+encodeUnique(value), []byte(owner))
	case err != nil:
		return err
	case has != owner:
		return &TakenError{Owner: has}
	default:
		return nil
	}
}

// Release frees the value if the owner has it; else it does nothing.
func (u Unique) Release(tx Tx, value, owner string) error {
	has, err := u.Owner(tx, value)
	if errors.Is(err, ErrNotFound) || (err == nil && has != owner) {
		return nil
	}
	if err != nil {
		return err
	}
	return tx.Delete(u.prefix + encodeUnique(value))
}

func (u Unique) key(value string) (string, error) {
	if u.err != nil {
		return "", u.err
	}
	if value == "" || len(value) > maxPart {
		return "", fmt.Errorf("%w: a unique value has 1 to %d bytes", ErrKey, maxPart)
	}
	return u.prefix + encodeUnique(value), nil
}

// encodeUnique lets a value hold any byte, such as the slashes of a public key.
func encodeUnique(value string) string { return base64.RawURLEncoding.EncodeToString([]byte(value)) }
