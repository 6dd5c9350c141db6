package panel

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/store"
)

// polled is an agent that answers as a test wants.
type polled struct {
	Agent
	mu    sync.Mutex // protects what follows
	err   error
	skew  time.Duration
	slow  bool
	calls int
}

func (p *polled) Health(ctx context.Context) (agent.Health, error) {
	p.mu.Lock()
	err, slow, skew := p.err, p.slow, p.skew
	p.calls++
	p.mu.Unlock()
	if slow {
		<-ctx.Done()
		return agent.Health{}, &client.Error{Kind: client.Unreachable, Reason: "the agent did not answer in time"}
	}
	return agent.Health{Status: "ok", Version: "v9", Timestamp: time.Now().Add(skew).Unix(), AgentID: "id"}, err
}

func (p *polled) Interfaces(context.Context) ([]agent.InterfaceSummary, error) {
	return []agent.InterfaceSummary{{Name: "wg0", PublicKey: "seen", ListenPort: 5, InterfaceDigest: "d"}}, nil
}
func (p *polled) Identity() (string, bool) { return "id", true }
func (p *polled) Original() bool           { return false }
func (p *polled) Close()                   {}

func (p *polled) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func condition(t *testing.T, s NodeStatus, kind string) Condition {
	t.Helper()
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c
		}
	}
	require.Fail(t, "no condition "+kind)
	return Condition{}
}

// later moves the clock of a bubble of synctest.
func later(d time.Duration) { <-time.After(d) }

// A drift look that fails changes the condition as a poll does: they never contradict each other.
func TestADriftLookTellsTheCondition(t *testing.T) {
	w := newWorld(t)
	status := func() (health, reachable string) {
		w.drift()
		v, err := w.Node(t.Context(), w.id)
		require.NoError(t, err)
		for _, c := range v.Status.Conditions {
			if c.Type == ConditionReachable {
				reachable = c.Status + " " + c.Reason
			}
		}
		return v.Status.Health, reachable
	}
	_, err := w.TestNode(t.Context(), w.id)
	require.NoError(t, err)
	w.cut.Store(new(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }))
	health, reachable := status()
	require.Equal(t, []string{HealthOffline, "False NoAnswer"}, []string{health, reachable})
	w.honest()
	health, reachable = status()
	require.Equal(t, []string{HealthOnline, "True Answered"}, []string{health, reachable})
}

// An agent that is well but lacks the node's interface: the test says what to do.
func TestANodeWhoseInterfaceIsNotThere(t *testing.T) {
	w := newWorld(t)
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{WGInterface: new("wg7")})
	require.NoError(t, err)
	got, err := w.TestNode(t.Context(), w.id)
	require.NoError(t, err)
	require.True(t, got.Reachable)
	require.True(t, got.Authenticated)
	require.Contains(t, got.Error, "the agent answers, but has no interface wg7: make it on the host, or set")
	require.Contains(t, got.Error, "(wg0)")
}

// An agent that refuses in its own name is there: a drift look and a poll agree on that.
func TestARefusalIsAnAnswer(t *testing.T) {
	w := newWorld(t)
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{WGInterface: new("wg7")})
	require.NoError(t, err)
	for range 2 {
		r := w.drift()
		require.Equal(t, drift.Unknown, r.Status)
		looked, err := w.Node(t.Context(), w.id)
		require.NoError(t, err)
		require.Contains(t, looked.Status.Error, "wg7")
		require.False(t, w.poll(t.Context(), looked.Node))
		polled, err := w.Node(t.Context(), w.id)
		require.NoError(t, err)
		require.Contains(t, polled.Status.Error, "wg7")
		for _, s := range []NodeStatus{looked.Status, polled.Status} {
			require.Equal(t, HealthOnline, s.Health)
			require.False(t, s.LastSeen.IsZero())
			c := condition(t, s, ConditionReachable)
			require.Equal(t, "True Answered", c.Status+" "+c.Reason)
		}
	}
}

