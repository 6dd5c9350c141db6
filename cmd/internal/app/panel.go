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
	copiesFolder  = "backups" // of the store as it was before each upgrade
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
	role, err := p.newPanelRole(ctx, local)
	if err != nil {
		return err
	}
	role.swap.Lock() // nothing is restored before all is up
	defer role.swap.Unlock()
	scheme := "http"
	if conf != nil {
		scheme = "https"
		l = tls.NewListener(l, conf)
	}
	p.ready.PanelURL = anyURL(l, scheme)
	h := p.newPanelHTTP(role)
	p.serve("the panel's requests", h, l, role.endStreams)
	p.doors = append(p.doors, door{l, p.ready.PanelURL + "/api/health"})
	var host localHost
	run := role.now()
	if local != "" {
		if host, err = p.ensureLocalNode(ctx, run.service, local); err != nil {
			return err
		}
		p.ready.NodeID = host.node.ID
	}
	run.begin(ctx, p)
	p.welcome(host, p.keyMade)
	return nil
}

// newPanelRole opens the store.
func (p *process) newPanelRole(ctx context.Context, local string) (*panelRole, error) {
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
	role := &panelRole{p: p, ctx: ctx, master: master, local: local, settleWithin: settleWithin}
	if role.run, err = p.openPanel(ctx, master, role); err != nil {
		return nil, err
	}
	p.cleanups.add("the panel", role.stop)
	return role, nil
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

// adminKey makes the given key the administrator's, else the kept one, else a new one. It is that of the process: a
// restored panel takes it over, in place of the one that the backup's panel had from its settings.
func (p *process) adminKey(ctx context.Context, service *panel.Service) error {
	if p.ready.AdminKey == "" {
		p.ready.AdminKey = p.Panel.AdminKey
	}
	if p.ready.AdminKey == "" {
		kept, made, err := keptSecret(p.DataDir, AdminKeyFile)
		if err != nil {
			return err
		}
		p.ready.AdminKey, p.keyMade = APIKey(kept), made
	}
	if err := service.EnsureAdminKey(ctx, string(p.ready.AdminKey)); err != nil {
		return fmt.Errorf("the administrator's key: %w", err)
	}
	return nil
}

// newAPI makes the API of a panel, with metrics of its own.
func (p *process) newAPI(service *panel.Service, restorer web.Restorer) (*web.Server, error) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return web.New(web.Options{
		Panel: service, Restorer: restorer, Logger: p.log, RateLimit: p.panelRateLimit(), TrustedProxies: p.proxies(),
		Version: p.streams.Version, Registerer: metrics, Gatherer: metrics,
	})
}

func (p *process) newPanelHTTP(role *panelRole) *http.Server {
	return &http.Server{
		Handler:           role,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
}

// endStreams ends what the API's followers wait for.
func (r *panelRole) endStreams() {
	if run := r.now(); run != nil {
		run.apiNow().EndStreams()
	}
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
