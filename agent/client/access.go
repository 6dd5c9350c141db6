package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/wgfleet/wgfleet/agent"
)

// Flows lists what the gateway of an interface carries, limit of them at most; 0: as many as the agent usually sends. An
// interface without a gateway is Refused with agent.CodeNoGateway, an agent without agent.CapFlows is Unsupported.
func (c *Client) Flows(ctx context.Context, name string, limit int) (agent.Flows, error) {
	query := ""
	if limit != 0 {
		query = "?" + url.Values{"limit": {strconv.Itoa(limit)}}.Encode()
	}
	var f agent.Flows
	if err := c.ofGateway(ctx, name, "/flows"+query, &f); err != nil {
		return agent.Flows{}, err
	}
	if f.Interface != name || f.Flows == nil || f.Peers == nil || f.Total < len(f.Flows) {
		return agent.Flows{}, errorf(Malformed, "the answer is not what the gateway of interface %s carries", name)
	}
	return f, nil
}

// Access reads where the peers of an interface may go through its gateway. An agent without agent.CapFlows is Unsupported.
func (c *Client) Access(ctx context.Context, name string) (agent.AccessState, error) {
	var s agent.AccessState
	if err := c.ofGateway(ctx, name, "/access", &s); err != nil {
		return agent.AccessState{}, err
	}
	return accessOf(s, name)
}

// PutAccess replaces all of it. The policy that is in the file now is the answer.
func (c *Client) PutAccess(ctx context.Context, name string, p agent.AccessPolicy, w Write) (agent.AccessState, error) {
	if err := c.speaksGateway(ctx); err != nil {
		return agent.AccessState{}, err
	}
	var s agent.AccessState
	if err := c.write(ctx, http.MethodPut, name, "/access", p, &s, w); err != nil {
		return agent.AccessState{}, err
	}
	return accessOf(s, name)
}

func accessOf(s agent.AccessState, name string) (agent.AccessState, error) {
	if s.Interface != name || s.Allow == nil || s.Deny == nil || s.Peers == nil {
		return agent.AccessState{}, errorf(Malformed, "the answer is not the access of interface %s", name)
	}
	return s, nil
}

func (c *Client) ofGateway(ctx context.Context, name, rest string, out any) error {
	path, err := interfacePath(name, rest)
	if err != nil {
		return err
	}
	if err := c.speaksGateway(ctx); err != nil {
		return err
	}
	a, err := c.ask(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	return read(a, out)
}

// speaksGateway refuses for an agent that would call the route unknown.
func (c *Client) speaksGateway(ctx context.Context) error {
	has, err := c.can(ctx, agent.CapFlows)
	if err == nil && !has {
		err = errorf(Unsupported, "this agent has no gateway: it is the original one, or an older one of ours")
	}
	return err
}
