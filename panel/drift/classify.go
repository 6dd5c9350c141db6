package drift

import (
	"bytes"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// Names of the fields in a Mismatch.
const (
	FieldAllowedIPs   = "allowed_ips"
	FieldKeepalive    = "persistent_keepalive"
	FieldPresharedKey = "preshared_key"
	FieldPublicKey    = "public_key"
	FieldListenPort   = "listen_port"
	FieldAddresses    = "addresses"
	FieldMTU          = "mtu"
	FieldDNS          = "dns"
	FieldTable        = "table"
	FieldFwMark       = "fwmark"
	FieldHooks        = "hooks"
	FieldForward      = "forward"
	FieldMasquerade   = "masquerade"
)

// Classify compares two whole states. The report is in sync or drifted, never unknown, but for a
// setting of the interface that is wished for and was not seen. NodeID and DetectedAt are the
// caller's to fill in.
func Classify(d Desired, o Observed) Report {
	r := Report{Unknown: []UnknownPeer{}, Ignored: []IgnoredPeer{}, Missing: []MissingPeer{}, Mismatched: []MismatchedPeer{}}
	var blind []string
	if r.Interface, blind = compareInterface(d.Interface, o.Interface); len(blind) > 0 {
		return NotKnown("the node does not tell the " + strings.Join(blind, ", ") + " of its interface, which the panel was asked to compare")
	}
	for want, have := range merge(d.Peers, o.Peers) {
		switch {
		case want == nil:
			st := d.standing(*have)
			if st.ignore != nil {
				r.Ignored = append(r.Ignored, IgnoredPeer{
					UnknownPeer: st.unknown(*have), RuleID: st.ignore.ID, Reason: st.ignore.Reason, Until: st.ignore.Until,
				})
			} else {
				r.Unknown = append(r.Unknown, st.unknown(*have))
			}
		case have == nil:
			r.Missing = append(r.Missing, MissingPeer{
				PublicKey: want.PublicKey.String(), Name: want.Name, AllowedIPs: Texts(want.AllowedIPs), PeerID: want.ID,
			})
		default:
			if m := comparePeer(want.Peer, *have); len(m) > 0 {
				r.Mismatched = append(r.Mismatched, MismatchedPeer{
					PublicKey: want.PublicKey.String(), Name: want.Name, PeerID: want.ID, Mismatches: m,
				})
			}
		}
	}
	has := r.Issues() > 0 || len(r.Interface) > 0
	r.HasDrift, r.Status = &has, InSync
	if has {
		r.Status = Drifted
	}
	return r
}

// NotKnown is the report on a node that could not be looked at; why is one sentence.
func NotKnown(why string) Report {
	return Report{
		Status: Unknown, Error: why,
		Unknown: []UnknownPeer{}, Ignored: []IgnoredPeer{}, Missing: []MissingPeer{}, Mismatched: []MismatchedPeer{}, Interface: []Mismatch{},
	}
}

// merge walks both lists by key; the side that lacks a key is nil.
func merge(want []DesiredPeer, have []Peer) iter.Seq2[*DesiredPeer, *Peer] {
	return func(yield func(*DesiredPeer, *Peer) bool) {
		i, j := 0, 0
		for i < len(want) || j < len(have) {
			var order int
			switch {
			case i == len(want):
				order = 1
			case j == len(have):
				order = -1
			default:
				order = bytes.Compare(want[i].PublicKey[:], have[j].PublicKey[:])
			}
			var w *DesiredPeer
			var h *Peer
			if order <= 0 {
				w = &want[i]
				i++
			}
			if order >= 0 {
				h = &have[j]
				j++
			}
			if !yield(w, h) {
				return
			}
		}
	}
}

func comparePeer(want, have Peer) []Mismatch {
	var m []Mismatch
	if !slices.Equal(want.AllowedIPs, have.AllowedIPs) {
		m = append(m, Mismatch{FieldAllowedIPs, Texts(want.AllowedIPs), Texts(have.AllowedIPs)})
	}
	if want.Keepalive != have.Keepalive {
		m = append(m, Mismatch{FieldKeepalive, want.Keepalive, have.Keepalive})
	}
	if want.PresharedKey != have.PresharedKey {
		actual := isSet(have.PresharedKey)
		if want.PresharedKey != "" && have.PresharedKey != "" {
			actual = "different"
		}
		m = append(m, Mismatch{FieldPresharedKey, isSet(want.PresharedKey), actual})
	}
	return m
}

func isSet(mac string) string {
	if mac == "" {
		return "unset"
	}
	return "set"
}

// NewWishes names the settings that are wished for now and were not before, or with another value.
func NewWishes(before, now Interface) []string {
	differs, began := compareInterface(now, before)
	fields := make([]string, 0, len(differs)+len(began))
	for _, m := range differs {
		fields = append(fields, m.Field)
	}
	return append(fields, began...)
}

// compareInterface compares what is wished for. blind names the fields that were not seen.
func compareInterface(want, have Interface) (m []Mismatch, blind []string) {
	m = []Mismatch{}
	c := comparison{differs: &m, blind: &blind}
	compare(c, FieldPublicKey, want.PublicKey, have.PublicKey, same)
	compare(c, FieldListenPort, want.ListenPort, have.ListenPort, same)
	compare(c, FieldAddresses, addresses(want.Addresses), addresses(have.Addresses), slices.Equal)
	compare(c, FieldMTU, want.MTU, have.MTU, same)
	compare(c, FieldDNS, want.DNS, have.DNS, func(a, b string) bool { return slices.Equal(commaList(a), commaList(b)) })
	compare(c, FieldTable, want.Table, have.Table, func(a, b string) bool { return table(a) == table(b) })
	compare(c, FieldFwMark, want.FwMark, have.FwMark, same)
	compare(c, FieldHooks, want.Hooks, have.Hooks, sameHooks)
	compare(c, FieldForward, want.Forward, have.Forward, sameLinks)
	compare(c, FieldMasquerade, want.Masquerade, have.Masquerade, sameLinks)
	return m, blind
}

type comparison struct {
	differs *[]Mismatch
	blind   *[]string
}

func compare[T any](c comparison, field string, want, have *T, equal func(a, b T) bool) {
	switch {
	case want == nil:
	case have == nil:
		*c.blind = append(*c.blind, field)
	case !equal(*want, *have):
		*c.differs = append(*c.differs, Mismatch{field, *want, *have})
	}
}

func same[T comparable](a, b T) bool { return a == b }

func addresses(in *[]netip.Prefix) *[]string {
	if in == nil {
		return nil
	}
	out := Texts(engine.NormalizeAddresses(*in))
	return &out
}

func commaList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// table: wg-quick(8) takes none for auto.
func table(s string) string {
	if s == "auto" {
		return ""
	}
	return s
}

// sameLinks compares sets of links, of which "any" holds all the others.
func sameLinks(a, b string) bool { return slices.Equal(links(a), links(b)) }

func links(s string) []string {
	names := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
	if slices.Contains(names, anyLink) {
		return []string{anyLink}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

const anyLink = "any"

func sameHooks(a, b agent.Hooks) bool {
	return slices.Equal(a.PreUp, b.PreUp) && slices.Equal(a.PostUp, b.PostUp) &&
		slices.Equal(a.PreDown, b.PreDown) && slices.Equal(a.PostDown, b.PostDown)
}
