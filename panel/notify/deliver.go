package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// The attempts of one delivery: 12 within about 23 hours.
const (
	maxAttempts   = 12
	firstBackoff  = 10 * time.Second
	maxBackoff    = 5 * time.Hour
	maxRetryAfter = 24 * time.Hour
	maxAge        = 36 * time.Hour // of a delivery at its last attempt, however late the receiver asks for it
)

// backoff is the time until the next attempt after so many: 10 s, then three times as long each time, up to 5 h,
// ± 20 % so that many channels do not keep step. random is in [0, 1).
func backoff(attempts int, random float64) time.Duration {
	d := firstBackoff
	for range attempts - 1 {
		if d *= 3; d >= maxBackoff {
			d = maxBackoff
			break
		}
	}
	return time.Duration(float64(d) * (0.8 + 0.4*random))
}

// outcome is what came of one attempt.
type outcome struct {
	done    bool
	gone    bool // the receiver wants nothing any more
	final   bool // another attempt would end the same
	code    int
	reply   string
	err     error // why it is not done
	after   time.Duration
	reached []string
}

func failed(err error) outcome { return outcome{err: err, final: false} }

// deliver makes one attempt, whatever the channel's kind.
func (n *Notifier) deliver(ctx context.Context, c Channel, d due) outcome {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if c.Kind == Email {
		return n.mail(ctx, c, d.id, d.at, d.payload, d.reached)
	}
	return n.post(ctx, c, d.id, d.payload)
}

// after decides how a delivery goes on.
func (r *deliveryRecord) after(o outcome, now time.Time, random float64) {
	r.Attempts++
	r.Code, r.Reply, r.Error, r.UpdatedAt, r.NextAttempt = o.code, o.reply, "", now, time.Time{}
	r.Reached = append(r.Reached, o.reached...)
	if o.err != nil {
		r.Error = clip(o.err.Error(), maxSentence)
	}
	switch {
	case o.done:
		r.Status = Delivered
	case o.gone || o.final || r.Attempts >= maxAttempts || now.Sub(r.At) >= maxAge:
		r.Status = Failed
	default:
		pause := max(backoff(r.Attempts, random), o.after)
		r.NextAttempt = now.Add(min(pause, r.At.Add(maxAge).Sub(now)))
	}
}

// settle keeps what came of an attempt. errStopped: the receiver is gone, and the channel is disabled.
func (n *Notifier) settle(ctx context.Context, c Channel, id string, o outcome) error {
	now := n.now()
	random := n.o.Jitter()
	var s settled
	err := n.o.Store.Update(ctx, func(tx store.Tx) (err error) {
		s = settled{}
		r, err := deliveryTable.In(c.ID).Get(tx, id)
		switch {
		case errors.Is(err, store.ErrNotFound) || err == nil && r.Status != Pending:
			// Given up meanwhile, or its channel is gone: it is counted already.
		case err != nil:
			return err
		default:
			r.after(o, now, random)
			if s.record = r; r.Status == Pending {
				return deliveryTable.In(c.ID).Put(tx, id, r)
			}
			if err := finish(tx, c.ID, id, r, r.Status, now); err != nil {
				return err
			}
		}
		if o.gone {
			s.why = o.err.Error()
			s.lost, s.disabled, err = disable(tx, c, now, s.why)
		}
		return errors.Join(err, owe(tx, id, s.told(c)))
	})
	if err != nil {
		return err
	}
	n.report(ctx, c, id, s)
	if s.disabled {
		return errStopped
	}
	return nil
}

// settled is what came of an attempt, as it is kept.
type settled struct {
	record   deliveryRecord // the zero value where the delivery was given up while it was attempted
	disabled bool
	why      string // it is disabled
	lost     int    // events of other deliveries that were given up with the channel
}

