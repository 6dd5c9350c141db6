package server

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// wish is what a body asks of one peer; nil: leave it as it is.
type wish struct {
	key       wgtypes.Key
	ips       []netip.Prefix // where hasIPs
	hasIPs    bool
	psk       *engine.SecretKey
	keepalive *int
	endpoint  netip.AddrPort // zero: leave it
}

// decodeWish reads the fields of a peer. Problems of type go to the object; values that no peer can
// have do, too.
func decodeWish(o *object, nullIsAbsent bool) (wish, []string) {
	var w wish
	texts := o.texts("allowed_ips", nullIsAbsent)
	psk := o.text("preshared_key", true)
	w.keepalive = o.integer("persistent_keepalive", nullIsAbsent)
	if len(*o.problems) > 0 {
		return w, nil
	}
	if texts != nil {
		w.hasIPs = true
		w.ips = decodePrefixes(o, *texts)
	}
	if psk != nil {
		key, err := parseSecretText(strings.TrimSuffix(*psk, "\n")) // as wg(8) reads its key files
		if err != nil {
			o.problem("value_error", o.at("preshared_key"), err.Error(), nil)
		}
		w.psk = &key
	}
	if k := w.keepalive; k != nil && (*k < 0 || *k > engine.MaxKeepalive) {
		o.problem("value_error", o.at("persistent_keepalive"),
			"expected 0 (off) to 65535 seconds", echo("persistent_keepalive", o.members["persistent_keepalive"]))
	}
	if texts == nil {
		return w, nil
	}
	return w, *texts
}

// decodePrefixes reads allowed IPs; an entry may hold several, separated by commas, as wg(8) takes.
func decodePrefixes(o *object, texts []string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(texts))
	for i, text := range texts {
		if strings.TrimSpace(text) == "" {
			continue
		}
		for part := range strings.SplitSeq(text, ",") {
			p, err := engine.ParsePrefix(part)
			if err != nil {
				o.problem("value_error", o.at("allowed_ips", i), err.Error(), text)
				continue
			}
			out = append(out, p)
		}
	}
	return engine.NormalizePrefixes(out)
}

// decodeKey reads the public_key of a body.
func decodeKey(o *object) wgtypes.Key {
	o.require("public_key")
	text := o.text("public_key", false)
	if text == nil {
		return wgtypes.Key{}
	}
	key, err := engine.ParseKey(*text)
	switch {
	case err != nil:
		o.problem("value_error", o.at("public_key"), err.Error(), nil)
	case key == wgtypes.Key{}:
		o.problem("value_error", o.at("public_key"), "the all-zero key is no peer's key", nil)
	}
	return key
}

// on returns the change that the wish makes of a peer; nil where there is nothing to do.
func (w wish) on(before engine.Peer, there bool) *engine.PeerChange {
	after := engine.Peer{PublicKey: w.key}
	var change engine.PeerChange
	observed := before
	if there {
		if !w.endpoint.IsValid() {
			before.Endpoint = netip.AddrPort{} // peers roam: only a wish for an endpoint touches it
		}
		after = before
		change.Before = &before
	}
	if w.hasIPs {
		after.AllowedIPs = w.ips
	}
	after.AllowedIPs = engine.NormalizePrefixes(after.AllowedIPs)
	if w.psk != nil {
		after.PresharedKey = *w.psk
	}
	if w.keepalive != nil {
		after.PersistentKeepalive = *w.keepalive
	}
	after.Endpoint = w.endpoint
	if there && engine.SamePeer(observed, after) {
		return nil
	}
	change.After = &after
	return &change
}

// complete makes the wish a whole peer, as in a [Peer] section: what is left out is none, 0 or empty.
func (w *wish) complete() {
	w.hasIPs = true
	if w.psk == nil {
		w.psk = new(engine.SecretKey)
	}
	if w.keepalive == nil {
		w.keepalive = new(int)
	}
}

// keeps refuses that taker takes what this wish asks for as well. A nil wish asks for nothing.
func (w *wish) keeps(taker wish) error {
	if w == nil {
		return nil
	}
	for _, ip := range taker.ips {
		if slices.Contains(w.ips, ip) {
			return &engine.ConflictError{Prefix: ip, Holder: w.key, Wanted: taker.key}
		}
	}
	return nil
}

