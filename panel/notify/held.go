package notify

import (
	"cmp"
	"slices"

	"github.com/wgfleet/wgfleet/panel/event"
)

// All that is held stands in one record of the store: these keep each of maxHeld things below 2 KiB there.
const (
	maxHeldIDs  = 5   // ids of events, the newest
	maxHeldText = 500 // bytes of its sentence, as it is stored
	maxHeldName = 200 // of a name
)

// records are what flaps, for the store; what is in the open message is not in them.
func (c *collector) records() []heldRecord {
	var out []heldRecord
	for k, t := range c.tracks {
		if t.level == 0 {
			continue
		}
		r := heldRecord{NodeID: k.node, Kind: k.kind, Subject: k.subject, Level: t.level, Until: t.until, Seen: t.story.seen}
		if len(t.story.lines) > 0 {
			one := joined(t.story.lines)
			ids := one.ids[max(0, len(one.ids)-maxHeldIDs):]
			r.Times, r.IDs, r.Since, r.Worst, r.Last = one.times, ids, one.since, one.worst, lastOf(one.last)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b heldRecord) int {
		return cmp.Or(cmp.Compare(a.NodeID, b.NodeID), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject))
	})
	return out
}

// restore goes on with what flapped before a restart.
func (c *collector) restore(held []heldRecord) {
	for _, r := range held {
		t := &track{level: r.Level, until: r.Until, story: story{seen: r.Seen}}
		if r.Last != nil {
			e := r.Last.event()
			e.NodeID, e.Kind, e.Subject = r.NodeID, r.Kind, r.Subject
			t.story.lines = []line{{last: e, times: r.Times, since: r.Since, worst: r.Worst, ids: r.IDs}}
			t.story.flaps = r.Times > 1
		}
		c.tracks[thing{node: r.NodeID, kind: r.Kind, subject: r.Subject}] = t
	}
}

func lastOf(e event.Event) *lastRecord {
	return &lastRecord{
		ID: e.ID, At: e.At, Severity: e.Severity, NodeName: clipStored(e.NodeName, maxHeldName), Message: clipStored(e.Message, maxHeldText),
		From: e.From, To: e.To, Revision: e.Revision, ActorKind: e.Actor.Kind, ActorID: e.Actor.ID, ActorName: clipStored(e.Actor.Name, maxHeldName),
	}
}

// clipStored keeps a text short, in bytes as it is stored: a character may take six there.
func clipStored(s string, most int) string {
	if stored(s) <= most {
		return s
	}
	if s = clip(s, most); stored(s) > most {
		return clip(s, most/6)
	}
	return s
}

func (r lastRecord) event() event.Event {
	return event.Event{
		ID: r.ID, At: r.At, Severity: r.Severity, NodeName: r.NodeName, Message: r.Message, From: r.From, To: r.To, Revision: r.Revision,
		Actor: event.Actor{Kind: r.ActorKind, ID: r.ActorID, Name: r.ActorName},
	}
}
