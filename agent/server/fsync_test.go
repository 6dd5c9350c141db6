package server

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
)

// failingSync lets fsync fail for the files that on names, once it is switched on. It must be set up
// before the agent is.
func failingSync(t *testing.T, on func(path string) bool) *atomic.Bool {
	t.Helper()
	var failing atomic.Bool
	before := fsync
	fsync = func(f *os.File) error {
		if failing.Load() && on(f.Name()) {
			return &os.PathError{Op: "sync", Path: f.Name(), Err: syscall.EIO}
		}
		return before(f)
	}
	t.Cleanup(func() { fsync = before })
	return &failing
}

func isLog(path string) bool { return strings.HasPrefix(filepath.Base(path), logPrefix) }

// TestFailingSyncFailsTheRequest: what is not on the disk was not done, neither now nor after a restart.
func TestFailingSyncFailsTheRequest(t *testing.T) {
	for name, on := range map[string]func(path string) bool{
		"journal":        isLog,
		"interface file": func(path string) bool { return strings.HasPrefix(filepath.Base(path), ".wg0.conf.") },
	} {
		t.Run(name, func(t *testing.T) {
			n := refusedBySync(t, on)
			n.restart()
			n.has(0)
			n.mustDo("POST", peersPath, peer(2))
			n.restart()
			n.has(0, 2)
		})
	}
}

// TestFailingSyncOfTheFolder: the file has its new name already, and is not acknowledged.
func TestFailingSyncOfTheFolder(t *testing.T) {
	n := refusedBySync(t, func(path string) bool { return filepath.Base(path) == "conf" })
	file, err := os.ReadFile(n.server.confPath("wg0"))
	require.NoError(t, err)
	require.NotContains(t, string(file), peer(1)["public_key"], "what was refused is not in the file, which may speak at the next start")
	n.mustDo("POST", peersPath, peer(1))
	n.has(0, 1)
}

// refusedBySync is an agent with peer 0 to which peer 1 could not be added.
func refusedBySync(t *testing.T, on func(path string) bool) *node {
	t.Helper()
	failing := failingSync(t, on)
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(0))
	failing.Store(true)
	r := n.do("POST", peersPath, peer(1))
	require.Equal(t, 500, r.status, "%s", r.body)
	require.Equal(t, agent.CodeInternal, r.code(t))
	n.has(0)
	failing.Store(false)
	return n
}

// TestFailingSyncOfASnapshot: the log that it was to replace goes on.
func TestFailingSyncOfASnapshot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wg0")
	failing := failingSync(t, func(path string) bool { return !isLog(path) })
	j, err := openJournal(dir)
	require.NoError(t, err)
	require.NoError(t, j.append(putRecord(1, 1)))
	failing.Store(true)
	require.ErrorIs(t, j.compact(), syscall.EIO)
	require.NoFileExists(t, filepath.Join(dir, snapshotName))
	require.NoError(t, j.append(putRecord(2, 2)))
	require.NoError(t, j.close())
	_, err = openJournal(dir)
	require.ErrorIs(t, err, syscall.EIO, "a log whose name may be lost is not written to")
	failing.Store(false)
	j, err = openJournal(dir)
	require.NoError(t, err)
	require.Len(t, j.state.peers, 2)
	require.NoError(t, j.close())
}
