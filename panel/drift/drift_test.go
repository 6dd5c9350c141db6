package drift

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

var macs = engine.DeriveMACKey([]byte("a secret of the tests"))

func key(n int) (k wgtypes.Key) {
	k[0], k[31] = byte(n), 1
	return k
}

// pool of prefixes that random peers share, so that they meet.
func prefix(n int) netip.Prefix {
	if n%5 == 0 {
		return netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("fd00::%x", n+1)), 128)
	}
	return netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", n)), 24+n%9).Masked()
}

// peers draws peers no two of which hold the same prefix.
func peers(t *rapid.T, label string) []Peer {
	free := rapid.Permutation(func() []int {
		out := make([]int, 40)
		for i := range out {
			out[i] = i
		}
		return out
	}()).Draw(t, label+" prefixes")
	taken := make(map[netip.Prefix]bool)
	var out []Peer
	for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(0, 12), 0, 10, rapid.ID[int]).Draw(t, label) {
		p := Peer{PublicKey: key(n), Keepalive: rapid.SampledFrom([]int{0, 21, 25}).Draw(t, "keepalive")}
		if n := rapid.IntRange(0, 2).Draw(t, "psk"); n > 0 {
			p.PresharedKey = macs.MAC(engine.NewSecretKey(key(100 + n)))
		}
		for range rapid.IntRange(0, 3).Draw(t, "count") {
			ip := prefix(free[0])
			free = free[1:]
			if !taken[ip] {
				taken[ip] = true
				p.AllowedIPs = append(p.AllowedIPs, ip)
			}
		}
		out = append(out, p)
	}
	return out
}

func desiredOf(list []Peer) Desired {
	out := make([]DesiredPeer, len(list))
	for i, p := range list {
		out[i] = DesiredPeer{Peer: p, ID: fmt.Sprint("id ", p.PublicKey[0]), Name: "name"}
		for n := range 3 {
			if k := engine.NewSecretKey(key(100 + n)); p.PresharedKey != "" && macs.MAC(k) == p.PresharedKey {
				out[i].PSK = k
			}
		}
	}
	return NewDesired(out, Interface{})
}

func TestTheSameIsClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := peers(t, "peers")
		r := Classify(desiredOf(slices.Clone(list)), NewObserved(list, Interface{}))
		require.Equal(t, InSync, r.Status)
		require.False(t, *r.HasDrift)
		require.Zero(t, r.Issues())
	})
}

// apply is a WireGuard device as the agent drives it: strict about prefixes that another holds.
func apply(t *rapid.T, o Observed, changes []agent.Change) Observed {
	have := make(map[string]Peer)
	for _, p := range o.Peers {
		have[p.PublicKey.String()] = p
	}
	seen := make(map[string]bool)
	for _, c := range changes {
		require.False(t, seen[c.PublicKey], "a peer is named by two changes")
		seen[c.PublicKey] = true
		if c.Op == agent.OpRemove {
			delete(have, c.PublicKey)
			continue
		}
		k, err := engine.ParseKey(c.PublicKey)
		require.NoError(t, err)
		p := have[c.PublicKey]
		p.PublicKey = k
		if c.AllowedIPs != nil {
			p.AllowedIPs = nil
			for _, text := range *c.AllowedIPs {
				p.AllowedIPs = append(p.AllowedIPs, netip.MustParsePrefix(text))
			}
		}
		if c.PersistentKeepalive != nil {
			p.Keepalive = *c.PersistentKeepalive
		}
		if c.PresharedKey != nil {
			psk, _ := engine.ParseSecretKey(*c.PresharedKey)
			p.PresharedKey = macs.MAC(psk)
		}
		have[c.PublicKey] = p
	}
	for _, c := range changes {
		if c.TakeFrom == nil {
			continue
		}
		from := have[*c.TakeFrom]
		from.AllowedIPs = slices.DeleteFunc(slices.Clone(from.AllowedIPs), func(ip netip.Prefix) bool { return slices.Contains(*c.AllowedIPs, ip.String()) })
		have[*c.TakeFrom] = from
	}
	holders := make(map[netip.Prefix]string)
	var out []Peer
	for name, p := range have {
		for _, ip := range p.AllowedIPs {
			require.Empty(t, holders[ip], "%s is on %s and on %s", ip, holders[ip], name)
			holders[ip] = name
		}
		out = append(out, p)
	}
	return NewObserved(out, Interface{})
}

// planOf is the plan, which no Only can make an error of.
func planOf(t require.TestingT, d Desired, o Observed, opt Options) Plan {
	p, err := NewPlan(d, o, opt)
	require.NoError(t, err)
	return p
}

