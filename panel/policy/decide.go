package policy

import (
	"fmt"
	"slices"
	"time"
)

// How healing backs off.
const (
	MaxTries    = 8                // of one trouble, then it stops
	firstPause  = 5 * time.Second  // doubles with each try
	maxPause    = 15 * time.Minute // and never exceeds this
	memory      = 10 * time.Minute // after the last try and its pause, a trouble is a new one
	maxTroubles = 16
	// spread is over how long the nodes begin that all waited for one moment.
	spread = 30 * time.Second
)

// State is what healing remembers of one node. The zero value remembers nothing: it is the state
// after a person's reconciliation, too.
type State struct {
	Revision     uint64    // of the desired state that the troubles are about
	Troubles     []Trouble // the newest last
	LastVerified time.Time // when healing last did all that it set out to do; zero: never
}

// Trouble is one plan that was carried out, and may be needed again.
type Trouble struct {
	Fingerprint string
	Tries       int
	At          time.Time // of the last try
	NotBefore   time.Time // the next one
	Stopped     bool      // it was given up
}

// forgotten reports whether the trouble has been away for so long that it is a new one when it comes.
func (t Trouble) forgotten(now time.Time) bool { return now.Sub(t.NotBefore) >= memory }

// Situation is what a check saw.
type Situation struct {
	Now         time.Time
	Revision    uint64 // of the desired state
	Fingerprint string // of all that the policy would have done; "": nothing
	Revocations string // the same of its removals of revoked peers alone; "": there are none
	Steps       int    // of the whole plan
	Removals    int    // steps that take off a peer that nobody revoked
	Peers       int    // on the node
}

// Decision says what may be done now.
type Decision struct {
	Do         bool // carry out the plan, as far as the next two allow
	Revoke     bool // only its removals of revoked peers
	NoRemovals bool // only what removes nothing, beside revoked peers
	// Fingerprint is of the plan that was decided about: Situation's whole one, or that of its revocations.
	Fingerprint string
	Wait        time.Time // not done now: when to decide again; zero: when the situation is another
	Stop        bool      // it is given up, just now: say so, and keep State.GiveUp
	Stopped     bool      // it was given up before
	Why         string    // one sentence where not all is done; "" else
}

// Decide says whether to heal. random gives numbers in [0, 1).
func Decide(p Policy, st State, sit Situation, random func() float64) Decision {
	d := Decision{Fingerprint: sit.Fingerprint}
	if sit.Fingerprint == "" {
		return d
	}
	if p.Mode != Heal {
		d.Why = fmt.Sprintf("the mode is %s: nothing is healed", p.Mode)
		return d
	}
	if why, until := p.held(sit.Now); why != "" {
		if d.Why = why; !until.IsZero() {
			d.Wait = until.Add(time.Duration(random() * float64(spread)))
		}
		if sit.Revocations == "" {
			return d
		}
		d.Revoke, d.Fingerprint = true, sit.Revocations
	}
	if t, known := st.trouble(d.Fingerprint, sit.Revision, sit.Now); known && !d.again(t, sit.Now) {
		return d
	}
	d.Do = true
	if !d.Revoke && sit.Removals*100 > p.MaxDeletePercent*sit.Peers {
		d.NoRemovals, d.Do = true, sit.Steps > sit.Removals
		d.Why = fmt.Sprintf("%d of the %d peers on the node would be removed, which is more than %d %% (max_delete_percent): none of them is",
			sit.Removals, sit.Peers, p.MaxDeletePercent)
	}
	return d
}

// again decides about a trouble that was there before.
func (d *Decision) again(t Trouble, now time.Time) bool {
	switch {
	case t.Stopped:
		d.Stopped = true
	case t.Tries >= MaxTries:
		d.Stop = true
	case now.Before(t.NotBefore):
		if d.Wait.IsZero() || t.NotBefore.Before(d.Wait) {
			d.Wait = t.NotBefore
		}
		d.Why = fmt.Sprintf("healing did not help %s: the next try is at %s", times(t.Tries), t.NotBefore.UTC().Format(time.RFC3339))
		return false
	default:
		return true
	}
	d.Why = fmt.Sprintf("healing did not help %s and has stopped: it goes on when the node or what the panel wants changes, or after a reconciliation that somebody asks for", times(t.Tries))
	return false
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// held says why nothing but revocations may be done now, and until when; zero: nobody knows.
func (p Policy) held(now time.Time) (why string, until time.Time) {
	if now.Before(p.SuspendedUntil) {
		return "healing is suspended until " + p.SuspendedUntil.UTC().Format(time.RFC3339), p.SuspendedUntil
	}
	open, next := p.Open(now)
	switch {
	case open:
		return "", time.Time{}
	case next.IsZero():
		return "healing is outside of its windows, and none comes", time.Time{}
	}
	return "healing is outside of its windows: the next one opens at " + next.Format(time.RFC3339), next
}

// trouble returns what is remembered of a plan, where it is not a new one.
func (st State) trouble(fingerprint string, revision uint64, now time.Time) (Trouble, bool) {
	i := st.index(fingerprint)
	if i < 0 || st.Revision != revision {
		return Trouble{}, false
	}
	t := st.Troubles[i]
	return t, t.Stopped || !t.forgotten(now)
}

func (st State) index(fingerprint string) int {
	return slices.IndexFunc(st.Troubles, func(t Trouble) bool { return t.Fingerprint == fingerprint })
}

// Outcome is how a healing ended.
type Outcome struct {
	Fingerprint string // Decision's
	Revision    uint64
	Verified    bool // all of it was done and read back
}

// After is the state after a healing. Whether it helped shows when its plan is needed again, be it
// at once, since it failed, or soon, since something undoes it: then a pause is kept, longer each time.
func After(st State, o Outcome, now time.Time, random func() float64) State {
	t, known := st.trouble(o.Fingerprint, o.Revision, now)
	if !known {
		t = Trouble{Fingerprint: o.Fingerprint}
	}
	t.Tries++
	t.At = now
	t.NotBefore = now.Add(time.Duration(random() * float64(pause(t.Tries))))
	troubles := []Trouble{}
	if st.Revision == o.Revision {
		troubles = slices.DeleteFunc(slices.Clone(st.Troubles), func(t Trouble) bool { return t.Fingerprint == o.Fingerprint })
	}
	troubles = append(troubles, t)
	st.Revision, st.Troubles = o.Revision, troubles[max(0, len(troubles)-maxTroubles):]
	if o.Verified {
		st.LastVerified = now
	}
	return st
}

// pause is the longest pause after so many tries.
func pause(tries int) time.Duration {
	d := firstPause
	for range tries - 1 {
		if d *= 2; d >= maxPause {
			return maxPause
		}
	}
	return d
}

// GiveUp is the state after a Decision to stop.
func (st State) GiveUp(fingerprint string) State {
	st.Troubles = slices.Clone(st.Troubles)
	if i := st.index(fingerprint); i >= 0 {
		st.Troubles[i].Stopped = true
	}
	return st
}

// InSync is the state after a check that found nothing to heal: a trouble that stays away is forgotten,
// also one that was given up.
func (st State) InSync(now time.Time) State {
	st.Troubles = slices.DeleteFunc(slices.Clone(st.Troubles), func(t Trouble) bool { return t.forgotten(now) })
	return st
}
