package engine_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// fixture is what both *testing.T and *rapid.T are.
type fixture interface {
	require.TestingT
	Helper()
}

func device(t fixture, peers []engine.Peer) *enginetest.FakeDevice {
	t.Helper()
	f := enginetest.NewFake()
	_, err := f.Create(context.Background(), engine.Interface{Name: "wg0"})
	require.NoError(t, err)
	d, err := f.Device("wg0")
	require.NoError(t, err)
	require.NoError(t, d.Write(engine.Changes{Peers: engine.DiffPeers(nil, peers, prune)}))
	return d
}

func observe(t fixture, d engine.Device) engine.Observation {
	t.Helper()
	o, err := d.Observe(context.Background())
	require.NoError(t, err)
	return o
}

func TestApplyDoesAllOrNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := device(t, validPeers(5).Draw(t, "have"))
		before := observe(t, d)
		want := before.State
		want.Peers = validPeers(5).Draw(t, "want")
		want.Interface.FwMark = uint32(rapid.IntRange(0, 1).Draw(t, "fwmark"))
		c := engine.Diff(before.State, want, prune)
		steps := d.Steps()
		if n := rapid.IntRange(0, 30).Draw(t, "fail at"); n > 0 {
			d.FailAt(n, nil)
		}
		after, err := engine.Apply(context.Background(), d, before.State, c)
		if err == nil {
			require.Empty(t, engine.DiffPeers(after.Peers, want.Peers, prune))
			require.Equal(t, want.Interface.FwMark, after.Interface.FwMark)
			require.Equal(t, after, observe(t, d))
			if c.Empty() {
				require.Equal(t, steps, d.Steps(), "nothing to do writes nothing")
			}
			return
		}
		require.ErrorIs(t, err, enginetest.ErrInjected)
		var failed *engine.ApplyError
		require.ErrorAs(t, err, &failed)
		require.True(t, failed.RolledBack)
		require.Empty(t, failed.Residual)
		require.Equal(t, before.State, observe(t, d).State)
	})
}

func TestApplySaysWhatRemains(t *testing.T) {
	peers := enginetest.Peers(4)
	d := device(t, peers[:2])
	before := observe(t, d).State
	c := engine.Changes{Peers: engine.DiffPeers(peers[:2], peers[2:], prune)}
	d.FailAt(3, nil) // in the way there: two are removed, the third step adds
	d.FailAt(4, nil) // and at once in the way back
	_, err := engine.Apply(t.Context(), d, before, c)
	var failed *engine.ApplyError
	require.ErrorAs(t, err, &failed)
	require.False(t, failed.RolledBack)
	require.ElementsMatch(t, []string{peers[0].PublicKey.String(), peers[1].PublicKey.String()}, keys(failed))
	require.ErrorContains(t, err, peers[0].PublicKey.String())
}

func keys(e *engine.ApplyError) (out []string) {
	for _, k := range e.Residual {
		out = append(out, k.String())
	}
	return out
}

// A device that takes everything and does nothing is found out by reading back.
func TestApplyReadsBack(t *testing.T) {
	peers := enginetest.Peers(2)
	d := device(t, peers[:1])
	before := observe(t, d).State
	gone := peers[0]
	gone.PersistentKeepalive = 5
	require.NoError(t, d.Write(engine.Changes{Peers: []engine.PeerChange{{Before: &peers[0]}}})) // behind our back
	c := engine.Changes{Peers: []engine.PeerChange{{Before: &peers[0], After: &gone}}}
	_, err := engine.Apply(t.Context(), d, before, c)
	var failed *engine.ApplyError
	require.ErrorAs(t, err, &failed)
	require.ErrorContains(t, err, gone.PublicKey.String())
}

func TestApplyWithoutEyes(t *testing.T) {
	peers := enginetest.Peers(2)
	d := device(t, nil)
	blind := errors.New("no answer")
	before := observe(t, d).State
	d.OnObserve(func(*engine.Observation) error { return blind })
	_, err := engine.Apply(t.Context(), d, before, engine.Changes{Peers: engine.DiffPeers(nil, peers, prune)})
	require.ErrorIs(t, err, blind)
	var failed *engine.ApplyError
	require.ErrorAs(t, err, &failed)
	require.False(t, failed.RolledBack, "not knowing is not rolled back")
	require.Len(t, failed.Residual, 2)
}

