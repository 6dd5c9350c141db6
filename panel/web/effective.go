package web

import (
	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel"
)

// effectiveFieldData is a setting as it holds, with where it comes from.
type effectiveFieldData struct {
	Field      string       `json:"field"`
	Value      any          `json:"value"`
	Source     string       `json:"source" doc:"peer, peer_template, node, template, group, default or observed"`
	SourceID   *string      `json:"source_id" doc:"of the peer, node, template or group"`
	SourceName *string      `json:"source_name"`
	Overridden []originData `json:"overridden" doc:"what it was chosen over, the one that would win next first"`
}

// originData is a value that another one wins over.
type originData struct {
	Value      any     `json:"value"`
	Source     string  `json:"source"`
	SourceID   *string `json:"source_id"`
	SourceName *string `json:"source_name"`
}

func fromOrigin(o panel.Origin) originData {
	d := originData{Value: o.Value, Source: o.Kind, SourceID: textOrNull(o.ID), SourceName: textOrNull(o.Name)}
	if h, ok := o.Value.(agent.Hooks); ok {
		d.Value = fromHooks(h)
	}
	return d
}

func fromEffectiveField(f panel.EffectiveField) effectiveFieldData {
	o := fromOrigin(f.Origin)
	return effectiveFieldData{
		Field: f.Field, Value: o.Value, Source: o.Source, SourceID: o.SourceID, SourceName: o.SourceName,
		Overridden: each(f.Overridden, fromOrigin),
	}
}

func (s *Server) effectiveSettings(c *gin.Context, _ none) (answer[[]effectiveFieldData], error) {
	fields, err := s.panel.EffectiveSettings(c.Request.Context(), c.Param("id"), c.Query("peer_id"))
	return answer[[]effectiveFieldData]{message: "Settings found", data: each(fields, fromEffectiveField)}, err
}
