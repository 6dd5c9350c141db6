package server

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
)

// before puts the host into the state that the recorder had before an exchange. It returns false
// where the state is what the exchange before left.
func (w *world) before(name string) bool {
	group, rest, _ := strings.Cut(name, ".")
	switch group {
	case "syncconf":
		return w.beforeSyncconf(rest)
	case "config":
		return w.beforeConfig(rest)
	case "disable":
		return w.beforeDisable(rest)
	case "add":
		return w.beforeAdd(rest)
	}
	k1, k2 := plain("k1"), plain("k2")
	switch name {
	case "auth.ok", "route.dump_HEAD":
		w.reset(baseConf, true)
		w.add("wg0", k1, "10.8.0.2/32")
	case "health.ok", "dump.no_peers":
		w.reset(baseConf, true)
	case "metrics.two_peers":
		w.add("wg0", k1, "10.8.0.2/32")
		w.add("wg0", k2, "10.8.0.3/32", keepalive(25))
	case "metrics.two_interfaces_handshake":
		w.handshake()
	case "metrics.duplicate_key_prefix":
		w.add("wg0", "DUPLICATEPREFIX0"+recordedPeer("dupa")[16:], "10.8.0.50/32")
		w.add("wg0", "DUPLICATEPREFIX0"+recordedPeer("dupb")[16:], "10.8.0.51/32")
	case "metrics.no_interfaces":
		w.reset(baseConf, false)
	case "dump.all_kinds":
		w.add("wg0", k1, "10.8.0.2/32")
		w.add("wg0", k2, "10.8.0.3/32,fd00:8::3/128,192.168.77.0/24", keepalive(25), endpoint("192.0.2.9:51000"))
		w.add("wg0", plain("k3"), "")
		w.add("wg0", pick("slash", "/", "+"), "10.8.0.4/32", endpoint("[2001:db8::1]:51000"))
		w.add("wg0", pick("plus", "+", "/"), "0.0.0.0/0,::/0")
		w.add("wg0", plain("kpsk"), "10.8.0.6/32", preshared(w.t, recordedPeer("psk-1")))
	default:
		return false
	}
	w.refresh()
	return true
}

// refresh lets no text of the metrics be older than the exchange.
func (w *world) refresh() { w.node.server.scrape.at = time.Time{} }

// handshake makes a second interface that shakes hands with the first one.
func (w *world) handshake() {
	sum := sha256.Sum256([]byte("contract-node-wg1"))
	private, err := engine.ParseSecretKey(base64.StdEncoding.EncodeToString(sum[:]))
	require.NoError(w.t, err)
	_, err = w.node.o.Backend.Create(w.t.Context(), engine.Interface{
		Name: "wg1", PrivateKey: private, ListenPort: 51821, Addresses: prefixes(w.t, "10.9.0.1/24"),
	})
	require.NoError(w.t, err)
	base, err := engine.ParseSecretKey(recordedKey)
	require.NoError(w.t, err)
	psk := preshared(w.t, recordedPeer("psk-1"))
	w.add("wg0", private.PublicKey().String(), "10.9.0.0/24", psk)
	w.add("wg1", base.PublicKey().String(), "10.8.0.0/24", psk, endpoint("127.0.0.1:51820"), keepalive(1))
	require.Eventually(w.t, func() bool {
		for _, name := range []string{"wg0", "wg1"} {
			o, err := w.device(name).Observe(w.t.Context())
			require.NoError(w.t, err)
			met := false
			for _, s := range o.Stats {
				met = met || !s.LastHandshake.IsZero() && s.RxBytes > 0
			}
			if !met {
				return false
			}
		}
		return true
	}, 20*time.Second, 10*time.Millisecond)
	w.setClock(time.Now()) // handshakes have the device's time
}

