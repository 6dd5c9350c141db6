package notify

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// post is a receiver within the bubble of a test.
type post struct {
	mu       sync.Mutex
	answer   func(attempt int) outcome // nil: takes all
	attempts []attempt
}

type attempt struct {
	channel, id, body string
	at                time.Time
}

func (p *post) send(_ context.Context, c Channel, d due) outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts = append(p.attempts, attempt{channel: c.Name, id: d.id, body: d.payload.Body, at: time.Now()})
	if p.answer == nil {
		return outcome{done: true, code: 200}
	}
	return p.answer(len(p.attempts))
}

func (p *post) all() []attempt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.attempts)
}

func (p *post) set(answer func(int) outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func broken(int) outcome { return outcome{code: 500, err: errors.New("the receiver answered 500")} }

// inBubble is a world whose store ends before the bubble does, with receivers in place of the network.
func inBubble(t *testing.T, test func(t *testing.T, w *world, p *post)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, p := newWorld(t, nil), &post{}
		w.Notifier.send = p.send
		defer func() { w.stop() }()
		test(t, w, p)
	})
}

func after(d time.Duration) {
	<-time.After(d) // in a bubble it is the clock that is moved
	synctest.Wait()
}

// calm lets all that is due come to its end: a transaction that met another one waits a moment before it is run again.
func calm() { after(500 * time.Millisecond) }

// Collected, told once, and nothing of what the rules leave out or of what was before the channel.
func TestEventsReachTheirChannels(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		w.happen(planned("before"))
		c := w.create(Input{Rules: &RulesInput{MinSeverity: new(event.Warning), Nodes: &[]string{"n1"}}})
		w.create(Input{Name: new("all"), Debounce: new(time.Duration(0)), Kind: new(Slack)})
		w.run()
		calm()
		w.happen(reachable("n1", "True", "False"), reachable("n2", "True", "False"), planned("no warning"))
		calm()
		require.Len(t, p.all(), 3)
		for i, text := range []string{"n1: Reachable is False", "n2: Reachable is False", "n1: no warning"} {
			require.Equal(t, "all", p.all()[i].channel)
			require.Contains(t, p.all()[i].body, text)
		}
		after(DefaultDebounce)
		require.Len(t, p.all(), 4)
		require.Equal(t, 1, strings.Count(p.all()[3].body, `"kind":"condition.changed"`))
		d := w.deliveries(c)
		require.Len(t, d, 1)
		require.Equal(t, []any{Delivered, 1, 1, 200, "", time.Time{}}, []any{d[0].Status, d[0].Events, d[0].Attempts, d[0].Code, d[0].Error, d[0].NextAttempt})
		require.Equal(t, p.all()[3].id, d[0].ID)
		require.Equal(t, []string{w.events()[2].ID}, d[0].EventIDs)
		after(time.Hour)
		require.Len(t, p.all(), 4)
	})
}

// Always the same id and body; then it is said that it was given up, to the log and to other channels, but not for
// ever to and fro between dead ones.
func TestRetriesEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		c := w.create(Input{Name: new("pager"), Debounce: new(time.Duration(0))})
		p.set(broken)
		w.run()
		calm()
		w.happen(planned("a"))
		after(11 * time.Second)
		d := w.deliveries(c)[0]
		require.Equal(t, []any{Pending, 2, 500, "the receiver answered 500"}, []any{d.Status, d.Attempts, d.Code, d.Error})
		require.WithinDuration(t, time.Now().Add(29*time.Second), d.NextAttempt, time.Second)
		p.set(func(int) outcome { o := broken(0); o.final = true; return o })
		after(time.Hour)
		all := p.all()
		require.Len(t, all, 4, "the failure is told of in the same way, and that is the end")
		for _, a := range all[1:3] {
			require.Equal(t, all[0].id, a.id)
			require.Equal(t, all[0].body, a.body)
		}
		require.Len(t, w.events(), 2)
		require.Equal(t, event.NotificationFailed, w.events()[0].Kind)
		require.Equal(t, "the channel pager was not told of 1 events, after 3 attempts: the receiver answered 500", w.events()[0].Message)
		require.Equal(t, []Status{Failed, Failed}, []Status{w.deliveries(c)[0].Status, w.deliveries(c)[1].Status})
		require.Contains(t, w.logs.String(), "level=WARN")
	})
}

