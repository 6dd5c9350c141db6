package panel

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// fieldValue is one field by the API's name. A key is an engine.SecretKey, and never leaves this file.
type fieldValue struct {
	name  string
	value any
}

// orNone is the id of something that need not be there.
func orNone(id string) any {
	if id == "" {
		return nil
	}
	return id
}

// peerFields are the fields of a peer that somebody chose; those of nil are all none.
func peerFields(p *Peer) []fieldValue {
	there := p != nil
	if !there {
		p = &Peer{}
	}
	fields := []fieldValue{
		{"name", p.Name},
		{"public_key", p.PublicKey.String()},
		{"allowed_ips", drift.Texts(p.AllowedIPs)},
		{"persistent_keepalive", given(p.Keepalive)},
		{"dns", given(p.DNS)},
		{"mtu", given(p.MTU)},
		{"endpoint_allowed_ip", given(p.EndpointAllowedIP)},
		{"template_id", orNone(p.TemplateID)},
		{"enabled", p.Enabled},
		{"expires_at", stampOf(p.ExpiresAt)},
		{"private_key", p.PrivateKey},
		{"preshared_key", p.PresharedKey},
	}
	if there {
		return fields
	}
	for i := range fields {
		if _, isKey := fields[i].value.(engine.SecretKey); !isKey {
			fields[i].value = nil
		}
	}
	return fields
}

