package panel

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/server"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// TestForwardAndHooksReachTheNode: the panel writes every hook, and NAT needs none.
func TestForwardAndHooksReachTheNode(t *testing.T) {
	w := newWorld(t)
	w.host = newHost(t, func(o *server.Options) { o.Hooks = server.HooksAllow })
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{AgentURL: &w.proxy.URL})
	require.NoError(t, err)
	fields := func() (out []string) {
		for _, m := range w.drift().Interface {
			out = append(out, m.Field)
		}
		return out
	}
	wish, err := w.setInterface(InterfaceWish{
		Hooks:   &agent.Hooks{PreUp: []string{"a"}, PostUp: []string{"b", "c # %i"}, PostDown: []string{"d"}},
		Forward: new("eth1,eth0 eth1"), Masquerade: new(" any"),
	})
	require.NoError(t, err)
	require.Equal(t, "eth1, eth0", *wish.Forward)
	require.Equal(t, "any", *wish.Masquerade)
	require.Equal(t, []string{drift.FieldHooks, drift.FieldForward, drift.FieldMasquerade}, fields())
	require.NoError(t, w.SyncInterface(t.Context(), w.id))
	require.Empty(t, fields())
	text, err := os.ReadFile(w.conf)
	require.NoError(t, err)
	require.Contains(t, string(text), "# wgfleet: forward eth1, eth0\n# wgfleet: masquerade any\nPreUp = a\nPostUp = b\nPostUp = c # %i\nPostDown = d\n")

	w.editFile("# wgfleet: forward eth1, eth0\n", "#wgfleet: forward eth0\n# wgfleet: forward eth1\n")
	require.Empty(t, fields(), "the order says nothing")
	w.editFile("# wgfleet: masquerade any\n", "# wgfleet: masquerade eth0\nPreDown = e\n")
	require.Equal(t, []string{drift.FieldHooks, drift.FieldMasquerade}, fields())
	_, err = w.setInterface(InterfaceWish{Hooks: &agent.Hooks{}, Forward: new(""), Masquerade: new("")})
	require.NoError(t, err)
	require.NoError(t, w.SyncInterface(t.Context(), w.id))
	require.Empty(t, fields())
	text, err = os.ReadFile(w.conf)
	require.NoError(t, err)
	require.NotRegexp(t, "wgfleet|Pre|Post", string(text))
}

// TestHooksThatTheHostDoesNotTake leave the rest of the wish unwritten as well.
func TestHooksThatTheHostDoesNotTake(t *testing.T) {
	w := newWorld(t)
	before, err := os.ReadFile(w.conf)
	require.NoError(t, err)
	_, err = w.setInterface(InterfaceWish{Hooks: &agent.Hooks{PostUp: []string{"b"}}, Forward: new("any")})
	require.NoError(t, err)
	require.ErrorContains(t, w.SyncInterface(t.Context(), w.id), "this host does not take hooks from the network")
	after, err := os.ReadFile(w.conf)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
}

func TestLinksOfAWish(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"eth0;id", "eth0\nPostUp = id", "all", "a-name-that-is-too-long"} {
		_, err := w.setInterface(InterfaceWish{Forward: &bad, Masquerade: &bad})
		invalid, ok := errors.AsType[*InvalidError](err)
		require.True(t, ok, bad)
		require.Len(t, invalid.Problems, 2)
		require.Equal(t, "forward", invalid.Problems[0].Field)
	}
}

// TestWishOfAnOldRecord: what the panel did not know then it does not wish for.
func TestWishOfAnOldRecord(t *testing.T) {
	var r nodeRecord
	require.NoError(t, json.Unmarshal([]byte(`{"name":"n","wish":{"mtu":1400,"hooks":{"post_up":["x"]}}}`), &r))
	wish := r.node("id", nil).Wish
	require.Equal(t, InterfaceWish{MTU: new(1400), Hooks: &agent.Hooks{PostUp: []string{"x"}}}, wish)
}
