package app

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// A gateway is told of every port that this process listens on: the one that the panel here uses when the agent speaks TLS, too.
func TestOwnPorts(t *testing.T) {
	dir := t.TempDir()
	f := makeCertificate(t, t.TempDir(), 1)
	settings, err := Load(Sources{Environ: []string{
		"WGFLEET_PANEL=true", "WGFLEET_DATA_DIR=" + dir, "WGFLEET_CONF_DIR=" + dir, "WG_AGENT_HOST=127.0.0.1",
		"WG_AGENT_PORT=0", "WGFLEET_PANEL_PORT=0", "WG_AGENT_TLS_CERT=" + f.Cert, "WG_AGENT_TLS_KEY=" + f.Key,
	}})
	require.NoError(t, err)
	var out, log bytes.Buffer
	p := &process{Settings: settings, streams: Streams{Out: &out, Log: &log, Version: "test", Backend: enginetest.NewFake()}}
	p.log = slog.New(slog.NewTextHandler(&log, nil))
	p.cleanups.log = p.log
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.tasks, ctx = errgroup.WithContext(ctx)
	require.NoError(t, p.start(ctx))
	listens := p.ports.list()
	cancel()
	require.NoError(t, p.cleanups.run(ctx))
	require.NoError(t, p.tasks.Wait())

	door := regexp.MustCompile(`reaches the agent over loopback" url=http://127.0.0.1:(\d+)`).FindStringSubmatch(log.String())
	require.NotNil(t, door, log.String())
	port, err := strconv.ParseUint(door[1], 10, 16)
	require.NoError(t, err)
	require.Len(t, listens, 3, "agent, door, panel")
	require.Contains(t, listens, uint16(port))
}
