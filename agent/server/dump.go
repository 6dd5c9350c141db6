package server

import (
	"context"
	"net/http"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// dump is GET dump: the peers and what the device measured of them, or 304 where their digest is
// the one that the caller has.
func (s *Server) dump(ctx context.Context, q *request) (*answer, error) {
	tags := q.http.Header.Values("If-None-Match")
	if len(tags) > 0 {
		m, err := s.unchanged(ctx, q, tags)
		if err != nil {
			return nil, err
		}
		if m != nil {
			return notModified(m, q.mac), nil
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
	if known.valid(d) && m.stands && known.revision == m.revision && known.interfaceDigest == m.interfaceDigest {
		m = known // its digests are computed already
	} else {
		sl.learn(d, known, m)
	}
	if matches(tags, m.digest(q.mac)) { // it is again as it was, or a held request could not tell
		return notModified(m, q.mac), nil
	}
	a, err := ok(agent.Dump{Interface: sl.name, Peers: dumpPeers(o, q.mac, s.exposed(q))})
	if err != nil {
		return nil, err
	}
	a.digests(m, q.mac)
	return a, nil
}

func notModified(m *model, mac engine.MACKey) *answer {
	a := &answer{status: http.StatusNotModified, header: http.Header{}}
	a.digests(m, mac)
	return a
}

// digests puts both digests in the header.
func (a *answer) digests(m *model, mac engine.MACKey) {
	a.header.Set("ETag", etag(m.digest(mac)))
	a.header.Set(agent.HeaderInterfaceDigest, m.interfaceDigest)
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