// A read that misses a peer, or shows an old value, looks like a change that was not done; the
// second read tells.
func TestApplyOnATornRead(t *testing.T) {
	for name, tear := range map[string]func(*engine.Observation){
		"peers are missing": func(o *engine.Observation) { o.Peers = o.Peers[:1] },
		"an old value":      func(o *engine.Observation) { o.Peers[2].PersistentKeepalive = 1 },
		"an old port":       func(o *engine.Observation) { o.Interface.FwMark = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			d := device(t, enginetest.Peers(3)[:1])
			before := observe(t, d).State
			want := engine.State{Interface: before.Interface, Peers: enginetest.Peers(3)}
			want.Interface.FwMark = 9
			var once sync.Once
			d.OnObserve(func(o *engine.Observation) error {
				once.Do(func() { tear(o) })
				return nil
			})
			_, err := engine.Apply(t.Context(), d, before, engine.Diff(before, want, prune))
			var failed *engine.ApplyError
			require.ErrorAs(t, err, &failed)
			require.True(t, failed.RolledBack)
			require.Equal(t, before, observe(t, d).State)
		})
	}
}

func TestApplyPutsBackAfterTheCallerGaveUp(t *testing.T) {
	peers := enginetest.Peers(3)
	d := device(t, peers[:1])
	before := observe(t, d).State
	ctx, cancel := context.WithCancel(t.Context())
	d.OnObserve(func(*engine.Observation) error {
		cancel() // between the writing and the reading back
		return ctx.Err()
	})
	_, err := engine.Apply(ctx, &afterFirst{FakeDevice: d, do: func() { d.OnObserve(nil) }}, before, engine.Changes{Peers: engine.DiffPeers(peers[:1], peers[1:], prune)})
	require.ErrorIs(t, err, context.Canceled)
	var failed *engine.ApplyError
	require.ErrorAs(t, err, &failed)
	require.True(t, failed.RolledBack)
	require.Equal(t, before, observe(t, d).State)
}

// afterFirst does something right after the first Observe.
type afterFirst struct {
	*enginetest.FakeDevice
	do   func()
	once sync.Once
}

func (a *afterFirst) Observe(ctx context.Context) (engine.Observation, error) {
	defer a.once.Do(a.do)
	return a.FakeDevice.Observe(ctx)
}

// A peer that roams while its other settings fail to change keeps the endpoint it roamed to.
func TestRollBackKeepsARoamedEndpoint(t *testing.T) {
	peers := enginetest.Peers(2)
	peers[0].Endpoint = netip.MustParseAddrPort("192.0.2.1:1")
	d := device(t, peers[:1])
	before := observe(t, d).State
	changed := before.Peers[0]
	changed.Endpoint, changed.PersistentKeepalive = netip.AddrPort{}, 9
	here := netip.MustParseAddrPort("192.0.2.7:7")
	d.OnObserve(func(*engine.Observation) error { return errors.New("first read fails") })
	c := engine.Changes{Peers: []engine.PeerChange{{Before: &before.Peers[0], After: &changed}}}
	_, err := engine.Apply(t.Context(), &afterFirst{FakeDevice: d, do: func() {
		d.OnObserve(nil)
		d.SetStats(peers[0].PublicKey, engine.Stats{Endpoint: here, LastHandshake: time.Unix(1, 0)})
	}}, before, c)
	require.Error(t, err)
	now := observe(t, d)
	require.Equal(t, here, now.Peers[0].Endpoint)
	require.Zero(t, now.Peers[0].PersistentKeepalive)
}

func TestApplyErrorIsOneSentence(t *testing.T) {
	cause := errors.New("step 3 failed")
	require.Equal(t, "step 3 failed; the device was put back as it was", (&engine.ApplyError{Cause: cause, RolledBack: true}).Error())
	require.ErrorIs(t, &engine.ApplyError{Cause: cause}, cause)
}
