package server

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// crash loses the agent and its devices without a word, as a power cut does.
func (n *node) crash() {
	n.t.Helper()
	copyDir := n.t.TempDir()
	for _, dir := range []*string{&n.o.ConfDir, &n.o.DataDir} {
		to := filepath.Join(copyDir, filepath.Base(*dir))
		require.NoError(n.t, os.CopyFS(to, os.DirFS(*dir)))
		n.t.Cleanup(func() { os.RemoveAll(to) })
		*dir = to
	}
	n.stop()
	n.o.Backend = enginetest.NewFake()
	n.start()
}

// TestLastGoodStateComesBack: with all that was acknowledged, without the panel and without a clean
// stop.
func TestLastGoodStateComesBack(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, with(with(peer(1), "preshared_key", secretText(enginetest.PresharedKey(t))), "persistent_keepalive", 5))
	n.mustDo("POST", peersPath, peer(2))
	n.mustDo("PUT", configPath, map[string]any{"listen_port": 1234})
	n.mustDo("DELETE", peersPath+"/"+key(2), nil)
	want := n.device("wg0")
	n.crash()
	require.Equal(t, want, n.device("wg0"))
	n.restart()
	require.Equal(t, want, n.device("wg0"))
}

// TestLastGoodStateIsTheWholeDevice: also what somebody else changed before our write.
func TestLastGoodStateIsTheWholeDevice(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	other := enginetest.Peers(9)[3]
	require.NoError(t, n.fake().Write(engine.Changes{Peers: []engine.PeerChange{{After: &other}}}))
	n.mustDo("POST", peersPath, peer(20))
	want := n.device("wg0")
	require.Len(t, want.Peers, 3)
	n.crash()
	require.Equal(t, want, n.device("wg0"))
}

// bigConf is the file of an interface with n peers.
func bigConf(t testing.TB, n int) string {
	var b strings.Builder
	b.WriteString(basicConf(t))
	for _, p := range enginetest.Peers(n) {
		b.WriteString("\n[Peer]\nPublicKey = " + p.PublicKey.String() + "\nAllowedIPs = " + p.AllowedIPs[0].String() + "\n")
	}
	return b.String()
}

// TestManyPeersAreDurableBeforeTheirFile: above a thousand peers the file follows the answer, and a
// crash in between loses nothing.
func TestManyPeersAreDurableBeforeTheirFile(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", bigConf(t, 1200)) })
	n.mustDo("POST", peersPath, peer(5000))
	n.mustDo("DELETE", peersPath+"/"+key(7), nil)
	want := n.device("wg0")
	require.Len(t, want.Peers, 1200)
	n.crash()
	require.Equal(t, want.Peers, n.device("wg0").Peers)
	n.mustDo("POST", peersPath, peer(5001))
	require.Eventually(t, func() bool {
		c := n.conf("wg0")
		return strings.Contains(c, key(5000)) && strings.Contains(c, key(5001)) && !strings.Contains(c, key(7))
	}, 20*time.Second, 10*time.Millisecond, "the file follows")
	n.mustDo("POST", peersPath, peer(5002))
	n.stop()
	require.Contains(t, n.conf("wg0"), key(5002), "and at the latest when the agent stops")
	n.start()
	require.Len(t, n.device("wg0").Peers, 1202)
}

// TestPendingChangesSurviveAnEdit: a person edits the file in the second in which it lags behind, and
// then the power goes.
func TestPendingChangesSurviveAnEdit(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", bigConf(t, 1200)) })
	n.mustDo("POST", peersPath, peer(5000))
	edited := strings.Replace(n.conf("wg0"), "10.8.0.1/24", "10.8.0.9/24", 1)
	edited = strings.Replace(edited, "\n[Peer]\nPublicKey = "+key(5000)+"\nAllowedIPs = "+enginetest.PeerIP(5000).String()+"/32\n", "", 1)
	writeConf(t, &n.o, "wg0", edited)
	n.crash()
	require.Equal(t, "10.8.0.9/24", n.device("wg0").Interface.Addresses[0].String())
	_, there := engine.Lookup(n.device("wg0").Peers, enginetest.PeerKey(5000))
	require.True(t, there, "it was acknowledged")
}

// TestReadBackFindsADifference: what the device has is taken and logged as an error.
func TestReadBackFindsADifference(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", bigConf(t, 1200)) })
	n.dump()
	n.fake().OnObserve(func(o *engine.Observation) error {
		o.Peers = o.Peers[1:]
		return nil
	})
	n.mustDo("POST", peersPath, peer(5000))
	require.Eventually(t, func() bool { return strings.Contains(n.logs.String(), "the device is not what was set") }, 20*time.Second, 10*time.Millisecond)
	n.fake().OnObserve(nil)
}

