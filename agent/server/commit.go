package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

const (
	// readBackBelow: an interface with fewer peers is read back, and its file written, before the
	// answer; with more, both follow.
	readBackBelow = 1000
	followDelay   = 300 * time.Millisecond
	longestLag    = time.Minute
	commitTimeout = time.Minute
)

// commit does the changes on the device, makes them durable and brings the host's file along: all
// or nothing. The caller holds the slot and has the model from before. What a client that hung up
// had asked for is still done whole.
func (s *Server) commit(ctx context.Context, sl *slot, d engine.Device, before *model, c engine.Changes) (*model, error) {
	if c.Empty() {
		return before, nil
	}
	sl.holders.sync(before)
	if err := sl.holders.judge(before.state, c); err != nil {
		return nil, err
	}
	if err := s.confirm(ctx, sl, d, before, c); err != nil {
		return nil, err
	}
	var file *fileEdit
	if c.Interface != nil || !many(before, c) {
		var err error
		if file, err = s.prepareEdit(sl, c); err != nil {
			return nil, err
		}
		defer file.discard()
	}
	return s.commitFile(ctx, sl, d, before, c, file)
}

// confirm reads a device of others once more before peers are removed: a dump that somebody wrote into
// may be torn without an error, and what was decided on it is not what was asked for.
func (s *Server) confirm(ctx context.Context, sl *slot, d engine.Device, before *model, c engine.Changes) error {
	_, _, removed := c.Count()
	if _, owned := d.(engine.Owned); owned || removed == 0 {
		return nil
	}
	again, _, err := observe(ctx, d)
	if err != nil {
		return sl.lost(d, err)
	}
	if !again.same(before) {
		return agent.Errorf(agent.CodePrecondition,
			"two reads of %s in a row differ, somebody else changes it right now: no peer was removed, try again", sl.name)
	}
	return nil
}

// many reports whether the read-back and the file follow the answer.
func many(before *model, c engine.Changes) bool {
	return len(before.state.Peers)+len(c.Peers) >= readBackBelow
}

// commitFile is commit for changes that were judged, with the file that goes with them; nil: the
// file follows.
func (s *Server) commitFile(ctx context.Context, sl *slot, d engine.Device, before *model, c engine.Changes, file *fileEdit) (*model, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	after, err := configure(ctx, d, before, c, file == nil)
	if err != nil {
		return nil, err
	}
	if err := s.followPeers(ctx, sl, before.state, after.state, c); err != nil {
		return nil, engine.PutBack(ctx, d, before.state, c, err)
	}
	if err := s.keep(sl, before, after, c, file); err != nil {
		err = engine.PutBack(ctx, d, before.state, c, err)
		return nil, also(err, "and then", s.followPeers(context.WithoutCancel(ctx), sl, after.state, before.state, c))
	}
	sl.kept = after
	sl.holders.follow(c.Peers, after)
	sl.store(d, after)
	if file == nil {
		s.follow(sl)
	}
	return after, nil
}

// configure changes the device and returns its model after. Where this process owns the device and
// the full read may follow, the model is the old one with the changes, if those were the only ones.
func configure(ctx context.Context, d engine.Device, before *model, c engine.Changes, later bool) (*model, error) {
	owned, _ := d.(engine.Owned)
	if err := d.Configure(ctx, c); err != nil {
		return nil, engine.PutBack(ctx, d, before.state, c, err)
	}
	var revision uint64
	if owned != nil {
		revision = owned.Revision()
	}
	// One more than before: nobody else wrote between the model and our change.
	alone := owned != nil && before.stands && revision == before.revision+1
	if alone && later {
		after := before.patched(c)
		after.revision, after.stands = revision, true
		return after, nil
	}
	o, err := engine.ReadBack(ctx, d, c)
	if err != nil {
		return nil, engine.PutBack(ctx, d, before.state, c, err)
	}
	after := newModel(o.State)
	if owned != nil {
		after.revision, after.stands = revision, owned.Revision() == revision
	}
	return after, nil
}

