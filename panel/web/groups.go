package web

import (
	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// groupData is a group of nodes in answers.
type groupData struct {
	ID                        string  `json:"id"`
	Name                      string  `json:"name"`
	Description               string  `json:"description"`
	OverrideDNS               *string `json:"override_dns"`
	OverrideMTU               *int    `json:"override_mtu"`
	OverrideKeepalive         *int    `json:"override_keepalive"`
	OverrideEndpointAllowedIP *string `json:"override_endpoint_allowed_ip"`
	NodeCount                 int     `json:"node_count"`
	CreatedAt                 string  `json:"created_at" format:"date-time"`
	UpdatedAt                 string  `json:"updated_at" format:"date-time"`
}

// groupBody creates or changes a group.
type groupBody struct {
	Name                      *string          `json:"name"`
	Description               *string          `json:"description"`
	OverrideDNS               optional[string] `json:"override_dns"`
	OverrideMTU               optional[int]    `json:"override_mtu"`
	OverrideKeepalive         optional[int]    `json:"override_keepalive"`
	OverrideEndpointAllowedIP optional[string] `json:"override_endpoint_allowed_ip"`
}

func toGroupInput(b groupBody) panel.GroupInput {
	return panel.GroupInput{Name: b.Name, Description: b.Description, Overrides: panel.ValuesInput{
		DNS: panel.Optional[string](b.OverrideDNS), MTU: panel.Optional[int](b.OverrideMTU),
		Keepalive:         panel.Optional[int](b.OverrideKeepalive),
		EndpointAllowedIP: panel.Optional[string](b.OverrideEndpointAllowedIP),
	}}
}

func fromGroup(g panel.GroupView) groupData {
	return groupData{
		ID: g.ID, Name: g.Name, Description: g.Description, OverrideDNS: g.Overrides.DNS, OverrideMTU: g.Overrides.MTU,
		OverrideKeepalive: g.Overrides.Keepalive, OverrideEndpointAllowedIP: g.Overrides.EndpointAllowedIP,
		NodeCount: g.NodeCount, CreatedAt: stamp(g.CreatedAt), UpdatedAt: stamp(g.UpdatedAt),
	}
}

func (s *Server) listGroups(c *gin.Context, _ none) (answer[[]groupData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]groupData]{}, err
	}
	groups, next, err := s.panel.Groups(c.Request.Context(), page)
	return answer[[]groupData]{message: "Groups listed", data: each(groups, fromGroup), next: next}, err
}

func (s *Server) getGroup(c *gin.Context, _ none) (answer[groupData], error) {
	g, err := s.panel.Group(c.Request.Context(), c.Param("id"))
	return answer[groupData]{message: "Group found", data: fromGroup(g)}, err
}

func (s *Server) createGroup(c *gin.Context, b groupBody) (answer[groupData], error) {
	g, err := s.panel.CreateGroup(c.Request.Context(), toGroupInput(b))
	return answer[groupData]{message: "Group created", data: fromGroup(g)}, err
}

func (s *Server) updateGroup(c *gin.Context, b groupBody) (answer[groupData], error) {
	g, err := s.panel.UpdateGroup(c.Request.Context(), c.Param("id"), toGroupInput(b))
	return answer[groupData]{message: "Group updated", data: fromGroup(g)}, err
}

func (s *Server) deleteGroup(c *gin.Context, _ none) (answer[none], error) {
	err := s.panel.DeleteGroup(c.Request.Context(), c.Param("id"))
	return answer[none]{message: "Group deleted"}, err
}

func (s *Server) previewGroup(c *gin.Context, b groupBody) (answer[previewData], error) {
	p, err := s.panel.PreviewGroup(c.Request.Context(), c.Param("id"), toGroupInput(b))
	return answer[previewData]{message: previewed, data: fromPreview(p)}, err
}
