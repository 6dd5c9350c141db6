package web

import (
	"fmt"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// planBody says what a plan may hold; what it leaves out has the document's default.
type planBody struct {
	Missing       *bool    `json:"reconcile_missing" default:"true"`
	Mismatched    *bool    `json:"reconcile_mismatched" default:"true" doc:"false with accept_mismatched"`
	RemoveUnknown *bool    `json:"remove_unknown" default:"false" doc:"both of the next two"`
	PruneOrphaned *bool    `json:"prune_orphaned" default:"false" doc:"remove unknown peers that the panel once had on the node"`
	PruneForeign  *bool    `json:"prune_foreign" default:"false" doc:"remove unknown peers that it does not know"`
	AdoptUnknown  *bool    `json:"adopt_unknown" default:"false" doc:"take unknown peers into the panel; the node is not written to"`
	Accept        *bool    `json:"accept_mismatched" default:"false" doc:"what mismatched peers are on the node becomes the panel's wish; with reconcile_interface, its settings too"`
	Interface     *bool    `json:"reconcile_interface" default:"false" doc:"put the settings of the interface right"`
	Atomic        *bool    `json:"atomic" default:"false" doc:"all of the changes of peers or none"`
	Only          []string `json:"only" doc:"ids of the only actions to take: public keys, and interface.FIELD"`
}

// reconcileBody says what a reconciliation may do.
type reconcileBody struct {
	planBody
	DryRun           *bool   `json:"dry_run" default:"false"`
	AllowMassRemoval *bool   `json:"allow_mass_removal" default:"false"`
	PlanID           *string `json:"plan_id" doc:"the only plan that may be carried out; its options hold. 409 says what changed since it was made"`
}

// takeBody chooses what the panel takes over from a node.
type takeBody struct {
	Only   []string `json:"only" doc:"public keys, and interface.FIELD; null: all"`
	DryRun *bool    `json:"dry_run" default:"false"`
}

// acceptBody is takeBody for what differs.
type acceptBody struct {
	takeBody
	Interface *bool `json:"interface" default:"false" doc:"the settings of the interface as well"`
}

// reconcileData says what was done, or with dry_run would be, and what is left. Public keys.
type reconcileData struct {
	Added     []string             `json:"added"`
	Updated   []string             `json:"updated"`
	Removed   []string             `json:"removed"`
	Adopted   []string             `json:"adopted"`
	Accepted  []string             `json:"accepted" doc:"public keys, and interface.FIELD"`
	Interface []string             `json:"interface" doc:"settings of the interface that were written"`
	Errors    []reconcileErrorData `json:"errors"`
	Verified  bool                 `json:"verified"`
	Residual  driftData            `json:"residual"`
	Plan      planData             `json:"plan"`
	PlanID    string               `json:"plan_id" doc:"names the plan: send it back to have this plan carried out and no other; empty where none was shown"`
	DryRun    bool                 `json:"dry_run"`
}

type reconcileErrorData struct {
	Peer   string `json:"peer" doc:"public key, or interface.FIELD"`
	Action string `json:"action"`
	Error  string `json:"error"`
}

// is reads a field that may be left out.
func is(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}

func (b planBody) options() panel.ReconcileOptions {
	unknown, accept := is(b.RemoveUnknown, false), is(b.Accept, false)
	return panel.ReconcileOptions{
		Missing: is(b.Missing, true), Mismatched: is(b.Mismatched, !accept),
		PruneOrphaned: is(b.PruneOrphaned, unknown), PruneForeign: is(b.PruneForeign, unknown),
		AdoptUnknown: is(b.AdoptUnknown, false), Accept: accept, Interface: is(b.Interface, false),
		Atomic: is(b.Atomic, false), Only: b.Only,
	}
}

// chosen reports whether the body names an option that makes a plan.
func (b planBody) chosen() bool {
	for _, given := range []*bool{
		b.Missing, b.Mismatched, b.RemoveUnknown, b.PruneOrphaned, b.PruneForeign, b.AdoptUnknown, b.Accept, b.Interface, b.Atomic,
	} {
		if given != nil {
			return true
		}
	}
	return false
}

func (b reconcileBody) options() (panel.ReconcileOptions, error) {
	o := b.planBody.options()
	if b.PlanID != nil {
		if *b.PlanID == "" {
			return o, panel.Invalid("plan_id", "is empty: leave it out, or send the one of a plan")
		}
		if !b.chosen() {
			o = panel.ReconcileOptions{Only: b.Only}
		}
		o.PlanID = *b.PlanID
	}
	o.DryRun, o.AllowMassRemoval = is(b.DryRun, false), is(b.AllowMassRemoval, false)
	return o, nil
}

func fromReconciled(r panel.ReconcileResult) reconcileData {
	return reconcileData{
		Added: notNil(r.Added), Updated: notNil(r.Updated), Removed: notNil(r.Removed), Adopted: notNil(r.Adopted),
		Accepted: notNil(r.Accepted), Interface: notNil(r.Interface),
		Errors: each(r.Errors, func(e panel.ReconcileError) reconcileErrorData {
			return reconcileErrorData{e.Peer, e.Action, e.Error}
		}),
		Verified: r.Verified, Residual: fromReport(r.Residual), Plan: fromPlan(r.Planned), PlanID: r.PlanID, DryRun: r.DryRun,
	}
}

// reconciledMessage is the document's sentence; what it does not know is in it where there is any.
func reconciledMessage(r panel.ReconcileResult) string {
	verbs := []string{"Added", "Updated", "Removed", "Adopted", "Accepted", "Wrote"}
	if r.DryRun {
		verbs = []string{"Would add", "would update", "would remove", "would adopt", "would accept", "would write"}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d peers, %s %d peers, ", verbs[0], len(r.Added), verbs[1], len(r.Updated))
	for i, more := range []struct {
		keys []string
		what string
	}{{r.Removed, "peers"}, {r.Adopted, "peers"}, {r.Accepted, "differences"}, {r.Interface, "settings of the interface"}} {
		if len(more.keys) > 0 {
			fmt.Fprintf(&b, "%s %d %s, ", verbs[2+i], len(more.keys), more.what)
		}
	}
	fmt.Fprintf(&b, "%d errors", len(r.Errors))
	return b.String()
}

func (s *Server) reconcile(c *gin.Context, b reconcileBody) (answer[reconcileData], error) {
	o, err := b.options()
	if err != nil {
		return answer[reconcileData]{}, err
	}
	return s.reconcileWith(c, o)
}

func (s *Server) reconcileWith(c *gin.Context, o panel.ReconcileOptions) (answer[reconcileData], error) {
	r, err := s.panel.Reconcile(c.Request.Context(), c.Param("id"), o)
	return answer[reconcileData]{message: reconciledMessage(r), data: fromReconciled(r)}, err
}

// adopt makes unknown peers the panel's own, as they are.
func (s *Server) adopt(c *gin.Context, b takeBody) (answer[reconcileData], error) {
	return s.reconcileWith(c, panel.ReconcileOptions{AdoptUnknown: true, Only: b.Only, DryRun: is(b.DryRun, false)})
}

// accept makes what differs the panel's wish.
func (s *Server) accept(c *gin.Context, b acceptBody) (answer[reconcileData], error) {
	return s.reconcileWith(c, panel.ReconcileOptions{Accept: true, Interface: is(b.Interface, false), Only: b.Only, DryRun: is(b.DryRun, false)})
}

// planData is the way to the desired state, as it was decided for what was seen.
type planData struct {
	PlanID          string        `json:"plan_id"`
	NodeID          string        `json:"node_id"`
	ObservedDigest  string        `json:"observed_digest" doc:"of the node's peers"`
	DesiredDigest   string        `json:"desired_digest"`
	DesiredRevision uint64        `json:"desired_revision"`
	Actions         []actionData  `json:"actions" doc:"in the order in which they are done"`
	Blocked         []blockedData `json:"blocked" doc:"what can't be done under the options"`
	Warnings        []string      `json:"warnings"`
	ExpiresAt       *string       `json:"expires_at" format:"date-time" doc:"null of a plan that was not shown before"`
}

type actionData struct {
	ID      string          `json:"id" doc:"for only: the public key, or interface.FIELD"`
	Op      string          `json:"op" doc:"remove, update, add, interface, adopt or accept"`
	Peer    *string         `json:"peer" doc:"public key; null of the interface"`
	Name    string          `json:"name"`
	PeerID  string          `json:"peer_id"`
	Before  *map[string]any `json:"before" doc:"null: it is not there"`
	After   *map[string]any `json:"after" doc:"null: it will not be there"`
	Changes []mismatchData  `json:"changes"`
	Takes   []takeData      `json:"takes"`
	Reason  string          `json:"reason"`
	Impact  string          `json:"impact" doc:"what users will notice"`
}

// takeData is an allowed IP that leaves a peer that the panel does not know.
type takeData struct {
	Prefix string `json:"prefix"`
	From   string `json:"from" doc:"public key"`
}

type blockedData struct {
	ID     string  `json:"id"`
	Op     string  `json:"op"`
	Peer   *string `json:"peer" doc:"public key; null of the interface"`
	Reason string  `json:"reason"`
}

// fleetPlanBody chooses the nodes of several plans.
type fleetPlanBody struct {
	planBody
	Nodes []string `json:"nodes" doc:"ids; null: all enabled nodes"`
}

// fleetPlanData is a plan of each node, or why there is none.
type fleetPlanData struct {
	Plans  map[string]planData `json:"plans" doc:"by node id"`
	Errors map[string]string   `json:"errors" doc:"by node id: one sentence"`
}

func fromPlan(p panel.Planned) planData {
	return planData{
		PlanID: p.PlanID, NodeID: p.NodeID, ObservedDigest: p.ObservedDigest, DesiredDigest: p.DesiredDigest,
		DesiredRevision: p.DesiredRevision, ExpiresAt: stampOrNull(p.ExpiresAt),
		Actions: each(p.Plan.Steps, fromStep),
		Blocked: each(p.Plan.Blocked, func(b drift.Blocked) blockedData {
			return blockedData{b.ID(), b.Op, orNull(b.PublicKey), b.Reason}
		}),
		Warnings: notNil(p.Plan.Warnings),
	}
}

func fromStep(s drift.Step) actionData {
	before, after := s.States()
	return actionData{
		ID: s.ID(), Op: s.Op, Peer: orNull(s.PublicKey), Name: s.Name, PeerID: s.PeerID,
		Before: objectOrNull(before), After: objectOrNull(after),
		Changes: each(s.Changes, fromMismatch),
		Takes:   each(s.Takes, func(t drift.Take) takeData { return takeData{t.Prefix.String(), t.From} }),
		Reason:  s.Reason, Impact: s.Impact,
	}
}

// orNull is null for "".
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (s *Server) plan(c *gin.Context, b planBody) (answer[planData], error) {
	o := b.options()
	o.DryRun = true
	r, err := s.panel.Reconcile(c.Request.Context(), c.Param("id"), o)
	return answer[planData]{message: fmt.Sprintf("A plan of %d actions", len(r.Plan.Steps)), data: fromPlan(r.Planned)}, err
}

func (s *Server) planFleet(c *gin.Context, b fleetPlanBody) (answer[fleetPlanData], error) {
	plans, err := s.panel.PlanAll(c.Request.Context(), b.Nodes, b.options())
	d := fleetPlanData{Plans: map[string]planData{}, Errors: map[string]string{}}
	for _, p := range plans {
		if p.Error != "" {
			d.Errors[p.NodeID] = p.Error
		} else {
			d.Plans[p.NodeID] = fromPlan(p.Planned)
		}
	}
	return answer[fleetPlanData]{message: fmt.Sprintf("Plans of %d nodes, %d errors", len(d.Plans), len(d.Errors)), data: d}, err
}
