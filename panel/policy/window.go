package policy

import (
	"time"

	"github.com/netresearch/go-cron"
)

// Open reports whether healing is allowed now by the windows; where it is not, next is when it will
// be, zero for never. Without windows it always is. A window that can't be read counts as closed.
func (p Policy) Open(now time.Time) (open bool, next time.Time) {
	if len(p.Windows) == 0 {
		return true, time.Time{}
	}
	for _, w := range p.Windows {
		// The first start whose window has not ended yet: it is open, or the one to wait for.
		start := w.startAfter(now.Add(-w.Duration))
		switch {
		case start.IsZero():
		case !start.After(now):
			return true, time.Time{}
		case next.IsZero() || start.Before(next):
			next = start
		}
	}
	return false, next
}

// overlap is more than clocks are ever put back by.
const overlap = 3 * time.Hour

// startAfter returns the first start of the window after t, in UTC; zero: there is none.
//
// The expression is evaluated on the clock on the wall alone, as if that were UTC, and each of its
// times is put on the line of instants by onWall: so no start is lost where clocks are put forward, and
// none comes twice where they are put back.
func (w Window) startAfter(t time.Time) time.Time {
	s, err := parseCron(w.Cron)
	if err != nil {
		return time.Time{}
	}
	loc, err := location(w.TimeZone)
	if err != nil {
		return time.Time{}
	}
	return nextStart(s, loc, t)
}

func nextStart(s cron.Schedule, loc *time.Location, t time.Time) time.Time {
	for wall := s.Next(wallOf(t, loc).Add(-overlap)); !wall.IsZero(); wall = s.Next(wall) {
		if at := onWall(wall, loc); at.After(t) {
			return at
		}
	}
	return time.Time{}
}

// wallOf is what clocks in loc show at t, written as UTC.
func wallOf(t time.Time, loc *time.Location) time.Time {
	t = t.In(loc)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// onWall is the first instant at which clocks in loc show wall. Where they never do, since they are put
// forward across it, it is the moment in which they are.
func onWall(wall time.Time, loc *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, loc)
	begin, end := t.ZoneBounds() // of the offset that holds at t
	switch shown := wallOf(t, loc); {
	case shown.After(wall):
		return begin.UTC()
	case shown.Before(wall):
		return end.UTC()
	case begin.IsZero():
		return t.UTC()
	}
	_, before := begin.Add(-time.Second).Zone()
	if first := wall.Add(-time.Duration(before) * time.Second); first.Before(begin) {
		return first // clocks were put back since, and t is the second time
	}
	return t.UTC()
}
