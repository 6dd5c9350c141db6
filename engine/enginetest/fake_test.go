package enginetest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func TestFakeConformance(t *testing.T) {
	enginetest.RunConformance(t, func(*testing.T) engine.Backend { return enginetest.NewFake() })
}

func fake(t *testing.T) (*enginetest.Fake, *enginetest.FakeDevice) {
	t.Helper()
	f := enginetest.NewFake()
	_, err := f.Create(t.Context(), engine.Interface{Name: "wg0"})
	require.NoError(t, err)
	d, err := f.Device("wg0")
	require.NoError(t, err)
	return f, d
}

func TestFakeFailsAtTheStepThatItWasTold(t *testing.T) {
	_, d := fake(t)
	add := engine.Changes{Peers: engine.DiffPeers(nil, enginetest.Peers(2), engine.DiffOptions{})}
	boom := errors.New("boom")
	d.FailAt(6, boom) // a peer with one address takes five steps
	require.ErrorIs(t, d.Configure(t.Context(), add), boom)
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, enginetest.Peers(2)[:1], o.Peers, "what came before is done")
	require.Equal(t, 6, d.Steps())
	require.NoError(t, d.Configure(t.Context(), add), "it fails once")
	require.Equal(t, 2, d.Configures())

	d.FailAt(1, nil)
	require.ErrorIs(t, d.Configure(t.Context(), add), enginetest.ErrInjected)
}

func TestFakeWritesOfOthersAndTraffic(t *testing.T) {
	_, d := fake(t)
	start := d.Revision()
	require.NoError(t, d.Write(engine.Changes{Peers: engine.DiffPeers(nil, enginetest.Peers(1), engine.DiffOptions{})}))
	require.Equal(t, start+1, d.Revision())
	s := engine.Stats{LastHandshake: time.Unix(9, 0), RxBytes: 1, TxBytes: 2}
	require.True(t, d.SetStats(enginetest.PeerKey(0), s))
	require.False(t, d.SetStats(enginetest.PeerKey(1), s))
	require.Equal(t, start+1, d.Revision(), "traffic is no write")
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, s, o.Stats[enginetest.PeerKey(0)])
}

func TestFakeRefusesToCreateAsTold(t *testing.T) {
	f := enginetest.NewFake()
	f.OnCreate(func(engine.Interface) error { return engine.ErrNotPermitted })
	_, err := f.Create(t.Context(), engine.Interface{Name: "wg0"})
	require.ErrorIs(t, err, engine.ErrNotPermitted)
	f.OnCreate(nil)
	_, err = f.Create(t.Context(), engine.Interface{Name: "wg0"})
	require.NoError(t, err)
	require.NoError(t, f.Usable())
	require.Equal(t, engine.KindFake, f.Kind())
}

func TestPeersAreInOrderAndDistinct(t *testing.T) {
	peers := enginetest.Peers(10_000)
	require.NoError(t, engine.Validate(engine.State{Peers: peers}))
	require.Equal(t, peers, engine.NormalizePeers(peers))
}
