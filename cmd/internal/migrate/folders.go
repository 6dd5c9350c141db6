package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wgfleet/wgfleet/cmd/internal/app"
)

// missing lists the folders that these paths lie in and that are not there, the outermost first.
func (o Options) missing(paths ...string) []string {
	var out []string
	for _, path := range paths {
		var above []string
		for dir := filepath.Dir(path); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if _, err := os.Stat(o.at(dir)); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			if !slices.Contains(out, dir) {
				above = append(above, dir)
			}
		}
		slices.Reverse(above)
		out = append(out, above...)
	}
	return out
}

// forget removes what the agent kept in a data folder that was not there before; without it a later migration would
// find a state that the old agent has left behind. kept says why it stays, for a person, where it may be missed.
func (o Options) forget(ctx context.Context, r record) (kept string, err error) {
	if !slices.Contains(r.Folders, dataDir) {
		return "", nil
	}
	if kept, err = o.missed(ctx); err != nil || kept != "" {
		return kept, err
	}
	for _, name := range []string{app.AgentFolder, app.LockFile} {
		if err := os.RemoveAll(filepath.Join(o.at(dataDir), name)); err != nil {
			return "", fmt.Errorf("remove what wgfleet kept: %w", err)
		}
	}
	return "", nil
}

// missed looks for what somebody may want to keep of the data folder.
func (o Options) missed(ctx context.Context) (what string, err error) {
	entries, err := os.ReadDir(o.at(dataDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look at what wgfleet kept: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case app.AgentFolder, filepath.Base(recordPath):
		case app.LockFile:
			if inUse(filepath.Join(o.at(dataDir), e.Name())) {
				return "another wgfleet uses " + dataDir + ", which stays", nil
			}
		default:
			return fmt.Sprintf("%s holds %s, which is not the agent's, and stays: remove it by hand", dataDir, e.Name()), nil
		}
	}
	states, err := os.ReadDir(filepath.Join(o.at(dataDir), app.StatesFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look at what wgfleet kept: %w", err)
	}
	live, err := o.Devices.Names(ctx)
	if err != nil {
		return "", fmt.Errorf("list the WireGuard interfaces: %w", err)
	}
	for _, s := range states {
		_, err := os.Stat(filepath.Join(o.at(confDir), s.Name()+".conf"))
		if errors.Is(err, fs.ErrNotExist) && !slices.Contains(live, s.Name()) {
			return fmt.Sprintf("%s has the only copy of interface %s, which has no file and is down, and stays", dataDir, s.Name()), nil
		}
	}
	return "", nil
}

// inUse reports whether a process holds the lock.
func inUse(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close() // and unlocks
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}
