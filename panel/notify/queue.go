package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// Bounds of a channel's queue and log.
const (
	maxPending  = 50  // deliveries that wait; the oldest is dropped for the next, and counted
	maxFinished = 200 // deliveries that the log keeps
)

// Status is how a delivery stands.
type Status string

// The statuses of a delivery.
const (
	Pending   Status = "pending"   // it waits for its next attempt
	Delivered Status = "delivered" // the receiver took it
	Failed    Status = "failed"    // it was given up
	Dropped   Status = "dropped"   // others needed its place; the next delivery says how many events went with it
)

// Delivery is what the log says of a message.
type Delivery struct {
	ID          string
	Status      Status
	Test        bool
	EventIDs    []string // the newest of them
	Events      int      // how many it tells of
	Attempts    int
	Code        int    // the last HTTP status or SMTP reply code; 0: there was no answer
	Reply       string // the last reply of a mail server, or Slack's code, clipped
	Error       string // of the last attempt; "" where it succeeded
	NextAttempt time.Time
	At          time.Time
	UpdatedAt   time.Time
}

// enqueue keeps a message as a delivery that is due, and how far the channel has come, in one transaction: an event is
// neither lost nor told by two deliveries. errStopped: the channel is disabled or gone.
func (n *Notifier) enqueue(ctx context.Context, c Channel, m message, cursor string, held []heldRecord) error {
	now := n.now()
	id, err := n.newID()
	if err != nil {
		return err
	}
	return n.o.Store.Update(ctx, func(tx store.Tx) error {
		progress, err := active(tx, c.ID)
		if err != nil {
			return err
		}
		dropped, err := makeRoom(tx, c.ID, now)
		if err != nil {
			return err
		}
		told := m
		told.omitted += progress.Dropped + dropped
		p, err := told.compose(c.Kind)
		if err != nil {
			return err
		}
		return errors.Join(
			deliveryTable.In(c.ID).Put(tx, id, deliveryRecord{
				Status: Pending, EventIDs: m.ids(), Events: told.events(), Failures: m.onlyFailures(), NextAttempt: now, At: now, UpdatedAt: now,
			}),
			payloadTable.In(c.ID).Put(tx, id, p),
			progressTable.Put(tx, c.ID, progressRecord{Cursor: cursor, Held: held}),
		)
	})
}

// drop goes on without a message: the next delivery says how many events it told of, and other channels are told now.
// What is held is forgotten where it is what the store does not take.
func (n *Notifier) drop(ctx context.Context, c Channel, m message, cursor string, held []heldRecord) error {
	skip := func(held []heldRecord) error {
		return n.o.Store.Update(ctx, func(tx store.Tx) error {
			progress, err := active(tx, c.ID)
			if err != nil {
				return err
			}
			return progressTable.Put(tx, c.ID, progressRecord{Cursor: cursor, Dropped: progress.Dropped + m.events(), Held: held})
		})
	}
	err := skip(held)
	if errors.Is(err, store.ErrTooLarge) {
		err = skip(nil)
	}
	if err != nil || m.onlyFailures() {
		return err
	}
	n.tellFailed(ctx, fmt.Sprintf("the channel %s was not told of %d events: their message is larger than the store takes", c.Name, m.events()))
	return nil
}

// active reads how far a channel has come that is to be told.
func active(tx store.Tx, id string) (progressRecord, error) {
	c, err := getChannel(tx, id)
	if errors.Is(err, ErrNotFound) || err == nil && !c.Enabled {
		return progressRecord{}, errStopped
	}
	if err != nil {
		return progressRecord{}, err
	}
	return progressTable.Get(tx, id)
}

// onlyFailures: what fails to be told of such a message is told to nobody, or two dead channels would tell each
// other of each other for ever.
func (m message) onlyFailures() bool {
	for _, l := range m.lines {
		if l.last.Kind != event.NotificationFailed {
			return false
		}
	}
	return true
}

// makeRoom drops the oldest pending deliveries where there are too many; it returns how many events are told by
// nobody now.
func makeRoom(tx store.Tx, channel string, now time.Time) (dropped int, err error) {
	pending, finished, err := byState(tx, channel)
	if err != nil {
		return 0, err
	}
	for ; len(pending) >= maxPending; pending = pending[1:] {
		r := pending[0].Value
		r.Error = "more deliveries wait than there is room for: the next one says how many events are not told"
		dropped += r.Events
		if err := finish(tx, channel, pending[0].ID, r, Dropped, now); err != nil {
			return 0, err
		}
	}
	return dropped, shorten(tx, channel, finished)
}

