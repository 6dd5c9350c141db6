package server

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
)

// TestPanicIsInTheLogAlone: the answer names the line of the log and says nothing of the program.
func TestPanicIsInTheLogAlone(t *testing.T) {
	n := newNode(t, withConf(t))
	n.fake().OnObserve(func(*engine.Observation) error { panic("out of order") })
	r := n.do("GET", dumpPath, nil)
	n.fake().OnObserve(nil)
	require.Equal(t, 500, r.status)
	require.NotContains(t, string(r.body), "goroutine")
	var e agent.Error
	r.decode(t, &e)
	require.Equal(t, agent.CodeInternal, e.Code)
	found := false
	for line := range strings.Lines(n.logs.String()) {
		var entry struct{ Msg, Stack, ID string }
		require.NoError(t, json.Unmarshal([]byte(line), &entry))
		if entry.Msg == "panic" {
			found = true
			require.Contains(t, entry.Stack, "TestPanicIsInTheLogAlone")
			require.True(t, strings.HasSuffix(e.Message, entry.ID), "%q: %s", e.Message, entry.ID)
		}
	}
	require.True(t, found)
}

// deadlineWriter notes the deadline that each write has.
type deadlineWriter struct {
	*httptest.ResponseRecorder
	deadline time.Time
	writes   []time.Time
	largest  int
}

func (w *deadlineWriter) SetWriteDeadline(at time.Time) error {
	w.deadline = at
	return nil
}

func (w *deadlineWriter) WriteHeader(status int) {
	w.writes = append(w.writes, w.deadline)
	w.ResponseRecorder.WriteHeader(status)
}

func (w *deadlineWriter) Write(p []byte) (int, error) {
	w.writes = append(w.writes, w.deadline)
	w.largest = max(w.largest, len(p))
	return w.ResponseRecorder.Write(p)
}

// TestAnswersHaveDeadlines: a client that never reads holds its connection for a while only, and one
// that reads slowly gets all of a long answer.
func TestAnswersHaveDeadlines(t *testing.T) {
	n := newNode(t, withConf(t))
	w := &deadlineWriter{ResponseRecorder: httptest.NewRecorder(), deadline: time.Unix(1, 0)}
	began := time.Now()
	n.server.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/health", nil))
	require.Equal(t, 200, w.Code)
	require.Len(t, w.writes, 2)
	w.writes = nil
	writeWithin(w, 200, make([]byte, 3*sendStep+1))
	require.Len(t, w.writes, 5)
	require.Equal(t, sendStep, w.largest)
	for _, at := range w.writes {
		require.WithinRange(t, at, began.Add(sendTimeout), time.Now().Add(sendTimeout))
	}
}

// TestOldDeadlineIsGone: the deadline of an answer does not end a connection that waits for the next.
func TestOldDeadlineIsGone(t *testing.T) {
	n := newNode(t, withConf(t))
	w := &deadlineWriter{ResponseRecorder: httptest.NewRecorder(), deadline: time.Unix(1, 0)}
	n.fake().OnObserve(func(*engine.Observation) error {
		require.True(t, w.deadline.IsZero())
		return nil
	})
	n.callTo(w, "GET", dumpPath, nil)
	n.fake().OnObserve(nil)
	require.Equal(t, 200, w.Code, "%s", w.Body)
}
