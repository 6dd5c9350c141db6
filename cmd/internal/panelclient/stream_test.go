package panelclient

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStream(t *testing.T) {
	var asked http.Header
	answer := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		fmt.Fprint(w, ": a comment\n\nid:1\n\nid: 2\nevent: x\ndata:{\"a\":\ndata: 1}\n\nid:3\n")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Clone()
		answer(w)
	}))
	defer server.Close()
	c, err := New(Options{URL: server.URL, Key: "k"})
	require.NoError(t, err)
	read := func() (got []StreamEvent, last error) {
		for e, err := range c.Stream(t.Context(), "/api/events", nil, "0") {
			if err != nil {
				return got, err
			}
			got = append(got, e)
		}
		return got, nil
	}
	got, err := read()
	require.Equal(t, []StreamEvent{{ID: "1"}, {ID: "2", Data: []byte(`{"a":1}`)}}, got, "what was cut off is none")
	lost, ok := errors.AsType[*ReachError](err)
	require.True(t, ok)
	require.Equal(t, server.URL, lost.URL)
	require.Equal(t, "0", asked.Get("Last-Event-ID"))
	require.Equal(t, "text/event-stream", asked.Get("Accept"))

	answer = func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"status":false,"message":"no","data":null}`)
	}
	_, err = read()
	require.ErrorContains(t, err, "no")
	answer = func(w http.ResponseWriter) { fmt.Fprint(w, `{"status":true,"message":"","data":[]}`) }
	_, err = read()
	require.ErrorContains(t, err, "an older one")
}
