package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// getAccess is GET access: what the interface's file says of a gateway's peers.
func (s *Server) getAccess(ctx context.Context, q *request) (*answer, error) {
	name := q.route.iface
	if _, err := s.find(ctx, name); err != nil {
		return nil, err
	}
	h, err := s.readHostFile(name)
	if err != nil {
		return nil, err
	}
	var c engine.GatewayConfig
	if h != nil {
		if c, err = h.file.Gateway(); err != nil {
			return nil, fmt.Errorf("the interface's file can't be read: %w", err)
		}
	}
	return ok(agent.AccessState{Interface: name, Active: s.hasGateway(ctx, name), AccessPolicy: agent.NewAccessPolicy(c.Access)})
}

// hasGateway reports whether a gateway carries for the interface now.
func (s *Server) hasGateway(ctx context.Context, name string) bool {
	g, err := s.gatewayOf(ctx, name)
	if err != nil {
		return false
	}
	_, err = g.GatewayStats(ctx)
	return err == nil
}

// putAccess is PUT access: it replaces what the file says, and the gateway heeds it before the answer.
func (s *Server) putAccess(ctx context.Context, q *request) (*answer, error) {
	wanted, err := decodeAccess(q)
	if err != nil {
		return nil, err
	}
	sl, release, err := s.takeKnown(ctx, q.route.iface)
	if err != nil {
		return nil, err
	}
	defer release()
	d, err := s.deviceIfUp(ctx, sl)
	if err != nil {
		return nil, err
	}
	if err := s.precondition(ctx, q, sl, d); err != nil {
		return nil, err
	}
	if err := s.flush(sl); err != nil { // peers that the file does not hold yet
		return nil, err
	}
	if err := s.writeAccess(sl, wanted); err != nil {
		return nil, err
	}
	active := false
	if d != nil {
		s.govern(ctx, sl, d)
		active = s.hasGateway(ctx, sl.name)
	}
	return ok(agent.AccessState{Interface: sl.name, Active: active, AccessPolicy: agent.NewAccessPolicy(wanted)})
}

func decodeAccess(q *request) (engine.AccessPolicy, error) {
	if _, err := decodeBody(q); err != nil { // what is no JSON object is refused as everywhere
		return engine.AccessPolicy{}, err
	}
	var body agent.AccessPolicy
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(q.body, []byte("\ufeff"))))
	d.DisallowUnknownFields() // a misspelled list would let through what it was to refuse
	if err := d.Decode(&body); err != nil {
		field := "body"
		if bad, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && bad.Field != "" {
			field = bad.Field
		}
		return engine.AccessPolicy{}, fieldError([]any{"body", field}, field, "expected allow, deny, limits and peers, and no other members", nil)
	}
	return body.Engine()
}

// writeAccess edits the file. The caller holds the slot.
func (s *Server) writeAccess(sl *slot, p engine.AccessPolicy) error {
	h, err := s.ownFile(sl)
	if err != nil {
		return err
	}
	if h == nil {
		return agent.Errorf(agent.CodeUnknownInterface, "interface %s has no file to keep this in: PUT config makes one", sl.name)
	}
	for key := range p.Peers {
		if !h.file.HasPeer(key) {
			return agent.Errorf(agent.CodeUnknownPeer, "interface %s has no peer %s in its file", sl.name, key)
		}
	}
	_, unread := h.file.Gateway()
	h.file.SetAccess(p)
	if _, err := h.file.Gateway(); err != nil { // what was bad is not ours to replace, and no gateway would heed any of it
		return fmt.Errorf("the interface's file can't be read: %w", unread)
	}
	edit, err := s.replaceFile(sl, h.path, h.hash, h.file.Bytes())
	if err != nil {
		return err
	}
	defer edit.discard()
	if edit.write == nil {
		return nil
	}
	return s.persist(sl, record{}, edit)
}
