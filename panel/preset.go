package panel

import (
	"net/netip"
	"time"

	"github.com/wgfleet/wgfleet/agent"
)

// Kinds of a Template.
const (
	KindNode = "node"
	KindPeer = "peer"
)

// Values are settings that may be given in several places, of which the one nearest to the peer holds. nil:
// this place says nothing.
type Values struct {
	DNS               *string // comma list of addresses and search domains
	MTU               *int
	Keepalive         *int
	EndpointAllowedIP *string // comma list of prefixes
}

// Group holds overrides for all of its nodes. A node is in one group at most.
type Group struct {
	ID          string
	Name        string
	Description string
	Overrides   Values
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// GroupView is a group with how many nodes are in it.
type GroupView struct {
	Group
	NodeCount int
}

// Template holds settings for the nodes or peers that refer to it; a change of it reaches all of them.
type Template struct {
	ID        string
	Name      string
	Kind      string // KindNode or KindPeer
	Values    Values
	Hooks     *agent.Hooks   // of a node whose interface has no wish of its own; nil: no wish here either
	IPPools   []netip.Prefix // of a node that has none of its own
	CreatedAt time.Time
	UpdatedAt time.Time
}

// TemplateView is a template with who refers to it.
type TemplateView struct {
	Template
	NodeCount int // nodes that refer to it, or that have a peer that does
	PeerCount int
}

// GroupInput creates a group, or changes one: an absent field stays as it is.
type GroupInput struct {
	Name        *string
	Description *string
	Overrides   ValuesInput
}

// ValuesInput changes Values.
type ValuesInput struct {
	DNS               Optional[string]
	MTU               Optional[int]
	Keepalive         Optional[int]
	EndpointAllowedIP Optional[string]
}

// TemplateInput creates a template, or changes one: an absent field stays as it is.
type TemplateInput struct {
	Name       *string
	Kind       *string // must be given on creation, and stays
	Values     ValuesInput
	Hooks      Optional[agent.Hooks]
	IPPoolCIDR *string // comma list: an IPv4 and an IPv6 prefix at most
}

// presets are all groups and templates as they were at one moment. They never change. nil has none.
type presets struct {
	groups    map[string]*Group
	templates map[string]*Template
}

// group returns a group's overrides; none for "".
func (ps *presets) group(id string) Values {
	if ps == nil || ps.groups[id] == nil {
		return Values{}
	}
	return ps.groups[id].Overrides
}

func (ps *presets) groupName(id string) string {
	if ps == nil || ps.groups[id] == nil {
		return ""
	}
	return ps.groups[id].Name
}

// template returns a template; an empty one for "".
func (ps *presets) template(id string) *Template {
	if ps == nil || ps.templates[id] == nil {
		return &noTemplate
	}
	return ps.templates[id]
}

var noTemplate Template
