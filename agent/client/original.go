package client

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// slashed reports whether the original's router can't find the peer.
func slashed(k wgtypes.Key) bool { return strings.Contains(k.String(), "/") }

// applyOriginal does the changes by the original's peer calls, each by itself. Where the agent is lost
// on the way, what was done until then is returned with the error; After is "" then.
func (c *Client) applyOriginal(ctx context.Context, name string, body agent.Apply, w Write) (agent.Applied, error) {
	if body.Changes == nil {
		return agent.Applied{}, errorf(Unsupported, "the original agent can't replace all peers at once")
	}
	seen, err := c.Dump(ctx, name, Query{})
	if err != nil {
		return agent.Applied{}, err
	}
	if w.IfMatch != "" && w.IfMatch != seen.Digest {
		return agent.Applied{}, &Error{
			Kind: Refused, Status: agent.CodePrecondition.Status(), Reason: "the peers changed meanwhile",
			Agent: agent.Errorf(agent.CodePrecondition, "the peers changed meanwhile"),
		}
	}
	done := agent.Applied{Added: []string{}, Updated: []string{}, Removed: []string{}, Unchanged: []string{}, Failed: []agent.FailedPeer{}, Before: seen.Digest}
	for _, change := range *body.Changes {
		if err := c.changeOriginal(ctx, name, seen, change, &done); err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Refused && e.Kind != Unsupported {
				return done, err // the agent is gone: the rest is not tried
			}
			done.Failed = append(done.Failed, agent.FailedPeer{PublicKey: change.PublicKey, Error: err.Error()})
		}
	}
	after, err := c.Dump(ctx, name, Query{})
	done.After = after.Digest
	return done, err
}

func (c *Client) changeOriginal(ctx context.Context, name string, seen Snapshot, change agent.Change, done *agent.Applied) error {
	key, err := engine.ParseKey(change.PublicKey)
	if err != nil {
		return &Error{Kind: Refused, Reason: "public_key: " + err.Error(), Err: err}
	}
	i := slices.IndexFunc(seen.Peers, func(p Peer) bool { return p.PublicKey == key })
	switch {
	case change.Op == agent.OpRemove && i < 0:
		return nil
	case change.Op == agent.OpRemove:
		if err := c.RemovePeer(ctx, name, key, Write{}); err != nil {
			return err
		}
		done.Removed = append(done.Removed, change.PublicKey)
	case i < 0:
		if err := c.AddPeer(ctx, name, change.PeerBody, Write{}); err != nil {
			return err
		}
		done.Added = append(done.Added, change.PublicKey)
	default:
		changed, err := c.updateOriginal(ctx, name, seen.Peers[i], change.PeerBody)
		if err != nil {
			return err
		}
		list := &done.Unchanged
		if changed {
			list = &done.Updated
		}
		*list = append(*list, change.PublicKey)
	}
	return nil
}

// updateOriginal changes a peer that is there. The original's POST keeps the old value where it is
// given 0, "" or [], its PUT knows no preshared key and finds no key with a slash, and nothing but
// a removal clears a preshared key.
func (c *Client) updateOriginal(ctx context.Context, name string, have Peer, want agent.PeerBody) (changed bool, err error) {
	post := agent.PeerBody{PublicKey: want.PublicKey}
	put := agent.PeerBody{}
	recreate := false
	if psk, differs := c.newPSK(have, want); differs {
		post.PresharedKey = &psk
		recreate = psk == ""
		changed = true
	}
	if want.AllowedIPs != nil && !sameIPs(have, *want.AllowedIPs) {
		ips := *want.AllowedIPs
		if len(ips) == 0 {
			ips = []string{""} // what clears them in a POST
		}
		post.AllowedIPs = &ips
		changed = true
	}
	if k := want.PersistentKeepalive; k != nil && *k != have.PersistentKeepalive {
		if *k == 0 {
			put.PersistentKeepalive = k
		} else {
			post.PersistentKeepalive = k
		}
		changed = true
	}
	switch {
	case !changed:
		return false, nil
	case recreate:
		return true, c.recreateOriginal(ctx, name, have, want)
	}
	if put.PersistentKeepalive != nil {
		if err := c.UpdatePeer(ctx, name, have.PublicKey, put, Write{}); err != nil {
			return false, err
		}
	}
	if post.PresharedKey == nil && post.AllowedIPs == nil && post.PersistentKeepalive == nil {
		return true, nil
	}
	return true, c.AddPeer(ctx, name, post, Write{})
}

func (c *Client) newPSK(have Peer, want agent.PeerBody) (psk string, differs bool) {
	if want.PresharedKey == nil {
		return "", false
	}
	mac := ""
	if k, err := engine.ParseSecretKey(*want.PresharedKey); err == nil {
		mac = c.mac.MAC(k)
	}
	return *want.PresharedKey, mac != have.PresharedKeyMAC
}

// recreateOriginal clears a preshared key by removing the peer and adding it again.
func (c *Client) recreateOriginal(ctx context.Context, name string, have Peer, want agent.PeerBody) error {
	if err := c.RemovePeer(ctx, name, have.PublicKey, Write{}); err != nil {
		return err
	}
	if want.AllowedIPs == nil {
		ips := make([]string, len(have.AllowedIPs))
		for i, ip := range have.AllowedIPs {
			ips[i] = ip.String()
		}
		want.AllowedIPs = &ips
	}
	if want.PersistentKeepalive == nil {
		want.PersistentKeepalive = &have.PersistentKeepalive
	}
	want.PresharedKey = nil
	return c.AddPeer(ctx, name, want, Write{})
}

func sameIPs(have Peer, want []string) bool {
	ips := make([]string, len(have.AllowedIPs))
	for i, ip := range have.AllowedIPs {
		ips[i] = ip.String()
	}
	return slices.Equal(ips, want)
}

// interfaceOriginal reads what the original's file says of the interface.
func (c *Client) interfaceOriginal(ctx context.Context, name string) (agent.InterfaceSummary, error) {
	s := agent.InterfaceSummary{Name: name, Backend: "unknown"}
	conf, err := c.Config(ctx, name)
	if err != nil {
		return s, err
	}
	if conf.PrivateKey != nil {
		k, err := engine.ParseSecretKey(*conf.PrivateKey)
		if err != nil {
			return s, errorf(Malformed, "the file of %s has no usable private key", name)
		}
		s.PublicKey = k.PublicKey().String()
	}
	if conf.ListenPort != nil {
		s.ListenPort = *conf.ListenPort
	}
	if f, err := wgquick.Parse([]byte(conf.RawConfig)); err == nil { // conf.Address is the last line alone
		for _, line := range f.Values("Interface", "Address") {
			for text := range strings.SplitSeq(line, ",") {
				s.Addresses = append(s.Addresses, strings.TrimSpace(text))
			}
		}
	}
	if conf.MTU != nil {
		s.MTU = *conf.MTU
	}
	return s, nil
}
