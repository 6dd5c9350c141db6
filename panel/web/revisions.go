package web

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// revisionData is one change of what the panel wants of a node.
type revisionData struct {
	Revision     uint64    `json:"revision"`
	At           string    `json:"at" format:"date-time"`
	Actor        actorData `json:"actor"`
	Summary      string    `json:"summary"`
	NodeFields   []string  `json:"node_fields" doc:"of the node that changed, those as well that no rollback restores"`
	PeersAdded   int       `json:"peers_added"`
	PeersUpdated int       `json:"peers_updated"`
	PeersRemoved int       `json:"peers_removed"`
}

// revisionStateData is what the panel wanted of a node at a revision.
type revisionStateData struct {
	revisionData
	Node  desiredNodeData `json:"node"`
	Peers []peerData      `json:"peers"`
}

// desiredNodeData is what revisions keep of a node.
type desiredNodeData struct {
	Name                      string        `json:"name"`
	Endpoint                  string        `json:"endpoint"`
	IPPoolCIDR                string        `json:"ip_pool_cidr"`
	Enabled                   bool          `json:"enabled"`
	Weight                    int           `json:"weight"`
	MaxPeers                  int           `json:"max_peers"`
	OverrideListenPort        *int          `json:"override_listen_port"`
	OverrideDNS               *string       `json:"override_dns"`
	OverrideMTU               *int          `json:"override_mtu"`
	OverrideKeepalive         *int          `json:"override_keepalive"`
	OverrideEndpointAllowedIP *string       `json:"override_endpoint_allowed_ip"`
	GroupID                   *string       `json:"group_id"`
	TemplateID                *string       `json:"template_id"`
	Interface                 interfaceData `json:"interface"`
}

type fieldChangeData struct {
	Field  string `json:"field" doc:"as in the API; interface.FIELD of the interface"`
	Before any    `json:"before" doc:"of a key: set or unset"`
	After  any    `json:"after" doc:"of a key: set, unset or different"`
}

type peerDiffData struct {
	Op        string            `json:"op" doc:"add, update or remove"`
	PeerID    string            `json:"peer_id"`
	PublicKey string            `json:"public_key"`
	Name      string            `json:"name"`
	Changes   []fieldChangeData `json:"changes"`
}

// revisionDiffData is what leads from one revision to another.
type revisionDiffData struct {
	From  uint64            `json:"from"`
	To    uint64            `json:"to"`
	Node  []fieldChangeData `json:"node"`
	Peers []peerDiffData    `json:"peers"`
}

type rollbackBody struct {
	PlanID *string `json:"plan_id" doc:"carry out this plan, and no other; without it a plan is made and nothing changes. 409 says what changed since it was made"`
}

// rollbackData is a plan to go back to a revision, or what came of it.
type rollbackData struct {
	PlanID       string           `json:"plan_id"`
	NodeID       string           `json:"node_id"`
	FromRevision uint64           `json:"from_revision"`
	ToRevision   uint64           `json:"to_revision"`
	Diff         revisionDiffData `json:"diff"`
	Warnings     []string         `json:"warnings"`
	ExpiresAt    string           `json:"expires_at" format:"date-time" doc:"of the plan"`
	Done         bool             `json:"done" doc:"false of a plan"`
	Revision     uint64           `json:"revision" doc:"of the node now"`
}

func fromRevision(r panel.Revision) revisionData {
	return revisionData{
		Revision: r.Number, At: stamp(r.At), Actor: actorData(r.Actor),
		Summary: r.Summary, NodeFields: notNil(r.Fields), PeersAdded: r.Added, PeersUpdated: r.Updated, PeersRemoved: r.Removed,
	}
}

