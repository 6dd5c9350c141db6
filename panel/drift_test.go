package panel

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

func (w *world) drift() drift.Report {
	w.t.Helper()
	r, err := w.Drift(w.t.Context(), w.id)
	require.NoError(w.t, err)
	require.Equal(w.t, w.id, r.NodeID)
	require.False(w.t, r.DetectedAt.IsZero())
	return r
}

func (w *world) reconcile(o ReconcileOptions) ReconcileResult {
	w.t.Helper()
	r, err := w.Reconcile(w.t.Context(), w.id, o)
	require.NoError(w.t, err)
	return r
}

var everything = ReconcileOptions{Missing: true, Mismatched: true}

func prefixesOf(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return engine.NormalizePrefixes(out)
}

func TestNoDrift(t *testing.T) {
	w := newWorld(t)
	w.create("laptop", func(in *PeerInput) { in.PresharedKey = set(AutoPresharedKey) })
	r := w.drift()
	require.Equal(t, drift.InSync, r.Status)
	require.False(t, *r.HasDrift)
	calls, writes := w.calls.Load(), w.writes.Load()
	require.Equal(t, drift.InSync, w.drift().Status)
	require.EqualValues(t, 2, w.calls.Load()-calls, "a clean node costs one 304, and the word that its file is as well")
	require.Empty(t, w.reconcile(everything).Added)
	require.Equal(t, writes, w.writes.Load(), "a reconcile of a clean node writes nothing")
}

func TestUnknownPeer(t *testing.T) {
	w := newWorld(t)
	w.create("laptop", nil)
	stranger := engine.Peer{PublicKey: publicKey("stranger"), AllowedIPs: prefixesOf("10.8.0.100/32")}
	w.write(engine.PeerChange{After: &stranger})
	r := w.drift()
	require.Equal(t, []drift.UnknownPeer{{PublicKey: stranger.PublicKey.String(), AllowedIPs: []string{"10.8.0.100/32"}, Origin: drift.Foreign}}, r.Unknown)
	kept := w.reconcile(everything)
	require.True(t, kept.Verified)
	require.Len(t, kept.Residual.Unknown, 1, "kept unless asked")
	gone := w.reconcile(ReconcileOptions{PruneOrphaned: true, PruneForeign: true})
	require.Equal(t, []string{stranger.PublicKey.String()}, gone.Removed)
	require.True(t, gone.Verified)
	require.Equal(t, drift.InSync, w.drift().Status)
}

func TestMissingPeer(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", func(in *PeerInput) { in.PresharedKey = set(AutoPresharedKey) })
	have, ok := w.peer(p.PublicKey)
	require.True(t, ok)
	w.write(engine.PeerChange{Before: &have})
	r := w.drift()
	require.Equal(t, []drift.MissingPeer{{PublicKey: p.PublicKey.String(), Name: "laptop", PeerID: p.ID, AllowedIPs: []string{"10.8.0.2/32", "fd00:8::2/128"}}}, r.Missing)
	done := w.reconcile(everything)
	require.Equal(t, []string{p.PublicKey.String()}, done.Added)
	require.True(t, done.Verified)
	require.Equal(t, drift.InSync, done.Residual.Status)
	again, ok := w.peer(p.PublicKey)
	require.True(t, ok)
	require.Equal(t, have, again, "the preshared key and the keepalive came back as well")
}

func TestMismatchedPeer(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", func(in *PeerInput) { in.Keepalive = set(25) })
	have, _ := w.peer(p.PublicKey)
	other := have
	other.AllowedIPs, other.PersistentKeepalive, other.PresharedKey = prefixesOf("10.8.0.9/32"), 30, testKey("psk")
	w.write(engine.PeerChange{Before: &have, After: &other})
	r := w.drift()
	require.Equal(t, []drift.Mismatch{
		{Field: "allowed_ips", Expected: []string{"10.8.0.2/32", "fd00:8::2/128"}, Actual: []string{"10.8.0.9/32"}},
		{Field: "persistent_keepalive", Expected: 25, Actual: 30},
		{Field: "preshared_key", Expected: "unset", Actual: "set"},
	}, r.Mismatched[0].Mismatches)
	done := w.reconcile(everything)
	require.Equal(t, []string{p.PublicKey.String()}, done.Updated)
	require.True(t, done.Verified)
	again, _ := w.peer(p.PublicKey)
	require.Equal(t, have, again)
}

