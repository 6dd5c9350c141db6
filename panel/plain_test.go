package panel

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/agent/client"
	"github.com/wgfleet/wgfleet/agent/server"
)

// reroute lets a name that is not loopback reach a test's server.
type reroute struct {
	to   *url.URL
	base http.RoundTripper
}

func (r reroute) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	q.URL.Host = r.to.Host
	return r.base.RoundTrip(q)
}

// Beyond loopback, plain HTTP carries no preshared key; peers without one are not held up by it.
func TestKeysOverPlainHTTP(t *testing.T) {
	h := newHost(t, func(o *server.Options) { o.ExposeSecrets = server.ExposeNever })
	to, err := url.Parse(h.proxy.URL)
	require.NoError(t, err)
	transport, err := client.NewTransport(client.TLS{})
	require.NoError(t, err)
	t.Cleanup(transport.CloseIdleConnections)
	s, _, _ := newService(t, func(o *Options) {
		o.Dial = func(n Node) (Agent, error) {
			return client.New(client.Options{
				BaseURL: n.AgentURL, Secret: n.Secret, AllowPlainSecrets: n.AllowPlainSecrets, AgentID: n.AgentID, SpeaksV2: n.SpeaksV2,
				Transport: reroute{to: to, base: transport},
			})
		}
	})
	ctx := t.Context()
	n, _, err := s.CreateNode(ctx, NodeInput{
		Name: new("far"), AgentURL: new("http://node.example.com"), Secret: new(testSecret), IPPoolCIDR: new("10.8.0.0/24"),
	})
	require.NoError(t, err)
	withKey := PeerInput{Name: new("with key"), PresharedKey: set(AutoPresharedKey)}
	_, err = s.CreatePeer(ctx, n.ID, withKey)
	require.ErrorContains(t, err, "allow_plaintext_secrets")
	require.Empty(t, h.peers())
	withKey.AllowOffline = true
	secret, err := s.CreatePeer(ctx, n.ID, withKey)
	require.NoError(t, err)
	open, err := s.CreatePeer(ctx, n.ID, PeerInput{Name: new("open"), AllowOffline: true})
	require.NoError(t, err)
	have, _ := h.peer(open.PublicKey)
	require.NoError(t, s.DeletePeer(ctx, n.ID, open.ID, false))
	_, err = s.CreatePeer(ctx, n.ID, PeerInput{Name: new("again"), PublicKey: new(have.PublicKey.String()), Enabled: new(false)})
	require.NoError(t, err)
	list, _, err := s.SearchPeers(ctx, "again", Page{})
	require.NoError(t, err)
	_, err = s.UpdatePeer(ctx, n.ID, list[0].ID, PeerInput{Enabled: new(true)})
	require.NoError(t, err)

	done, err := s.Reconcile(ctx, n.ID, everything)
	require.NoError(t, err)
	require.Len(t, done.Errors, 1)
	require.Equal(t, secret.PublicKey.String(), done.Errors[0].Peer)
	require.False(t, done.Verified)
	_, err = s.UpdateNode(ctx, n.ID, NodeInput{AllowPlainSecrets: new(true)})
	require.NoError(t, err)
	done, err = s.Reconcile(ctx, n.ID, everything)
	require.NoError(t, err)
	require.True(t, done.Verified)
	before, _ := h.peer(secret.PublicKey)
	require.True(t, before.PresharedKey.Equal(secret.PresharedKey))

	_, err = s.UpdateNode(ctx, n.ID, NodeInput{AllowPlainSecrets: new(false)})
	require.NoError(t, err)
	_, err = s.UpdatePeer(ctx, n.ID, secret.ID, PeerInput{Keepalive: set(99)})
	require.NoError(t, err, "its key is there already and is not sent again")
	after, _ := h.peer(secret.PublicKey)
	require.Equal(t, 99, after.PersistentKeepalive)
	require.True(t, after.PresharedKey.Equal(secret.PresharedKey))
	report, err := s.Drift(ctx, n.ID)
	require.NoError(t, err)
	require.Zero(t, report.Issues(), "a hidden key is compared by its MAC")

	// What is hidden can't be adopted: the panel would clear it at the next reconcile.
	require.NoError(t, s.DeleteNode(ctx, n.ID))
	n, _, err = s.CreateNode(ctx, NodeInput{Name: new("far"), AgentURL: new("http://node.example.com"), Secret: new(testSecret)})
	require.NoError(t, err)
	done, err = s.Reconcile(ctx, n.ID, ReconcileOptions{AdoptUnknown: true})
	require.NoError(t, err)
	require.Len(t, done.Adopted, 1)
	require.Len(t, done.Errors, 1)
	require.Contains(t, done.Errors[0].Error, "hidden")
}
