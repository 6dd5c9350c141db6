package server

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// TestLongPollHearsOthers: what wg(8) changes on a device that is our own ends the wait, too.
func TestLongPollHearsOthers(t *testing.T) {
	n := newNode(t, withConf(t))
	tag := n.tag()
	out := make(chan reply, 1)
	before := n.polls()
	go func() {
		out <- n.do("GET", dumpPath, nil, header("If-None-Match", tag), header("Prefer", "wait=60"))
	}()
	require.Eventually(t, func() bool { return n.polls() > before }, 10*time.Second, time.Millisecond)
	other := enginetest.Peers(9)[3]
	require.NoError(t, n.fake().Write(engine.Changes{Peers: []engine.PeerChange{{After: &other}}}))
	select { // far below the wait
	case r := <-out:
		require.Equal(t, 200, r.status)
	case <-time.After(30 * time.Second):
		require.Fail(t, "another program changed the peers, and the answer is still held")
	}
}
