package panel

import (
	"net/netip"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/store"
)

var (
	groupTable    = store.NewTable[groupRecord]("group")
	templateTable = store.NewTable[templateRecord]("template")

	groupNames    = store.NewUnique("group-name")
	templateNames = store.NewUnique("template-name")

	// Who refers to a group or a template, by its id: to find them without reading all there is.
	nodeUse = store.NewTable[struct{}]("node-use") // in a group or template: nodes
	peerUse = store.NewTable[struct{}]("peer-use") // in a template, in a node: peers
)

// groupRecord is a Group at rest.
type groupRecord struct {
	Name        string       `json:"name"`
	Description string       `json:"description,omitempty"`
	Overrides   valuesRecord `json:"overrides"`
	CreatedAt   time.Time    `json:"created_at"`
	UpdatedAt   time.Time    `json:"updated_at"`
}

// templateRecord is a Template at rest.
type templateRecord struct {
	Name      string         `json:"name"`
	Kind      string         `json:"kind"`
	Values    valuesRecord   `json:"values"`
	Hooks     *hooksRecord   `json:"hooks,omitempty"`
	IPPools   []netip.Prefix `json:"ip_pools,omitempty"`
	CreatedAt time.Time      `json:"created_at"`
	UpdatedAt time.Time      `json:"updated_at"`
}

type valuesRecord struct {
	DNS               *string `json:"dns,omitempty"`
	MTU               *int    `json:"mtu,omitempty"`
	Keepalive         *int    `json:"keepalive,omitempty"`
	EndpointAllowedIP *string `json:"endpoint_allowed_ip,omitempty"`
}

func recordOfGroup(g Group) groupRecord {
	return groupRecord{
		Name: g.Name, Description: g.Description, Overrides: valuesRecord(g.Overrides), CreatedAt: g.CreatedAt, UpdatedAt: g.UpdatedAt,
	}
}

func (r groupRecord) group(id string) Group {
	return Group{
		ID: id, Name: r.Name, Description: r.Description, Overrides: Values(r.Overrides), CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

func recordOfTemplate(t Template) templateRecord {
	r := templateRecord{
		Name: t.Name, Kind: t.Kind, Values: valuesRecord(t.Values), IPPools: t.IPPools, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
	if t.Hooks != nil {
		r.Hooks = new(hooksRecord(*t.Hooks))
	}
	return r
}

func (r templateRecord) template(id string) Template {
	t := Template{
		ID: id, Name: r.Name, Kind: r.Kind, Values: Values(r.Values), IPPools: r.IPPools, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if r.Hooks != nil {
		t.Hooks = new(agent.Hooks(*r.Hooks))
	}
	return t
}

// presetsOf reads all groups and templates: there are few of them.
func presetsOf(tx store.Tx) (*presets, error) {
	ps := &presets{groups: make(map[string]*Group), templates: make(map[string]*Template)}
	for row, err := range groupTable.All(tx, "") {
		if err != nil {
			return nil, err
		}
		ps.groups[row.ID] = new(row.Value.group(row.ID))
	}
	for row, err := range templateTable.All(tx, "") {
		if err != nil {
			return nil, err
		}
		ps.templates[row.ID] = new(row.Value.template(row.ID))
	}
	return ps, nil
}