func TestAfterThePlanAllIsAsWanted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := desiredOf(peers(t, "desired")), NewObserved(peers(t, "observed"), Interface{})
		prune := rapid.Bool().Draw(t, "prune")
		plan := planOf(t, d, o, Options{Missing: true, Mismatched: true, PruneForeign: prune})
		require.Empty(t, plan.Blocked)
		after := apply(t, o, plan.Changes(plan.Steps))
		r := Classify(d, after)
		require.Empty(t, r.Missing)
		require.Empty(t, r.Mismatched)
		unknown := Classify(d, o).Unknown
		if prune {
			require.Empty(t, r.Unknown)
		} else {
			require.Len(t, r.Unknown, len(unknown), "unknown peers are kept")
		}
		require.Equal(t, after.Digest, Expect(o, plan.Steps).Digest)
		again := planOf(t, d, after, Options{Missing: true, Mismatched: true, PruneForeign: prune})
		require.Empty(t, again.Steps, "a second plan does nothing")
		require.Empty(t, again.Blocked)
	})
}

// Group after group leads to the same, in any order, each being right by itself.
func TestGroupsStandAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := desiredOf(peers(t, "desired")), NewObserved(peers(t, "observed"), Interface{})
		plan := planOf(t, d, o, Options{Missing: true, Mismatched: true, PruneForeign: rapid.Bool().Draw(t, "prune")})
		now := o
		for _, g := range rapid.Permutation(plan.Groups()).Draw(t, "order") {
			now = apply(t, now, plan.Changes(g))
		}
		require.Equal(t, Expect(o, plan.Steps).Digest, now.Digest)
	})
}

// Under narrow options nothing is stolen from a peer that stays as it is.
func TestNarrowOptionsBlockOrWork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, o := desiredOf(peers(t, "desired")), NewObserved(peers(t, "observed"), Interface{})
		missing := rapid.Bool().Draw(t, "missing")
		plan := planOf(t, d, o, Options{Missing: missing, Mismatched: !missing, Adopt: rapid.Bool().Draw(t, "adopt")})
		after := apply(t, o, plan.Changes(plan.Steps))
		require.Equal(t, Expect(o, plan.Steps).Digest, after.Digest)
		left := Classify(d, after)
		notAdded := 0
		for _, b := range plan.Blocked {
			require.NotEmpty(t, b.Reason)
			if b.Op == OpAdd {
				notAdded++
			}
		}
		if missing {
			require.Len(t, left.Missing, notAdded)
		}
	})
}

func TestInterface(t *testing.T) {
	have := Interface{
		PublicKey: new("k"), ListenPort: new(1), Addresses: new([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}), MTU: new(1420),
		DNS: new("1.1.1.1,  x.example"), Table: new(""), FwMark: new(uint32(3)), Hooks: &agent.Hooks{PostUp: []string{"a"}},
		Forward: new("eth1, eth0"), Masquerade: new("any"),
	}
	same := Interface{
		PublicKey: new("k"), ListenPort: new(1), Addresses: new([]netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}), MTU: new(1420),
		DNS: new("1.1.1.1, x.example"), Table: new("auto"), FwMark: new(uint32(3)), Hooks: &agent.Hooks{PostUp: []string{"a"}},
		Forward: new("eth0,eth1 eth0"), Masquerade: new("eth0, any"),
	}
	require.Equal(t, InSync, Classify(NewDesired(nil, same), NewObserved(nil, have)).Status)
	require.Equal(t, InSync, Classify(NewDesired(nil, Interface{}), NewObserved(nil, have)).Status, "no wish, not compared")
	other := Interface{
		PublicKey: new("o"), ListenPort: new(2), Addresses: new([]netip.Prefix{}), MTU: new(1400),
		DNS: new(""), Table: new("off"), FwMark: new(uint32(0)), Hooks: &agent.Hooks{}, Forward: new("eth0"), Masquerade: new(""),
	}
	r := Classify(NewDesired(nil, other), NewObserved(nil, have))
	require.Equal(t, Drifted, r.Status)
	require.True(t, *r.HasDrift)
	require.Len(t, r.Interface, 10)
	require.Zero(t, r.Issues(), "total_issues counts peers only")
	blind := Classify(NewDesired(nil, Interface{MTU: new(1420)}), NewObserved(nil, Interface{}))
	require.Equal(t, Unknown, blind.Status, "not knowing is not in sync")
	require.Nil(t, blind.HasDrift)
	require.Contains(t, blind.Error, "mtu")
}

func TestPresharedKeyInWords(t *testing.T) {
	one, two := macs.MAC(engine.NewSecretKey(key(101))), macs.MAC(engine.NewSecretKey(key(102)))
	for _, c := range []struct{ want, have, expected, actual string }{
		{one, "", "set", "unset"}, {"", one, "unset", "set"}, {one, two, "set", "different"},
	} {
		m := comparePeer(Peer{PresharedKey: c.want}, Peer{PresharedKey: c.have})
		require.Equal(t, []Mismatch{{FieldPresharedKey, c.expected, c.actual}}, m)
	}
}

func BenchmarkClassify(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			list := make([]Peer, n)
			for i := range list {
				list[i].PublicKey = wgtypes.Key{byte(i), byte(i >> 8), 1}
				list[i].AllowedIPs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)}
			}
			d, o := desiredOf(slices.Clone(list)), NewObserved(list, Interface{})
			b.ReportAllocs()
			for b.Loop() {
				if r := Classify(d, o); r.Status != InSync {
					b.Fatal(r.Status)
				}
			}
		})
	}
}
