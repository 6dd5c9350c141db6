package web

import (
	"net/netip"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// peerData is a peer in answers: of its private and preshared key only whether they are there.
type peerData struct {
	ID                  string        `json:"id"`
	Name                string        `json:"name"`
	NodeID              string        `json:"node_id"`
	Interface           string        `json:"interface"`
	PublicKey           string        `json:"public_key"`
	HasPrivateKey       bool          `json:"has_private_key"`
	HasPresharedKey     bool          `json:"has_preshared_key"`
	AllowedIPs          []string      `json:"allowed_ips"`
	PersistentKeepalive *int          `json:"persistent_keepalive"`
	DNS                 *string       `json:"dns"`
	MTU                 *int          `json:"mtu"`
	EndpointAllowedIP   *string       `json:"endpoint_allowed_ip"`
	TemplateID          *string       `json:"template_id"`
	Effective           effectiveData `json:"effective"`
	ClientConfigStale   bool          `json:"client_config_stale" doc:"the client's file was fetched once, and it would be another now"`
	Enabled             bool          `json:"enabled"`
	ExpiresAt           *string       `json:"expires_at" format:"date-time" doc:"null: never"`
	Expired             bool          `json:"expired" doc:"its time has come: it is not wanted on the node, as a disabled one"`
	Warnings            []string      `json:"warnings"`
	CreatedAt           string        `json:"created_at" format:"date-time"`
	UpdatedAt           string        `json:"updated_at" format:"date-time"`
}

// effectiveData is what holds for a peer. Its own field wins, then its template, the node's override, the node's
// template, the node's group, the default.
type effectiveData struct {
	DNS                 string `json:"dns"`
	MTU                 int    `json:"mtu"`
	PersistentKeepalive int    `json:"persistent_keepalive"`
	EndpointAllowedIP   string `json:"endpoint_allowed_ip"`
	Endpoint            string `json:"endpoint"`
}

// peerBody creates or changes a peer.
type peerBody struct {
	Name                *string          `json:"name"`
	PublicKey           *string          `json:"public_key" doc:"left out on creation: the key pair is made here"`
	PrivateKey          *string          `json:"private_key"`
	PresharedKey        optional[string] `json:"preshared_key" doc:"a key, auto, or null for none"`
	AllowedIPs          *[]string        `json:"allowed_ips" doc:"left out on creation: the lowest free address of each pool"`
	PersistentKeepalive optional[int]    `json:"persistent_keepalive"`
	DNS                 optional[string] `json:"dns"`
	MTU                 optional[int]    `json:"mtu"`
	EndpointAllowedIP   optional[string] `json:"endpoint_allowed_ip"`
	TemplateID          optional[string] `json:"template_id" doc:"of kind peer"`
	Enabled             *bool            `json:"enabled"`
	ExpiresAt           optional[string] `json:"expires_at" format:"date-time" doc:"a time to come, from which on the peer is not wanted; null for never"`
	AllowOffline        *bool            `json:"allow_offline" doc:"keep the change though the node can't be reached; it shows as drift"`
}

// placedPeerBody creates a peer on a node that it names, or that is chosen.
type placedPeerBody struct {
	peerBody
	NodeSelection *string `json:"node_selection" doc:"a node id, or auto (the default)"`
}

type deletePeerBody struct {
	AllowOffline *bool `json:"allow_offline"`
}

func toPeerInput(b peerBody) panel.PeerInput {
	in := panel.PeerInput{
		Name: b.Name, PublicKey: b.PublicKey, PrivateKey: b.PrivateKey,
		PresharedKey: panel.Optional[string](b.PresharedKey), AllowedIPs: b.AllowedIPs,
		Keepalive: panel.Optional[int](b.PersistentKeepalive), DNS: panel.Optional[string](b.DNS),
		MTU: panel.Optional[int](b.MTU), EndpointAllowedIP: panel.Optional[string](b.EndpointAllowedIP),
		TemplateID: panel.Optional[string](b.TemplateID), Enabled: b.Enabled, ExpiresAt: panel.Optional[string](b.ExpiresAt),
		AllowOffline: b.AllowOffline != nil && *b.AllowOffline,
	}
	if k := in.PresharedKey.Value; k != nil && *k == "" {
		in.PresharedKey.Value = nil
	}
	return in
}

func fromPeer(p panel.PeerView) peerData {
	return peerData{
		ID: p.ID, Name: p.Name, NodeID: p.NodeID, Interface: p.Interface, PublicKey: p.PublicKey.String(),
		HasPrivateKey: !p.PrivateKey.IsZero(), HasPresharedKey: !p.PresharedKey.IsZero(),
		AllowedIPs:          each(p.AllowedIPs, netip.Prefix.String),
		PersistentKeepalive: p.Keepalive, DNS: p.DNS, MTU: p.MTU, EndpointAllowedIP: p.EndpointAllowedIP,
		TemplateID: textOrNull(p.TemplateID), ClientConfigStale: p.ConfigStale,
		Effective: effectiveData{
			DNS: p.Effective.DNS, MTU: p.Effective.MTU, PersistentKeepalive: p.Effective.Keepalive,
			EndpointAllowedIP: p.Effective.EndpointAllowedIP, Endpoint: p.Effective.Endpoint,
		},
		Enabled: p.Enabled, ExpiresAt: stampOrNull(p.ExpiresAt), Expired: p.Expired, Warnings: notNil(p.Warnings), CreatedAt: stamp(p.CreatedAt), UpdatedAt: stamp(p.UpdatedAt),
	}
}

func (s *Server) listPeers(c *gin.Context, _ none) (answer[[]peerData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]peerData]{}, err
	}
	peers, next, err := s.panel.Peers(c.Request.Context(), c.Param("id"), page)
	return answer[[]peerData]{message: "Peers listed", data: each(peers, fromPeer), next: next}, err
}