const richConf = `# top comment
[Interface]
# my comment
Address = 10.8.0.1/24, fd00:8::1/64
ListenPort = 51820
PrivateKey = ` + recordedKey + `
DNS = 10.8.0.53
MTU = 1380
Table = off
FwMark = 0x1234
PreUp = true
PostUp = true one
PostUp = true two
PreDown = true three
PostDown = true four

# Alice's laptop
[Peer]
PublicKey = ALICE
AllowedIPs = 10.8.0.9/32
# office
[peer]
publickey = OFFICE
allowedips = 10.8.0.10/32
Endpoint = 192.0.2.7:51820
`

func (w *world) beforeAdd(name string) bool {
	switch name {
	case "minimal", "ips_1000", "body_1mb_unknown_field":
		w.reset(baseConf, true)
	case "conf_file_missing":
		w.reset(baseConf, true)
		w.removeConf()
	case "saveconfig_true":
		w.reset(baseConf+"SaveConfig = true\n", true)
	case "rich_conf_save_loses":
		w.reset(strings.NewReplacer("ALICE", recordedPeer("alice"), "OFFICE", recordedPeer("office")).Replace(richConf), true)
	default:
		return false
	}
	return true
}

func (w *world) beforeSyncconf(name string) bool {
	k1 := plain("k1")
	switch name {
	case "unknown_interface", "iface_dotdot", "1000_peers_again":
		return false
	case "interface_down":
		w.reset(baseConf, false)
		return true
	case "conf_missing":
		w.reset(baseConf, true)
		w.removeConf()
		return true
	case "psk_dropped", "psk_changed":
		w.savedPeer("PublicKey = "+k1, "AllowedIPs = 10.8.0.2/32", "PersistentKeepalive = 25", "PresharedKey = "+recordedPeer("psk-1"))
	case "endpoint_dropped":
		w.savedPeer("PublicKey = "+k1, "AllowedIPs = 10.8.0.2/32", "PersistentKeepalive = 25", "Endpoint = 192.0.2.1:9")
	case "ips_swapped_between_peers":
		w.savedPeer("PublicKey = "+k1, "AllowedIPs = 10.8.0.2/32", "PersistentKeepalive = 25")
		w.savedPeer("PublicKey = "+plain("k2"), "AllowedIPs = 10.8.0.3/32")
	default:
		w.savedPeer("PublicKey = "+k1, "AllowedIPs = 10.8.0.2/32", "PersistentKeepalive = 25")
	}
	w.reset(baseConf, true)
	return true
}

// getFiles are the files that the recorder wrote before its GETs.
func getFiles() map[string]string {
	base := baseConf
	return map[string]string{
		"get_rich": strings.Replace(base, "# node", "# a\n# node", 1) + "PostUp = second\nPostDown = x\nPreUp = y\nDNS = 1.1.1.1, 8.8.8.8\nMTU = 1400\nTable = off\nFwMark = 0x1\nSaveConfig = true\n\n[Peer]\n# name\nPublicKey = " +
			plain("k1") + "\nAllowedIPs = 10.8.0.2/32\n",
		"get_two_addresses":       strings.Replace(base, "Address = 10.8.0.1/24", "Address = 10.8.0.1/24\nAddress = fd00:8::1/64", 1),
		"get_inline_comment_port": strings.Replace(base, "51820", "51820 # main", 1),
		"get_bad_mtu":             base + "MTU = auto\n", "get_empty_file": "", "get_no_interface_section": "PrivateKey = x\n",
		"get_lowercase": strings.ReplaceAll(strings.ToLower(base), strings.ToLower(recordedKey), recordedKey),
		"get_crlf":      strings.ReplaceAll(base, "\n", "\r\n"), "get_nonutf8": base + "# \xff\n",
		"get_hash_comment_lines": base + "#ListenPort = 1\n;MTU = 5\n", "get_key_with_equals": base + "PostUp = iptables -A X --set a=b\n",
		"get_spaces_in_section": strings.Replace(base, "[Interface]", "[ Interface ]", 1),
	}
}

