package server

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// Who speaks when an interface comes up: the last good state, its file or its device.

// peerConf is the section of one peer.
func peerConf(n int) string {
	return "\n[Peer]\nPublicKey = " + key(n) + "\nAllowedIPs = " + enginetest.PeerIP(n).String() + "/32\n"
}

// edit changes the file of wg0 as a person does.
func (n *node) edit(old, text string) {
	n.t.Helper()
	conf := n.conf("wg0")
	require.Contains(n.t, conf, old)
	writeConf(n.t, &n.o, "wg0", strings.Replace(conf, old, text, 1))
}

func (n *node) has(numbers ...int) {
	n.t.Helper()
	var want, have []string
	for _, i := range numbers {
		want = append(want, key(i))
	}
	for _, p := range n.device("wg0").Peers {
		have = append(have, p.PublicKey.String())
	}
	require.ElementsMatch(n.t, want, have)
}

// liveNode is an agent that finds wg0 up with peer 1, and with its file where one is given.
func liveNode(t *testing.T, conf string) *node {
	return newNode(t, func(o *Options) {
		if conf != "" {
			writeConf(t, o, "wg0", conf)
		}
		private := enginetest.PrivateKey(t)
		if f, err := (&Server{o: *o}).readHostFile("wg0"); err == nil && f != nil {
			i, err := f.file.Interface()
			require.NoError(t, err)
			private = i.PrivateKey.Clamped()
		}
		d, err := o.Backend.Create(t.Context(), engine.Interface{Name: "wg0", PrivateKey: private})
		require.NoError(t, err)
		p := enginetest.Peers(2)
		for i := range p {
			if p[i].PublicKey == enginetest.PeerKey(1) {
				require.NoError(t, d.Configure(t.Context(), engine.Changes{Peers: []engine.PeerChange{{After: &p[i]}}}))
			}
		}
	})
}

// TestTakenOverComesBack: whom the agent only looked at comes up after a power cut as it was.
func TestTakenOverComesBack(t *testing.T) {
	n := liveNode(t, basicConf(t)+peerConf(1))
	want := n.device("wg0")
	n.crash()
	require.Equal(t, want.Interface.PrivateKey, n.device("wg0").Interface.PrivateKey)
	n.has(1)
	n = liveNode(t, "")
	n.mustDo("GET", dumpPath, nil)
	require.NoError(t, n.fake().Close(t.Context()))
	require.Equal(t, 409, n.do("GET", dumpPath, nil).status)
	n.mustDo("POST", "/v1/wg/wg0/enable", nil)
	n.has(1)
}

// TestTakenOverIsUp: what decides whether it comes up on a kernel.
func TestTakenOverIsUp(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", "/v1/wg/wg0/disable", nil)
	_, err := n.o.Backend.Create(t.Context(), engine.Interface{Name: "wg0", PrivateKey: enginetest.PrivateKey(t)})
	require.NoError(t, err)
	n.mustDo("GET", dumpPath, nil)
	sl := n.server.slotFor("wg0")
	require.True(t, sl.journal.state.up)
}

// TestEditBeforeTakeOver: a person edits the file while the agent is away and the interface up.
func TestEditBeforeTakeOver(t *testing.T) {
	n := liveNode(t, basicConf(t)+peerConf(1))
	n.mustDo("POST", peersPath, peer(2))
	n.stop()
	n.edit(peerConf(1), "")
	n.start()
	n.mustDo("POST", peersPath, peer(3))
	n.crash()
	n.has(2, 3)
}

// TestEditBeforeReload: bringing the device's peers up again does not make the file ours.
func TestEditBeforeReload(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", basicConf(t)+peerConf(1)+peerConf(2)) })
	n.edit(peerConf(1), "")
	n.mustDo("PUT", configPath, map[string]any{"mtu": 1380})
	n.has(1, 2)
	n.mustDo("POST", peersPath, peer(3))
	n.restart()
	n.has(2, 3)
}

