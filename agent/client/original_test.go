package client

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client/originaltest"
	"github.com/wgfleet/wgfleet/engine"
)

// The agent is lost half-way, or when it is asked what came of it: what it did is told.
func TestOriginalIsLost(t *testing.T) {
	for lost, want := range map[string][]string{"/peers": {keyText(1)}, "/dump": {keyText(1), keyText(2)}} {
		old := originaltest.New(secret, engine.NewSecretKey(wgtypes.Key{8}).Clamped())
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if old.Writes() >= len(want) && strings.HasSuffix(r.URL.Path, lost) {
				panic(http.ErrAbortHandler)
			}
			old.ServeHTTP(w, r)
		}))
		defer server.Close()
		c, err := New(Options{BaseURL: server.URL, Secret: secret})
		require.NoError(t, err)
		defer c.Close()
		changes := []agent.Change{
			{Op: agent.OpPut, PeerBody: agent.PeerBody{PublicKey: keyText(1)}}, {Op: agent.OpPut, PeerBody: agent.PeerBody{PublicKey: keyText(2)}},
		}
		done, err := c.Apply(t.Context(), "wg0", agent.Apply{Changes: &changes}, Write{})
		isKind(t, err, Unreachable)
		require.Equal(t, want, done.Added)
		require.Empty(t, done.After)
	}
}

// The original's gaps: what can be done is done, and what can't is said.
func TestOriginalDialect(t *testing.T) {
	old := originaltest.New(secret, engine.NewSecretKey(wgtypes.Key{8}).Clamped())
	server := httptest.NewServer(old)
	defer server.Close()
	c, err := New(Options{BaseURL: server.URL, Secret: secret})
	require.NoError(t, err)
	defer c.Close()
	plain, slash := wgtypes.Key{1}.String(), wgtypes.Key{0xff, 0xff, 0xff}.String()
	psk := keyText(7)
	apply := func(changes ...agent.Change) agent.Applied {
		t.Helper()
		done, err := c.Apply(t.Context(), "wg0", agent.Apply{Changes: &changes}, Write{})
		require.NoError(t, err)
		return done
	}
	put := func(key string, ips []string, psk string, keepalive int) agent.Change {
		return agent.Change{Op: agent.OpPut, PeerBody: agent.PeerBody{PublicKey: key, AllowedIPs: &ips, PresharedKey: &psk, PersistentKeepalive: &keepalive}}
	}
	done := apply(put(plain, []string{"10.0.0.1/32"}, psk, 25), put(slash, []string{"10.0.0.2/32"}, psk, 25))
	require.ElementsMatch(t, []string{plain, slash}, done.Added)
	require.True(t, c.Original())
	writes := old.Writes()
	require.Len(t, apply(put(plain, []string{"10.0.0.1/32"}, psk, 25)).Unchanged, 1)
	require.Equal(t, writes, old.Writes())

	require.Len(t, apply(put(plain, []string{}, psk, 0)).Updated, 1)
	require.Equal(t, originaltest.Peer{AllowedIPs: []string{}, PresharedKey: psk}, old.Peers()[plain])
	require.Len(t, apply(put(plain, []string{"10.0.0.3/32"}, "", 7)).Updated, 1)
	require.Equal(t, originaltest.Peer{AllowedIPs: []string{"10.0.0.3/32"}, Keepalive: 7}, old.Peers()[plain])
	require.Len(t, apply(put(slash, []string{}, keyText(9), 26)).Updated, 1)
	require.Equal(t, originaltest.Peer{AllowedIPs: []string{}, Keepalive: 26, PresharedKey: keyText(9)}, old.Peers()[slash])

	for _, change := range []agent.Change{
		put(slash, []string{}, keyText(9), 0), put(slash, []string{}, "", 26), {Op: agent.OpRemove, PeerBody: agent.PeerBody{PublicKey: slash}},
	} {
		done := apply(change, put(plain, []string{"10.0.0.4/32"}, "", 7))
		require.Len(t, done.Failed, 1)
		require.Contains(t, done.Failed[0].Error, "slash")
	}
	require.Equal(t, originaltest.Peer{AllowedIPs: []string{"10.0.0.4/32"}, Keepalive: 7}, old.Peers()[plain])
	require.Len(t, apply(agent.Change{Op: agent.OpRemove, PeerBody: agent.PeerBody{PublicKey: plain}}).Removed, 1)

	_, err = c.Apply(t.Context(), "wg0", agent.Apply{Changes: &[]agent.Change{}}, Write{IfMatch: "old"})
	require.Equal(t, agent.CodePrecondition, isKind(t, err, Refused).Agent.Code)
	_, err = c.Apply(t.Context(), "wg0", agent.Apply{Peers: &[]agent.PeerBody{}}, Write{})
	isKind(t, err, Unsupported)
	_, err = c.Interfaces(t.Context())
	isKind(t, err, Unsupported)
	_, err = c.Dump(t.Context(), "wg9", Query{})
	isKind(t, err, Refused)
	i, err := c.Interface(t.Context(), "wg0")
	require.NoError(t, err)
	require.Equal(t, []string{"10.8.0.1/24", "fd00:8::1/64"}, i.Addresses)
	wrong, err := New(Options{BaseURL: server.URL, Secret: "another"})
	require.NoError(t, err)
	defer wrong.Close()
	_, err = wrong.Dump(t.Context(), "wg0", Query{})
	isKind(t, err, Unauthorized)
	late, err := New(Options{BaseURL: server.URL, Secret: secret, Now: func() time.Time { return time.Now().Add(time.Hour) }})
	require.NoError(t, err)
	defer late.Close()
	_, err = late.Dump(t.Context(), "wg0", Query{})
	require.InDelta(t, -time.Hour.Seconds(), isKind(t, err, ClockOff).Skew.Seconds(), 5)
}
