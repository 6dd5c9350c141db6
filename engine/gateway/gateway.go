package gateway

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

// Defaults of Limits, for each peer.
const (
	DefaultConnections = 4096
	DefaultRate        = 500 // new flows a second
)

// Options are what a gateway may be given; the zero value is usable.
type Options struct {
	// Limits are those of a peer for which the policy has none; see engine.Limits.
	Limits engine.Limits
	// Memory is how many bytes this process may use before new flows are refused. 0: not bounded.
	Memory int64
	// Nameservers are the host's; nil: those of /etc/resolv.conf, read at each question.
	Nameservers func() ([]netip.AddrPort, error)
	// Timeouts end what is idle; zero fields are the defaults.
	Timeouts Timeouts
	// Dial reaches the host's network for TCP; nil: a net.Dialer. The connection must be a *net.TCPConn.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger hears what an operator has to mend; nil for silence.
	Logger *slog.Logger
}

// Timeouts say when a flow without packets is over.
type Timeouts struct {
	Dial time.Duration // of a TCP connection to the host's network
	UDP  time.Duration // RFC 4787, REQ-5: two minutes at least, five recommended
	DNS  time.Duration // the same of port 53; that of well-known ports may be shorter
	ICMP time.Duration // RFC 5508, REQ-2: 60 s at least
	Peer time.Duration // from peer to peer, whatever the protocol
	// Nameserver is how long one of the host's may take, before the next one is asked.
	Nameserver time.Duration
}

func (t Timeouts) withDefaults() Timeouts {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&t.Dial, 30*time.Second) // a SYN that comes again dials again
	set(&t.UDP, 5*time.Minute)
	set(&t.DNS, 30*time.Second)
	set(&t.ICMP, time.Minute)
	set(&t.Peer, 10*time.Minute)
	set(&t.Nameserver, 3*time.Second)
	return t
}

// Gateway carries the flows of one device's peers.
type Gateway struct {
	dev      *netstack.Device
	stack    *stack.Stack
	own      []netip.Prefix // the node's, inside the tunnel
	o        Options
	log      *slog.Logger
	memory   *memory
	peers    peers
	access   atomic.Pointer[engine.AccessPolicy] // nil: nobody has said yet
	flows    flows
	dialing  dialing
	mappings mappings
	hairpin  hairpin
	pings    atomic.Bool // ping sockets were refused, and that was logged
	services services

	running context.Context
	stop    context.CancelFunc
	door    sync.RWMutex // read-locked by who begins a task, so that Close misses none
	tasks   sync.WaitGroup
}

// New makes the gateway of dev, which is promiscuous and carries nothing yet; its addresses are own. It carries nothing before the
// first Set. Close the gateway before the device.
func New(dev *netstack.Device, own []netip.Prefix, o Options) *Gateway {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	}
	if o.Nameservers == nil {
		o.Nameservers = func() ([]netip.AddrPort, error) { return nameserversOf("/etc/resolv.conf") }
	}
	o.Timeouts = o.Timeouts.withDefaults()
	g := &Gateway{dev: dev, stack: dev.Stack(), own: own, o: o, log: o.Logger, memory: newMemory(o.Memory)}
	g.running, g.stop = context.WithCancel(context.Background())
	g.peers.start()
	g.flows.start()
	g.dialing.start()
	g.mappings.start()
	g.hairpin.start()
	g.services.start()
	g.open()
	return g
}

// open begins to take packets.
func (g *Gateway) open() {
	forwarder := tcp.NewForwarder(g.stack, receiveWindow, maxDialing, g.connect)
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, func(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
		return g.handleTCP(forwarder, id, pkt)
	})
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, g.handleUDP)
	g.stack.SetTransportProtocolHandler(icmp.ProtocolNumber4, g.handleEcho)
	g.stack.SetTransportProtocolHandler(icmp.ProtocolNumber6, g.handleEcho)
	g.dev.Filter(g.filter)
	g.tasks.Go(g.sweep)
}

// Close ends all flows and waits for them. A second call does nothing.
func (g *Gateway) Close() {
	g.door.Lock()
	g.stop()
	g.door.Unlock()
	g.flows.end(func(*flow) bool { return true })
	g.tasks.Wait()
}

// enter counts one more task that Close waits for, which calls g.tasks.Done; false: the gateway is closed.
func (g *Gateway) enter() bool {
	g.door.RLock()
	defer g.door.RUnlock()
	if g.running.Err() != nil {
		return false
	}
	g.tasks.Add(1)
	return true
}

// task runs a function that Close waits for; false: the gateway is closed.
func (g *Gateway) task(f func()) bool {
	if !g.enter() {
		return false
	}
	go func() {
		defer g.tasks.Done()
		f()
	}()
	return true
}

// SetPeers replaces the peers: what they may send from is theirs from now on. Flows of those that are gone end.
func (g *Gateway) SetPeers(all []engine.Peer) {
	g.peers.set(all, g.newAccount)
	g.recheck()
}

// ChangePeers follows a change that was made to the device.
func (g *Gateway) ChangePeers(changes []engine.PeerChange) {
	if len(changes) == 0 {
		return
	}
	g.peers.change(changes, g.newAccount)
	g.recheck()
}

// Set replaces the configuration. Flows that the policy forbids end, and so do those of ports that are published no more. A
// port that can't be published is an error and all else is in force. Errors: *engine.FieldError.
func (g *Gateway) Set(c engine.GatewayConfig) error {
	g.access.Store(&c.Access)
	g.peers.each(func(a *account) { a.limit(g.limitsOf(a.key)) })
	g.recheck()
	return g.serve(c)
}

func (g *Gateway) newAccount(key wgtypes.Key) *account { return newAccount(key, g.limitsOf(key)) }

// limitsOf are those of the peer, else of the node, else the process's, field by field.
func (g *Gateway) limitsOf(key wgtypes.Key) engine.Limits {
	var p engine.AccessPolicy
	if set := g.access.Load(); set != nil {
		p = *set
	}
	return p.Peers[key].Limits.Or(p.Node.Limits).Or(g.o.Limits).Or(engine.Limits{
		Connections: DefaultConnections, Rate: DefaultRate, Bandwidth: -1,
	})
}

// recheck ends the flows that would not be carried now.
func (g *Gateway) recheck() {
	p := g.access.Load()
	if p == nil {
		return // there are none
	}
	g.flows.end(func(f *flow) bool {
		if owner, _ := g.peers.lookup(f.peerAddr()); owner != f.account {
			return true
		}
		return f.direction != engine.DirectionIn && p.Decide(f.account.key, f.protocol, f.destination) != ""
	})
}

// isOwn reports whether an address inside the tunnel is the node's.
func (g *Gateway) isOwn(a netip.Addr) bool {
	return slices.ContainsFunc(g.own, func(p netip.Prefix) bool { return p.Addr() == a })
}

// isInside reports whether an address can only be a peer's.
func (g *Gateway) isInside(a netip.Addr) bool {
	return slices.ContainsFunc(g.own, func(p netip.Prefix) bool { return p.Contains(a) })
}

// sweepEvery is how long something may live beyond its timeout.
const sweepEvery = time.Second

// sweep ends what is idle until the gateway is closed.
func (g *Gateway) sweep() {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-g.running.Done():
			return
		case now := <-t.C:
			g.flows.end(func(f *flow) bool { return f.idle(now) })
			g.recheck() // for what began while the policy, the peers or the host's addresses changed
		}
	}
}
