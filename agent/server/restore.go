package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/wgfleet/wgfleet/engine"
)

// Start takes over the interfaces that are up and brings the others up as Options.Up says. One that
// fails stops neither the others nor the agent: it is logged and shown as down.
func (s *Server) Start(ctx context.Context) error {
	names := s.names(ctx)
	kept, err := os.ReadDir(filepath.Join(s.o.DataDir, StateFolder))
	if err != nil {
		return fmt.Errorf("read the data folder: %w", err)
	}
	for _, e := range kept {
		if engine.ValidateName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := s.restore(ctx, name); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("start the agent: %w", ctx.Err())
			}
			s.o.Logger.Error("an interface did not come up", "interface", name, "error", err)
		}
	}
	s.work(s.reresolve)
	s.work(s.watchPeers)
	s.work(s.watchGateways)
	return nil
}

func (s *Server) restore(ctx context.Context, name string) error {
	sl, release, err := s.take(ctx, func() (*slot, error) { return s.slotFor(name), nil })
	if err != nil {
		return err
	}
	defer release()
	sweep(s.confPath(name))
	d, err := s.deviceIfUp(ctx, sl)
	if err == nil && d != nil {
		s.o.Logger.Info("an interface that is up was taken over", "interface", name, "backend", string(sl.kind()))
		return nil
	}
	if err == nil && s.comesUp(sl) {
		err = s.start(ctx, sl)
		if err == nil {
			s.o.Logger.Info("an interface came up", "interface", name)
		}
	}
	if err != nil {
		return err
	}
	if d, _ := sl.current(); d == nil && !s.hasFile(name) {
		if sl.journal.state.known && !sl.journal.state.never() {
			s.o.Logger.Warn("an interface stays down: its file is gone", "interface", name)
		}
		err = sl.journal.close()
		sl.journal = nil
		s.forget(sl)
	}
	return err
}

func (s *Server) hasFile(name string) bool {
	_, err := os.Lstat(s.confPath(name))
	return !errors.Is(err, fs.ErrNotExist)
}

// comesUp decides by Options.Up. The caller holds the slot.
func (s *Server) comesUp(sl *slot) bool {
	last := sl.journal.state
	had := s.hasFile(sl.name) || last.known && last.never() && last.up
	switch {
	case slices.Contains(s.o.Up, UpNone):
		return false
	case slices.Contains(s.o.Up, UpAll):
		return had
	case !slices.Contains(s.o.Up, UpAuto):
		return slices.Contains(s.o.Up, sl.name)
	case s.o.Backend.Kind() == engine.KindKernel:
		return had && last.up
	}
	return had
}
