package panel

import (
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/store"
)

// Tables and indexes of the store. Values are sealed there, keys are not.
var (
	nodeTable = store.NewTable[nodeRecord]("node")
	peerTable = store.NewTable[peerRecord]("peer") // in a node
	keyTable  = store.NewTable[keyRecord]("key")   // id is the token's hash

	nodeNames = store.NewUnique("node-name")
	peerKeys  = store.NewUnique("peer-key") // in a node
	peerIPs   = store.NewUnique("peer-ip")  // in a node, canonical prefixes
	keyIDs    = store.NewUnique("key-id")   // id → hash
)

// nodeRecord is a Node at rest.
type nodeRecord struct {
	desiredRecord
	AgentURL          string       `json:"agent_url"`
	Secret            string       `json:"secret"`
	WGInterface       string       `json:"wg_interface"`
	IsPanelNode       bool         `json:"is_panel_node,omitempty"`
	TLSPin            string       `json:"tls_pin,omitempty"`
	AllowPlainSecrets bool         `json:"allow_plaintext_secrets,omitempty"`
	Drift             policyRecord `json:"drift,omitzero"`
	AgentID           string       `json:"agent_id,omitempty"`
	SpeaksV2          bool         `json:"speaks_v2,omitempty"`
	Trust             uint64       `json:"trust,omitempty"`
	SeenPublicKey     string       `json:"seen_public_key,omitempty"`
	SeenListenPort    int          `json:"seen_listen_port,omitempty"`
	Revision          uint64       `json:"revision"`
	PeerCount         int          `json:"peer_count"`
	CreatedAt         time.Time    `json:"created_at"`
	UpdatedAt         time.Time    `json:"updated_at"`
}

// desiredRecord is what of a node revisions keep and a rollback restores. How its agent is reached, and
// what was learnt of it, is not.
type desiredRecord struct {
	Name              string         `json:"name"`
	Endpoint          string         `json:"endpoint,omitempty"`
	IPPools           []netip.Prefix `json:"ip_pools,omitempty"`
	Enabled           bool           `json:"enabled"`
	Weight            int            `json:"weight"`
	MaxPeers          int            `json:"max_peers,omitempty"`
	ListenPort        *int           `json:"override_listen_port,omitempty"`
	DNS               *string        `json:"override_dns,omitempty"`
	MTU               *int           `json:"override_mtu,omitempty"`
	Keepalive         *int           `json:"override_keepalive,omitempty"`
	EndpointAllowedIP *string        `json:"override_endpoint_allowed_ip,omitempty"`
	GroupID           string         `json:"group_id,omitempty"`
	TemplateID        string         `json:"template_id,omitempty"`
	Wish              wishRecord     `json:"wish"`
}

// wishRecord is an InterfaceWish at rest.
type wishRecord struct {
	PublicKey  *string         `json:"public_key,omitempty"`
	ListenPort *int            `json:"listen_port,omitempty"`
	Addresses  *[]netip.Prefix `json:"addresses,omitempty"`
	MTU        *int            `json:"mtu,omitempty"`
	DNS        *string         `json:"dns,omitempty"`
	Table      *string         `json:"table,omitempty"`
	FwMark     *uint32         `json:"fwmark,omitempty"`
	Hooks      *hooksRecord    `json:"hooks,omitempty"`
	Forward    *string         `json:"forward,omitempty"`
	Masquerade *string         `json:"masquerade,omitempty"`
}

type hooksRecord struct {
	PreUp    []string `json:"pre_up,omitempty"`
	PostUp   []string `json:"post_up,omitempty"`
	PreDown  []string `json:"pre_down,omitempty"`
	PostDown []string `json:"post_down,omitempty"`
}

// peerRecord is a Peer at rest.
type peerRecord struct {
	Name              string         `json:"name"`
	PublicKey         []byte         `json:"public_key"`
	PrivateKey        []byte         `json:"private_key,omitempty"`
	PresharedKey      []byte         `json:"preshared_key,omitempty"`
	AllowedIPs        []netip.Prefix `json:"allowed_ips,omitempty"`
	Keepalive         *int           `json:"persistent_keepalive,omitempty"`
	DNS               *string        `json:"dns,omitempty"`
	MTU               *int           `json:"mtu,omitempty"`
	EndpointAllowedIP *string        `json:"endpoint_allowed_ip,omitempty"`
	TemplateID        string         `json:"template_id,omitempty"`
	Enabled           bool           `json:"enabled"`
	ExpiresAt         time.Time      `json:"expires_at,omitzero"`
	Adopted           bool           `json:"adopted,omitempty"`
	CreatedAt         time.Time      `json:"created_at"`
	UpdatedAt         time.Time      `json:"updated_at"`
}

