package notify

import (
	"cmp"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
)

// Bounds of what is collected and told at once.
const (
	maxLines = 100 // of one delivery; older ones are counted
	maxIDs   = 100 // of one delivery's log
	maxHeld  = 200 // flapping things that are held at the same time; more are told at once
	maxStory = 20  // lines of one thing; older ones become one
	// maxChanges is how many changes of an event are told; the log of events has all.
	maxChanges = 20
)

// The window of what flaps: doubled each time, from minFlapWindow or the channel's debounce, whichever is more.
const (
	minFlapWindow = DefaultDebounce
	maxFlapWindow = 15 * time.Minute
)

// line is what one line of a message tells: an event, or the last of many of a thing that flaps.
type line struct {
	last  event.Event
	times int            // how many events it stands for
	since time.Time      // of the first
	worst event.Severity // of all
	ids   []string       // the newest maxIDs
	cut   int            // changes of last that are not told
}

func lineOf(e event.Event) line {
	l := line{last: e, times: 1, since: e.At, worst: e.Severity, ids: []string{e.ID}}
	if l.cut = max(0, len(e.Changes)-maxChanges); l.cut > 0 {
		l.last.Changes = slices.Clone(e.Changes[:maxChanges])
	}
	return l
}

// join puts another line after this one.
func (l line) join(next line) line {
	next.times += l.times
	next.since = l.since
	if l.worst.Rank() > next.worst.Rank() {
		next.worst = l.worst
	}
	next.ids = newest(append(slices.Clone(l.ids), next.ids...))
	next.last.Changes, next.cut = nil, 0 // of the last change alone: they tell nothing of all
	return next
}

func newest(ids []string) []string { return ids[max(0, len(ids)-maxIDs):] }

// thing is what goes back and forth: a verdict or a condition of a node.
type thing struct {
	node    string
	kind    event.Kind
	subject string
}

// thingOf is not ok for an event that is no change between two states.
func thingOf(e event.Event) (t thing, ok bool) {
	return thing{node: e.NodeID, kind: e.Kind, subject: e.Subject}, e.From != "" && e.To != ""
}

// story is what happened to one thing while it is collected.
type story struct {
	lines []line
	seen  []string // states that it was in, the last one at the end
	flaps bool     // it came back to a state that it was in before
}

func (s *story) add(l line) {
	if len(s.seen) == 0 {
		s.seen = []string{l.last.From}
	}
	back := slices.Contains(s.seen[:len(s.seen)-1], l.last.To)
	if s.seen[len(s.seen)-1] != l.last.To {
		s.seen = append(slices.DeleteFunc(s.seen, func(state string) bool { return state == l.last.To }), l.last.To)
	}
	s.flaps = s.flaps || back
	s.lines = append(s.lines, l)
	if s.flaps {
		s.lines = []line{joined(s.lines)}
	} else if n := len(s.lines) - maxStory; n > 0 {
		s.lines = append([]line{joined(s.lines[:n+1])}, s.lines[n+1:]...)
	}
}

func joined(lines []line) line {
	one := lines[0]
	for _, next := range lines[1:] {
		one = one.join(next)
	}
	return one
}

// track is what is known of a thing after it was told.
type track struct {
	level int       // how often it flapped in a row; 0: it does not, and is not held
	until time.Time // when it is told again, or forgotten
	story story     // what happened since
}

// collector gathers the events of one channel: those of a debounce become one message, and what flaps becomes one
// line, told again after a window that grows. It is a value in time: who calls says when it is.
type collector struct {
	debounce time.Duration
	opened   time.Time // when the first event of the message came
	singles  []line
	stories  map[thing]*story
	tracks   map[thing]*track
	omitted  int // lines that were too many
}

func newCollector(debounce time.Duration) *collector {
	return &collector{debounce: debounce, stories: map[thing]*story{}, tracks: map[thing]*track{}}
}

// message is what one delivery tells.
type message struct {
	lines   []line // the oldest first
	omitted int    // events beside them that are not told
	test    bool
	at      time.Time
}

// events is how many events the message stands for, those included that are only counted.
func (m message) events() int {
	n := m.omitted
	for _, l := range m.lines {
		n += l.times
	}
	return n
}

