package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/time/rate"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/web"
	"github.com/wgfleet/wgfleet/store"
)

// The panel's parts of the data folder.
const (
	panelFolder   = "panel"
	masterKeyFile = "master.key"
)

// Limits of the panel's HTTP server. A reconciliation may take minutes, so answers have none.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = time.Minute
	idleTimeout   = 2 * time.Minute
)

// startPanel brings the panel role up; local is where this host's agent answers, "" for none.
func (p *process) startPanel(ctx context.Context, local string) error {
	conf, err := serverTLS(p.Panel.TLS)
	if err != nil {
		return fmt.Errorf("the panel's TLS (WGFLEET_PANEL_TLS_…): %w", err)
	}
	l, err := p.listen(ctx, panelSocket, p.Panel.Host, p.Panel.Port, keyPanelHost, keyPanelPort)
	if err != nil {
		return err
	}
	p.cleanups.add("the panel's port", closeListener(l))
	p.ports.add(l)
	service, err := p.newService(ctx)
	if err != nil {
		return err
	}
	key, made, err := p.adminKey(ctx, service)
	if err != nil {
		return err
	}
	scheme := "http"
	if conf != nil {
		scheme = "https"
		l = tls.NewListener(l, conf)
	}
	p.ready.PanelURL, p.ready.AdminKey = anyURL(l, scheme), key
	h, err := p.newPanelHTTP(service)
	if err != nil {
		return err
	}
	p.cleanups.add("the panel's requests", stopHTTP(h))
	p.tasks.Go(func() error { return serve(h, l) })
	p.doors = append(p.doors, door{l, p.ready.PanelURL + "/api/health"})
	var host localHost
	if local != "" {
		if host, err = p.ensureLocalNode(ctx, service, local); err != nil {
			return err
		}
		p.ready.NodeID = host.node.ID
	}
	p.watchNodes(ctx, service)
	p.welcome(host, made)
	return nil
}

// newService opens the store.
func (p *process) newService(ctx context.Context) (*panel.Service, error) {
	path := p.Panel.MasterKeyFile
	if path == "" {
		path = p.file(masterKeyFile)
	}
	if err := p.keyBesideStore(path); err != nil {
		return nil, err
	}
	master, err := store.LoadOrCreateMasterKey(path)
	if err != nil {
		return nil, err
	}
	records, err := store.Open(store.Options{Dir: p.file(panelFolder), MasterKey: master, Logger: p.log})
	if err != nil {
		return nil, err
	}
	p.cleanups.add("the store", closing(records.Close))
	conf, err := p.agentTLS()
	if err != nil {
		return nil, err
	}
	dial, err := panel.Dialer(conf)
	if err != nil {
		return nil, err
	}
	service, err := panel.New(panel.Options{
		Store: records, Dial: dial, Logger: p.log, EventsKeep: p.Panel.EventsKeep, EventsMax: p.Panel.EventsMax,
		NotifyAllow: p.Panel.NotifyAllow,
	})
	if err != nil {
		return nil, err
	}
	p.cleanups.add("the panel", closing(func() error { service.Close(); return nil }))
	return service, nil
}

// keyBesideStore refuses to make a new master key where there is a store: it could not open it.
func (p *process) keyBesideStore(path string) error {
	_, err := os.Stat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return nil // LoadOrCreateMasterKey judges what is there
	}
	if _, err := os.Stat(p.file(panelFolder)); err != nil {
		return nil //nolint:nilerr // no store yet: the first start
	}
	return fmt.Errorf("the master key %s is not there, and the panel's store in %s is sealed with it: put it back, or name it with WGFLEET_MASTER_KEY_FILE",
		path, p.file(panelFolder))
}

// watchNodes runs the health checks until ctx ends; the first one is now.
func (p *process) watchNodes(ctx context.Context, service *panel.Service) {
	ended := make(chan struct{})
	p.tasks.Go(func() error {
		defer close(ended)
		return service.Run(ctx)
	})
	p.cleanups.add("the health checks", func(ctx context.Context) error {
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// agentTLS says how the panel knows agents and shows itself to them.
func (p *process) agentTLS() (client.TLS, error) {
	var t client.TLS
	if p.Panel.AgentCA != "" {
		pool, err := certPool(p.Panel.AgentCA)
		if err != nil {
			return t, fmt.Errorf("WGFLEET_AGENT_CA_FILE: %w", err)
		}
		t.Roots = pool
	}
	if p.Panel.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(p.Panel.ClientCert, p.Panel.ClientKey)
		if err != nil {
			return t, fmt.Errorf("WGFLEET_AGENT_CLIENT_CERT: %w", err)
		}
		t.Client = &pair
	}
	return t, nil
}

// adminKey takes the given key, else the kept one, else makes one.
func (p *process) adminKey(ctx context.Context, service *panel.Service) (key APIKey, made bool, err error) {
	key = p.Panel.AdminKey
	if key == "" {
		var kept string
		if kept, made, err = keptSecret(p.DataDir, AdminKeyFile); err != nil {
			return "", false, err
		}
		key = APIKey(kept)
	}
	if err := service.EnsureAdminKey(ctx, string(key)); err != nil {
		return "", false, fmt.Errorf("the administrator's key: %w", err)
	}
	return key, made, nil
}

func (p *process) newPanelHTTP(service *panel.Service) (*http.Server, error) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	api, err := web.New(web.Options{
		Panel: service, Logger: p.log, RateLimit: p.panelRateLimit(), TrustedProxies: p.proxies(), Version: p.streams.Version,
		Registerer: metrics, Gatherer: metrics,
	})
	if err != nil {
		return nil, err
	}
	h := &http.Server{
		Handler:           api.Handler(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
	h.RegisterOnShutdown(api.EndStreams)
	return h, nil
}

func (p *process) panelRateLimit() web.RateLimit {
	limit := web.DefaultRateLimit
	switch p.RateLimit {
	case 0:
	case rate.Inf:
		limit.Off = true
	default:
		limit.PerSecond = float64(p.RateLimit)
		limit.Burst = max(1, int(10*p.RateLimit))
	}
	return limit
}

func (p *process) proxies() []string {
	var out []string
	for _, prefix := range p.Panel.TrustedProxies {
		out = append(out, prefix.String())
	}
	return out
}