func (w *world) beforeConfig(name string) bool {
	k1, k2 := plain("k1"), plain("k2")
	if text, is := getFiles()[name]; is {
		w.writeConf(text)
		return true
	}
	switch {
	case name == "get", name == "get_after_link_local":
		w.reset(baseConf, true)
	case strings.HasPrefix(name, "get_"):
		return false
	case name == "put_no_conf_file_but_up":
		w.reset(baseConf, true)
		w.add("wg0", k1, "10.8.0.2/32")
		w.removeConf()
	case name == "put_no_conf_file_bad_key":
		w.reset(baseConf, true)
		w.removeConf()
	case strings.HasPrefix(name, "put_iface_"):
		w.reset(baseConf, true)
	case name == "put_interface_down":
		w.reset(baseConf, false)
	case name == "put_rich_old_conf":
		w.reset(baseConf+"PostUp = touch /tmp/postup-second\nPostDown = touch /tmp/postdown-old\nSaveConfig = true\n# comment\n\n# Alice\n[Peer]\nPublicKey = "+
			plain("k3")+"\nAllowedIPs = 10.8.0.30/32\n\n[peer]\nPublicKey = "+plain("k4")+"\nAllowedIPs = 10.8.0.40/32\n", true)
	default:
		w.savedPeer("PublicKey = "+k1, "AllowedIPs = 10.8.0.2/32")
		w.reset(baseConf, true)
		w.add("wg0", k2, "10.8.0.3/32")
	}
	return true
}

func (w *world) beforeDisable(name string) bool {
	switch name {
	case "ok":
		w.reset(baseConf, true)
		w.add("wg0", plain("k1"), "10.8.0.2/32")
	case "failing_pre_down":
		w.reset(baseConf+"PreDown = false\n", true)
	case "failing_post_down":
		w.reset(baseConf+"PostDown = false\n", true)
	case "up_without_conf":
		w.reset(baseConf, true)
		w.removeConf()
	case "saveconfig":
		w.reset(baseConf+"SaveConfig = true\n", true)
		w.add("wg0", plain("k1"), "10.8.0.2/32")
	default:
		return false
	}
	return true
}

// bigBody makes the bodies of which the recordings hold only the hash.
func bigBody(t testing.TB, name string) []byte {
	ok := `"public_key": "` + plain("k1") + `", "allowed_ips": ["10.8.0.2/32"]`
	switch name {
	case "add.body_deep_nesting":
		return []byte(strings.Repeat("[", 100000))
	case "add.body_1mb_unknown_field":
		return []byte("{" + ok + `, "junk": "` + strings.Repeat("x", 1000000) + `"}`)
	case "add.body_50mb_unknown_field":
		return []byte("{" + ok + `, "junk": "` + strings.Repeat("x", 50000000) + `"}`)
	case "add.body_50mb_bad_signature":
		return []byte(strings.Repeat("x", 50000000))
	case "add.ips_20000":
		var b strings.Builder
		for i := range 20000 {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(`"` + manyIP(i) + `"`)
		}
		return []byte(`{"public_key": "` + plain("k2") + `", "allowed_ips": [` + b.String() + "]}")
	case "syncconf.1000_peers", "syncconf.1000_peers_again":
		return []byte(`{"config": "` + base64.StdEncoding.EncodeToString([]byte(thousandPeers())) + `"}`)
	}
	require.Fail(t, "no body for "+name)
	return nil
}

func manyIP(i int) string {
	return "10." + strconv.Itoa(20+i/65536) + "." + strconv.Itoa((i/256)%256) + "." + strconv.Itoa(i%256) + "/32"
}

func thousandPeers() string {
	var b strings.Builder
	b.WriteString("[Interface]\nPrivateKey = " + recordedKey + "\nListenPort = 51820\n\n")
	for i := range 1000 {
		b.WriteString("[Peer]\nPublicKey = " + recordedPeer("b"+strconv.Itoa(i)) + "\nAllowedIPs = 10.30." + strconv.Itoa(i/256) + "." + strconv.Itoa(i%256) + "/32\n\n")
	}
	return b.String()
}
