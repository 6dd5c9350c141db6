package server

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func (n *node) apply(body map[string]any) (agent.Applied, reply) {
	n.t.Helper()
	r := n.do("POST", "/v1/wg/wg0/apply", body)
	var a agent.Applied
	if r.status == 200 {
		r.decode(n.t, &a)
	}
	return a, r
}

func peersOf(numbers ...int) []any {
	out := []any{}
	for _, i := range numbers {
		out = append(out, peer(i))
	}
	return out
}

func (n *node) fake() *enginetest.FakeDevice {
	n.t.Helper()
	d, err := n.o.Backend.(*enginetest.Fake).Device("wg0")
	require.NoError(n.t, err)
	return d
}

// TestPeerAsWantedIsNotTouched: its counters live on, and a second apply writes nothing at all.
func TestPeerAsWantedIsNotTouched(t *testing.T) {
	n := newNode(t, withConf(t))
	_, r := n.apply(map[string]any{"peers": peersOf(1, 2, 3)})
	require.Equal(t, 200, r.status)
	require.True(t, n.fake().SetStats(enginetest.PeerKey(2), engine.Stats{RxBytes: 7}))
	a, _ := n.apply(map[string]any{"peers": []any{with(peer(1), "persistent_keepalive", 9), peer(2), peer(4)}, "remove_unknown": true})
	require.Equal(t, []string{key(4)}, a.Added)
	require.Equal(t, []string{key(1)}, a.Updated)
	require.Equal(t, []string{key(3)}, a.Removed)
	require.Equal(t, []string{key(2)}, a.Unchanged)
	d, _ := n.dump()
	for _, p := range d.Peers {
		if p.PublicKey == key(2) {
			require.EqualValues(t, 7, p.TransferRx)
		}
	}
	calls, conf := n.fake().Configures(), n.conf("wg0")
	again, _ := n.apply(map[string]any{"peers": []any{with(peer(1), "persistent_keepalive", 9), peer(2), peer(4)}, "remove_unknown": true})
	require.Equal(t, again.Before, again.After)
	require.Equal(t, a.After, again.After)
	require.Equal(t, calls, n.fake().Configures())
	require.Equal(t, conf, n.conf("wg0"))
}

// TestApplyIsAllOrNothing: whichever step fails, the device, the file and the last good state are as
// before.
func TestApplyIsAllOrNothing(t *testing.T) {
	for step := 1; step <= 3; step++ {
		n := newNode(t, withConf(t))
		n.apply(map[string]any{"peers": peersOf(1, 2, 3)})
		before, conf := n.device("wg0"), n.conf("wg0")
		n.fake().FailAt(step, errors.New("no more memory"))
		_, r := n.apply(map[string]any{"peers": []any{with(peer(1), "persistent_keepalive", 9), peer(2), peer(4)}, "remove_unknown": true})
		require.Equal(t, 500, r.status, "%s", r.body)
		var e agent.Error
		r.decode(t, &e)
		require.True(t, *e.RolledBack)
		require.Equal(t, before.Peers, n.device("wg0").Peers)
		require.Equal(t, conf, n.conf("wg0"))
		n.restart()
		require.Equal(t, before.Peers, n.device("wg0").Peers)
	}
}

func TestDryRun(t *testing.T) {
	n := newNode(t, withConf(t))
	n.apply(map[string]any{"peers": peersOf(1)})
	would, _ := n.apply(map[string]any{"peers": peersOf(1, 2), "dry_run": true})
	require.Equal(t, []string{key(2)}, would.Added)
	require.Len(t, n.device("wg0").Peers, 1)
	did, _ := n.apply(map[string]any{"peers": peersOf(1, 2), "expect": would.Before})
	require.Equal(t, would, did)
}

// TestManyChangesKeepEndpoints: the model after many changes is what the device holds, so that asking
// for the same once more writes nothing.
func TestManyChangesKeepEndpoints(t *testing.T) {
	n := newNode(t, withConf(t))
	var peers []any
	for i := range readBackBelow + 1 {
		peers = append(peers, with(peer(i), "endpoint", "192.0.2.1:5"))
	}
	_, r := n.apply(map[string]any{"peers": peers})
	require.Equal(t, 200, r.status, "%s", r.body)
	for _, many := range []int{1, patchLimit + 1} {
		var changes []any
		for i := range many {
			changes = append(changes, map[string]any{"op": "put", "public_key": key(i), "persistent_keepalive": many})
		}
		_, r = n.apply(map[string]any{"changes": changes})
		require.Equal(t, 200, r.status, "%s", r.body)
		calls := n.fake().Configures()
		a, _ := n.apply(map[string]any{"changes": []any{map[string]any{"op": "put", "public_key": key(0), "endpoint": "192.0.2.1:5"}}})
		require.Empty(t, a.Updated, many)
		require.Equal(t, calls, n.fake().Configures())
	}
}

