package server

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/link"
)

// host is the host around the interfaces: it notes what is asked of it, along with the hooks and the
// devices, and fails where it is told to.
type host struct {
	engine.Backend
	mu     sync.Mutex // protects what follows
	did    []string
	fail   string // the step that fails
	choice link.Choice
	asked  []link.Config // of Choose
	routes []netip.Prefix
	on     func(step string) // sees each step
}

var errHost = errors.New("no such luck")

func (h *host) step(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.did = append(h.did, name)
	if h.on != nil {
		h.on(name)
	}
	if h.fail == name {
		return errHost
	}
	return nil
}

func (h *host) failAt(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = name
}

func (h *host) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	did := h.did
	h.did = nil
	return did
}

func (h *host) RunHook(_ context.Context, _, command string) error { return h.step(command) }

func (h *host) Choose(_ context.Context, c link.Config, _ []netip.AddrPort) (link.Choice, error) {
	err := h.step("choose")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked = append(h.asked, c)
	return h.choice, err
}

func (h *host) set(c link.Config) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.routes = c.AllowedIPs
}

func (h *host) Up(_ context.Context, c link.Config) error {
	err := h.step("network up")
	if err == nil {
		h.set(c)
	}
	return err
}

func (h *host) Follow(_ context.Context, _, after link.Config) error {
	err := h.step("follow")
	if err == nil {
		h.set(after)
	}
	return err
}

func (h *host) Down(context.Context, link.Config) error {
	h.set(link.Config{})
	return h.step("network down")
}

func (h *host) Create(ctx context.Context, i engine.Interface) (engine.Device, error) {
	if err := h.step("create"); err != nil {
		return nil, err
	}
	return h.Backend.Create(ctx, i)
}

const allHooks = "PreUp = pre-up %i\nPostUp = post-up\nPreDown = pre-down\nPostDown = post-down\n"

// newHostNode is an agent on such a host, whose links outlive the process, with wg0 down.
func newHostNode(t *testing.T, conf string) (*node, *host) {
	t.Helper()
	was := linkID
	linkID = func(name string) string { return "boot/" + name }
	t.Cleanup(func() { linkID = was })
	h := &host{Backend: enginetest.NewFake(), choice: link.Choice{MTU: 1380, FwMark: 51820}}
	n := newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", basicConf(t)+conf)
		o.Backend, o.Network, o.HookRunner, o.Up = h, h, h, []string{UpNone}
	})
	return n, h
}

// fakeOf is the device of wg0 under what a host wraps around it.
func (h *host) fakeOf(t *testing.T) *enginetest.FakeDevice {
	t.Helper()
	d, err := h.Backend.(*enginetest.Fake).Device("wg0")
	require.NoError(t, err)
	return d
}

const (
	enablePath  = "/v1/wg/wg0/enable"
	disablePath = "/v1/wg/wg0/disable"
)

// leave stops the agent and leaves the interfaces up; kill does so without a clean stop.
func (n *node) leave() {
	n.t.Helper()
	n.http.Close()
	require.NoError(n.t, n.server.Close(context.Background(), false))
	n.server = nil
}

func TestOrderOfWgQuick(t *testing.T) {
	n, h := newHostNode(t, allHooks+peerConf(1))
	n.mustDo("POST", enablePath, nil)
	require.Equal(t, []string{"pre-up wg0", "choose", "create", "network up", "post-up"}, h.take())
	require.NotEmpty(t, h.routes)
	n.mustDo("POST", disablePath, nil)
	require.Equal(t, []string{"pre-down", "network down", "post-down"}, h.take())
	require.Empty(t, h.routes)
}

// TestUpFails: wherever, nothing is left, the answer is one sentence, and the next try works.
func TestUpFails(t *testing.T) {
	after := map[string][]string{
		"pre-up wg0": {"pre-up wg0"},
		"choose":     {"pre-up wg0", "choose"},
		"create":     {"pre-up wg0", "choose", "create"},
		"network up": {"pre-up wg0", "choose", "create", "network up"},
		"post-up":    {"pre-up wg0", "choose", "create", "network up", "post-up", "network down"},
	}
	for step, did := range after {
		t.Run(step, func(t *testing.T) {
			n, h := newHostNode(t, allHooks+peerConf(1))
			conf := n.conf("wg0")
			h.failAt(step)
			r := n.do("POST", enablePath, nil)
			require.Equal(t, 500, r.status)
			require.Contains(t, string(r.body), errHost.Error())
			require.NotContains(t, string(r.body), `\n`)
			require.Equal(t, did, h.take())
			names, err := h.Backend.Names(t.Context())
			require.NoError(t, err)
			require.Empty(t, names)
			require.Empty(t, h.routes)
			require.Equal(t, conf, n.conf("wg0"))
			h.failAt("")
			n.restart()
			n.mustDo("POST", enablePath, nil)
			require.Len(t, n.device("wg0").Peers, 1)
		})
	}
}

