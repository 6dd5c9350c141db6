package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// httpStopWithin is how long requests in flight may take once the process stops.
const httpStopWithin = 3 * time.Second

// serve runs s on l until the clean-ups stop it; letGo ends the requests that wait for something to happen. Whoever was
// taken in by then is answered, within limits: a listener that systemd keeps open refuses nobody.
func (p *process) serve(name string, s *http.Server, l net.Listener, letGo func()) {
	var open atomic.Int64 // connections
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	ended := make(chan struct{})
	p.cleanups.add(name, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, httpStopWithin)
		defer cancel()
		l.Close()
		letGo()
		drain(ctx, s, ended, &open)
		if err := s.Shutdown(ctx); err != nil {
			return s.Close()
		}
		return nil
	})
	p.tasks.Go(func() error {
		defer close(ended)
		err := s.Serve(l)
		if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
			return nil
		}
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	})
}

// drain waits until Serve has ended and no connection is left. Shutdown alone drops requests: it does not know a connection
// that Accept has just returned, and once it has begun, net/http answers no request that it reads.
func drain(ctx context.Context, s *http.Server, ended <-chan struct{}, open *atomic.Int64) {
	select {
	case <-ended:
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s.SetKeepAlivesEnabled(false) // which closes those that are idle by now
		if open.Load() == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
