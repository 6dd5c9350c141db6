package panel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/policy"
	"github.com/wgfleet/wgfleet/store"
)

var errFault = errors.New("a fault of the test")

// faults is what goes wrong: requests that do not arrive, answers that are lost, devices that fail within a
// change, dumps that are torn, a store that fails, a clock that is off.
type faults struct {
	mu   sync.Mutex // protects the next two
	rand *rand.Rand
	on   bool

	clock atomic.Int64 // of the node, off by so many nanoseconds
}

// hits reports whether a fault of one in so many strikes.
func (f *faults) hits(in int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.on && f.rand.IntN(in) == 0
}

func (f *faults) below(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rand.IntN(n)
}

func (f *faults) set(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = on
}

// flaky is a store that fails at times, before anything was written.
type flaky struct {
	store.Store
	f *faults
}

func (s flaky) Update(ctx context.Context, fn func(store.Tx) error) error {
	if s.f.hits(12) {
		return errFault
	}
	return s.Store.Update(ctx, fn)
}

func (s flaky) View(ctx context.Context, fn func(store.Tx) error) error {
	if s.f.hits(25) {
		return errFault
	}
	return s.Store.View(ctx, fn)
}

// trial is one fleet of a node under faults.
type trial struct {
	*world
	f       *faults
	calm    map[wgtypes.Key]time.Time // peers that nobody touches, and when they last shook hands
	asked   map[wgtypes.Key]bool      // somebody asked to have them removed
	foreign []wgtypes.Key
	now     time.Time
	k       *keeper
}

func newTrial(t *testing.T, seed uint64) *trial {
	f := &faults{rand: rand.New(rand.NewPCG(seed, 1))} //nolint:gosec // a test that can be repeated
	tr := &trial{
		world: &world{host: newHost(t, func(o *server.Options) {
			o.Now = func() time.Time { return time.Now().Add(time.Duration(f.clock.Load())) }
		})},
		f: f, calm: make(map[wgtypes.Key]time.Time), asked: make(map[wgtypes.Key]bool), now: time.Now(),
	}
	tr.Service, tr.store, tr.logs = newService(t, func(o *Options) {
		o.Store, o.Now = flaky{o.Store, f}, func() time.Time { return tr.now }
	})
	n, _, err := tr.CreateNode(t.Context(), NodeInput{
		Name: new("n"), AgentURL: &tr.proxy.URL, Secret: new(testSecret), IPPoolCIDR: new("10.8.0.0/24"),
	})
	require.NoError(t, err)
	tr.id, tr.k = n.ID, &keeper{s: tr.Service, nodeID: n.ID}
	for i := range 4 {
		p := tr.create(fmt.Sprint("calm ", i), nil)
		d, err := tr.fake.Device("wg0")
		require.NoError(t, err)
		at := time.Now().Add(-time.Duration(i) * time.Second).Truncate(time.Second)
		require.True(t, d.SetStats(p.PublicKey, engine.Stats{LastHandshake: at, RxBytes: int64(i) + 1}))
		tr.calm[p.PublicKey] = at
	}
	tr.strike()
	return tr
}

// strike lets faults happen at the door of the agent and in its device.
func (tr *trial) strike() {
	d, err := tr.fake.Device("wg0")
	require.NoError(tr.t, err)
	tr.edit.Store(new(func(r *http.Response) error {
		if !strings.HasSuffix(r.Request.URL.Path, "/dump") || !tr.f.hits(8) {
			return nil
		}
		torn, err := io.ReadAll(r.Body) // the end of it does not come
		r.Body = io.NopCloser(bytes.NewReader(torn[:len(torn)/2]))
		r.ContentLength = int64(len(torn) / 2)
		r.Header.Set("Content-Length", fmt.Sprint(len(torn)/2))
		return err
	}))
	tr.cut.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		switch {
		case tr.f.hits(8): // it does not arrive
			panic(http.ErrAbortHandler)
		case tr.f.hits(8): // it is done, and nobody hears of it
			tr.agent.Handler().ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case strings.HasSuffix(r.URL.Path, "/apply") && tr.f.hits(4): // within
			d.FailAt(1+tr.f.below(4), errFault)
		}
		return false
	}))
}

