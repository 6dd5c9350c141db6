package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
	"github.com/wgfleet/wgfleet/engine"
)

// Sizes of the drill.
const (
	drillNodes   = 50
	drillPeers   = 3 // of each node
	drillChanges = 200
	// drillLimit is within how long a change must be reported, of 99 in 100.
	drillLimit = 5 * time.Second
)

// heard is what the panel's log of events said of one peer of one node, and when that came here.
type heard struct {
	appeared time.Time // the drift was reported
	put      bool      // healing put it right
}

// listener follows the events.
type listener struct {
	mu    sync.Mutex // protects what follows
	of    map[string]*heard
	clean map[string]bool // nodes whose last verdict is in sync
	wake  chan struct{}
}

func (l *listener) hear(e panelclient.Event, status string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.Kind == "drift.changed" {
		l.clean[e.NodeID] = status == panelclient.InSync
	}
	for _, c := range e.Changes {
		h := l.of[e.NodeID+c.Peer]
		switch {
		case h == nil:
		case e.Kind == "drift.changed" && c.Outcome == "appeared" && h.appeared.IsZero():
			h.appeared = time.Now()
		case e.Kind == "reconcile.finished" && e.Actor.Name == "heal" && c.Outcome == "done":
			h.put = true
		}
	}
	close(l.wake)
	l.wake = make(chan struct{})
}