func (s *Server) searchPeers(c *gin.Context, _ none) (answer[[]peerData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]peerData]{}, err
	}
	peers, next, err := s.panel.SearchPeers(c.Request.Context(), c.Query("q"), page)
	return answer[[]peerData]{message: "Peers found", data: each(peers, fromPeer), next: next}, err
}

func (s *Server) getPeer(c *gin.Context, _ none) (answer[peerData], error) {
	p, err := s.panel.Peer(c.Request.Context(), c.Param("id"), c.Param("peer_id"))
	return answer[peerData]{message: "Peer found", data: fromPeer(p)}, err
}

func (s *Server) createPeer(c *gin.Context, b peerBody) (answer[peerData], error) {
	p, err := s.panel.CreatePeer(c.Request.Context(), c.Param("id"), toPeerInput(b))
	return answer[peerData]{message: "Peer created", data: fromPeer(p)}, err
}

func (s *Server) placePeer(c *gin.Context, b placedPeerBody) (answer[peerData], error) {
	node := panel.NodeAuto
	if b.NodeSelection != nil {
		node = *b.NodeSelection
	}
	if node == "" {
		return answer[peerData]{}, panel.Invalid("node_selection", "expected a node id or auto")
	}
	p, err := s.panel.CreatePeer(c.Request.Context(), node, toPeerInput(b.peerBody))
	return answer[peerData]{message: "Peer created", data: fromPeer(p)}, err
}

func (s *Server) updatePeer(c *gin.Context, b peerBody) (answer[peerData], error) {
	p, err := s.panel.UpdatePeer(c.Request.Context(), c.Param("id"), c.Param("peer_id"), toPeerInput(b))
	return answer[peerData]{message: "Peer updated", data: fromPeer(p)}, err
}

func (s *Server) deletePeer(c *gin.Context, b deletePeerBody) (answer[none], error) {
	allow, err := boolQuery(c, "allow_offline")
	if err != nil {
		return answer[none]{}, err
	}
	if b.AllowOffline != nil {
		allow = b.AllowOffline
	}
	err = s.panel.DeletePeer(c.Request.Context(), c.Param("id"), c.Param("peer_id"), allow != nil && *allow)
	return answer[none]{message: "Peer deleted"}, err
}
