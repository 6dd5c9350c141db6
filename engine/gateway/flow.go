package gateway

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// flow is one conversation that is carried.
type flow struct {
	account     *account
	protocol    engine.Protocol
	direction   engine.Direction
	source      netip.AddrPort
	destination netip.AddrPort
	opened      time.Time
	timeout     time.Duration // without packets; 0: what carries it knows when it is over

	used   atomic.Int64 // nanoseconds since opened
	tx, rx atomic.Int64 // bytes of payload from the source, and to it

	gone  *flows
	over  atomic.Bool
	close func() // ends what carries the flow; it must not wait
}

// peerAddr is the address inside the tunnel by which the flow is its peer's.
func (f *flow) peerAddr() netip.Addr {
	if f.direction == engine.DirectionIn {
		return f.destination.Addr()
	}
	return f.source.Addr()
}

// fromPeer counts n bytes that the peer sent.
func (f *flow) fromPeer(n int) {
	f.account.tx.Add(int64(n))
	if f.direction == engine.DirectionIn {
		f.rx.Add(int64(n))
	} else {
		f.tx.Add(int64(n))
	}
	f.used.Store(int64(time.Since(f.opened)))
}

// toPeer counts n bytes that were sent to the peer.
func (f *flow) toPeer(n int) {
	f.account.rx.Add(int64(n))
	if f.direction == engine.DirectionIn {
		f.tx.Add(int64(n))
	} else {
		f.rx.Add(int64(n))
	}
	f.used.Store(int64(time.Since(f.opened)))
}

func (f *flow) idle(now time.Time) bool {
	return f.timeout > 0 && now.Sub(f.opened)-time.Duration(f.used.Load()) > f.timeout
}

// end ends the flow, once.
func (f *flow) end() {
	if f.over.Swap(true) {
		return
	}
	f.gone.remove(f)
	f.account.give()
	f.close()
}

func (f *flow) ended() bool { return f.over.Load() }

// flows are all that are carried now.
type flows struct {
	mu  sync.Mutex // protects all
	all map[*flow]struct{}
}

func (s *flows) start() { s.all = make(map[*flow]struct{}) }

func (s *flows) add(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[f] = struct{}{}
}

func (s *flows) remove(f *flow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, f)
}

func (s *flows) list() []*flow {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*flow, 0, len(s.all))
	for f := range s.all {
		out = append(out, f)
	}
	return out
}

// end ends those that the function picks.
func (s *flows) end(pick func(*flow) bool) {
	for _, f := range s.list() {
		if pick(f) {
			f.end()
		}
	}
}

// begin admits a flow that the policy allows, or says why it is refused, and counts that. close is called once, by
// whoever ends the flow.
func (g *Gateway) begin(f *flow) engine.Refusal {
	why := g.admit(f)
	if why != "" {
		f.account.refuse(why)
		return why
	}
	f.gone, f.opened = &g.flows, time.Now()
	g.flows.add(f)
	if g.running.Err() != nil { // Close may have looked before
		f.end()
	}
	return ""
}

func (g *Gateway) admit(f *flow) engine.Refusal {
	p := g.access.Load()
	if p == nil {
		return RefusedStarting
	}
	if f.direction != engine.DirectionIn {
		if why := p.Decide(f.account.key, f.protocol, f.destination); why != "" {
			return why
		}
	}
	if g.memory.full() {
		return RefusedMemory
	}
	return f.account.take()
}

// Flows lists what is carried now, the oldest first.
func (g *Gateway) Flows() []engine.Flow {
	all := g.flows.list()
	out := make([]engine.Flow, 0, len(all))
	for _, f := range all {
		out = append(out, engine.Flow{
			Peer: f.account.key, Protocol: f.protocol, Direction: f.direction, Source: f.source, Destination: f.destination,
			Opened: f.opened, LastUsed: f.opened.Add(time.Duration(f.used.Load())), TxBytes: f.tx.Load(), RxBytes: f.rx.Load(),
		})
	}
	slices.SortFunc(out, func(a, b engine.Flow) int {
		return cmp.Or(a.Opened.Compare(b.Opened), a.Source.Compare(b.Source), a.Destination.Compare(b.Destination))
	})
	return out
}

// Stats counts what was done since New for the peers that there are.
func (g *Gateway) Stats() engine.GatewayStats {
	out := engine.GatewayStats{Peers: make(map[wgtypes.Key]engine.GatewayCounters), Drops: g.dev.Drops()}
	g.peers.each(func(a *account) { out.Peers[a.key] = a.counters() })
	return out
}