// TestEditWhileDown: a peer that was revoked by hand stays so, whatever is set through the agent.
func TestEditWhileDown(t *testing.T) {
	for name, before := range map[string]func(*node){
		"while down": func(n *node) {
			n.mustDo("POST", "/v1/wg/wg0/disable", nil)
			n.edit(peerConf(1), "")
		},
		"while up": func(n *node) {
			n.edit(peerConf(1), "")
			n.mustDo("POST", peersPath, peer(3))
			n.mustDo("DELETE", peersPath+"/"+key(3), nil)
			n.mustDo("POST", "/v1/wg/wg0/disable", nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", basicConf(t)+peerConf(1)+peerConf(2)) })
			before(n)
			n.mustDo("PUT", configPath, map[string]any{"dns": "9.9.9.9"})
			n.mustDo("POST", "/v1/wg/wg0/enable", nil)
			n.has(2)
		})
	}
}

// TestCrashBeforeTheRename: the file was announced and never came; it follows, and what a person
// does then costs no acknowledged peer.
func TestCrashBeforeTheRename(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", bigConf(t, 1200)) })
	before := n.conf("wg0")
	n.mustDo("POST", peersPath, peer(5000))
	n.stop() // flushes
	require.Contains(t, n.conf("wg0"), key(5000))
	writeConf(t, &n.o, "wg0", before)
	dropLast(t, filepath.Join(n.o.DataDir, StateFolder, "wg0"))
	n.start()
	require.Len(t, n.device("wg0").Peers, 1201)
	require.Contains(t, n.conf("wg0"), key(5000))
	n.stop()
	writeConf(t, &n.o, "wg0", before+"# a person was here\n")
	n.start()
	require.Len(t, n.device("wg0").Peers, 1200, "it was in the file, so its absence is a person's doing")
}

// dropLast takes away the record that the file is written, which was not waited for, and what came later.
func dropLast(t testing.TB, dir string) {
	t.Helper()
	j, err := openJournal(dir)
	require.NoError(t, err)
	data, err := os.ReadFile(j.logPath())
	require.NoError(t, err)
	var at, last int
	for rest := data; len(rest) > 0; {
		payload, next, ok := unframe(rest)
		require.True(t, ok)
		if strings.Contains(string(payload), "done") {
			last = at
		}
		at += len(rest) - len(next)
		rest = next
	}
	require.Positive(t, last)
	require.NoError(t, os.Truncate(j.logPath(), int64(last)))
	require.NoError(t, j.close())
}

// TestEditDuringAChange: a person saves the file between our reading and our writing it. Their words
// stay, the request fails and has changed nothing.
func TestEditDuringAChange(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	edit := sync.OnceFunc(func() { n.edit("# the office", "# my office") })
	n.fake().OnObserve(func(o *engine.Observation) error {
		if len(o.Peers) == 2 { // the read-back
			edit()
		}
		return nil
	})
	r := n.do("POST", peersPath, peer(2))
	n.fake().OnObserve(nil)
	require.Equal(t, 503, r.status, "%s", r.body)
	n.has(1)
	require.Contains(t, n.conf("wg0"), "# my office")
	require.NotContains(t, n.conf("wg0"), key(2))
	n.mustDo("POST", peersPath, peer(3))
	require.Contains(t, n.conf("wg0"), "# my office")
	n.crash()
	n.has(1, 3)
}

// TestEditByAHook: what a hook or a person writes while the interface comes up is not taken for ours.
func TestEditByAHook(t *testing.T) {
	var n *node
	n = newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", basicConf(t)+"PostUp = edit\n"+peerConf(1)+peerConf(2))
		o.Up = []string{UpNone}
		o.HookRunner = HookFunc(func(context.Context, string, string) error {
			n.edit(peerConf(1), "")
			return nil
		})
	})
	n.mustDo("POST", "/v1/wg/wg0/enable", nil)
	n.has(1, 2)
	n.o.HookRunner, n.o.Up = nil, nil
	n.restart()
	n.has(2)
}

// TestPendingFollowsATakeOver: the file gets what it lacks although nothing more is written.
func TestPendingFollowsATakeOver(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", bigConf(t, 1200)) })
	before := n.conf("wg0")
	n.mustDo("POST", peersPath, peer(5000))
	want := n.device("wg0")
	n.stop()
	writeConf(t, &n.o, "wg0", before)
	dropLast(t, filepath.Join(n.o.DataDir, StateFolder, "wg0"))
	d, err := n.o.Backend.Create(t.Context(), want.Interface)
	require.NoError(t, err)
	require.NoError(t, d.Configure(t.Context(), engine.Diff(engine.State{Interface: want.Interface}, want, engine.DiffOptions{})))
	n.start()
	require.Eventually(t, func() bool { return strings.Contains(n.conf("wg0"), key(5000)) }, 20*time.Second, 10*time.Millisecond)
}

