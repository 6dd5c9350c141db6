package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// Flows that one answer lists: ?limit= asks for more or fewer.
const (
	usualFlows = 1000
	mostFlows  = 100_000
)

// gatewayOf returns the gateway of an interface that is up. Errors: errNoGateway.
func (s *Server) gatewayOf(ctx context.Context, name string) (engine.Gateway, error) {
	sl, d, err := s.forRead(ctx, name)
	if err != nil {
		return nil, err
	}
	g, ok := d.(engine.Gateway)
	if !ok {
		return nil, fmt.Errorf("interface %s: %w: with the backend %s the host's kernel carries what peers send", name, errNoGateway, sl.kind())
	}
	return g, nil
}

// flows is GET flows.
func (s *Server) flows(ctx context.Context, q *request) (*answer, error) {
	limit := usualFlows
	if text := q.http.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostFlows {
			return nil, fieldError([]any{"query", "limit"}, "limit", fmt.Sprintf("expected 1 to %d", mostFlows), nil)
		}
		limit = n
	}
	g, err := s.gatewayOf(ctx, q.route.iface)
	if err != nil {
		return nil, err
	}
	all, err := g.Flows(ctx)
	if err != nil {
		return nil, noGateway(err)
	}
	stats, err := g.GatewayStats(ctx)
	if err != nil {
		return nil, noGateway(err)
	}
	out := agent.Flows{
		Interface: q.route.iface, Total: len(all), Flows: []agent.Flow{}, Peers: []agent.PeerTraffic{}, Drops: stats.Drops,
	}
	if out.Drops == nil {
		out.Drops = map[string]int64{}
	}
	for _, f := range all[:min(limit, len(all))] {
		out.Flows = append(out.Flows, agent.Flow{
			Peer: f.Peer.String(), Protocol: f.Protocol.String(), Direction: string(f.Direction),
			Source: place(f.Source), Destination: place(f.Destination),
			Opened: f.Opened.UTC(), LastUsed: f.LastUsed.UTC(), TxBytes: f.TxBytes, RxBytes: f.RxBytes,
		})
	}
	for key, c := range stats.Peers {
		out.Peers = append(out.Peers, agent.PeerTraffic{
			PublicKey: key.String(), Flows: c.Flows, Opened: c.Opened, TxBytes: c.TxBytes, RxBytes: c.RxBytes, Failures: c.Failures,
			Refused: byReason(c.Refused),
		})
	}
	slices.SortFunc(out.Peers, func(a, b agent.PeerTraffic) int { return bytes.Compare([]byte(a.PublicKey), []byte(b.PublicKey)) })
	return ok(out)
}

// place is an address without a port where it has none.
func place(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

func byReason(m map[engine.Refusal]int64) map[string]int64 {
	out := make(map[string]int64, len(m))
	for why, n := range m {
		out[string(why)] = n
	}
	return out
}

// noGateway says of a device that could have one that it has none.
func noGateway(err error) error {
	if errors.Is(err, engine.ErrUnsupported) {
		return fmt.Errorf("%w: WGFLEET_GATEWAY is off, or the backend is another", errNoGateway)
	}
	return err
}

var (
	onRefusal = []string{"interface", "public_key", "reason"}
	onDrop    = []string{"interface", "reason"}

	descFlows    = desc("wgfleet_gateway_flows", "Flows that the gateway carries for the peer now", onPeer)
	descOpened   = desc("wgfleet_gateway_opened_total", "Flows that the gateway carried for the peer", onPeer)
	descFlowTx   = desc("wgfleet_gateway_transmit_bytes_total", "Bytes that the gateway took from the peer", onPeer)
	descFlowRx   = desc("wgfleet_gateway_receive_bytes_total", "Bytes that the gateway brought to the peer", onPeer)
	descFailures = desc("wgfleet_gateway_failures_total", "Flows of the peer that the network refused or did not answer", onPeer)
	descRefused  = desc("wgfleet_gateway_refused_total", "Flows and packets of the peer that the gateway refused", onRefusal)
	descDrops    = desc("wgfleet_netstack_drops_total", "Packets that the network stack lost", onDrop)
)

// collectGateways counts what the gateways do. Two keys with one hash are one series.
func (sc *scraper) collectGateways(ctx context.Context, out chan<- prometheus.Metric) {
	for _, sl := range sc.server.known() {
		d, _ := sl.current()
		g, ok := d.(engine.Gateway)
		if !ok {
			continue
		}
		stats, err := g.GatewayStats(ctx)
		if err != nil {
			continue // it has none, or is about to close
		}
		for label, c := range sc.byLabel(stats.Peers) {
			gauge(out, descFlows, float64(c.Flows), sl.name, label)
			counter(out, descOpened, c.Opened, sl.name, label)
			counter(out, descFlowTx, c.TxBytes, sl.name, label)
			counter(out, descFlowRx, c.RxBytes, sl.name, label)
			counter(out, descFailures, c.Failures, sl.name, label)
			for why, n := range c.Refused {
				counter(out, descRefused, n, sl.name, label, string(why))
			}
		}
		for why, n := range stats.Drops {
			counter(out, descDrops, n, sl.name, why)
		}
	}
}

// byLabel adds up what has one label.
func (sc *scraper) byLabel(peers map[wgtypes.Key]engine.GatewayCounters) map[string]engine.GatewayCounters {
	out := make(map[string]engine.GatewayCounters, len(peers))
	for key, c := range peers {
		label := sc.label(key)
		sum, twice := out[label]
		if !twice {
			out[label] = c
			continue
		}
		sum.Flows += c.Flows
		sum.Opened, sum.Failures = sum.Opened+c.Opened, sum.Failures+c.Failures
		sum.TxBytes, sum.RxBytes = sum.TxBytes+c.TxBytes, sum.RxBytes+c.RxBytes
		sum.Refused = added(sum.Refused, c.Refused)
		out[label] = sum
	}
	return out
}

// added is the sum of two counts; they stay as they are.
func added(a, b map[engine.Refusal]int64) map[engine.Refusal]int64 {
	out := make(map[engine.Refusal]int64, len(a)+len(b))
	maps.Copy(out, a)
	for why, n := range b {
		out[why] += n
	}
	return out
}
