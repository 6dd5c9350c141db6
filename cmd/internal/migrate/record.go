package migrate

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The phases of a migration; its record goes when it is undone.
const (
	phaseApplying = "applying"
	phaseApplied  = "applied"
)

// record is what --undo needs: what was before, and what was written.
type record struct {
	Phase string        `json:"phase"`
	At    time.Time     `json:"at"`
	From  string        `json:"from"`
	Unit  *recordedUnit `json:"unit"` // of the old agent; nil: there was none
	Files []writtenFile `json:"files"`
}

type recordedUnit struct {
	Name    string `json:"name"`
	Path    string `json:"path"` // what enables it
	Active  bool   `json:"active"`
	Enabled bool   `json:"enabled"`
	URL     string `json:"url"` // where it answers
}

// writtenFile is one that is ours as long as it has this hash.
type writtenFile struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

func (o Options) readRecord() (record, error) {
	var r record
	text, err := os.ReadFile(o.at(recordPath))
	if err != nil {
		return r, fmt.Errorf("read the record of the migration: %w", err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s can't be read as the record of a migration: %w", recordPath, err)
	}
	return r, nil
}

// writeRecord replaces the record; it is on the disk when this returns.
func (o Options) writeRecord(r record) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the record of the migration: %w", err)
	}
	if err := os.MkdirAll(o.at(dataDir), 0o700); err != nil {
		return fmt.Errorf("write the record of the migration: %w", err)
	}
	if err := o.putFile(recordPath, append(text, '\n'), 0o600, os.Rename); err != nil {
		return fmt.Errorf("write the record of the migration: %w", err)
	}
	return nil
}

// writeNew makes a file and refuses to overwrite one.
func (o Options) writeNew(path, text string, mode fs.FileMode) error {
	err := o.putFile(path, []byte(text), mode, os.Link)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists and was not written by a migration: move it away first", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// putFile writes beside path and puts the whole file there, durably.
func (o Options) putFile(path string, text []byte, mode fs.FileMode, put func(from, to string) error) error {
	dir := filepath.Dir(o.at(path))
	f, err := os.CreateTemp(dir, ".wgfleet-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // after a rename there is nothing to remove
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = put(f.Name(), o.at(path))
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// removeOurs removes a file unless somebody changed it, which kept says.
func (o Options) removeOurs(w writtenFile) (kept bool, err error) {
	text, err := os.ReadFile(o.at(w.Path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("remove %s: %w", w.Path, err)
	case hashOf(string(text)) != w.SHA256:
		return true, nil
	}
	if err := os.Remove(o.at(w.Path)); err != nil {
		return false, fmt.Errorf("remove %s: %w", w.Path, err)
	}
	return false, syncDir(filepath.Dir(o.at(w.Path)))
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
