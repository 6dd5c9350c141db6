package drift

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
)

var now = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func peerOn(n int, ips ...string) Peer {
	p := Peer{PublicKey: key(n)}
	for _, ip := range ips {
		p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix(ip))
	}
	return p
}

// One peer of each kind of drift; the numbers are those of their keys.
const (
	missing = iota + 1
	mismatched
	foreign
	deleted // orphaned, as the next two
	expired
	disabled
	ignored
	protected
	hidden // foreign, its preshared key is not shown
	synced
)

func matrix() (Desired, Observed) {
	d := desiredOf([]Peer{peerOn(missing, "10.0.0.1/32"), peerOn(mismatched, "10.0.0.2/32"), peerOn(synced, "10.0.0.10/32")})
	d.Interface = Interface{MTU: new(1420), ListenPort: new(51820)}
	d.Former = map[wgtypes.Key]Former{
		key(deleted):  {PeerID: "id 4", Name: "ann", Why: Deleted},
		key(expired):  {PeerID: "id 5", Name: "bob", Why: Expired},
		key(disabled): {PeerID: "id 6", Name: "cid", Why: Disabled},
	}
	d.Rules = []Rule{
		{ID: "r1", Action: Ignore, PublicKey: new(key(ignored)), Reason: "a probe"},
		{ID: "r2", Action: Protect, Prefix: new(netip.MustParsePrefix("10.7.0.0/16")), Reason: "the office"},
	}
	secret := peerOn(hidden, "10.0.0.9/32")
	secret.PresharedKey = macs.MAC(engine.NewSecretKey(key(200)))
	o := NewObserved([]Peer{
		peerOn(mismatched, "10.0.0.22/32"), peerOn(foreign, "10.0.0.3/32"), peerOn(deleted, "10.0.0.4/32"), peerOn(expired, "10.0.0.5/32"),
		peerOn(disabled, "10.0.0.6/32"), peerOn(ignored, "10.0.0.7/32"), peerOn(protected, "10.7.0.8/32"), secret, peerOn(synced, "10.0.0.10/32"),
	}, Interface{MTU: new(1400), ListenPort: new(51820)})
	o.Hidden = map[wgtypes.Key]bool{key(hidden): true}
	o.Activity = map[wgtypes.Key]Activity{key(foreign): {LastHandshake: now.Add(-12 * time.Second)}, key(deleted): {LastHandshake: now.Add(-80 * time.Hour)}}
	return d, o
}

// numbers are the peers of a plan's steps as "op number", and the settings as "op field".
func numbers(p Plan) (steps, blocked []string) {
	for _, s := range p.Steps {
		if s.PublicKey == "" {
			steps = append(steps, s.Op+" "+s.Changes[0].Field)
			continue
		}
		k, _ := wgtypes.ParseKey(s.PublicKey)
		steps = append(steps, fmt.Sprint(s.Op, " ", k[0]))
	}
	for _, b := range p.Blocked {
		if k, err := wgtypes.ParseKey(b.PublicKey); err == nil {
			blocked = append(blocked, fmt.Sprint(b.Op, " ", k[0]))
		} else {
			blocked = append(blocked, b.Op+" "+b.Field)
		}
	}
	return steps, blocked
}

