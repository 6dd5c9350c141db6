package panel

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
)

// A rule holds from the next look on, over a restart, on its node and until its end; a protected peer is never
// removed, an ignored one is shown and left alone.
func TestRules(t *testing.T) {
	w := newWorld(t)
	w.create("ann", nil)
	one, two := publicKey("one"), publicKey("two")
	w.write(engine.PeerChange{After: &engine.Peer{PublicKey: one, AllowedIPs: prefixesOf("10.99.0.1/32")}},
		engine.PeerChange{After: &engine.Peer{PublicKey: two, AllowedIPs: prefixesOf("10.98.0.1/32")}})
	require.Len(t, w.drift().Unknown, 2)

	r, err := w.CreateRule(t.Context(), RuleInput{
		Action: new(drift.Ignore), AllowedIPs: new("10.99.0.0/16"), Reason: new("moved"),
		NodeID: Optional[string]{Set: true, Value: &w.id}, Until: Optional[time.Time]{Set: true, Value: new(w.now().Add(time.Hour))},
	})
	require.NoError(t, err)
	_, err = w.CreateRule(t.Context(), RuleInput{Action: new(drift.Protect), PublicKey: new(two.String())})
	require.NoError(t, err)
	report := w.drift()
	require.Equal(t, drift.Drifted, report.Status)
	require.Len(t, report.Unknown, 1)
	require.True(t, report.Unknown[0].Protected)
	require.Len(t, report.Ignored, 1)
	require.Equal(t, one.String(), report.Ignored[0].PublicKey)
	require.Equal(t, "moved", report.Ignored[0].Reason)

	all := ReconcileOptions{Missing: true, Mismatched: true, PruneOrphaned: true, PruneForeign: true, AllowMassRemoval: true}
	done := w.reconcile(all)
	require.Empty(t, done.Removed)
	require.Len(t, w.peers(), 3)

	// After its end it is as if it were not there, and its peer may go.
	w.o.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	require.Len(t, w.drift().Unknown, 2)
	w.o.Now = time.Now
	// So it is on another node, and when it is deleted.
	other, _, err := w.CreateNode(t.Context(), NodeInput{Name: new("other"), AgentURL: new("http://192.0.2.1")})
	require.NoError(t, err)
	_, err = w.UpdateRule(t.Context(), r.ID, RuleInput{NodeID: Optional[string]{Set: true, Value: &other.ID}})
	require.NoError(t, err)
	require.Len(t, w.drift().Unknown, 2)
	_, err = w.UpdateRule(t.Context(), r.ID, RuleInput{NodeID: Optional[string]{Set: true}})
	require.NoError(t, err)
	require.Len(t, w.drift().Ignored, 1)
	require.NoError(t, w.DeleteRule(t.Context(), r.ID))
	require.Empty(t, w.drift().Ignored)
	done = w.reconcile(all)
	require.Equal(t, []string{one.String()}, done.Removed)
	require.NotEmpty(t, w.told(w.Service, event.RuleChanged))
}

func TestRulesOfANodeGoWithIt(t *testing.T) {
	w := newWorld(t)
	_, err := w.CreateRule(t.Context(), RuleInput{Action: new(drift.Ignore), Name: new("a*"), NodeID: Optional[string]{Set: true, Value: &w.id}})
	require.NoError(t, err)
	_, err = w.CreateRule(t.Context(), RuleInput{Action: new(drift.Ignore), Name: new("b*")})
	require.NoError(t, err)
	require.NoError(t, w.DeleteNode(t.Context(), w.id))
	left, _, err := w.Rules(t.Context(), Page{})
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, "b*", left[0].Name)
}

func TestRefusedRules(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		in   RuleInput
		want string
	}{
		"nobody":        {RuleInput{Action: new(drift.Ignore)}, "expected one of public_key, allowed_ips and name"},
		"two":           {RuleInput{Action: new(drift.Ignore), Name: new("a"), AllowedIPs: new("10.0.0.0/8")}, "chooses twice"},
		"no action":     {RuleInput{Name: new("a")}, "expected ignore or protect"},
		"bad prefix":    {RuleInput{Action: new(drift.Ignore), AllowedIPs: new("10.0.0.0/33")}, "allowed_ips: "},
		"bad key":       {RuleInput{Action: new(drift.Ignore), PublicKey: new("x")}, "public_key: "},
		"bad pattern":   {RuleInput{Action: new(drift.Ignore), Name: new("[")}, "is no pattern"},
		"empty pattern": {RuleInput{Action: new(drift.Ignore), Name: new(" ")}, "is no pattern"},
		"a node":        {RuleInput{Action: new(drift.Ignore), Name: new("a"), NodeID: Optional[string]{Set: true, Value: new("x")}}, `node_id: there is no node "x"`},
		"past":          {RuleInput{Action: new(drift.Ignore), Name: new("a"), Until: Optional[time.Time]{Set: true, Value: new(w.now())}}, "lies in the past"},
		"reason":        {RuleInput{Action: new(drift.Ignore), Name: new("a"), Reason: new("a\nb")}, "reason: "},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.CreateRule(t.Context(), c.in)
			require.ErrorContains(t, err, c.want)
		})
	}
	all, _, err := w.Rules(t.Context(), Page{})
	require.NoError(t, err)
	require.Empty(t, all)
	_, err = w.Rule(t.Context(), "x")
	require.ErrorIs(t, err, ErrNotFound)
}
