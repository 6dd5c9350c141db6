package policy

import "time"

// Mode is how much the panel does by itself.
type Mode string

// The modes.
const (
	Off    Mode = "off"    // it does not look
	Report Mode = "report" // it looks and says what it sees
	Heal   Mode = "heal"   // and puts it right, as far as the policy allows
)

// Policy is all that holds for one node. Input has those of its fields that somebody gave.
type Policy struct {
	Mode     Mode
	Interval time.Duration // between two full looks, at most; see NextCheck
	Heal     Healing
	// MaxDeletePercent bounds what one healing may remove of the peers on the node, beside those that were
	// revoked: 0 for nothing, 100 for no bound.
	MaxDeletePercent int
	Windows          []Window  // when healing is allowed; none: always
	SuspendedUntil   time.Time // no healing before; zero: not suspended
}

// Healing says which differences are put right.
type Healing struct {
	Missing       bool
	Mismatched    bool
	PruneOrphaned bool // peers that were disabled, deleted or have expired: it is never held back
	PruneForeign  bool // unknown peers that it does not know
	Interface     bool
}

// Window is a time in which healing is allowed: from each moment that Cron names, for Duration.
type Window struct {
	Cron     string // minute, hour, day of month, day of week, as in crontab(5)
	Duration time.Duration
	TimeZone string // of the IANA database
}

// Limits of the fields.
const (
	MinInterval = 10 * time.Second
	MaxInterval = 24 * time.Hour
	MinWindow   = time.Minute
	MaxWindow   = 7 * 24 * time.Hour
	MaxWindows  = 32
)

// Default is what holds where nobody said anything: look every five minutes and change nothing.
func Default() Policy {
	return Policy{
		Mode: Report, Interval: 5 * time.Minute, MaxDeletePercent: 50,
		Heal: Healing{Missing: true, Mismatched: true, PruneOrphaned: true},
	}
}

// Input is a policy of which some fields are given; nil: not given.
type Input struct {
	Mode             *Mode
	Interval         *time.Duration
	Missing          *bool
	Mismatched       *bool
	PruneOrphaned    *bool
	PruneForeign     *bool
	Interface        *bool
	MaxDeletePercent *int
	Windows          *[]Window // an empty list is given: always
	SuspendedUntil   *time.Time
}

// Merge puts the given fields over p. Of two suspensions the later one holds: a suspended fleet is
// suspended on each node, whatever an older suspension of the node said.
func (p Policy) Merge(in Input) Policy {
	give(&p.Mode, in.Mode)
	give(&p.Interval, in.Interval)
	give(&p.Heal.Missing, in.Missing)
	give(&p.Heal.Mismatched, in.Mismatched)
	give(&p.Heal.PruneOrphaned, in.PruneOrphaned)
	give(&p.Heal.PruneForeign, in.PruneForeign)
	give(&p.Heal.Interface, in.Interface)
	give(&p.MaxDeletePercent, in.MaxDeletePercent)
	give(&p.Windows, in.Windows)
	if in.SuspendedUntil != nil && in.SuspendedUntil.After(p.SuspendedUntil) {
		p.SuspendedUntil = *in.SuspendedUntil
	}
	return p
}

func give[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

// NextCheck is the time until the next full look: the interval ± 20 %, so that many nodes do not
// keep step. random gives numbers in [0, 1).
func (p Policy) NextCheck(random func() float64) time.Duration {
	return time.Duration(float64(p.Interval) * (0.8 + 0.4*random()))
}
