package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	badger "github.com/dgraph-io/badger/v4"
)

// keepCopies is how many copies from before migrations are kept, the newest, and of each schema only the last: a
// migration that fails at each start must not push out the others.
const keepCopies = 3

// A copy is a whole folder of the engine, values sealed as they are: to go back is to put it where the store is, with
// any program that knew its schema. Its name sorts by time.
const (
	copyTime    = "20060102T150405.000Z"
	copyPartial = ".partial"
)

var copyName = regexp.MustCompile(`^\d{8}T\d{6}\.\d{3}Z-schema-(\d+)$`)

// copyBefore copies the store's folder into o.Copies. The engine is closed meanwhile, so that its files are whole.
func (d *db) copyBefore(o Options, version int) error {
	if err := os.MkdirAll(o.Copies, 0o700); err != nil {
		return err
	}
	if err := d.engine.Close(); err != nil {
		return translate(err)
	}
	err := copyStore(o.Dir, filepath.Join(o.Copies, fmt.Sprintf("%s-schema-%d", time.Now().UTC().Format(copyTime), version)))
	if err == nil {
		err = dropCopies(o.Copies)
	}
	engine, openErr := badger.Open(d.engine.Opts())
	if openErr != nil {
		return errors.Join(err, translate(openErr))
	}
	d.engine = engine
	return err
}

// copyStore copies a closed store; the copy is whole and on disk when it has its name.
func copyStore(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := roomFor(entries, filepath.Dir(to)); err != nil {
		return err
	}
	partial := to + copyPartial
	if err := os.Mkdir(partial, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockName || !e.Type().IsRegular() {
			continue
		}
		if err := copyFile(filepath.Join(from, e.Name()), filepath.Join(partial, e.Name())); err != nil {
			return errors.Join(err, os.RemoveAll(partial))
		}
	}
	return errors.Join(syncFolder(partial), os.Rename(partial, to), syncFolder(filepath.Dir(to)))
}

// roomFor refuses where the disk would be too full for the migration afterwards.
func roomFor(entries []fs.DirEntry, dir string) error {
	need := uint64(minFree)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			need += uint64(info.Size())
		}
	}
	free, err := freeBytes(dir)
	if err == nil && free < need {
		err = fmt.Errorf("%w: %s has %d MiB left and needs %d: make room, or remove copies from earlier upgrades", ErrNoSpace, dir, free>>20, need>>20)
	}
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// copies lists the names of the whole copies, the oldest first, and of those that were cut off.
func copies(dir string) (whole, partial []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case copyName.MatchString(name):
			whole = append(whole, name)
		case filepath.Ext(name) == copyPartial:
			partial = append(partial, name)
		}
	}
	return whole, partial, err
}

// dropCopies keeps the newest, and nothing that was cut off.
func dropCopies(dir string) error {
	whole, gone, err := copies(dir)
	kept := map[string]bool{} // by schema
	for _, name := range slices.Backward(whole) {
		schema := copyName.FindStringSubmatch(name)[1]
		if kept[schema] || len(kept) == keepCopies {
			gone = append(gone, name)
		} else {
			kept[schema] = true
		}
	}
	for _, name := range gone {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
	}
	return err
}

// wayBack says what to do about a store that is newer than the program.
func wayBack(o Options, known int) string {
	const newer = "run the newer one"
	if o.Copies == "" {
		return newer
	}
	whole, _, err := copies(o.Copies)
	if err != nil {
		return newer
	}
	for _, name := range slices.Backward(whole) {
		if version, err := strconv.Atoi(copyName.FindStringSubmatch(name)[1]); err == nil && version <= known {
			return fmt.Sprintf("%s; or, to go back and lose what changed since, move %s away and copy %s in its place",
				newer, o.Dir, filepath.Join(o.Copies, name))
		}
	}
	return fmt.Sprintf("%s, there is no copy from before in %s", newer, o.Copies)
}