// keyRecord is a Key at rest.
type keyRecord struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"created_at"`
}

func recordOfNode(n Node, peers int) nodeRecord {
	return nodeRecord{
		desiredRecord: desiredRecord{
			Name: n.Name, Endpoint: n.Endpoint, IPPools: n.IPPools, Enabled: n.Enabled, Weight: n.Weight, MaxPeers: n.MaxPeers,
			ListenPort: n.Overrides.ListenPort, DNS: n.Overrides.DNS, MTU: n.Overrides.MTU, Keepalive: n.Overrides.Keepalive,
			EndpointAllowedIP: n.Overrides.EndpointAllowedIP, GroupID: n.GroupID, TemplateID: n.TemplateID, Wish: recordOfWish(n.Wish),
		},
		AgentURL: n.AgentURL, Secret: string(n.Secret), WGInterface: n.WGInterface, IsPanelNode: n.IsPanelNode, TLSPin: n.TLSPin,
		AllowPlainSecrets: n.AllowPlainSecrets, Drift: recordOfPolicy(n.Drift), AgentID: n.AgentID, SpeaksV2: n.SpeaksV2,
		Trust: n.Trust, SeenPublicKey: n.SeenPublicKey, SeenListenPort: n.SeenListenPort, Revision: n.Revision,
		PeerCount: peers, CreatedAt: n.CreatedAt, UpdatedAt: n.UpdatedAt,
	}
}

// node needs ps where what the node inherits matters.
func (r nodeRecord) node(id string, ps *presets) Node {
	return Node{
		ID: id, Name: r.Name, AgentURL: r.AgentURL, Secret: agent.Secret(r.Secret), WGInterface: r.WGInterface,
		Endpoint: r.Endpoint, IPPools: r.IPPools, Enabled: r.Enabled, Weight: r.Weight, MaxPeers: r.MaxPeers,
		Overrides: Overrides{
			ListenPort: r.ListenPort, DNS: r.DNS, MTU: r.MTU, Keepalive: r.Keepalive, EndpointAllowedIP: r.EndpointAllowedIP,
		},
		GroupID: r.GroupID, TemplateID: r.TemplateID,
		IsPanelNode: r.IsPanelNode, TLSPin: r.TLSPin, AllowPlainSecrets: r.AllowPlainSecrets, Wish: r.Wish.wish(), Drift: r.Drift.input(),
		AgentID: r.AgentID, SpeaksV2: r.SpeaksV2, Trust: r.Trust, SeenPublicKey: r.SeenPublicKey,
		SeenListenPort: r.SeenListenPort, Revision: r.Revision, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
		presets: ps,
	}
}

func recordOfWish(w InterfaceWish) wishRecord {
	r := wishRecord{
		PublicKey: w.PublicKey, ListenPort: w.ListenPort, Addresses: w.Addresses, MTU: w.MTU,
		DNS: w.DNS, Table: w.Table, FwMark: w.FwMark, Forward: w.Forward, Masquerade: w.Masquerade,
	}
	if w.Hooks != nil {
		h := hooksRecord(*w.Hooks)
		r.Hooks = &h
	}
	return r
}

func (r wishRecord) wish() InterfaceWish {
	w := InterfaceWish{
		PublicKey: r.PublicKey, ListenPort: r.ListenPort, Addresses: r.Addresses, MTU: r.MTU,
		DNS: r.DNS, Table: r.Table, FwMark: r.FwMark, Forward: r.Forward, Masquerade: r.Masquerade,
	}
	if r.Hooks != nil {
		h := agent.Hooks(*r.Hooks)
		w.Hooks = &h
	}
	return w
}

func recordOfPeer(p Peer) peerRecord {
	return peerRecord{
		Name: p.Name, PublicKey: p.PublicKey[:], PrivateKey: secretBytes(p.PrivateKey), PresharedKey: secretBytes(p.PresharedKey),
		AllowedIPs: p.AllowedIPs, Keepalive: p.Keepalive, DNS: p.DNS, MTU: p.MTU, EndpointAllowedIP: p.EndpointAllowedIP,
		TemplateID: p.TemplateID, Enabled: p.Enabled, ExpiresAt: p.ExpiresAt, Adopted: p.Adopted,
		CreatedAt: p.CreatedAt, UpdatedAt: p.UpdatedAt,
	}
}

func (r peerRecord) peer(nodeID, id string) Peer {
	return Peer{
		ID: id, Name: r.Name, NodeID: nodeID, PublicKey: keyOf(r.PublicKey),
		PrivateKey: engine.NewSecretKey(keyOf(r.PrivateKey)), PresharedKey: engine.NewSecretKey(keyOf(r.PresharedKey)),
		AllowedIPs: r.AllowedIPs, Keepalive: r.Keepalive, DNS: r.DNS, MTU: r.MTU, EndpointAllowedIP: r.EndpointAllowedIP,
		TemplateID: r.TemplateID, Enabled: r.Enabled, ExpiresAt: r.ExpiresAt, Adopted: r.Adopted,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
}

func secretBytes(k engine.SecretKey) []byte {
	if k.IsZero() {
		return nil
	}
	b := k.Reveal()
	return b[:]
}

// keyOf is the zero key for none.
func keyOf(b []byte) (k wgtypes.Key) {
	copy(k[:], b)
	return k
}

func (r keyRecord) key() Key {
	return Key(r)
}