// wait returns when all is as done says.
func (l *listener) wait(ctx context.Context, done func() bool) error {
	for {
		l.mu.Lock()
		ready, wake := done(), l.wake
		l.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Fifty nodes, two hundred changes behind the panel's back: each is reported within seconds, healed, and
// explained by the log.
func TestDrillOfFiftyNodes(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 4*time.Minute, errors.New("the drill did not end in 4 minutes"))
	defer cancel()
	names := make([]string, drillNodes)
	for i := range names {
		names[i] = fmt.Sprintf("n%02d", i)
	}
	f := start(t, names...)
	require.NoError(t, f.Call(ctx, http.MethodPut, "/api/drift/policy", map[string]any{
		"mode": "heal", "max_delete_percent": 100, "heal": map[string]any{"prune_foreign": true},
	}, nil))
	var making errgroup.Group
	making.SetLimit(8)
	for _, n := range f.Nodes {
		making.Go(func() error {
			for i := range drillPeers {
				if err := f.Call(ctx, http.MethodPost, "/api/nodes/"+n.ID+"/peers", map[string]any{"name": fmt.Sprint("p", i), "preshared_key": "auto"}, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, making.Wait())

	l := &listener{of: map[string]*heard{}, clean: map[string]bool{}, wake: make(chan struct{})}
	following, stop := context.WithCancel(ctx)
	var followed errgroup.Group
	followed.Go(func() error { return f.listen(following, l) })
	began := f.script(t, ctx, l)

	err := l.wait(ctx, func() bool {
		for _, h := range l.of {
			if h.appeared.IsZero() || !h.put {
				return false
			}
		}
		for _, n := range f.Nodes {
			if clean, changed := l.clean[n.ID]; changed && !clean {
				return false
			}
		}
		return true
	})
	stop()
	require.ErrorIs(t, followed.Wait(), context.Canceled)
	l.mu.Lock()
	defer l.mu.Unlock()
	var latencies []time.Duration
	for about, at := range began {
		require.False(t, l.of[about].appeared.IsZero(), "%s was not reported: %v", about, err)
		require.True(t, l.of[about].put, "%s was not healed: %v", about, err)
		latencies = append(latencies, l.of[about].appeared.Sub(at))
	}
	require.NoError(t, err)
	slices.Sort(latencies)
	p99 := latencies[len(latencies)*99/100-1]
	t.Logf("%d changes on %d nodes: reported after %s (median), %s (p99), %s (the last)", len(latencies), drillNodes, latencies[len(latencies)/2], p99, latencies[len(latencies)-1])
	require.Less(t, p99, drillLimit)
	for _, n := range f.Nodes {
		r, err := f.Drift(ctx, n)
		require.NoError(t, err)
		require.Equal(t, panelclient.InSync, r.Status)
		o, err := n.Observe(ctx)
		require.NoError(t, err)
		require.Len(t, o.Peers, drillPeers)
	}
}

// listen hands all events on until ctx ends.
func (f *Fleet) listen(ctx context.Context, l *listener) error {
	for e, err := range f.Panel.Stream(ctx, "/api/events", url.Values{"since": {"2000-01-01T00:00:00Z"}}, "") {
		if err != nil {
			return err
		}
		if e.Data == nil {
			continue
		}
		var v struct {
			panelclient.Event
			To string `json:"to"`
		}
		if err := json.Unmarshal(e.Data, &v); err != nil {
			return err
		}
		l.hear(v.Event, v.To)
	}
	return nil
}

// script makes the changes, each to a peer of its own, and returns when each was made.
func (f *Fleet) script(t *testing.T, ctx context.Context, l *listener) map[string]time.Time {
	t.Helper()
	random := rand.New(rand.NewPCG(4, 5)) //nolint:gosec // the same drill each time
	began := map[string]time.Time{}
	for i := range drillChanges {
		n := f.Nodes[random.IntN(len(f.Nodes))]
		o, err := n.Observe(ctx)
		require.NoError(t, err)
		change := engine.PeerChange{After: &engine.Peer{
			PublicKey: key(t).PublicKey(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, byte(i), 1}), 32)},
		}}
		untouched := slices.DeleteFunc(o.Peers, func(p engine.Peer) bool { return !began[n.ID+p.PublicKey.String()].IsZero() })
		if len(untouched) > 0 && random.IntN(3) > 0 {
			p := untouched[random.IntN(len(untouched))]
			change = engine.PeerChange{Before: &p}
			if random.IntN(2) == 0 {
				bent := p
				bent.PersistentKeepalive += 7
				change.After = &bent
			}
		}
		about := n.ID + change.Key().String()
		l.mu.Lock()
		l.of[about] = &heard{}
		l.mu.Unlock()
		began[about] = time.Now()
		require.NoError(t, n.Change(ctx, engine.Changes{Peers: []engine.PeerChange{change}}))
	}
	return began
}

// A thousand others are put right, a hundred taken over and a hundred removed while a client's TCP session goes
// on: it neither breaks nor retransmits, its handshake stays and its counters only grow.
func TestAStreamThroughEverything(t *testing.T) {
	const many, some = 1000, 100
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	f := start(t, "berlin")
	n := f.Nodes[0]
	require.NoError(t, f.Serve(context.WithoutCancel(ctx), n))
	require.NoError(t, f.Call(ctx, http.MethodPut, "/api/nodes/"+n.ID, map[string]any{"ip_pool_cidr": "10.8.0.0/20"}, nil))
	c, err := f.Connect(ctx, n, "streaming")
	require.NoError(t, err)
	defer c.Close()
	stream, err := c.Dial(ctx)
	require.NoError(t, err)
	defer stream.Close()

	d, err := n.Device(ctx)
	require.NoError(t, err)
	write := func(changes []engine.PeerChange) {
		t.Helper()
		require.NoError(t, d.Configure(ctx, engine.Changes{Peers: changes}))
	}
	strangers := func(third byte) []engine.PeerChange {
		var out []engine.PeerChange
		for i := range some {
			out = append(out, engine.PeerChange{After: &engine.Peer{
				PublicKey: key(t).PublicKey(), AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 99, third, byte(i)}), 32)},
			}})
		}
		return out
	}
	// The thousand come as a takeover: the panel wants them from then on.
	var taken []engine.PeerChange
	for i := range many {
		taken = append(taken, engine.PeerChange{After: &engine.Peer{
			PublicKey: key(t).PublicKey(), PersistentKeepalive: 21,
			AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 98, byte(i / 250), byte(i % 250)}), 32)},
		}})
	}
	write(taken)
	var done panelclient.Reconciled
	require.NoError(t, f.Call(ctx, http.MethodPost, "/api/nodes/"+n.ID+"/adopt", nil, &done))
	require.Len(t, done.Adopted, many)

	w := watchStream(t, ctx, n, c, stream)
	quiet := w.cost(ctx, t, 500)

	for i := range taken { // two thirds are lost, the others bent
		p := *taken[i].After
		if taken[i] = (engine.PeerChange{Before: &p}); i%3 == 0 {
			bent := p
			bent.PersistentKeepalive = 99
			taken[i].After = &bent
		}
	}
	write(taken)
	done, err = f.Reconcile(ctx, n, panelclient.ReconcileRequest{Missing: true, Mismatched: true})
	require.NoError(t, err)
	require.True(t, done.Verified)
	require.Equal(t, many, len(done.Added)+len(done.Updated))

	write(strangers(0))
	require.NoError(t, f.Call(ctx, http.MethodPost, "/api/nodes/"+n.ID+"/adopt", nil, &done))
	require.Len(t, done.Adopted, some)
	require.True(t, done.Verified)

	write(strangers(1))
	done, err = f.Reconcile(ctx, n, panelclient.ReconcileRequest{PruneForeign: true})
	require.NoError(t, err)
	require.Len(t, done.Removed, some)
	require.True(t, done.Verified)

	lines, busy := w.end(t)
	t.Logf("%d lines went to and fro meanwhile; %.0f bytes each, %.0f before", lines, busy, quiet)
	require.Greater(t, lines, 10)
	require.Less(t, busy, 1.5*quiet, "it was sent again and again")
}

