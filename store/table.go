package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxPart is how many bytes an id may have.
const maxPart = 200

// uniqueName is the first part of the keys of Unique; no table may have it.
const uniqueName = "unique"

// Table gives a record type its keys (NAME/ID, or NAME/PARENT/ID with In) and its JSON. Each part of a key is
// checked and ends with a slash that no part can hold: the records of node "a" never meet those of "ab". Fields that
// the type does not know are ignored, so that an older program can read what a newer one wrote. The zero value is
// not usable.
type Table[T any] struct {
	prefix string // ends with a slash
	err    error  // of the parent that In was given
}

// Row is a typed record.
type Row[T any] struct {
	ID    string
	Value T
}

// NewTable makes a table. The name is a constant of the program: it panics on one that is no valid part of a key.
func NewTable[T any](name string) Table[T] {
	if err := checkPart(name); err != nil || name == uniqueName {
		panic("store: not a usable name of a table: " + name)
	}
	return Table[T]{prefix: name + "/"}
}

// In is the part of the table that belongs to a parent, as the peers of a node. A parent that is no usable id makes
// each call on it ErrKey.
func (t Table[T]) In(parent string) Table[T] {
	t.prefix, t.err = within(t.prefix, t.err, parent)
	return t
}

// Prefix is what all keys of the table begin with, for Watch.
func (t Table[T]) Prefix() string { return t.prefix }

// Get reads a record, or returns ErrNotFound.
func (t Table[T]) Get(tx Tx, id string) (T, error) {
	var none T
	key, err := t.key(id)
	if err != nil {
		return none, err
	}
	value, err := tx.Get(key)
	if err != nil {
		return none, err
	}
	row, err := t.Decode(key, value)
	return row.Value, err
}

// Put writes a record, new or not.
func (t Table[T]) Put(tx Tx, id string, v T) error {
	key, err := t.key(id)
	if err != nil {
		return err
	}
	value, err := json.Marshal(v)
	if err != nil {
		// The encoder's error is dropped: it may quote the value.
		return fmt.Errorf("%s: a %T that has no JSON", key, v)
	}
	return tx.Put(key, value)
}

// Delete removes a record; one that is not there is no error.
func (t Table[T]) Delete(tx Tx, id string) error {
	key, err := t.key(id)
	if err != nil {
		return err
	}
	return tx.Delete(key)
}

// All yields the records whose ids are greater than after, by the bytes of the id; "" is before all. On a table with
// parents the whole table's ids read PARENT/ID. An error is the last pair.
func (t Table[T]) All(tx Tx, after string) iter.Seq2[Row[T], error] {
	return func(yield func(Row[T], error) bool) {
		if t.err != nil {
			yield(Row[T]{}, t.err)
			return
		}
		for rec, err := range tx.Scan(t.prefix, t.prefix+after) {
			var row Row[T]
			if err == nil {
				row, err = t.Decode(rec.Key, rec.Value)
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

// IDs is All without the values.
func (t Table[T]) IDs(tx Tx, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if t.err != nil {
			yield("", t.err)
			return
		}
		for rec, err := range tx.Scan(t.prefix, t.prefix+after) {
			if !yield(strings.TrimPrefix(rec.Key, t.prefix), err) || err != nil {
				return
			}
		}
	}
}

// Decode reads a record or an event of the table.
func (t Table[T]) Decode(key string, value []byte) (Row[T], error) {
	row := Row[T]{ID: strings.TrimPrefix(key, t.prefix)}
	if err := json.Unmarshal(value, &row.Value); err != nil {
		where := ""
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			where = " at " + wrong.Field
		}
		// The decoder's error is dropped: it may quote the value.
		return Row[T]{}, fmt.Errorf("%w: %s is no %T%s", ErrCorrupt, key, row.Value, where)
	}
	return row, nil
}

func (t Table[T]) key(id string) (string, error) {
	if t.err != nil {
		return "", t.err
	}
	if err := checkPart(id); err != nil {
		return "", err
	}
	return t.prefix + id, nil
}

// within adds a part to a prefix, or keeps the first error.
func within(prefix string, err error, part string) (string, error) {
	if err == nil {
		err = checkPart(part)
	}
	return prefix + part + "/", err
}

// checkPart refuses what can't be one part of a key.
func checkPart(part string) error {
	bad := func(r rune) bool { return r == '/' || unicode.IsControl(r) }
	if part == "" || len(part) > maxPart || !utf8.ValidString(part) || strings.ContainsFunc(part, bad) {
		return fmt.Errorf("%w: an id has 1 to %d bytes, no slash and no control character, unlike %q",
			ErrKey, maxPart, part[:min(len(part), maxPart)])
	}
	return nil
}
