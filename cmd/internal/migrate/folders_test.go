package migrate

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// What the agent kept goes with it, unless somebody may miss it.
func TestUndoForgets(t *testing.T) {
	const state = dataDir + "/agent/interfaces/"
	for name, c := range map[string]struct {
		before, after func(h *tree)
		stays         string // a path
		warning       string
	}{
		"all of it": {},
		"what was there before": {
			before: func(h *tree) { h.write(dataDir+"/lock", "") },
			stays:  state + "wg0",
		},
		"a panel": {
			after:   func(h *tree) { h.write(dataDir+"/panel/data", "") },
			stays:   state + "wg0",
			warning: "/var/lib/wgfleet holds panel, which is not the agent's, and stays: remove it by hand",
		},
		"the only copy": {
			after:   func(h *tree) { h.write(state+"wg7/log.0", "") },
			stays:   state + "wg7",
			warning: "/var/lib/wgfleet has the only copy of interface wg7, which has no file and is down, and stays",
		},
		"a live interface without a file": {
			before: func(h *tree) { require.NoError(h, os.Remove(h.root+"/etc/wireguard/wg0.conf")) },
		},
		"another wgfleet": {
			after: func(h *tree) {
				h.write(dataDir+"/lock", "")
				f, err := os.Open(h.root + dataDir + "/lock")
				require.NoError(h, err)
				h.Cleanup(func() { f.Close() })
				require.NoError(h, unix.Flock(int(f.Fd()), unix.LOCK_EX))
			},
			stays:   state + "wg0",
			warning: "another wgfleet uses /var/lib/wgfleet, which stays",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTree(t)
			if c.before != nil {
				c.before(h)
			}
			before := h.files()
			require.NoError(t, h.plan().Apply(t.Context()))
			require.DirExists(t, filepath.Join(h.root, state, "wg0"))
			if c.after != nil {
				c.after(h)
			}
			u, err := Undo(t.Context(), h.options())
			require.NoError(t, err)
			if c.warning == "" {
				require.Empty(t, u.Warnings)
			} else {
				require.Equal(t, []string{c.warning}, u.Warnings)
			}
			require.NoFileExists(t, h.root+recordPath)
			if c.stays == "" {
				require.Equal(t, before, h.files())
				return
			}
			require.DirExists(t, h.root+c.stays)
		})
	}
}