// Twelve tries within about a day.
func TestBackoff(t *testing.T) {
	r := deliveryRecord{Status: Pending, At: began}
	now := began
	var pauses []time.Duration
	for r.Status == Pending {
		r.after(broken(0), now, 0.5)
		if r.Status == Pending {
			pauses = append(pauses, r.NextAttempt.Sub(now))
			now = r.NextAttempt
		}
	}
	s := time.Second
	require.Equal(t, []time.Duration{10 * s, 30 * s, 90 * s, 270 * s, 810 * s, 2430 * s, 7290 * s, 18000 * s, 18000 * s, 18000 * s, 18000 * s}, pauses)
	require.Equal(t, []any{Failed, maxAttempts, time.Time{}}, []any{r.Status, r.Attempts, r.NextAttempt})
	require.Equal(t, 23*time.Hour, now.Sub(began).Truncate(time.Hour))
}

func TestBackoffHasJitterAndACap(t *testing.T) {
	require.Equal(t, 8*time.Second, backoff(1, 0))
	require.Equal(t, 12*time.Second, backoff(1, 1))
	require.Equal(t, maxBackoff, backoff(50, 0.5))
	var r deliveryRecord
	r.Status, r.At = Pending, began
	r.after(outcome{after: time.Hour, err: errors.New("x")}, began, 0.5)
	require.Equal(t, began.Add(time.Hour), r.NextAttempt, "as late as the receiver asks for")
	r.after(outcome{after: time.Second, err: errors.New("x")}, began, 0.5)
	require.Equal(t, began.Add(30*time.Second), r.NextAttempt)
}

// A receiver that asks for ever later attempts does not stretch a delivery.
func TestDeliveriesEnd(t *testing.T) {
	r := deliveryRecord{Status: Pending, At: began}
	now := began
	for r.Status == Pending {
		r.after(outcome{after: maxRetryAfter, err: errors.New("x")}, now, 0.5)
		if r.Status == Pending {
			now = r.NextAttempt
		}
	}
	require.Equal(t, []any{maxAge, 3, Failed}, []any{now.Sub(began), r.Attempts, r.Status})
}

// brokenLog keeps nothing.
type brokenLog struct{ *event.Log }

func (brokenLog) Append(context.Context, ...event.Event) error { return errors.New("the disk is full") }

// The process ends after a delivery was given up and before that was said: the next one says it, once.
func TestFailuresAreToldAfterARestart(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		w.again(func(o *Options) { o.Log = brokenLog{w.log} })
		w.Notifier.send = p.send
		c := w.create(Input{Name: new("pager"), Debounce: new(time.Duration(0)), Rules: &RulesInput{Kinds: &[]event.Kind{event.PlanMade}}})
		p.set(func(int) outcome { o := broken(0); o.final = true; return o })
		w.run()
		calm()
		w.happen(planned("a"))
		calm()
		w.stop()
		require.Equal(t, Failed, w.deliveries(c)[0].Status)
		require.Len(t, w.events(), 1)
		for range 2 {
			w.again(nil)
			w.run()
			calm()
			w.stop()
			require.Len(t, w.events(), 2)
		}
		require.Equal(t, "the channel pager was not told of 1 events, after 1 attempts: the receiver answered 500", w.events()[0].Message)
	})
}

// A channel that is deleted leaves nothing behind.
func TestDeletedChannelsAreForgotten(t *testing.T) {
	w := newWorld(t, nil)
	c := w.create(Input{})
	all := map[string]running{}
	w.restart(t.Context(), all, c.ID)
	require.Len(t, all, 1)
	require.NoError(t, w.Delete(t.Context(), c.ID))
	w.restart(t.Context(), all, c.ID)
	require.Empty(t, all)
}

// The panel stops while one delivery waits for its next try and other events are still collected: the next process
// goes on with both, under the same id, and tells nothing twice.
func TestRestartLosesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		c := w.create(Input{})
		p.set(broken)
		w.run()
		calm()
		w.happen(planned("first"))
		after(DefaultDebounce + time.Second)
		first := w.deliveries(c)[0]
		require.Equal(t, Pending, first.Status)
		w.happen(planned("second"))
		after(time.Second)
		w.stop()
		w.happen(planned("third, while it was away"))
		w.again(nil)
		w.Notifier.send = p.send
		p.set(nil)
		w.run()
		after(time.Hour)
		d := w.deliveries(c)
		require.Len(t, d, 2)
		require.Equal(t, []any{first.ID, Delivered, 2}, []any{d[1].ID, d[1].Status, d[1].Attempts})
		require.Equal(t, 2, d[0].Events)
		bodies := ""
		for _, a := range p.all()[1:] {
			bodies += a.body
		}
		for _, text := range []string{"first", "second", "third"} {
			require.Equal(t, 1, strings.Count(bodies, `"message":"`+text), text)
		}
		w.stop()
		w.again(nil)
		w.Notifier.send = p.send
		w.run()
		after(time.Hour)
		require.Len(t, w.deliveries(c), 2)
	})
}

