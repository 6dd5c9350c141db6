package web

import (
	"net/netip"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel"
)

// nodeData is a node in answers; the shared secret is never in it.
type nodeData struct {
	ID                        string          `json:"id"`
	Name                      string          `json:"name"`
	AgentURL                  string          `json:"agent_url"`
	WGInterface               string          `json:"wg_interface"`
	Endpoint                  string          `json:"endpoint" doc:"host or host:port that clients dial; without a port, the effective listen port"`
	IPPoolCIDR                string          `json:"ip_pool_cidr" doc:"comma list of an IPv4 and an IPv6 prefix at most"`
	Enabled                   bool            `json:"enabled"`
	Weight                    int             `json:"weight"`
	MaxPeers                  int             `json:"max_peers" doc:"0 for no limit"`
	PeerCount                 int             `json:"peer_count"`
	OverrideListenPort        *int            `json:"override_listen_port"`
	OverrideDNS               *string         `json:"override_dns"`
	OverrideMTU               *int            `json:"override_mtu"`
	OverrideKeepalive         *int            `json:"override_keepalive"`
	OverrideEndpointAllowedIP *string         `json:"override_endpoint_allowed_ip"`
	GroupID                   *string         `json:"group_id"`
	TemplateID                *string         `json:"template_id"`
	IsPanelNode               bool            `json:"is_panel_node"`
	AgentID                   string          `json:"agent_id"`
	AgentVersion              string          `json:"agent_version"`
	TLSPin                    string          `json:"tls_pin"`
	AllowPlaintextSecrets     bool            `json:"allow_plaintext_secrets"`
	Revision                  uint64          `json:"revision"`
	LastSeen                  *string         `json:"last_seen" format:"date-time"`
	Health                    string          `json:"health" doc:"online, offline or unknown"`
	Error                     string          `json:"error" doc:"why the node is not online, in one sentence"`
	Conditions                []conditionData `json:"conditions"`
	Healing                   string          `json:"healing" doc:"why not all is put right by itself, in one sentence; empty: it is, or need not be"`
	Drift                     policyData      `json:"drift" doc:"what of the policy is this node's own; null: the fleet's holds"`
	EffectiveDrift            policyData      `json:"effective_drift" doc:"the policy that holds"`
	CreatedAt                 string          `json:"created_at" format:"date-time"`
	UpdatedAt                 string          `json:"updated_at" format:"date-time"`
}

// createdNodeData is the answer of a creation, the only one that may show a secret.
type createdNodeData struct {
	nodeData
	Secret string `json:"secret,omitempty" doc:"the shared secret, where it was made here: shown this once"`
}

// nodeBody creates or changes a node.
type nodeBody struct {
	Name                      *string          `json:"name"`
	AgentURL                  *string          `json:"agent_url" doc:"any http or https address"`
	Secret                    *string          `json:"secret" doc:"the shared secret; made here where a creation leaves it out"`
	WGInterface               *string          `json:"wg_interface"`
	Endpoint                  *string          `json:"endpoint"`
	IPPoolCIDR                *string          `json:"ip_pool_cidr"`
	Enabled                   *bool            `json:"enabled"`
	Weight                    *int             `json:"weight"`
	MaxPeers                  *int             `json:"max_peers"`
	TLSPin                    *string          `json:"tls_pin" doc:"hex SHA-256 of the agent's certificate; an empty text clears it"`
	AllowPlaintextSecrets     *bool            `json:"allow_plaintext_secrets"`
	OverrideListenPort        optional[int]    `json:"override_listen_port"`
	OverrideDNS               optional[string] `json:"override_dns"`
	OverrideMTU               optional[int]    `json:"override_mtu"`
	OverrideKeepalive         optional[int]    `json:"override_keepalive"`
	OverrideEndpointAllowedIP optional[string] `json:"override_endpoint_allowed_ip"`
	Drift                     policyBody       `json:"drift" doc:"how the node is watched and healed; null in it: the fleet's policy holds again"`
	GroupID                   optional[string] `json:"group_id"`
	TemplateID                optional[string] `json:"template_id" doc:"of kind node"`
}