// streamWatch lets a session talk without a pause, and looks at its peer meanwhile.
type streamWatch struct {
	n       *Node
	c       *Client
	stop    context.CancelFunc
	talking errgroup.Group
	first   engine.Stats

	mu    sync.Mutex // protects what follows
	lines int
	told  chan struct{} // closed with each line
}

func watchStream(t *testing.T, ctx context.Context, n *Node, c *Client, s *Session) *streamWatch {
	t.Helper()
	require.NoError(t, s.Say("before"))
	w := &streamWatch{n: n, c: c, told: make(chan struct{})}
	w.first = w.stats(t)
	ctx, w.stop = context.WithCancel(ctx)
	w.talking.Go(func() error {
		last := w.first
		for i := 0; ctx.Err() == nil; i++ {
			if err := s.Say(fmt.Sprint("line ", i)); err != nil {
				return fmt.Errorf("the TCP session broke: %w", err)
			}
			o, err := n.Observe(context.WithoutCancel(ctx))
			if err != nil {
				return err
			}
			now := o.Stats[c.Key()]
			if !now.LastHandshake.Equal(last.LastHandshake) && now.LastHandshake.Before(last.LastHandshake) || now.RxBytes < last.RxBytes || now.TxBytes < last.TxBytes {
				return fmt.Errorf("the session was touched: %+v after %+v", now, last)
			}
			last = now
			w.mu.Lock()
			w.lines++
			close(w.told)
			w.told = make(chan struct{})
			w.mu.Unlock()
		}
		return nil
	})
	return w
}

func (w *streamWatch) stats(t *testing.T) engine.Stats {
	t.Helper()
	o, err := w.n.Observe(context.Background())
	require.NoError(t, err)
	return o.Stats[w.c.Key()]
}

// cost lets so many lines go and returns how many bytes went through the tunnel for each. What is counted begins
// anew.
func (w *streamWatch) cost(ctx context.Context, t *testing.T, lines int) float64 {
	t.Helper()
	for {
		w.mu.Lock()
		said, told := w.lines, w.told
		w.mu.Unlock()
		if said >= lines {
			break
		}
		select {
		case <-told:
		case <-ctx.Done():
			require.NoError(t, context.Cause(ctx))
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.stats(t)
	each := float64(now.RxBytes+now.TxBytes-w.first.RxBytes-w.first.TxBytes) / float64(w.lines)
	w.first, w.lines = now, 0
	return each
}

// end stops the talking and returns the lines and the bytes of each since cost.
func (w *streamWatch) end(t *testing.T) (lines int, each float64) {
	t.Helper()
	w.stop()
	require.NoError(t, w.talking.Wait())
	now := w.stats(t)
	return w.lines, float64(now.RxBytes+now.TxBytes-w.first.RxBytes-w.first.TxBytes) / float64(max(1, w.lines))
}