// TestChosenAnew: what the file does not give is found at each up, whatever was found before.
func TestChosenAnew(t *testing.T) {
	n, h := newHostNode(t, "")
	n.mustDo("POST", enablePath, nil)
	require.Equal(t, 1380, n.device("wg0").Interface.MTU)
	require.EqualValues(t, 51820, n.device("wg0").Interface.FwMark)
	n.mustDo("POST", peersPath, peer(1))
	require.NotContains(t, n.conf("wg0"), "FwMark")
	require.NotContains(t, n.conf("wg0"), "MTU")
	n.mustDo("POST", disablePath, nil)
	h.choice = link.Choice{MTU: 1280, FwMark: 51821}
	h.asked = nil
	n.restart()
	n.mustDo("POST", enablePath, nil)
	require.Zero(t, h.asked[0].FwMark)
	require.Equal(t, 1280, n.device("wg0").Interface.MTU)
	require.EqualValues(t, 51821, n.device("wg0").Interface.FwMark)

	n.mustDo("PUT", configPath, map[string]any{"mtu": 1300, "fwmark": 7})
	n.mustDo("POST", disablePath, nil)
	n.mustDo("POST", enablePath, nil)
	require.Equal(t, 1300, n.device("wg0").Interface.MTU, "the file gives it")
	require.EqualValues(t, 7, n.device("wg0").Interface.FwMark)
}

func TestRoutesFollowThePeers(t *testing.T) {
	n, h := newHostNode(t, peerConf(1))
	n.mustDo("POST", enablePath, nil)
	h.take()
	routes := func(numbers ...int) (out []netip.Prefix) {
		for _, i := range numbers {
			out = append(out, netip.PrefixFrom(enginetest.PeerIP(i), 32))
		}
		return out
	}
	n.mustDo("POST", peersPath, peer(2))
	require.ElementsMatch(t, routes(1, 2), h.routes)
	n.mustDo("DELETE", peersPath+"/"+key(1), nil)
	require.ElementsMatch(t, routes(2), h.routes)
	_, r := n.apply(map[string]any{"peers": peersOf(2, 3)})
	require.Equal(t, 200, r.status)
	require.ElementsMatch(t, routes(2, 3), h.routes)
	n.mustDo("POST", "/v1/wg/wg0/syncconf", confBody(peerConf(3)+peerConf(4)))
	require.ElementsMatch(t, routes(3, 4), h.routes)
	require.Equal(t, []string{"follow", "follow", "follow", "follow"}, h.take())
	n.mustDo("PUT", peersPath+"/"+key(3), map[string]any{"persistent_keepalive": 25})
	require.Empty(t, h.take(), "no other packet enters the tunnel")

	before, conf := n.device("wg0"), n.conf("wg0")
	h.failAt("follow")
	bad := n.do("POST", peersPath, peer(5))
	require.Equal(t, 500, bad.status)
	require.Contains(t, string(bad.body), "the host's routes can't follow the peers of wg0")
	require.Contains(t, string(bad.body), "put back")
	require.Equal(t, before, n.device("wg0"))
	require.Equal(t, conf, n.conf("wg0"))
	h.failAt("")
	h.take()

	h.fakeOf(t).OnObserve(func(o *engine.Observation) error {
		if len(o.Peers) == 3 { // the read-back
			n.dropTemp()
		}
		return nil
	})
	require.Equal(t, 500, n.do("POST", peersPath, peer(5)).status, "the file can't be written")
	h.fakeOf(t).OnObserve(nil)
	require.Equal(t, []string{"follow", "follow"}, h.take(), "and back")
	require.ElementsMatch(t, routes(3, 4), h.routes)
}

// TestWhoseRoutes: an interface that outlived the agent is still ours; one of somebody else is not, even
// where it has the name of one that was ours.
func TestWhoseRoutes(t *testing.T) {
	n, h := newHostNode(t, peerConf(1))
	n.mustDo("POST", enablePath, nil)
	n.leave()
	n.start()
	h.take()
	n.mustDo("POST", peersPath, peer(2))
	require.Equal(t, []string{"follow"}, h.take())

	n.leave()
	linkID = func(string) string { return "another boot/7" }
	n.start()
	n.mustDo("POST", peersPath, peer(3))
	require.Empty(t, h.take(), "it is another link")
	n.stop()
	require.Empty(t, h.take(), "and stopping leaves it alone")
	require.Len(t, n.device("wg0").Peers, 3)
}

