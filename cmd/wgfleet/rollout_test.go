package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// Two hosts under one panel: the canary's failure lets the other one be, and without it both are done.
func TestReconcileInWaves(t *testing.T) {
	h, stop, err := startHost(filepath.Join(t.TempDir(), "one"))
	require.NoError(t, err)
	defer func() { require.NoError(t, stop()) }()
	dir := filepath.Join(t.TempDir(), "two")
	other, stopOther, err := startHost(dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, stopOther()) }()
	c, err := panelclient.New(panelclient.Options{URL: h.PanelURL, Key: string(h.AdminKey)})
	require.NoError(t, err)
	secret, err := os.ReadFile(filepath.Join(dir, "agent.secret"))
	require.NoError(t, err)
	a, err := c.Do(t.Context(), "POST", "/api/nodes", nil, map[string]any{
		"name": "second", "agent_url": other.AgentURL, "secret": strings.TrimSpace(string(secret)), "ip_pool_cidr": "10.7.0.0/24",
	})
	require.NoError(t, err)
	second, err := decode[panelclient.Node](a.Data)
	require.NoError(t, err)
	for _, id := range []string{h.NodeID, second.ID} {
		_, err = c.Do(t.Context(), "POST", "/api/nodes/"+id+"/peers", nil, map[string]any{"name": "ada"})
		require.NoError(t, err)
	}
	for _, one := range []host{h, other} {
		d, err := one.backend.Attach(t.Context(), "wg0")
		require.NoError(t, err)
		dropAll(t, d)
	}
	do := func(args ...string) (status int, out, errs string) {
		var o, e bytes.Buffer
		con := &console{in: bytes.NewReader(nil), out: &o, err: &e, environ: []string{"WGFLEET_URL=" + h.PanelURL, "WGFLEET_API_KEY=" + string(h.AdminKey)}}
		status = run(t.Context(), con, args)
		return status, o.String(), e.String()
	}
	status, out, errs := do("reconcile", "--all", "--yes", "--waves", "1,rest", "--max-parallel", "1")
	require.Zero(t, status, errs)
	require.Equal(t, 2, strings.Count(out, "added 1, updated 0, removed 0, adopted 0, 0 errors, verified"), out)
	require.Contains(t, errs, "1/2 ")
	require.Contains(t, errs, "2/2 second done: added 1")
	status, _, errs = do("reconcile", "--all", "--yes", "--waves", "half")
	require.Zero(t, status, "there is nothing to do, so nothing to roll out: "+errs)
}

func TestProgressBar(t *testing.T) {
	var e bytes.Buffer
	con := &console{err: &e, terminal: true}
	for done := range 3 {
		con.progress(panelclient.Rollout{Counts: panelclient.RolloutCounts{Total: 2, Done: done, Running: min(1, 2-done)}})
	}
	con.endProgress()
	bar := func(filled int) string {
		return fmt.Sprintf("[%s%s]", strings.Repeat("=", filled), strings.Repeat(" ", progressWidth-filled))
	}
	require.Equal(t, "\r"+bar(0)+" 0/2 nodes, 0 failed, 1 at work \r"+bar(15)+" 1/2 nodes, 0 failed, 1 at work \r"+bar(30)+" 2/2 nodes, 0 failed, 0 at work \n", e.String())
}
