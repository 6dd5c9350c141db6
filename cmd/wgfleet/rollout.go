package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// cancelTimeout is how long an interrupted command takes to call its rollout off.
const cancelTimeout = 5 * time.Second

// rollOut carries out the plans that were shown as one rollout, and shows how it goes.
func (r *reconciliation) rollOut(ctx context.Context, plans []step) ([]step, error) {
	request := panelclient.RolloutRequest{Waves: r.waves, MaxParallel: r.maxParallel, AllowMassRemoval: r.request.AllowMassRemoval}
	for _, p := range plans {
		request.Plans = append(request.Plans, panelclient.RolloutPlan{NodeID: p.node.ID, PlanID: p.Plan.ID})
	}
	a, err := r.client.Do(ctx, http.MethodPost, "/api/drift/reconcile", nil, request)
	if err != nil {
		return nil, err
	}
	begun, err := decode[panelclient.Rollout](a.Data)
	if err != nil {
		return nil, err
	}
	path := "/api/drift/rollouts/" + url.PathEscape(begun.ID)
	switch err := r.follow(ctx, path); {
	case err == nil:
	case ctx.Err() != nil:
		return nil, errors.Join(err, r.callOff(ctx, path))
	case errors.Is(err, errCutShort):
		return nil, err
	default:
		return nil, fmt.Errorf("%w; the rollout goes on: GET %s tells how", err, path)
	}
	data, err := fetch(ctx, r.client, path)
	if err != nil {
		return nil, err
	}
	return r.rolledOut(plans, data)
}

// follow shows the progress until the rollout has ended. A stream that breaks is taken up again.
func (r *reconciliation) follow(ctx context.Context, path string) error {
	defer r.f.con.endProgress()
	for told := false; ; {
		for e, err := range r.client.Stream(ctx, path, nil, "") {
			if _, lost := errors.AsType[*panelclient.ReachError](err); lost {
				if !told {
					printError(r.f.con.err, err)
				}
				told = true
				break
			}
			if refused, ok := errors.AsType[*panelclient.APIError](err); ok && refused.Status == http.StatusNotFound {
				return errCutShort
			}
			if err != nil {
				return err
			}
			told = false
			p, err := decode[panelclient.Rollout](e.Data)
			if err != nil {
				return err
			}
			r.f.con.progress(p)
			if p.State != panelclient.RolloutRunning {
				return nil
			}
		}
		if err := sleep(ctx, firstFollowPause); err != nil {
			return err
		}
	}
}

// errCutShort: the panel knows the rollout no more.
var errCutShort = errors.New("the panel was started anew, and the rollout was cut short: see `wgfleet events`, and what is left by `wgfleet drift`")

// callOff cancels the rollout of a command that was interrupted.
func (r *reconciliation) callOff(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	if _, err := r.client.Do(ctx, http.MethodPost, path+"/cancel", nil, nil); err != nil {
		return fmt.Errorf("the rollout was not called off: %w", err)
	}
	r.f.con.hint("The rollout was called off: nodes that were being written to are done, no other is begun.")
	return nil
}

// rolledOut are the nodes that came to a result, and why others did not.
func (r *reconciliation) rolledOut(plans []step, data json.RawMessage) ([]step, error) {
	ended, err := decode[panelclient.Rollout](data)
	if err != nil {
		return nil, err
	}
	var results []step
	var failed error
	for i, n := range ended.Nodes {
		if n.Result == nil {
			failed = errors.Join(failed, fmt.Errorf("node %s: %s", printable(n.NodeName), printable(n.Message)))
			continue
		}
		done, err := decode[panelclient.Reconciled](n.Result)
		if err != nil {
			return results, err
		}
		done.Plan = plans[i].Plan
		results = append(results, step{node: plans[i].node, data: n.Result, Reconciled: done})
	}
	return results, failed
}

// progressWidth is how wide a bar is, in characters.
const progressWidth = 30

// progress shows how a rollout stands: a bar on a terminal, a line for each node that ends elsewhere.
func (c *console) progress(r panelclient.Rollout) {
	n := r.Counts
	ended := n.Done + n.Failed + n.Skipped
	if c.terminal {
		filled := progressWidth * ended / max(1, n.Total)
		fmt.Fprintf(c.err, "\r[%s%s] %d/%d nodes, %d failed, %d at work ", strings.Repeat("=", filled),
			strings.Repeat(" ", progressWidth-filled), ended, n.Total, n.Failed, n.Running)
		return
	}
	for _, node := range r.Nodes {
		if node.State != "waiting" && node.State != "running" {
			fmt.Fprintf(c.err, "%d/%d %s %s: %s\n", ended, n.Total, printable(node.NodeName), node.State, printable(node.Message))
		}
	}
}

func (c *console) endProgress() {
	if c.terminal {
		fmt.Fprintln(c.err)
	}
}
