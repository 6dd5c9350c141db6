package web

import "github.com/wgfleet/wgfleet/panel/drift"

// planData is the way to the desired state as it was decided, in the order in which it is done.
type planData struct {
	PlanID   string        `json:"plan_id"`
	Steps    []stepData    `json:"steps"`
	Blocked  []blockedData `json:"blocked"`
	Warnings []string      `json:"warnings"`
}

type stepData struct {
	Op        string         `json:"op" doc:"remove, update, add or adopt"`
	PublicKey string         `json:"public_key"`
	Name      string         `json:"name"`
	PeerID    string         `json:"peer_id"`
	Changes   []mismatchData `json:"changes"`
	Takes     []takeData     `json:"takes"`
	Reason    string         `json:"reason"`
	Impact    string         `json:"impact" doc:"what the peer will notice"`
}

// takeData is an allowed IP that leaves a peer that the panel does not know.
type takeData struct {
	Prefix string `json:"prefix"`
	From   string `json:"from" doc:"public key"`
}

type blockedData struct {
	Op        string `json:"op"`
	PublicKey string `json:"public_key"`
	Reason    string `json:"reason"`
}

func fromPlan(p drift.Plan, id string) planData {
	return planData{
		PlanID: id,
		Steps:  each(p.Steps, fromStep),
		Blocked: each(p.Blocked, func(b drift.Blocked) blockedData {
			return blockedData{b.Op, b.PublicKey, b.Reason}
		}),
		Warnings: notNil(p.Warnings),
	}
}

func fromStep(s drift.Step) stepData {
	return stepData{
		Op: s.Op, PublicKey: s.PublicKey, Name: s.Name, PeerID: s.PeerID,
		Changes: each(s.Changes, fromMismatch),
		Takes:   each(s.Takes, func(t drift.Take) takeData { return takeData{t.Prefix.String(), t.From} }),
		Reason:  s.Reason, Impact: s.Impact,
	}
}