// shorten keeps the log of finished deliveries at its length.
func shorten(tx store.Tx, channel string, finished []store.Row[deliveryRecord]) error {
	for ; len(finished) >= maxFinished; finished = finished[1:] {
		if err := deliveryTable.In(channel).Delete(tx, finished[0].ID); err != nil {
			return err
		}
	}
	return nil
}

// byState reads a channel's deliveries, the oldest first.
func byState(tx store.Tx, channel string) (pending, finished []store.Row[deliveryRecord], err error) {
	for row, err := range deliveryTable.In(channel).All(tx, "") {
		switch {
		case err != nil:
			return nil, nil, err
		case row.Value.Status == Pending:
			pending = append(pending, row)
		default:
			finished = append(finished, row)
		}
	}
	return pending, finished, nil
}

// finish ends a delivery; what it would have sent is forgotten.
func finish(tx store.Tx, channel, id string, r deliveryRecord, s Status, now time.Time) error {
	r.Status, r.NextAttempt, r.UpdatedAt = s, time.Time{}, now
	return errors.Join(deliveryTable.In(channel).Put(tx, id, r), payloadTable.In(channel).Delete(tx, id))
}

// giveUp fails all that a channel has not delivered, and returns how many events those tell of.
func giveUp(tx store.Tx, channel string, now time.Time, why string) (events int, err error) {
	pending, _, err := byState(tx, channel)
	for _, row := range pending {
		r := row.Value
		r.Error = why
		events += r.Events
		err = errors.Join(err, finish(tx, channel, row.ID, r, Failed, now))
	}
	return events, err
}

// moveOn keeps how far the channel has come where there was nothing to tell.
func (n *Notifier) moveOn(ctx context.Context, id, cursor string, held []heldRecord) error {
	err := n.o.Store.Update(ctx, func(tx store.Tx) error {
		progress, err := active(tx, id)
		if err != nil {
			return err
		}
		progress.Cursor, progress.Held = cursor, held
		return progressTable.Put(tx, id, progress)
	})
	if errors.Is(err, errStopped) {
		return nil
	}
	return err
}

// due is a delivery that is to be attempted now.
type due struct {
	id      string
	at      time.Time // when it was made
	payload payload
	reached []string // recipients who have it
}

// nextDue returns the oldest delivery that is due, or when the next one is; zero: there is none.
func (n *Notifier) nextDue(ctx context.Context, channel string) (d *due, next time.Time, err error) {
	now := n.now()
	err = n.o.Store.View(ctx, func(tx store.Tx) error {
		d, next = nil, time.Time{}
		for row, err := range deliveryTable.In(channel).All(tx, "") {
			if err != nil {
				return err
			}
			r := row.Value
			if r.Status != Pending {
				continue
			}
			if !r.NextAttempt.After(now) {
				p, err := payloadTable.In(channel).Get(tx, row.ID)
				d = &due{id: row.ID, at: r.At, payload: p, reached: r.Reached}
				return err
			}
			if next.IsZero() || r.NextAttempt.Before(next) {
				next = r.NextAttempt
			}
		}
		return nil
	})
	return d, next, err
}

// Deliveries lists what a channel was sent, the newest first, older than the one with the id before; "" is newer than
// all. limit 0: all.
func (n *Notifier) Deliveries(ctx context.Context, channel string, limit int, before string) (list []Delivery, next string, err error) {
	err = n.o.Store.View(ctx, func(tx store.Tx) error {
		list, next = []Delivery{}, ""
		if _, err := getChannel(tx, channel); err != nil {
			return err
		}
		var rows []store.Row[deliveryRecord]
		for row, err := range deliveryTable.In(channel).All(tx, "") {
			if err != nil {
				return err
			}
			if before == "" || row.ID < before {
				rows = append(rows, row)
			}
		}
		for _, row := range slices.Backward(rows) {
			if limit > 0 && len(list) == limit {
				next = list[limit-1].ID
				break
			}
			list = append(list, row.Value.delivery(row.ID))
		}
		return nil
	})
	return list, next, err
}