// keep makes changes of the device durable.
func (s *Server) keep(sl *slot, before, after *model, c engine.Changes, file *fileEdit) error {
	r := changesRecord(c)
	alone := before.stands && after.revision == before.revision+1
	if !sl.kept.same(before) || !alone && !before.patched(c).same(after) {
		// Somebody else changed the device, before our change or along with it: all of it is kept now.
		r = sl.journal.state.replaced(after.state, c)
	}
	return s.persist(sl, r, file)
}

// persist makes a record durable and the file that goes with it: the journal first, which then knows
// the hash that the file is about to have. On an error both are as before. Every write of a journal
// goes through here.
func (s *Server) persist(sl *slot, r record, file *fileEdit) error {
	var was *lastState // what a failing file takes back; the announcement alone does no harm
	if file != nil && file.write != nil && r.says() {
		was = sl.journal.state.clone()
	}
	file.note(&r)
	if made := sl.made; made != sl.journal.state.made {
		r.Made = &made
	}
	err := sl.journal.append(r)
	if sl.journal.grown() {
		s.follow(sl) // which compacts
	}
	if err != nil {
		return err
	}
	if err := file.commit(); err != nil {
		sl.kept = nil
		if was != nil {
			err = errors.Join(err, sl.journal.append(was.snapshot()))
		}
		return err
	}
	if file != nil {
		sl.journal.saw(file.hash)
	}
	return nil
}

// says reports whether a record changes the last good state itself.
func (r record) says() bool {
	return r.Reset || r.Interface != nil || len(r.Put)+len(r.Remove) > 0
}

// fileEdit is a change of the host's file that is ready to be made. A nil one changes nothing and
// says nothing about the file.
type fileEdit struct {
	old    string // hash of the file that was edited; "" where there was none
	hash   string // of the file afterwards; "" where there is none
	edited bool   // a person had changed the file
	write  *prepared
}

// prepareEdit edits the file in memory and writes it beside the old one. An interface without a
// file gets none.
func (s *Server) prepareEdit(sl *slot, c engine.Changes) (*fileEdit, error) {
	h, err := s.ownFile(sl)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return &fileEdit{}, nil
	}
	if err := h.edit(s.withPending(sl, c)); err != nil {
		return nil, fmt.Errorf("edit %s: %w", h.path, err)
	}
	return s.replaceFile(sl, h.path, h.hash, h.file.Bytes())
}

// withPending adds what the file does not hold yet.
func (s *Server) withPending(sl *slot, c engine.Changes) engine.Changes {
	pending := sl.journal.state.pending
	if len(pending) == 0 {
		return c
	}
	all := engine.Changes{Interface: c.Interface}
	for key, p := range pending {
		change := engine.PeerChange{After: p.peer}
		if p.peer == nil {
			change.Before = &engine.Peer{PublicKey: key}
		}
		all.Peers = append(all.Peers, change)
	}
	all.Peers = append(all.Peers, c.Peers...)
	return all
}

// replaceFile prepares a file with new content; old is the hash of the present one, "" for none.
func (s *Server) replaceFile(sl *slot, path, old string, content []byte) (*fileEdit, error) {
	e := &fileEdit{old: old, hash: hashOf(content), edited: sl.journal.state.foreign(old)}
	if e.hash == old {
		return e, nil
	}
	var err error
	e.write, err = prepareFile(path, content)
	return e, err
}

func (e *fileEdit) note(r *record) {
	if e == nil {
		return
	}
	r.File, r.Was = &e.hash, e.old
	if e.edited {
		r.Edited = &e.edited
	}
}

// commit puts the file in its place, unless a person changed it since it was read: their words are
// not written over, the request fails and can be sent again.
func (e *fileEdit) commit() error {
	if e == nil || e.write == nil {
		return nil
	}
	now, err := hashOfFile(e.write.path)
	if err != nil {
		return err
	}
	if now != e.old {
		return agent.Errorf(agent.CodeBusy, "%s was changed on the host meanwhile: nothing was written, try again", e.write.path)
	}
	return e.write.commit()
}

func (e *fileEdit) discard() {
	if e != nil {
		e.write.discard()
	}
}

