package notify

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// desk plays events into a collector, second by second, and notes what it tells and when.
type desk struct {
	*collector
	count int
	told  []string // "SECOND: sentence | sentence"
}

func newDesk(debounce time.Duration) *desk { return &desk{collector: newCollector(debounce)} }

func (d *desk) at(second int, events ...event.Event) {
	now := began.Add(time.Duration(second) * time.Second)
	for _, e := range events {
		d.count++
		e.ID, e.At = fmt.Sprintf("%04d", d.count), now
		d.add(e, now)
	}
	if m, due := d.take(now); due {
		text := fmt.Sprintf("%d:", second)
		for _, l := range m.lines {
			text += " " + l.sentence() + ";"
		}
		if m.omitted > 0 {
			text += fmt.Sprintf(" %d omitted", m.omitted)
		}
		d.told = append(d.told, text)
	}
}

func TestEventsAreToldTogether(t *testing.T) {
	d := newDesk(30 * time.Second)
	for s := range 200 {
		switch s {
		case 5, 20, 34:
			d.at(s, planned(fmt.Sprintf("plan at %d", s)))
		case 100:
			d.at(s, planned("another"))
		default:
			d.at(s)
		}
	}
	require.Equal(t, []string{"35: n1: plan at 5; n1: plan at 20; n1: plan at 34;", "130: n1: another;"}, d.told)
	require.True(t, d.next().IsZero())
}

func TestWithoutDebounceAllIsToldAtOnce(t *testing.T) {
	d := newDesk(0)
	d.at(1, planned("a"))
	d.at(2, reachable("n1", "True", "False"))
	require.Equal(t, []string{"1: n1: a;", "2: n1: Reachable is False;"}, d.told)
}

// Two conditions of one node, and another node's, are three things.
func TestThingsAreToldApart(t *testing.T) {
	d := newDesk(30 * time.Second)
	clock := event.Event{Kind: event.ConditionChanged, Subject: "ClockInSync", NodeID: "n1", NodeName: "n1", From: "True", To: "Unknown", Message: "ClockInSync is Unknown"}
	d.at(0, reachable("n1", "True", "False"), clock, reachable("n2", "True", "False"), reachable("n2", "False", "True"))
	d.at(30)
	require.Equal(t, []string{
		"30: n1: Reachable is False; n1: ClockInSync is Unknown; n2: Reachable changed 2 times since 12:00:00, now True: Reachable is True;",
	}, d.told)
}

// Another drift is no return to what was.
func TestNewsOfTheSameStateIsNoFlapping(t *testing.T) {
	d := newDesk(30 * time.Second)
	drift := func(from, to, message string) event.Event {
		return event.Event{Kind: event.DriftChanged, NodeID: "n1", From: from, To: to, Message: message}
	}
	d.at(0, drift("in_sync", "drift", "1 missing"), drift("drift", "drift", "2 missing"))
	d.at(30)
	require.Equal(t, []string{"30: 1 missing; 2 missing;"}, d.told)
}

// A node that flaps every 10 seconds for an hour is told of in windows that grow to 15 minutes; then it is calm, and
// its next change is told as quickly as any.
func TestFlappingIsToldInWindowsThatGrow(t *testing.T) {
	d := newDesk(30 * time.Second)
	states := [2]string{"True", "False"}
	for s := range 3 * 3600 {
		switch {
		case s < 3600 && s%10 == 0:
			i := s / 10 % 2
			d.at(s, reachable("n1", states[i], states[1-i]))
		case s == 2*3600:
			d.at(s, reachable("n1", "True", "False"))
		default:
			d.at(s)
		}
	}
	var seconds, changes []int
	total := 0
	for _, text := range d.told {
		var second, n int
		_, err := fmt.Sscanf(text, "%d: n1: Reachable changed %d times", &second, &n)
		if err != nil {
			n = 1
		}
		seconds, changes, total = append(seconds, second), append(changes, n), total+n
	}
	require.Equal(t, []int{30, 120, 270, 540, 1050, 1980, 2910, 3840, 7230}, seconds)
	require.Equal(t, 361, total, "%v", changes)
	require.Equal(t, "7230: n1: Reachable is False;", d.told[len(d.told)-1])
}