// The unknown peer sits on an address that two missing peers and it share out.
func TestAddressIsTakenFromAnUnknownPeer(t *testing.T) {
	w := newWorld(t)
	a, b := w.create("a", nil), w.create("b", nil)
	for _, p := range []PeerView{a, b} {
		have, _ := w.peer(p.PublicKey)
		w.write(engine.PeerChange{Before: &have})
	}
	one := engine.Peer{PublicKey: publicKey("one"), AllowedIPs: prefixesOf("10.8.0.2/32", "10.8.0.3/32", "10.8.0.77/32")}
	two := engine.Peer{PublicKey: publicKey("two"), AllowedIPs: prefixesOf("fd00:8::2/128", "10.8.0.78/32")}
	w.write(engine.PeerChange{After: &one}, engine.PeerChange{After: &two})

	dry := w.reconcile(ReconcileOptions{Missing: true, Mismatched: true, DryRun: true})
	require.Len(t, dry.Plan.Steps, 2)
	require.Contains(t, strings.Join(dry.Plan.Warnings, "\n"), "takes 10.8.0.2/32 from unknown peer "+one.PublicKey.String())
	require.Contains(t, strings.Join(dry.Plan.Warnings, "\n"), "takes fd00:8::2/128 from unknown peer "+two.PublicKey.String())
	require.Len(t, w.peers(), 2, "a dry run changes nothing")

	done := w.reconcile(everything)
	require.Empty(t, done.Errors)
	require.True(t, done.Verified)
	require.Empty(t, done.Updated, "a peer that lost an address is not one that was put right")
	left, _ := w.peer(one.PublicKey)
	require.Equal(t, prefixesOf("10.8.0.77/32"), left.AllowedIPs)
	left, _ = w.peer(two.PublicKey)
	require.Equal(t, prefixesOf("10.8.0.78/32"), left.AllowedIPs)
}

func TestAdopt(t *testing.T) {
	w := newWorld(t)
	missing := w.create("a", nil)
	have, _ := w.peer(missing.PublicKey)
	stranger := engine.Peer{
		PublicKey: publicKey("stranger"), AllowedIPs: prefixesOf("10.8.0.2/32", "10.8.0.50/32"), PersistentKeepalive: 7, PresharedKey: testKey("psk"),
	}
	w.write(engine.PeerChange{Before: &have}, engine.PeerChange{After: &stranger})
	_, err := w.Reconcile(t.Context(), w.id, ReconcileOptions{AdoptUnknown: true, PruneOrphaned: true, PruneForeign: true})
	require.ErrorContains(t, err, "adopt_unknown")
	done := w.reconcile(ReconcileOptions{Missing: true, AdoptUnknown: true})
	require.Empty(t, done.Errors)
	require.True(t, done.Verified)
	require.Equal(t, []string{stranger.PublicKey.String()}, done.Adopted)
	require.Equal(t, drift.InSync, done.Residual.Status)
	list, _, err := w.SearchPeers(t.Context(), "adopted-", Page{})
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, prefixesOf("10.8.0.50/32"), list[0].AllowedIPs)
	require.Equal(t, 7, list[0].Effective.Keepalive)
	require.True(t, list[0].PresharedKey.Equal(stranger.PresharedKey))
	require.True(t, list[0].PrivateKey.IsZero())
	writes := w.writes.Load()
	require.True(t, w.reconcile(everything).Verified)
	require.Equal(t, writes, w.writes.Load())
}

func TestPruneIsGuarded(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"x", "y", "z"} {
		w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey(name)}})
	}
	_, err := w.Reconcile(t.Context(), w.id, ReconcileOptions{PruneOrphaned: true, PruneForeign: true})
	require.ErrorIs(t, err, ErrConflict, "an empty desired state")
	w.create("a", nil)
	_, err = w.Reconcile(t.Context(), w.id, ReconcileOptions{PruneOrphaned: true, PruneForeign: true})
	require.ErrorIs(t, err, ErrConflict, "more than half")
	require.Len(t, w.peers(), 4)
	done := w.reconcile(ReconcileOptions{PruneOrphaned: true, PruneForeign: true, AllowMassRemoval: true})
	require.Len(t, done.Removed, 3)
	require.True(t, done.Verified)
}

// Removing needs two identical reads.
func TestPruneReadsTwice(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		w.create(name, nil)
	}
	w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("stranger")}})
	dumps := 0
	w.cut.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/dump") {
			dumps++
			w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey(strings.Repeat("s", dumps))}})
		}
		return false
	}))
	before := w.writes.Load()
	_, err := w.Reconcile(t.Context(), w.id, ReconcileOptions{PruneOrphaned: true, PruneForeign: true, AllowMassRemoval: true})
	require.ErrorContains(t, err, "changed between two reads")
	require.Equal(t, before, w.writes.Load())
	require.Equal(t, 4, dumps, "it was tried once more")
}

// Somebody changes the node between the look and the write, once.
func TestReconcileAfterAConcurrentChange(t *testing.T) {
	w := newWorld(t)
	p := w.create("a", nil)
	have, _ := w.peer(p.PublicKey)
	w.write(engine.PeerChange{Before: &have})
	refused := 0
	w.cut.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/apply") && refused == 0 {
			refused++
			w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("meanwhile"), AllowedIPs: prefixesOf("10.8.0.200/32")}})
		}
		return false
	}))
	done := w.reconcile(everything)
	require.Equal(t, 1, refused)
	require.True(t, done.Verified)
	require.Equal(t, []string{p.PublicKey.String()}, done.Added)
	require.Len(t, done.Residual.Unknown, 1)
}

