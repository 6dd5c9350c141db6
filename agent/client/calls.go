package client

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

func sortPeers(peers []Peer) {
	slices.SortFunc(peers, func(a, b Peer) int { return bytes.Compare(a.PublicKey[:], b.PublicKey[:]) })
}

// Write are the conditions of a write.
type Write struct {
	// IfMatch is the digest that the peers must have; another one is refused with
	// agent.CodePrecondition. "": no condition.
	IfMatch string
}

func (w Write) header() map[string]string {
	if w.IfMatch == "" {
		return nil
	}
	return map[string]string{"If-Match": quote(w.IfMatch)}
}

// write sends a body and reads the answer into out.
func (c *Client) write(ctx context.Context, method, name, rest string, body, out any, w Write) error {
	path, err := interfacePath(name, rest)
	if err != nil {
		return err
	}
	r := call{method: method, path: path, header: w.header()}
	if body != nil {
		if r.body, err = json.Marshal(body); err != nil {
			return &Error{Kind: BadSettings, Reason: "the request can't be encoded", Err: err}
		}
	}
	a, err := c.ask(ctx, r)
	if err != nil {
		return err
	}
	return read(a, out)
}

// guard refuses to send a key over plain HTTP beyond loopback. It knows nothing of the key but
// that there is one.
func (c *Client) guard(secret bool, what string) error {
	if secret && c.plain {
		return errorf(PlainSecret, "%s would cross plain HTTP: give the agent https, or set allow_plaintext_secrets on the node", what)
	}
	return nil
}

func isKey(s *string) bool { return s != nil && *s != "" }

// Interfaces lists the interfaces of the agent's host. The original has no such list: Unsupported.
func (c *Client) Interfaces(ctx context.Context) ([]agent.InterfaceSummary, error) {
	v2, err := c.dialect(ctx)
	if err != nil {
		return nil, err
	}
	if !v2 {
		return nil, errorf(Unsupported, "the original agent can't list its interfaces")
	}
	a, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/wg"}, v2)
	if err != nil {
		return nil, err
	}
	var list agent.Interfaces
	return list.Interfaces, readInto(a, &list, &list.Interfaces)
}

// readInto decodes and leaves no partial list behind on an error.
func readInto[T any](a *answer, v any, list *[]T) error {
	if err := read(a, v); err != nil {
		*list = nil
		return err
	}
	return nil
}

// Apply changes peers. Towards the original, and who has no agent.CapApply, the changes go one by one, in their order, and those
// that failed are in Failed: there is no roll-back, and Write.IfMatch is compared with a dump just
// before. What an error from there leaves done is in Applied all the same.
func (c *Client) Apply(ctx context.Context, name string, body agent.Apply, w Write) (agent.Applied, error) {
	if err := c.guard(carriesKeys(body), "a preshared key"); err != nil {
		return agent.Applied{}, err
	}
	for _, needed := range []string{agent.CapApply, agent.CapETag} {
		if has, err := c.can(ctx, needed); err != nil {
			return agent.Applied{}, err
		} else if !has {
			return c.applyOriginal(ctx, name, body, w)
		}
	}
	var done agent.Applied
	if err := c.write(ctx, http.MethodPost, name, "/apply", body, &done, w); err != nil {
		return agent.Applied{}, err
	}
	return done, nil
}

func carriesKeys(b agent.Apply) bool {
	return b.Peers != nil && slices.ContainsFunc(*b.Peers, func(p agent.PeerBody) bool { return isKey(p.PresharedKey) }) ||
		b.Changes != nil && slices.ContainsFunc(*b.Changes, func(p agent.Change) bool { return isKey(p.PresharedKey) })
}

// AddPeer is POST peers: an upsert.
func (c *Client) AddPeer(ctx context.Context, name string, p agent.PeerBody, w Write) error {
	if err := c.guard(isKey(p.PresharedKey), "a preshared key"); err != nil {
		return err
	}
	return c.write(ctx, http.MethodPost, name, "/peers", p, &agent.Success{}, w)
}

// UpdatePeer is PUT peers.
func (c *Client) UpdatePeer(ctx context.Context, name string, key wgtypes.Key, p agent.PeerBody, w Write) error {
	if err := c.guard(isKey(p.PresharedKey), "a preshared key"); err != nil {
		return err
	}
	rest, err := c.keyPath(ctx, key)
	if err != nil {
		return err
	}
	p.PublicKey = key.String()
	return c.write(ctx, http.MethodPut, name, rest, p, &agent.Success{}, w)
}