func TestWhatComesUp(t *testing.T) {
	for _, c := range []struct {
		up   []string
		want []string
	}{
		{[]string{UpAuto}, []string{"wg0", "wg1"}}, {[]string{UpAll}, []string{"wg0", "wg1"}}, {[]string{UpNone}, nil}, {[]string{"wg1"}, []string{"wg1"}}, {nil, []string{"wg0", "wg1"}},
	} {
		n := newNode(t, func(o *Options) {
			writeConf(t, o, "wg0", basicConf(t))
			writeConf(t, o, "wg1", basicConf(t))
			writeConf(t, o, "not a name", basicConf(t))
			o.Up = c.up
		})
		names, err := n.o.Backend.Names(t.Context())
		require.NoError(t, err)
		require.ElementsMatch(t, c.want, names)
	}
}

// TestOneFailureStopsNobody: it is logged and shown as down.
func TestOneFailureStopsNobody(t *testing.T) {
	n := newNode(t, func(o *Options) {
		fake := enginetest.NewFake()
		fake.OnCreate(func(i engine.Interface) error {
			if i.Name == "wg0" {
				return errors.New("no such luck")
			}
			return nil
		})
		o.Backend = fake
		writeConf(t, o, "wg0", basicConf(t))
		writeConf(t, o, "wg1", basicConf(t))
		writeConf(t, o, "wg2", "[Interface]\nPrivateKey = nonsense\n")
	})
	require.Contains(t, n.logs.String(), "no such luck")
	var all agent.Interfaces
	n.mustDo("GET", "/v1/wg", nil).decode(t, &all)
	require.Len(t, all.Interfaces, 3)
	for i, up := range []bool{false, true, false} {
		require.Equal(t, up, all.Interfaces[i].Up)
	}
}

func TestInterfaceThatIsUpIsTakenOver(t *testing.T) {
	n := newNode(t, nil)
	private := enginetest.PrivateKey(t)
	d, err := n.o.Backend.Create(t.Context(), engine.Interface{Name: "wg5", PrivateKey: private, ListenPort: 777})
	require.NoError(t, err)
	r := n.mustDo("GET", "/v1/wg/wg5/dump", nil)
	require.Contains(t, string(r.body), `"peers":[]`)
	n.mustDo("POST", "/v1/wg/wg5/peers", peer(1))
	n.stop()
	o, err := d.Observe(t.Context())
	require.NoError(t, err, "what another made is not taken down")
	require.Len(t, o.Peers, 1)
	n.start()
	require.Contains(t, string(n.mustDo("POST", "/v1/wg/wg5/enable", nil).body), `"was_down":false`)
	require.NoFileExists(t, filepath.Join(n.o.ConfDir, "wg5.conf"))
	require.NoError(t, d.Close(t.Context()))
	require.Equal(t, agent.CodeInterfaceDown, n.do("GET", "/v1/wg/wg5/dump", nil).code(t))
	n.mustDo("POST", "/v1/wg/wg5/enable", nil)
	require.Len(t, n.device("wg5").Peers, 1, "it comes up from the last good state")
}

func TestDamagedStateIsSetAside(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	n.stop()
	dir := filepath.Join(n.o.DataDir, StateFolder, "wg0")
	require.NoError(t, os.WriteFile(filepath.Join(dir, snapshotName), bytes.Repeat([]byte("x"), 100), 0o600))
	n.start()
	require.Len(t, n.device("wg0").Peers, 1, "the file speaks")
	require.Contains(t, n.logs.String(), "set aside")
	require.FileExists(t, filepath.Join(n.o.DataDir, "damaged-wg0", snapshotName))
}

