package policy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

// longest makes every pause as long as it can be.
func longest() float64 { return 1 }

func healing(change func(*Policy)) Policy {
	p := Default()
	p.Mode = Heal
	if change != nil {
		change(&p)
	}
	return p
}

func TestDecide(t *testing.T) {
	closed := func(p *Policy) { p.Windows = []Window{{"0 14 * * *", time.Hour, "UTC"}} }
	suspended := func(p *Policy) { p.SuspendedUntil = noon.Add(time.Hour) }
	plan := Situation{Now: noon, Revision: 1, Fingerprint: "all", Steps: 3, Peers: 10}
	with := func(change func(*Situation)) Situation {
		s := plan
		change(&s)
		return s
	}
	revoking := with(func(s *Situation) { s.Revocations = "revoked" })
	failed := func(fingerprint string, tries int) State {
		st := State{}
		for range tries {
			st = After(st, Outcome{Fingerprint: fingerprint, Revision: 1}, noon, longest)
		}
		return st
	}
	for _, tt := range []struct {
		name string
		p    Policy
		st   State
		sit  Situation
		want Decision // Why is compared by a part of it
	}{
		{"nothing to do", healing(nil), State{}, Situation{Now: noon}, Decision{}},
		{"mode report", Default(), State{}, revoking, Decision{Fingerprint: "all", Why: "mode is report"}},
		{"mode off", Policy{Mode: Off}, State{}, revoking, Decision{Fingerprint: "all", Why: "mode is off"}},
		{"the first time at once", healing(nil), State{}, plan, Decision{Do: true, Fingerprint: "all"}},

		{"outside of the window", healing(closed), State{}, plan, Decision{Fingerprint: "all", Wait: noon.Add(2*time.Hour + spread), Why: "the next one opens at 2026-07-01T14:00:00Z"}},
		{
			"outside of the window, revoked", healing(closed),
			State{},
			revoking,
			Decision{Do: true, Revoke: true, Fingerprint: "revoked", Wait: noon.Add(2*time.Hour + spread), Why: "next one opens"},
		},
		{"in the window", healing(closed), State{}, with(func(s *Situation) { s.Now = noon.Add(2 * time.Hour) }), Decision{Do: true, Fingerprint: "all"}},
		{"suspended", healing(suspended), State{}, plan, Decision{Fingerprint: "all", Wait: noon.Add(time.Hour + spread), Why: "suspended until 2026-07-01T13:00:00Z"}},
		{
			"suspended, revoked", healing(suspended),
			State{},
			revoking,
			Decision{Do: true, Revoke: true, Fingerprint: "revoked", Wait: noon.Add(time.Hour + spread), Why: "suspended"},
		},
		{"no longer suspended", healing(suspended), State{}, with(func(s *Situation) { s.Now = noon.Add(time.Hour) }), Decision{Do: true, Fingerprint: "all"}},
		{
			"revoked, but it failed just now", healing(closed), failed("revoked", 1), revoking,
			Decision{Revoke: true, Fingerprint: "revoked", Wait: noon.Add(5 * time.Second), Why: "did not help once"},
		},

		{"the same again", healing(nil), failed("all", 2), plan, Decision{Fingerprint: "all", Wait: noon.Add(10 * time.Second), Why: "did not help 2 times: the next try is at 2026-07-01T12:00:10Z"}},
		{"after the pause", healing(nil), failed("all", 2), with(func(s *Situation) { s.Now = noon.Add(10 * time.Second) }), Decision{Do: true, Fingerprint: "all"}},
		{"another plan", healing(nil), failed("other", 2), plan, Decision{Do: true, Fingerprint: "all"}},
		{"a new wish", healing(nil), failed("all", 2), with(func(s *Situation) { s.Revision = 2 }), Decision{Do: true, Fingerprint: "all"}},
		{"too many tries", healing(nil), failed("all", MaxTries), plan, Decision{Stop: true, Fingerprint: "all", Why: "8 times and has stopped"}},
		{"given up before", healing(nil), failed("all", MaxTries).GiveUp("all"), plan, Decision{Stopped: true, Fingerprint: "all", Why: "has stopped"}},
		{
			"given up before, a day ago", healing(nil), failed("all", MaxTries).GiveUp("all"), with(func(s *Situation) { s.Now = noon.Add(24 * time.Hour) }),
			Decision{Stopped: true, Fingerprint: "all", Why: "has stopped"},
		},
		{"given up, then another plan", healing(nil), failed("other", MaxTries).GiveUp("other"), plan, Decision{Do: true, Fingerprint: "all"}},
		{"given up, then a new wish", healing(nil), failed("all", MaxTries).GiveUp("all"), with(func(s *Situation) { s.Revision = 2 }), Decision{Do: true, Fingerprint: "all"}},
		{"given up, then away", healing(nil), failed("all", MaxTries).GiveUp("all").InSync(noon.Add(maxPause + memory)), plan, Decision{Do: true, Fingerprint: "all"}},
		{"given up, then away too shortly", healing(nil), failed("all", MaxTries).GiveUp("all").InSync(noon.Add(memory)), plan, Decision{Stopped: true, Fingerprint: "all", Why: "has stopped"}},

		{"half of the peers", healing(nil), State{}, with(func(s *Situation) { s.Steps, s.Removals = 6, 5 }), Decision{Do: true, Fingerprint: "all"}},
		{
			"more than half", healing(nil),
			State{},
			with(func(s *Situation) { s.Steps, s.Removals = 7, 6 }),
			Decision{Do: true, NoRemovals: true, Fingerprint: "all", Why: "6 of the 10 peers on the node would be removed, which is more than 50 %"},
		},
		{
			"more than half, and nothing else", healing(nil),
			State{},
			with(func(s *Situation) { s.Steps, s.Removals = 6, 6 }),
			Decision{NoRemovals: true, Fingerprint: "all", Why: "6 of the 10"},
		},
		{"all, allowed", healing(func(p *Policy) { p.MaxDeletePercent = 100 }), State{}, with(func(s *Situation) { s.Steps, s.Removals = 10, 10 }), Decision{Do: true, Fingerprint: "all"}},
		{
			"one, not allowed", healing(func(p *Policy) { p.MaxDeletePercent = 0 }),
			State{},
			with(func(s *Situation) { s.Removals = 1 }),
			Decision{Do: true, NoRemovals: true, Fingerprint: "all", Why: "1 of the 10"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Decide(tt.p, tt.st, tt.sit, longest)
			if tt.want.Why == "" {
				require.Empty(t, got.Why)
			}
			require.Contains(t, got.Why, tt.want.Why)
			got.Why, tt.want.Why = "", ""
			require.Equal(t, tt.want, got)
		})
	}
}

