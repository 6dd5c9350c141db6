package store

import (
	"context"

	"github.com/wgfleet/wgfleet/store/backup"
)

// Export writes all records as they are at one moment, opened with the master key. What others write meanwhile is not
// in it and waits for nothing; a slow writer below keeps the engine from dropping what is overwritten. Errors are those
// of the store and of the writer.
func Export(ctx context.Context, s Store, to *backup.Writer) (backup.Summary, error) {
	err := s.View(ctx, func(tx Tx) error {
		for rec, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			if err := to.Put(rec.Key, rec.Value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return backup.Summary{}, err
	}
	return to.Close()
}

// digest is the hash of all records as they are at one moment.
func digest(ctx context.Context, s Store) (*backup.Digest, error) {
	d := backup.NewDigest()
	err := s.View(ctx, func(tx Tx) error {
		for rec, err := range tx.Scan("", "") {
			if err != nil {
				return err
			}
			d.Add(rec.Key, rec.Value)
		}
		return nil
	})
	return d, err
}
