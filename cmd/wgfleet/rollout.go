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
	if err := r.follow(ctx, path); err != nil {
		return nil, errors.Join(err, r.callOff(ctx, path))
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
	for {
		for e, err := range r.client.Stream(ctx, path, nil, "") {
			if _, lost := errors.AsType[*panelclient.ReachError](err); lost {
				break
			}
			if err != nil {
				return err
			}
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

// callOff cancels the rollout of a command that was interrupted; of one that failed otherwise it says where the
// rollout can be seen.
func (r *reconciliation) callOff(ctx context.Context, path string) error {
	if ctx.Err() == nil {
		return fmt.Errorf("the rollout goes on: GET %s tells how", path)
	}
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
