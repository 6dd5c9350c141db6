package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/netstack"
)

// AgentFolder is the agent's part of the data folder, and StatesFolder where it keeps each interface in a folder of its name.
const (
	AgentFolder  = "agent"
	StatesFolder = AgentFolder + "/" + server.StateFolder
)

func agentSecret(text string) agent.Secret { return agent.Secret(text) }

func (p *process) file(name string) string { return filepath.Join(p.DataDir, name) }

// startAgent brings the agent role up. It returns the URL at which a panel in this process reaches it.
func (p *process) startAgent(ctx context.Context) (local string, err error) {
	conf, err := serverTLS(p.Agent.TLS)
	if err != nil {
		return "", fmt.Errorf("the agent's TLS (WG_AGENT_TLS_…): %w", err)
	}
	l, err := p.listen(ctx, agentSocket, p.Agent.Host, p.Agent.Port, keyHost, keyPort)
	if err != nil {
		return "", err
	}
	p.cleanups.add("the agent's port", closeListener(l))
	p.ports.add(l)
	if absent(l) {
		p.log.Warn("this host does not have the agent's address yet: nobody reaches it until it does", slog.String("address", p.Agent.Host))
	}
	s, err := p.newAgent()
	if err != nil {
		return "", err
	}
	if err := s.Start(ctx); err != nil {
		return "", err
	}
	scheme := "http"
	if conf != nil {
		scheme = "https"
		l = tls.NewListener(l, conf)
	}
	p.serveAgent(s, l)
	p.ready.AgentURL = anyURL(l, scheme)
	p.doors = append(p.doors, door{l, p.ready.AgentURL + "/health"})
	if local = localURL(l, "http"); local != "" && conf == nil {
		return local, nil
	}
	if !p.RunPanel {
		return "", nil
	}
	return p.ownDoor(ctx, s)
}

// newAgent makes the server on the chosen backend; its clean-up takes down what this process made.
func (p *process) newAgent() (*server.Server, error) {
	if err := p.seed(); err != nil {
		return nil, err
	}
	b, err := p.backend()
	if err != nil {
		return nil, err
	}
	p.kind = b.Kind()
	if p.kind == engine.KindNetstack {
		p.Gateway.boundMemory()
		netstack.DiscardLogs()
	}
	s, err := server.New(server.Options{
		Backend: b, Attach: attacher(p.Settings.Backend, p.kind),
		ConfDir: p.ConfDir, DataDir: p.file(AgentFolder),
		Secret: p.Agent.Secret, PreviousSecret: p.Agent.PreviousSecret,
		MaxTimestampAge: p.Agent.MaxTimestampAge, RequireNonce: p.Agent.RequireNonce,
		Hooks: p.Agent.Hooks, ExposeSecrets: p.Agent.ExposeSecrets, Metrics: p.Agent.Metrics,
		Up: p.Up, RateLimit: p.RateLimit,
		HookRunner: hooks(p.log), Network: p.network(),
		Gateway: server.GatewayOptions{
			Allow: p.Gateway.Allow, Deny: p.Gateway.Deny, Resolver: p.Gateway.Resolver, OwnPorts: p.ports.list,
		},
		Version: p.streams.Version, Logger: p.log,
	})
	if err != nil {
		return nil, err
	}
	down, begin, end := fate(p.kind, p.DownOnExit)
	p.log.Info("interfaces", slog.String("fate", begin), slog.String("backend", string(p.kind)))
	p.cleanups.add("the agent", func(ctx context.Context) error {
		p.log.Info("interfaces", slog.String("fate", end), slog.String("backend", string(p.kind)))
		return s.Close(ctx, down)
	})
	return s, nil
}

// fate says what becomes of the interfaces made here when the process ends, and how that is logged at
// its begin and end. A link of the kernel carries traffic without us; any other device is part of us.
func fate(k engine.Kind, downOnExit bool) (down bool, begin, end string) {
	switch {
	case k != engine.KindKernel:
		return true, "the interfaces live in this process: they go down when it stops", "the interfaces go down with this process"
	case downOnExit:
		return true, "the interfaces live in the kernel: those made here go down when wgfleet stops, as was asked for",
			"the interfaces made here go down"
	}
	return false, "the interfaces live in the kernel: they stay up when wgfleet stops", "the interfaces stay up without wgfleet"
}

func (p *process) backend() (engine.Backend, error) {
	if p.streams.Backend != nil {
		return p.streams.Backend, nil
	}
	return chooseBackend(p.Settings.Backend, p.UAPIDir, p.Gateway.options(), p.log)
}

// ownDoor opens a port on loopback for the panel in this process, where the agent's own one is not
// there or speaks TLS for the name that others know.
func (p *process) ownDoor(ctx context.Context, s *server.Server) (string, error) {
	l, err := listen(ctx, "127.0.0.1", 0, keyHost, keyPort)
	if err != nil {
		return "", err
	}
	p.cleanups.add("the agent's port for the panel here", closeListener(l))
	p.ports.add(l)
	p.serveAgent(s, l)
	url := localURL(l, "http")
	p.log.Info("the panel here reaches the agent over loopback", slog.String("url", url))
	return url, nil
}

func (p *process) serveAgent(s *server.Server, l net.Listener) {
	h := server.NewHTTPServer(s, p.log)
	p.serve("the agent's requests", h, l, s.LetGo)
}

func closeListener(l net.Listener) func(context.Context) error {
	return func(context.Context) error {
		l.Close() // the HTTP server has closed it already, unless it never ran
		return nil
	}
}
