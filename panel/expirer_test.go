package panel

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// direct carries a request to a handler of the same process: a bubble of synctest has no sockets. cut
// makes the agent unreachable.
type direct struct {
	mu      sync.Mutex // protects cut
	cut     bool
	handler http.Handler
}

func (d *direct) interrupt(cut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = cut
}

func (d *direct) RoundTrip(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	cut := d.cut
	d.mu.Unlock()
	if cut {
		return nil, context.DeadlineExceeded
	}
	w := httptest.NewRecorder()
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr, in.Host = r.URL.RequestURI(), "127.0.0.1:1", r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	d.handler.ServeHTTP(w, in)
	return w.Result(), nil
}

// inBubble runs a test with a panel whose loops run, a real agent, and a clock of its own.
func inBubble(t *testing.T, test func(w *world, d *direct)) {
	synctest.Test(t, func(t *testing.T) {
		conf := t.TempDir()
		h := &host{t: t, conf: filepath.Join(conf, "wg0.conf"), fake: enginetest.NewFake()}
		file := "[Interface]\nPrivateKey = " + testKey("node").Reveal().String() + "\nListenPort = 51820\nAddress = 10.8.0.1/24\nMTU = 1420\n"
		require.NoError(t, os.WriteFile(h.conf, []byte(file), 0o600))
		a, err := server.New(server.Options{
			Backend: h.fake, ConfDir: conf, DataDir: filepath.Join(t.TempDir(), "data"), Secret: testSecret, Up: []string{server.UpAll}, Version: "test",
		})
		require.NoError(t, err)
		require.NoError(t, a.Start(t.Context()))
		defer func() { require.NoError(t, a.Close(context.Background(), true)) }()
		d := &direct{handler: a.Handler()}
		st, err := store.OpenInMemory(store.NewMasterKey())
		require.NoError(t, err)
		defer func() { require.NoError(t, st.Close()) }()
		logs := &buffer{}
		s, err := New(Options{Store: st, Logger: slog.New(slog.NewTextHandler(logs, nil)), Dial: func(n Node) (Agent, error) {
			return client.New(client.Options{BaseURL: n.AgentURL, Secret: n.Secret, AgentID: n.AgentID, SpeaksV2: n.SpeaksV2, Transport: d})
		}})
		require.NoError(t, err)
		defer s.Close()
		n, _, err := s.CreateNode(t.Context(), NodeInput{
			Name: new("n1"), AgentURL: new("http://127.0.0.1:1"), Secret: new(testSecret), IPPoolCIDR: new("10.8.0.0/24"),
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { require.NoError(t, s.Run(ctx)) })
		defer run.Wait()
		defer cancel()
		test(&world{host: h, Service: s, id: n.ID, store: st, logs: logs}, d)
	})
}

func in(d time.Duration) Optional[string] {
	return set(time.Now().Add(d).UTC().Format(time.RFC3339))
}

// On the second, and not before, an expired peer is taken from its node, and this is told once.
func TestPeersExpire(t *testing.T) {
	inBubble(t, func(w *world, _ *direct) {
		t := w.t.(*testing.T)
		stays := w.create("stays", nil)
		p := w.create("guest", func(i *PeerInput) { i.ExpiresAt = in(30 * time.Second) })
		later := func(d time.Duration) {
			later(d)
			synctest.Wait()
		}
		there := func() bool {
			_, ok := w.peer(p.PublicKey)
			return ok
		}
		require.True(t, there())
		later(29 * time.Second)
		require.True(t, there())
		require.Equal(t, drift.InSync, w.drift().Status)
		later(time.Second)
		require.False(t, there(), "the loop was woken for it")
		require.Equal(t, drift.InSync, w.drift().Status)
		_, ok := w.peer(stays.PublicKey)
		require.True(t, ok)
		v, err := w.Peer(t.Context(), w.id, p.ID)
		require.NoError(t, err)
		require.True(t, v.Expired && v.Enabled)
		told := w.told(w.Service, event.PeerExpired)
		require.Len(t, told, 1)
		require.Contains(t, told[0].Message, `peer "guest" (`)
		require.Equal(t, event.Actor{Kind: event.ActorSystem, Name: "expiry"}, told[0].Actor)
		require.Equal(t, event.Done, told[0].Changes[0].Outcome)

		// A new name does not bring it back, and is not told again; a later end does.
		_, err = w.UpdatePeer(t.Context(), w.id, p.ID, PeerInput{Name: new("visitor")})
		require.NoError(t, err)
		later(2 * time.Minute)
		require.False(t, there())
		_, err = w.UpdatePeer(t.Context(), w.id, p.ID, PeerInput{ExpiresAt: in(time.Hour)})
		require.NoError(t, err)
		require.True(t, there())
		require.Len(t, w.told(w.Service, event.PeerExpired), 1)
		_, err = w.UpdatePeer(t.Context(), w.id, p.ID, PeerInput{ExpiresAt: cleared[string]()})
		require.NoError(t, err)
		later(2 * time.Hour)
		require.True(t, there(), "it has no end any more")
		require.Len(t, w.told(w.Service, event.PeerExpired), 1)
	})
}

// A node that can't be reached then has drift, until it is reconciled.
func TestPeersExpireWhileTheirNodeIsDown(t *testing.T) {
	inBubble(t, func(w *world, d *direct) {
		t := w.t.(*testing.T)
		w.create("stays", nil)
		p := w.create("guest", func(i *PeerInput) { i.ExpiresAt = in(time.Hour) })
		d.interrupt(true)
		later(time.Hour)
		synctest.Wait()
		told := w.told(w.Service, event.PeerExpired)
		require.Len(t, told, 1)
		require.Equal(t, event.Warning, told[0].Severity)
		require.Equal(t, event.Failed, told[0].Changes[0].Outcome)
		d.interrupt(false)
		r := w.drift()
		require.Len(t, r.Unknown, 1)
		require.Equal(t, []string{drift.Orphaned, drift.Expired, "guest"}, []string{r.Unknown[0].Origin, r.Unknown[0].Why, r.Unknown[0].Name})
		done := w.reconcile(ReconcileOptions{PruneOrphaned: true})
		require.Equal(t, []string{p.PublicKey.String()}, done.Removed)
		require.True(t, done.Verified)
		require.Equal(t, drift.InSync, w.drift().Status)
	})
}

// By the clock alone, though no loop runs: what is known of a node is known until somebody expires. A
// clock that is put back brings nobody's end forward.
func TestExpiryNeedsNobody(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	var mu sync.Mutex
	at := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	w := newWorld(t)
	w.o.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	for _, after := range []time.Duration{time.Hour, 2 * time.Hour} {
		w.create(after.String(), func(i *PeerInput) { i.ExpiresAt = set(now.Add(after).UTC().Format(time.RFC3339)) })
	}
	w.create("stays", nil)
	require.Equal(t, drift.InSync, w.drift().Status)
	unknown := func() int { return len(w.drift().Unknown) }
	at(time.Hour - time.Second)
	require.Equal(t, 0, unknown())
	at(time.Second)
	require.Equal(t, 1, unknown())
	require.Equal(t, 1, unknown(), "as remembered")
	at(time.Hour)
	require.Equal(t, 2, unknown())
	at(-90 * time.Minute)
	require.Equal(t, 0, unknown())

	// The loop of a panel that was down comes to all that it missed, at once and once.
	at(3 * time.Hour)
	e := newExpirer(w.Service)
	_, err := e.begin(t.Context())
	require.NoError(t, err)
	e.tasks.Wait()
	require.Equal(t, 0, unknown())
	require.Len(t, w.peers(), 1)
	pause, err := e.begin(t.Context())
	require.NoError(t, err)
	require.Equal(t, expiryPause, pause)
	require.Len(t, w.told(w.Service, event.PeerExpired), 1, "one for a node")
}

func TestExpiryThatIsRefused(t *testing.T) {
	w := newWorld(t)
	for text, want := range map[string]string{
		"2001-01-01T00:00:00Z": "is past", "tomorrow": "is no time", "": "is no time", "2999-01-01": "is no time",
	} {
		_, err := w.CreatePeer(t.Context(), w.id, PeerInput{ExpiresAt: set(text)})
		bad, ok := errors.AsType[*InvalidError](err)
		require.True(t, ok, text)
		require.Equal(t, "expires_at", bad.Problems[0].Field)
		require.Contains(t, bad.Problems[0].Error, want)
	}
	p, err := w.CreatePeer(t.Context(), w.id, PeerInput{ExpiresAt: set("2999-01-01T02:00:00.9+02:00")})
	require.NoError(t, err)
	require.Equal(t, time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC), p.ExpiresAt)
}

