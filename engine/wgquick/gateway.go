package wgquick

import (
	"errors"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

// Gateway reads the directives that are for a gateway: allow, deny and limit in [Interface] for every peer and in a
// [Peer] for that one, where lines add up and a later limit replaces what it names again; publish and resolver in
// [Interface]. The policy's host is left to the caller. The error is a *ParseError.
func (f *File) Gateway() (engine.GatewayConfig, error) {
	var out engine.GatewayConfig
	for n, b := range f.blocks() {
		access, key := &out.Access.Node, wgtypes.Key{}
		if b.section == sectionPeer {
			s := b.peer()
			if s.bad(keyPublicKey) {
				e := s.errors[0]
				return engine.GatewayConfig{}, f.at(e.err, n+e.index, e.key)
			}
			key = s.key
			own := out.Access.Peers[key]
			access = &own
		}
		for i := range b.lines {
			l := &b.lines[i]
			if l.kind != lineDirective || l.key.linked() {
				continue
			}
			err := new(Interface).readDirective(l, b.section)
			if err == nil {
				err = readGateway(&out, access, l.key, l.value())
			}
			if err != nil {
				return engine.GatewayConfig{}, f.at(err, n+i, l.key)
			}
		}
		if b.section == sectionPeer && !access.IsZero() {
			if out.Access.Peers == nil {
				out.Access.Peers = make(map[wgtypes.Key]engine.Access)
			}
			out.Access.Peers[key] = *access
		}
	}
	return out, nil
}

// readGateway takes one directive into what it is about.
func readGateway(c *engine.GatewayConfig, a *engine.Access, key keyID, value string) *ParseError {
	var err error
	switch key {
	case keyAllow:
		a.Allow, err = appendRule(a.Allow, value)
	case keyDeny:
		a.Deny, err = appendRule(a.Deny, value)
	case keyLimit:
		var l engine.Limits
		l, err = engine.ParseLimits(value)
		a.Limits = l.Or(a.Limits)
	case keyPublish:
		var p engine.Published
		if p, err = engine.ParsePublished(value); err == nil && !slices.Contains(c.Published, p) {
			c.Published = append(c.Published, p)
		}
	case keyResolver:
		if value != "" {
			return want("nothing behind this directive", value)
		}
		c.Resolver = true
	}
	if bad, ok := errors.AsType[*engine.FieldError](err); ok {
		_, expected, _ := strings.Cut(bad.Reason, "expected ")
		return want(expected, value)
	}
	return nil
}

func appendRule(rules []engine.AccessRule, value string) ([]engine.AccessRule, error) {
	r, err := engine.ParseAccessRule(value)
	if err != nil {
		return rules, err
	}
	return append(rules, r), nil
}

// SetAccess makes the directives of [Interface] and of every [Peer] say p, where they do not already; all else stays.
// Peers that the file does not have are passed over, see HasPeer.
func (f *File) SetAccess(p engine.AccessPolicy) {
	have, err := f.Gateway()
	same := func(a, b engine.Access) bool { return err == nil && sameAccess(a, b) }
	if !same(have.Access.Node, p.Node) {
		for _, b := range f.blocks() {
			if b.section == sectionInterface {
				f.clearAccess(b)
			}
		}
		if !p.Node.IsZero() {
			f.appendAccess(f.interfaceBlock(), p.Node)
		}
	}
	for key, blocks := range f.peers {
		if same(have.Access.Peers[key], p.Peers[key]) {
			continue
		}
		for _, b := range blocks {
			f.clearAccess(b)
		}
		f.appendAccess(blocks[len(blocks)-1], p.Peers[key])
	}
}

// HasPeer reports whether the file has a section with that public key.
func (f *File) HasPeer(key wgtypes.Key) bool { return len(f.peers[key]) > 0 }

func sameAccess(a, b engine.Access) bool { return slices.Equal(accessLines(a), accessLines(b)) }

// accessLines are the directives of a, as lines without a sign.
func accessLines(a engine.Access) []string {
	var out []string
	for _, r := range a.Allow {
		out = append(out, keyAllow.String()+" "+r.String())
	}
	for _, r := range a.Deny {
		out = append(out, keyDeny.String()+" "+r.String())
	}
	if text := a.Limits.String(); text != "" {
		out = append(out, keyLimit.String()+" "+text)
	}
	return out
}

func (f *File) clearAccess(b *block) {
	places := slices.Concat(b.find(keyAllow), b.find(keyDeny), b.find(keyLimit))
	slices.SortFunc(places, func(a, b place) int { return a.index - b.index })
	f.deleteLines(places)
}

// appendAccess puts the directives behind the last line of a section that is not blank.
func (f *File) appendAccess(b *block, a engine.Access) {
	at := len(b.lines)
	for at > b.header+1 && b.lines[at-1].kind == lineBlank {
		at--
	}
	if before := &b.lines[at-1]; before.eol == "" {
		before.eol = f.eol
	}
	var lines []line
	for _, text := range accessLines(a) {
		lines = append(lines, scan(text, f.eol))
	}
	b.lines = slices.Insert(b.lines, at, lines...)
}