// What something else undoes again and again is healed ever more rarely, then given up and said once;
// two plans that alternate are no way around that.
func TestFlappingIsGivenUpOnce(t *testing.T) {
	for name, plans := range map[string][]string{"one plan": {"a"}, "two that alternate": {"a", "b"}} {
		t.Run(name, func(t *testing.T) {
			st, now, heals, stops := State{}, noon, map[string][]time.Time{}, map[string]int{}
			for i := range 20_000 {
				f := plans[i%len(plans)]
				d := Decide(healing(nil), st, Situation{Now: now, Revision: 1, Fingerprint: f}, longest)
				switch {
				case d.Do:
					heals[f] = append(heals[f], now)
					st = After(st, Outcome{Fingerprint: f, Revision: 1, Verified: true}, now, longest).InSync(now)
				case d.Stop:
					stops[f]++
					st = st.GiveUp(f)
				}
				now = now.Add(time.Second)
			}
			for _, f := range plans {
				require.Len(t, heals[f], MaxTries, f)
				require.Equal(t, 1, stops[f], f)
				for i, seconds := range []int{5, 10, 20, 40, 80, 160, 320} {
					require.InDelta(t, time.Duration(seconds)*time.Second, heals[f][i+1].Sub(heals[f][i]), float64(2*time.Second), "pause %d of %s", i, f)
				}
			}
			require.Equal(t, noon, heals["a"][0], "the first one at once")
		})
	}
}