// takeOver takes in the device of an interface that came up without us: its state is the last good
// one from now on, where none was kept. What was kept stays, and with it whose the file is.
func (s *Server) takeOver(ctx context.Context, sl *slot, d engine.Device) error {
	last, up := sl.journal.state, true
	if len(last.pending) > 0 || sl.journal.grown() {
		s.follow(sl)
	}
	switch {
	case !last.whole():
		m, _, err := observe(ctx, d)
		if err != nil {
			return sl.lost(d, err)
		}
		r := last.replaced(m.state, engine.Changes{})
		hash, err := hashOfFile(s.confPath(sl.name))
		if err != nil {
			return err
		}
		if edited := last.foreign(hash); edited {
			r.Edited = &edited
		}
		r.Files = []string{hash}
		return s.persist(sl, r, nil)
	case !last.up:
		return s.persist(sl, record{Up: &up}, nil)
	}
	return nil
}

// follow schedules what an answer did not wait for: the host's file, the full read-back, compaction.
func (s *Server) follow(sl *slot) {
	sl.mu.Lock()
	scheduled := sl.following
	sl.following = true
	delay := followDelay + sl.lag
	sl.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if scheduled || s.running.Err() != nil {
		return // Close flushes
	}
	s.tasks.Go(func() {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-s.running.Done():
			return
		}
		sl.mu.Lock()
		sl.following = false
		sl.mu.Unlock()
		s.followUp(sl)
	})
}

func (s *Server) followUp(sl *slot) {
	ctx, cancel := context.WithTimeout(s.running, commitTimeout)
	defer cancel()
	release, err := sl.hold(ctx)
	if err != nil {
		s.follow(sl) // a slow change has the slot
		return
	}
	if !sl.gone {
		if err = s.flush(sl); err == nil && sl.journal.grown() {
			err = sl.journal.compact()
		}
	}
	release()
	sl.lagging(err != nil)
	if err != nil {
		s.o.Logger.Error("the interface's file lags behind", "interface", sl.name, "error", err)
		s.follow(sl)
	}
	if err := s.verifyModel(ctx, sl); err != nil && ctx.Err() == nil {
		s.o.Logger.Error("reading the device back failed", "interface", sl.name, "error", err)
	}
}

// lagging makes the next background work wait longer after each failure.
func (sl *slot) lagging(failed bool) {
	sl.mu.Lock()
	defer sl.mu.Unlock()
	if !failed {
		sl.lag = 0
		return
	}
	sl.lag = min(2*sl.lag+followDelay, longestLag)
}

// flush writes what the host's file does not hold yet. The caller holds the slot.
func (s *Server) flush(sl *slot) error {
	if sl.journal == nil || len(sl.journal.state.pending) == 0 {
		return nil
	}
	file, err := s.prepareEdit(sl, engine.Changes{})
	if err != nil {
		return err
	}
	defer file.discard()
	if len(sl.journal.state.pending) == 0 { // the file had them already
		return nil
	}
	return s.persist(sl, record{}, file)
}

// verifyModel reads an owned device in full and compares. A difference means that somebody changed
// the device behind our back, or a bug: what was read becomes the model.
func (s *Server) verifyModel(ctx context.Context, sl *slot) error {
	d, m := sl.current()
	if d == nil || !m.valid(d) {
		return nil // the next use reads the device anyway
	}
	seen, _, err := observe(ctx, d)
	if err != nil {
		return sl.lost(d, err)
	}
	if !seen.stands || seen.revision != m.revision {
		return nil // it changed meanwhile: that change is followed, too
	}
	left := engine.DiffPeers(seen.state.Peers, withoutEndpoints(m.state.Peers), engine.DiffOptions{RemoveUnknown: true})
	if len(left) == 0 && seen.interfaceDigest == m.interfaceDigest {
		return nil
	}
	s.o.Logger.LogAttrs(ctx, slog.LevelError, "the device is not what was set: its own state is taken",
		slog.String("interface", sl.name), slog.Int("peers", len(left)))
	sl.learn(d, m, seen)
	return nil
}

func withoutEndpoints(peers []engine.Peer) []engine.Peer {
	out := slices.Clone(peers)
	for i := range out {
		out[i].Endpoint = engine.Peer{}.Endpoint
	}
	return out
}