// The process ends between the receiver's yes and its record: the receiver gets it again, and knows it by its id.
func TestLostAnswerIsSentAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		w.create(Input{Debounce: new(time.Duration(0))})
		w.Notifier.send = func(ctx context.Context, c Channel, d due) outcome {
			p.send(ctx, c, d)
			<-ctx.Done()
			return failed(ctx.Err())
		}
		w.run()
		calm()
		w.happen(planned("a"))
		calm()
		w.stop()
		w.again(nil)
		w.Notifier.send = p.send
		w.run()
		calm()
		require.Len(t, p.all(), 2)
		require.Equal(t, p.all()[0].id, p.all()[1].id)
	})
}

// One receiver hangs: the others are told as ever, and the Run ends all the same.
func TestDeadChannelDelaysNoOther(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		w.create(Input{Name: new("dead"), Debounce: new(time.Duration(0))})
		w.create(Input{Name: new("alive"), Debounce: new(time.Duration(0))})
		w.Notifier.send = func(ctx context.Context, c Channel, d due) outcome {
			if c.Name == "dead" {
				<-ctx.Done()
				return failed(ctx.Err())
			}
			return p.send(ctx, c, d)
		}
		w.run()
		calm()
		for i := range 20 {
			w.happen(planned(fmt.Sprint(i)))
			calm()
			require.Len(t, p.all(), i+1)
		}
		began := time.Now()
		w.stop()
		require.Zero(t, time.Since(began))
	})
}

// A flapping node within one window is one delivery with one line.
func TestFlappingNodeSendsOne(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		w.create(Input{})
		w.run()
		calm()
		states := [2]string{"True", "False"}
		for i := range 7 {
			w.happen(reachable("n1", states[i%2], states[1-i%2]))
			after(time.Second)
		}
		after(DefaultDebounce)
		require.Len(t, p.all(), 1)
		require.Contains(t, p.all()[0].body, `"times":7`)
		require.Contains(t, p.all()[0].body, `"to":"False"`)
		require.Equal(t, 1, strings.Count(p.all()[0].body, `"kind"`)-1, "one event beside its actor's kind")
		w.happen(reachable("n1", "False", "True"))
		after(DefaultDebounce + time.Second)
		require.Len(t, p.all(), 1, "it is held")
		after(time.Minute)
		require.Len(t, p.all(), 2)
	})
}

// 410 disables, at once and with a reason; what waits is given up, and it is said so.
func TestGoneReceiverDisables(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		c := w.create(Input{Debounce: new(time.Duration(0))})
		other := w.create(Input{Name: new("other"), Rules: &RulesInput{Kinds: &[]event.Kind{event.NotificationFailed}}, Debounce: new(time.Duration(0))})
		p.set(broken)
		w.run()
		calm()
		w.happen(planned("a"))
		calm()
		p.set(func(n int) outcome {
			if n == 2 {
				return outcome{gone: true, code: 410, err: errors.New("the receiver is gone for good (410)")}
			}
			return outcome{done: true, code: 200}
		})
		w.happen(planned("b"))
		calm()
		got, err := w.Channel(t.Context(), c.ID)
		require.NoError(t, err)
		require.False(t, got.Enabled)
		require.Equal(t, "the receiver is gone for good (410)", got.DisabledReason)
		require.Equal(t, []Status{Failed, Failed}, []Status{w.deliveries(c)[0].Status, w.deliveries(c)[1].Status})
		require.Len(t, w.deliveries(other), 1)
		require.Contains(t, p.all()[2].body, "is disabled, and was not told of 2 events")
		w.happen(planned("c"))
		after(time.Hour)
		require.Len(t, w.deliveries(c), 2)

		got, _, err = w.Update(t.Context(), c.ID, Input{Enabled: new(true)})
		require.NoError(t, err)
		require.Empty(t, got.DisabledReason)
		calm()
		w.happen(planned("d"))
		calm()
		bodies := ""
		for _, a := range p.all() {
			bodies += a.body
		}
		require.Contains(t, bodies, `"message":"d"`)
		require.NotContains(t, bodies, `"message":"c"`, "it is told of what happens from then on")
	})
}