func fromRevisionState(r panel.RevisionState) revisionStateData {
	n := r.Node
	return revisionStateData{
		revisionData: fromRevision(r.Revision),
		Node: desiredNodeData{
			Name: n.Name, Endpoint: n.Endpoint, IPPoolCIDR: strings.Join(each(n.IPPools, netip.Prefix.String), ", "),
			Enabled: n.Enabled, Weight: n.Weight, MaxPeers: n.MaxPeers,
			OverrideListenPort: n.Overrides.ListenPort, OverrideDNS: n.Overrides.DNS, OverrideMTU: n.Overrides.MTU,
			OverrideKeepalive: n.Overrides.Keepalive, OverrideEndpointAllowedIP: n.Overrides.EndpointAllowedIP,
			GroupID: textOrNull(n.GroupID), TemplateID: textOrNull(n.TemplateID), Interface: fromWish(n.Wish),
		},
		Peers: each(r.Peers, fromPeer),
	}
}

func fromFieldChange(c panel.FieldChange) fieldChangeData {
	return fieldChangeData{c.Field, listValue(c.Before), listValue(c.After)}
}

func fromRevisionDiff(d panel.RevisionDiff) revisionDiffData {
	return revisionDiffData{
		From: d.From, To: d.To, Node: each(d.Node, fromFieldChange),
		Peers: each(d.Peers, func(p panel.PeerDiff) peerDiffData {
			return peerDiffData{p.Op, p.PeerID, p.PublicKey, p.Name, each(p.Changes, fromFieldChange)}
		}),
	}
}

// revisionParam reads a revision from the path; what is no number is none that there is.
func revisionParam(c *gin.Context) (uint64, error) {
	n, err := strconv.ParseUint(c.Param("revision"), 10, 64)
	if err != nil {
		return 0, &requestError{status: http.StatusNotFound, message: "There is no such revision: expected its number, 1 or more."}
	}
	return n, nil
}

func (s *Server) listRevisions(c *gin.Context, _ none) (answer[[]revisionData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]revisionData]{}, err
	}
	list, next, err := s.panel.Revisions(c.Request.Context(), c.Param("id"), page)
	return answer[[]revisionData]{message: "Revisions listed", data: each(list, fromRevision), next: next}, err
}

func (s *Server) getRevision(c *gin.Context, _ none) (answer[revisionStateData], error) {
	number, err := revisionParam(c)
	if err != nil {
		return answer[revisionStateData]{}, err
	}
	r, err := s.panel.Revision(c.Request.Context(), c.Param("id"), number)
	return answer[revisionStateData]{message: "Revision found", data: fromRevisionState(r)}, err
}

func (s *Server) diffRevision(c *gin.Context, _ none) (answer[revisionDiffData], error) {
	from, err := revisionParam(c)
	if err != nil {
		return answer[revisionDiffData]{}, err
	}
	var to uint64
	if text, ok := c.GetQuery("to"); ok {
		if to, err = strconv.ParseUint(text, 10, 64); err != nil || to == 0 {
			return answer[revisionDiffData]{}, panel.Invalid("to", "expected a revision: a whole number, 1 or more")
		}
	}
	d, err := s.panel.DiffRevisions(c.Request.Context(), c.Param("id"), from, to)
	return answer[revisionDiffData]{message: "Revisions compared", data: fromRevisionDiff(d)}, err
}

func (s *Server) rollback(c *gin.Context, b rollbackBody) (answer[rollbackData], error) {
	to, err := revisionParam(c)
	if err != nil {
		return answer[rollbackData]{}, err
	}
	planID, message := "", "Rollback planned"
	if b.PlanID != nil {
		if planID, message = *b.PlanID, "Rolled back"; planID == "" {
			return answer[rollbackData]{}, panel.Invalid("plan_id", "is empty: leave it out, or send the one of a plan")
		}
	}
	r, err := s.panel.Rollback(c.Request.Context(), c.Param("id"), to, planID)
	return answer[rollbackData]{message: message, data: rollbackData{
		PlanID: r.PlanID, NodeID: r.NodeID, FromRevision: r.From, ToRevision: r.To, Diff: fromRevisionDiff(r.Diff),
		Warnings: notNil(r.Warnings), ExpiresAt: stamp(r.ExpiresAt), Done: r.Done, Revision: r.Revision,
	}}, err
}