func TestEveryKindOfDriftUnderEveryFlag(t *testing.T) {
	flags := []struct {
		name           string
		set            func(*Options)
		steps, blocked []string
	}{
		{name: "none", set: func(*Options) {}},
		{name: "missing", set: func(o *Options) { o.Missing = true }, steps: []string{"add 1"}},
		{name: "mismatched", set: func(o *Options) { o.Mismatched = true }, steps: []string{"update 2"}},
		{name: "prune orphaned", set: func(o *Options) { o.PruneOrphaned = true }, steps: []string{"remove 4", "remove 5", "remove 6"}},
		{name: "prune foreign", set: func(o *Options) { o.PruneForeign = true }, steps: []string{"remove 3", "remove 9"}},
		{
			name: "adopt", set: func(o *Options) { o.Adopt = true },
			steps: []string{"adopt 3", "adopt 4", "adopt 8"}, blocked: []string{"adopt 5", "adopt 6", "adopt 9"},
		},
		{name: "accept", set: func(o *Options) { o.Accept = true }, steps: []string{"accept 2"}},
		{name: "interface", set: func(o *Options) { o.Interface = true }, steps: []string{"interface mtu"}},
		{
			name: "accept the interface", set: func(o *Options) { o.Accept, o.Interface = true, true },
			steps: []string{"accept 2", "accept mtu"},
		},
		{
			name: "all that prunes", set: func(o *Options) {
				o.Missing, o.Mismatched, o.PruneOrphaned, o.PruneForeign, o.Interface = true, true, true, true, true
			},
			steps: []string{"remove 3", "remove 4", "remove 5", "remove 6", "remove 9", "update 2", "add 1", "interface mtu"},
		},
	}
	for _, f := range flags {
		t.Run(f.name, func(t *testing.T) {
			d, o := matrix()
			opt := Options{Now: now}
			f.set(&opt)
			p, err := NewPlan(d, o, opt)
			require.NoError(t, err)
			steps, blocked := numbers(p)
			require.Equal(t, f.steps, steps)
			require.ElementsMatch(t, f.blocked, blocked)
			again, err := NewPlan(d, o, opt)
			require.NoError(t, err)
			require.Equal(t, p.Fingerprint(), again.Fingerprint())
			// Each step alone is the same step.
			for _, s := range p.Steps {
				opt.Only = []string{s.ID()}
				one, err := NewPlan(d, o, opt)
				require.NoError(t, err)
				require.Len(t, one.Steps, 1)
				require.Equal(t, s.Op, one.Steps[0].Op)
				require.Equal(t, s.ID(), one.Steps[0].ID())
			}
		})
	}
}

func TestTheReportTellsOrphansFromForeignersAndIgnored(t *testing.T) {
	d, o := matrix()
	r := Classify(d, o)
	require.Equal(t, Drifted, r.Status)
	require.Len(t, r.Missing, 1)
	require.Len(t, r.Mismatched, 1)
	got := map[string]string{}
	for _, p := range r.Unknown {
		k, _ := wgtypes.ParseKey(p.PublicKey)
		got[fmt.Sprint(k[0])] = fmt.Sprintf("%s %s %s protected=%v", p.Origin, p.Name, p.Why, p.Protected)
	}
	require.Equal(t, map[string]string{
		"3": "foreign   protected=false", "4": "orphaned ann deleted protected=false",
		"5": "orphaned bob expired protected=false", "6": "orphaned cid disabled protected=false",
		"8": "foreign   protected=true", "9": "foreign   protected=false",
	}, got)
	require.Equal(t, 3, r.Orphans())
	require.Len(t, r.Ignored, 1)
	require.Equal(t, "r1", r.Ignored[0].RuleID)
	require.Equal(t, 8, r.Issues(), "who is ignored is no issue")

	only := NewObserved([]Peer{peerOn(ignored, "10.0.0.7/32")}, Interface{})
	r = Classify(Desired{Rules: d.Rules}, only)
	require.Equal(t, InSync, r.Status, "who is ignored is no drift, and is shown")
	require.Len(t, r.Ignored, 1)
}

