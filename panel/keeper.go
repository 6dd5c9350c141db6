package panel

import (
	"context"
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
	// maxEarly is how many answers in a row may come before their time though nothing changed.
	maxEarly = 5
)

// keeper watches one node and, where its policy says so, heals it. It is one goroutine.
type keeper struct {
	s      *Service
	nodeID string
	kicked chan struct{} // capacity 1: look now, something is another

	healing policy.State
	failed  int  // looks in a row
	seen    look // the last one that did not fail

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

// rest is how a keeper waits: at most for, and where hold is not nil, until the node tells of a change.
type rest struct {
	most time.Duration
	hold *nodeState
}

// step looks once and heals where it may.
func (k *keeper) step(ctx context.Context) rest {
	st, err := k.s.state(ctx, k.nodeID)
	var p policy.Policy
	if err == nil {
		p, err = k.s.policyOf(ctx, st.node)
	}
	if err != nil {
		if ctx.Err() == nil {
			k.s.o.Logger.LogAttrs(ctx, slog.LevelWarn, "a node could not be watched", slog.String("node", k.nodeID), slog.String("error", err.Error()))
		}
		return rest{most: k.retry()}
	}
	if !st.node.Enabled || p.Mode == policy.Off {
		return rest{most: policy.MaxInterval} // or until it is changed
	}
	l, counts, err := k.look(ctx, st)
	if err != nil {
		return rest{most: min(k.retry(), p.NextCheck(rand.Float64))}
	}
	if !counts {
		return rest{most: busyRetry}
	}
	k.failed, k.seen = 0, l
	next := rest{most: p.NextCheck(rand.Float64), hold: st}
	if !st.until.IsZero() { // what is wanted changes then, by the clock alone
		next.most = min(next.most, max(0, st.until.Sub(k.s.now()))+busyRetry)
	}
	if again := k.heal(ctx, st, p, l); again > 0 {
		next.most = min(next.most, again)
	}
	return next
}

// look looks at the node. The look does not count where a change of ours came between: who made that looks
// himself.
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
func (k *keeper) rest(ctx context.Context, r rest) {
	ctx, cancel := context.WithTimeout(ctx, r.most)
	defer cancel()
	if r.hold == nil {
		select {
		case <-ctx.Done():
		case <-k.kicked:
		}
		return
	}
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		k.hold(ctx, r.hold)
	}()
	select {
	case <-changed:
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
	for early := 0; ctx.Err() == nil; {
		began := time.Now()
		got, err := k.ask(ctx, a, st.node)
		if err != nil || !got.NotModified || got.InterfaceDigest != k.seen.snapshot.InterfaceDigest {
			return
		}
		if time.Since(began) >= holdTime/2 {
			early = 0
		} else if early++; early == maxEarly {
			<-ctx.Done() // it does not hold its answers back: it is looked at from time to time
			return
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
	if l.report.Status == drift.InSync {
		k.healing = k.healing.InSync(k.s.now())
		k.s.healed(ctx, st.node, policy.Decision{})
		return 0
	}
	if p.Mode != policy.Heal {
		k.s.healed(ctx, st.node, policy.Decision{})
		return 0
	}
	if k.forgiven.Swap(false) {
		k.healing = policy.State{}
	}
	d, done := k.s.heal(ctx, k.nodeID, p, k.healing)
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
