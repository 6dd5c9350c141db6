package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/web"
	"github.com/wgfleet/wgfleet/store"
)

// settleWithin is how long a restoration waits for the other requests, and for what the panel does by itself, to end.
const settleWithin = 20 * time.Second

// panelRole is the panel's place in the process: whoever asks gets the panel that runs now. The agent of this host, and
// with it the traffic, knows nothing of a restoration.
type panelRole struct {
	p      *process
	ctx    context.Context //nolint:containedctx // of the process: a panel outlives the request that restored it
	master store.MasterKey
	local  string // where this host's agent answers; "" for none

	settleWithin time.Duration

	making sync.Mutex // held while a store is made of a backup
	swap   sync.Mutex // held while a panel is put in another's place, and for good once the role has stopped

	mu   sync.Mutex    // protects the next two
	run  *panelRun     // nil: none could be brought up
	shut chan struct{} // closed when there is a panel again; nil: there is one
}

var _ web.Restorer = (*panelRole)(nil)

// ServeHTTP hands a request to the panel that runs; one that comes in between waits for the next.
func (r *panelRole) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	run, err := r.enter(req.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	run.serveHTTP(w, req)
}

func (r *panelRole) enter(ctx context.Context) (*panelRun, error) {
	for {
		r.mu.Lock()
		run, shut := r.run, r.shut
		if shut == nil && run != nil {
			run.enter()
		}
		r.mu.Unlock()
		if shut == nil {
			if run == nil {
				return nil, errors.New("the panel is not running")
			}
			return run, nil
		}
		select {
		case <-shut:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (r *panelRole) now() *panelRun {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.run
}

// Restorable implements web.Restorer.
func (r *panelRole) Restorable(ctx context.Context) error {
	return r.now().service.Replaceable(ctx)
}

// Restore implements web.Restorer. Its request is one of the panel's that it replaces.
func (r *panelRole) Restore(ctx context.Context, from io.Reader, p panel.Passphrase) (panel.BackupSummary, error) {
	var none panel.BackupSummary
	if !r.making.TryLock() {
		return none, fmt.Errorf("%w: another backup is being restored", panel.ErrUnavailable)
	}
	defer r.making.Unlock()
	b, err := panel.OpenBackup(from, p)
	if err != nil {
		return none, err
	}
	made, err := store.Restore(ctx, r.p.storeOptions(r.master), b)
	if err != nil {
		return none, panel.BackupProblem(err)
	}
	err = r.replace(context.WithoutCancel(ctx), made)
	if err = errors.Join(err, made.Discard()); err != nil {
		return none, err
	}
	r.now().service.Restored(ctx, made.Summary)
	return made.Summary, nil
}

// replace puts the restored store in the place of the one in use, unless something was made there meanwhile. Whatever
// comes of it, a panel runs afterwards, or the process ends.
func (r *panelRole) replace(ctx context.Context, made *store.Restored) error {
	if !r.swap.TryLock() {
		return fmt.Errorf("%w: it is just starting, or about to stop", panel.ErrUnavailable)
	}
	defer r.swap.Unlock()
	old, open := r.shutDoor()
	defer open()
	bounded, cancel := context.WithTimeout(ctx, r.settleWithin)
	defer cancel()
	old.apiNow().EndStreams()
	if err := old.settle(bounded, 1); err != nil {
		return errors.Join(fmt.Errorf("%w: other requests did not end within %v, try again", panel.ErrUnavailable, r.settleWithin), r.p.renewAPI(old, r))
	}
	halting, cancel := context.WithTimeout(ctx, r.settleWithin) // its own time: without it the process ends
	defer cancel()
	if err := old.halt(halting); err != nil {
		return r.give(fmt.Errorf("what the panel does by itself did not end within %v: %w", r.settleWithin, err))
	}
	err := old.service.Replaceable(ctx)
	if err = errors.Join(err, old.close()); err == nil {
		err = made.Commit()
	}
	next, failed := r.p.openPanel(r.ctx, r.master, r)
	r.set(next)
	if failed != nil {
		return errors.Join(err, r.give(failed))
	}
	if err == nil {
		r.p.log.InfoContext(ctx, "the panel was restored", slog.Int("records", made.Summary.Records), slog.String("sha256", made.Summary.SHA256))
		r.welcomeHost(ctx, next)
	}
	next.begin(r.ctx, r.p)
	return err
}

// welcomeHost makes the restored panel know this host under the name that it had there.
func (r *panelRole) welcomeHost(ctx context.Context, next *panelRun) {
	if r.local == "" {
		return
	}
	if _, err := r.p.ensureLocalNode(ctx, next.service, r.local); err != nil {
		r.p.log.WarnContext(ctx, "this host's node was not brought up to date after the restoration", slog.String("error", oneLine(err)))
	}
}

// give ends the process: there is no panel, and nothing to make one of.
func (r *panelRole) give(why error) error {
	why = fmt.Errorf("bring the panel up after a restoration: %w", why)
	r.p.tasks.Go(func() error { return why })
	return why
}

func (r *panelRole) set(run *panelRun) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run = run
}

// shutDoor makes all that come wait, until open.
func (r *panelRole) shutDoor() (old *panelRun, open func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	shut := make(chan struct{})
	r.shut = shut
	return r.run, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.shut = nil
		close(shut)
	}
}

// stop ends the role; a restoration at work comes to its end first.
func (r *panelRole) stop(ctx context.Context) error {
	locked := make(chan struct{})
	go func() {
		r.swap.Lock() // for good
		close(locked)
	}()
	select {
	case <-locked:
	case <-ctx.Done():
		return ctx.Err()
	}
	run := r.now()
	if run == nil {
		return nil
	}
	return errors.Join(run.halt(ctx), closing(run.close)(ctx))
}