// panelDoes runs an action of the panel: whatever goes wrong, it removes nobody whom nobody asked to remove, and
// touches none of the calm.
func (tr *trial) panelDoes(t *rapid.T, what string, do func() error) {
	before, _ := tr.see()
	err := do()
	after, stats := tr.see()
	for _, p := range before {
		_, there := engine.Lookup(after, p.PublicKey)
		require.True(t, there || tr.asked[p.PublicKey], "%s removed %s, which nobody asked for (%v)", what, p.PublicKey, err)
	}
	for key, at := range tr.calm {
		require.True(t, stats[key].LastHandshake.Equal(at), "%s touched a peer that was as wanted", what)
	}
}

// see reads the device as it is.
func (tr *trial) see() ([]engine.Peer, map[wgtypes.Key]engine.Stats) {
	tr.f.set(false)
	defer tr.f.set(true)
	d, err := tr.fake.Device("wg0")
	require.NoError(tr.t, err)
	o, err := d.Observe(context.Background())
	require.NoError(tr.t, err)
	return o.Peers, o.Stats
}

// directly is a change of the device past the agent, in spite of a fault that was meant for the agent.
func (tr *trial) directly(c engine.PeerChange) {
	d, err := tr.fake.Device("wg0")
	require.NoError(tr.t, err)
	for err = errFault; errors.Is(err, errFault); {
		err = d.Write(engine.Changes{Peers: []engine.PeerChange{c}})
	}
	require.NoError(tr.t, err)
}

// others are the peers that the panel has beside the calm.
func (tr *trial) others(t *rapid.T) []PeerView {
	tr.f.set(false)
	defer tr.f.set(true)
	all, _, err := tr.Service.Peers(context.Background(), tr.id, Page{})
	require.NoError(t, err)
	var out []PeerView
	for _, p := range all {
		if _, calm := tr.calm[p.PublicKey]; !calm {
			out = append(out, p)
		}
	}
	return out
}

// somebody does something: the panel's users, people on the host, or the panel by itself.
func (tr *trial) somebody(t *rapid.T, round int) {
	ctx := context.Background()
	others := tr.others(t)
	pick := func() (PeerView, bool) {
		if len(others) == 0 {
			return PeerView{}, false
		}
		return others[rapid.IntRange(0, len(others)-1).Draw(t, "peer")], true
	}
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	switch what := rapid.SampledFrom([]string{
		"create", "create", "change", "disable", "delete", "lose", "bend", "stranger", "return", "reconcile", "heal", "heal", "clock",
	}).Draw(t, "what"); what {
	case "create":
		tr.panelDoes(t, what, func() error {
			_, err := tr.CreatePeer(ctx, tr.id, PeerInput{Name: new(fmt.Sprint("p", round)), AllowOffline: true})
			return err
		})
	case "change", "disable", "delete":
		p, ok := pick()
		if !ok {
			return
		}
		if what != "change" {
			tr.asked[p.PublicKey] = true
		}
		tr.panelDoes(t, what, func() error {
			switch what {
			case "delete":
				return tr.DeletePeer(ctx, tr.id, p.ID, true)
			case "disable":
				_, err := tr.UpdatePeer(ctx, tr.id, p.ID, PeerInput{Enabled: new(flag("enabled")), AllowOffline: true})
				return err
			}
			_, err := tr.UpdatePeer(ctx, tr.id, p.ID, PeerInput{Keepalive: set(rapid.IntRange(0, 60).Draw(t, "keepalive")), AllowOffline: true})
			return err
		})
	case "lose", "bend":
		p, ok := pick()
		peers, _ := tr.see()
		have, there := engine.Lookup(peers, p.PublicKey)
		if !ok || !there {
			return
		}
		change := engine.PeerChange{Before: &have}
		if what == "bend" {
			bent := have
			bent.PersistentKeepalive = 61
			change.After = &bent
		}
		tr.directly(change)
	case "stranger":
		key := publicKey(fmt.Sprint("stranger ", round))
		tr.foreign = append(tr.foreign, key)
		tr.directly(engine.PeerChange{After: &engine.Peer{PublicKey: key, AllowedIPs: prefixesOf(fmt.Sprintf("10.99.%d.0/24", round))}})
	case "return": // somebody puts one back that the panel does not want any more
		peers, _ := tr.see()
		for key := range tr.asked {
			if _, there := engine.Lookup(peers, key); !there {
				tr.directly(engine.PeerChange{After: &engine.Peer{PublicKey: key, AllowedIPs: prefixesOf(fmt.Sprintf("10.98.%d.0/24", round))}})
				return
			}
		}
	case "reconcile":
		o := ReconcileOptions{
			Missing: flag("missing"), Mismatched: flag("mismatched"), PruneOrphaned: flag("orphaned"), PruneForeign: flag("foreign"), Atomic: flag("atomic"),
			AllowMassRemoval: flag("mass"),
		}
		if o.PruneForeign {
			tr.allowForeign()
		}
		tr.panelDoes(t, what, func() error { _, err := tr.Reconcile(ctx, tr.id, o); return err })
	case "heal":
		tr.now = tr.now.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "seconds")) * time.Second)
		tr.panelDoes(t, what, func() error { tr.k.step(ctx); return nil })
	case "clock":
		tr.f.clock.Store(int64(rapid.SampledFrom([]time.Duration{0, 10 * time.Minute, -10 * time.Minute}).Draw(t, "off by")))
	}
}

