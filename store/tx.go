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

// size is what the write counts for against MaxTransaction.
func (w *write) size() int { return len(w.key) + len(w.value) + 64 }

// tx is a snapshot with the transaction's own writes over it.
type tx struct {
	ctx      context.Context
	sealer   sealer
	base     *badger.Txn
	writable bool
	writes   []*write // sorted by key
	size     int      // of all writes
	read     footprint
	failed   error // the first write that failed: such a transaction must not commit the rest
	ended    bool
}

var _ Tx = (*tx)(nil)

func (t *tx) end() {
	t.ended = true
	t.base.Discard()
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
	if t.writable {
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
	if !t.writable {
		return ErrReadOnly
	}
	if n := len(shown(w.key)); n == 0 || n > MaxKey {
		return t.fail(fmt.Errorf("%w: it has %d bytes, 1 to %d are possible", ErrKey, n, MaxKey))
	}
	i, again := t.find(w.key)
	if again {
		t.size -= t.writes[i].size()
	}
	if t.size += w.size(); t.size > MaxTransaction {
		return t.fail(fmt.Errorf("%s: %w: all writes together have more than %d bytes", shown(w.key), ErrTooLarge, MaxTransaction))
	}
	if again {
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

func (t *tx) scan(prefix, after string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		seen := &span{prefix: prefix, after: after}
		if t.writable {
			t.read.spans = append(t.read.spans, seen)
		}
		m := &merge{
			own:    t.ownWrites(prefix, after),
			base:   &pager{txn: t.base, prefix: prefix, after: after},
			sealer: t.sealer,
		}
		for {
			err := t.usable()
			var rec Record
			var ok bool
			if err == nil {
				rec, ok, err = m.next()
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
			if !ok {
				seen.whole = true
				return
			}
			seen.last = rec.Key
			rec.Key = shown(rec.Key)
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// merge yields a snapshot's records with the transaction's own writes over them.
type merge struct {
	own    []*write // a copy, so that writes in a scan's loop do not show in it
	base   *pager
	sealer sealer
}

// next returns the next record, its key as stored; not ok is the end.
func (m *merge) next() (rec Record, ok bool, err error) {
	for {
		box, ok, err := m.base.peek()
		if err != nil {
			return Record{}, false, err
		}
		if len(m.own) == 0 || (ok && box.Key < m.own[0].key) {
			if !ok {
				return Record{}, false, nil
			}
			m.base.skip()
			box.Value, err = m.sealer.open(box.Key, box.Value)
			return box, err == nil, err
		}
		w := m.own[0]
		m.own = m.own[1:]
		if ok && w.key == box.Key {
			m.base.skip()
		}
		if !w.deleted {
			return Record{Key: w.key, Value: append([]byte{}, w.value...)}, true, nil
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
