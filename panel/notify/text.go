package notify

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/wgfleet/wgfleet/panel/event"
)

// maxSentence is how much of one event's sentence is told, in bytes: agents have a say in it.
const maxSentence = 500

// clean makes one line of a text that others had a say in: without control characters, and without those that turn
// the direction of what follows.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return clip(strings.Join(strings.Fields(s), " "), maxSentence)
}

// sentence tells a line without its time and severity.
func (l line) sentence() string {
	e := l.last
	text := clean(e.Message)
	if l.times > 1 {
		what := string(e.Kind)
		if e.Subject != "" {
			what = e.Subject
		}
		text = fmt.Sprintf("%s changed %d times since %s, now %s: %s", clean(what), l.times, clock(l.since), clean(e.To), text)
	}
	if e.NodeName != "" {
		text = clean(e.NodeName) + ": " + text
	}
	return text
}

func clock(t time.Time) string { return t.UTC().Format(time.TimeOnly) }

// changes are one sentence each.
func (l line) changes() []string {
	out := make([]string, 0, len(l.last.Changes)+1)
	for _, c := range l.last.Changes {
		what := "interface"
		if c.Peer != "" {
			what = c.Peer
		}
		if c.Name != "" {
			what += " (" + c.Name + ")"
		}
		text := fmt.Sprintf("%s %s: %s", c.Op, what, c.Outcome)
		if c.Error != "" {
			text += ", " + c.Error
		}
		out = append(out, clean(text))
	}
	if l.cut > 0 {
		out = append(out, fmt.Sprintf("and %d more", l.cut))
	}
	return out
}

// headline tells the message in one line.
func (m message) headline() string {
	if len(m.lines) == 1 && m.omitted == 0 {
		return string(m.lines[0].worst) + ": " + m.lines[0].sentence()
	}
	worst := event.Info
	for _, l := range m.lines {
		if l.worst.Rank() > worst.Rank() {
			worst = l.worst
		}
	}
	return fmt.Sprintf("%s: %d events", worst, m.events())
}

// leftOut says what the lines do not tell; "" where they tell all.
func (m message) leftOut() string {
	if m.omitted == 0 {
		return ""
	}
	return fmt.Sprintf("%d earlier events are not in this message; the panel's log of events has them.", m.omitted)
}