// stampOf is a time as the API shows it; nil for none.
func stampOf(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

// nodeFields are the fields of a node that revisions keep.
func nodeFields(r desiredRecord) []fieldValue {
	w := r.Wish
	fields := []fieldValue{
		{"name", r.Name},
		{"endpoint", r.Endpoint},
		{"ip_pool_cidr", strings.Join(drift.Texts(r.IPPools), ", ")},
		{"enabled", r.Enabled},
		{"weight", r.Weight},
		{"max_peers", r.MaxPeers},
		{"override_listen_port", given(r.ListenPort)},
		{"override_dns", given(r.DNS)},
		{"override_mtu", given(r.MTU)},
		{"override_keepalive", given(r.Keepalive)},
		{"override_endpoint_allowed_ip", given(r.EndpointAllowedIP)},
		{"group_id", orNone(r.GroupID)},
		{"template_id", orNone(r.TemplateID)},
	}
	for _, f := range []fieldValue{
		{drift.FieldPublicKey, given(w.PublicKey)},
		{drift.FieldListenPort, given(w.ListenPort)},
		{drift.FieldAddresses, addressTexts(w.Addresses)},
		{drift.FieldMTU, given(w.MTU)},
		{drift.FieldDNS, given(w.DNS)},
		{drift.FieldTable, given(w.Table)},
		{drift.FieldFwMark, given(w.FwMark)},
		{drift.FieldHooks, hookTexts(w.Hooks)},
		{drift.FieldForward, given(w.Forward)},
		{drift.FieldMasquerade, given(w.Masquerade)},
	} {
		fields = append(fields, fieldValue{drift.InterfaceStep(f.name), f.value})
	}
	return fields
}

func addressTexts(list *[]netip.Prefix) any {
	if list == nil {
		return nil
	}
	return drift.Texts(*list)
}

func hookTexts(h *hooksRecord) any {
	if h == nil {
		return nil
	}
	list := func(commands []string) []string { return append([]string{}, commands...) }
	return map[string][]string{
		"pre_up": list(h.PreUp), "post_up": list(h.PostUp), "pre_down": list(h.PreDown), "post_down": list(h.PostDown),
	}
}

// fixedFields are those of a node that no rollback restores.
var fixedFields = []string{"agent_url", "secret", "wg_interface", "tls_pin", "allow_plaintext_secrets", "drift"}

// otherFields names which of them changed.
func otherFields(a, b nodeRecord) []string {
	same := []bool{
		a.AgentURL == b.AgentURL, a.Secret == b.Secret, a.WGInterface == b.WGInterface, a.TLSPin == b.TLSPin,
		a.AllowPlainSecrets == b.AllowPlainSecrets, reflect.DeepEqual(a.Drift, b.Drift),
	}
	var out []string
	for i, name := range fixedFields {
		if !same[i] {
			out = append(out, name)
		}
	}
	return out
}

// diffFields lists what differs between the same fields of two states.
func diffFields(before, after []fieldValue) []FieldChange {
	out := []FieldChange{}
	for i, b := range before {
		a := after[i]
		key, isKey := b.value.(engine.SecretKey)
		if !isKey {
			if !reflect.DeepEqual(b.value, a.value) {
				out = append(out, FieldChange{Field: b.name, Before: b.value, After: a.value})
			}
			continue
		}
		next, _ := a.value.(engine.SecretKey)
		if key.Equal(next) {
			continue
		}
		c := FieldChange{Field: b.name, Before: isKeySet(key), After: isKeySet(next)}
		if c.Before == c.After {
			c.After = "different"
		}
		out = append(out, c)
	}
	return out
}

func isKeySet(k engine.SecretKey) string {
	if k.IsZero() {
		return "unset"
	}
	return "set"
}

// diffNode is what differs of a node that revisions keep.
func diffNode(before, after desiredRecord) []FieldChange {
	return diffFields(nodeFields(before), nodeFields(after))
}

// diffPeers lists the changes that change something, in the order of the peers' making.
func diffPeers(changes []peerChange) []PeerDiff {
	out := []PeerDiff{}
	for _, c := range changes {
		d := PeerDiff{Changes: diffFields(peerFields(c.before), peerFields(c.after))}
		if len(d.Changes) == 0 {
			continue
		}
		p := c.after
		switch {
		case c.before == nil:
			d.Op = PeerAdded
		case c.after == nil:
			d.Op, p = PeerRemoved, c.before
		default:
			d.Op = PeerUpdated
		}
		d.PeerID, d.PublicKey, d.Name = p.ID, p.PublicKey.String(), p.Name
		out = append(out, d)
	}
	slices.SortStableFunc(out, func(a, b PeerDiff) int { return cmp.Compare(a.PeerID, b.PeerID) })
	return out
}

// changesBetween pairs the peers of two states that are not the same in both.
func changesBetween(nodeID string, before, after map[string]peerRecord) []peerChange {
	var out []peerChange
	noun := func(id string, r peerRecord) *Peer { return new(r.peer(nodeID, id)) }
	for id, b := range before {
		if a, ok := after[id]; !ok {
			out = append(out, peerChange{before: noun(id, b)})
		} else if !reflect.DeepEqual(a, b) {
			out = append(out, peerChange{before: noun(id, b), after: noun(id, a)})
		}
	}
	for id, a := range after {
		if _, ok := before[id]; !ok {
			out = append(out, peerChange{after: noun(id, a)})
		}
	}
	return out
}

// manyFields is how many fields a summary names.
const manyFields = 6

// summaryOf puts a change into one sentence; why may be "".
func summaryOf(why string, fields []string, peers []PeerDiff) string {
	var parts []string
	if len(fields) > 0 {
		parts = append(parts, "changed "+fieldList(fields)+" of the node")
	}
	if len(peers) == 1 {
		parts = append(parts, onePeer(peers[0]))
	} else {
		added, updated, removed := countPeers(peers)
		for _, n := range []struct {
			verb  string
			count int
		}{{"added", added}, {"changed", updated}, {"removed", removed}} {
			if n.count > 0 {
				parts = append(parts, fmt.Sprintf("%s %d peers", n.verb, n.count))
			}
		}
	}
	what := strings.Join(parts, ", ")
	switch {
	case why == "" && what == "":
		return "changed nothing"
	case why == "" || what == "":
		return why + what
	}
	return why + ": " + what
}

func onePeer(d PeerDiff) string {
	who := fmt.Sprintf("peer %q", d.Name)
	if d.Name == "" {
		who = "peer " + d.PublicKey
	}
	switch d.Op {
	case PeerAdded:
		return "added " + who
	case PeerRemoved:
		return "removed " + who
	}
	names := make([]string, len(d.Changes))
	for i, c := range d.Changes {
		names[i] = c.Field
	}
	return "changed " + fieldList(names) + " of " + who
}

func fieldList(names []string) string {
	if more := len(names) - manyFields; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:manyFields], ", "), more)
	}
	return strings.Join(names, ", ")
}

func countPeers(peers []PeerDiff) (added, updated, removed int) {
	for _, p := range peers {
		switch p.Op {
		case PeerAdded:
			added++
		case PeerUpdated:
			updated++
		case PeerRemoved:
			removed++
		}
	}
	return added, updated, removed
}