// TestWhatIsLeftOut: in the whole desired state it means none, in a change it stays.
func TestWhatIsLeftOut(t *testing.T) {
	n := newNode(t, withConf(t))
	whole := with(with(peer(1), "persistent_keepalive", 9), "preshared_key", secretText(enginetest.PresharedKey(t)))
	n.apply(map[string]any{"peers": []any{whole}})
	before := n.device("wg0")
	bare := map[string]any{"public_key": key(1)}
	a, r := n.apply(map[string]any{"changes": []any{with(bare, "op", "put")}})
	require.Equal(t, 200, r.status, "%s", r.body)
	require.Equal(t, []string{key(1)}, a.Unchanged)
	require.Equal(t, before, n.device("wg0"))
	for _, left := range []map[string]any{bare, {"public_key": key(1), "allowed_ips": nil, "preshared_key": nil, "persistent_keepalive": nil}} {
		n.apply(map[string]any{"peers": []any{whole}})
		_, r = n.apply(map[string]any{"peers": []any{left}})
		require.Equal(t, 200, r.status, "%s", r.body)
		p := n.device("wg0").Peers[0]
		require.Empty(t, p.AllowedIPs)
		require.True(t, p.PresharedKey.IsZero())
		require.Zero(t, p.PersistentKeepalive)
	}
}

// TestNobodyLosesWhatItAsksFor: a prefix is not taken from a peer that the same body gives it to.
func TestNobodyLosesWhatItAsksFor(t *testing.T) {
	n := newNode(t, withConf(t))
	n.apply(map[string]any{"peers": peersOf(1)})
	before := n.device("wg0")
	thief := with(with(map[string]any{"public_key": key(2), "allowed_ips": peer(1)["allowed_ips"]}, "op", "put"), "take_from", key(1))
	giver := with(with(peer(1), "op", "put"), "persistent_keepalive", 9)
	for _, changes := range [][]any{{giver, thief}, {thief, giver}} {
		_, r := n.apply(map[string]any{"changes": changes})
		require.Equal(t, 409, r.status, "%s", r.body)
		var e agent.Error
		r.decode(t, &e)
		require.Equal(t, agent.CodeAllowedIPTaken, e.Code)
		require.Equal(t, key(1), e.Holder)
		require.Equal(t, before, n.device("wg0"))
	}
	delete(giver, "allowed_ips")
	_, r := n.apply(map[string]any{"changes": []any{thief, giver}})
	require.Equal(t, 200, r.status, "%s", r.body)
	s := n.device("wg0")
	first, _ := engine.Lookup(s.Peers, enginetest.PeerKey(1))
	second, _ := engine.Lookup(s.Peers, enginetest.PeerKey(2))
	require.Empty(t, first.AllowedIPs)
	require.Equal(t, 9, first.PersistentKeepalive)
	require.Equal(t, before.Peers[0].AllowedIPs, second.AllowedIPs)
}

// TestNothingIsRemovedUnasked: unknown peers stay unless asked for; emptying and taking more than
// half need a word of their own.
func TestNothingIsRemovedUnasked(t *testing.T) {
	n := newNode(t, withConf(t))
	n.apply(map[string]any{"peers": peersOf(1, 2, 3, 4)})
	a, _ := n.apply(map[string]any{"peers": peersOf(1)})
	require.Empty(t, a.Removed)
	_, r := n.apply(map[string]any{"peers": []any{}, "remove_unknown": true})
	require.Equal(t, agent.CodeEmpty, r.code(t))
	_, r = n.apply(map[string]any{"peers": peersOf(1), "remove_unknown": true})
	require.Equal(t, agent.CodeMassRemoval, r.code(t))
	_, r = n.apply(map[string]any{"peers": peersOf(5, 6, 7, 8), "remove_unknown": true, "allow_empty": true})
	require.Equal(t, agent.CodeMassRemoval, r.code(t))
	removals := func(numbers ...int) []any {
		var out []any
		for _, i := range numbers {
			out = append(out, map[string]any{"op": "remove", "public_key": key(i)})
		}
		return out
	}
	_, r = n.apply(map[string]any{"changes": removals(1, 2, 3)})
	require.Equal(t, agent.CodeMassRemoval, r.code(t))
	require.Len(t, n.device("wg0").Peers, 4)
	a, _ = n.apply(map[string]any{"peers": peersOf(1, 2), "remove_unknown": true})
	require.Len(t, a.Removed, 2, "half is not more than half")
	a, _ = n.apply(map[string]any{"changes": removals(1, 2), "allow_mass_removal": true})
	require.Len(t, a.Removed, 2)
	n.apply(map[string]any{"peers": peersOf(1)})
	a, _ = n.apply(map[string]any{"peers": []any{}, "remove_unknown": true, "allow_empty": true})
	require.Len(t, a.Removed, 1)
}

