package panel

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/panel/policy"
)

// full fails where a field is not set: a field that a record forgets must show.
func full(t *testing.T, v any) {
	t.Helper()
	r := reflect.ValueOf(v)
	for i := range r.NumField() {
		require.False(t, r.Field(i).IsZero(), "%s.%s", r.Type(), r.Type().Field(i).Name)
	}
}

func TestRecordsForgetNothing(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000).UTC()
	n := Node{
		ID: "id", Name: "n", AgentURL: "u", Secret: "s", WGInterface: "wg0", Endpoint: "e", IPPools: prefixesOf("10.0.0.0/8"), Enabled: true,
		Weight: 1, MaxPeers: 2, Overrides: Overrides{ListenPort: new(0), DNS: new(""), MTU: new(0), Keepalive: new(0), EndpointAllowedIP: new("")},
		IsPanelNode: true, TLSPin: "p", AllowPlainSecrets: true, AgentID: "a", SpeaksV2: true, Trust: 3, SeenPublicKey: "k", SeenListenPort: 4,
		Wish: InterfaceWish{
			PublicKey: new(""), ListenPort: new(0), Addresses: new([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")}), MTU: new(0), DNS: new(""),
			Table: new(""), FwMark: new(uint32(0)), Hooks: &agent.Hooks{PreUp: []string{"1"}, PostUp: []string{"2"}, PreDown: []string{"3"}, PostDown: []string{"4"}},
			Forward: new(""), Masquerade: new("any"),
		},
		Drift: policy.Input{
			Mode: new(policy.Heal), Interval: new(time.Minute), Missing: new(false), Mismatched: new(true), PruneOrphaned: new(false), PruneForeign: new(true),
			Interface: new(true), MaxDeletePercent: new(0), SuspendedUntil: &now,
			Windows: &[]policy.Window{{Cron: "0 2 * * *", Duration: time.Hour, TimeZone: "UTC"}},
		},
		GroupID: "g", TemplateID: "t", Revision: 5, CreatedAt: now, UpdatedAt: now, presets: &presets{},
	}
	full(t, n)
	full(t, n.Overrides)
	full(t, n.Wish)
	full(t, n.Drift)
	full(t, (*n.Drift.Windows)[0])
	b, err := json.Marshal(recordOfNode(n, 6))
	require.NoError(t, err)
	var nr nodeRecord
	require.NoError(t, json.Unmarshal(b, &nr))
	require.Equal(t, n, nr.node("id", n.presets))
	require.Equal(t, 6, nr.PeerCount)

	p := Peer{
		ID: "id", Name: "p", NodeID: "n", PublicKey: publicKey("x"), PrivateKey: testKey("x"), PresharedKey: testKey("y"),
		AllowedIPs: prefixesOf("10.0.0.1/32", "fd00::1/128"), Keepalive: new(0), DNS: new(""), MTU: new(0), EndpointAllowedIP: new(""),
		TemplateID: "t", Enabled: true, ExpiresAt: now, Adopted: true, CreatedAt: now, UpdatedAt: now,
	}
	full(t, p)
	b, err = json.Marshal(recordOfPeer(p))
	require.NoError(t, err)
	var pr peerRecord
	require.NoError(t, json.Unmarshal(b, &pr))
	require.Equal(t, p, pr.peer("n", "id"))

	values := Values{DNS: new(""), MTU: new(0), Keepalive: new(0), EndpointAllowedIP: new("")}
	full(t, values)
	g := Group{ID: "id", Name: "g", Description: "d", Overrides: values, CreatedAt: now, UpdatedAt: now}
	full(t, g)
	b, err = json.Marshal(recordOfGroup(g))
	require.NoError(t, err)
	var gr groupRecord
	require.NoError(t, json.Unmarshal(b, &gr))
	require.Equal(t, g, gr.group("id"))

	tpl := Template{ID: "id", Name: "t", Kind: KindNode, Values: values, Hooks: n.Wish.Hooks, IPPools: n.IPPools, CreatedAt: now, UpdatedAt: now}
	full(t, tpl)
	b, err = json.Marshal(recordOfTemplate(tpl))
	require.NoError(t, err)
	var tr templateRecord
	require.NoError(t, json.Unmarshal(b, &tr))
	require.Equal(t, tpl, tr.template("id"))

	var zero peerRecord
	b, err = json.Marshal(recordOfPeer(Peer{}))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &zero))
	require.True(t, zero.peer("", "").PrivateKey.IsZero())
}
