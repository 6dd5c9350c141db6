package panel

import (
	"context"
	"errors"
	"net/netip"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// look is one comparison of a node with its desired state.
type look struct {
	desired  drift.Desired
	observed drift.Observed // without peers where clean
	snapshot client.Snapshot
	clean    bool // the peers are as wanted, by their digest
	report   drift.Report
}

// verdict is the report of a look, or that there was none.
func (l look) verdict(err error) drift.Report {
	if err != nil {
		return drift.NotKnown(reasonOf(err))
	}
	return l.report
}

// observe looks at the node, now. The agent is asked for its peers only where their digest is not
// the desired one, unless full asks for them.
func (s *Service) observe(ctx context.Context, st *nodeState, full bool) (look, error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.NodeTimeout)
	defer cancel()
	l, err := s.observeOnce(ctx, st, full)
	s.saw(ctx, st.node, err)
	return l, err
}

func (s *Service) observeOnce(ctx context.Context, st *nodeState, full bool) (look, error) {
	n := st.node
	a, err := s.reach(n)
	if err != nil {
		return look{}, err
	}
	l := look{desired: st.drift(a)}
	if l.desired.Rules, err = s.rulesFor(ctx, n.ID); err != nil {
		return l, err
	}
	q := client.Query{IfNot: l.desired.Digest}
	if full {
		q.IfNot = ""
	}
	if l.snapshot, err = a.Dump(ctx, n.WGInterface, q); err != nil {
		return l, nodeError(n.ID, err)
	}
	i, err := s.observeInterface(ctx, st, a, l.snapshot.InterfaceDigest)
	if err != nil {
		return l, err
	}
	l.clean = l.snapshot.Digest == l.desired.Digest
	if l.snapshot.NotModified || l.clean && !full {
		l.observed = drift.Observed{Digest: l.snapshot.Digest, Interface: i}
		l.report = drift.Classify(drift.Desired{Digest: l.desired.Digest, Interface: l.desired.Interface}, l.observed)
		return l, nil
	}
	peers := make([]drift.Peer, len(l.snapshot.Peers))
	for k, p := range l.snapshot.Peers {
		peers[k] = drift.Peer{
			PublicKey: p.PublicKey, AllowedIPs: p.AllowedIPs, Keepalive: p.PersistentKeepalive, PresharedKey: p.PresharedKeyMAC,
		}
	}
	l.observed = drift.NewObserved(peers, i)
	l.observed.Activity, l.observed.Hidden = activityOf(l.snapshot.Peers)
	l.report = drift.Classify(l.desired, l.observed)
	return l, nil
}

// activityOf returns what the device measured of its peers, and whose preshared key is not shown.
func activityOf(peers []client.Peer) (map[wgtypes.Key]drift.Activity, map[wgtypes.Key]bool) {
	activity, hidden := make(map[wgtypes.Key]drift.Activity, len(peers)), make(map[wgtypes.Key]bool)
	for _, p := range peers {
		activity[p.PublicKey] = drift.Activity{LastHandshake: p.Stats.LastHandshake, RxBytes: p.Stats.RxBytes, TxBytes: p.Stats.TxBytes}
		if p.PresharedKeyMAC != "" && p.PresharedKey.IsZero() {
			hidden[p.PublicKey] = true
		}
	}
	return activity, hidden
}

// whole returns the look with its peers, also where they were not read, as they are what is wanted.
func (l look) whole() look {
	if !l.clean || l.observed.Peers != nil {
		return l
	}
	l.observed.Peers = make([]drift.Peer, len(l.desired.Peers))
	for i, p := range l.desired.Peers {
		l.observed.Peers[i] = p.Peer
	}
	return l
}

