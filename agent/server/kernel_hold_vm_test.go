//go:build vm

package server

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine/kernel"
	"github.com/wgfleet/wgfleet/engine/link"
)

// TestKernelHold: what another program does to a link of the kernel ends a wait within 5 s.
func TestKernelHold(t *testing.T) {
	n := newNode(t, func(o *Options) {
		writeConf(t, o, "wg0", basicConf(t))
		o.Backend, o.Up = kernel.New(), []string{UpAll}
		o.Network = link.NewHost(link.Options{RunDir: t.TempDir(), ResolvConf: filepath.Join(t.TempDir(), "resolv.conf")})
	})
	others, err := wgctrl.New()
	require.NoError(t, err)
	defer others.Close()
	wg0, err := netlink.LinkByName("wg0")
	require.NoError(t, err)
	hold := func(change func() error) reply {
		t.Helper()
		out := make(chan reply, 1)
		before, tag := n.polls(), n.tag()
		go func() {
			out <- n.do("GET", dumpPath, nil, header("If-None-Match", tag), header("Prefer", "wait=60"))
		}()
		require.Eventually(t, func() bool { return n.polls() > before }, 20*time.Second, time.Millisecond)
		began := time.Now()
		require.NoError(t, change())
		r := <-out
		require.Less(t, time.Since(began), 5*time.Second)
		return r
	}
	r := hold(func() error {
		return others.ConfigureDevice("wg0", wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: wgtypes.Key{1}}}})
	})
	require.Equal(t, 200, r.status)
	was := r.header.Get(agent.HeaderInterfaceDigest)
	r = hold(func() error { return netlink.LinkSetMTU(wg0, 1300) })
	require.Equal(t, 304, r.status)
	require.NotEqual(t, was, r.header.Get(agent.HeaderInterfaceDigest))
	require.Equal(t, agent.CodeInterfaceDown, hold(func() error { return netlink.LinkDel(wg0) }).code(t))
}