// An expired peer that was not taken from its node yet goes with its record.
func TestAnExpiredPeerIsDeletedOnItsNodeToo(t *testing.T) {
	for name, change := range map[string]func(w *world, id string) error{
		"deleted": func(w *world, id string) error { return w.DeletePeer(w.t.Context(), w.id, id, false) },
		"another key": func(w *world, id string) error {
			_, err := w.UpdatePeer(w.t.Context(), w.id, id, PeerInput{PublicKey: new(publicKey("other").String())})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.create("guest", func(i *PeerInput) { i.ExpiresAt = in(time.Hour) })
			w.o.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
			require.Len(t, w.peers(), 1)
			require.NoError(t, change(w, p.ID))
			require.Empty(t, w.peers())
		})
	}
}

// A rollback writes to no node, also not by way of a deadline that is past.
func TestARollbackExpiresNobody(t *testing.T) {
	inBubble(t, func(w *world, _ *direct) {
		t := w.t.(*testing.T)
		w.create("stays", nil)
		on := w.create("on the node", func(i *PeerInput) { i.ExpiresAt = in(time.Hour) })
		off := w.create("off the node", func(i *PeerInput) { i.ExpiresAt = in(time.Hour) })
		next := w.create("not yet", func(i *PeerInput) { i.ExpiresAt = in(3 * time.Hour) })
		to := w.revision()
		for _, id := range []string{on.ID, next.ID} {
			_, err := w.UpdatePeer(t.Context(), w.id, id, PeerInput{ExpiresAt: cleared[string]()})
			require.NoError(t, err)
		}
		require.NoError(t, w.DeletePeer(t.Context(), w.id, off.ID, false))
		later(2 * time.Hour)
		plan, err := w.Rollback(t.Context(), w.id, to, "")
		require.NoError(t, err)
		require.Contains(t, strings.Join(plan.Warnings, "\n"), `peer "on the node" (`+on.PublicKey.String()+`) is expired since `)
		_, err = w.Rollback(t.Context(), w.id, to, plan.PlanID)
		require.NoError(t, err)
		later(10 * time.Minute)
		_, there := w.peer(on.PublicKey)
		require.True(t, there)
		require.Empty(t, w.told(w.Service, event.PeerExpired))
		require.Len(t, w.drift().Unknown, 1)
		later(time.Hour)
		_, there = w.peer(next.PublicKey)
		require.False(t, there, "its end is to come when it is rolled back to")
	})
}