func (m message) ids() []string {
	var ids []string
	for _, l := range m.lines {
		ids = append(ids, l.ids...)
	}
	slices.Sort(ids)
	return newest(ids)
}

// add takes an event in.
func (c *collector) add(e event.Event, now time.Time) {
	c.release(now)
	k, changes := thingOf(e)
	if !changes {
		c.open(now)
		c.singles = append(c.singles, lineOf(e))
		c.bound()
		return
	}
	t := c.tracks[k]
	if t != nil && t.level > 0 && c.stories[k] == nil {
		t.story.add(lineOf(e))
		return
	}
	c.open(now)
	c.storyOf(k).add(lineOf(e))
	c.bound()
}

// storyOf goes on where the thing was when it was last told.
func (c *collector) storyOf(k thing) *story {
	s := c.stories[k]
	if s == nil {
		s = &story{}
		if t := c.tracks[k]; t != nil {
			s.seen = slices.Clone(t.story.seen)
		}
		c.stories[k] = s
	}
	return s
}

func (c *collector) open(now time.Time) {
	if c.opened.IsZero() {
		c.opened = now
	}
}

// bound counts the oldest single line where there are too many; stories are as many as things.
func (c *collector) bound() {
	if n := len(c.singles) - maxLines; n > 0 {
		c.omitted += n
		c.singles = slices.Clone(c.singles[n:])
	}
}

// release lets what was held long enough into the message, and forgets what has calmed down.
func (c *collector) release(now time.Time) {
	for k, t := range c.tracks {
		if now.Before(t.until) || c.stories[k] != nil {
			continue
		}
		if len(t.story.lines) == 0 {
			delete(c.tracks, k)
			continue
		}
		c.open(now)
		held := t.story
		c.stories[k] = &held
		t.story = story{}
	}
}

// next is when there is something to do; zero: not until another event comes.
func (c *collector) next() time.Time {
	var at time.Time
	if !c.opened.IsZero() {
		at = c.opened.Add(c.debounce)
	}
	for k, t := range c.tracks {
		if len(t.story.lines) > 0 && c.stories[k] == nil && (at.IsZero() || t.until.Before(at)) {
			at = t.until
		}
	}
	return at
}

// collected reports whether anything waits to be told.
func (c *collector) collected() bool { return !c.next().IsZero() }

// take returns the message that is due now, if one is.
func (c *collector) take(now time.Time) (message, bool) {
	c.release(now)
	if c.opened.IsZero() || now.Before(c.opened.Add(c.debounce)) {
		return message{}, false
	}
	return c.takeOpen(now), true
}

// takeAll returns what was collected, due or not.
func (c *collector) takeAll(now time.Time) (message, bool) {
	if !c.collected() {
		return message{}, false
	}
	for k, t := range c.tracks {
		if c.stories[k] == nil {
			t.until = now
		}
	}
	c.release(now)
	return c.takeOpen(now), true
}

func (c *collector) takeOpen(now time.Time) message {
	m := message{lines: c.singles, omitted: c.omitted, at: now}
	for k, s := range c.stories {
		m.lines = append(m.lines, s.lines...)
		c.follow(k, s, now)
	}
	c.opened, c.singles, c.omitted = time.Time{}, nil, 0
	clear(c.stories)
	slices.SortFunc(m.lines, func(a, b line) int { return cmp.Compare(a.last.ID, b.last.ID) })
	for len(m.lines) > maxLines {
		m.omitted += m.lines[0].times
		m.lines = m.lines[1:]
	}
	return m
}

// follow keeps an eye on a thing that was told.
func (c *collector) follow(k thing, s *story, now time.Time) {
	t := c.tracks[k]
	if t == nil {
		t = &track{}
		c.tracks[k] = t
	}
	if s.flaps && (t.level > 0 || c.held() < maxHeld) {
		t.level++
	}
	t.until = now.Add(c.window(max(1, t.level)))
	t.story = story{seen: s.seen}
}

func (c *collector) held() int {
	n := 0
	for _, t := range c.tracks {
		if t.level > 0 {
			n++
		}
	}
	return n
}

// window is how long what flapped for the level's time is held.
func (c *collector) window(level int) time.Duration {
	w := max(c.debounce, minFlapWindow)
	for range level {
		if w *= 2; w >= maxFlapWindow {
			return maxFlapWindow
		}
	}
	return w
}
