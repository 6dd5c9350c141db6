package server

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// health is GET /health. It waits for nothing.
func (s *Server) health(context.Context, *request) (*answer, error) {
	now := s.o.Now()
	return ok(agent.Health{
		Status: "ok", Timestamp: now.Unix(), Uptime: int64(now.Sub(s.started).Seconds()), Version: s.o.Version,
		AgentID: s.identity.id, Capabilities: []string{agent.CapV2, agent.CapETag, agent.CapWait, agent.CapApply, agent.CapFile, agent.CapFlows},
	})
}

// list is GET /v1/wg: every interface that is up or has a file.
func (s *Server) list(ctx context.Context, q *request) (*answer, error) {
	out := agent.Interfaces{Interfaces: []agent.InterfaceSummary{}}
	for _, name := range s.names(ctx) {
		if sum, there := s.summary(ctx, q, name); there {
			out.Interfaces = append(out.Interfaces, sum)
		}
	}
	return ok(out)
}

// names returns the interfaces that exist: known here, with a file, or live. Sorted.
func (s *Server) names(ctx context.Context) []string {
	names := fileNames(s.o.ConfDir)
	for _, sl := range s.known() {
		names = append(names, sl.name)
	}
	for _, b := range s.backends() {
		found, err := b.Names(ctx)
		if err != nil {
			s.o.Logger.Warn("the interfaces of a backend can't be listed", "backend", string(b.Kind()), "error", err)
			continue
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// fileNames returns the names of the wg-quick(8) files in a folder.
func fileNames(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".conf")
		if ok && !e.IsDir() && engine.ValidateName(name) == nil {
			names = append(names, name)
		}
	}
	return names
}

// summary describes an interface; false where it went away meanwhile.
func (s *Server) summary(ctx context.Context, q *request, name string) (agent.InterfaceSummary, bool) {
	out := agent.InterfaceSummary{Name: name, Backend: string(s.o.Backend.Kind()), Addresses: []string{}}
	sl, d, err := s.forRead(ctx, name)
	if err == nil {
		_, known := sl.current()
		var m *model
		if m, err = sl.modelOf(ctx, d, known); err == nil {
			out.Up = true
			out.Backend = string(sl.kind())
			describe(&out, m, q.mac)
			return out, true
		}
	}
	if toError(err).Code == agent.CodeUnknownInterface {
		return out, false
	}
	if h, err := s.readHostFile(name); err == nil && h != nil {
		if state, _, err := h.state(name); err == nil {
			describe(&out, newModel(state), q.mac)
		}
	}
	return out, true
}

func describe(out *agent.InterfaceSummary, m *model, mac engine.MACKey) {
	i := m.state.Interface
	if !i.PrivateKey.IsZero() {
		out.PublicKey = i.PrivateKey.PublicKey().String()
	}
	out.ListenPort, out.FwMark, out.MTU = int(i.ListenPort), i.FwMark, i.MTU
	for _, a := range i.Addresses {
		out.Addresses = append(out.Addresses, a.String())
	}
	out.PeerCount = len(m.state.Peers)
	out.Digest, out.InterfaceDigest = m.digest(mac), m.interfaceDigest
}