// RemovePeer is DELETE peers; a peer that is not there is removed as well.
func (c *Client) RemovePeer(ctx context.Context, name string, key wgtypes.Key, w Write) error {
	rest, err := c.keyPath(ctx, key)
	if err != nil {
		return err
	}
	return c.write(ctx, http.MethodDelete, name, rest, nil, &agent.Success{}, w)
}

// keyPath names a peer in a path: as base64url, or as it is to the original, whose router finds no
// key with a slash.
func (c *Client) keyPath(ctx context.Context, key wgtypes.Key) (string, error) {
	v2, err := c.dialect(ctx)
	if err != nil {
		return "", err
	}
	if v2 {
		return "/peers/" + base64.URLEncoding.EncodeToString(key[:]), nil
	}
	if slashed(key) {
		return "", errorf(Unsupported, "the original agent can't do this to peer %s: it finds no key that holds a slash. Move the node to wgfleet's agent", key)
	}
	return "/peers/" + key.String(), nil
}

// SyncConf replaces all peers by what wg(8) setconf takes.
func (c *Client) SyncConf(ctx context.Context, name string, conf []byte, allowEmpty bool, w Write) (agent.Synced, error) {
	if err := c.guard(true, "a configuration"); err != nil {
		return agent.Synced{}, err
	}
	var done agent.Synced
	body := agent.SyncConf{Config: base64.StdEncoding.EncodeToString(conf), AllowEmpty: allowEmpty}
	err := c.write(ctx, http.MethodPost, name, "/syncconf", body, &done, w)
	return done, err
}

// Config reads the host's file.
func (c *Client) Config(ctx context.Context, name string) (agent.InterfaceConfig, error) {
	path, err := interfacePath(name, "/config")
	if err != nil {
		return agent.InterfaceConfig{}, err
	}
	a, err := c.ask(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return agent.InterfaceConfig{}, err
	}
	var conf agent.Config
	err = read(a, &conf)
	return conf.Config, err
}

// FileDrift compares the running device with its host's file; nil from an agent without
// agent.CapFile.
func (c *Client) FileDrift(ctx context.Context, name string) (*agent.FileDrift, error) {
	path, err := interfacePath(name, "/file")
	if err != nil {
		return nil, err
	}
	if has, err := c.can(ctx, agent.CapFile); err != nil || !has {
		return nil, err
	}
	a, err := c.ask(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return nil, err
	}
	var d agent.FileDrift
	if err := read(a, &d); err != nil {
		return nil, err
	}
	if d.Interface != name || d.Drift == nil || d.Count < len(d.Drift) {
		return nil, errorf(Malformed, "the answer is not what interface %s and its file differ in", name)
	}
	return &d, nil
}

// PutConfig changes the host's file and the interface.
func (c *Client) PutConfig(ctx context.Context, name string, u agent.ConfigUpdate) error {
	if err := c.guard(isKey(u.PrivateKey), "a private key"); err != nil {
		return err
	}
	return c.write(ctx, http.MethodPut, name, "/config", u, &agent.Success{}, Write{})
}

// Enable brings the interface up.
func (c *Client) Enable(ctx context.Context, name string) error {
	return c.write(ctx, http.MethodPost, name, "/enable", nil, &agent.Success{}, Write{})
}

// Disable takes the interface down.
func (c *Client) Disable(ctx context.Context, name string) error {
	return c.write(ctx, http.MethodPost, name, "/disable", nil, &agent.Success{}, Write{})
}

// Interface describes one interface: what the device has, from the original what its file says.
func (c *Client) Interface(ctx context.Context, name string) (agent.InterfaceSummary, error) {
	v2, err := c.dialect(ctx)
	if err != nil {
		return agent.InterfaceSummary{}, err
	}
	if !v2 {
		return c.interfaceOriginal(ctx, name)
	}
	list, err := c.Interfaces(ctx)
	if err != nil {
		return agent.InterfaceSummary{}, err
	}
	i := slices.IndexFunc(list, func(s agent.InterfaceSummary) bool { return s.Name == name })
	if i < 0 {
		return agent.InterfaceSummary{}, &Error{
			Kind: Refused, Status: http.StatusNotFound, Reason: "the agent has no interface " + name,
			Agent: agent.Errorf(agent.CodeUnknownInterface, "the agent has no interface %s", name),
		}
	}
	if s := list[i]; s.PublicKey != "" {
		if _, err := engine.ParseKey(s.PublicKey); err != nil {
			return s, errorf(Malformed, "the agent names a public key of %s that is none", name)
		}
	}
	return list[i], nil
}
