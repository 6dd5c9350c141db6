package app

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/web"
	"github.com/wgfleet/wgfleet/store"
)

// panelRun is a panel at work on its store. A restoration ends it and begins another one.
type panelRun struct {
	records store.Store
	service *panel.Service
	stop    context.CancelFunc // ends what the panel does by itself
	ended   chan struct{}      // closed when that has ended; nil: it has not begun

	mu       sync.Mutex // protects the rest
	api      *web.Server
	requests int
	quiet    chan struct{} // closed when no other request is at work; nil: nobody waits for that
	spared   int           // requests of those that wait
}

// openPanel opens the store and makes the panel on it; nothing runs yet.
func (p *process) openPanel(ctx context.Context, master store.MasterKey, restorer web.Restorer) (*panelRun, error) {
	records, err := store.Open(p.storeOptions(master))
	if err != nil {
		return nil, err
	}
	r := &panelRun{records: records, stop: func() {}}
	if err := p.furnish(ctx, r, restorer); err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// furnish makes the panel of a run that has its store.
func (p *process) furnish(ctx context.Context, r *panelRun, restorer web.Restorer) error {
	conf, err := p.agentTLS()
	if err != nil {
		return err
	}
	dial, err := panel.Dialer(conf)
	if err != nil {
		return err
	}
	if r.service, err = panel.New(panel.Options{
		Store: r.records, Dial: dial, Logger: p.log, EventsKeep: p.Panel.EventsKeep, EventsMax: p.Panel.EventsMax,
		NotifyAllow: p.Panel.NotifyAllow, Version: p.streams.Version,
	}); err != nil {
		return err
	}
	if err := p.adminKey(ctx, r.service); err != nil {
		return err
	}
	return p.renewAPI(r, restorer)
}

// renewAPI gives a run an API whose streams have not ended; those of the one before may be at work still.
func (p *process) renewAPI(r *panelRun, restorer web.Restorer) error {
	api, err := p.newAPI(r.service, restorer)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.api = api
	return nil
}

func (p *process) storeOptions(master store.MasterKey) store.Options {
	return store.Options{Dir: p.file(panelFolder), MasterKey: master, Logger: p.log, Copies: p.file(copiesFolder)}
}

// begin makes the panel do what it does by itself, until stop or until ctx ends.
func (r *panelRun) begin(ctx context.Context, p *process) {
	ctx, r.stop = context.WithCancel(ctx)
	r.ended = make(chan struct{})
	p.tasks.Go(func() error {
		defer close(r.ended)
		return r.service.Run(ctx)
	})
}

// halt ends what the panel does by itself, and waits for that.
func (r *panelRun) halt(ctx context.Context) error {
	r.stop()
	if r.ended == nil {
		return nil
	}
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close frees all; no request may be at work.
func (r *panelRun) close() error {
	if r.service != nil {
		r.service.Close()
	}
	return r.records.Close()
}

// enter counts a request in.
func (r *panelRun) enter() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
}

func (r *panelRun) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests--
	r.tellLocked()
}

func (r *panelRun) tellLocked() {
	if r.quiet != nil && r.requests <= r.spared {
		close(r.quiet)
		r.quiet = nil
	}
}

// settle waits until no more than these many requests are at work. Nobody may enter any more.
func (r *panelRun) settle(ctx context.Context, spared int) error {
	r.mu.Lock()
	quiet := make(chan struct{})
	r.quiet, r.spared = quiet, spared
	r.tellLocked()
	r.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		r.quiet = nil
		return ctx.Err()
	}
}

func (r *panelRun) apiNow() *web.Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.api
}

// serveHTTP is the API of this run.
func (r *panelRun) serveHTTP(w http.ResponseWriter, req *http.Request) {
	defer r.leave()
	r.apiNow().Handler().ServeHTTP(w, req)
}