func TestApplyRefusesNonsense(t *testing.T) {
	n := newNode(t, withConf(t))
	for _, body := range []map[string]any{
		{},
		{"peers": []any{}, "changes": []any{}},
		{"peers": "x"},
		{"peers": []any{5}},
		{"peers": []any{map[string]any{}}},
		{"peers": peersOf(1, 1)},
		{"changes": []any{peer(1)}},
		{"changes": []any{with(peer(1), "op", "add")}},
		{"peers": []any{with(peer(1), "endpoint", "host:5")}},
		{"peers": peersOf(1), "dry_run": "yes"},
		{"peers": []any{with(peer(1), "persistent_keepalive", 65536)}},
		{"changes": []any{with(with(peer(1), "op", "put"), "take_from", "x")}},
		{"changes": []any{with(with(peer(1), "op", "put"), "take_from", key(1))}},
	} {
		_, r := n.apply(body)
		require.Equal(t, 422, r.status, "%v: %s", body, r.body)
	}
	require.Empty(t, n.device("wg0").Peers)
	n.apply(map[string]any{"peers": []any{with(peer(1), "endpoint", "192.0.2.1:5")}})
	require.Equal(t, "192.0.2.1:5", n.device("wg0").Peers[0].Endpoint.String())
	n.apply(map[string]any{"peers": []any{with(peer(1), "persistent_keepalive", 3)}})
	require.Equal(t, "192.0.2.1:5", n.device("wg0").Peers[0].Endpoint.String(), "what is not asked for stays")
	n.restart()
	require.Equal(t, "192.0.2.1:5", n.device("wg0").Peers[0].Endpoint.String(), "also in the last good state")
}

func TestSyncConf(t *testing.T) {
	n := newNode(t, withConf(t))
	identity := n.device("wg0").Interface
	n.apply(map[string]any{"peers": []any{with(with(peer(1), "persistent_keepalive", 9), "preshared_key", secretText(enginetest.PresharedKey(t))), peer(2)}})
	body := "[Peer]\nPublicKey = " + key(1) + "\nAllowedIPs = 10.0.0.3/32\n[Peer]\nPublicKey = " + key(3) + "\n"
	r := n.mustDo("POST", "/v1/wg/wg0/syncconf", confBody(body))
	var out agent.Synced
	r.decode(t, &out)
	require.Equal(t, []string{key(3)}, out.Added)
	require.Equal(t, []string{key(1)}, out.Updated)
	require.Equal(t, []string{key(2)}, out.Removed)
	s := n.device("wg0")
	require.Equal(t, identity, s.Interface, "no [Interface] section leaves the identity alone")
	p, _ := engine.Lookup(s.Peers, enginetest.PeerKey(1))
	require.Zero(t, p.PersistentKeepalive, "left out means 0")
	require.True(t, p.PresharedKey.IsZero(), "left out means none")
	require.Equal(t, out.Digest, engine.Digest(s.Peers, engine.DeriveMACKey([]byte(n.o.Secret))))
	for _, empty := range []string{"", "\n", "[Interface]\nListenPort = 99\n"} {
		require.Equal(t, agent.CodeEmpty, n.do("POST", "/v1/wg/wg0/syncconf", confBody(empty)).code(t))
	}
	require.Equal(t, s, n.device("wg0"))
	bad := n.do("POST", "/v1/wg/wg0/syncconf", confBody(body+"[Peer]\nPublicKey = x\n"))
	require.Equal(t, 422, bad.status)
	require.Equal(t, s, n.device("wg0"), "the whole file is checked before the first write")
	n.mustDo("POST", "/v1/wg/wg0/syncconf", confBody("[Interface]\nListenPort = 99\nFwMark = 7\n"+body))
	require.EqualValues(t, 99, n.device("wg0").Interface.ListenPort)
	require.Contains(t, n.conf("wg0"), "ListenPort = 99")
	require.Contains(t, n.conf("wg0"), "FwMark = 0x7")
	n.mustDo("POST", "/v1/wg/wg0/syncconf", with(confBody(""), "allow_empty", true))
	require.Empty(t, n.device("wg0").Peers)
	require.EqualValues(t, 99, n.device("wg0").Interface.ListenPort)
}
