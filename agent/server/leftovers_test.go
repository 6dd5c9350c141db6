package server

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

// dropTemp removes the file that is ready to take the place of wg0.conf, so that the rename fails.
func (n *node) dropTemp() {
	sweep(filepath.Join(n.o.ConfDir, "wg0.conf"))
}

// TestRenameFails: the device had the change already and is put back, and so is what is kept.
func TestRenameFails(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	before, conf := n.device("wg0"), n.conf("wg0")
	n.fake().OnObserve(func(o *engine.Observation) error {
		if len(o.Peers) == 2 { // the read-back
			n.dropTemp()
		}
		return nil
	})
	require.Equal(t, 500, n.do("POST", peersPath, peer(2)).status)
	n.fake().OnObserve(nil)
	require.Equal(t, before, n.device("wg0"))
	require.Equal(t, conf, n.conf("wg0"))
	n.crash()
	require.Equal(t, before, n.device("wg0"))
	require.Equal(t, conf, n.conf("wg0"))
}

// TestRenameFailsLater: what the file lacks stays noted until it has it.
func TestRenameFailsLater(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", bigConf(t, 1200)) })
	sl, release, err := n.server.takeKnown(t.Context(), "wg0")
	require.NoError(t, err)
	defer release()
	p := engine.Peer{PublicKey: enginetest.PeerKey(5000)}
	require.NoError(t, sl.journal.append(changesRecord(engine.Changes{Peers: []engine.PeerChange{{After: &p}}})))
	file, err := n.server.prepareEdit(sl, engine.Changes{})
	require.NoError(t, err)
	file.discard()
	require.Error(t, n.server.persist(sl, record{}, file))
	require.Len(t, sl.journal.state.pending, 1)
	require.NoError(t, n.server.flush(sl))
	require.Contains(t, n.conf("wg0"), key(5000))
	require.Empty(t, sl.journal.state.pending)
}

// TestReadBackIsTaken: what the device has becomes the model.
func TestReadBackIsTaken(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	sl := n.server.slotFor("wg0")
	d, m := sl.current()
	wrong := newModel(engine.State{Interface: m.state.Interface})
	wrong.revision, wrong.stands = m.revision, true
	sl.store(d, wrong)
	require.NoError(t, n.server.verifyModel(t.Context(), sl))
	_, m = sl.current()
	require.Len(t, m.state.Peers, 1)
}

// TestLagBacksOff: a file that can't be written is tried ever less often, but tried.
func TestLagBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sl := newSlot("wg0")
		sl.lagging(true)
		first := sl.lag
		require.GreaterOrEqual(t, first, followDelay)
		for range 20 {
			sl.lagging(true)
		}
		require.Equal(t, longestLag, sl.lag)
		s := &Server{running: context.Background(), o: Options{}}
		start := time.Now()
		release, err := sl.hold(t.Context())
		require.NoError(t, err)
		sl.gone = true
		ctx, stop := context.WithCancel(t.Context())
		s.running = ctx
		s.follow(sl)
		synctest.Wait()
		require.True(t, sl.following)
		<-time.After(longestLag)
		require.True(t, sl.following, "it waits for longer than the lag")
		require.GreaterOrEqual(t, time.Since(start), longestLag)
		stop()
		s.tasks.Wait()
		release()
		sl.lagging(false)
		require.Zero(t, sl.lag)
	})
}

// TestCompactionThatFailsHalfway: nothing is appended to a log that the next open might not read.
func TestCompactionThatFailsHalfway(t *testing.T) {
	j, err := openJournal(filepath.Join(t.TempDir(), "wg0"))
	require.NoError(t, err)
	require.NoError(t, j.append(putRecord(1, 1)))
	snapshot := filepath.Join(j.dir, snapshotName)
	require.NoError(t, os.MkdirAll(filepath.Join(snapshot, "x"), 0o700)) // no file can take its place
	require.Error(t, j.compact())
	require.Error(t, j.append(putRecord(2, 2)))
	require.NoError(t, os.RemoveAll(snapshot))
	require.NoError(t, j.compact())
	require.NoError(t, j.append(putRecord(2, 2)))
	require.NoError(t, j.close())
	j, err = openJournal(j.dir)
	require.NoError(t, err)
	require.Len(t, j.state.peers, 2)
	require.NoError(t, j.close())
}

// TestNamedOnAFullDisk: the panel is let in, and the file is written as soon as it can be.
func TestNamedOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	i, err := openIdentity(dir)
	require.NoError(t, err)
	path := i.path
	i.path = filepath.Join(dir, "missing", "agent.json")
	require.NoError(t, i.check(i.id))
	require.Error(t, i.check(""))
	i.path = path
	require.NoError(t, i.check(i.id))
	again, err := openIdentity(dir)
	require.NoError(t, err)
	require.True(t, again.named)
}

// TestForeignLink: no configuration for what is no WireGuard interface.
func TestForeignLink(t *testing.T) {
	n := newNode(t, nil)
	r := n.do("PUT", "/v1/wg/lo/config", map[string]any{"private_key": secretText(enginetest.PrivateKey(t))})
	require.Equal(t, agent.CodeInterfaceExists, r.code(t))
	require.NoFileExists(t, filepath.Join(n.o.ConfDir, "lo.conf"))
}

// TestLeftoversOfACrash hold the private key: they go at the start and with the interface.
func TestLeftoversOfACrash(t *testing.T) {
	n := newNode(t, withConf(t))
	left := filepath.Join(n.o.ConfDir, ".wg0.conf.123.tmp")
	other := filepath.Join(n.o.ConfDir, ".wg01.conf.123.tmp")
	for _, path := range []string{left, other} {
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	}
	n.restart()
	require.NoFileExists(t, left)
	require.FileExists(t, other, "it belongs to another")
	require.NoError(t, os.WriteFile(left, []byte("x"), 0o600))
	n.mustDo("DELETE", "/v1/wg/wg0", nil)
	require.NoFileExists(t, left)
}

// TestLinkedFile: who keeps the file elsewhere goes on doing so.
func TestLinkedFile(t *testing.T) {
	target := filepath.Join(t.TempDir(), "elsewhere.conf")
	n := newNode(t, func(o *Options) {
		require.NoError(t, os.WriteFile(target, []byte(basicConf(t)), 0o600))
		require.NoError(t, os.Symlink(target, filepath.Join(o.ConfDir, "wg0.conf")))
	})
	n.mustDo("POST", peersPath, peer(1))
	info, err := os.Lstat(filepath.Join(n.o.ConfDir, "wg0.conf"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	data, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Contains(t, string(data), key(1))
}

// countingResolver notes how many look-ups ran at a time.
type countingResolver struct{ now, most atomic.Int64 }

func (r *countingResolver) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	n := r.now.Add(1)
	defer r.now.Add(-1)
	for most := r.most.Load(); n > most && !r.most.CompareAndSwap(most, n); most = r.most.Load() {
	}
	<-time.After(time.Second)
	return []netip.Addr{netip.MustParseAddr("192.0.2.1")}, nil
}

// TestLookUpsAreBounded: a file with many host names does not open a socket for each at once.
func TestLookUpsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &countingResolver{}
		s := &Server{o: Options{Resolver: r}}
		var peers []wgquick.Peer
		for i := range 100 {
			peers = append(peers, wgquick.Peer{PublicKey: enginetest.PeerKey(i), Endpoint: "h" + strconv.Itoa(i) + ".example:1"})
		}
		found, failed := s.resolve(t.Context(), peers)
		require.Len(t, found, 100)
		require.Empty(t, failed)
		require.EqualValues(t, lookUps, r.most.Load())
	})
}
