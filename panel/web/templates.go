package web

import (
	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel"
)

// templateData is a template in answers.
type templateData struct {
	ID                string     `json:"id"`
	Name              string     `json:"name"`
	Kind              string     `json:"kind" doc:"node or peer"`
	DNS               *string    `json:"dns"`
	MTU               *int       `json:"mtu"`
	Keepalive         *int       `json:"keepalive"`
	EndpointAllowedIP *string    `json:"endpoint_allowed_ip"`
	Hooks             *hooksData `json:"hooks" doc:"of nodes whose interface has no wish of its own"`
	IPPoolCIDR        string     `json:"ip_pool_cidr" doc:"of nodes that have none of their own"`
	NodeCount         int        `json:"node_count" doc:"nodes that refer to it, or have a peer that does"`
	PeerCount         int        `json:"peer_count"`
	CreatedAt         string     `json:"created_at" format:"date-time"`
	UpdatedAt         string     `json:"updated_at" format:"date-time"`
}

// templateBody creates or changes a template.
type templateBody struct {
	Name              *string             `json:"name"`
	Kind              *string             `json:"kind" doc:"node or peer; needed on creation, and stays"`
	DNS               optional[string]    `json:"dns"`
	MTU               optional[int]       `json:"mtu"`
	Keepalive         optional[int]       `json:"keepalive"`
	EndpointAllowedIP optional[string]    `json:"endpoint_allowed_ip"`
	Hooks             optional[hooksBody] `json:"hooks" doc:"kind node only"`
	IPPoolCIDR        *string             `json:"ip_pool_cidr" doc:"kind node only; an empty text clears it"`
}

func toTemplateInput(b templateBody) panel.TemplateInput {
	in := panel.TemplateInput{
		Name: b.Name, Kind: b.Kind, IPPoolCIDR: b.IPPoolCIDR,
		Values: panel.ValuesInput{
			DNS: panel.Optional[string](b.DNS), MTU: panel.Optional[int](b.MTU),
			Keepalive: panel.Optional[int](b.Keepalive), EndpointAllowedIP: panel.Optional[string](b.EndpointAllowedIP),
		},
		Hooks: panel.Optional[agent.Hooks]{Set: b.Hooks.Set},
	}
	if h := b.Hooks.Value; h != nil {
		in.Hooks.Value = new(h.hooks())
	}
	return in
}

func fromTemplate(t panel.TemplateView) templateData {
	d := templateData{
		ID: t.ID, Name: t.Name, Kind: t.Kind, DNS: t.Values.DNS, MTU: t.Values.MTU, Keepalive: t.Values.Keepalive,
		EndpointAllowedIP: t.Values.EndpointAllowedIP, IPPoolCIDR: poolText(t.IPPools),
		NodeCount: t.NodeCount, PeerCount: t.PeerCount, CreatedAt: stamp(t.CreatedAt), UpdatedAt: stamp(t.UpdatedAt),
	}
	if t.Hooks != nil {
		d.Hooks = new(fromHooks(*t.Hooks))
	}
	return d
}

func (s *Server) listTemplates(c *gin.Context, _ none) (answer[[]templateData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]templateData]{}, err
	}
	templates, next, err := s.panel.Templates(c.Request.Context(), page)
	return answer[[]templateData]{message: "Templates listed", data: each(templates, fromTemplate), next: next}, err
}

func (s *Server) getTemplate(c *gin.Context, _ none) (answer[templateData], error) {
	t, err := s.panel.Template(c.Request.Context(), c.Param("id"))
	return answer[templateData]{message: "Template found", data: fromTemplate(t)}, err
}

func (s *Server) createTemplate(c *gin.Context, b templateBody) (answer[templateData], error) {
	t, err := s.panel.CreateTemplate(c.Request.Context(), toTemplateInput(b))
	return answer[templateData]{message: "Template created", data: fromTemplate(t)}, err
}

func (s *Server) updateTemplate(c *gin.Context, b templateBody) (answer[templateData], error) {
	t, err := s.panel.UpdateTemplate(c.Request.Context(), c.Param("id"), toTemplateInput(b))
	return answer[templateData]{message: "Template updated", data: fromTemplate(t)}, err
}

func (s *Server) deleteTemplate(c *gin.Context, _ none) (answer[none], error) {
	err := s.panel.DeleteTemplate(c.Request.Context(), c.Param("id"))
	return answer[none]{message: "Template deleted"}, err
}

func (s *Server) previewTemplate(c *gin.Context, b templateBody) (answer[previewData], error) {
	p, err := s.panel.PreviewTemplate(c.Request.Context(), c.Param("id"), toTemplateInput(b))
	return answer[previewData]{message: previewed, data: fromPreview(p)}, err
}
