package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/wgfleet/wgfleet/store/backup"
)

// A restored store is made whole beside the one that is in use, and takes its place by names alone:
//
//	DIR.restoring   is being written; whatever is left of it means nothing
//	DIR.restored    is whole, and the next Open takes it for DIR
//	DIR.replaced    what DIR was before, until the new one was opened
const (
	restoring = ".restoring"
	restored  = ".restored"
	replaced  = ".replaced"
)

// Restored is a store that was made from a backup and is in nobody's way yet: see Commit.
type Restored struct {
	Summary backup.Summary // of the backup; the records were read back and are those
	dir     string
}

// Restore makes a store of a backup beside the one in o.Dir, which may be open: sealed with o.MasterKey, read back and
// compared, brought up to the newest migration, closed. Nothing that is there changes. Only one may be made at a time.
// Errors: those of the backup, ErrNewer for a schema that o.Migrations does not know, ErrNoSpace, ErrCorrupt.
func Restore(ctx context.Context, o Options, from *backup.Reader) (*Restored, error) {
	list, err := migrations(o.Migrations)
	if err != nil {
		return nil, err
	}
	h := from.Header()
	if h.Schema > len(list) {
		return nil, fmt.Errorf("%w: the backup of %s has schema %d, this program knows %d: restore it with that one",
			ErrNewer, h.Program, h.Schema, len(list))
	}
	r := &Restored{dir: o.Dir}
	side := o
	side.Dir, side.Copies = o.Dir+restoring, ""
	if err := r.Discard(); err != nil {
		return nil, fmt.Errorf("make room for the restored store: %w", err)
	}
	if err := build(ctx, side, from); err != nil {
		return nil, errors.Join(err, r.Discard())
	}
	r.Summary = from.Summary()
	return r, nil
}

// build makes a store of a backup in a folder of its own, and closes it.
func build(ctx context.Context, o Options, from *backup.Reader) error {
	lock, err := claimFolder(o.Dir)
	if err != nil {
		return err
	}
	s, err := openLocked(o, lock)
	if err != nil {
		return err
	}
	err = s.fillFrom(ctx, from)
	if err == nil {
		err = s.readBack(ctx, from.Summary())
	}
	if err == nil {
		err = s.upgrade(o)
	}
	return errors.Join(err, s.Close())
}

// Batches of a restoration: what one transaction of the engine takes in any case.
const (
	batchRecords = 500
	batchBytes   = 512 << 10
)

// fillFrom writes all records of a backup into a store that nobody else has.
func (d *db) fillFrom(ctx context.Context, from *backup.Reader) error {
	h := from.Header()
	err := d.update(ctx, func(t *tx) error {
		return errors.Join(t.put(checkKey, nil), Schema{Version: h.Schema, Name: h.SchemaName}.put(t))
	})
	var batch []Record
	size := 0
	for err == nil {
		var rec Record
		if rec.Key, rec.Value, err = from.Next(); err == nil {
			batch = append(batch, rec)
			size += len(rec.Key) + len(rec.Value)
		}
		if len(batch) > 0 && (err != nil || len(batch) == batchRecords || size > batchBytes) {
			if werr := d.putAll(ctx, batch); werr != nil {
				return werr
			}
			batch, size = nil, 0
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (d *db) putAll(ctx context.Context, batch []Record) error {
	return d.Update(ctx, func(tx Tx) error {
		for _, rec := range batch {
			if err := tx.Put(rec.Key, rec.Value); err != nil {
				return err
			}
		}
		return nil
	})
}

// readBack compares what the store holds with what the backup says.
func (d *db) readBack(ctx context.Context, want backup.Summary) error {
	got, err := digest(ctx, d)
	if err != nil {
		return fmt.Errorf("read the restored records back: %w", err)
	}
	if got.Records() != want.Records || got.Sum() != want.SHA256 {
		return fmt.Errorf("%w: of the %d restored records %d were read back, with the hash %s instead of %s",
			ErrCorrupt, want.Records, got.Records(), got.Sum(), want.SHA256)
	}
	return nil
}

// Commit makes the next Open of the folder find this store, whatever happens meanwhile. The one that is there must be
// closed, and is dropped by that Open.
func (r *Restored) Commit() error {
	if err := os.Rename(r.dir+restoring, r.dir+restored); err != nil {
		return fmt.Errorf("put the restored store in place: %w", err)
	}
	return syncFolder(filepath.Dir(r.dir))
}

// Discard drops it; after Commit it does nothing.
func (r *Restored) Discard() error { return os.RemoveAll(r.dir + restoring) }

// finishRestore puts a committed store in the place of the one whose folder is locked. It may be cut off anywhere and
// called again. The lock that it returns is that of the folder that is there then; on an error there is none.
func finishRestore(dir string, lock *os.File) (*os.File, error) {
	err := os.RemoveAll(dir + restoring)
	if err == nil {
		_, err = os.Stat(dir + restored)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return lock, nil
	}
	if err == nil {
		err = errors.Join(os.RemoveAll(dir+replaced), os.Rename(dir, dir+replaced))
	}
	if err == nil {
		err = errors.Join(os.Rename(dir+restored, dir), syncFolder(filepath.Dir(dir)))
	}
	if err := errors.Join(err, lock.Close()); err != nil {
		return nil, fmt.Errorf("put the restored store in place: %w", err)
	}
	return claimFolder(dir)
}

// forgetReplaced drops what was there before a restoration.
func forgetReplaced(dir string) error {
	if err := os.RemoveAll(dir + replaced); err != nil {
		return fmt.Errorf("drop the store that was there before: %w", err)
	}
	return nil
}