type conditionData struct {
	Type             string  `json:"type" doc:"Reachable, Synced, Healthy or ClockInSync"`
	Status           string  `json:"status" doc:"True, False or Unknown"`
	Reason           string  `json:"reason"`
	Message          string  `json:"message"`
	Since            *string `json:"since" format:"date-time"`
	ObservedRevision uint64  `json:"observed_revision" doc:"of the node's desired state, when it was judged"`
}

// nodeTestData is what a contact with an agent showed.
type nodeTestData struct {
	Reachable     bool     `json:"reachable"`
	Authenticated bool     `json:"authenticated"`
	AgentID       string   `json:"agent_id"`
	Version       string   `json:"version"`
	Capabilities  []string `json:"capabilities"`
	Interfaces    []string `json:"interfaces"`
	LatencyMS     float64  `json:"latency_ms"`
	ClockSkewMS   float64  `json:"clock_skew_ms" doc:"the agent's clock less the panel's"`
	Error         string   `json:"error"`
}

type toggleBody struct {
	Enabled *bool `json:"enabled" required:"true"`
}

func toNodeInput(b nodeBody) panel.NodeInput {
	in := panel.NodeInput{
		Name: b.Name, AgentURL: b.AgentURL, WGInterface: b.WGInterface, Endpoint: b.Endpoint,
		IPPoolCIDR: b.IPPoolCIDR, Enabled: b.Enabled, Weight: b.Weight, MaxPeers: b.MaxPeers,
		TLSPin: b.TLSPin, AllowPlainSecrets: b.AllowPlaintextSecrets,
		Overrides: panel.OverridesInput{
			ListenPort:        panel.Optional[int](b.OverrideListenPort),
			DNS:               panel.Optional[string](b.OverrideDNS),
			MTU:               panel.Optional[int](b.OverrideMTU),
			Keepalive:         panel.Optional[int](b.OverrideKeepalive),
			EndpointAllowedIP: panel.Optional[string](b.OverrideEndpointAllowedIP),
		},
		GroupID: panel.Optional[string](b.GroupID), TemplateID: panel.Optional[string](b.TemplateID),
	}
	in.Drift = b.Drift.input()
	if b.Secret != nil {
		in.Secret = new(agent.Secret(*b.Secret))
	}
	return in
}

func fromNode(n panel.NodeView) nodeData {
	return nodeData{
		ID: n.ID, Name: n.Name, AgentURL: n.AgentURL, WGInterface: n.WGInterface, Endpoint: n.Endpoint,
		IPPoolCIDR: poolText(n.IPPools),
		Enabled:    n.Enabled, Weight: n.Weight, MaxPeers: n.MaxPeers, PeerCount: n.PeerCount,
		OverrideListenPort: n.Overrides.ListenPort, OverrideDNS: n.Overrides.DNS, OverrideMTU: n.Overrides.MTU,
		OverrideKeepalive: n.Overrides.Keepalive, OverrideEndpointAllowedIP: n.Overrides.EndpointAllowedIP,
		GroupID: textOrNull(n.GroupID), TemplateID: textOrNull(n.TemplateID),
		IsPanelNode: n.IsPanelNode, AgentID: n.AgentID, AgentVersion: n.Status.Version, TLSPin: n.TLSPin,
		AllowPlaintextSecrets: n.AllowPlainSecrets, Revision: n.Revision,
		LastSeen: stampOrNull(n.Status.LastSeen), Health: n.Status.Health, Error: n.Status.Error,
		Conditions: each(n.Status.Conditions, fromCondition), Healing: n.Status.Healing,
		Drift: fromPolicyInput(n.Node.Drift), EffectiveDrift: fromPolicy(n.Policy),
		CreatedAt: stamp(n.CreatedAt), UpdatedAt: stamp(n.UpdatedAt),
	}
}

