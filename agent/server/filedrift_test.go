package server

import (
	"encoding/json"
	"fmt"
	"net/netip"
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

const filePath = "/v1/wg/wg0/file"

func (n *node) fileDrift() agent.FileDrift {
	n.t.Helper()
	var d agent.FileDrift
	n.mustDo("GET", filePath, nil).decode(n.t, &d)
	require.Equal(n.t, "wg0", d.Interface)
	require.NotNil(n.t, d.Drift)
	require.Equal(n.t, filepath.Join(n.o.ConfDir, "wg0.conf"), d.Path)
	d.Path = ""
	return d
}

// readable are the differences as one would read them.
func readable(t *testing.T, d agent.FileDrift) []string {
	t.Helper()
	out := make([]string, len(d.Drift))
	for i, m := range d.Drift {
		who := "interface"
		if m.Peer != nil {
			who = *m.Peer
		}
		values, err := json.Marshal([]any{m.File, m.Device})
		require.NoError(t, err)
		out[i] = who + " " + m.Field + " " + string(values)
	}
	require.Equal(t, len(out), d.Count)
	return out
}

// driftConf has everything that is compared.
func driftConf(key, psk string) string {
	return "# the office\n[Interface]\nAddress = 10.8.0.1/24\nPrivateKey = " + key + "\nListenPort = 5000\nMTU = 1380\nFwMark = 7\nDNS = 10.8.0.1, lan\nTable = off\nPostUp = echo up\n" +
		section(1, "PersistentKeepalive = 5\n") + section(2, "PresharedKey = "+psk+"\n")
}

func TestFileDrift(t *testing.T) {
	private, psk, other := secretText(enginetest.PrivateKey(t)), secretText(enginetest.PresharedKey(t)), secretText(enginetest.PrivateKey(t))
	conf := driftConf(private, psk)
	ip := func(n int) string { return `["` + enginetest.PeerIP(n).String() + `/32"]` }
	for name, c := range map[string]struct {
		old, new string // in the file
		want     []string
	}{
		"nothing":      {"# the office", "# another office", nil},
		"port":         {"ListenPort = 5000", "ListenPort = 5001", []string{"interface listen_port [5001,5000]"}},
		"any port":     {"ListenPort = 5000\n", "", nil},
		"mtu":          {"MTU = 1380", "MTU = 1280", []string{"interface mtu [1280,1380]"}},
		"any mtu":      {"MTU = 1380\n", "", nil},
		"fwmark":       {"FwMark = 7", "FwMark = 8", []string{"interface fwmark [8,7]"}},
		"any fwmark":   {"FwMark = 7\n", "", nil},
		"addresses":    {"10.8.0.1/24", "10.8.0.1/24, fd00::1/64", []string{`interface addresses [["10.8.0.1/24","fd00::1/64"],["10.8.0.1/24"]]`}},
		"same address": {"10.8.0.1/24", "10.8.0.1/24, 10.8.0.1/24", nil},
		"dns":          {"DNS = 10.8.0.1, lan", "DNS = 10.8.0.2", []string{`interface dns ["10.8.0.2","10.8.0.1, lan"]`}},
		"table":        {"Table = off\n", "", []string{`interface table ["auto","off"]`}},
		"hooks": {"PostUp = echo up", "PostUp = echo " + other, []string{
			`interface hooks [{"post_down":[],"post_up":["echo (hidden)"],"pre_down":[],"pre_up":[]},{"post_down":[],"post_up":["echo up"],"pre_down":[],"pre_up":[]}]`,
		}},
		"key":           {private, other, []string{"public_key"}},
		"keepalive":     {"PersistentKeepalive = 5", "PersistentKeepalive = 6", []string{key(1) + " persistent_keepalive [6,5]"}},
		"other psk":     {psk, other, []string{key(2) + ` preshared_key ["set","different"]`}},
		"no psk":        {"PresharedKey = " + psk + "\n", "", []string{key(2) + ` preshared_key ["unset","set"]`}},
		"new psk":       {"PersistentKeepalive = 5\n", "PersistentKeepalive = 5\nPresharedKey = " + other + "\n", []string{key(1) + ` preshared_key ["set","unset"]`}},
		"allowed IPs":   {enginetest.PeerIP(1).String() + "/32", "10.99.0.0/16", []string{key(1) + ` allowed_ips [["10.99.0.0/16"],` + ip(1) + `]`}},
		"only in file":  {"\n[Peer]\nPublicKey = " + key(1), section(3, "") + "\n[Peer]\nPublicKey = " + key(1), []string{key(3) + " unknown [" + ip(3) + ",null]"}},
		"not in file":   {section(1, "PersistentKeepalive = 5\n"), "", []string{key(1) + " missing [null," + ip(1) + "]"}},
		"an endpoint":   {"PersistentKeepalive = 5\n", "PersistentKeepalive = 5\nEndpoint = 192.0.2.1:7\n", nil},
		"forward":       {"[Interface]\n", "[Interface]\n# wgfleet: forward\n", []string{`interface forward [["any"],null]`}},
		"a broken file": {"MTU = 1380", "MTU = many", []string{"MTU"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", conf) })
			d := n.fileDrift()
			require.Equal(t, agent.FileDrift{Interface: "wg0", Present: true, Drift: []agent.FileMismatch{}}, d, "as it came up")
			require.Contains(t, conf, c.old)
			writeConf(t, &n.o, "wg0", strings.Replace(conf, c.old, c.new, 1))
			d = n.fileDrift()
			require.True(t, d.Present)
			require.True(t, d.Speaks, "a person edited it")
			got := readable(t, d)
			require.Len(t, got, len(c.want), "%v", got)
			for i := range got {
				require.Contains(t, got[i], c.want[i])
			}
			for _, secret := range []string{private, psk, other} {
				require.NotContains(t, n.answers.String(), secret)
			}
		})
	}
}

// TestFileDriftOfTheDevice: whoever changed it; what the agent itself writes is in the file.
func TestFileDriftOfTheDevice(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", peersPath, peer(1))
	n.mustDo("PUT", configPath, map[string]any{"listen_port": 1234, "dns": "10.0.0.1"})
	require.Empty(t, n.fileDrift().Drift)
	before, _ := engine.Lookup(n.device("wg0").Peers, enginetest.PeerKey(1))
	after := before
	after.PersistentKeepalive = 9
	require.NoError(t, n.fake().Write(engine.Changes{Peers: []engine.PeerChange{{Before: &before, After: &after}}}))
	require.Equal(t, []string{key(1) + " persistent_keepalive [0,9]"}, readable(t, n.fileDrift()))
	require.False(t, n.fileDrift().Speaks, "the last good state comes back")
}

// TestFileThatIsGone: the interface would stay down, unless it never had a file.
func TestFileThatIsGone(t *testing.T) {
	n := newNode(t, withConf(t))
	require.NoError(t, os.Remove(filepath.Join(n.o.ConfDir, "wg0.conf")))
	d := n.fileDrift()
	require.False(t, d.Present)
	require.True(t, d.Speaks)
	require.Equal(t, []string{`interface file ["missing","up"]`}, readable(t, d))

	n = newNode(t, func(o *Options) {
		_, err := o.Backend.Create(t.Context(), engine.Interface{Name: "wg0", PrivateKey: enginetest.PrivateKey(t)})
		require.NoError(t, err)
	})
	require.Equal(t, agent.FileDrift{Interface: "wg0", Drift: []agent.FileMismatch{}}, n.fileDrift())
}

func TestFileDriftOfAnInterfaceThatIsDown(t *testing.T) {
	n := newNode(t, withConf(t))
	n.mustDo("POST", "/v1/wg/wg0/disable", nil)
	require.Equal(t, agent.CodeInterfaceDown, n.do("GET", filePath, nil).code(t))
	require.Equal(t, agent.CodeUnknownInterface, n.do("GET", "/v1/wg/wg9/file", nil).code(t))
	require.Equal(t, 405, n.do("POST", filePath, nil).status)
	r := n.request("GET", filePath, nil)
	require.Equal(t, 401, n.send(r).status)
}

// TestLaggingFileIsNoDrift: what the file does not hold yet would come up all the same.
func TestLaggingFileIsNoDrift(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", bigConf(t, 1200)) })
	release, err := n.server.slotFor("wg0").hold(t.Context())
	require.NoError(t, err)
	require.Equal(t, agent.CodeBusy, n.do("GET", filePath, nil).code(t), "it does not wait for long")
	release()
	n.mustDo("POST", peersPath, peer(5000))
	n.mustDo("DELETE", peersPath+"/"+key(7), nil)
	require.Empty(t, n.fileDrift().Drift)
	require.NotContains(t, n.conf("wg0"), key(5000))
}

// TestFileDriftIsBounded, and all of it is counted.
func TestFileDriftIsBounded(t *testing.T) {
	n := newNode(t, func(o *Options) { writeConf(t, o, "wg0", bigConf(t, 1500)) })
	bare, _, _ := strings.Cut(n.conf("wg0"), "\n[Peer]")
	writeConf(t, &n.o, "wg0", bare)
	d := n.fileDrift()
	require.Len(t, d.Drift, agent.MaxFileDrift)
	require.Equal(t, 1500, d.Count)
}

// TestFileIsComparedOnce: while neither file nor device changes.
func TestFileIsComparedOnce(t *testing.T) {
	n := newNode(t, withConf(t))
	path := filepath.Join(n.o.ConfDir, "wg0.conf")
	old := time.Now().Add(-time.Hour)
	stamp := func() { require.NoError(t, os.Chtimes(path, old, old)) }
	stamp()
	require.Empty(t, n.fileDrift().Drift)
	changed := strings.Replace(n.conf("wg0"), "10.8.0.1/24", "10.8.0.2/24", 1)
	writeConf(t, &n.o, "wg0", changed)
	stamp()
	require.Empty(t, n.fileDrift().Drift, "nobody can see that it changed")
	old = old.Add(time.Second)
	stamp()
	require.Len(t, n.fileDrift().Drift, 1, "its time changed")
	require.NoError(t, n.fake().Write(engine.Changes{Peers: []engine.PeerChange{{After: &engine.Peer{
		PublicKey: enginetest.PeerKey(1), AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
	}}}}))
	require.Len(t, n.fileDrift().Drift, 2, "the device changed, so the file is read")
	writeConf(t, &n.o, "wg0", changed+section(1, ""))
	require.Len(t, n.fileDrift().Drift, 2, "the address, and allowed IPs")
}

// BenchmarkFileDrift of an interface that is as its file says, looked at again and again.
func BenchmarkFileDrift(b *testing.B) {
	for _, peers := range []int{10, 10_000} {
		b.Run(fmt.Sprint(peers), func(b *testing.B) {
			n := newNode(b, func(o *Options) { writeConf(b, o, "wg0", bigConf(b, peers)) })
			old := time.Now().Add(-time.Hour)
			require.NoError(b, os.Chtimes(filepath.Join(n.o.ConfDir, "wg0.conf"), old, old))
			for b.Loop() {
				if d := n.fileDrift(); d.Count != 0 {
					b.Fatal(d)
				}
			}
		})
	}
}
