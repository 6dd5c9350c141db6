package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// mayWrite refuses a path that is taken: by anything where force is not given, by what is no file in any case; and one in a
// folder that is not there.
func mayWrite(path string, force bool) error {
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		return inFolder(path, err)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is there and is no file: name another one", path)
	case !force:
		return fmt.Errorf("%s is there already: name another file, or give --force to replace it", path)
	}
	return nil
}

// inFolder names the folder in which a file could not be made, in the place of a name that nobody gave.
func inFolder(path string, err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	return fmt.Errorf("make a file in the folder %s: %w", filepath.Dir(path), err)
}

// writeNew makes a file that is whole and on disk, for its owner alone, when it has its name. On an error there is none,
// and one that was there is as it was; but where the name itself may not be on disk, the error says so and the file stays.
func writeNew(path string, force bool, fill func(io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".wgfleet-backup-*") // 0600
	if err != nil {
		return inFolder(path, err)
	}
	renamed := false
	defer func() {
		if err != nil && !renamed {
			err = errors.Join(err, removed(tmp.Name()))
		}
	}()
	err = fill(tmp)
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if !force {
		if err := claim(path); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		if !force {
			err = errors.Join(err, removed(path)) // what was claimed
		}
		return err
	}
	renamed = true
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("%s is whole, but may not outlast a power cut: %w", path, err)
	}
	return nil
}

// removed removes a file, if it is there.
func removed(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// claim makes an empty file, unless there is one: somebody may have made it meanwhile. link(2) would do both at once,
// but not on the file systems of many a USB stick.
func claim(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// syncDir makes a name durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
