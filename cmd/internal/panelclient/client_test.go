package panelclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const key = "wgf_a-key-that-stays-secret"

// client asks a panel that answers with h.
func client(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(Options{URL: s.URL + "/prefix/", Key: key})
	require.NoError(t, err)
	return c
}

func TestListFetchesEveryPage(t *testing.T) {
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "/prefix/api/peers", r.URL.Path)
		assert.Equal(t, "Bearer "+key, r.Header.Get("Authorization"))
		assert.Equal(t, "lap top", r.URL.Query().Get("q"))
		pages := map[string][2]string{"": {`[1,2]`, "b"}, "b": {`[3]`, "c"}, "c": {`[4]`, ""}}
		page, known := pages[r.URL.Query().Get("cursor")]
		assert.True(t, known)
		w.Header().Set("X-Next-Cursor", page[1])
		w.Write([]byte(`{"status":true,"message":"ok","data":` + page[0] + `}`))
	})
	all, err := c.List(t.Context(), "/api/peers", map[string][]string{"q": {"lap top"}})
	require.NoError(t, err)
	b, err := json.Marshal(all)
	require.NoError(t, err)
	require.JSONEq(t, `[1,2,3,4]`, string(b))
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{401, `{"status":false,"message":"no key"}`, "no key: set WGFLEET_API_KEY or give --api-key-file"},
		{403, `{"status":false,"message":"This needs the key of an administrator; yours may only read."}`, "This needs the key of an administrator; yours may only read"},
		{403, `{"status":false,"message":"A backup's passphrase may come only over TLS."}`, "A backup's passphrase may come only over TLS"},
		{404, `{"status":false,"message":"there is no node"}`, "there is no node"},
		{409, `{"status":false,"message":""}`, "the panel answered Conflict"},
		{422, `{"status":false,"message":"invalid","data":[{"field":"mtu","error":"too small"}]}`, "invalid; mtu: too small"},
		{422, `{"status":false,"message":"mtu: too small","data":[{"field":"mtu","error":"too small"}]}`, "mtu: too small"},
		{429, `{"status":false,"message":"slow down"}`, "slow down: try again in 7 s"},
		{200, `{"status":false,"message":"odd"}`, "odd"},
	} {
		panel := client(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(c.status)
			w.Write([]byte(c.body))
		})
		_, err := panel.Do(t.Context(), http.MethodGet, "/api/nodes", nil, nil)
		refused, ok := errors.AsType[*APIError](err)
		require.True(t, ok, c.body)
		require.Equal(t, c.status, refused.Status)
		require.Contains(t, err.Error(), c.want)
		if c.status != http.StatusOK {
			_, err = panel.Raw(t.Context(), "/api/nodes")
			require.Contains(t, err.Error(), c.want)
		}
	}
}

// What is no panel, or sends us elsewhere, is told so; the key goes nowhere else.
func TestNoPanel(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a redirect was followed")
	}))
	defer elsewhere.Close()
	for name, h := range map[string]http.HandlerFunc{
		"HTML":     func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) },
		"an agent": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"error":"Missing X-Signature"}`)) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client(t, h).Do(t.Context(), http.MethodGet, "/api/nodes", nil, nil)
			_, ok := errors.AsType[*ReachError](err)
			require.True(t, ok)
			require.ErrorContains(t, err, "is no wgfleet panel")
			require.NotContains(t, err.Error(), key)
		})
	}
}

func TestUnreachable(t *testing.T) {
	c, err := New(Options{URL: "http://127.0.0.1:1", Key: key})
	require.NoError(t, err)
	_, err = c.Do(t.Context(), http.MethodGet, "/api/nodes", nil, nil)
	require.EqualError(t, err, "cannot reach the panel at http://127.0.0.1:1: connection refused; is `wgfleet serve --panel` running? (WGFLEET_URL)")

	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	_, err = c.Do(ctx, http.MethodGet, "/api/nodes", nil, nil)
	require.ErrorIs(t, err, interrupted)
}

func TestParseURL(t *testing.T) {
	for _, bad := range []string{"", "127.0.0.1:10086", "ftp://x", "http://", "://"} {
		_, err := ParseURL(bad)
		require.ErrorContains(t, err, "is not the URL of a panel", bad)
	}
	for text, loopback := range map[string]bool{
		"http://127.0.0.1:1": true, "http://[::1]": true, "https://localhost:1/x": true,
		"http://192.0.2.1": false, "http://localhost.example.org": false,
	} {
		u, err := ParseURL(text)
		require.NoError(t, err)
		require.Equal(t, loopback, IsLoopback(u), text)
	}
}