func poolText(pools []netip.Prefix) string {
	return strings.Join(each(pools, netip.Prefix.String), ", ")
}

func fromCondition(c panel.Condition) conditionData {
	return conditionData{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message, Since: stampOrNull(c.Since), ObservedRevision: c.ObservedRevision}
}

// stamp is RFC 3339 in UTC.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func stampOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return new(stamp(t))
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (s *Server) listNodes(c *gin.Context, _ none) (answer[[]nodeData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]nodeData]{}, err
	}
	nodes, next, err := s.panel.Nodes(c.Request.Context(), page)
	return answer[[]nodeData]{message: "Nodes listed", data: each(nodes, fromNode), next: next}, err
}

// listEnabledNodes fills a page from as many pages of all nodes as it takes.
func (s *Server) listEnabledNodes(c *gin.Context, _ none) (answer[[]nodeData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]nodeData]{}, err
	}
	out := answer[[]nodeData]{message: "Enabled nodes listed", data: []nodeData{}}
	want := page.Limit
	for {
		nodes, next, err := s.panel.Nodes(c.Request.Context(), page)
		if err != nil {
			return out, err
		}
		for _, n := range nodes {
			if n.Enabled {
				out.data = append(out.data, fromNode(n))
			}
		}
		if next == "" || (want > 0 && len(out.data) >= want) {
			out.next = next
			return out, nil
		}
		page.Cursor = next
		if want > 0 {
			page.Limit = want - len(out.data)
		}
	}
}

func (s *Server) getNode(c *gin.Context, _ none) (answer[nodeData], error) {
	n, err := s.panel.Node(c.Request.Context(), c.Param("id"))
	return answer[nodeData]{message: "Node found", data: fromNode(n)}, err
}

func (s *Server) createNode(c *gin.Context, b nodeBody) (answer[createdNodeData], error) {
	n, secret, err := s.panel.CreateNode(c.Request.Context(), toNodeInput(b))
	return answer[createdNodeData]{message: "Node created", data: createdNodeData{fromNode(n), secret}}, err
}

func (s *Server) updateNode(c *gin.Context, b nodeBody) (answer[nodeData], error) {
	n, err := s.panel.UpdateNode(c.Request.Context(), c.Param("id"), toNodeInput(b))
	return answer[nodeData]{message: "Node updated", data: fromNode(n)}, err
}

func (s *Server) deleteNode(c *gin.Context, _ none) (answer[none], error) {
	err := s.panel.DeleteNode(c.Request.Context(), c.Param("id"))
	return answer[none]{message: "Node deleted"}, err
}

func (s *Server) toggleNode(c *gin.Context, b toggleBody) (answer[nodeData], error) {
	if b.Enabled == nil {
		return answer[nodeData]{}, panel.Invalid("enabled", "is needed: true or false")
	}
	n, err := s.panel.UpdateNode(c.Request.Context(), c.Param("id"), panel.NodeInput{Enabled: b.Enabled})
	message := "Node disabled"
	if *b.Enabled {
		message = "Node enabled"
	}
	return answer[nodeData]{message: message, data: fromNode(n)}, err
}

func (s *Server) testNode(c *gin.Context, _ none) (answer[nodeTestData], error) {
	t, err := s.panel.TestNode(c.Request.Context(), c.Param("id"))
	message := "The agent answered"
	switch {
	case !t.Reachable:
		message = "The agent could not be reached"
	case !t.Authenticated:
		message = "The agent answered, but did not accept the shared secret"
	}
	return answer[nodeTestData]{message: message, data: nodeTestData{
		Reachable: t.Reachable, Authenticated: t.Authenticated, AgentID: t.AgentID, Version: t.Version,
		Capabilities: notNil(t.Capabilities), Interfaces: notNil(t.Interfaces),
		LatencyMS: milliseconds(t.Latency), ClockSkewMS: milliseconds(t.ClockSkew), Error: t.Error,
	}}, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
