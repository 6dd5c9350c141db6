package server

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// As the reresolve-dns.sh of wireguard-tools has it: a session that is alive has had a handshake
// within REJECT_AFTER_TIME less KEEPALIVE_TIMEOUT and REKEY_TIMEOUT, see the WireGuard paper 6.1.
const staleHandshake = 135 * time.Second

// The pause before names are first looked up again, and between two passes; each is up to
// reresolveJitter longer, so that a fleet that was started at once does not ask at once.
const (
	reresolveFirst  = 2 * time.Second
	reresolvePause  = 30 * time.Second
	reresolveJitter = 5 * time.Second
)

// reresolver looks up again the host names in the files of interfaces that are up, where a peer was
// not heard from for staleHandshake. It changes an endpoint where its name stands for other addresses by
// now; nothing else is touched, nor is the last good state or the file. One task uses it.
type reresolver struct {
	s     *Server
	files map[string]namesOfFile // by interface
}

// namesOfFile are the host names in one version of a file.
type namesOfFile struct {
	version fileVersion
	peers   []namedPeer
}

// reresolve runs until the server closes.
func (s *Server) reresolve() {
	r := &reresolver{s: s, files: make(map[string]namesOfFile)}
	t := time.NewTimer(reresolveFirst + rand.N(reresolveJitter))
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.running.Done():
			return
		}
		r.pass(s.running)
		t.Reset(reresolvePause + rand.N(reresolveJitter))
	}
}

// pass looks once at every interface. No slot is held while names are looked up.
func (r *reresolver) pass(ctx context.Context) {
	stale := make(map[string][]namedPeer)
	var all []namedPeer
	for _, name := range fileNames(r.s.o.ConfDir) {
		peers := r.stale(ctx, name, r.named(name))
		if len(peers) > 0 {
			stale[name] = peers
			all = append(all, peers...)
		}
	}
	if len(all) == 0 {
		return
	}
	results := r.s.lookUp(ctx, all)
	if ctx.Err() != nil {
		return
	}
	for host, result := range results {
		r.s.hosts.note(r.s.o.Logger, host, result.err)
	}
	for name, peers := range stale {
		if err := r.move(ctx, name, peers, results); err != nil && ctx.Err() == nil {
			r.s.o.Logger.Warn("endpoints could not be changed", "interface", name, "error", err)
		}
	}
}

// named returns the peers with a host name in the file of an interface. A file is read once.
func (r *reresolver) named(name string) []namedPeer {
	version, err := versionOf(r.s.confPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		delete(r.files, name)
		return nil
	}
	if known := r.files[name]; err == nil && known.version.same(version) {
		return known.peers
	}
	delete(r.files, name)
	h, err := r.s.readHostFile(name)
	if err != nil || h == nil {
		return nil // who brings the interface up is told what is wrong with it
	}
	peers, err := h.file.Peers()
	if err != nil {
		peers = nil
	}
	known := namesOfFile{version, namedPeers(peers)}
	if version.settled(r.s.o.Now()) {
		r.files[name] = known
	}
	return known.peers
}

// stale returns the named peers of an interface that were not heard from; none of one that is down.
func (r *reresolver) stale(ctx context.Context, name string, named []namedPeer) []namedPeer {
	if len(named) == 0 {
		return nil
	}
	_, d, err := r.s.forRead(ctx, name)
	if err != nil {
		return nil
	}
	o, err := d.Observe(ctx)
	if err != nil {
		return nil // it went down just now
	}
	var out []namedPeer
	for _, p := range named {
		if _, there := engine.Lookup(o.Peers, p.key); there && r.silent(o.Stats[p.key]) {
			out = append(out, p)
		}
	}
	return out
}

func (r *reresolver) silent(st engine.Stats) bool {
	return st.LastHandshake.IsZero() || r.s.o.Now().Sub(st.LastHandshake) > staleHandshake
}

// move sets the endpoints of an interface whose names do not stand for them any more.
func (r *reresolver) move(ctx context.Context, name string, peers []namedPeer, results map[string]found) error {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	sl, release, err := r.s.takeKnown(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	d, err := r.s.forWrite(ctx, sl)
	if err != nil {
		if toError(err).Code == agent.CodeInterfaceDown {
			return nil
		}
		return err
	}
	_, known := sl.current()
	m, o, err := observe(ctx, d) // a peer may be gone or back since names were looked up
	if err != nil {
		return sl.lost(d, err)
	}
	if known.valid(d) && m.stands && known.revision == m.revision {
		m = known // its digests are computed already
	}
	c, hosts := r.moves(o, peers, results)
	if c.Empty() {
		return nil
	}
	after, err := configure(ctx, d, m, c, true)
	if err != nil {
		return err
	}
	sl.store(d, after)
	for i, p := range c.Peers {
		r.s.o.Logger.Info("the endpoint of a peer moved with its host name", "interface", name, "host", hosts[i],
			"peer", p.Key().String(), "from", p.Before.Endpoint.String(), "to", p.After.Endpoint.String())
	}
	return nil
}

// moves returns the changes of endpoints alone, and the host of each.
func (r *reresolver) moves(o engine.Observation, peers []namedPeer, results map[string]found) (engine.Changes, []string) {
	var c engine.Changes
	var hosts []string
	for _, p := range peers {
		before, there := engine.Lookup(o.Peers, p.key)
		addrs := results[p.host].addrs
		if !there || len(addrs) == 0 || !r.silent(o.Stats[p.key]) {
			continue
		}
		after := before
		after.Endpoint = nearest(before.Endpoint, p.at(addrs))
		if after.Endpoint == before.Endpoint {
			continue
		}
		c.Peers, hosts = append(c.Peers, engine.PeerChange{Before: &before, After: &after}), append(hosts, p.host)
	}
	return c, hosts
}

// hostLog remembers which host names can't be found, so that each is told once.
type hostLog struct {
	mu   sync.Mutex // protects lost
	lost map[string]bool
}

// note logs that a name can't be found, unless that is known.
func (l *hostLog) note(log *slog.Logger, host string, err error) {
	l.mu.Lock()
	told := l.lost[host]
	if err == nil {
		delete(l.lost, host)
	} else {
		l.lost[host] = true
	}
	l.mu.Unlock()
	if err != nil && !told {
		log.Warn("the endpoint of a peer can't be looked up", "host", host, "error", err)
	}
}