// The delivery that is answered by 410 was dropped for others while it was attempted: the channel is disabled all the
// same, and it is said how many events it was not told of.
func TestGoneReceiverOfADroppedDelivery(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, _ *post) {
		c := w.create(Input{Name: new("pager"), Debounce: new(time.Duration(0)), Rules: &RulesInput{Kinds: &[]event.Kind{event.PlanMade}}})
		answer := make(chan struct{})
		w.Notifier.send = func(context.Context, Channel, due) outcome {
			<-answer
			return outcome{gone: true, code: 410, err: errors.New("the receiver is gone for good (410)")}
		}
		w.run()
		calm()
		for range maxPending + 1 {
			w.happen(planned("a"))
			calm()
		}
		close(answer)
		calm()
		got, err := w.Channel(t.Context(), c.ID)
		require.NoError(t, err)
		require.False(t, got.Enabled)
		require.Equal(t, "the channel pager is disabled, and was not told of 51 events: the receiver is gone for good (410)", w.events()[0].Message)
	})
}

// More wait than there is room for: the oldest goes, and the next delivery says how much went.
func TestQueueIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		c := w.create(Input{Debounce: new(time.Duration(0))})
		p.set(func(int) outcome { o := broken(0); o.after = time.Hour; return o })
		w.run()
		calm()
		for i := range maxPending + 2 {
			w.happen(planned(fmt.Sprint("event ", i)), planned("and another"))
			calm()
		}
		d := w.deliveries(c)
		pending, dropped := 0, 0
		for _, one := range d {
			switch one.Status {
			case Pending:
				pending++
			case Dropped:
				dropped += one.Events
			}
		}
		require.Equal(t, maxPending, pending, "%+v", d)
		all := p.all()
		told := 0
		for _, a := range all {
			if i := strings.Index(a.body, `"omitted":`); i >= 0 {
				var n int
				_, err := fmt.Sscanf(a.body[i:], `"omitted":%d`, &n)
				require.NoError(t, err)
				told += n
			}
		}
		require.Positive(t, dropped)
		require.Equal(t, dropped, told, "what is dropped is counted in a later one")
	})
}

// narrowStore takes no payload that holds a certain text.
type narrowStore struct {
	store.Store
	refused string
}

func (s narrowStore) Update(ctx context.Context, f func(tx store.Tx) error) error {
	return s.Store.Update(ctx, func(tx store.Tx) error { return f(narrowTx{tx, s.refused}) })
}

type narrowTx struct {
	store.Tx
	refused string
}

func (tx narrowTx) Put(key string, value []byte) error {
	if strings.Contains(key, "notify-payload") && strings.Contains(string(value), tx.refused) {
		return store.ErrTooLarge
	}
	return tx.Tx.Put(key, value)
}

// A message that the store does not take jams no channel: it is counted in the next one, and told of.
func TestTooLargeMessageIsDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		w.again(func(o *Options) { o.Store = narrowStore{w.store, "much"} })
		w.Notifier.send = p.send
		c := w.create(Input{Name: new("pager"), Debounce: new(time.Duration(0)), Rules: &RulesInput{Kinds: &[]event.Kind{event.PlanMade}}})
		w.run()
		calm()
		w.happen(planned("too much"))
		calm()
		require.Equal(t, "the channel pager was not told of 1 events: their message is larger than the store takes", w.events()[0].Message)
		w.happen(planned("small"))
		calm()
		require.Len(t, p.all(), 1)
		require.Contains(t, p.all()[0].body, `"omitted":1`)
		require.Equal(t, 2, w.deliveries(c)[0].Events)
		require.NotContains(t, w.logs.String(), "could not go on")
	})
}

// The log is bounded too, and comes in pages.
func TestLogOfDeliveries(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		c := w.create(Input{Debounce: new(time.Duration(0))})
		w.run()
		calm()
		for i := range maxFinished + 5 {
			w.happen(planned(fmt.Sprint(i)))
			after(time.Millisecond)
		}
		all := w.deliveries(c)
		require.Len(t, all, maxFinished)
		require.Equal(t, p.all()[len(p.all())-1].id, all[0].ID, "the newest first")
		var paged []Delivery
		for cursor := ""; ; {
			page, next, err := w.Deliveries(t.Context(), c.ID, 60, cursor)
			require.NoError(t, err)
			paged = append(paged, page...)
			if cursor = next; next == "" {
				break
			}
		}
		require.Equal(t, all, paged)
		require.NoError(t, w.store.View(t.Context(), func(tx store.Tx) error {
			for id, err := range payloadTable.In(c.ID).IDs(tx, "") {
				require.Fail(t, "what was sent is not kept", "%s %v", id, err)
			}
			return nil
		}))
	})
}

