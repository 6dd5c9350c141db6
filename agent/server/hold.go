package server

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/agent"
)

// heldAnswer is the log's line of a request that began to wait.
const heldAnswer = "holding the answer until something changes"

// unchanged returns the model whose peers have one of the digests in tags, or nil where they do not and where
// only a full read can tell. It holds the answer, as Prefer: wait=N asks, until either digest changes.
func (s *Server) unchanged(ctx context.Context, q *request, tags []string) (*model, error) {
	if wait := preferWait(q.http.Header.Values("Prefer")); wait > 0 {
		return s.hold(ctx, q, tags, wait)
	}
	sl, d, err := s.forRead(ctx, q.route.iface)
	if err != nil {
		return nil, err
	}
	_, known := sl.current()
	m, err := sl.modelOf(ctx, d, known)
	if err != nil || !matches(tags, m.digest(q.mac)) {
		return nil, err
	}
	return m, nil
}

// hold waits for a change. The interface's digest is compared with the one in the request's header, else with
// the first one seen. An error is that of a fresh request.
func (s *Server) hold(ctx context.Context, q *request, tags []string, wait time.Duration) (*model, error) {
	q.body = []byte{} // it was verified, and nobody needs it while we wait
	lo, leave := s.join(q.route.iface)
	defer leave()
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	iface, logged := q.http.Header.Get(agent.HeaderInterfaceDigest), false
	for {
		now, turned := lo.seen()
		if now.err != nil {
			return nil, now.err
		}
		if m := now.model; m != nil {
			if !matches(tags, m.digest(q.mac)) {
				return nil, nil //nolint:nilnil // see unchanged
			}
			if iface == "" {
				iface = m.interfaceDigest
			}
			if iface != m.interfaceDigest {
				return m, nil
			}
			if !logged {
				s.o.Logger.LogAttrs(ctx, slog.LevelDebug, heldAnswer, slog.String("interface", lo.name), slog.String("id", q.id))
				logged = true
			}
		}
		select {
		case <-turned:
			continue
		case <-deadline.C:
		case <-ctx.Done():
		case <-s.holding.Done():
		}
		if m := lo.vouched(); m != nil && matches(tags, m.digest(q.mac)) {
			return m, nil
		}
		return nil, nil //nolint:nilnil // see unchanged
	}
}

// preferWait reads wait=N of RFC 7240, in seconds.
func preferWait(values []string) time.Duration {
	for _, v := range values {
		for part := range strings.FieldsFuncSeq(v, func(r rune) bool { return r == ',' || r == ';' }) {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
			if err == nil && n > 0 {
				return min(time.Duration(min(n, 3600))*time.Second, agent.MaxWait)
			}
		}
	}
	return 0
}
