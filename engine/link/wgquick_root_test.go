//go:build root

package link_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/link"
	"github.com/wgfleet/wgfleet/engine/userspace"
	"github.com/wgfleet/wgfleet/engine/wgquick"
)

const quickInterface = "[Interface]\nPrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"

const quickPeer = "[Peer]\nPublicKey = xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=\nEndpoint = 192.168.5.9:51820\n"

// quickFiles are what is brought up once by wg-quick(8) and once by us.
var quickFiles = map[string]string{
	"all traffic": "Address = 10.8.0.5/24, 10.8.0.1/24, fd00:8::1/64\nAddress = 10.7.0.1\n" +
		quickPeer + "AllowedIPs = 0.0.0.0/0, ::/0, 10.8.0.7/32, 10.9.0.0/16\n",
	"all of IPv6":           "Address = 10.8.0.1/24, fd00:8::1/64\nTable = auto\n" + quickPeer + "AllowedIPs = ::/0, 10.9.0.0/16\n",
	"all traffic, own mark": "Address = 10.8.0.1/24\nFwMark = 0x77\n" + quickPeer + "AllowedIPs = 0.0.0.0/0\n",
	"site to site":          "Address = 10.8.0.1/24, fd00:8::1/64\nMTU = 1300\n" + quickPeer + "AllowedIPs = 10.8.0.2, 10.9.0.0/16, 10.9.7.0/24, fd00:9::/48\n",
	"a table":               "Address = 10.8.0.1/24\nTable = 1234\n" + quickPeer + "AllowedIPs = 0.0.0.0/0, ::/0, 10.8.0.2/32\n",
	"off":                   "Address = 10.8.0.1/24\nTable = off\n" + quickPeer + "AllowedIPs = 0.0.0.0/0, 10.9.0.0/16\n",
}

// quick has wg-quick(8) and a wireguard-go that we did not write.
type quick struct{ program, file string }

func newQuick(t *testing.T) quick {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "wireguard-go")
	command(t, "go", "build", "-o", program, "golang.zx2c4.com/wireguard")
	return quick{program, filepath.Join(dir, "wgq0.conf")}
}

func (q quick) run(t *testing.T, verb string) {
	t.Helper()
	cmd := exec.Command("wg-quick", verb, q.file)
	cmd.Env = append(os.Environ(), "WG_QUICK_USERSPACE_IMPLEMENTATION="+q.program, "LOG_LEVEL=silent")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// ours is an interface that we brought up from a file.
type ours struct {
	host   *link.Host
	device engine.Device
	conf   link.Config
}

func upFrom(t *testing.T, text string) ours {
	t.Helper()
	file, err := wgquick.Parse([]byte(text))
	require.NoError(t, err)
	i, err := file.Interface()
	require.NoError(t, err)
	peers, err := file.Peers()
	require.NoError(t, err)
	o := ours{host: link.NewHost(link.Options{}), conf: link.Config{
		Interface: "wgq0", Addresses: i.Addresses, Table: i.Table, AllowedIPs: peers[0].AllowedIPs,
	}}
	if i.FwMark != nil {
		o.conf.FwMark = *i.FwMark
	}
	choice, err := o.host.Choose(t.Context(), o.conf, []netip.AddrPort{netip.MustParseAddrPort(peers[0].Endpoint)})
	require.NoError(t, err)
	if i.MTU != nil {
		choice.MTU = *i.MTU
	}
	o.conf.FwMark = choice.FwMark
	o.device, err = userspace.NewTUN(userspace.Options{}).Create(t.Context(), engine.Interface{
		Name: "wgq0", PrivateKey: i.PrivateKey, Addresses: i.Addresses, MTU: choice.MTU, FwMark: choice.FwMark,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = o.device.Close(t.Context()) })
	peer := peers[0].Engine()
	require.NoError(t, o.device.Configure(t.Context(), engine.Changes{Peers: []engine.PeerChange{{After: &peer}}}))
	require.NoError(t, o.host.Up(t.Context(), o.conf))
	return o
}

func (o ours) down(t *testing.T) {
	t.Helper()
	require.NoError(t, o.host.Down(t.Context(), o.conf))
	require.NoError(t, o.device.Close(t.Context()))
}

// The two leave the same, and each can take down what the other brought up.
func TestAsWgQuick(t *testing.T) {
	q := newQuick(t)
	for name, text := range quickFiles {
		t.Run(name, func(t *testing.T) {
			newNet(t)
			text = quickInterface + text
			require.NoError(t, os.WriteFile(q.file, []byte(text), 0o600))
			before := look(t)

			q.run(t, "up")
			theirs := look(t)
			before["src_valid_mark"] = theirs["src_valid_mark"] // none of the two takes it back
			q.run(t, "down")
			require.Equal(t, before, look(t), "wg-quick leaves nothing")
			o := upFrom(t, text)
			require.Equal(t, withoutIndex(theirs), withoutIndex(look(t)))
			o.down(t)
			require.Equal(t, before, look(t))

			q.run(t, "up")
			require.NoError(t, o.host.Down(t.Context(), o.conf))
			require.NoError(t, link.Delete("wgq0"))
			require.Equal(t, before, look(t), "we took down what wg-quick brought up")

			upFrom(t, text)
			q.run(t, "down")
			require.Equal(t, before, look(t), "wg-quick took down what we brought up")
		})
	}
}

// withoutIndex is s without the numbers that the kernel counts up.
func withoutIndex(s snapshot) snapshot {
	for _, l := range s["-d -j addr"].([]any) {
		delete(l.(map[string]any), "ifindex")
	}
	return s
}
