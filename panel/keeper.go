package panel

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/policy"
)

const (
	// holdTime is how long an agent is asked to hold an answer back until something changes: less than the
	// minute after which many proxies give up.
	holdTime = 50 * time.Second
	// Pauses after a look that failed, the first and the longest.
	firstRetry = 2 * time.Second
	lastRetry  = time.Minute
	// busyRetry is how long a look waits for a change of ours that came between.
	busyRetry = time.Second
	// lookPause is how long after a look that a node's word leads to the next one, at the least: one that says
	// again and again that something changed is not believed at once.
	lookPause = time.Second
	// maxEarly is how many requests in a row may fail, or be answered before their time though nothing changed.
	maxEarly = 5
)

// keeper watches one node and, where its policy says so, heals it. It is one goroutine.
type keeper struct {
	s      *Service
	nodeID string
	kicked chan struct{} // capacity 1: look now, something is another

	healing policy.State
	failed  int       // looks in a row
	unheld  int       // requests in a row that could not be held
	seen    look      // the last look that did not fail
	looked  time.Time // when it began

	forgiven atomic.Bool // somebody put the node right by hand since the last look
}

// run looks, and waits until there is reason to look again, until ctx ends.
func (k *keeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		k.rest(ctx, k.step(ctx))
	}
}

// kick makes the keeper look soon.
func (k *keeper) kick() {
	select {
	case k.kicked <- struct{}{}:
	default: // it will
	}
}

// pause is how a keeper waits: at most for, and where hold is not nil, until the node tells of a change.
type pause struct {
	most time.Duration
	hold *nodeState
}

// step looks once and heals where it may.
func (k *keeper) step(ctx context.Context) pause {
	st, err := k.s.state(ctx, k.nodeID)
	var p policy.Policy
	if err == nil {
		p, err = k.s.policyOf(ctx, st.node)
	}
	if errors.Is(err, ErrNotFound) {
		return pause{most: policy.MaxInterval} // it is about to be left
	}
	if err != nil {
		if ctx.Err() == nil {
			k.s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "a node could not be watched", slog.String("node", k.nodeID), slog.String("error", err.Error()))
		}
		return pause{most: k.retry()}
	}
	if !st.node.Enabled || p.Mode == policy.Off {
		k.healing = policy.State{}
		k.s.healed(ctx, st.node, policy.Decision{})
		return pause{most: policy.MaxInterval} // or until it is changed
	}
	began := time.Now()
	l, counts, err := k.look(ctx, st)
	if err != nil {
		return pause{most: min(k.retry(), p.NextCheck(rand.Float64))}
	}
	if !counts {
		return pause{most: busyRetry}
	}
	k.failed, k.seen, k.looked = 0, l, began
	next := pause{most: p.NextCheck(rand.Float64), hold: st}
	for _, until := range append(ends(l.desired.Rules), st.until) { // by the clock alone something is another then
		if !until.IsZero() {
			next.most = min(next.most, max(0, until.Sub(k.s.now()))+busyRetry)
		}
	}
	if again := k.heal(ctx, st, p, l); again > 0 {
		next.most = min(next.most, again)
	}
	return next
}

// ends are when the rules end.
func ends(rules []drift.Rule) []time.Time {
	out := make([]time.Time, len(rules))
	for i, r := range rules {
		out[i] = r.Until
	}
	return out
}

// look looks at the node. The look does not count where a change of ours came between, of which it may have seen
// a half: then it is looked again soon.
func (k *keeper) look(ctx context.Context, st *nodeState) (l look, counts bool, err error) {
	release, err := k.s.keepers.enter(ctx)
	if err != nil {
		return l, false, err
	}
	defer release()
	still, number := k.s.quiet(k.nodeID), k.s.verdicts.begin()
	l, err = k.s.observe(ctx, st, false)
	if counts = still(); counts {
		k.s.judged(ctx, st.node, number, l.verdict(err))
	}
	return l, counts, err
}

// retry is the pause after a failure, longer each time.
func (k *keeper) retry() time.Duration {
	d := min(firstRetry<<min(k.failed, 10), lastRetry)
	k.failed++
	return time.Duration((0.5 + rand.Float64()) * float64(d))
}

// rest waits until there is reason to look.
func (k *keeper) rest(ctx context.Context, p pause) {
	ctx, cancel := context.WithTimeout(ctx, p.most)
	defer cancel()
	if p.hold == nil {
		select {
		case <-ctx.Done():
		case <-k.kicked:
		}
		return
	}
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		k.hold(ctx, p.hold)
	}()
	select {
	case <-changed:
		select {
		case <-time.After(lookPause - time.Since(k.looked)):
		case <-ctx.Done():
		case <-k.kicked:
		}
	case <-k.kicked:
	}
	cancel()
	<-changed
}

// hold returns when the node is not as it was last seen, when that can't be told, or when ctx ends.
func (k *keeper) hold(ctx context.Context, st *nodeState) {
	a, err := k.s.reach(st.node)
	if err != nil || a.Original() {
		<-ctx.Done() // it is looked at from time to time
		return
	}
	for ctx.Err() == nil {
		if k.unheld >= maxEarly {
			<-ctx.Done() // it does not hold its answers back, or what is between does not: it is looked at from time to time
			k.unheld = 0
			return
		}
		began := time.Now()
		got, err := k.ask(ctx, a, st.node)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil: // it is looked at, and that may well work
			k.unheld++
			return
		case !got.NotModified || got.InterfaceDigest != k.seen.snapshot.InterfaceDigest:
			k.unheld = 0
			return
		case time.Since(began) < holdTime/2:
			k.unheld++
		default:
			k.unheld = 0
		}
	}
}

// ask holds one request. An agent that does not answer in time is looked at.
func (k *keeper) ask(ctx context.Context, a Agent, n Node) (client.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, holdTime+k.s.o.NodeTimeout)
	defer cancel()
	return a.Dump(ctx, n.WGInterface, client.Query{
		IfNot: k.seen.observed.Digest, IfNotInterface: k.seen.snapshot.InterfaceDigest, Wait: holdTime,
	})
}

// heal puts right what the policy allows, and returns when it is to be decided about again; 0: when the node
// is another.
func (k *keeper) heal(ctx context.Context, st *nodeState, p policy.Policy, l look) time.Duration {
	if k.forgiven.Swap(false) {
		k.healing = policy.State{}
	}
	if l.report.Status == drift.InSync {
		k.healing = k.healing.InSync(k.s.now())
		k.s.healed(ctx, st.node, policy.Decision{})
		return 0
	}
	if p.Mode != policy.Heal {
		k.s.healed(ctx, st.node, policy.Decision{})
		return 0
	}
	d, done := k.s.heal(ctx, st.node, p, k.healing)
	now := k.s.now()
	switch {
	case d.Stop:
		k.healing = k.healing.GiveUp(d.Fingerprint)
	case done != nil:
		k.healing = policy.After(k.healing, *done, now, rand.Float64)
		if !done.Verified {
			return firstRetry
		}
	}
	if d.Wait.IsZero() {
		return 0
	}
	return max(time.Second, d.Wait.Sub(now))
}
