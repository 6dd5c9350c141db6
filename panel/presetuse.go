package panel

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/store"
)

// refer brings the index of who refers to what from old to n, and refuses what is not there.
func (n Node) refer(tx store.Tx, old Node) error {
	var p problems
	if n.GroupID != "" && n.presets.groups[n.GroupID] == nil {
		p.add("group_id", "there is no group %q", clip(n.GroupID))
	}
	if n.TemplateID != "" {
		p.template("template_id", n.presets.template(n.TemplateID), n.TemplateID, KindNode)
	}
	if why := n.narrow(); why != "" {
		p.add("override_mtu", "%s", why)
	}
	if err := p.err(); err != nil {
		return err
	}
	return errors.Join(moveUse(tx, n.ID, old.GroupID, n.GroupID), moveUse(tx, n.ID, old.TemplateID, n.TemplateID))
}

func (p *problems) template(field string, t *Template, id, kind string) {
	switch t.Kind {
	case "":
		p.add(field, "there is no template %q", clip(id))
	case kind:
	default:
		p.add(field, "template %q is one for a %s: expected one of kind %s", t.Name, t.Kind, kind)
	}
}

// narrow says why the MTU of the node's client files does not fit its address pools; "": it does.
func (n Node) narrow() string {
	v := effective(n, Peer{}).MTU
	if v >= engine.MinMTU6 || !hasIPv6(n.pools()) {
		return ""
	}
	return fmt.Sprintf("%d is too low for node %q, which has an IPv6 pool: expected %d or more", v, n.Name, engine.MinMTU6)
}

func moveUse(tx store.Tx, nodeID, from, to string) error {
	if from == to {
		return nil
	}
	var errs []error
	if from != "" {
		errs = append(errs, nodeUse.In(from).Delete(tx, nodeID))
	}
	if to != "" {
		errs = append(errs, nodeUse.In(to).Put(tx, nodeID, struct{}{}))
	}
	return errors.Join(errs...)
}

// refer puts a peer into the index of who refers to its template, and refuses a template that is not there.
func (p Peer) refer(tx store.Tx) error {
	if p.TemplateID == "" {
		return nil
	}
	r, err := templateTable.Get(tx, p.TemplateID)
	if err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrKey) {
		return err
	}
	var bad problems
	t := r.template(p.TemplateID)
	bad.template("template_id", &t, p.TemplateID, KindPeer)
	if why := p.narrow(t); why != "" {
		bad.add("template_id", "%s", why)
	}
	if err := bad.err(); err != nil {
		return err
	}
	return peerUse.In(p.TemplateID).In(p.NodeID).Put(tx, p.ID, struct{}{})
}

// narrow says why the MTU of a template does not fit the peer's addresses; "": it does.
func (p Peer) narrow(t Template) string {
	if p.MTU != nil || t.Values.MTU == nil || *t.Values.MTU >= engine.MinMTU6 || !hasIPv6(p.AllowedIPs) {
		return ""
	}
	return fmt.Sprintf("the template's MTU of %d is too low for peer %s, which has an IPv6 address: expected %d or more",
		*t.Values.MTU, p.title(), engine.MinMTU6)
}

// presetsFor is what the node and its peers inherit from after a change of peers. What they referred to before is
// known where the node is as it was read, for its change would have moved the revision; a template that a peer
// is new to may have been changed since.
func (st *nodeState) presetsFor(tx store.Tx, r nodeRecord, changes []peerChange) (*presets, error) {
	news := slices.ContainsFunc(changes, func(c peerChange) bool {
		return c.after != nil && c.after.TemplateID != "" && (c.before == nil || c.before.TemplateID != c.after.TemplateID)
	})
	if news || r.Revision != st.node.Revision {
		return presetsOf(tx)
	}
	return st.node.presets, nil
}

// users are who refers to a group or a template.
type users struct {
	nodes []string            // that do so themselves
	peers map[string][]string // by node
	// revised are the revisions that a change of the group or template made of its nodes.
	revised []revised
}

func usersOf(tx store.Tx, id string) (users, error) {
	u := users{peers: make(map[string][]string)}
	for row, err := range nodeUse.In(id).All(tx, "") {
		if err != nil {
			return u, err
		}
		u.nodes = append(u.nodes, row.ID)
	}
	for row, err := range peerUse.In(id).All(tx, "") {
		if err != nil {
			return u, err
		}
		nodeID, peerID, _ := strings.Cut(row.ID, "/")
		u.peers[nodeID] = append(u.peers[nodeID], peerID)
	}
	return u, nil
}

// reached are the nodes whose desired state, or whose clients' files, may be another after a change.
func (u users) reached() []string {
	all := slices.Concat(u.nodes, slices.Collect(maps.Keys(u.peers)))
	slices.Sort(all)
	return slices.Compact(all)
}

func (u users) peerCount() int {
	count := 0
	for _, ids := range u.peers {
		count += len(ids)
	}
	return count
}

// reviseUsers makes a revision of every node that a changed group or template reaches, in the transaction that
// changes it: so no state of before is taken for one of now. It refuses a field, an MTU, that one of them can't have.
func (s *Service) reviseUsers(ctx context.Context, tx store.Tx, u users, id, field, why string) ([]revised, error) {
	ps, err := presetsOf(tx)
	if err != nil {
		return nil, err
	}
	var all []revised
	for _, nodeID := range u.reached() {
		r, err := getNode(tx, nodeID)
		if err != nil {
			return nil, err
		}
		if narrow := r.node(nodeID, ps).narrow(); narrow != "" {
			return nil, Invalid(field, "%s", narrow)
		}
		rev, err := s.revise(ctx, tx, ps, nodeID, r, r, nil, why)
		if err != nil {
			return nil, err
		}
		all = append(all, rev)
	}
	return all, u.fit(tx, *ps.template(id), field)
}

// fit refuses a template with an MTU that one of its peers can't have.
func (u users) fit(tx store.Tx, t Template, field string) error {
	if t.Values.MTU == nil || *t.Values.MTU >= engine.MinMTU6 {
		return nil
	}
	for nodeID, ids := range u.peers {
		for _, id := range ids {
			r, err := peerTable.In(nodeID).Get(tx, id)
			if err != nil {
				return err
			}
			if why := r.peer(nodeID, id).narrow(t); why != "" {
				return Invalid(field, "%s", why)
			}
		}
	}
	return nil
}
