package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// fsync waits until what was written is on the disk. Tests let it fail.
var fsync = (*os.File).Sync

// prepared is a file that is on the disk under another name, ready to take its place.
type prepared struct {
	temp, path string
}

// prepareFile writes data beside path, mode 0600, and waits for the disk. Where path is a link, it
// stays one and the file that it leads to is meant.
func prepareFile(path string, data []byte) (*prepared, error) {
	path = linked(path)
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp") // 0600
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	p := &prepared{temp: f.Name(), path: path}
	_, err = f.Write(data)
	if err == nil {
		err = fsync(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		p.discard()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return p, nil
}

// commit puts the file in its place. On an error what was there before is there again.
func (p *prepared) commit() error {
	old := p.temp + ".old.tmp" // sweep knows it
	linkErr := os.Link(p.path, old)
	defer os.Remove(old) //nolint:errcheck // a leftover is swept
	if err := os.Rename(p.temp, p.path); err != nil {
		p.discard()
		return fmt.Errorf("write %s: %w", p.path, err)
	}
	err := syncDir(filepath.Dir(p.path))
	switch {
	case err == nil:
	case linkErr == nil:
		err = errors.Join(err, os.Rename(old, p.path))
	case errors.Is(linkErr, fs.ErrNotExist):
		err = errors.Join(err, os.Remove(p.path))
	}
	return err
}

// discard takes the file away again; it is fine after commit.
func (p *prepared) discard() {
	if p != nil {
		os.Remove(p.temp) //nolint:errcheck // a leftover temporary file is ignored
	}
}

// writeFile replaces a file at once.
func writeFile(path string, data []byte) error {
	p, err := prepareFile(path, data)
	if err != nil {
		return err
	}
	return p.commit()
}

// sweep removes the temporary files that a crash left beside path; they may hold its secrets.
func sweep(path string) {
	for _, of := range []string{path, linked(path)} {
		left, err := filepath.Glob(filepath.Join(filepath.Dir(of), "."+filepath.Base(of)+".*.tmp"))
		if err != nil {
			continue // a name that is no pattern
		}
		for _, temp := range left {
			os.Remove(temp) //nolint:errcheck // the next sweep finds it
		}
	}
}

// linked is the file that path leads to, which is path itself where it is no link.
func linked(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := fsync(d); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// removeFile removes a file for good; it may be gone already.
func removeFile(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}