// observeInterface reads what of the interface is wished for, and learns its public key.
func (s *Service) observeInterface(ctx context.Context, st *nodeState, a Agent, digest string) (drift.Interface, error) {
	n, wish := st.node, st.node.interfaceWish()
	wished := wish != (drift.Interface{})
	if !wished && n.SeenPublicKey != "" && (a.Original() || s.interfaces.same(n.ID, digest)) {
		return drift.Interface{}, s.learn(ctx, n, a, nil)
	}
	sum, err := s.summary(ctx, n, a, digest)
	if err != nil {
		if !wished && a.Original() { // no file on its host: nothing of it is needed
			return drift.Interface{}, nil
		}
		return drift.Interface{}, err
	}
	if err := s.learn(ctx, n, a, &sum); err != nil {
		return drift.Interface{}, err
	}
	i, err := interfaceOf(sum, a.Original())
	if err != nil || (wish.DNS == nil && wish.Table == nil && wish.Hooks == nil && wish.Forward == nil && wish.Masquerade == nil) {
		return i, err
	}
	conf, err := a.Config(ctx, n.WGInterface)
	if err != nil {
		return i, nodeError(n.ID, err)
	}
	i.DNS, i.Table = orEmpty(conf.DNS), orEmpty(conf.Table)
	if !a.Original() {
		i.Forward, i.Masquerade = orEmpty(conf.Forward), orEmpty(conf.Masquerade)
		i.Hooks = conf.Hooks
		if i.Hooks == nil {
			i.Hooks = &agent.Hooks{}
		}
	}
	return i, nil
}

func orEmpty(s *string) *string {
	if s == nil {
		return new(string)
	}
	return s
}

// interfaceOf reads an agent's summary; what the original can't tell stays nil.
func interfaceOf(sum agent.InterfaceSummary, original bool) (drift.Interface, error) {
	var i drift.Interface
	addresses := make([]netip.Prefix, 0, len(sum.Addresses))
	for _, text := range sum.Addresses {
		p, err := engine.ParseAddress(text)
		if err != nil {
			return i, &NodeError{Code: string(client.Malformed), Reason: "the agent names an interface address that is none"}
		}
		addresses = append(addresses, p)
	}
	if sum.PublicKey != "" {
		i.PublicKey = &sum.PublicKey
	}
	if !original || sum.ListenPort != 0 {
		i.ListenPort = &sum.ListenPort
	}
	if !original || sum.MTU != 0 {
		i.MTU = &sum.MTU
	}
	i.Addresses = &addresses
	if !original {
		i.FwMark = &sum.FwMark
	}
	return i, nil
}

// saw keeps that a node answered, or did not.
func (s *Service) saw(ctx context.Context, n Node, err error) {
	if !n.Enabled || err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return
	}
	s.contacted(ctx, n, err, func(*NodeStatus) []Condition { return nil })
}

// Drift compares a node with its desired state, now. A node that can't be looked at is unknown,
// which is no error.
func (s *Service) Drift(ctx context.Context, nodeID string) (drift.Report, error) {
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return drift.Report{}, err
	}
	return s.report(ctx, st), nil
}

func (s *Service) report(ctx context.Context, st *nodeState) drift.Report {
	still, look := s.quiet(st.node.ID), s.verdicts.begin()
	l, err := s.observe(ctx, st, false)
	r := l.verdict(err)
	if still() {
		s.judged(ctx, st.node, look, r)
	}
	if r.Status != drift.Unknown {
		r.File = s.fileDrift(ctx, st.node)
	}
	r.NodeID, r.DetectedAt = st.node.ID, s.now()
	return r
}

// DriftAll compares all nodes side by side. No node waits for another one's answer.
func (s *Service) DriftAll(ctx context.Context) ([]drift.Report, error) {
	nodes, err := s.allNodes(ctx)
	if err != nil {
		return nil, err
	}
	return sideBySide(nodes, s.o.Parallel, func(n Node) drift.Report {
		st, err := s.state(ctx, n.ID)
		if err != nil {
			r := drift.NotKnown(reasonOf(err))
			r.NodeID, r.DetectedAt = n.ID, s.now()
			return r
		}
		return s.report(ctx, st)
	}), nil
}
