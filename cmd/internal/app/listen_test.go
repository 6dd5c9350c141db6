package app

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
)

// The agent may be started before the network: RFC 5737 and RFC 3849 see to it that these addresses are
// nobody's.
func TestListenBeforeTheAddressIsThere(t *testing.T) {
	absentOnes := []string{"192.0.2.1"}
	if hostHasIPv6() {
		absentOnes = append(absentOnes, "2001:db8::1")
	}
	for _, host := range absentOnes {
		l, err := listen(t.Context(), host, 0, keyHost, keyPort)
		require.NoError(t, err)
		require.True(t, absent(l))
		require.NoError(t, l.Close())
	}
	for _, host := range []string{"127.0.0.1", "0.0.0.0"} {
		l, err := listen(t.Context(), host, 0, keyHost, keyPort)
		require.NoError(t, err)
		require.False(t, absent(l))
		require.NoError(t, l.Close())
	}
	var log buffer
	settings, err := Load(Sources{Environ: []string{
		"WGFLEET_BACKEND=netstack", "WGFLEET_DATA_DIR=" + t.TempDir(), "WGFLEET_CONF_DIR=" + t.TempDir(),
		"WG_AGENT_HOST=192.0.2.1", "WG_AGENT_PORT=0", "WG_AGENT_SECRET=a secret for this test alone",
	}})
	require.NoError(t, err)
	ended := make(chan error, 1)
	ready := make(chan Ready, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		ended <- Run(ctx, settings, Streams{Out: io.Discard, Log: &log, Ready: func(r Ready) { ready <- r }})
	}()
	select {
	case r := <-ready:
		require.Regexp(t, `^http://192.0.2.1:\d+$`, r.AgentURL)
	case err := <-ended:
		require.NoError(t, err)
	}
	cancel()
	require.NoError(t, <-ended)
	require.Contains(t, log.String(), "this host does not have the agent's address yet")
	require.Contains(t, log.String(), "they go down when it stops")
	require.Contains(t, log.String(), "the interfaces go down with this process")
}

func TestFate(t *testing.T) {
	for _, c := range []struct {
		kind       engine.Kind
		downOnExit bool
		down       bool
		begin, end string
	}{
		{engine.KindKernel, false, false, "stay up", "stay up"},
		{engine.KindKernel, true, true, "go down when wgfleet stops", "made here go down"},
		{engine.KindTUN, false, true, "live in this process", "go down with this process"},
		{engine.KindNetstack, true, true, "live in this process", "go down with this process"},
	} {
		down, begin, end := fate(c.kind, c.downOnExit)
		require.Equal(t, c.down, down)
		require.Contains(t, begin, c.begin)
		require.Contains(t, end, c.end)
	}
}
