package panel

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// maxDescription is how many characters a group's description may have.
const maxDescription = 1024

// apply changes g as the input says; every refused field is named.
func (in GroupInput) apply(g *Group) error {
	var p problems
	if in.Name != nil {
		g.Name = p.name("name", *in.Name)
	}
	if in.Description != nil {
		g.Description = p.description("description", *in.Description)
	}
	in.Overrides.apply(&g.Overrides, &p, "override_", false)
	return p.err()
}

// apply changes t as the input says; every refused field is named.
func (in TemplateInput) apply(t *Template) error {
	var p problems
	if in.Name != nil {
		t.Name = p.name("name", *in.Name)
	}
	if in.Kind != nil {
		switch {
		case *in.Kind != KindNode && *in.Kind != KindPeer:
			p.add("kind", "expected node or peer")
		case t.Kind != "" && t.Kind != *in.Kind:
			p.add("kind", "can't change: make another template")
		}
		t.Kind = *in.Kind
	}
	if in.Hooks.Set {
		t.Hooks = in.Hooks.Value
		if t.Hooks != nil {
			p.hooks("hooks", *t.Hooks)
		}
	}
	if in.IPPoolCIDR != nil {
		t.IPPools = p.pools("ip_pool_cidr", *in.IPPoolCIDR)
	}
	if t.Kind == KindPeer && t.Hooks != nil {
		p.add("hooks", "are a node's: a template of kind peer has none")
	}
	if t.Kind == KindPeer && len(t.IPPools) > 0 {
		p.add("ip_pool_cidr", "is a node's: a template of kind peer has none")
	}
	in.Values.apply(&t.Values, &p, "", hasIPv6(t.IPPools))
	if v := t.Values.MTU; v != nil && in.IPPoolCIDR != nil && !in.Values.MTU.Set {
		p.mtu("mtu", *v, hasIPv6(t.IPPools))
	}
	return p.err()
}

// apply changes v; prefix comes before the names of its fields.
func (in ValuesInput) apply(v *Values, p *problems, prefix string, ipv6 bool) {
	if in.DNS.Set {
		v.DNS = convert(in.DNS.Value, func(s string) string { return p.dns(prefix+"dns", s) })
	}
	if in.MTU.Set {
		if v.MTU = in.MTU.Value; v.MTU != nil {
			p.mtu(prefix+"mtu", *v.MTU, ipv6)
		}
	}
	if in.Keepalive.Set {
		if v.Keepalive = in.Keepalive.Value; v.Keepalive != nil {
			p.between(prefix+"keepalive", *v.Keepalive, 0, engine.MaxKeepalive, " seconds")
		}
	}
	if in.EndpointAllowedIP.Set {
		v.EndpointAllowedIP = convert(in.EndpointAllowedIP.Value, func(s string) string {
			return p.prefixes(prefix+"endpoint_allowed_ip", s)
		})
	}
}

// description returns a text on one line without spaces around it; it may be empty.
func (p *problems) description(field, s string) string {
	s = strings.TrimSpace(s)
	switch {
	case utf8.RuneCountInString(s) > maxDescription:
		p.add(field, "is too long: %d characters at most", maxDescription)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		p.add(field, "holds characters that can't be printed")
	}
	return s
}

func (p *problems) hooks(field string, h agent.Hooks) {
	for _, list := range [][]string{h.PreUp, h.PostUp, h.PreDown, h.PostDown} {
		for _, command := range list {
			if strings.TrimSpace(command) == "" || strings.ContainsAny(command, "\r\n\x00") {
				p.add(field, "a hook is one command on one line")
			}
		}
	}
}
