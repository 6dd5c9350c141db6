package client

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
)

func TestFileDrift(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	c := f.client(nil)
	var status int
	var body string
	f.answer = func(r *http.Request) (int, string, string, string) {
		require.Equal(t, "/v1/wg/wg0/file", r.URL.Path)
		return status, "", "", body
	}

	status, body = 200, `{"interface":"wg0","present":true,"speaks":true,"count":1,"drift":[{"peer":null,"field":"mtu","file":1280,"device":1420}]}`
	d, err := c.FileDrift(t.Context(), "wg0")
	require.NoError(t, err)
	require.Equal(t, &agent.FileDrift{
		Interface: "wg0", Present: true, Speaks: true, Count: 1,
		Drift: []agent.FileMismatch{{Field: "mtu", File: 1280.0, Device: 1420.0}},
	}, d)

	status, body = 404, `{"error":"there is no wg0","code":"unknown_interface"}`
	_, err = c.FileDrift(t.Context(), "wg0")
	isKind(t, err, Refused)

	for _, bad := range []string{`{}`, `[]`, `{"interface":"wg1","drift":[]}`, `{"interface":"wg0","drift":null}`, `{"interface":"wg0","drift":[{}],"count":0}`} {
		status, body = 200, bad
		_, err = c.FileDrift(t.Context(), "wg0")
		isKind(t, err, Malformed)
	}
	_, err = c.FileDrift(t.Context(), "../x")
	isKind(t, err, BadSettings)
}

// TestFileDriftOfTheOriginal: it is not even asked.
func TestFileDriftOfTheOriginal(t *testing.T) {
	f := newFake(t, httptest.NewServer)
	f.unnamed = true
	f.answer = func(*http.Request) (int, string, string, string) {
		t.Error("it has no such route")
		return 404, "", "", ""
	}
	d, err := f.client(nil).FileDrift(t.Context(), "wg0")
	require.NoError(t, err)
	require.Nil(t, d)
}