// TestLongPoll: a 304 is held until either digest changes.
func TestLongPoll(t *testing.T) {
	n := newNode(t, withConf(t))
	_, r := n.dump()
	tag := r.header.Get("ETag")
	poll := func(prefer string) (chan reply, func()) {
		out := make(chan reply, 1)
		before := n.polls()
		go func() { out <- n.do("GET", dumpPath, nil, header("If-None-Match", tag), header("Prefer", prefer)) }()
		return out, func() {
			require.Eventually(t, func() bool { return n.polls() > before }, 10*time.Second, time.Millisecond)
		}
	}
	out, waiting := poll("wait=60")
	waiting()
	n.mustDo("PUT", configPath, map[string]any{"listen_port": 4444})
	var got reply
	select { // far below the wait, far above what the answer takes
	case got = <-out:
	case <-time.After(30 * time.Second):
		require.Fail(t, "the interface's digest changed, and the answer is still held")
	}
	require.Equal(t, 304, got.status)
	require.NotEqual(t, r.header.Get(agent.HeaderInterfaceDigest), got.header.Get(agent.HeaderInterfaceDigest))
	out, waiting = poll("respond-async, wait=60")
	waiting()
	n.mustDo("POST", peersPath, peer(1))
	require.Equal(t, 200, (<-out).status)
	require.Equal(t, 304, n.do("GET", dumpPath, nil, header("If-None-Match", `"x", `+n.tag()), header("Prefer", "wait=1")).status)
	require.Equal(t, 200, n.do("GET", dumpPath, nil, header("If-None-Match", tag), header("Prefer", "wait=60")).status, "it is another already")
	out, _ = poll("wait=60")
	<-out
	tag = n.tag()
	out, waiting = poll("wait=60")
	waiting()
	n.server.stop()
	require.Equal(t, 304, (<-out).status, "a stopping agent keeps nobody waiting")
}

func (n *node) tag() string {
	_, r := n.dump()
	return r.header.Get("ETag")
}

// polls counts the requests that began to wait for a change.
func (n *node) polls() int { return strings.Count(n.logs.String(), heldAnswer) }

func TestPreferWait(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"wait=5": 5 * time.Second, "wait=61": agent.MaxWait, "wait=9999999999999999999": 0, "": 0, "wait=0": 0, "wait=-1": 0, "a, Wait=\"7\"": 7 * time.Second, "respond-async; wait=3": 3 * time.Second,
	} {
		require.Equal(t, want, preferWait([]string{text}), text)
	}
}

// TestNoSecretLeaves searches every answer and log of an agent that hides secrets for each key that
// was made, whatever goes wrong.
func TestNoSecretLeaves(t *testing.T) {
	private, psk, other := secretText(enginetest.PrivateKey(t)), secretText(enginetest.PresharedKey(t)), secretText(enginetest.PrivateKey(t))
	n := newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", "[Interface]\nPrivateKey = "+private+"\nPostUp = echo "+private+"\n# "+private+"\n")
		o.ExposeSecrets = ExposeNever
		o.HookRunner = HookFunc(func(_ context.Context, _, command string) error {
			if strings.HasPrefix(command, "fail") {
				return errors.New(command)
			}
			return nil
		})
		o.Hooks = HooksAllow
	})
	n.mustDo("POST", peersPath, with(peer(1), "preshared_key", psk))
	for _, body := range []any{
		with(peer(1), "preshared_key", psk+"x"), with(peer(1), "preshared_key", []string{psk}),
		map[string]any{"preshared_key": psk},
		map[string]any{"private_key": private, "public_key": 5},
		`"` + psk + `"`, `{"preshared_key":"` + psk, "PresharedKey=" + psk,
		confBody("[Interface]\nPrivateKey = " + private + " x\n"), confBody("PrivateKey = " + private),
		map[string]any{"config": []string{private}},
		map[string]any{"config": private},
		map[string]any{"private_key": private + "x"},
		map[string]any{"private_key": other, "address": "nonsense"},
		map[string]any{"post_up": "fail " + private},
		map[string]any{"peers": []any{with(peer(2), "preshared_key", 5), with(peer(1), "preshared_key", "x"+psk)}},
		map[string]any{"changes": []any{with(with(peer(2), "op", psk), "preshared_key", psk)}},
	} {
		for _, w := range []struct{ method, target string }{
			{"POST", peersPath}, {"PUT", peersPath + "/" + key(1)}, {"POST", "/v1/wg/wg0/apply"}, {"POST", "/v1/wg/wg0/syncconf"}, {"PUT", configPath},
		} {
			n.do(w.method, w.target, body)
		}
		for _, target := range []string{dumpPath, configPath, "/v1/wg", "/v1/status", "/v1/metrics"} {
			n.do("GET", target, nil)
		}
	}
	n.restart()
	for _, text := range []string{n.answers.String(), n.logs.String()} {
		for _, secret := range []string{private, psk, other, string(n.o.Secret)} {
			i := strings.Index(text, secret)
			require.Negative(t, i, "a secret in: %s", text[max(0, i-300):max(0, min(len(text), i+100))])
		}
	}
	require.NotContains(t, n.logs.String(), key(1), "logs hold no keys at all")
}