func (tr *trial) allowForeign() {
	for _, key := range tr.foreign {
		tr.asked[key] = true
	}
}

// Whatever fails while users, people on the host and the panel do things to a node: nobody is removed whom nobody
// asked to remove, and no peer that is as wanted is touched. Once nothing fails any more, healing brings the node
// to what is wanted, and what is left is named.
func TestFaultsHarmNobody(t *testing.T) {
	var trials uint64
	rapid.Check(t, func(rt *rapid.T) {
		trials++
		tr := newTrial(t, rapid.Uint64().Draw(rt, "seed"))
		prune := rapid.Bool().Draw(rt, "prune foreign")
		tr.policy(PolicyInput{Mode: set(string(policy.Heal)), PruneForeign: set(prune), MaxDeletePercent: set(100)})
		tr.f.set(true)
		for round := range rapid.IntRange(5, 25).Draw(rt, "rounds") {
			if prune {
				tr.allowForeign()
			}
			tr.somebody(rt, round)
		}
		tr.f.set(false)
		tr.f.clock.Store(0)
		if prune {
			tr.allowForeign()
		}
		tr.settleDown(rt, prune)
	})
	require.NotZero(t, trials)
}

// settleDown heals without faults, and compares.
func (tr *trial) settleDown(t *rapid.T, prune bool) {
	ctx := context.Background()
	tr.k.healing = policy.State{} // it may have been given up while all failed
	for range 4 {
		tr.now = tr.now.Add(time.Hour)
		tr.k.step(ctx)
	}
	report, err := tr.Drift(ctx, tr.id)
	require.NoError(t, err)
	require.NotEqual(t, drift.Unknown, report.Status, report.Error)
	require.Empty(t, report.Missing, "%s", tr.logs)
	require.Empty(t, report.Mismatched)
	require.Zero(t, report.Orphans())
	want := make(map[wgtypes.Key]PeerView)
	all, _, err := tr.Service.Peers(ctx, tr.id, Page{})
	require.NoError(t, err)
	for _, p := range all {
		if p.Enabled {
			want[p.PublicKey] = p
		}
	}
	named := make(map[string]bool)
	for _, p := range report.Unknown {
		named[p.PublicKey] = true
	}
	for _, have := range tr.peers() {
		p, wanted := want[have.PublicKey]
		if !wanted {
			require.True(t, named[have.PublicKey.String()], "%s is on the node, and no report says so", have.PublicKey)
			require.False(t, prune, "a stranger is left though it should have been pruned")
			continue
		}
		require.Equal(t, p.AllowedIPs, have.AllowedIPs)
		require.Equal(t, p.Effective.Keepalive, have.PersistentKeepalive)
		delete(want, have.PublicKey)
	}
	require.Empty(t, want, "wanted, and not there")
}
