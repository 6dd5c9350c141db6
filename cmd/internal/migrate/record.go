package migrate

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/wgfleet/wgfleet/cmd/internal/hostfile"
)

// The phases of a migration; its record goes when it is undone.
const (
	phaseApplying = "applying"
	phaseApplied  = "applied"
)

// record is what --undo needs: what was before, and what was written.
type record struct {
	Phase string             `json:"phase"`
	At    time.Time          `json:"at"`
	From  string             `json:"from"`
	Unit  *recordedUnit      `json:"unit"` // of the old agent; nil: there was none
	Files []hostfile.Written `json:"files"`

	Folders []string `json:"folders"` // those that were not there before, the outermost first
}

type recordedUnit struct {
	Name    string `json:"name"`
	Path    string `json:"path"` // what enables it
	Active  bool   `json:"active"`
	Enabled bool   `json:"enabled"`
	URL     string `json:"url"` // where it answers
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
	if err := o.Root.Replace(recordPath, string(text)+"\n", 0o600); err != nil {
		return fmt.Errorf("write the record of the migration: %w", err)
	}
	return nil
}