// disable ends a channel whose receiver is gone, and returns how many events are told by nobody for it. One that has
// another receiver by now goes on.
func disable(tx store.Tx, tried Channel, now time.Time, why string) (lost int, disabled bool, err error) {
	c, err := getChannel(tx, tried.ID)
	if errors.Is(err, ErrNotFound) || err == nil && c.URL != tried.URL {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	c.Enabled, c.DisabledReason, c.UpdatedAt = false, why, now
	if err := channelTable.Put(tx, c.ID, recordOf(c)); err != nil {
		return 0, false, err
	}
	lost, err = giveUp(tx, c.ID, now, why)
	return lost, true, err
}

// report says in the log, and to other channels, what was given up.
func (n *Notifier) report(ctx context.Context, c Channel, id string, s settled) {
	r := s.record
	level := slog.LevelDebug
	if r.Status == Failed || s.disabled {
		level = slog.LevelWarn
	}
	n.o.Logger.LogAttrs(ctx, level, "a notification was attempted", slog.String("channel", c.ID), slog.String("name", c.Name),
		slog.String("delivery", id), slog.String("status", string(r.Status)), slog.Int("attempts", r.Attempts), slog.Int("code", r.Code),
		slog.String("error", r.Error), slog.Bool("disabled", s.disabled))
	n.pay(ctx, id, s.told(c))
}

// owe keeps what is to be said of a failure in the transaction that ends the delivery: the process may end before it
// is said.
func owe(tx store.Tx, id, message string) error {
	if message == "" {
		return nil
	}
	return owedTable.Put(tx, id, owedRecord{Message: message})
}

// pay says what was owed. What can't be said now is said by the next Run.
func (n *Notifier) pay(ctx context.Context, id, message string) {
	if message == "" || !n.tellFailed(ctx, message) {
		return
	}
	if err := n.o.Store.Update(ctx, func(tx store.Tx) error { return owedTable.Delete(tx, id) }); err != nil {
		n.o.Logger.LogAttrs(ctx, slog.LevelError, "a failure will be told again", slog.String("delivery", id), slog.String("error", err.Error()))
	}
}

// payAll says what an earlier process owed.
func (n *Notifier) payAll(ctx context.Context) error {
	var owed []store.Row[owedRecord]
	err := n.o.Store.View(ctx, func(tx store.Tx) error {
		owed = nil
		for row, err := range owedTable.All(tx, "") {
			if err != nil {
				return err
			}
			owed = append(owed, row)
		}
		return nil
	})
	for _, row := range owed {
		n.pay(ctx, row.ID, row.Value.Message)
	}
	return err
}

// told is what is said of a failure; "" where nothing is.
func (s settled) told(c Channel) string {
	r := s.record
	switch {
	case s.disabled && !(r.Failures && s.lost == 0):
		return fmt.Sprintf("the channel %s is disabled, and was not told of %d events: %s", c.Name, r.Events+s.lost, s.why)
	case r.Status == Failed && !r.Failures:
		return fmt.Sprintf("the channel %s was not told of %d events, after %d attempts: %s", c.Name, r.Events, r.Attempts, r.Error)
	}
	return ""
}

// tellFailed says to the log, and so to other channels, what somebody is not told, and reports whether it is kept.
func (n *Notifier) tellFailed(ctx context.Context, message string) bool {
	e := event.Event{
		Kind: event.NotificationFailed, Severity: event.Warning, Actor: event.Actor{Kind: event.ActorSystem, Name: "notify"}, Message: message,
	}
	err := n.o.Log.Append(ctx, e)
	if err != nil {
		n.o.Logger.LogAttrs(ctx, slog.LevelError, "an event was not kept", slog.String("kind", string(e.Kind)),
			slog.String("message", e.Message), slog.String("error", err.Error()))
	}
	return err == nil
}

// Test sends a test to the channel now, enabled or not, and tells what came of it. It is tried once.
func (n *Notifier) Test(ctx context.Context, id string) (Delivery, error) {
	c, err := n.Channel(ctx, id)
	if err != nil {
		return Delivery{}, err
	}
	now := n.now()
	delivery, err := n.newID()
	if err != nil {
		return Delivery{}, err
	}
	p, err := testMessage(c, delivery, event.ActorOf(ctx), now).compose(c.Kind)
	if err != nil {
		return Delivery{}, err
	}
	o := n.send(ctx, c, due{id: delivery, at: now, payload: p})
	if !o.done {
		o.final = true
	}
	r := deliveryRecord{Status: Pending, Test: true, Events: 1, At: now}
	r.after(o, n.now(), 0)
	err = n.o.Store.Update(context.WithoutCancel(ctx), func(tx store.Tx) error {
		if _, err := getChannel(tx, id); err != nil {
			return err
		}
		_, finished, err := byState(tx, id)
		return errors.Join(err, shorten(tx, id, finished), deliveryTable.In(id).Put(tx, delivery, r))
	})
	return r.delivery(delivery), err
}