// One peer that the device can't take stops no other, unless all or nothing is asked for.
func TestErrorsAreIsolated(t *testing.T) {
	w := newWorld(t)
	var peers []PeerView
	for i := range 20 {
		peers = append(peers, w.create(string(rune('a'+i)), nil))
	}
	for _, p := range peers {
		have, _ := w.peer(p.PublicKey)
		w.write(engine.PeerChange{Before: &have})
	}
	bad := w.create("bad", func(in *PeerInput) { in.PublicKey = new(publicKey("bad").String()) })
	have, _ := w.peer(bad.PublicKey)
	w.write(engine.PeerChange{Before: &have})
	w.refuseKey(bad.PublicKey.String())

	_, err := w.Reconcile(t.Context(), w.id, ReconcileOptions{Missing: true, Atomic: true})
	require.ErrorIs(t, err, ErrNode)
	require.Empty(t, w.peers(), "all or nothing")
	done := w.reconcile(everything)
	require.Len(t, done.Added, 20)
	require.Len(t, done.Errors, 1)
	require.Equal(t, bad.PublicKey.String(), done.Errors[0].Peer)
	require.NotEmpty(t, done.Errors[0].Error)
	require.False(t, done.Verified)
	require.Len(t, done.Residual.Missing, 1)
}

// refuseKey stands for an agent that can't set one peer.
func (w *world) refuseKey(key string) {
	w.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/apply") {
			return false
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return false
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !bytes.Contains(body, []byte(key)) {
			return false
		}
		answer := []byte(`{"error":"this one can't be set","code":"invalid_field"}`)
		rw.Header().Set(agent.HeaderResponseSignature, testSecret.SignAnswer(agent.Answer{Status: http.StatusUnprocessableEntity, Nonce: r.Header.Get(agent.HeaderNonce), Body: answer}))
		rw.WriteHeader(http.StatusUnprocessableEntity)
		rw.Write(answer)
		return true
	}))
}

func TestSwappedAddresses(t *testing.T) {
	w := newWorld(t)
	a, b := w.create("a", nil), w.create("b", nil)
	x, _ := w.peer(a.PublicKey)
	y, _ := w.peer(b.PublicKey)
	sx, sy := x, y
	sx.AllowedIPs, sy.AllowedIPs = y.AllowedIPs, x.AllowedIPs
	w.write(engine.PeerChange{Before: &x, After: &sx}, engine.PeerChange{Before: &y, After: &sy}, engine.PeerChange{Before: &x, After: &sx})
	done := w.reconcile(everything)
	require.Empty(t, done.Errors)
	require.True(t, done.Verified)
	require.Equal(t, drift.InSync, w.drift().Status)
}

// A peer as wanted is not touched by the reconcile of the others, and a second one writes nothing.
func TestWhatIsAsWantedIsNotTouched(t *testing.T) {
	w := newWorld(t)
	var peers []PeerView
	for _, name := range []string{"a", "b", "c", "d"} {
		peers = append(peers, w.create(name, nil))
	}
	d, err := w.fake.Device("wg0")
	require.NoError(t, err)
	stats := engine.Stats{RxBytes: 5, TxBytes: 6, Endpoint: netip.MustParseAddrPort("192.0.2.1:4000")}
	require.True(t, d.SetStats(peers[0].PublicKey, stats))
	for _, p := range peers[1:] {
		have, _ := w.peer(p.PublicKey)
		w.write(engine.PeerChange{Before: &have})
	}
	steps := d.Steps()
	w.reconcile(everything)
	require.Greater(t, d.Steps(), steps)
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	require.Equal(t, stats, o.Stats[peers[0].PublicKey])
	steps, writes := d.Steps(), w.writes.Load()
	require.True(t, w.reconcile(everything).Verified)
	require.Equal(t, steps, d.Steps())
	require.Equal(t, writes, w.writes.Load())
}

func TestDriftAll(t *testing.T) {
	w := newWorld(t)
	w.create("laptop", nil)
	dead, _, err := w.CreateNode(t.Context(), NodeInput{Name: new("dead"), AgentURL: new("http://127.0.0.1:1"), Secret: new(testSecret)})
	require.NoError(t, err)
	off, _, err := w.CreateNode(t.Context(), NodeInput{Name: new("off"), AgentURL: new("http://127.0.0.1:2"), Enabled: new(false)})
	require.NoError(t, err)
	all, err := w.DriftAll(t.Context())
	require.NoError(t, err)
	status := map[string]string{}
	for _, r := range all {
		status[r.NodeID] = r.Status + " " + r.Error
	}
	require.Equal(t, "in_sync ", status[w.id])
	require.Contains(t, status[dead.ID], "unknown the agent can't be reached")
	require.Equal(t, "unknown disabled", status[off.ID])
	require.True(t, slices.IsSortedFunc(all, func(a, b drift.Report) int { return strings.Compare(a.NodeID, b.NodeID) }))
}