func TestReasonsOfTheCondition(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{nil, "True Answered"},
		{&client.Error{Kind: client.Refused, Agent: &agent.Error{Code: agent.CodeInterfaceDown}}, "True Answered"},
		{&client.Error{Kind: client.Refused, Agent: &agent.Error{Message: "404 Not Found"}}, "False NotUsable"},
		{&client.Error{Kind: client.Unreachable}, "False NoAnswer"},
		{&client.Error{Kind: client.Unauthorized}, "False NotAuthenticated"},
		{&client.Error{Kind: client.NotAuthentic}, "False NotAuthenticated"},
		{&client.Error{Kind: client.ClockOff}, "False NotUsable"},
		{&client.Error{Kind: client.Malformed}, "False NotUsable"},
		{&client.Error{Kind: client.BadSettings}, "False NotUsable"},
	} {
		c := reachableCondition(nodeError("n", tt.err))
		require.Equal(t, tt.want, c.Status+" "+c.Reason, "%v", tt.err)
	}
	c := reachableCondition(ErrUnavailable)
	require.Equal(t, "True", c.Status, "what the store refuses is not the node's fault")
}

func TestHealthIsPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := store.OpenInMemory(store.NewMasterKey())
		require.NoError(t, err)
		defer func() { require.NoError(t, st.Close()) }()
		one, dead := &polled{}, &polled{slow: true}
		s, err := New(Options{Store: st, Dial: func(n Node) (Agent, error) {
			if n.Name == "one" {
				return one, nil
			}
			return dead, nil
		}})
		require.NoError(t, err)
		add := func(name string, enabled bool) string {
			n, _, err := s.CreateNode(t.Context(), NodeInput{Name: &name, AgentURL: new("http://" + name), Enabled: &enabled})
			require.NoError(t, err)
			require.Equal(t, HealthUnknown, n.Status.Health)
			return n.ID
		}
		a, b, c := add("one", true), add("dead", true), add("off", false)
		status := func(id string) NodeStatus {
			n, err := s.Node(t.Context(), id)
			require.NoError(t, err)
			return n.Status
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var run sync.WaitGroup
		run.Go(func() { require.NoError(t, s.pollLoop(ctx)) })

		later(11 * time.Second)
		require.Equal(t, HealthOnline, status(a).Health)
		require.Equal(t, "v9", status(a).Version)
		require.Equal(t, "True", condition(t, status(a), ConditionReachable).Status)
		require.Equal(t, "True", condition(t, status(a), ConditionClockInSync).Status)
		require.Equal(t, HealthOffline, status(b).Health)
		require.Contains(t, status(b).Error, "in time")
		require.Equal(t, "False", condition(t, status(b), ConditionReachable).Status)
		require.Equal(t, "Unknown", condition(t, status(b), ConditionClockInSync).Status)
		require.Equal(t, HealthUnknown, status(c).Health, "a disabled node is left alone")
		n, err := s.Node(t.Context(), a)
		require.NoError(t, err)
		require.Equal(t, "seen", n.SeenPublicKey)
		require.Equal(t, "id", n.AgentID)
		since := condition(t, n.Status, ConditionReachable).Since

		one.change(func() { one.skew = time.Hour })
		later(time.Minute)
		require.Equal(t, "False", condition(t, status(a), ConditionClockInSync).Status)
		require.Equal(t, since, condition(t, status(a), ConditionReachable).Since, "it did not change")
		one.change(func() {
			one.err = &client.Error{Kind: client.Unauthorized, Status: 401, Reason: "the two secrets differ"}
		})
		later(time.Minute)
		require.Equal(t, HealthOffline, status(a).Health)
		require.Equal(t, "NotAuthenticated", condition(t, status(a), ConditionReachable).Reason)
		one.mu.Lock()
		require.InDelta(t, 4, one.calls, 1.5, "every 30 s")
		one.mu.Unlock()
		require.NoError(t, s.DeleteNode(t.Context(), a))
		cancel()
		run.Wait()
		s.Close()
	})
}

// A node's slot is waited for as long as the caller's context lasts, and by that node's writers alone.
func TestTheSlotOfANode(t *testing.T) {
	s, _, _ := newService(t, nil)
	release, err := s.hold(t.Context(), "a")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.hold(ctx, "a")
	require.ErrorIs(t, err, ErrNode)
	other, err := s.hold(t.Context(), "b")
	require.NoError(t, err)
	other()
	release()
	release, err = s.hold(t.Context(), "a")
	require.NoError(t, err)
	release()
	require.Empty(t, s.slots, "nothing is kept of nodes that nobody writes to")
}

func TestNewID(t *testing.T) {
	s, _, _ := newService(t, nil)
	now := time.UnixMilli(0x0123456789ab)
	id, err := store.NewID(now, s.o.Rand)
	require.NoError(t, err)
	require.Regexp(t, `^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
	_, err = store.NewID(now, failing{})
	require.Error(t, err)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no randomness") }