// TestSmallJournalIsCompacted: below a thousand peers, too, while it is written and when it is opened.
func TestSmallJournalIsCompacted(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	grow := func(j *journal) {
		r := j.state.snapshot()
		for range 10000 {
			r.Pending = append(r.Pending, key(1))
		}
		for !j.grown() {
			require.NoError(t, j.append(r))
		}
		require.NoError(t, j.append(record{Files: j.state.files, Done: true}))
	}
	sl := n.server.slotFor("wg0")
	holding := func(do func()) {
		release, err := sl.hold(t.Context())
		require.NoError(t, err)
		defer release()
		do()
	}
	holding(func() { grow(sl.journal) })
	n.mustDo("POST", peersPath, peer(2))
	require.Eventually(t, func() (small bool) {
		holding(func() { small = !sl.journal.grown() })
		return small
	}, 20*time.Second, 10*time.Millisecond)
	n.restart()
	n.has(1, 2)
	n.stop()
	j, err := openJournal(filepath.Join(n.o.DataDir, StateFolder, "wg0"))
	require.NoError(t, err)
	grow(j)
	require.NoError(t, j.close())
	j, err = openJournal(j.dir)
	require.NoError(t, err)
	require.False(t, j.grown())
	require.Len(t, j.state.peers, 2)
	require.NoError(t, j.close())
}

// TestForeignWriteAlongWithOurs: wg(8) writes after our reading and before our change. Neither the
// model nor what is kept may be without it.
func TestForeignWriteAlongWithOurs(t *testing.T) {
	for _, peers := range []int{3, 1200} {
		n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", bigConf(t, peers)) })
		d, err := n.o.Backend.Attach(t.Context(), "wg0")
		require.NoError(t, err)
		before, _, err := observe(t.Context(), d)
		require.NoError(t, err)
		foreign := enginetest.Peers(5001)
		i := slices.IndexFunc(foreign, func(p engine.Peer) bool { return p.PublicKey == enginetest.PeerKey(5000) })
		require.NoError(t, n.fake().Write(engine.Changes{Peers: []engine.PeerChange{{After: &foreign[i]}}}))
		ours := foreign[i]
		ours.PublicKey, ours.AllowedIPs = enginetest.PeerKey(6000), nil
		sl, release, err := n.server.takeKnown(t.Context(), "wg0")
		require.NoError(t, err)
		sl.kept = before
		after, err := n.server.commit(t.Context(), sl, d, before, engine.Changes{Peers: []engine.PeerChange{{After: &ours}}})
		release()
		require.NoError(t, err)
		require.Equal(t, n.device("wg0"), after.state)
		require.Len(t, after.state.Peers, peers+2)
		n.crash()
		require.Len(t, n.device("wg0").Peers, peers+2)
	}
}

// TestFileWithoutItsRecord: what can't be kept is not written into the file either.
func TestFileWithoutItsRecord(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	sl, release, err := n.server.takeKnown(t.Context(), "wg0")
	require.NoError(t, err)
	defer release()
	conf := n.conf("wg0")
	file, err := n.server.replaceFile(sl, n.server.confPath("wg0"), hashOf([]byte(conf)), []byte(conf+"# more\n"))
	require.NoError(t, err)
	defer file.discard()
	sl.journal.broken = os.ErrInvalid
	require.ErrorIs(t, n.server.persist(sl, record{}, file), os.ErrInvalid)
	require.Equal(t, conf, n.conf("wg0"))
	sl.journal.broken = nil
}

// TestOldFileComesBack: who puts a file back that the agent has replaced since means what it says.
func TestOldFileComesBack(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", basicConf(t)+peerConf(1)) })
	old := n.conf("wg0")
	n.mustDo("POST", peersPath, peer(2))
	n.mustDo("POST", "/v1/wg/wg0/disable", nil)
	writeConf(t, &n.o, "wg0", old)
	n.mustDo("POST", "/v1/wg/wg0/enable", nil)
	n.has(1)
}