func TestRules(t *testing.T) {
	in := func(ips ...string) Peer { return peerOn(1, ips...) }
	office := Rule{Prefix: new(netip.MustParsePrefix("10.7.0.0/16"))}
	for _, c := range []struct {
		rule Rule
		peer Peer
		name string
		want bool
	}{
		{office, in("10.7.1.2/32"), "", true},
		{office, in("10.7.0.0/16"), "", true},
		{office, in("10.0.0.0/8"), "", false},
		{office, in("10.7.1.2/32", "10.8.0.1/32"), "", false},
		{office, in(), "", false},
		{office, in("fd00::1/128"), "", false},
		{Rule{PublicKey: new(key(1))}, in(), "", true},
		{Rule{PublicKey: new(key(2))}, in(), "", false},
		{Rule{Name: "lap*"}, in(), "laptop", true},
		{Rule{Name: "lap*"}, in(), "", false},
		{Rule{Name: "*"}, in(), "", false},
		{Rule{}, in("10.7.1.2/32"), "laptop", false},
	} {
		require.Equal(t, c.want, c.rule.matches(c.peer, c.name), "%+v %+v", c.rule, c.peer)
	}
	require.True(t, Rule{}.InForce(now))
	require.True(t, Rule{Until: now.Add(1)}.InForce(now))
	require.False(t, Rule{Until: now}.InForce(now))
}

func TestImpactInWords(t *testing.T) {
	d, o := matrix()
	p := planOf(t, d, o, Options{Now: now, PruneForeign: true, PruneOrphaned: true, Mismatched: true})
	words := map[string]string{}
	for _, s := range p.Steps {
		k, _ := wgtypes.ParseKey(s.PublicKey)
		words[fmt.Sprint(k[0])] = s.Impact
	}
	require.Equal(t, "interrupts a peer with a handshake 12 s ago", words["3"])
	require.Equal(t, "cuts off a peer whose last handshake was 3 days ago", words["4"])
	require.Equal(t, "cuts off a peer that never shook hands", words["5"])
	require.Contains(t, words["2"], "the session stays")
	require.Contains(t, p.Warnings, "1 of the peers that are removed are in use: they shook hands within the last 3 minutes")

	d.Interface.ListenPort = new(443)
	p = planOf(t, d, o, Options{Interface: true})
	require.Contains(t, p.Warnings, "changes the listen port: all clients of this node must be told")

	wants := desiredOf([]Peer{peerOn(missing, "10.0.0.3/32")})
	p = planOf(t, wants, NewObserved([]Peer{peerOn(foreign, "10.0.0.3/32")}, Interface{}), Options{Missing: true})
	require.Contains(t, p.Warnings[0], "takes 10.0.0.3/32 from unknown peer "+key(foreign).String())
}

func TestNothingIsTakenFromWhoIsLeftAlone(t *testing.T) {
	for n, word := range map[int]string{ignored: "ignored", protected: "protected"} {
		d, o := matrix()
		ip := map[int]string{ignored: "10.0.0.7/32", protected: "10.7.0.8/32"}[n]
		want := desiredOf([]Peer{peerOn(missing, ip)})
		want.Rules = d.Rules
		p := planOf(t, want, o, Options{Missing: true, PruneForeign: true, Only: []string{key(missing).String()}})
		require.Empty(t, p.Steps)
		require.Contains(t, p.Blocked[0].Reason, word)
	}
}

func TestNarrowing(t *testing.T) {
	// 1 wants what 2 has and gives up: neither goes without the other.
	d := desiredOf([]Peer{peerOn(1, "10.0.0.1/32"), peerOn(2, "10.0.0.2/32")})
	o := NewObserved([]Peer{peerOn(1, "10.0.0.9/32"), peerOn(2, "10.0.0.1/32")}, Interface{})
	opt := Options{Mismatched: true, Only: []string{key(1).String()}}
	p := planOf(t, d, o, opt)
	require.Empty(t, p.Steps)
	require.Contains(t, p.Blocked[0].Reason, key(2).String())
	opt.Only = []string{key(2).String()}
	require.Len(t, planOf(t, d, o, opt).Steps, 1)
	opt.Only = []string{"nobody"}
	_, err := NewPlan(d, o, opt)
	require.EqualError(t, err, "the plan has no step nobody")
	opt.Only = []string{}
	require.Empty(t, planOf(t, d, o, opt).Steps, "an empty list is nothing")
}

