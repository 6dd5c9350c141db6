package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/gateway"
	"github.com/wgfleet/wgfleet/engine/kernel"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

// backends are the ways of driving WireGuard, the best first.
func backends(uapiDir string, g *gateway.Options, log *slog.Logger) []usableBackend {
	return []usableBackend{
		kernel.New(),
		userspace.NewTUN(userspace.Options{Logger: log}),
		userspace.NewNetstack(userspace.Options{Logger: log, UAPIDir: uapiDir, Gateway: g}),
	}
}

// usableBackend is a backend that can say why it does not work here.
type usableBackend interface {
	engine.Backend
	Usable() error
}

// BackendProbe says whether one backend works here.
type BackendProbe struct {
	Kind engine.Kind
	Err  error // why not
}

// ProbeBackends tries all backends; nothing is left behind.
func ProbeBackends(context.Context) []BackendProbe {
	var out []BackendProbe
	for _, b := range backends("", nil, slog.New(slog.DiscardHandler)) {
		out = append(out, BackendProbe{Kind: b.Kind(), Err: b.Usable()})
	}
	return out
}

// chooseBackend takes the wanted backend, for auto the first that works, and logs why in one line.
func chooseBackend(want, uapiDir string, g *gateway.Options, log *slog.Logger) (engine.Backend, error) {
	var reasons error
	for _, b := range backends(uapiDir, g, log) {
		if want != BackendAuto && want != string(b.Kind()) {
			continue
		}
		err := b.Usable()
		if err == nil {
			log.Info("backend chosen", slog.String("backend", string(b.Kind())), slog.String("asked_for", want),
				slog.String("reason", reason(want, reasons)))
			return b, nil
		}
		reasons = errors.Join(reasons, fmt.Errorf("%s: %w", b.Kind(), err))
	}
	return nil, fmt.Errorf("the backend %s does not work here: %w: see `wgfleet version`, or set WGFLEET_BACKEND=auto", want, reasons)
}

// attacher finds interfaces that others brought up on this host; nil where none are looked for.
func attacher(want string, chosen engine.Kind) engine.Backend {
	switch {
	case want == string(engine.KindNetstack):
		return nil
	case chosen == engine.KindNetstack:
		return permitted{kernel.New()}
	}
	return kernel.New()
}

// permitted shows of a backend only the interfaces that this process may drive. Where auto came
// down to netstack, those of others do not concern us: a name of theirs is free in our own stack.
type permitted struct {
	engine.Backend
}

// Attach calls an interface that we may not drive unknown.
func (p permitted) Attach(ctx context.Context, name string) (engine.Device, error) {
	d, err := p.Backend.Attach(ctx, name)
	if errors.Is(err, engine.ErrNotPermitted) {
		return nil, fmt.Errorf("%w: %s is not ours to drive", engine.ErrUnknownInterface, name)
	}
	return d, err
}

// Names leaves out what we may not drive.
func (p permitted) Names(ctx context.Context) ([]string, error) {
	names, err := p.Backend.Names(ctx)
	return slices.DeleteFunc(names, func(name string) bool {
		_, err := p.Backend.Attach(ctx, name)
		return errors.Is(err, engine.ErrNotPermitted)
	}), err
}

func reason(want string, failed error) string {
	switch {
	case want != BackendAuto:
		return "it was asked for"
	case failed == nil:
		return "it is the best one and it works here"
	default:
		return "better ones do not work here: " + oneLine(failed)
	}
}
