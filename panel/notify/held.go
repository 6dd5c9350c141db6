package notify

import (
	"cmp"
	"slices"

	"github.com/wgfleet/wgfleet/panel/event"
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
			r.Times, r.IDs, r.Since, r.Worst, r.Last = one.times, one.ids, one.since, one.worst, lastOf(one.last)
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
		ID: e.ID, At: e.At, Severity: e.Severity, NodeName: e.NodeName, Message: e.Message, From: e.From, To: e.To, Revision: e.Revision,
		ActorKind: e.Actor.Kind, ActorID: e.Actor.ID, ActorName: e.Actor.Name,
	}
}

func (r lastRecord) event() event.Event {
	return event.Event{
		ID: r.ID, At: r.At, Severity: r.Severity, NodeName: r.NodeName, Message: r.Message, From: r.From, To: r.To, Revision: r.Revision,
		Actor: event.Actor{Kind: r.ActorKind, ID: r.ActorID, Name: r.ActorName},
	}
}