func TestWhatThePanelCanNotHold(t *testing.T) {
	// The node gave 2 what is wanted of 1: accepted, it would be of both.
	d := desiredOf([]Peer{peerOn(1, "10.0.0.1/32"), peerOn(2, "10.0.0.2/32")})
	o := NewObserved([]Peer{peerOn(2, "10.0.0.1/32")}, Interface{})
	p := planOf(t, d, o, Options{Accept: true})
	require.Empty(t, p.Steps)
	require.Contains(t, p.Blocked[0].Reason, "belongs to peer")
	// They swapped: accepted together they are what the panel wants then.
	o = NewObserved([]Peer{peerOn(1, "10.0.0.2/32"), peerOn(2, "10.0.0.1/32")}, Interface{})
	require.Len(t, planOf(t, d, o, Options{Accept: true}).Steps, 2)
	// A stranger with a peer's address is adopted only where the address is taken from it.
	o = NewObserved([]Peer{peerOn(7, "10.0.0.1/32")}, Interface{})
	p = planOf(t, d, o, Options{Adopt: true})
	require.Empty(t, p.Steps)
	steps, _ := numbers(planOf(t, d, o, Options{Adopt: true, Missing: true}))
	require.Equal(t, []string{"add 1", "add 2", "adopt 7"}, steps)
}

// Whatever is drawn: nobody is removed without the flag for it, nor who is wanted, ignored or protected;
// who is as wanted is in no step; and no plan removes and takes in one.
func TestNobodyIsRemovedWhomNobodyAskedToRemove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := desiredOf(peers(t, "desired")), NewObserved(peers(t, "observed"), Interface{})
		d.Former = map[wgtypes.Key]Former{}
		wanted := map[string]bool{}
		for _, p := range d.Peers {
			wanted[p.PublicKey.String()] = true
		}
		for _, p := range o.Peers {
			switch rapid.IntRange(0, 5).Draw(t, "standing") {
			case 0:
				d.Former[p.PublicKey] = Former{Name: "x", Why: Deleted}
			case 1:
				d.Former[p.PublicKey] = Former{Name: "x", Why: rapid.SampledFrom([]string{Disabled, Expired}).Draw(t, "why")}
			case 2:
				d.Rules = append(d.Rules, Rule{Action: rapid.SampledFrom([]string{Ignore, Protect}).Draw(t, "rule"), PublicKey: new(p.PublicKey)})
			}
		}
		opt := Options{Now: now}
		for _, f := range []*bool{&opt.Missing, &opt.Mismatched, &opt.PruneOrphaned, &opt.PruneForeign, &opt.Adopt, &opt.Accept} {
			*f = rapid.Bool().Draw(t, "flag")
		}
		p := planOf(t, d, o, opt)
		before := Classify(d, o)
		for _, s := range p.Steps {
			k, err := wgtypes.ParseKey(s.PublicKey)
			require.NoError(t, err)
			if i := slices.IndexFunc(d.Peers, func(w DesiredPeer) bool { return w.PublicKey == k }); i >= 0 && s.Before != nil {
				require.False(t, d.Peers[i].Same(*s.Before) && (s.After == nil || d.Peers[i].Same(*s.After)), "who is as wanted is not touched")
			}
			if s.Op != OpRemove {
				continue
			}
			_, orphan := d.Former[k]
			require.False(t, wanted[s.PublicKey])
			require.True(t, !orphan && opt.PruneForeign || orphan && opt.PruneOrphaned)
			require.False(t, slices.ContainsFunc(d.Rules, func(r Rule) bool { return *r.PublicKey == k }))
		}
		after := Classify(d, apply(t, o, p.Changes(slices.Concat(p.Groups()...))))
		require.Len(t, after.Ignored, len(before.Ignored), "who is ignored stays")
		require.Len(t, before.Unknown, len(after.Unknown)+p.Removals())
	})
}
