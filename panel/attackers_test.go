package panel

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// An attacker on the path never makes a node look in sync.
func TestAttackers(t *testing.T) {
	w := newWorld(t)
	p := w.create("laptop", nil)
	require.Equal(t, drift.InSync, w.drift().Status)
	have, _ := w.peer(p.PublicKey)
	w.write(engine.PeerChange{Before: &have}) // there is drift to be hidden
	var recorded *http.Response
	var body []byte
	w.edit.Store(new(func(r *http.Response) error {
		if strings.HasSuffix(r.Request.URL.Path, "/dump") {
			recorded = r
			body, _ = io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		return nil
	}))
	require.Equal(t, drift.Drifted, w.drift().Status)
	w.honest()

	header := func(name string, edit func(string) string) func() {
		return func() {
			w.edit.Store(new(func(r *http.Response) error {
				r.Header.Set(name, edit(r.Header.Get(name)))
				if r.Header.Get(name) == "" {
					r.Header.Del(name)
				}
				return nil
			}))
		}
	}
	none := func(string) string { return "" }
	for name, attack := range map[string]func(){
		"answers 304": func() {
			w.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
				rw.Header().Set("ETag", r.Header.Get("If-None-Match"))
				rw.WriteHeader(http.StatusNotModified)
				return true
			}))
		},
		"strips the signature":        header(agent.HeaderResponseSignature, none),
		"strips the interface digest": header(agent.HeaderInterfaceDigest, none),
		"strips the ETag":             header("ETag", none),
		"changes the ETag":            header("ETag", strings.ToUpper),
		"replays an old answer": func() {
			w.edit.Store(new(func(r *http.Response) error {
				r.Header, r.StatusCode, r.Body, r.ContentLength = recorded.Header, recorded.StatusCode, io.NopCloser(bytes.NewReader(body)), int64(len(body))
				return nil
			}))
		},
		"changes the body": func() {
			w.edit.Store(new(func(r *http.Response) error {
				b, err := io.ReadAll(r.Body)
				b = append(b, ' ')
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
				r.Header.Del("Content-Length")
				return err
			}))
		},
		"plays the original agent": func() {
			w.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
				answer := `{"interface":"wg0","peers":[]}`
				if strings.HasSuffix(r.URL.Path, "/health") {
					answer = `{"status":"ok","timestamp":1,"uptime":1,"version":"2.2.0"}`
				}
				io.WriteString(rw, answer)
				return true
			}))
		},
		"redirects": func() {
			w.cut.Store(new(func(rw http.ResponseWriter, r *http.Request) bool {
				http.Redirect(rw, r, w.direct.URL+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer w.honest()
			attack()
			w.agents.drop(w.id) // as after a restart
			for range 2 {
				r := w.drift()
				require.Equal(t, drift.Unknown, r.Status)
				require.Nil(t, r.HasDrift)
				require.NotEmpty(t, r.Error)
				require.Empty(t, r.Missing)
			}
			_, err := w.Reconcile(t.Context(), w.id, ReconcileOptions{Missing: true, PruneOrphaned: true, PruneForeign: true})
			require.ErrorIs(t, err, ErrNode)
			w.honest()
			require.Equal(t, drift.Drifted, w.drift().Status)
		})
	}
}
