package store

import (
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"
)

// A transaction that is too large for one of the engine goes the long way, so that the engine's buffers can stay
// small: its sealed writes are staged under journalSpace in as many engine transactions as it takes, then one marker
// makes it committed, then it is replayed to its keys while nobody may begin to read or commit, and the marker goes.
// After a crash Open replays what has a marker and drops what has none.
const (
	journalSpace = "j"      // + the stored key; a sealed value, or nothing for a deletion
	markerKey    = "k/flip" // there while the journal is committed but perhaps not replayed
)

// commitLarge commits what does not fit into one engine transaction. It holds up all others for the replay:
// some 0.1 s for 10,000 records.
func (d *db) commitLarge(begun uint64, t *tx) (committed bool, err error) {
	d.journal.Lock()
	defer d.journal.Unlock()
	if err := d.usable(); err != nil { // the journal may be one that is still to be replayed
		return false, err
	}
	if err := d.clearJournal(); err != nil {
		return false, err
	}
	if err := d.stage(t); err != nil {
		return false, err
	}
	var place *ticket
	admitted := d.order.admit(begun, &t.read, t.writes, func() {
		place = d.hub.announce(t.writes)
		err = d.flip()
	})
	if admitted {
		d.hub.settle(place, err == nil)
	}
	if err != nil {
		return false, err
	}
	_ = d.clearJournal() // what stays is cleared before the journal's next use
	return admitted, nil
}

func (d *db) stage(t *tx) error {
	batch := d.engine.NewWriteBatch()
	defer batch.Cancel()
	for _, w := range t.writes {
		var box []byte
		if !w.deleted {
			box = d.sealer.seal(w.key, w.value)
		}
		if err := batch.Set([]byte(journalSpace+w.key), box); err != nil {
			return translate(err)
		}
	}
	return translate(batch.Flush())
}

// flip commits the journal and replays it. If that fails half-way nobody may see the half: the store refuses all
// until it is opened again.
func (d *db) flip() error {
	d.gate.Lock()
	defer d.gate.Unlock()
	err := d.engine.Update(func(txn *badger.Txn) error { return txn.Set([]byte(markerKey), nil) })
	if err = translate(err); err == nil {
		err = d.replay()
	}
	if err != nil {
		d.broken = fmt.Errorf("a large transaction was cut off, open the store again: %w", err)
	}
	return d.broken
}

// replay may be repeated, as long as nothing else is committed before the marker has gone.
func (d *db) replay() error {
	batch := d.engine.NewWriteBatch()
	defer batch.Cancel()
	err := d.eachJournaled(func(key string, box []byte) error {
		if len(box) == 0 {
			return batch.Delete([]byte(key))
		}
		return batch.Set([]byte(key), box)
	})
	if err != nil {
		return err
	}
	if err := batch.Flush(); err != nil {
		return translate(err)
	}
	return translate(d.engine.Update(func(txn *badger.Txn) error { return txn.Delete([]byte(markerKey)) }))
}

func (d *db) clearJournal() error {
	batch := d.engine.NewWriteBatch()
	defer batch.Cancel()
	err := d.eachJournaled(func(key string, _ []byte) error { return batch.Delete([]byte(journalSpace + key)) })
	if err != nil {
		return err
	}
	return translate(batch.Flush())
}

// eachJournaled calls do, which may return errors of the engine, with the stored key and the sealed value of each
// write in the journal.
func (d *db) eachJournaled(do func(key string, box []byte) error) error {
	txn := d.engine.NewTransaction(false)
	defer txn.Discard()
	journal := &pager{txn: txn, prefix: journalSpace}
	for {
		rec, ok, err := journal.peek()
		if err != nil || !ok {
			return err
		}
		journal.skip()
		if err := do(shown(rec.Key), rec.Value); err != nil {
			return translate(err)
		}
	}
}

// recoverJournal ends what a crash has cut off.
func (d *db) recoverJournal() error {
	err := d.engine.View(func(txn *badger.Txn) error {
		_, err := txn.Get([]byte(markerKey))
		return err
	})
	switch {
	case err == nil:
		err = d.replay()
	case errors.Is(err, badger.ErrKeyNotFound):
		err = nil
	default:
		err = translate(err)
	}
	if err != nil {
		return fmt.Errorf("replay the journal of the store in %s: %w", d.name, err)
	}
	return d.clearJournal()
}
