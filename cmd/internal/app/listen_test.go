package app

import (
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
	r := start(t, t.TempDir(), "WG_AGENT_HOST=192.0.2.1", "WG_AGENT_SECRET=a secret for this test alone")
	require.Regexp(t, `^http://192.0.2.1:\d+$`, r.AgentURL)
	require.NoError(t, r.stop())
	require.Contains(t, r.log.String(), "this host does not have the agent's address yet")
	require.Contains(t, r.log.String(), "they go down when it stops")
	require.Contains(t, r.log.String(), "the interfaces go down with this process")
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
