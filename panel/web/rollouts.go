package web

import (
	"context"

	"github.com/gin-contrib/sse"
	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// rolloutBody says which nodes are reconciled, and how: all enabled ones where it chooses none.
type rolloutBody struct {
	planBody
	Nodes            []string          `json:"nodes" doc:"ids; null: all, or those of the next two"`
	GroupID          *string           `json:"group_id" doc:"the nodes of a group"`
	Plans            []rolloutPlanBody `json:"plans" doc:"plans that were shown: these are carried out, and no others"`
	AllowMassRemoval *bool             `json:"allow_mass_removal" default:"false"`
	Waves            []string          `json:"waves" doc:"how many nodes before others begin: numbers, percentages, and rest, as in 1, 10%, rest. One that fails lets no other begin"`
	MaxParallel      *int              `json:"max_parallel" doc:"nodes at the same time, 1 to 64; 8 where it is left out"`
}

type rolloutPlanBody struct {
	NodeID string   `json:"node_id"`
	PlanID string   `json:"plan_id"`
	Only   []string `json:"only" doc:"ids of the only actions to take"`
}

// rolloutData is the reconciliation of several nodes. It is kept until the panel stops; what it did is among
// the events.
type rolloutData struct {
	ID          string            `json:"id"`
	State       string            `json:"state" doc:"running, succeeded, failed or cancelled"`
	Actor       actorData         `json:"actor"`
	MaxParallel int               `json:"max_parallel"`
	Waves       []int             `json:"waves" doc:"nodes in each"`
	Counts      rolloutCounts     `json:"counts"`
	Nodes       []rolloutNodeData `json:"nodes" doc:"of a stream: those that are another than before"`
	StartedAt   string            `json:"started_at" format:"date-time"`
	EndedAt     *string           `json:"ended_at" format:"date-time"`
}

type rolloutCounts struct {
	Total   int `json:"total"`
	Waiting int `json:"waiting"`
	Running int `json:"running"`
	Done    int `json:"done"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
}

type rolloutNodeData struct {
	NodeID   string         `json:"node_id"`
	NodeName string         `json:"node_name"`
	Wave     int            `json:"wave" doc:"from 1"`
	State    string         `json:"state" doc:"waiting, running, done, failed or skipped"`
	Message  string         `json:"message"`
	Result   *reconcileData `json:"result" doc:"null: there is none yet, or this is a stream"`
}

func (b rolloutBody) input() (panel.RolloutInput, error) {
	in := panel.RolloutInput{Options: b.options(), NodeIDs: b.Nodes, Waves: b.Waves}
	in.Options.AllowMassRemoval = is(b.AllowMassRemoval, false)
	if b.Plans != nil && b.chosen() {
		return in, panel.Invalid("plans", "their options hold: leave out those of this request")
	}
	if b.GroupID != nil {
		if in.GroupID = *b.GroupID; in.GroupID == "" {
			return in, panel.Invalid("group_id", "is empty: leave it out for all nodes, or send the id of a group")
		}
	}
	if b.MaxParallel != nil {
		if in.MaxParallel = *b.MaxParallel; in.MaxParallel == 0 {
			return in, panel.Invalid("max_parallel", "0 is out of range: expected 1 to 64 nodes")
		}
	}
	if b.Plans != nil {
		in.Plans = each(b.Plans, func(p rolloutPlanBody) panel.RolloutPlan { return panel.RolloutPlan(p) })
	}
	return in, nil
}

// fromRollout shows the nodes that show chooses.
func fromRollout(r panel.Rollout, results bool, show func(panel.RolloutNode) bool) rolloutData {
	d := rolloutData{
		ID: r.ID, State: r.State, Actor: actorData(r.Actor), MaxParallel: r.MaxParallel, Waves: notNil(r.Waves),
		Counts: rolloutCounts{
			Total: len(r.Nodes), Waiting: r.Count(panel.NodeWaiting), Running: r.Count(panel.NodeRunning),
			Done: r.Count(panel.NodeDone), Failed: r.Count(panel.NodeFailed), Skipped: r.Count(panel.NodeSkipped),
		},
		Nodes: []rolloutNodeData{}, StartedAt: stamp(r.StartedAt), EndedAt: stampOrNull(r.EndedAt),
	}
	for _, n := range r.Nodes {
		if !show(n) {
			continue
		}
		node := rolloutNodeData{NodeID: n.NodeID, NodeName: n.NodeName, Wave: n.Wave, State: n.State, Message: n.Message}
		if results && n.Result != nil {
			node.Result = new(fromReconciled(*n.Result))
		}
		d.Nodes = append(d.Nodes, node)
	}
	return d
}

func allNodes(panel.RolloutNode) bool { return true }

func (s *Server) startRollout(c *gin.Context, b rolloutBody) (answer[rolloutData], error) {
	in, err := b.input()
	if err != nil {
		return answer[rolloutData]{}, err
	}
	r, err := s.panel.StartRollout(c.Request.Context(), in)
	return answer[rolloutData]{message: "The rollout was begun: GET /api/drift/rollouts/{id} tells how it goes", data: fromRollout(r, false, allNodes)}, err
}

func (s *Server) listRollouts(c *gin.Context, _ none) (answer[[]rolloutData], error) {
	all, err := s.panel.Rollouts(c.Request.Context())
	return answer[[]rolloutData]{message: "Rollouts, the newest first", data: each(all, func(r panel.Rollout) rolloutData {
		return fromRollout(r, false, allNodes)
	})}, err
}

func (s *Server) getRollout(c *gin.Context, _ none) (answer[rolloutData], error) {
	r, err := s.panel.Rollout(c.Request.Context(), c.Param("id"))
	return answer[rolloutData]{message: "The rollout", data: fromRollout(r, true, allNodes)}, err
}

func (s *Server) cancelRollout(c *gin.Context, _ none) (answer[rolloutData], error) {
	r, err := s.panel.CancelRollout(c.Request.Context(), c.Param("id"))
	return answer[rolloutData]{message: "No other node begins; those that are being written to are done", data: fromRollout(r, false, allNodes)}, err
}

// streamRollout sends the rollout with the nodes that are another since the last time, until it has ended.
func (s *Server) streamRollout(c *gin.Context) error {
	ctx, stop := context.WithCancelCause(c.Request.Context())
	defer stop(nil)
	defer context.AfterFunc(s.closing, func() { stop(context.Cause(s.closing)) })()
	if _, err := s.panel.Rollout(ctx, c.Param("id")); err != nil {
		return err
	}
	leave, err := s.beginStream(c)
	if err != nil {
		return err
	}
	defer leave()
	sent := map[string]string{}
	for goesOn := true; goesOn && ctx.Err() == nil && s.stillAdmitted(c); {
		goesOn, _ = s.sendRollout(ctx, c, sent) // a reader that has gone needs no answer
	}
	return nil
}

// sendRollout writes what becomes of a rollout until the next heartbeat, and what it is now in any case. It
// reports whether the rollout goes on.
func (s *Server) sendRollout(ctx context.Context, c *gin.Context, sent map[string]string) (goesOn bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeat)
	defer cancel()
	states, err := s.panel.FollowRollout(ctx, c.Param("id"))
	if err != nil {
		return false, err
	}
	for r := range states {
		d := fromRollout(r, false, func(n panel.RolloutNode) bool { return sent[n.NodeID] != n.State })
		for _, n := range d.Nodes {
			sent[n.NodeID] = n.State
		}
		if err := send(c, sse.Event{Id: r.ID, Event: "rollout", Data: d}); err != nil {
			return false, err
		}
		goesOn = r.State == panel.RolloutRunning
	}
	return goesOn, nil
}
