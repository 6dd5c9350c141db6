package server

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func putRecord(n, keepalive int) record {
	p := enginetest.Peers(n + 1)
	for _, q := range p {
		if q.PublicKey == enginetest.PeerKey(n) {
			q.PersistentKeepalive = keepalive
			return changesRecord(engine.Changes{Peers: []engine.PeerChange{{After: &q}}})
		}
	}
	return record{}
}

func stateOf(t testing.TB, private engine.SecretKey) engine.State {
	psk := enginetest.PresharedKey(t)
	peers := enginetest.Peers(3)
	peers[1].PresharedKey = psk
	peers[2].Endpoint = netip.MustParseAddrPort("192.0.2.1:7")
	return engine.State{
		Interface: engine.Interface{Name: "wg0", PrivateKey: private, ListenPort: 5, FwMark: 6, MTU: 1400, Addresses: []netip.Prefix{netip.MustParsePrefix("10.8.0.1/24")}},
		Peers:     peers,
	}
}

func TestJournalKeepsEverything(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wg0")
	j, err := openJournal(dir)
	require.NoError(t, err)
	require.False(t, j.state.known)
	want := stateOf(t, enginetest.PrivateKey(t))
	r, up, hash := stateRecord(want), true, "hash"
	r.Up, r.File = &up, &hash
	require.NoError(t, j.append(r))
	check := func(j *journal) {
		t.Helper()
		require.Equal(t, want, j.state.state())
		require.True(t, j.state.up)
		require.True(t, j.state.speaks("hash"))
	}
	check(j)
	for range 3 {
		require.NoError(t, j.close())
		j, err = openJournal(dir)
		require.NoError(t, err)
		check(j)
		require.NoError(t, j.compact())
		check(j)
	}
	require.NoError(t, j.close())
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "one snapshot and one log")
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
}

// TestJournalCutAnywhere: after a crash at any byte of a write, what was acknowledged is there, and
// what was not is there whole or not at all.
func TestJournalCutAnywhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wg0")
	j, err := openJournal(dir)
	require.NoError(t, err)
	sizes := []int64{0}
	for i := range 4 {
		require.NoError(t, j.append(putRecord(i, i)))
		sizes = append(sizes, j.size)
	}
	require.NoError(t, j.close())
	log, err := os.ReadFile(j.logPath())
	require.NoError(t, err)
	for cut := range len(log) + 1 {
		for _, tail := range [][]byte{nil, make([]byte, 20)} { // a file may also end in zeros
			require.NoError(t, os.WriteFile(j.logPath(), append(log[:cut:cut], tail...), 0o600))
			again, err := openJournal(dir)
			require.NoError(t, err)
			whole := 0
			for whole+1 < len(sizes) && sizes[whole+1] <= int64(cut) {
				whole++
			}
			require.Len(t, again.state.peers, whole, "cut at %d", cut)
			require.NoError(t, again.append(putRecord(9, 9)))
			require.NoError(t, again.close())
			third, err := openJournal(dir)
			require.NoError(t, err)
			require.Len(t, third.state.peers, whole+1, "the next write stands right behind")
			require.NoError(t, third.close())
		}
	}
}

// TestJournalFlippedByte: a damaged record is never believed. The last one may be a torn write; before
// it nothing that was acknowledged is cut off.
func TestJournalFlippedByte(t *testing.T) {
	var log []byte
	last := 0
	for i := range 3 {
		payload, err := putRecord(i, i).encode()
		require.NoError(t, err)
		last = len(log)
		log = append(log, frame(payload)...)
	}
	for i := range log {
		bad := append([]byte(nil), log...)
		bad[i] ^= 0x40
		s := newLastState()
		good, err := replay(s, bad)
		if i < last || err != nil && i < last+4 { // a shorter last record has something behind it
			require.ErrorIs(t, err, errDamaged, "byte %d", i)
			continue
		}
		require.NoError(t, err, "byte %d", i)
		require.EqualValues(t, last, good)
		require.Len(t, s.peers, 2)
	}
}

// TestJournalDamagedInTheMiddle: it is set aside as it is, and the file speaks.
func TestJournalDamagedInTheMiddle(t *testing.T) {
	n := newNode(t, withConf(t))
	for i := range 5 {
		n.mustDo("POST", peersPath, peer(i))
	}
	n.stop()
	dir := filepath.Join(n.o.DataDir, StateFolder, "wg0")
	logs, err := filepath.Glob(filepath.Join(dir, logPrefix+"*"))
	require.NoError(t, err)
	require.Len(t, logs, 1)
	log, err := os.ReadFile(logs[0])
	require.NoError(t, err)
	log[20] ^= 1
	require.NoError(t, os.WriteFile(logs[0], log, 0o600))
	n.start()
	n.has(0, 1, 2, 3, 4)
	aside, err := os.ReadFile(filepath.Join(n.o.DataDir, "damaged-wg0", filepath.Base(logs[0])))
	require.NoError(t, err)
	require.Equal(t, log, aside)
}

