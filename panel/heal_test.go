package panel

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/policy"
)

// Kinds of drift, each of which one peer of the matrix has, or the interface.
const (
	kindMissing    = "missing"
	kindMismatched = "mismatched"
	kindDisabled   = "disabled" // and the next: orphaned
	kindDeleted    = "deleted"
	kindForeign    = "foreign"
	kindIgnored    = "ignored"
	kindProtected  = "protected"
	kindInterface  = "interface"
)

var allKinds = []string{kindMissing, kindMismatched, kindDisabled, kindDeleted, kindForeign, kindIgnored, kindProtected, kindInterface}

// drifted is a node on which there is drift of each kind, and a peer that is as wanted.
func drifted(t *testing.T) (w *world, calm engine.Peer, kindOf map[string]string) {
	t.Helper()
	w = newWorld(t)
	missing, mismatched := w.create("missing", nil), w.create("mismatched", nil)
	disabled, deleted := w.create("disabled", nil), w.create("deleted", nil)
	c := w.create("calm", nil)
	d, err := w.fake.Device("wg0")
	require.NoError(t, err)
	require.True(t, d.SetStats(c.PublicKey, engine.Stats{LastHandshake: time.Unix(1_700_000_000, 0), RxBytes: 5}))
	kindOf = map[string]string{missing.PublicKey.String(): kindMissing, mismatched.PublicKey.String(): kindMismatched}

	_, err = w.UpdatePeer(t.Context(), w.id, disabled.ID, PeerInput{Enabled: new(false)})
	require.NoError(t, err)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, deleted.ID, false))
	back := func(kind string, p engine.Peer) engine.PeerChange {
		kindOf[p.PublicKey.String()] = kind
		return engine.PeerChange{After: &p}
	}
	have, _ := w.peer(mismatched.PublicKey)
	bent := have
	bent.PersistentKeepalive = 7
	w.remove(missing)
	w.write(
		engine.PeerChange{Before: &have, After: &bent},
		back(kindDisabled, engine.Peer{PublicKey: disabled.PublicKey, AllowedIPs: disabled.AllowedIPs}),
		back(kindDeleted, engine.Peer{PublicKey: deleted.PublicKey, AllowedIPs: deleted.AllowedIPs}),
		back(kindForeign, engine.Peer{PublicKey: publicKey("foreign"), AllowedIPs: prefixesOf("10.9.0.1/32")}),
		back(kindIgnored, engine.Peer{PublicKey: publicKey("ignored"), AllowedIPs: prefixesOf("10.9.0.2/32")}),
		back(kindProtected, engine.Peer{PublicKey: publicKey("protected"), AllowedIPs: prefixesOf("10.9.0.3/32")}),
	)
	for kind, action := range map[string]string{kindIgnored: drift.Ignore, kindProtected: drift.Protect} {
		_, err := w.CreateRule(t.Context(), RuleInput{Action: &action, PublicKey: new(publicKey(kind).String())})
		require.NoError(t, err)
	}
	_, err = w.setInterface(InterfaceWish{FwMark: new(uint32(51))})
	require.NoError(t, err)
	calm, _ = w.peer(c.PublicKey)
	return w, calm, kindOf
}

// left are the kinds of drift that a look shows, those that a rule ignores as well.
func left(r drift.Report, kindOf map[string]string) []string {
	out := []string{}
	for _, p := range r.Missing {
		out = append(out, kindOf[p.PublicKey])
	}
	for _, p := range r.Mismatched {
		out = append(out, kindOf[p.PublicKey])
	}
	for _, p := range r.Unknown {
		out = append(out, kindOf[p.PublicKey])
	}
	for _, p := range r.Ignored {
		out = append(out, kindOf[p.PublicKey])
	}
	if len(r.Interface) > 0 {
		out = append(out, kindInterface)
	}
	return out
}

