package panel

import (
	"context"
	"fmt"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// Interface returns what the panel wants of the node's interface itself.
func (s *Service) Interface(ctx context.Context, nodeID string) (InterfaceWish, error) {
	v, err := s.Node(ctx, nodeID)
	return InterfaceWish(v.Node.interfaceWish()), err
}

// ChangeInterface changes the wish as it is stored, without what a node's overrides add to it; the
// agent is not contacted. change may be called more than once.
func (s *Service) ChangeInterface(ctx context.Context, nodeID string, change func(*InterfaceWish) error) (InterfaceWish, error) {
	v, err := s.changeNode(ctx, nodeID, func(n *Node) error {
		if err := change(&n.Wish); err != nil {
			return err
		}
		return n.Wish.normalize()
	})
	return InterfaceWish(v.Node.interfaceWish()), err
}

// normalize brings the wish into one spelling and names every refused field.
func (w *InterfaceWish) normalize() error {
	var p problems
	if w.PublicKey != nil {
		if _, err := engine.ParseKey(*w.PublicKey); err != nil {
			p.add("public_key", "%v", err)
		}
	}
	if w.ListenPort != nil {
		p.between("listen_port", *w.ListenPort, 1, 65535, "")
	}
	ipv6 := false
	if w.Addresses != nil {
		for _, a := range *w.Addresses {
			if !a.IsValid() {
				p.add("addresses", "an address is not valid: expected for example 10.8.0.1/24")
			}
		}
		list := engine.NormalizeAddresses(*w.Addresses)
		w.Addresses, ipv6 = &list, hasIPv6(list)
	}
	if w.MTU != nil {
		p.mtu("mtu", *w.MTU, ipv6)
	}
	w.DNS = convert(w.DNS, func(s string) string { return p.dns("dns", s) })
	if w.Table != nil && !validTable(*w.Table) {
		p.add("table", `%q is no routing table: expected "auto", "off" or a number`, clip(*w.Table))
	}
	if w.Hooks != nil {
		p.hooks("hooks", *w.Hooks)
	}
	w.Forward = convert(w.Forward, func(s string) string { return p.links("forward", s) })
	w.Masquerade = convert(w.Masquerade, func(s string) string { return p.links("masquerade", s) })
	return p.err()
}

// links brings a list of links into one spelling; "" stands for none.
func (p *problems) links(field, s string) string {
	if strings.TrimSpace(s) == "" {
		return ""
	}
	names, err := wgquick.ParseLinks(s)
	if err != nil {
		p.add(field, `%q does not name links: expected "any", or names with a comma between`, clip(s))
	}
	return strings.Join(names, ", ")
}

func validTable(s string) bool {
	return s == "" || s == "auto" || s == "off" || len(s) <= 10 && strings.Trim(s, "0123456789") == ""
}

// SyncInterface writes to the node what of its interface is not as wished for.
func (s *Service) SyncInterface(ctx context.Context, nodeID string) error {
	release, err := s.hold(ctx, nodeID)
	if err != nil {
		return err
	}
	defer release()
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return err
	}
	l, err := s.observe(ctx, st, false)
	if err != nil {
		return err
	}
	if l.report.Status == drift.Unknown {
		return &NodeError{NodeID: nodeID, Code: drift.Unknown, Reason: l.report.Error}
	}
	if len(l.report.Interface) == 0 {
		return nil
	}
	a, err := s.reach(st.node)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // what is begun is ended and read back, whether the caller waits for it or not
	if err := s.putInterface(ctx, st.node, a, l.report.Interface, l.desired.Interface); err != nil {
		return err
	}
	return s.syncedInterface(ctx, nodeID)
}

// putInterface writes these settings as they are wished for.
func (s *Service) putInterface(ctx context.Context, n Node, a Agent, differs []drift.Mismatch, want drift.Interface) error {
	if a.Original() {
		return &NodeError{
			NodeID: n.ID, Code: string(client.Unsupported),
			Reason: "the original agent loses settings when it writes an interface: move the node to wgfleet's agent first",
		}
	}
	update, err := configUpdate(differs, want)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	return nodeError(n.ID, a.PutConfig(ctx, n.WGInterface, update))
}

// syncedInterface reads back what was written.
func (s *Service) syncedInterface(ctx context.Context, nodeID string) error {
	st, err := s.state(ctx, nodeID)
	if err != nil {
		return err
	}
	l, err := s.observe(ctx, st, false)
	if err != nil {
		return err
	}
	if len(l.report.Interface) > 0 {
		return &NodeError{NodeID: nodeID, Code: string(client.Refused), Reason: fmt.Sprintf(
			"the node took the settings, but its %s is still another", l.report.Interface[0].Field)}
	}
	return nil
}

// configUpdate holds the fields that differ, as they are wished for.
func configUpdate(differs []drift.Mismatch, want drift.Interface) (agent.ConfigUpdate, error) {
	var u agent.ConfigUpdate
	for _, m := range differs {
		switch m.Field {
		case drift.FieldPublicKey:
			return u, conflictf("the node's interface has another key than is wished for, and the panel does not have the private key to it")
		case drift.FieldListenPort:
			u.ListenPort = want.ListenPort
		case drift.FieldMTU:
			u.MTU = want.MTU
		case drift.FieldFwMark:
			u.FwMark = want.FwMark
		case drift.FieldDNS:
			u.DNS = want.DNS
		case drift.FieldTable:
			u.Table = want.Table
		case drift.FieldAddresses:
			texts := make([]string, len(*want.Addresses))
			for i, a := range *want.Addresses {
				texts[i] = a.String()
			}
			u.Address = new(strings.Join(texts, ", "))
		case drift.FieldHooks:
			whole := func(list []string) *[]string { return new(append([]string{}, list...)) } // null would keep it
			h := want.Hooks
			u.Hooks = &agent.HookUpdate{
				PreUp: whole(h.PreUp), PostUp: whole(h.PostUp), PreDown: whole(h.PreDown), PostDown: whole(h.PostDown),
			}
		case drift.FieldForward:
			u.Forward = want.Forward
		case drift.FieldMasquerade:
			u.Masquerade = want.Masquerade
		}
	}
	return u, nil
}

// EnableInterface brings the node's interface up, or down.
func (s *Service) EnableInterface(ctx context.Context, nodeID string, up bool) error {
	release, err := s.hold(ctx, nodeID)
	if err != nil {
		return err
	}
	defer release()
	v, err := s.Node(ctx, nodeID)
	if err != nil {
		return err
	}
	a, err := s.reach(v.Node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	if up {
		return nodeError(nodeID, a.Enable(ctx, v.WGInterface))
	}
	return nodeError(nodeID, a.Disable(ctx, v.WGInterface))
}