func TestJournalWriteFails(t *testing.T) {
	j, err := openJournal(filepath.Join(t.TempDir(), "wg0"))
	require.NoError(t, err)
	require.NoError(t, j.append(putRecord(1, 1)))
	require.NoError(t, j.log.Close())
	require.Error(t, j.append(putRecord(2, 2)))
	require.Len(t, j.state.peers, 1)
	require.Error(t, j.append(putRecord(2, 2)), "broken until a new log is begun")
	require.NoError(t, j.compact())
	require.NoError(t, j.append(putRecord(2, 2)))
	require.NoError(t, j.close())
}

// TestJournalIsTheDevice: whatever is written, in any order, with compactions in between, the journal
// reads as the model of the device.
func TestJournalIsTheDevice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "j") //nolint:usetesting // one for each round of the property
		require.NoError(t, err)
		j, err := openJournal(filepath.Join(dir, "wg0"))
		require.NoError(t, err)
		m := newModel(engine.State{})
		mac := engine.DeriveMACKey([]byte("x"))
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			n := rapid.IntRange(0, 5).Draw(rt, "peer")
			before, there := engine.Lookup(m.state.Peers, enginetest.PeerKey(n))
			var change engine.PeerChange
			if there {
				change.Before = &before
			}
			if !there || rapid.Bool().Draw(rt, "put") {
				keepalive := rapid.IntRange(0, 3).Draw(rt, "keepalive")
				w := wish{key: enginetest.PeerKey(n), keepalive: &keepalive}
				c := w.on(before, there)
				if c == nil {
					continue
				}
				change = *c
			}
			c := engine.Changes{Peers: []engine.PeerChange{change}}
			m.digest(mac)
			m = m.patched(c)
			require.NoError(t, j.append(changesRecord(c)))
			require.Equal(t, engine.Digest(m.state.Peers, mac), m.digest(mac), "the digest that was patched is that of the whole")
			if rapid.IntRange(0, 5).Draw(rt, "compact") == 0 {
				require.NoError(t, j.compact())
			}
		}
		require.NoError(t, j.close())
		again, err := openJournal(j.dir)
		require.NoError(t, err)
		require.Equal(t, m.state.Peers, again.state.state().Peers)
		require.NoError(t, again.close())
	})
}

// TestEndpointsStayInTheModel: a change that names no endpoint leaves the one that is known.
func TestEndpointsStayInTheModel(t *testing.T) {
	m := newModel(stateOf(t, enginetest.PrivateKey(t)))
	keepalive := 7
	before := m.state.Peers[2]
	c := wish{key: before.PublicKey, keepalive: &keepalive}.on(before, true)
	require.False(t, c.After.Endpoint.IsValid(), "the device is not asked to change it")
	after := m.patched(engine.Changes{Peers: []engine.PeerChange{*c}})
	require.Equal(t, before.Endpoint, after.state.Peers[2].Endpoint)
	require.Equal(t, 7, after.state.Peers[2].PersistentKeepalive)
}

// TestHoldersFollow: the index that is moved along is the one that is built anew.
func TestHoldersFollow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(engine.State{})
		var h holders
		h.sync(m)
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			var c engine.Changes
			seen := make(map[wgtypes.Key]bool)
			for range rapid.IntRange(1, 3).Draw(rt, "changes") {
				key := enginetest.PeerKey(rapid.IntRange(0, 4).Draw(rt, "peer"))
				if seen[key] {
					continue
				}
				seen[key] = true
				before, there := engine.Lookup(m.state.Peers, key)
				var ips []netip.Prefix
				for _, n := range rapid.SliceOfN(rapid.IntRange(1, 6), 0, 3).Draw(rt, "ips") {
					ips = append(ips, netip.PrefixFrom(enginetest.PeerIP(n), 32))
				}
				w := wish{key: key, hasIPs: true, ips: engine.NormalizePrefixes(ips)}
				if change := w.on(before, there); change != nil {
					c.Peers = append(c.Peers, *change)
				}
			}
			after := m.patched(c)
			judged := h.judge(m.state, c)
			require.Equal(t, engine.Validate(after.state) == nil, judged == nil, "judging the changes is judging the whole: %v", judged)
			if judged != nil {
				continue
			}
			h.follow(c.Peers, after)
			m = after
			var fresh holders
			fresh.sync(m)
			require.Equal(t, fresh.prefix, h.prefix)
		}
	})
}

// TestTooManyPeers: the changes are counted, and a peer that goes makes room for one that comes.
func TestTooManyPeers(t *testing.T) {
	full := engine.State{Interface: engine.Interface{Name: "wg0", PrivateKey: enginetest.PrivateKey(t)}, Peers: make([]engine.Peer, engine.MaxPeers)}
	add := engine.PeerChange{After: &engine.Peer{PublicKey: enginetest.PeerKey(1)}}
	remove := engine.PeerChange{Before: &engine.Peer{PublicKey: enginetest.PeerKey(2)}}
	var h holders
	err := h.judge(full, engine.Changes{Peers: []engine.PeerChange{add}})
	refused, is := errors.AsType[*engine.FieldError](err)
	require.True(t, is, "%v", err)
	require.Equal(t, "peers", refused.Field)
	require.NoError(t, h.judge(full, engine.Changes{Peers: []engine.PeerChange{add, remove}}))
	full.Peers = full.Peers[1:]
	require.NoError(t, h.judge(full, engine.Changes{Peers: []engine.PeerChange{add}}))
}
