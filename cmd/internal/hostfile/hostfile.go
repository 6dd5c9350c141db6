package hostfile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Root is the folder that stands for / in front of every path; "" is the host itself.
type Root string

// At is where a path of the host lies.
func (r Root) At(path string) string { return filepath.Join(string(r), path) }

// Written is a file that is ours as long as it has this hash.
type Written struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"` // of the content, in hex
}

// Of is the file with that content.
func Of(path, content string) Written {
	sum := sha256.Sum256([]byte(content))
	return Written{Path: path, SHA256: hex.EncodeToString(sum[:])}
}

// New makes a file in a folder that is there. It refuses to overwrite one: errors.Is(err, fs.ErrExist).
func (r Root) New(path, content string, mode fs.FileMode) error {
	return r.put(path, content, mode, os.Link)
}

// Replace makes a file, in place of the one that may be there.
func (r Root) Replace(path, content string, mode fs.FileMode) error {
	return r.put(path, content, mode, os.Rename)
}

// put writes beside path and puts the whole file there.
func (r Root) put(path, content string, mode fs.FileMode, place func(from, to string) error) error {
	dir := filepath.Dir(r.At(path))
	f, err := os.CreateTemp(dir, ".wgfleet-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // after a rename there is nothing to remove
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = place(f.Name(), r.At(path))
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Remove removes a file unless somebody has changed it, which kept says. It is no error where there is none.
func (r Root) Remove(w Written) (kept bool, err error) {
	content, err := os.ReadFile(r.At(w.Path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("remove %s: %w", w.Path, err)
	case Of(w.Path, string(content)) != w:
		return true, nil
	}
	if err := os.Remove(r.At(w.Path)); err != nil {
		return false, fmt.Errorf("remove %s: %w", w.Path, err)
	}
	return false, syncDir(filepath.Dir(r.At(w.Path)))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
