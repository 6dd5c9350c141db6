package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/engine"
)

// governEvery is how long a change of a file, of the host's addresses or of our own ports may go unseen by a gateway.
const governEvery = time.Second

// errNoGateway: packets of the interface's peers are carried by the kernel, or end in this process.
var errNoGateway = errors.New("no gateway runs here")

// governed is what the gateway of a device was configured with last.
type governed struct {
	mu     sync.Mutex // held while it is configured, and protects what follows
	device engine.Device
	file   fileVersion
	hosts  []netip.Addr
	ports  []uint16
	failed string // the error that was logged last
	blind  bool   // the host's addresses could not be read the last time
}

// govern configures the gateway of a device, where it has one, with what the interface's file says.
func (s *Server) govern(ctx context.Context, sl *slot, d engine.Device) {
	g, ok := d.(engine.Gateway)
	if !ok {
		return
	}
	was := &sl.governed
	was.mu.Lock()
	defer was.mu.Unlock()
	version, _ := versionOf(s.confPath(sl.name)) // without a file, the zero version
	hosts, ports := s.hostAddresses(sl.name, was), s.ownPorts()
	if was.device == d && (was.file.same(version) || was.file == version) && slices.Equal(was.hosts, hosts) && slices.Equal(was.ports, ports) {
		return
	}
	err := s.setGateway(ctx, sl, g, hosts, ports)
	if errors.Is(err, engine.ErrUnsupported) || errors.Is(err, engine.ErrClosed) {
		err = nil // there is none
	}
	was.device, was.hosts, was.ports, was.file = d, hosts, ports, version
	if !version.settled(s.o.Now()) {
		was.file = fileVersion{} // it may change without a sign: look again
	}
	text := ""
	if err != nil {
		text = err.Error()
		was.file = fileVersion{}
	}
	if text != "" && text != was.failed {
		s.o.Logger.Error("the gateway does not do all that the interface's file says", "interface", sl.name, "error", text)
	}
	was.failed = text
}

// setGateway reads the file and hands it over. What can't be read leaves the gateway as it is.
func (s *Server) setGateway(ctx context.Context, sl *slot, g engine.Gateway, hosts []netip.Addr, ports []uint16) error {
	h, err := s.readHostFile(sl.name)
	if err != nil {
		return err
	}
	var c engine.GatewayConfig
	if h != nil {
		if c, err = h.file.Gateway(); err != nil {
			return err
		}
	}
	c.Access.Node.Allow = slices.Concat(c.Access.Node.Allow, s.o.Gateway.Allow)
	c.Access.Node.Deny = slices.Concat(c.Access.Node.Deny, s.o.Gateway.Deny)
	c.Resolver = c.Resolver || s.o.Gateway.Resolver
	c.Access.HostAddresses, c.Access.OwnPorts = hosts, ports
	return g.SetGateway(ctx, c)
}

func (s *Server) ownPorts() []uint16 {
	if s.o.Gateway.OwnPorts == nil {
		return nil
	}
	return s.o.Gateway.OwnPorts()
}

// hostAddresses are this host's, sorted. Where they can't be read those of before hold on: with none at all peers would reach
// our own ports. The caller holds was.mu.
func (s *Server) hostAddresses(name string, was *governed) []netip.Addr {
	hosts, err := s.o.Gateway.HostAddresses()
	if err != nil {
		if !was.blind {
			s.o.Logger.Error("the host's addresses can't be read: peers are kept from our ports on those that were known",
				"interface", name, "known", len(was.hosts), "error", err)
		}
		was.blind = true
		return was.hosts
	}
	was.blind = false
	return slices.SortedFunc(slices.Values(hosts), netip.Addr.Compare)
}

// interfaceAddresses are those of this host's interfaces.
func interfaceAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of the interfaces: %w", err)
	}
	var out []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out, nil
}

// watchGateways follows what the gateways' configurations are made of.
func (s *Server) watchGateways() {
	t := time.NewTicker(governEvery)
	defer t.Stop()
	for {
		select {
		case <-s.running.Done():
			return
		case <-t.C:
			for _, sl := range s.known() {
				if d, _ := sl.current(); d != nil {
					s.govern(s.running, sl, d)
				}
			}
		}
	}
}
