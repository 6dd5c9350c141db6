package web

import (
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// ruleData says what is done about some unknown peers.
type ruleData struct {
	ID         string  `json:"id"`
	NodeID     *string `json:"node_id" doc:"null: of all nodes"`
	Action     string  `json:"action" doc:"ignore: they are no drift, and counted and shown apart; protect: they are never removed"`
	PublicKey  *string `json:"public_key"`
	AllowedIPs *string `json:"allowed_ips" doc:"a prefix: peers all of whose allowed IPs lie in it"`
	Name       *string `json:"name" doc:"a pattern with * and ?: orphaned peers that the panel called so"`
	Until      *string `json:"until" format:"date-time" doc:"null: no end"`
	Reason     string  `json:"reason"`
	InForce    bool    `json:"in_force"`
	CreatedAt  string  `json:"created_at" format:"date-time"`
	UpdatedAt  string  `json:"updated_at" format:"date-time"`
}

type ruleBody struct {
	NodeID     optional[string]    `json:"node_id" doc:"null: all nodes"`
	Action     *string             `json:"action" doc:"ignore or protect; needed in a new one"`
	PublicKey  *string             `json:"public_key" doc:"one of this and the next two chooses the peers"`
	AllowedIPs *string             `json:"allowed_ips" doc:"a prefix"`
	Name       *string             `json:"name" doc:"a pattern with * and ?"`
	Until      optional[time.Time] `json:"until" doc:"null: no end"`
	Reason     *string             `json:"reason"`
}

func (b ruleBody) input() panel.RuleInput {
	return panel.RuleInput{
		NodeID: panel.Optional[string](b.NodeID), Action: b.Action, PublicKey: b.PublicKey, AllowedIPs: b.AllowedIPs, Name: b.Name,
		Until: panel.Optional[time.Time](b.Until), Reason: b.Reason,
	}
}

func (s *Server) fromRule(r panel.Rule) ruleData {
	d := ruleData{
		ID: r.ID, NodeID: orNull(r.NodeID), Action: r.Action, Name: orNull(r.Name), Until: stampOrNull(r.Until), Reason: r.Reason,
		InForce: r.InForce(s.now()), CreatedAt: stamp(r.CreatedAt), UpdatedAt: stamp(r.UpdatedAt),
	}
	if r.PublicKey != nil {
		d.PublicKey = new(r.PublicKey.String())
	}
	if r.Prefix != nil {
		d.AllowedIPs = new(r.Prefix.String())
	}
	return d
}

func (s *Server) listRules(c *gin.Context, _ none) (answer[[]ruleData], error) {
	page, err := pageOf(c)
	if err != nil {
		return answer[[]ruleData]{}, err
	}
	rules, next, err := s.panel.Rules(c.Request.Context(), page)
	return answer[[]ruleData]{message: "Rules listed", data: each(rules, s.fromRule), next: next}, err
}

func (s *Server) getRule(c *gin.Context, _ none) (answer[ruleData], error) {
	r, err := s.panel.Rule(c.Request.Context(), c.Param("id"))
	return answer[ruleData]{message: "Rule found", data: s.fromRule(r)}, err
}

func (s *Server) createRule(c *gin.Context, b ruleBody) (answer[ruleData], error) {
	r, err := s.panel.CreateRule(c.Request.Context(), b.input())
	return answer[ruleData]{message: "Rule created", data: s.fromRule(r)}, err
}

func (s *Server) updateRule(c *gin.Context, b ruleBody) (answer[ruleData], error) {
	r, err := s.panel.UpdateRule(c.Request.Context(), c.Param("id"), b.input())
	return answer[ruleData]{message: "Rule updated", data: s.fromRule(r)}, err
}

func (s *Server) deleteRule(c *gin.Context, _ none) (answer[none], error) {
	err := s.panel.DeleteRule(c.Request.Context(), c.Param("id"))
	return answer[none]{message: "Rule deleted"}, err
}
