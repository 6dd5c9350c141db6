package server

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

const (
	// sessionLife is how long a session lasts after its handshake: REJECT_AFTER_TIME of the protocol.
	sessionLife   = 180 * time.Second
	rememberEvery = time.Minute
	greetTimeout  = 10 * time.Second // for all peers of an interface
)

// seenRecord says where a peer is, and whether it has a session.
type seenRecord struct {
	PublicKey string         `json:"public_key"`
	Endpoint  netip.AddrPort `json:"endpoint,omitzero"`
	Alive     bool           `json:"alive,omitempty"`
}

// remember notes where the peers are of a device that ends with this process, so that the next one can
// call those that have a session now. It is no configuration: the disk is not waited for. The caller
// holds the slot.
func (s *Server) remember(sl *slot, d engine.Device, o engine.Observation) {
	if _, ok := d.(engine.Greeter); !ok {
		return
	}
	seen := sl.journal.state.news(o, s.o.Now())
	if len(seen) == 0 {
		return
	}
	if err := sl.journal.write(record{Seen: seen}, false); err != nil {
		s.o.Logger.Warn("where the peers are was not noted", "interface", sl.name, "error", err)
	}
	if sl.journal.grown() {
		s.follow(sl) // which compacts
	}
}

// news returns what an observation says of the peers that was not known.
func (s *lastState) news(o engine.Observation, now time.Time) []seenRecord {
	var out []seenRecord
	for _, p := range o.Peers {
		known, there := s.peers[p.PublicKey]
		st := o.Stats[p.PublicKey]
		alive := st.Endpoint.IsValid() && now.Sub(st.LastHandshake) < sessionLife
		if there && (known.Endpoint != st.Endpoint && st.Endpoint.IsValid() || s.alive[p.PublicKey] != alive) {
			out = append(out, seenRecord{PublicKey: p.PublicKey.String(), Endpoint: st.Endpoint, Alive: alive})
		}
	}
	return out
}

// saw takes in where a peer was seen.
func (s *lastState) saw(key wgtypes.Key, at netip.AddrPort, alive bool) {
	p, there := s.peers[key]
	if !there {
		return
	}
	if at.IsValid() {
		p.Endpoint = at
		s.peers[key] = p
	}
	if alive {
		s.alive[key] = true
	} else {
		delete(s.alive, key)
	}
}

// seen returns the records that make s.alive.
func (s *lastState) seen() []seenRecord {
	var out []seenRecord
	for key := range s.alive {
		out = append(out, seenRecord{PublicKey: key.String(), Alive: true})
	}
	return out
}

func seenKeys(seen []seenRecord) []string {
	keys := make([]string, len(seen))
	for i, r := range seen {
		keys[i] = r.PublicKey
	}
	return keys
}

// watchPeers remembers from time to time, for the case of a crash.
func (s *Server) watchPeers() {
	t := time.NewTicker(rememberEvery)
	defer t.Stop()
	for {
		select {
		case <-s.running.Done():
			return
		case <-t.C:
		}
		for _, sl := range s.known() {
			s.watch(sl)
		}
	}
}

func (s *Server) watch(sl *slot) {
	d, _ := sl.current()
	if _, ok := d.(engine.Greeter); !ok {
		return
	}
	_, o, err := observe(s.running, d)
	if err != nil {
		return // it went down meanwhile
	}
	release, err := sl.hold(s.running)
	if err != nil {
		return // a slow change has it: next time
	}
	defer release()
	if now, _ := sl.current(); now == d && !sl.gone && sl.journal != nil {
		s.remember(sl, d, o)
	}
}

// greet calls the peers that had a session when the interface went down: they would find out by a
// time-out of 15 s that it is gone.
func (s *Server) greet(sl *slot, d engine.Device) {
	g, ok := d.(engine.Greeter)
	keys := slices.Collect(maps.Keys(sl.journal.state.alive))
	if !ok || len(keys) == 0 {
		return
	}
	name := sl.name
	s.work(func() {
		ctx, cancel := context.WithTimeout(s.running, greetTimeout)
		defer cancel()
		if err := g.Greet(ctx, keys); err != nil {
			s.o.Logger.Warn("not all peers were greeted", "interface", name, "peers", len(keys), "error", err)
			return
		}
		s.o.Logger.Info("the peers that were connected were greeted", "interface", name, "peers", len(keys))
	})
}