func TestPauseIsCapped(t *testing.T) {
	require.Equal(t, firstPause, pause(1))
	require.Equal(t, 640*time.Second, pause(8))
	require.Equal(t, maxPause, pause(9))
	require.Equal(t, maxPause, pause(1<<20))
}

func TestAfterForgetsOldTroubles(t *testing.T) {
	st := State{}
	for i := range 3 * maxTroubles {
		before := len(st.Troubles)
		next := After(st, Outcome{Fingerprint: string(rune('a' + i)), Revision: 1, Verified: i == 3}, noon.Add(time.Duration(i)*time.Second), longest)
		require.Len(t, st.Troubles, before, "the state before is a value")
		st = next
	}
	require.Len(t, st.Troubles, maxTroubles)
	require.Equal(t, noon.Add(3*time.Second), st.LastVerified)
	st = After(st, Outcome{Fingerprint: "z", Revision: 2}, noon, longest)
	require.Len(t, st.Troubles, 1, "another wish, other troubles")
}

// Whatever the policy, the past and the situation: nothing but revocations is done outside of windows and
// in a suspension, nothing at all in another mode than heal, nothing after it was given up; and what
// waits is told until when, later than now.
func TestDecideNeverDoesWhatIsHeld(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := Default()
		p.Mode = rapid.SampledFrom([]Mode{Off, Report, Heal}).Draw(r, "mode")
		p.MaxDeletePercent = rapid.IntRange(0, 100).Draw(r, "percent")
		if rapid.Bool().Draw(r, "windows") {
			p.Windows = []Window{{"0 */4 * * *", time.Hour, "Europe/Berlin"}}
		}
		if rapid.Bool().Draw(r, "suspended") {
			p.SuspendedUntil = noon.Add(time.Duration(rapid.IntRange(-100, 100).Draw(r, "until")) * time.Minute)
		}
		random := func() float64 { return rapid.Float64Range(0, 0.999).Draw(r, "random") }
		fingerprint := rapid.SampledFrom([]string{"", "a", "b"})
		st, now, given := State{}, noon, map[string]bool{}
		for range rapid.IntRange(1, 40).Draw(r, "checks") {
			now = now.Add(time.Duration(rapid.IntRange(1, 600).Draw(r, "pass")) * time.Second)
			sit := Situation{
				Now: now, Revision: 1, Fingerprint: fingerprint.Draw(r, "all"), Revocations: fingerprint.Draw(r, "revoked"),
				Steps: 10, Removals: rapid.IntRange(0, 10).Draw(r, "removals"), Peers: 10,
			}
			d := Decide(p, st, sit, random)
			open, _ := p.Open(now)
			free := open && !now.Before(p.SuspendedUntil)
			require.False(r, d.Do && (p.Mode != Heal || sit.Fingerprint == ""))
			require.False(r, d.Do && !free && !d.Revoke)
			require.False(r, d.Revoke && (free || sit.Revocations == ""))
			require.False(r, d.Do && !d.NoRemovals && !d.Revoke && sit.Removals*10 > p.MaxDeletePercent)
			require.False(r, d.Do && given[d.Fingerprint])
			require.True(r, d.Wait.IsZero() || d.Wait.After(now))
			require.True(r, d.Do || d.Why != "" || sit.Fingerprint == "", "what is not done has a reason")
			switch {
			case d.Do:
				st = After(st, Outcome{Fingerprint: d.Fingerprint, Revision: 1, Verified: rapid.Bool().Draw(r, "verified")}, now, random)
			case d.Stop:
				given[d.Fingerprint] = true
				st = st.GiveUp(d.Fingerprint)
			}
		}
	})
}
