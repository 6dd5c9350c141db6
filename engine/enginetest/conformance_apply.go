package enginetest

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
)

func (b bench) change(edit func(*engine.Interface)) (engine.Observation, error) {
	b.Helper()
	before := b.observe().State
	want := before
	edit(&want.Interface)
	return engine.Apply(b.Context(), b.device, before, engine.Diff(before, want, engine.DiffOptions{}))
}

func interfaceSettings(t *testing.T, b engine.Backend) {
	x := newBench(t, b, plain(t))
	peers := Peers(3)
	x.want(peers...)

	key, port := PrivateKey(t), freePort(t)
	o, err := x.change(func(i *engine.Interface) { i.PrivateKey, i.ListenPort = key, port })
	require.NoError(t, err)
	require.True(t, key.Equal(o.Interface.PrivateKey))
	require.Equal(t, port, o.Interface.ListenPort)
	require.Len(t, o.Peers, 3)

	o, err = x.change(func(i *engine.Interface) { i.ListenPort = 0 })
	require.NoError(t, err)
	require.Equal(t, port, o.Interface.ListenPort, "0 is content with the port that is there")

	// Live where the backend can, refused before anything is done where it cannot.
	before := x.observe()
	o, err = x.change(func(i *engine.Interface) {
		i.Addresses = []netip.Prefix{netip.MustParsePrefix("10.78.0.1/24")}
		i.MTU = 1380
	})
	if errors.Is(err, engine.ErrUnsupported) {
		require.Equal(t, before, x.observe())
		return
	}
	require.NoError(t, err)
	require.Equal(t, "10.78.0.1/24", o.Interface.Addresses[0].String())
	require.Equal(t, 1380, o.Interface.MTU)
	o, err = x.change(func(i *engine.Interface) { i.Addresses = nil })
	require.NoError(t, err)
	require.Empty(t, o.Interface.Addresses)
}

func fwmark(t *testing.T, b engine.Backend) {
	x := newBench(t, b, plain(t))
	before := x.observe()
	o, err := x.change(func(i *engine.Interface) { i.FwMark = 0x1234 })
	if errors.Is(err, engine.ErrNotPermitted) {
		require.Equal(t, before, x.observe(), "refused before anything is done")
		return
	}
	require.NoError(t, err)
	require.EqualValues(t, 0x1234, o.Interface.FwMark)
	o, err = x.change(func(i *engine.Interface) { i.FwMark = 0 })
	require.NoError(t, err)
	require.Zero(t, o.Interface.FwMark)
}

// failedChange makes a change of many steps fail at its last one: a peer with the interface's own
// key, which every implementation of WireGuard passes over in silence and only the read-back finds.
func failedChange(t *testing.T, b engine.Backend) {
	i := plain(t)
	x := newBench(t, b, i)
	peers := Peers(6)
	peers[0].PresharedKey, peers[0].PersistentKeepalive = PresharedKey(t), 25
	x.want(peers[:4]...)
	before := x.observe()

	want := before.State
	changed := peers[0]
	changed.PresharedKey, changed.AllowedIPs = engine.SecretKey{}, peers[1].AllowedIPs
	own := engine.Peer{PublicKey: i.PrivateKey.PublicKey(), AllowedIPs: prefixes("10.99.0.1/32")}
	want.Peers = engine.NormalizePeers([]engine.Peer{changed, peers[2], peers[4], peers[5], own})
	_, err := engine.Apply(t.Context(), x.device, before.State,
		engine.Diff(before.State, want, engine.DiffOptions{RemoveUnknown: true}))
	var failed *engine.ApplyError
	require.ErrorAs(t, err, &failed)
	require.True(t, failed.RolledBack, "%v", err)
	require.Empty(t, failed.Residual)
	require.Equal(t, before, x.observe())
}

func failedPort(t *testing.T, b engine.Backend) {
	x := newBench(t, b, plain(t))
	other := plain(t)
	other.Name = "wgt1"
	taken := newBench(t, b, other).observe().Interface.ListenPort
	x.want(Peers(2)...)
	before := x.observe()
	want := before.State
	want.Interface.ListenPort = taken
	err := x.device.Configure(t.Context(), engine.Diff(before.State, want, engine.DiffOptions{}))
	require.ErrorIs(t, err, engine.ErrPortInUse)
	require.Equal(t, before, x.observe(), "found out before anything is done: the socket stays open")
	third := plain(t)
	third.Name, third.ListenPort = "wgt2", before.Interface.ListenPort
	_, err = b.Create(t.Context(), third)
	require.ErrorIs(t, err, engine.ErrPortInUse, "it is still bound")

	want.Interface.PrivateKey = PrivateKey(t)
	want.Peers = Peers(3)[1:]
	_, err = engine.Apply(t.Context(), x.device, before.State,
		engine.Diff(before.State, want, engine.DiffOptions{RemoveUnknown: true}))
	require.ErrorIs(t, err, engine.ErrPortInUse)
	var failed *engine.ApplyError
	require.ErrorAs(t, err, &failed)
	require.True(t, failed.RolledBack)
	require.Equal(t, before, x.observe())
}

func ownKey(t *testing.T, b engine.Backend) {
	i := plain(t)
	x := newBench(t, b, i)
	s := x.observe().State
	s.Peers = []engine.Peer{{PublicKey: i.PrivateKey.PublicKey(), AllowedIPs: []netip.Prefix{}}}
	var field *engine.FieldError
	require.ErrorAs(t, engine.Validate(s), &field)
	require.Equal(t, "public_key", field.Field)
}

func revision(t *testing.T, b engine.Backend) {
	x := newBench(t, b, plain(t))
	owned, ok := x.device.(engine.Owned)
	if !ok {
		return // a device that others can write to behind our back has none
	}
	start := owned.Revision()
	x.observe()
	require.Equal(t, start, owned.Revision(), "reading moves nothing")
	x.want(Peers(1)...)
	added := owned.Revision()
	require.Greater(t, added, start)
	x.want(Peers(1)...)
	require.Equal(t, added, owned.Revision(), "what is as wanted is not written")
	require.NoError(t, x.device.Close(t.Context()))
	require.Greater(t, owned.Revision(), added, "what was known of a device that is gone is not true")
}

func concurrentUse(t *testing.T, b engine.Backend) {
	x := newBench(t, b, plain(t))
	var all sync.WaitGroup
	all.Go(func() { // one writer, as the agent's slot sees to
		for n := range 20 {
			p := Peers(n % 5)
			before, err := x.device.Observe(context.Background())
			if err != nil {
				t.Error(err)
				return
			}
			c := engine.Changes{Peers: engine.DiffPeers(before.Peers, p, engine.DiffOptions{RemoveUnknown: true})}
			if _, err := engine.Apply(context.Background(), x.device, before.State, c); err != nil {
				t.Error(err)
			}
		}
	})
	for range 3 {
		all.Go(func() {
			for range 20 {
				if _, err := x.device.Observe(context.Background()); err != nil {
					t.Error(err)
				}
				if _, err := b.Names(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func thousandPeers(t *testing.T, b engine.Backend) {
	x := newBench(t, b, plain(t))
	peers := Peers(1000)
	o := x.want(peers...)
	require.Equal(t, engine.Normalize(engine.State{Peers: peers}).Peers, o.Peers)
	peers[500].PersistentKeepalive = 7
	c := engine.DiffPeers(x.observe().Peers, peers, engine.DiffOptions{})
	require.Len(t, c, 1)
	x.want(peers...)
	x.want()
}
