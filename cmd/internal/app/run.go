package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/wgfleet/wgfleet/engine"
)

// Streams are where a process writes, and what it says of itself.
type Streams struct {
	Out     io.Writer // for a person
	Log     io.Writer // JSON lines
	Version string
	// Backend drives WireGuard where the caller keeps a hand on its devices; nil: the settings choose.
	Backend engine.Backend
	// Ready is called once when all roles answer; nil: nobody asks.
	Ready func(Ready)
}

// Ready says where the roles answer. A URL is "" where the role does not run.
type Ready struct {
	AgentURL string
	PanelURL string
	AdminKey APIKey
	NodeID   string // of this host in the panel
}

// process is what the roles of one Run share.
type process struct {
	Settings
	streams  Streams
	log      *slog.Logger
	cleanups cleanups
	tasks    *errgroup.Group
	ready    Ready
	keyMade  bool        // the administrator's key is new
	kind     engine.Kind // of the agent's backend
	ports    ownPorts
	service  service
	sockets  map[string]net.Listener // of systemd, until a role takes its own
	doors    []door                  // of the roles that run
}

// Run runs the roles until ctx ends or one of them fails, then stops them in order.
func Run(ctx context.Context, s Settings, streams Streams) error {
	p := &process{Settings: s, streams: streams, log: newLogger(streams.Log, s.LogLevel)}
	p.cleanups.log, p.service.log = p.log, p.log
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tasks, ctx := errgroup.WithContext(ctx)
	p.tasks = tasks
	err := p.start(ctx)
	if err == nil {
		p.log.Info("wgfleet is ready", slog.String("version", streams.Version), slog.String("agent_url", p.ready.AgentURL),
			slog.String("panel_url", p.ready.PanelURL), slog.String("data_dir", p.DataDir))
		if streams.Ready != nil {
			streams.Ready(p.ready)
		}
		p.service.ready()
		p.watch(ctx)
		<-ctx.Done()
		p.service.stopping()
		p.log.Info("wgfleet is stopping", slog.String("reason", oneLine(context.Cause(ctx))))
	}
	cancel() // after a failed start the tasks still run
	err = errors.Join(err, p.cleanups.run(ctx))
	return errors.Join(err, tasks.Wait())
}

// start brings the roles up, or says why not; what is up already is left to the clean-ups.
func (p *process) start(ctx context.Context) error {
	unlock, err := openFolder(p.DataDir)
	if err != nil {
		return err
	}
	p.cleanups.add("the data folder", closing(unlock))
	if p.sockets, err = handedOver(); err != nil {
		return err
	}
	if err := p.sharedSecret(); err != nil {
		return err
	}
	p.warnShort(p.log)
	var local string
	if p.RunAgent {
		if local, err = p.startAgent(ctx); err != nil {
			return err
		}
	}
	if p.RunPanel {
		if err := p.startPanel(ctx, local); err != nil {
			return err
		}
	}
	p.closeSockets()
	return nil
}

// sharedSecret makes one, or takes the kept one, where the panel runs and none was given.
func (p *process) sharedSecret() error {
	if !p.RunPanel || !p.RunAgent || p.Agent.Secret != "" {
		return nil
	}
	kept, made, err := keptSecret(p.DataDir, agentSecretFile)
	if err != nil {
		return err
	}
	if made {
		p.log.Info("a shared secret was made", slog.String("kept_in", p.file(agentSecretFile)))
	}
	p.Agent.Secret = agentSecret(kept)
	return nil
}

// oneLine puts an error into one line of text.
func oneLine(err error) string {
	if err == nil {
		return ""
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