// Every kind of drift under every policy: what is put right, what is left, and that the log says so. A peer that
// is as wanted is not touched by any.
func TestEveryKindOfDriftUnderEveryPolicy(t *testing.T) {
	closed := set([]policy.Window{{Cron: "0 0 1 1 *", Duration: time.Minute, TimeZone: "UTC"}})
	open := set([]policy.Window{{Cron: "* * * * *", Duration: time.Hour, TimeZone: "UTC"}})
	usual := []string{kindMissing, kindMismatched, kindDisabled, kindDeleted}
	for _, c := range []struct {
		name   string
		policy PolicyInput
		healed []string
	}{
		{"off", PolicyInput{Mode: set(string(policy.Off))}, nil},
		{"the default", PolicyInput{}, nil},
		{"report", PolicyInput{Mode: set(string(policy.Report)), PruneForeign: set(true)}, nil},
		{"heal", heals(PolicyInput{}), usual},
		{"strangers too", heals(PolicyInput{PruneForeign: set(true)}), append([]string{kindForeign}, usual...)},
		{"the interface too", heals(PolicyInput{Interface: set(true)}), append([]string{kindInterface}, usual...)},
		{"not the missing", heals(PolicyInput{Missing: set(false)}), []string{kindMismatched, kindDisabled, kindDeleted}},
		{"not the mismatched", heals(PolicyInput{Mismatched: set(false)}), []string{kindMissing, kindDisabled, kindDeleted}},
		{"not the orphaned", heals(PolicyInput{PruneOrphaned: set(false)}), []string{kindMissing, kindMismatched}},
		{"few strangers at once", heals(PolicyInput{PruneForeign: set(true), MaxDeletePercent: set(10)}), usual},
		{"no stranger at once", heals(PolicyInput{PruneForeign: set(true), MaxDeletePercent: set(0)}), usual},
		{"in an open window", heals(PolicyInput{Windows: open}), usual},
		{"in a closed window", heals(PolicyInput{PruneForeign: set(true), Windows: closed}), []string{kindDisabled, kindDeleted}},
		{"suspended", heals(PolicyInput{SuspendedUntil: set(time.Now().Add(time.Hour))}), []string{kindDisabled, kindDeleted}},
		{"suspended in the past", heals(PolicyInput{SuspendedUntil: set(time.Now().Add(-time.Hour))}), usual},
		{"a closed window, and not the orphaned", heals(PolicyInput{PruneOrphaned: set(false), Windows: closed}), nil},
		{
			"everything", heals(PolicyInput{PruneForeign: set(true), Interface: set(true), MaxDeletePercent: set(100)}),
			append([]string{kindForeign, kindInterface}, usual...),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, calm, kindOf := drifted(t)
			w.policy(c.policy)
			before := w.writes.Load()
			k := &keeper{s: w.Service, nodeID: w.id}
			k.step(t.Context())
			k.step(t.Context())

			want := slices.DeleteFunc(slices.Clone(allKinds), func(kind string) bool { return slices.Contains(c.healed, kind) })
			require.ElementsMatch(t, want, left(w.drift(), kindOf))
			after, there := w.peer(calm.PublicKey)
			require.True(t, there)
			require.Equal(t, calm, after)

			told := w.told(w.Service, event.Reconciled)
			if c.healed == nil {
				require.Empty(t, told)
				require.Equal(t, before, w.writes.Load(), "nothing was to be written")
				return
			}
			require.Len(t, told, 1, "the second step had nothing to do")
			require.Equal(t, event.Actor{Kind: event.ActorSystem, Name: "heal"}, told[0].Actor)
			require.Contains(t, told[0].Message, "verified")
			var explained []string
			for _, change := range told[0].Changes {
				require.Equal(t, event.Done, change.Outcome)
				kind := kindOf[change.Peer]
				if change.Peer == "" {
					kind = kindInterface
				}
				explained = append(explained, kind)
			}
			require.ElementsMatch(t, c.healed, explained, fmt.Sprint(told[0]))
		})
	}
}