// TestStopInAnotherLife: with down, what an earlier life made goes as well.
func TestStopInAnotherLife(t *testing.T) {
	n, h := newHostNode(t, allHooks)
	n.mustDo("POST", enablePath, nil)
	n.leave()
	n.start()
	h.take()
	n.stop()
	require.Equal(t, []string{"pre-down", "network down", "post-down"}, h.take())
	n.o.Up = []string{UpAuto}
	n.start()
	n.device("wg0")
}

// TestPutBackIsOurs: an interface that came up again after a configuration that failed.
func TestPutBackIsOurs(t *testing.T) {
	n, h := newHostNode(t, peerConf(1))
	n.mustDo("POST", enablePath, nil)
	before := n.device("wg0")
	h.on = func(step string) {
		if step == "network up" {
			h.fail, h.on = step, func(string) { h.fail = "" } // once
		}
	}
	r := n.do("PUT", configPath, map[string]any{"address": "10.8.0.9/24"})
	require.Equal(t, 500, r.status)
	require.Contains(t, string(r.body), "put back as it was")
	require.Equal(t, before, n.device("wg0"))
	h.on = nil
	n.leave()
	n.start()
	require.NotContains(t, n.logs.String(), "half made")
	h.take()
	n.mustDo("POST", peersPath, peer(2))
	require.Equal(t, []string{"follow"}, h.take())
}

// TestCrashHalfway: a link that was on its way up or down is nobody's interface after a crash.
func TestCrashHalfway(t *testing.T) {
	for _, at := range []string{"network up", "post-up", "network down"} {
		t.Run(at, func(t *testing.T) {
			n, h := newHostNode(t, allHooks+peerConf(1))
			crashed := t.TempDir()
			h.on = func(step string) {
				if step == at {
					require.NoError(t, os.CopyFS(filepath.Join(crashed, "data"), os.DirFS(n.o.DataDir)))
				}
			}
			n.mustDo("POST", enablePath, nil)
			n.mustDo("POST", disablePath, nil)
			n.stop()
			h.on = nil
			_, err := h.Backend.Create(t.Context(), engine.Interface{Name: "wg0", PrivateKey: enginetest.PrivateKey(t)})
			require.NoError(t, err, "what was left of it")
			n.o.DataDir = filepath.Join(crashed, "data")
			n.start()
			require.Contains(t, n.logs.String(), "half made")
			names, err := h.Backend.Names(t.Context())
			require.NoError(t, err)
			require.Empty(t, names)
			n.mustDo("POST", enablePath, nil)
			require.Len(t, n.device("wg0").Peers, 1)
		})
	}
}

// shared is a backend whose devices others can write to.
type shared struct{ engine.Backend }

func (b shared) Attach(ctx context.Context, name string) (engine.Device, error) {
	d, err := b.Backend.Attach(ctx, name)
	if err != nil {
		return nil, err
	}
	return struct{ engine.Device }{d}, nil
}

// TestRemovalNeedsTwoReads: on a device that others can write to.
func TestRemovalNeedsTwoReads(t *testing.T) {
	fake := enginetest.NewFake()
	_, err := fake.Create(t.Context(), engine.Interface{Name: "wg0", PrivateKey: enginetest.PrivateKey(t)})
	require.NoError(t, err)
	n := newNode(t, func(o *Options) { o.Backend = shared{fake} })
	for i := range 5 {
		n.mustDo("POST", peersPath, peer(i))
	}
	d, err := fake.Device("wg0")
	require.NoError(t, err)
	want := n.device("wg0")
	ask := map[string]func() reply{
		"delete": func() reply { return n.do("DELETE", peersPath+"/"+key(4), nil) },
		"apply": func() reply {
			_, r := n.apply(map[string]any{"peers": peersOf(0, 1, 2, 3), "remove_unknown": true})
			return r
		},
		"syncconf": func() reply {
			return n.do("POST", "/v1/wg/wg0/syncconf", confBody(peerConf(0)+peerConf(1)+peerConf(2)+peerConf(3)))
		},
	}
	for name, do := range ask {
		reads := 0
		d.OnObserve(func(o *engine.Observation) error {
			if reads++; reads == 1 { // torn
				o.Peers = o.Peers[:len(o.Peers)-1]
				if name == "delete" {
					o.Peers = append(o.Peers, want.Peers[4])
					o.Peers = o.Peers[1:]
				}
			}
			return nil
		})
		r := do()
		d.OnObserve(nil)
		if r.status == 200 { // the torn read missed the very peer that was to go
			require.Equal(t, want, n.device("wg0"), name)
			continue
		}
		require.Equal(t, agent.CodePrecondition, r.code(t), "%s: %s", name, r.body)
		require.Contains(t, string(r.body), "two reads of wg0 in a row differ")
		require.Equal(t, want, n.device("wg0"), name)
	}
	n.mustDo("DELETE", peersPath+"/"+key(4), nil)
	require.Len(t, n.device("wg0").Peers, 4)
}

