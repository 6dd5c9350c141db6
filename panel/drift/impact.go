package drift

import (
	"fmt"
	"slices"
	"time"
)

// fresh is how young the last handshake of a peer is that is most likely in use: a session lives for
// REJECT_AFTER_TIME, 180 s, and is renewed before (WireGuard's paper, 6.1).
const fresh = 3 * time.Minute

// lastSeen says when a peer shook hands; "" where the node does not tell.
func (b *builder) lastSeen(p Peer) (text string, inUse bool) {
	if b.observed.Activity == nil {
		return "", false
	}
	at := b.observed.Activity[p.PublicKey].LastHandshake
	if at.IsZero() {
		return "that never shook hands", false
	}
	age := max(0, b.opt.Now.Sub(at))
	if age < fresh {
		return "with a handshake " + ago(age), true
	}
	return "whose last handshake was " + ago(age), false
}

// ago is an age in words, in its largest unit.
func ago(d time.Duration) string {
	for _, u := range []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if n := int(d / u.size); n >= 2 {
			return fmt.Sprintf("%d %s ago", n, u.name)
		}
	}
	return fmt.Sprintf("%d s ago", int(d.Seconds()))
}

// cutOff is what the removal of a peer means.
func (b *builder) cutOff(p Peer) string {
	text, inUse := b.lastSeen(p)
	switch {
	case text == "":
		return "cuts the peer off at once"
	case inUse:
		return "interrupts a peer " + text
	}
	return "cuts off a peer " + text
}

// updateImpact is what the change of a peer means.
func (b *builder) updateImpact(p Peer, m []Mismatch) string {
	has := func(field string) bool {
		return slices.ContainsFunc(m, func(x Mismatch) bool { return x.Field == field })
	}
	text, _ := b.lastSeen(p)
	if text != "" {
		text = " (a peer " + text + ")"
	}
	switch {
	case has(FieldPresharedKey):
		return "the peer connects only with the panel's preshared key from its next handshake on" + text
	case has(FieldAllowedIPs):
		return "traffic of the addresses that change is moved; the session stays" + text
	}
	return "none: the session stays"
}

// settingImpact is what the change of a setting of the interface means.
func settingImpact(m Mismatch) string {
	switch m.Field {
	case FieldListenPort:
		return "changes the listen port: all clients of this node must be told"
	case FieldAddresses:
		return "changes the node's own addresses in the tunnel: what was bound to or routed by those that go is interrupted"
	case FieldMTU:
		return "changes the size of packets at once; sessions stay, connections adapt"
	case FieldDNS:
		return "the host itself asks other resolvers while the interface is up; peers do not notice"
	case FieldTable:
		return "moves the interface's routes to another table: what is routed through it may be interrupted"
	case FieldFwMark:
		return "the tunnel's own packets are marked otherwise: rules of the host that match the mark see others"
	case FieldHooks:
		return "none now: other commands run when the interface goes up or down"
	case FieldForward:
		return "changes what packets from peers may be forwarded to"
	case FieldMasquerade:
		return "changes what address packets from peers leave with: their open connections to others break"
	}
	return "changes a setting of the interface"
}

// warnings are what a person should know before saying yes.
func warnings(p Plan, o Observed, opt Options) []string {
	var out []string
	live := 0
	for _, s := range p.Steps {
		for _, t := range s.Takes {
			out = append(out, fmt.Sprintf("takes %s from unknown peer %s and gives it to %s", t.Prefix, t.From, s.PublicKey))
		}
		switch {
		case s.Op == OpRemove && !o.Activity[s.Before.PublicKey].LastHandshake.IsZero() &&
			opt.Now.Sub(o.Activity[s.Before.PublicKey].LastHandshake) < fresh:
			live++
		case s.Op == OpInterface && s.Changes[0].Field == FieldListenPort:
			out = append(out, s.Impact)
		}
	}
	if live > 0 {
		out = append(out, fmt.Sprintf("%d of the peers that are removed are in use: they shook hands within the last %d minutes", live, int(fresh.Minutes())))
	}
	return out
}