// Slower than the debounce, and still it flaps.
func TestSlowFlappingIsSeen(t *testing.T) {
	d := newDesk(30 * time.Second)
	states := [2]string{"True", "False"}
	for s := range 1200 {
		if s%40 == 0 {
			i := s / 40 % 2
			d.at(s, reachable("n1", states[i], states[1-i]))
		} else {
			d.at(s)
		}
	}
	require.Less(t, len(d.told), 7, "%v", d.told)
}

// What flaps delays nobody else.
func TestOthersAreToldWhileOneFlaps(t *testing.T) {
	d := newDesk(10 * time.Second)
	for s := range 100 {
		states := [2]string{"True", "False"}
		var events []event.Event
		if s%2 == 0 {
			events = append(events, reachable("n1", states[s/2%2], states[1-s/2%2]))
		}
		if s == 40 {
			events = append(events, reachable("n2", "True", "False"))
		}
		d.at(s, events...)
	}
	require.Contains(t, d.told, "50: n2: Reachable is False;")
}

// What is held goes through the store and back.
func TestHeldIsRestored(t *testing.T) {
	d := newDesk(30 * time.Second)
	flap := []event.Event{reachable("n1", "True", "False"), reachable("n1", "False", "True")}
	d.at(0, flap...)
	d.at(30)
	d.at(40, flap...)
	d.at(45, flap...)
	b, err := json.Marshal(d.records())
	require.NoError(t, err)
	var held []heldRecord
	require.NoError(t, json.Unmarshal(b, &held))
	next := newDesk(30 * time.Second)
	next.restore(held)
	require.Equal(t, d.next(), next.next())
	for s := 46; s < 200; s++ {
		d.at(s)
		next.at(s)
	}
	require.Equal(t, d.told[1:], next.told)
	require.Equal(t, []string{"120: n1: Reachable changed 4 times since 12:00:40, now True: Reachable is True;"}, next.told)
}

// As many things as can be held, each with much to tell, fit into the record that they are kept in.
func TestHeldFitsTheStore(t *testing.T) {
	w := newWorld(t, nil)
	d := newDesk(30 * time.Second)
	flap := func(second int) {
		for node := range maxHeld {
			for i := range 100 {
				states := [2]string{"True", "False"}
				e := reachable(fmt.Sprintf("0199a0b1-0000-7000-8000-%012d", node), states[i%2], states[1-i%2])
				e.NodeName, e.Message = strings.Repeat("<", 128), strings.Repeat("<", 6<<10)
				e.Actor = event.Actor{Kind: event.ActorSystem, Name: strings.Repeat("&", 128)}
				d.count++
				e.ID, e.At = fmt.Sprintf("0199a0b1-0000-7000-8000-%012d", d.count), began
				d.add(e, began.Add(time.Duration(second)*time.Second))
			}
		}
	}
	flap(0)
	d.at(30)
	flap(31)
	held := d.records()
	require.Len(t, held, maxHeld)
	require.Equal(t, 100, held[0].Times)
	require.Equal(t, fmt.Sprintf("0199a0b1-0000-7000-8000-%012d", maxHeld*100+100), held[0].IDs[maxHeldIDs-1])
	require.NoError(t, w.store.Update(t.Context(), func(tx store.Tx) error {
		return progressTable.Put(tx, "c", progressRecord{Held: held})
	}))
}

// However much happens, what is kept is bounded, and the rest is counted.
func TestCollectedIsBounded(t *testing.T) {
	d := newDesk(30 * time.Second)
	for i := range 3 * maxLines {
		e := planned(fmt.Sprint(i))
		e.Changes = make([]event.Change, 200)
		d.at(0, e)
	}
	for node := range 50 {
		for i := range 100 {
			d.at(1, event.Event{Kind: event.DriftChanged, NodeID: fmt.Sprint(node), From: "drift", To: "drift", Message: fmt.Sprint(i)})
		}
	}
	require.Len(t, d.singles, maxLines)
	require.Len(t, d.singles[0].last.Changes, maxChanges)
	require.Equal(t, 200-maxChanges, d.singles[0].cut)
	for _, s := range d.stories {
		require.Len(t, s.lines, maxStory)
	}
	m, due := d.take(began.Add(time.Minute))
	require.True(t, due)
	require.Len(t, m.lines, maxLines)
	require.Equal(t, 3*maxLines+50*100, m.events())
	require.Len(t, m.ids(), maxIDs)
}
