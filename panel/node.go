package panel

import (
	"net/netip"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/policy"
)

// Defaults of the panel for what neither a peer nor its node says.
const (
	DefaultDNS               = "1.1.1.1"
	DefaultMTU               = 1420
	DefaultKeepalive         = 21 // seconds
	DefaultEndpointAllowedIP = "0.0.0.0/0, ::/0"
	DefaultWeight            = 100
	DefaultInterface         = "wg0"
)

// Node is one agent's interface as the panel wants it.
type Node struct {
	ID                string
	Name              string
	AgentURL          string // http or https
	Secret            agent.Secret
	WGInterface       string
	Endpoint          string         // host or host:port that clients dial; without a port, the effective listen port
	IPPools           []netip.Prefix // an IPv4 and an IPv6 one at most
	Enabled           bool
	Weight            int // 1 or more
	MaxPeers          int // 0: no limit
	Overrides         Overrides
	GroupID           string // "": in none
	TemplateID        string // of kind node; "": none
	IsPanelNode       bool
	TLSPin            string // hex SHA-256 of the agent's certificate, "" for none
	AllowPlainSecrets bool   // send keys over plain HTTP beyond loopback
	Wish              InterfaceWish
	Drift             policy.Input // what of the policy is this node's own
	AgentID           string       // pinned at the first signed contact; "" before, and for an original agent
	SpeaksV2          bool         // it did once: from then on unsigned answers are refused
	Trust             uint64       // grows when AgentID and SpeaksV2 are forgotten on purpose
	SeenPublicKey     string       // the interface's, last seen; "": never
	SeenListenPort    int          // 0: never seen
	Revision          uint64       // grows with each change of desired state of the node or its peers
	CreatedAt         time.Time
	UpdatedAt         time.Time

	presets *presets // what the node and its peers inherit from, read together with it
}

// Overrides replace the panel's defaults on one node. nil: not overridden.
type Overrides struct {
	ListenPort        *int
	DNS               *string // comma list of addresses and search domains
	MTU               *int
	Keepalive         *int
	EndpointAllowedIP *string // comma list of prefixes
}

// InterfaceWish is what the panel wants of the interface itself. nil: no wish, not compared.
type InterfaceWish struct {
	PublicKey  *string
	ListenPort *int // Overrides.ListenPort wins
	Addresses  *[]netip.Prefix
	MTU        *int
	DNS        *string
	Table      *string
	FwMark     *uint32
	Hooks      *agent.Hooks
	Forward    *string // "any" or a list of links that packets from the interface may leave by; "": off
	Masquerade *string // the same for those behind which they get the host's address
}

// NodeStatus is what the panel last learnt of a node; it lives in memory.
type NodeStatus struct {
	LastSeen   time.Time // zero: never
	Health     string    // "online", "offline", "unknown"
	Version    string
	Error      string // what the last contact failed of, in one sentence; of an online node, too
	Conditions []Condition
	Drift      string // the verdict of the last look, of package drift; "": never looked at
	Healing    string // why not all is put right by itself, one sentence; "": it is, or need not be
	Stopped    bool   // healing was given up
}

// Condition is one verdict on a node, as in Kubernetes.
type Condition struct {
	Type             string // Reachable, Synced, Healthy, ClockInSync
	Status           string // "True", "False", "Unknown"
	Reason           string // CamelCase
	Message          string
	Since            time.Time // of the status
	ObservedRevision uint64    // of the node's desired state, when it was judged
}

// NodeView is a node with its status.
type NodeView struct {
	Node
	Status    NodeStatus
	PeerCount int
	Policy    policy.Policy // that holds: the fleet's with the node's own over it
}

// Verdict is what is known of the node's drift now: the last look's, of a node that answers still and is
// looked at.
func (v NodeView) Verdict() string {
	if !v.Enabled || v.Policy.Mode == policy.Off || v.Status.Health != HealthOnline || v.Status.Error != "" || v.Status.Drift == "" {
		return drift.Unknown
	}
	return v.Status.Drift
}

// NodeInput creates a node; nil fields take their defaults. It also changes one: nil leaves a
// field as it is.
type NodeInput struct {
	Name              *string
	AgentURL          *string
	Secret            *agent.Secret
	WGInterface       *string
	Endpoint          *string
	IPPoolCIDR        *string // comma list: an IPv4 and an IPv6 prefix at most
	Enabled           *bool
	Weight            *int
	MaxPeers          *int
	TLSPin            *string
	AllowPlainSecrets *bool
	Overrides         OverridesInput
	Drift             PolicyInput
	GroupID           Optional[string]
	TemplateID        Optional[string]
}

// OverridesInput changes overrides.
type OverridesInput struct {
	ListenPort        Optional[int]
	DNS               Optional[string]
	MTU               Optional[int]
	Keepalive         Optional[int]
	EndpointAllowedIP Optional[string]
}

// Optional is a field of a change that can be absent (Set false), cleared (Value nil) or given.
type Optional[T any] struct {
	Set   bool
	Value *T
}

// NodeTest is the outcome of a contact with an agent, asked for by a person.
type NodeTest struct {
	Reachable     bool
	Authenticated bool
	AgentID       string
	Version       string
	Capabilities  []string
	Interfaces    []string
	Latency       time.Duration
	ClockSkew     time.Duration // the agent's clock less ours
	Error         string
}
