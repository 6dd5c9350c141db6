package panel

import (
	"strings"
	"unicode"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
)

// maxPeers is the highest limit that a node may have.
const maxPeers = engine.MaxPeers

// apply changes n as the input says; every refused field is named.
func (in NodeInput) apply(n *Node) error {
	var p problems
	if in.Name != nil {
		if n.Name = p.name("name", *in.Name); n.Name == NodeAuto {
			p.add("name", "%q chooses a node wherever one is named: take another name", NodeAuto)
		}
	}
	if in.AgentURL != nil {
		if url := p.agentURL("agent_url", *in.AgentURL); url != n.AgentURL {
			n.AgentURL = url
			n.distrust()
		}
	}
	if in.Secret != nil {
		n.Secret = p.secret(*in.Secret)
		n.distrust()
	}
	if in.WGInterface != nil {
		if err := engine.ValidateName(*in.WGInterface); err != nil {
			p.add("wg_interface", "%s", strings.TrimPrefix(err.Error(), "interface: "))
		}
		if *in.WGInterface != n.WGInterface {
			n.SeenPublicKey, n.SeenListenPort = "", 0
		}
		n.WGInterface = *in.WGInterface
	}
	if in.Endpoint != nil {
		n.Endpoint = p.endpoint("endpoint", *in.Endpoint)
	}
	if in.IPPoolCIDR != nil {
		n.IPPools = p.pools("ip_pool_cidr", *in.IPPoolCIDR)
	}
	if in.GroupID.Set {
		n.GroupID = first("", in.GroupID.Value)
	}
	if in.TemplateID.Set {
		n.TemplateID = first("", in.TemplateID.Value)
	}
	in.limits(n, &p)
	in.overrides(n, &p)
	n.Drift = in.Drift.apply(n.Drift, "drift.", &p)
	return p.err()
}

func (in NodeInput) limits(n *Node, p *problems) {
	if in.Enabled != nil {
		n.Enabled = *in.Enabled
	}
	if in.Weight != nil {
		p.between("weight", *in.Weight, 1, 1_000_000, "")
		n.Weight = *in.Weight
	}
	if in.MaxPeers != nil {
		p.between("max_peers", *in.MaxPeers, 0, maxPeers, " (0: no limit)")
		n.MaxPeers = *in.MaxPeers
	}
	if in.TLSPin != nil {
		n.TLSPin = ""
		if *in.TLSPin != "" {
			pin, err := client.ParsePin(*in.TLSPin)
			if err != nil {
				p.add("tls_pin", "%v", err)
			}
			n.TLSPin = pin
		}
	}
	if in.AllowPlainSecrets != nil {
		n.AllowPlainSecrets = *in.AllowPlainSecrets
	}
}

func (in NodeInput) overrides(n *Node, p *problems) {
	o := in.Overrides
	if o.ListenPort.Set {
		n.Overrides.ListenPort = o.ListenPort.Value
		if v := o.ListenPort.Value; v != nil {
			p.between("override_listen_port", *v, 1, 65535, "")
		}
	}
	if o.DNS.Set {
		n.Overrides.DNS = convert(o.DNS.Value, func(s string) string { return p.dns("override_dns", s) })
	}
	if o.MTU.Set {
		n.Overrides.MTU = o.MTU.Value
	}
	if v := n.Overrides.MTU; v != nil && (o.MTU.Set || in.IPPoolCIDR != nil) {
		p.mtu("override_mtu", *v, hasIPv6(n.pools()))
	}
	if o.Keepalive.Set {
		n.Overrides.Keepalive = o.Keepalive.Value
		if v := o.Keepalive.Value; v != nil {
			p.between("override_keepalive", *v, 0, engine.MaxKeepalive, " seconds")
		}
	}
	if o.EndpointAllowedIP.Set {
		n.Overrides.EndpointAllowedIP = convert(o.EndpointAllowedIP.Value, func(s string) string {
			return p.prefixes("override_endpoint_allowed_ip", s)
		})
	}
}

func convert[T any](v *T, f func(T) T) *T {
	if v == nil {
		return nil
	}
	out := f(*v)
	return &out
}

func (p *problems) secret(s agent.Secret) agent.Secret {
	switch {
	case s == "":
		p.add("secret", "must not be empty")
	case len(s) > 1024:
		p.add("secret", "is too long: 1024 bytes at most")
	case strings.ContainsFunc(string(s), unicode.IsControl):
		p.add("secret", "holds control characters")
	}
	return s
}

// distrust forgets which agent was met there: the next signed contact pins anew.
func (n *Node) distrust() {
	n.AgentID, n.SpeaksV2 = "", false
	n.SeenPublicKey, n.SeenListenPort = "", 0
	n.Trust++
}
