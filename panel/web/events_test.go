package web

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEventsAreFiltered(t *testing.T) {
	h := newHarness(t)
	for query, want := range map[string]int{
		"": 2, "?node=n1": 1, "?node=gone": 0, "?severity=warning": 1, "?kind=drift.changed": 1, "?kind=drift.changed,reconcile.finished": 2,
		"?since=2024-01-15T10:30:00Z": 2, "?since=2024-01-15T11:30:01%2B01:00": 0, "?limit=1": 1,
	} {
		got := h.do(http.MethodGet, "/api/events"+query, viewerToken, "")
		require.Equal(t, http.StatusOK, got.Code, query)
		var data []eventData
		require.NoError(t, json.Unmarshal(got.Data, &data))
		require.NotNil(t, data, query)
		require.Len(t, data, want, query)
		require.Equal(t, query == "?limit=1", got.Header().Get("X-Next-Cursor") != "", query)
	}
	for query, field := range map[string]string{"?kind=x": "kind", "?severity=bad": "severity", "?since=yesterday": "since", "?limit=0": "limit"} {
		got := h.do(http.MethodGet, "/api/events"+query, viewerToken, "")
		require.Equal(t, http.StatusUnprocessableEntity, got.Code, query)
		require.Contains(t, got.Body.String(), `"field":"`+field+`"`)
	}
	for _, after := range []string{"zzz", "zzz%0Aevent:x"} {
		req := httptest.NewRequest(http.MethodGet, "/api/events?after="+after, nil)
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("Authorization", "Bearer "+viewerToken)
		rec := httptest.NewRecorder()
		h.server.Handler().ServeHTTP(rec, req)
		require.Equal(t, http.StatusUnprocessableEntity, rec.Code)
	}
	require.Equal(t, http.StatusOK, h.do(http.MethodGet, "/api/drift/nodes/n3/history", viewerToken, "").Code)
	require.Equal(t, http.StatusNotFound, h.do(http.MethodGet, "/api/drift/nodes/nn/history", viewerToken, "").Code)
}

// stream opens a stream; the lines of it come until it ends.
func (h *harness) stream(ctx context.Context, base, query string, header http.Header) <-chan string {
	h.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/events"+query, nil)
	require.NoError(h.t, err)
	maps.Copy(req.Header, header)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+viewerToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(h.t, err)
	require.Equal(h.t, http.StatusOK, resp.StatusCode)
	require.Equal(h.t, "text/event-stream", resp.Header.Get("Content-Type"))
	lines := make(chan string, 100)
	go func() {
		defer resp.Body.Close()
		defer close(lines)
		for s := bufio.NewScanner(resp.Body); s.Scan(); {
			lines <- s.Text()
		}
	}()
	return lines
}

// next is the next line that is one of a field.
func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	for line := range lines {
		if line != "" {
			return line
		}
	}
	return "the end"
}

func TestStreamOfEvents(t *testing.T) {
	h := newHarness(t)
	server := httptest.NewServer(h.server.Handler())
	defer server.Close()
	defer h.server.EndStreams()
	defer http.DefaultClient.CloseIdleConnections()
	const first, second = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"

	lines := h.stream(t.Context(), server.URL, "", http.Header{"Last-Event-Id": {first}})
	require.Equal(t, "id:"+first, <-lines, "where it stands")
	require.Equal(t, "id:"+second, next(t, lines))
	require.Equal(t, "event:reconcile.finished", next(t, lines))
	data, ok := strings.CutPrefix(next(t, lines), "data:")
	require.True(t, ok)
	var e eventData
	require.NoError(t, json.Unmarshal([]byte(data), &e))
	require.Equal(t, fromEvent(documentEvents()[0]), e)

	all := h.stream(t.Context(), server.URL, "?since=2024-01-01T00:00:00Z&node=n3", nil)
	require.Equal(t, "id:"+beforeAll, <-all)
	require.Equal(t, "id:"+first, next(t, all))
	none := h.stream(t.Context(), server.URL, "", nil)
	require.Equal(t, "id:"+second, <-none, "it began, with nothing that was before")

	for range maxStreams - len(h.server.streams) {
		h.server.streams <- struct{}{}
	}
	req := httptest.NewRequest(http.MethodGet, "/api/events", nil)
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+viewerToken)
	rec := httptest.NewRecorder()
	h.server.Handler().ServeHTTP(rec, req)
	require.Equal(t, http.StatusTooManyRequests, rec.Code, "all are taken")
	require.Equal(t, "10", rec.Header().Get("Retry-After"))

	h.server.EndStreams()
	require.Equal(t, "the end", next(t, lines))
	require.Equal(t, "event:drift.changed", next(t, all))
	require.Contains(t, next(t, all), first)
	require.Equal(t, "the end", next(t, all))
	require.Equal(t, "the end", next(t, none))
}

// A key that is deleted closes the streams that it opened, at the next heartbeat.
func TestStreamEndsWithItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		ended := make(chan struct{})
		rec := httptest.NewRecorder()
		go func() {
			defer close(ended)
			req := httptest.NewRequest(http.MethodGet, "/api/events", nil)
			req.Header.Set("Accept", "text/event-stream")
			req.Header.Set("Authorization", "Bearer "+viewerToken)
			h.server.Handler().ServeHTTP(rec, req)
		}()
		<-time.After(heartbeat + time.Second)
		synctest.Wait()
		require.Equal(t, 2, strings.Count(rec.Body.String(), "id:"))
		h.fake.locked.Store(true)
		<-time.After(heartbeat)
		<-ended
		require.Equal(t, 2, strings.Count(rec.Body.String(), "id:"))
	})
}