func TestSaveConfig(t *testing.T) {
	const named = "\n[Peer] # by name\nPublicKey = %\nEndpoint = vpn.example.com:51820\n"
	n, h := newHostNode(t, "SaveConfig = true # as in the office\nMTU = 1400\nListenPort = 1111\n"+peerConf(1)+peerConf(2)+
		strings.Replace(named, "%", key(3), 1))
	n.mustDo("POST", enablePath, nil)
	d := h.fakeOf(t)
	o, err := d.Observe(t.Context())
	require.NoError(t, err)
	changed := o.Interface
	changed.ListenPort, changed.FwMark, changed.MTU = 2222, 0x99, 1390
	changed.Addresses = []netip.Prefix{netip.MustParsePrefix("10.7.0.1/24"), netip.MustParsePrefix("10.8.0.1/24")}
	one, _ := engine.Lookup(o.Peers, enginetest.PeerKey(1))
	two, _ := engine.Lookup(o.Peers, enginetest.PeerKey(2))
	three, _ := engine.Lookup(o.Peers, enginetest.PeerKey(3))
	roamed, moved, added := one, three, engine.Peer{PublicKey: enginetest.PeerKey(4), PersistentKeepalive: 25}
	roamed.Endpoint, moved.Endpoint = netip.MustParseAddrPort("192.0.2.1:9"), netip.MustParseAddrPort("192.0.2.2:9")
	require.NoError(t, d.Write(engine.Changes{
		Interface: &engine.InterfaceChange{Before: o.Interface, After: changed},
		Peers:     []engine.PeerChange{{Before: &two}, {Before: &one, After: &roamed}, {Before: &three, After: &moved}, {After: &added}},
	}))
	n.mustDo("POST", disablePath, nil)
	conf := n.conf("wg0")
	for _, line := range []string{
		"# the office", "SaveConfig = true # as in the office", "MTU = 1390", "ListenPort = 2222", "FwMark = 0x99",
		"Address = 10.8.0.1/24, 10.7.0.1/24", key(1), "Endpoint = 192.0.2.1:9", "[Peer] # by name",
		"Endpoint = vpn.example.com:51820", key(4), "PersistentKeepalive = 25",
	} {
		require.Contains(t, conf, line)
	}
	require.NotContains(t, conf, key(2))
	info, err := os.Stat(filepath.Join(n.o.ConfDir, "wg0.conf"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	n.mustDo("POST", enablePath, nil)
	require.Equal(t, changed, n.device("wg0").Interface)
	require.NoError(t, h.fakeOf(t).Write(engine.Changes{Peers: []engine.PeerChange{{Before: &added}}}))
	n.stop()
	require.NotContains(t, n.conf("wg0"), key(4), "stopping saves as well")
}

// TestSaveConfigFails: the interface stays up, as with wg-quick(8), and a file that can't be read is
// nothing to write into.
func TestSaveConfigFails(t *testing.T) {
	failing := failingSync(t, func(path string) bool { return strings.Contains(path, "wg0.conf") })
	n, h := newHostNode(t, "SaveConfig = true\n")
	n.mustDo("POST", enablePath, nil)
	added := engine.Peer{PublicKey: enginetest.PeerKey(4)}
	require.NoError(t, h.fakeOf(t).Write(engine.Changes{Peers: []engine.PeerChange{{After: &added}}}))
	failing.Store(true)
	require.Equal(t, 500, n.do("POST", disablePath, nil).status)
	failing.Store(false)
	require.NotContains(t, n.conf("wg0"), key(4))
	require.Len(t, n.device("wg0").Peers, 1)

	n.edit("10.8.0.1/24", "not an address")
	conf := n.conf("wg0")
	n.mustDo("POST", disablePath, nil)
	require.Equal(t, conf, n.conf("wg0"))
	require.Contains(t, n.logs.String(), "the interface's file can't be read")
}
