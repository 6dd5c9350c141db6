package panel

import (
	"errors"

	"github.com/wgfleet/wgfleet/store"
)

// keepRevision writes a revision with what undoes it, and drops the one that is too old by it. node is
// nil where its desired fields did not change.
func keepRevision(tx store.Tx, nodeID string, rev Revision, node *desiredRecord, changes []peerChange) error {
	rows, err := undoRows(node, changes)
	if err != nil {
		return err
	}
	for i, row := range rows {
		if err := undoTable.In(nodeID).Put(tx, undoID(rev.Number, i), row); err != nil {
			return err
		}
	}
	last, err := revisionTable.In(nodeID).Get(tx, revisionID(rev.Number-1))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	r := recordOfRevision(rev, len(rows))
	r.Skipped = last.Skipped
	if err := revisionTable.In(nodeID).Put(tx, revisionID(rev.Number), r); err != nil {
		return err
	}
	return dropOld(tx, nodeID, rev.Number, r)
}

// dropOld drops the revisions that are too old by the newest one.
func dropOld(tx store.Tx, nodeID string, newest uint64, r revisionRecord) error {
	if newest <= keepRevisions {
		return nil
	}
	old, err := revisionsBetween(tx, nodeID, 0, newest-keepRevisions+1)
	if err != nil {
		return err
	}
	for _, o := range old {
		if o.record.place(o.number)+keepRevisions > r.place(newest) {
			continue // kept yet: numbers after it have no revision
		}
		if err := dropRevision(tx, nodeID, o.number); err != nil {
			return err
		}
	}
	return nil
}

// numbered is a revision with its number.
type numbered struct {
	number uint64
	record revisionRecord
}

// revisionsBetween are a node's revisions after one and before another, 0 for all, the newest first. Not every
// number has one.
func revisionsBetween(tx store.Tx, nodeID string, after, before uint64) ([]numbered, error) {
	start := ""
	if before > 0 {
		start = revisionID(before)
	}
	var all []numbered
	for row, err := range revisionTable.In(nodeID).All(tx, start) {
		if err != nil {
			return nil, err
		}
		number, err := revisionNumber(row.ID)
		if err != nil {
			continue // not of ours
		}
		if number <= after {
			break
		}
		all = append(all, numbered{number, row.Value})
	}
	return all, nil
}

func dropRevision(tx store.Tx, nodeID string, number uint64) error {
	r, err := revisionTable.In(nodeID).Get(tx, revisionID(number))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	errs := []error{revisionTable.In(nodeID).Delete(tx, revisionID(number))}
	for row := range r.Rows {
		errs = append(errs, undoTable.In(nodeID).Delete(tx, undoID(number, row)))
	}
	return errors.Join(errs...)
}

// forgetRevisions drops all revisions of a node that goes.
func forgetRevisions(tx store.Tx, nodeID string) error {
	all, err := revisionsBetween(tx, nodeID, 0, 0)
	if err != nil {
		return err
	}
	for _, r := range all {
		if err := dropRevision(tx, nodeID, r.number); err != nil {
			return err
		}
	}
	return nil
}