// write holds the slot of an up interface, checks If-Match and hands device and model to do.
func (s *Server) write(ctx context.Context, q *request, do func(context.Context, *slot, engine.Device, *model) error) error {
	sl, release, err := s.takeKnown(ctx, q.route.iface)
	if err != nil {
		return err
	}
	defer release()
	d, err := s.forWrite(ctx, sl)
	if err != nil {
		return err
	}
	_, known := sl.current()
	m, err := sl.modelOf(ctx, d, known)
	if err != nil {
		return err
	}
	if err := ifMatch(q, m); err != nil {
		return err
	}
	return do(ctx, sl, d, m)
}

// change does one peer's change.
func (s *Server) change(ctx context.Context, sl *slot, d engine.Device, m *model, c *engine.PeerChange) error {
	if c == nil {
		return nil
	}
	_, err := s.commit(ctx, sl, d, m, engine.Changes{Peers: []engine.PeerChange{*c}})
	return err
}

// addPeer is POST peers: it adds a peer or changes what is given.
func (s *Server) addPeer(ctx context.Context, q *request) (*answer, error) {
	o, err := decodeBody(q)
	if err != nil {
		return nil, err
	}
	key := decodeKey(o)
	w, texts := decodeWish(o, false)
	if err := o.err(); err != nil {
		return nil, err
	}
	w.key = key
	err = s.write(ctx, q, func(ctx context.Context, sl *slot, d engine.Device, m *model) error {
		before, there := engine.Lookup(m.state.Peers, key)
		return s.change(ctx, sl, d, m, w.on(before, there))
	})
	if err != nil {
		return nil, err
	}
	if texts == nil {
		texts = []string{}
	}
	return ok(agent.Success{
		Status: "success", Message: "Peer added successfully",
		Peer: &agent.AddedPeer{PublicKey: key.String(), AllowedIPs: texts},
	})
}

// updatePeer is PUT peers/{key}.
func (s *Server) updatePeer(ctx context.Context, q *request) (*answer, error) {
	key, err := pathKey(q.route.key)
	if err != nil {
		return nil, err
	}
	o, err := decodeBody(q)
	if err != nil {
		return nil, err
	}
	w, _ := decodeWish(o, false)
	if err := o.err(); err != nil {
		return nil, err
	}
	w.key = key
	err = s.write(ctx, q, func(ctx context.Context, sl *slot, d engine.Device, m *model) error {
		before, there := engine.Lookup(m.state.Peers, key)
		if !there {
			return agent.Errorf(agent.CodeUnknownPeer, "interface %s has no peer %s", sl.name, key)
		}
		return s.change(ctx, sl, d, m, w.on(before, true))
	})
	return success("Peer updated successfully", err)
}

// removePeer is DELETE peers/{key}. That there is no such peer is a success, too.
func (s *Server) removePeer(ctx context.Context, q *request) (*answer, error) {
	key, err := pathKey(q.route.key)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, q, func(ctx context.Context, sl *slot, d engine.Device, m *model) error {
		before, there := engine.Lookup(m.state.Peers, key)
		if !there {
			return nil
		}
		return s.change(ctx, sl, d, m, &engine.PeerChange{Before: &before})
	})
	return success("Peer removed successfully", err)
}

func success(message string, err error) (*answer, error) {
	if err != nil {
		return nil, err
	}
	return ok(agent.Success{Status: "success", Message: message})
}

// ifMatch is the precondition of a write: the digest of the peers.
func ifMatch(q *request, m *model) error {
	values := q.http.Header.Values("If-Match")
	if len(values) == 0 {
		return nil
	}
	if m != nil && matches(values, m.digest(q.mac)) {
		return nil
	}
	return agent.Errorf(agent.CodePrecondition, "the configuration is another by now than If-Match says: nothing was changed")
}

// matches reports whether a list of entity tags names the digest.
func matches(values []string, digest string) bool {
	for _, v := range values {
		for tag := range strings.SplitSeq(v, ",") {
			tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
			if tag == "*" || strings.Trim(tag, `"`) == digest {
				return true
			}
		}
	}
	return false
}

// etag is the entity tag of a digest.
func etag(digest string) string { return fmt.Sprintf("%q", digest) }
