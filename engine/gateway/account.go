package gateway

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// The reasons for which a gateway refuses what the policy allows.
const (
	RefusedStarting    engine.Refusal = "starting"    // the policy is not known yet
	RefusedConnections engine.Refusal = "connections" // the peer has as many flows as it may
	RefusedRate        engine.Refusal = "rate"        // too many new ones a second
	RefusedDialing     engine.Refusal = "dialing"     // too many that the network has not answered yet
	RefusedBandwidth   engine.Refusal = "bandwidth"   // of packets that nobody can make wait
	RefusedMemory      engine.Refusal = "memory"      // the process has as much as it may
	RefusedSockets     engine.Refusal = "sockets"     // the host gives this process no more of them
	RefusedFragments   engine.Refusal = "fragments"   // too many a second
	RefusedPing        engine.Refusal = "ping"        // the host lets this process send no echo requests
)

const (
	// ICMP errors to one peer, as a router bounds them (RFC 1812, 4.3.2.8).
	errorsPerSecond = 100
	errorBurst      = 50
	// Fragments of one peer. Each datagram that is put together costs a timer of a minute in the stack, some 350 bytes.
	fragmentsPerSecond = 4000
)

// account is one peer: its limits, and what was done for it.
type account struct {
	key     wgtypes.Key
	opening *rate.Limiter // new flows
	traffic *rate.Limiter // bytes, both directions
	errors  *rate.Limiter // ICMP
	parts   *rate.Limiter // fragments

	open    atomic.Int64 // flows now
	most    atomic.Int64 // of them; -1: no limit
	dialing atomic.Int64 // of them not answered yet

	opened, tx, rx, failures atomic.Int64

	mu      sync.Mutex // protects refused
	refused map[engine.Refusal]int64
}

func newAccount(key wgtypes.Key, l engine.Limits) *account {
	a := &account{
		key: key, errors: rate.NewLimiter(errorsPerSecond, errorBurst), parts: rate.NewLimiter(fragmentsPerSecond, fragmentsPerSecond),
		refused: make(map[engine.Refusal]int64),
	}
	a.most.Store(int64(l.Connections))
	a.opening = rate.NewLimiter(openingLimit(l))
	a.traffic = rate.NewLimiter(trafficLimit(l))
	return a
}

// limit replaces the limits; what is open stays open.
func (a *account) limit(l engine.Limits) {
	a.most.Store(int64(l.Connections))
	setLimit(a.opening, openingLimit, l)
	setLimit(a.traffic, trafficLimit, l)
}

func setLimit(to *rate.Limiter, of func(engine.Limits) (rate.Limit, int), l engine.Limits) {
	limit, burst := of(l)
	to.SetLimit(limit)
	to.SetBurst(burst)
}

func openingLimit(l engine.Limits) (rate.Limit, int) {
	if l.Rate < 0 {
		return rate.Inf, 1
	}
	return rate.Limit(l.Rate), 2 * l.Rate
}

// trafficLimit lets a whole read of a flow pass at once, however small the bandwidth.
func trafficLimit(l engine.Limits) (rate.Limit, int) {
	if l.Bandwidth < 0 {
		return rate.Inf, bufferSize
	}
	return rate.Limit(l.Bandwidth), max(int(l.Bandwidth/4), bufferSize)
}

// take counts one more flow, or says why it may not be.
func (a *account) take() engine.Refusal {
	if n, most := a.open.Add(1), a.most.Load(); most >= 0 && n > most {
		a.open.Add(-1)
		return RefusedConnections
	}
	if !a.opening.Allow() {
		a.open.Add(-1)
		return RefusedRate
	}
	a.opened.Add(1)
	return ""
}

// give is the end of a flow that take counted.
func (a *account) give() { a.open.Add(-1) }

// refuse counts what was not carried.
func (a *account) refuse(r engine.Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused[r]++
}

// wait holds up a stream until n more bytes may pass, n at most bufferSize.
func (a *account) wait(ctx context.Context, n int) error { return a.traffic.WaitN(ctx, n) }

// pass reports whether a packet may pass now.
func (a *account) pass(n int) bool {
	if a.traffic.Limit() == rate.Inf || a.traffic.AllowN(time.Now(), n) {
		return true
	}
	a.refuse(RefusedBandwidth)
	return false
}

func (a *account) counters() engine.GatewayCounters {
	a.mu.Lock()
	defer a.mu.Unlock()
	return engine.GatewayCounters{
		Flows: int(a.open.Load()), Opened: a.opened.Load(), TxBytes: a.tx.Load(), RxBytes: a.rx.Load(),
		Failures: a.failures.Load(), Refused: maps.Clone(a.refused),
	}
}
