package userspace_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// The client knows of no restart and says nothing: within the time that its own timers take, only the
// node can begin a handshake.
func TestGreet(t *testing.T) {
	x := newTunnel(t)
	roundTrip(t, x.echo(t), 0)
	known := x.want(t, x.peer).Stats[x.peer.PublicKey].Endpoint
	before, err := x.client.Stats()
	require.NoError(t, err)
	x.want(t)
	x.want(t, x.peer) // as after a restart: no session, and no endpoint
	g := x.node.(engine.Greeter)
	keys := []wgtypes.Key{enginetest.PeerKey(0), x.peer.PublicKey}
	require.NoError(t, g.Greet(t.Context(), keys), "nobody to be called, and that is no error")

	x.peer.Endpoint = known
	x.want(t, x.peer)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, g.Greet(ended, keys), context.Canceled)
	require.NoError(t, g.Greet(t.Context(), keys))
	require.Eventually(t, func() bool {
		s, err := x.client.Stats()
		return err == nil && s.LastHandshake.After(before.LastHandshake)
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, x.node.Close(t.Context()))
	require.ErrorIs(t, g.Greet(t.Context(), keys), engine.ErrClosed)
}
