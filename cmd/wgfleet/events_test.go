package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
	"github.com/wgfleet/wgfleet/engine"
)

// What happens is printed as it happens, until somebody interrupts.
func TestFollowEvents(t *testing.T) {
	h, stop, err := startHost(t.TempDir())
	require.NoError(t, err)
	defer func() { require.NoError(t, stop()) }()
	c, err := panelclient.New(panelclient.Options{URL: h.PanelURL, Key: string(h.AdminKey)})
	require.NoError(t, err)

	out, in := io.Pipe()
	defer out.Close()
	con := &console{in: bytes.NewReader(nil), out: in, err: io.Discard, environ: []string{"WGFLEET_URL=" + h.PanelURL, "WGFLEET_API_KEY=" + string(h.AdminKey)}}
	ctx, interrupt := context.WithCancel(t.Context())
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, con, []string{"events", "--follow", "--since", "1h", "--node", h.NodeID, "--kind", "drift.changed"})
	}()
	lines := bufio.NewScanner(out)

	_, err = c.Do(t.Context(), "POST", "/api/nodes/"+h.NodeID+"/peers", nil, map[string]any{"name": "ada", "allow_offline": true})
	require.NoError(t, err)
	d, err := h.backend.Attach(t.Context(), "wg0")
	require.NoError(t, err)
	dropAll(t, d)
	_, err = c.Do(t.Context(), "GET", "/api/drift/nodes/"+h.NodeID, nil, nil)
	require.NoError(t, err)
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "drift.changed")
	require.True(t, lines.Scan())
	require.Contains(t, lines.Text(), "ada")
	interrupt()
	require.Equal(t, exitInterrupted, <-status)
}

// dropAll removes all peers behind the panel's back.
func dropAll(t *testing.T, d engine.Device) {
	t.Helper()
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	var changes engine.Changes
	for _, p := range o.Peers {
		changes.Peers = append(changes.Peers, engine.PeerChange{Before: &p})
	}
	require.NoError(t, d.Configure(t.Context(), changes))
}
