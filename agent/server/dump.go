package server

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// dump is GET dump: the peers and what the device measured of them, or 304 where their digest is
// the one that the caller has.
func (s *Server) dump(ctx context.Context, q *request) (*answer, error) {
	var seen watch
	if tags := q.http.Header.Values("If-None-Match"); len(tags) > 0 {
		same, err := s.waitWhileSame(ctx, q, tags, &seen)
		if err != nil {
			return nil, err
		}
		if same {
			a := &answer{status: http.StatusNotModified, header: http.Header{}}
			a.digests(seen.digest, seen.iface)
			return a, nil
		}
	}
	sl, d, err := s.forRead(ctx, q.route.iface)
	if err != nil {
		return nil, err
	}
	_, known := sl.current()
	m, o, err := observe(ctx, d)
	if err != nil {
		return nil, sl.lost(d, err)
	}
	if known.valid(d) && m.stands && known.revision == m.revision {
		m = known // its digests are computed already
	} else {
		sl.learn(d, known, m)
	}
	a, err := ok(agent.Dump{Interface: sl.name, Peers: dumpPeers(o, q.mac, s.exposed(q))})
	if err != nil {
		return nil, err
	}
	a.digests(m.digest(q.mac), m.interfaceDigest)
	return a, nil
}

// digests puts both digests in the header.
func (a *answer) digests(peers, iface string) {
	a.header.Set("ETag", etag(peers))
	a.header.Set(agent.HeaderInterfaceDigest, iface)
}

func dumpPeers(o engine.Observation, mac engine.MACKey, exposed bool) []agent.DumpPeer {
	peers := make([]agent.DumpPeer, 0, len(o.Peers))
	for _, p := range o.Peers {
		st := o.Stats[p.PublicKey]
		out := agent.DumpPeer{
			PublicKey: p.PublicKey.String(), AllowedIPs: make([]string, 0, len(p.AllowedIPs)),
			TransferRx: st.RxBytes, TransferTx: st.TxBytes, PersistentKeepalive: p.PersistentKeepalive,
		}
		for _, ip := range p.AllowedIPs {
			out.AllowedIPs = append(out.AllowedIPs, ip.String())
		}
		if !p.PresharedKey.IsZero() {
			m := mac.MAC(p.PresharedKey)
			out.PresharedKeyMAC = &m
			if exposed {
				key := secretText(p.PresharedKey)
				out.PresharedKey = &key
			}
		}
		if endpoint := endpointOf(p, st); endpoint != "" {
			out.Endpoint = &endpoint
		}
		if !st.LastHandshake.IsZero() {
			at := st.LastHandshake.Unix()
			out.LatestHandshake = &at
		}
		peers = append(peers, out)
	}
	return peers
}

func endpointOf(p engine.Peer, st engine.Stats) string {
	switch {
	case st.Endpoint.IsValid():
		return st.Endpoint.String()
	case p.Endpoint.IsValid():
		return p.Endpoint.String()
	}
	return ""
}

const (
	maxWait   = 60 * time.Second
	pollEvery = time.Second // for changes that others make; an owned device costs a look at its revision
)

// heldAnswer is the log's line of a request that began to wait.
const heldAnswer = "holding the answer until something changes"

// watch is what a waiting request saw last.
type watch struct {
	digest, iface string
}

// waitWhileSame reports whether the peers' digest is one of the tags; it holds the answer, as
// Prefer: wait=N asks, until either digest changes.
func (s *Server) waitWhileSame(ctx context.Context, q *request, tags []string, seen *watch) (bool, error) {
	sl, err := s.look(ctx, q, seen)
	if err != nil || !matches(tags, seen.digest) {
		return false, err
	}
	wait := preferWait(q.http.Header.Values("Prefer"))
	if wait == 0 {
		return true, nil
	}
	s.o.Logger.LogAttrs(ctx, slog.LevelDebug, heldAnswer, slog.String("interface", sl.name), slog.String("id", q.id))
	began := seen.iface
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		changed := sl.changed()
		// What changed before we listened is seen now.
		if _, err := s.look(ctx, q, seen); err != nil || !matches(tags, seen.digest) {
			return false, err
		}
		if seen.iface != began {
			return true, nil
		}
		select {
		case <-changed:
		case <-poll.C:
		case <-deadline.C:
			return true, nil
		case <-ctx.Done():
			return true, nil
		}
	}
}

// look finds the digests of an interface; where nothing changed, without reading the device.
func (s *Server) look(ctx context.Context, q *request, seen *watch) (*slot, error) {
	sl, d, err := s.forRead(ctx, q.route.iface)
	if err != nil {
		return nil, err
	}
	_, known := sl.current()
	m, err := sl.modelOf(ctx, d, known)
	if err != nil {
		return nil, err
	}
	seen.digest, seen.iface = m.digest(q.mac), m.interfaceDigest
	return sl, nil
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
				return min(time.Duration(min(n, 3600))*time.Second, maxWait)
			}
		}
	}
	return 0
}