// What was collected is told by the rules that it was collected by, at once; a channel that is disabled or deleted
// tells nothing more.
func TestChangesOfAChannel(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world, p *post) {
		c := w.create(Input{})
		w.run()
		calm()
		w.happen(planned("a"))
		calm()
		_, _, err := w.Update(t.Context(), c.ID, Input{Rules: &RulesInput{MinSeverity: new(event.Critical)}})
		require.NoError(t, err)
		w.happen(planned("b")) // no moment later: the new rules hold already
		calm()
		require.Len(t, p.all(), 1)
		after(time.Hour)
		require.Len(t, p.all(), 1)

		_, _, err = w.Update(t.Context(), c.ID, Input{Rules: &RulesInput{MinSeverity: new(event.Info)}})
		require.NoError(t, err)
		p.set(broken)
		w.happen(planned("c"))
		after(DefaultDebounce)
		w.happen(planned("d"))
		calm()
		_, _, err = w.Update(t.Context(), c.ID, Input{Enabled: new(false)})
		require.NoError(t, err)
		after(time.Hour)
		require.Len(t, p.all(), 2)
		d := w.deliveries(c)
		require.Equal(t, []any{Failed, "the channel was disabled before the receiver took it"}, []any{d[0].Status, d[0].Error})
		require.NotContains(t, p.all()[1].body, `"b"`)

		require.NoError(t, w.Delete(t.Context(), c.ID))
		_, _, err = w.Deliveries(t.Context(), c.ID, 0, "")
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, w.store.View(t.Context(), func(tx store.Tx) error {
			for id, err := range deliveryTable.IDs(tx, "") {
				require.Fail(t, "its log is left", "%s %v", id, err)
			}
			return nil
		}))
		w.create(Input{}) // the name is free
	})
}

// Through real receivers: every body that leaves, and all that is kept and told of it, is searched for every secret.
func TestNoSecretLeaves(t *testing.T) {
	url, got := receiver(t, hookSecret, status(500))
	slackURL, slackGot := receiver(t, "", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		w.Write([]byte(r.URL.String()))
	})
	p := newPostOffice(t, StartTLS, nil)
	w := newWorld(t, func(o *Options) { o.Roots = p.o.Roots })
	none := new(time.Duration(0))
	w.create(Input{Name: new("hook"), URL: new(Secret(url)), Secret: new(Secret(hookSecret)), Debounce: none})
	w.create(Input{Name: new("slack"), Kind: new(Slack), URL: new(Secret(slackURL)), Debounce: none})
	c := w.mailChannel(p, StartTLS, "panel", mailPassword)
	_, _, err := w.Update(t.Context(), c.ID, Input{Debounce: none})
	require.NoError(t, err)
	w.mailChannelNamed("wrong", c.SMTP, "not-"+mailPassword)
	w.run()
	w.happen(planned("a"))
	sent := (<-got).body + (<-slackGot).body
	out := ""
	require.Eventually(t, func() bool {
		out = ""
		settled := true
		for _, c := range w.list() {
			out += fmt.Sprintf("%v %+v %#v %s", c, c, c, c.ShownURL())
			for _, d := range w.deliveries(c) {
				out += fmt.Sprintf("%+v", d)
				settled = settled && d.Attempts > 0
			}
			settled = settled && len(w.deliveries(c)) == 1
		}
		return settled
	}, 10*time.Second, 5*time.Millisecond)
	for _, c := range w.list() {
		d, err := w.Test(t.Context(), c.ID)
		require.NoError(t, err)
		out += fmt.Sprintf("%+v", d)
	}
	w.stop()
	out += sent + w.logs.String() + fmt.Sprint(w.events()) + strings.Join(p.mails, "")
	require.Contains(t, out, "the receiver answered 400")
	require.Contains(t, out, "the mail server answered 535")
	for _, secret := range []string{urlToken, mailPassword, hookSecret, strings.TrimPrefix(hookSecret, secretPrefix)} {
		require.NotContains(t, out, secret)
	}
}

// mailChannelNamed is another channel of a post office, with another password.
func (w *world) mailChannelNamed(name string, s SMTP, password string) Channel {
	w.t.Helper()
	return w.create(Input{Name: &name, Kind: new(Email), Debounce: new(time.Duration(0)), SMTP: &SMTPInput{
		Host: &s.Host, Port: &s.Port, TLS: &s.TLS, Username: &s.Username, Password: new(Secret(password)), From: &s.From, To: &s.To,
	}})
}
