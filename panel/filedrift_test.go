package panel

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/client/originaltest"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// TestFileDrift: the file is told beside the verdict and is no part of it.
func TestFileDrift(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", nil)
	r := w.drift()
	require.Equal(t, drift.InSync, r.Status)
	require.NotNil(t, r.File)
	require.Empty(t, r.File.Mismatches)
	require.Zero(t, r.File.Count)
	require.True(t, strings.HasSuffix(r.File.Path, "/wg0.conf"))

	w.editFile("MTU = 1420", "MTU = 1280")
	w.editFile("PersistentKeepalive = 21", "PersistentKeepalive = 5")
	r = w.drift()
	require.Equal(t, drift.InSync, r.Status)
	require.False(t, *r.HasDrift)
	require.Zero(t, r.Issues())
	require.True(t, r.File.Speaks)
	key := p.PublicKey.String()
	require.Equal(t, []drift.FileMismatch{
		{Field: "mtu", File: 1280.0, Device: 1420.0},
		{Peer: &key, Field: "persistent_keepalive", File: 5.0, Device: 21.0},
	}, r.File.Mismatches)
	require.Equal(t, 2, r.File.Count)

	w.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey("stranger")}})
	r = w.drift()
	require.Equal(t, drift.Drifted, r.Status)
	require.Len(t, r.File.Mismatches, 3, "the stranger is not in the file either")
	require.Equal(t, 1, r.Issues())
}

// TestFileDriftThatIsNotKnown leaves the verdict alone.
func TestFileDriftThatIsNotKnown(t *testing.T) {
	w := newWorld(t)
	w.create("laptop", nil)
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"an older agent": func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(http.StatusNotFound)
			io.WriteString(rw, `{"error":"no such route","code":"not_found"}`)
		},
		"it fails":       func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) },
		"it hangs up":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"it is unsigned": func(rw http.ResponseWriter, _ *http.Request) { io.WriteString(rw, `{"interface":"wg0","drift":[]}`) },
	} {
		t.Run(name, func(t *testing.T) {
			defer w.honest()
			w.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/file") {
					return false
				}
				answer(rw, r)
				return true
			}))
			r := w.drift()
			require.Equal(t, drift.InSync, r.Status)
			require.Empty(t, r.Error)
			require.Nil(t, r.File)
		})
	}
	w.cut.Store(new(func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }))
	r := w.drift()
	require.Equal(t, drift.Unknown, r.Status)
	require.Nil(t, r.File)
}

func TestFileDriftOfTheOriginal(t *testing.T) {
	server := httptest.NewServer(originaltest.New(testSecret, testKey("node")))
	defer server.Close()
	s, _, _ := newService(t, nil)
	n, _, err := s.CreateNode(t.Context(), NodeInput{Name: new("old"), AgentURL: &server.URL, Secret: new(testSecret)})
	require.NoError(t, err)
	r, err := s.Drift(t.Context(), n.ID)
	require.NoError(t, err)
	require.Equal(t, drift.InSync, r.Status, r.Error)
	require.Nil(t, r.File)
}
