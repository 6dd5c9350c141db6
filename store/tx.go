package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	badger "github.com/dgraph-io/badger/v4"
)

// Stored keys begin with a byte that says whose they are, so that no record can meet the store's own or the engine's.
const (
	recordSpace = "r"
	metaSpace   = "m"
)

// shown is a stored key as people know it.
func shown(key string) string { return key[len(recordSpace):] }

// write is a pending or committed change of a stored key. It is never altered once made.
type write struct {
	key     string
	value   []byte // plain
	deleted bool
}

// tx is a snapshot with the transaction's own writes over it. The engine's write transaction is only written to: it
// seals what was put at once, so that a transaction that grows too large is refused at the Put that is too much.
type tx struct {
	ctx    context.Context
	sealer sealer
	base   *badger.Txn
	out    *badger.Txn // nil in a View
	writes []*write    // sorted by key
	read   footprint
	failed error // the first write that failed: such a transaction must not commit the rest
	ended  bool
}

var _ Tx = (*tx)(nil)

func (t *tx) end() {
	t.ended = true
	t.base.Discard()
	if t.out != nil {
		t.out.Discard()
	}
}

func (t *tx) usable() error {
	if t.ended {
		return fmt.Errorf("%w for this transaction: it has ended", ErrClosed)
	}
	return context.Cause(t.ctx)
}

// Get implements Tx.
func (t *tx) Get(key string) ([]byte, error) { return t.get(recordSpace + key) }

// Put implements Tx.
func (t *tx) Put(key string, value []byte) error { return t.put(recordSpace+key, value) }

// Delete implements Tx.
func (t *tx) Delete(key string) error { return t.remove(recordSpace + key) }

// Scan implements Tx.
func (t *tx) Scan(prefix, after string) iter.Seq2[Record, error] {
	return t.scan(recordSpace+prefix, recordSpace+after)
}

func (t *tx) get(key string) ([]byte, error) {
	if err := t.usable(); err != nil {
		return nil, err
	}
	if i, ok := t.find(key); ok {
		if t.writes[i].deleted {
			return nil, fmt.Errorf("%s: %w", shown(key), ErrNotFound)
		}
		return append([]byte{}, t.writes[i].value...), nil
	}
	if t.out != nil {
		t.read.keys[key] = struct{}{}
	}
	item, err := t.base.Get([]byte(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, fmt.Errorf("%s: %w", shown(key), ErrNotFound)
	}
	if err != nil {
		return nil, translate(err)
	}
	box, err := item.ValueCopy(nil)
	if err != nil {
		return nil, translate(err)
	}
	return t.sealer.open(key, box)
}

func (t *tx) put(key string, value []byte) error {
	if len(value) > MaxValue {
		return t.fail(fmt.Errorf("%s: %w: the value has %d bytes of at most %d", shown(key), ErrTooLarge, len(value), MaxValue))
	}
	return t.write(&write{key: key, value: append([]byte{}, value...)})
}

func (t *tx) remove(key string) error { return t.write(&write{key: key, deleted: true}) }

func (t *tx) write(w *write) error {
	if err := t.usable(); err != nil {
		return err
	}
	if t.out == nil {
		return ErrReadOnly
	}
	if n := len(shown(w.key)); n == 0 || n > MaxKey {
		return t.fail(fmt.Errorf("%w: it has %d bytes, 1 to %d are possible", ErrKey, n, MaxKey))
	}
	var err error
	if w.deleted {
		err = t.out.Delete([]byte(w.key))
	} else {
		err = t.out.Set([]byte(w.key), t.sealer.seal(w.key, w.value))
	}
	if err != nil {
		return t.fail(fmt.Errorf("%s: %w", shown(w.key), translate(err)))
	}
	if i, ok := t.find(w.key); ok {
		t.writes[i] = w
	} else {
		t.writes = slices.Insert(t.writes, i, w)
	}
	return nil
}

func (t *tx) fail(err error) error {
	if t.failed == nil {
		t.failed = err
	}
	return err
}

func (t *tx) find(key string) (int, bool) {
	return slices.BinarySearchFunc(t.writes, key, func(w *write, key string) int { return strings.Compare(w.key, key) })
}

// scan merges the snapshot with a copy of the transaction's own writes, which win.
func (t *tx) scan(prefix, after string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		seen := &span{prefix: prefix, after: after}
		if t.out != nil {
			t.read.spans = append(t.read.spans, seen)
		}
		own := t.ownWrites(prefix, after)
		base := &pager{txn: t.base, prefix: prefix, after: after}
		for {
			if err := t.usable(); err != nil {
				yield(Record{}, err)
				return
			}
			box, ok, err := base.peek()
			if err != nil {
				yield(Record{}, err)
				return
			}
			var rec Record
			switch {
			case !ok && len(own) == 0:
				seen.whole = true
				return
			case len(own) > 0 && (!ok || own[0].key <= box.Key):
				w := own[0]
				own = own[1:]
				if ok && w.key == box.Key {
					base.skip()
				}
				if w.deleted {
					continue
				}
				rec = Record{Key: w.key, Value: append([]byte{}, w.value...)}
			default:
				base.skip()
				if box.Value, err = t.sealer.open(box.Key, box.Value); err != nil {
					yield(Record{}, err)
					return
				}
				rec = box
			}
			seen.last = rec.Key
			rec.Key = shown(rec.Key)
			if !yield(rec, nil) {
				return
			}
		}
	}
}

func (t *tx) ownWrites(prefix, after string) []*write {
	from, _ := t.find(max(prefix, after))
	to := from
	for to < len(t.writes) && strings.HasPrefix(t.writes[to].key, prefix) {
		to++
	}
	own := slices.Clone(t.writes[from:to])
	if len(own) > 0 && own[0].key == after {
		own = own[1:]
	}
	return own
}
