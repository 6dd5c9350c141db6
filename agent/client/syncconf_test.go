package client

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

// TestAgentClientSyncconf speaks to the agent itself: what it answers is what its interface is then.
func TestAgentClientSyncconf(t *testing.T) {
	conf := t.TempDir()
	text := "[Interface]\nPrivateKey = " + wgtypes.Key{8, 31: 0x40}.String() + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(conf, "wg0.conf"), []byte(text), 0o600))
	s, err := server.New(server.Options{Backend: enginetest.NewFake(), ConfDir: conf, DataDir: t.TempDir(), Secret: secret, Version: "test"})
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	defer func() { require.NoError(t, s.Close(t.Context(), true)) }()
	h := httptest.NewServer(s.Handler())
	defer h.Close()
	c, err := New(Options{BaseURL: h.URL, Secret: secret})
	require.NoError(t, err)
	defer c.Close()

	dump := func() Snapshot {
		t.Helper()
		seen, err := c.Dump(t.Context(), "wg0", Query{})
		require.NoError(t, err)
		return seen
	}
	section := func(n byte, rest string) string { return "[Peer]\nPublicKey = " + keyText(n) + "\n" + rest }
	sync := func(conf string, w Write) agent.Synced {
		t.Helper()
		done, err := c.SyncConf(t.Context(), "wg0", []byte(conf), false, w)
		require.NoError(t, err)
		require.Equal(t, dump().Digest, done.Digest, "the digest is that of the interface after")
		return done
	}
	psk := keyText(7)
	first := sync(section(1, "AllowedIPs = 10.8.0.1/32\n")+section(2, "PresharedKey = "+psk+"\n")+section(3, ""), Write{})
	require.ElementsMatch(t, []string{keyText(1), keyText(2), keyText(3)}, first.Added)
	require.Empty(t, first.Removed)

	second := sync(section(1, "AllowedIPs = 10.8.0.1/32\n")+section(2, "PersistentKeepalive = 25\n")+section(4, ""), Write{IfMatch: first.Digest})
	require.Equal(t, []string{keyText(4)}, second.Added)
	require.Equal(t, []string{keyText(2)}, second.Updated)
	require.Equal(t, []string{keyText(3)}, second.Removed)
	require.Equal(t, []string{keyText(1)}, second.Unchanged)
	require.NotEqual(t, first.Digest, second.Digest)
	require.True(t, slices.ContainsFunc(dump().Peers, func(p Peer) bool {
		return p.PublicKey == wgtypes.Key{2, 1} && p.PersistentKeepalive == 25 && p.PresharedKey.IsZero()
	}), "it is on the interface")

	_, err = c.SyncConf(t.Context(), "wg0", nil, false, Write{})
	require.Equal(t, agent.CodeEmpty, isKind(t, err, Refused).Agent.Code)
	require.Len(t, dump().Peers, 3)
	done, err := c.SyncConf(t.Context(), "wg0", nil, true, Write{})
	require.NoError(t, err)
	require.Len(t, done.Removed, 3)
	require.Equal(t, engine.Digest(nil, engine.MACKey{}), done.Digest)
	require.Empty(t, dump().Peers)
}
