package panel

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
)

// without makes the host's agent one of another version, which lacks a capability: it says so, and what belongs to it gets
// the answers that an agent gives who has never heard of it. misused counts those.
func (h *host) without(capability string) (misused *atomic.Int64) {
	misused = &atomic.Int64{}
	gone := func(r *http.Request) bool {
		switch capability {
		case agent.CapV2:
			return r.Header.Get(agent.HeaderNonce) != "" || r.URL.Path == "/v1/wg"
		case agent.CapETag:
			return r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != ""
		case agent.CapWait:
			return r.Header.Get("Prefer") != ""
		case agent.CapApply:
			return strings.HasSuffix(r.URL.Path, "/apply")
		case agent.CapFile:
			return strings.HasSuffix(r.URL.Path, "/file")
		}
		return strings.HasSuffix(r.URL.Path, "/flows") || strings.HasSuffix(r.URL.Path, "/access")
	}
	h.cut.Store(new(func(w http.ResponseWriter, r *http.Request) bool {
		if !gone(r) {
			return false
		}
		misused.Add(1)
		const body = `{"error":"no such route","code":"not_found"}`
		w.Header().Set(agent.HeaderResponseSignature, testSecret.SignAnswer(agent.Answer{Status: 404, Nonce: r.Header.Get(agent.HeaderNonce), Body: []byte(body)}))
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, body)
		return true
	}))
	h.edit.Store(new(func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		if r.Request.URL.Path == "/health" || r.Request.URL.Path == "/v1/health" {
			var said map[string]any
			if err := json.Unmarshal(body, &said); err != nil {
				return err
			}
			said["capabilities"] = slices.DeleteFunc(said["capabilities"].([]any), func(c any) bool { return c == capability })
			if body, err = json.Marshal(said); err != nil {
				return err
			}
		}
		if capability == agent.CapETag {
			r.Header.Del("ETag")
			r.Header.Del(agent.HeaderInterfaceDigest)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		r.Header.Del(agent.HeaderResponseSignature)
		if nonce := r.Request.Header.Get(agent.HeaderNonce); nonce != "" {
			r.Header.Set(agent.HeaderResponseSignature, testSecret.SignAnswer(agent.Answer{
				Status: r.StatusCode, Nonce: nonce, ETag: r.Header.Get("ETag"), InterfaceDigest: r.Header.Get(agent.HeaderInterfaceDigest), Body: body,
			}))
		}
		return nil
	}))
	return misused
}

// Panel and agents need not be of one version: what an agent does not name is not asked of it, and every drift is still
// found and put right.
func TestNeighbouringVersions(t *testing.T) {
	for _, capability := range []string{"none is missing", agent.CapV2, agent.CapETag, agent.CapWait, agent.CapApply, agent.CapFile, agent.CapFlows} {
		t.Run(capability, func(t *testing.T) {
			h := newHost(t, nil)
			misused := h.without(capability)
			s, _, _ := newService(t, nil)
			ctx := t.Context()
			n, _, err := s.CreateNode(ctx, NodeInput{
				Name: new("n1"), AgentURL: &h.proxy.URL, Secret: new(testSecret), IPPoolCIDR: new("10.8.0.0/24"), Endpoint: new("vpn.example.com"),
			})
			require.NoError(t, err)
			_, err = s.TestNode(ctx, n.ID)
			require.NoError(t, err)
			psk := testKey("psk").Reveal().String()
			keys := make([]engine.Peer, 4)
			for i := range keys {
				keys[i].PublicKey = publicKey("neighbour " + strconv.Itoa(i))
				_, err := s.CreatePeer(ctx, n.ID, PeerInput{PublicKey: new(keys[i].PublicKey.String()), PresharedKey: set(psk)})
				require.NoError(t, err)
			}
			report := func() drift.Report {
				r, err := s.Drift(ctx, n.ID)
				require.NoError(t, err)
				return r
			}
			require.Equal(t, drift.InSync, report().Status, "%+v", report())
			right := h.peers()

			gone, ok := h.peer(keys[0].PublicKey)
			require.True(t, ok)
			was, ok := h.peer(keys[1].PublicKey)
			require.True(t, ok)
			other := was
			other.PersistentKeepalive = 99
			stranger, err := engine.ParseKey(keyWith(false)) // the original's dialect reaches no other
			require.NoError(t, err)
			h.write(
				engine.PeerChange{Before: &gone}, engine.PeerChange{Before: &was, After: &other},
				engine.PeerChange{After: &engine.Peer{PublicKey: stranger}},
			)
			r := report()
			require.Len(t, r.Missing, 1)
			require.Len(t, r.Mismatched, 1)
			require.Len(t, r.Unknown, 1)
			done, err := s.Reconcile(ctx, n.ID, ReconcileOptions{Missing: true, Mismatched: true, PruneOrphaned: true, PruneForeign: true})
			require.NoError(t, err)
			require.True(t, done.Verified, "%+v", done)
			require.Equal(t, right, h.peers())
			require.Equal(t, drift.InSync, report().Status)

			writes := h.writes.Load()
			_, err = s.Reconcile(ctx, n.ID, ReconcileOptions{Missing: true, Mismatched: true, PruneOrphaned: true, PruneForeign: true})
			require.NoError(t, err)
			require.Equal(t, writes, h.writes.Load(), "there is nothing to do")

			a, err := s.reach(n.Node)
			require.NoError(t, err)
			snap, err := a.Dump(ctx, n.WGInterface, client.Query{})
			require.NoError(t, err)
			snap, err = a.Dump(ctx, n.WGInterface, client.Query{IfNot: snap.Digest, Wait: time.Second}) // as those that keep a node do
			require.NoError(t, err)
			require.True(t, snap.NotModified)
			require.Zero(t, misused.Load(), "what the agent does not name was asked of it")
		})
	}
}
