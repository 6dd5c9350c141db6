package panel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
)

// Agent is one node's agent as the panel uses it: *client.Client. All methods but the last four
// may block until the context ends; errors are *client.Error.
type Agent interface {
	Health(ctx context.Context) (agent.Health, error)
	Interfaces(ctx context.Context) ([]agent.InterfaceSummary, error)
	Interface(ctx context.Context, name string) (agent.InterfaceSummary, error)
	Dump(ctx context.Context, name string, q client.Query) (client.Snapshot, error)
	Apply(ctx context.Context, name string, body agent.Apply, w client.Write) (agent.Applied, error)
	Config(ctx context.Context, name string) (agent.InterfaceConfig, error)
	FileDrift(ctx context.Context, name string) (*agent.FileDrift, error)
	PutConfig(ctx context.Context, name string, u agent.ConfigUpdate) error
	Enable(ctx context.Context, name string) error
	Disable(ctx context.Context, name string) error

	Identity() (agentID string, v2 bool)
	Original() bool
	MAC(k engine.SecretKey) string
	Close()
}

var _ Agent = (*client.Client)(nil)

// Dialer returns a Dial for Options; nodes without a pin of their own share connections.
func Dialer(t client.TLS) (func(Node) (Agent, error), error) {
	shared, err := client.NewTransport(t)
	if err != nil {
		return nil, err
	}
	return func(n Node) (Agent, error) {
		var transport http.RoundTripper = shared
		settings := t
		if n.TLSPin != "" {
			settings.Pin, transport = n.TLSPin, nil
		}
		return client.New(client.Options{
			BaseURL: n.AgentURL, Secret: n.Secret, AgentID: n.AgentID, SpeaksV2: n.SpeaksV2,
			AllowPlainSecrets: n.AllowPlainSecrets, TLS: settings, Transport: transport,
		})
	}, nil
}

// agents keeps one Agent per node for as long as what it was made from stays the same.
type agents struct {
	dial func(Node) (Agent, error)

	mu   sync.Mutex // protects byID
	byID map[string]dialed
}

type dialed struct {
	agent Agent
	from  contact
}

// contact is what an Agent is made from.
type contact struct {
	url, pin   string
	secret     agent.Secret
	allowPlain bool
	trust      uint64
}

func contactOf(n Node) contact {
	return contact{url: n.AgentURL, pin: n.TLSPin, secret: n.Secret, allowPlain: n.AllowPlainSecrets, trust: n.Trust}
}

func (a *agents) of(n Node) (Agent, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d, ok := a.byID[n.ID]; ok {
		if d.from == contactOf(n) {
			return d.agent, nil
		}
		d.agent.Close()
		delete(a.byID, n.ID)
	}
	made, err := a.dial(n)
	if err != nil {
		return nil, nodeError(n.ID, err)
	}
	a.byID[n.ID] = dialed{agent: made, from: contactOf(n)}
	return made, nil
}

func (a *agents) drop(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if d, ok := a.byID[id]; ok {
		d.agent.Close()
		delete(a.byID, id)
	}
}

func (a *agents) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.byID {
		d.agent.Close()
	}
	clear(a.byID)
}

// nodeError makes an error of an Agent the panel's own.
func nodeError(id string, err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return &NodeError{NodeID: id, Code: string(client.Unreachable), Reason: err.Error()}
	}
	n := &NodeError{NodeID: id, Code: string(e.Kind), Reason: e.Reason, untouched: unsent(e)}
	if e.Kind == client.Refused && e.Agent != nil && e.Agent.Code != "" {
		n.Code, n.answered = string(e.Agent.Code), true
		if e.Agent.RolledBack != nil && !*e.Agent.RolledBack {
			n.Reason = fmt.Sprintf("%s (the device could not be put back)", n.Reason)
		} else {
			n.untouched = true
		}
	}
	return n
}

// unsent reports whether the agent can't have got the request.
func unsent(e *client.Error) bool {
	o, ok := errors.AsType[*net.OpError](e)
	return ok && o.Op == "dial" || e.Kind == client.PlainSecret || e.Kind == client.BadSettings
}
