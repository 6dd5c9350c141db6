package client

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/agent"
)

// identity is what is known of the agent at the other end.
type identity struct {
	id        string // the agent's, or what somebody without a signature claims it is
	confirmed bool   // a signed answer confirmed id
	v2        bool   // it spoke v2 once: nothing less is accepted
	original  bool   // seen to be the original agent, or one that speaks like it
	can       []string
	asked     time.Time // when can was told, by a signed answer; zero: never
}

// abilitiesFor is how long it is believed what an agent said it can do: another version may take its place.
const abilitiesFor = time.Minute

func (c *Client) known() identity {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.who
}

// Identity returns the agent's id and whether it signs its answers, as far as a signed answer has
// confirmed it: what the next Client for this agent must be given.
func (c *Client) Identity() (agentID string, v2 bool) {
	who := c.known()
	if !who.confirmed {
		return "", who.v2
	}
	return who.id, who.v2
}

// Original reports whether the agent was seen to be the original one, or to speak like it: without
// signed answers, digests and apply.
func (c *Client) Original() bool { return c.known().original }

// dialect tells whether the agent speaks v2, asking its /health where that is not known yet.
func (c *Client) dialect(ctx context.Context) (v2 bool, err error) {
	switch who := c.known(); {
	case who.confirmed:
		return true, nil
	case who.original:
		return false, nil
	}
	h, err := c.openHealth(ctx)
	return speaksV2(h), err
}

func speaksV2(h agent.Health) bool {
	return h.AgentID != "" && names(h.Capabilities, agent.CapV2)
}

// names reports whether the capability is among those that an agent names; one that names none at all
// is taken to have every one.
func names(capabilities []string, capability string) bool {
	return capabilities == nil || slices.Contains(capabilities, capability)
}

// can reports whether the agent says, in a signed answer, that it has this capability. One that does
// not speak v2 has none.
func (c *Client) can(ctx context.Context, capability string) (bool, error) {
	v2, err := c.dialect(ctx)
	if err != nil || !v2 {
		return false, err
	}
	who := c.known()
	if who.asked.IsZero() || c.o.Now().Sub(who.asked).Abs() >= abilitiesFor {
		if _, err := c.signedHealth(ctx); err != nil {
			return true, nil //nolint:nilerr // the call that needs it says better what is wrong
		}
		who = c.known()
	}
	return names(who.can, capability), nil
}

// openHealth asks who is there, unsigned. An id that it learns is used for the next, signed call,
// which confirms it or fails.
func (c *Client) openHealth(ctx context.Context) (agent.Health, error) {
	var h agent.Health
	a, err := c.send(ctx, call{method: http.MethodGet, path: "/health", open: true}, false)
	if err != nil {
		return h, err
	}
	if err := read(a, &h); err != nil {
		return h, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !speaksV2(h) && c.who.v2 {
		return h, errorf(NotAuthentic,
			"the agent used to sign its answers and now looks like the original one: somebody else answered, or it was replaced")
	}
	c.who.original = !speaksV2(h)
	if !c.who.confirmed && !c.who.original {
		c.who.id = h.AgentID
	}
	return h, nil
}

// Health asks how the agent is. A wgfleet agent's answer is verified, and pins its id; the
// original's is open to everybody and proves nothing.
func (c *Client) Health(ctx context.Context) (agent.Health, error) {
	if !c.known().confirmed {
		h, err := c.openHealth(ctx) // each time: the original may have been replaced by ours
		if err != nil || !speaksV2(h) {
			return h, err
		}
	}
	return c.signedHealth(ctx)
}

func (c *Client) signedHealth(ctx context.Context) (agent.Health, error) {
	var h agent.Health
	a, err := c.send(ctx, call{method: http.MethodGet, path: "/health"}, true)
	if err != nil {
		return h, err
	}
	if err := read(a, &h); err != nil {
		return h, err
	}
	if h.AgentID != c.known().id {
		return h, errorf(NotAuthentic, "another agent answered than the one first met")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.who.can, c.who.asked = h.Capabilities, c.o.Now()
	return h, nil
}

// confirm keeps the id that a signed request named and a signed answer accepted.
func (c *Client) confirm(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if id != "" && c.who.id == id {
		c.who.confirmed, c.who.v2, c.who.original = true, true, false
	}
}

// doubt forgets an id that nobody confirmed, so that the next call asks again.
func (c *Client) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.who.confirmed {
		c.who.id = ""
	}
}
