package server

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
)

// TestDeviceTakenAwayBehindOurBack: what was known of it does not outlive it, and who comes in its
// place is found.
func TestDeviceTakenAwayBehindOurBack(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	d, err := n.o.Backend.Attach(t.Context(), "wg0")
	require.NoError(t, err)
	require.NoError(t, d.Close(t.Context())) // as ip link del does on a TUN
	r := n.do("POST", peersPath, peer(2))
	require.Equal(t, 409, r.status, string(r.body))
	require.Equal(t, agent.CodeInterfaceDown, r.code(t))
	require.Equal(t, agent.CodeInterfaceDown, n.do("GET", dumpPath, nil).code(t))

	n.mustDo("POST", "/v1/wg/wg0/enable", nil)
	n.mustDo("POST", peersPath, peer(2))
	after, _ := n.dump()
	d, err = n.o.Backend.Attach(t.Context(), "wg0")
	require.NoError(t, err)
	require.NoError(t, d.Close(t.Context()))
	require.Contains(t, string(n.mustDo("POST", "/v1/wg/wg0/enable", nil).body), `"was_down":true`)
	require.Len(t, after.Peers, 2)
}