// A node that does not answer is tried again, less and less often, and told of once; it holds up no other.
func TestExpiryIsTriedAgain(t *testing.T) {
	inBubble(t, func(w *world, d *direct) {
		t := w.t.(*testing.T)
		w.create("stays", nil)
		p := w.create("guest", func(i *PeerInput) { i.ExpiresAt = in(time.Hour) })
		d.interrupt(true)
		later(time.Hour + time.Minute)
		told := w.told(w.Service, event.PeerExpired)
		require.Len(t, told, 1)
		require.Equal(t, event.Warning, told[0].Severity)
		later(5 * time.Hour)
		require.Len(t, w.told(w.Service, event.PeerExpired), 1)
		tries := strings.Count(w.logs.String(), "were not dealt with yet")
		require.Greater(t, tries, 10)
		require.Less(t, tries, 30, "less and less often")
		d.interrupt(false)
		later(time.Hour)
		_, there := w.peer(p.PublicKey)
		require.False(t, there)
		told = w.told(w.Service, event.PeerExpired)
		require.Len(t, told, 2)
		require.Equal(t, event.Done, told[1].Changes[0].Outcome)
		later(3 * time.Hour)
		require.Len(t, w.told(w.Service, event.PeerExpired), 2)
		due, _, err := w.dueDeadlines(t.Context())
		require.NoError(t, err)
		require.Empty(t, due)
	})
}

func TestExpiryOfOneNodeHoldsUpNoOther(t *testing.T) {
	inBubble(t, func(w *world, _ *direct) {
		t := w.t.(*testing.T)
		p := w.create("guest", func(i *PeerInput) { i.ExpiresAt = in(time.Hour) })
		busy := offlineNode(t, w.Service, "busy")
		_, err := w.CreatePeer(t.Context(), busy, PeerInput{AllowOffline: true, ExpiresAt: in(time.Hour - time.Second)})
		require.NoError(t, err)
		release, err := w.hold(t.Context(), busy)
		require.NoError(t, err)
		defer release()
		later(time.Hour + time.Second)
		_, there := w.peer(p.PublicKey)
		require.False(t, there)
	})
}
