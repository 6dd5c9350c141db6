package panel

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/notify"
	"github.com/wgfleet/wgfleet/panel/policy"
	"github.com/wgfleet/wgfleet/store"
	"github.com/wgfleet/wgfleet/store/backup"
)

const testPassphrase Passphrase = "correct horse battery staple"

// restoredFrom is a new panel with the records of a backup.
func restoredFrom(t *testing.T, file []byte) (*Service, store.Store, BackupSummary) {
	t.Helper()
	b, err := OpenBackup(bytes.NewReader(file), testPassphrase)
	require.NoError(t, err)
	o := store.Options{Dir: filepath.Join(t.TempDir(), "panel"), MasterKey: store.NewMasterKey()}
	made, err := store.Restore(t.Context(), o, b)
	require.NoError(t, err)
	require.NoError(t, made.Commit())
	st, err := store.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	s, _, _ := newService(t, func(with *Options) { with.Store = st })
	return s, st, made.Summary
}

func byKey(ctx context.Context) context.Context {
	return event.WithActor(ctx, event.Actor{Kind: event.ActorKey, ID: "k", Name: "alice"})
}

func TestBackupIsToldWithWhoTookIt(t *testing.T) {
	s, _, _ := newService(t, func(o *Options) { o.Version = "v1.2.3" })
	var file bytes.Buffer
	sum, err := s.Backup(byKey(t.Context()), &file, testPassphrase)
	require.NoError(t, err)
	require.Equal(t, "v1.2.3", sum.Program)
	require.Equal(t, store.Baseline.Version, sum.Schema)
	events, _, err := s.Events(t.Context(), event.Filter{}, Page{})
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, event.BackupMade, events[0].Kind)
	require.Equal(t, event.Warning, events[0].Severity, "for channels that hear of little")
	require.Equal(t, "alice", events[0].Actor.Name)
	require.Contains(t, events[0].Message, sum.SHA256)

	for _, p := range []Passphrase{"", "too short"} {
		file.Reset()
		_, err := s.Backup(t.Context(), &file, p)
		invalid, ok := errors.AsType[*InvalidError](err)
		require.True(t, ok)
		require.Equal(t, "passphrase", invalid.Problems[0].Field)
		require.Zero(t, file.Len())
	}
	broken := errors.New("the reader went away")
	_, err = s.Backup(byKey(t.Context()), &fullAfter{left: 200, err: broken}, testPassphrase)
	require.ErrorIs(t, err, broken)
	events, _, err = s.Events(t.Context(), event.Filter{}, Page{})
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, event.Warning, events[0].Severity)
	require.Equal(t, "a backup of everything was begun and not finished: the reader went away", events[0].Message)
}

// fullAfter takes some bytes and then fails.
type fullAfter struct {
	left int
	err  error
}

func (f *fullAfter) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// What a panel makes by itself may be replaced; what somebody made is named.
func TestReplaceable(t *testing.T) {
	s, _, _ := newService(t, nil)
	ctx := t.Context()
	require.NoError(t, s.Replaceable(ctx))
	require.NoError(t, s.EnsureAdminKey(ctx, "an administrator's key"))
	local := LocalNode{Name: "host", AgentURL: "http://127.0.0.1:1", Secret: testSecret, WGInterface: "wg0"}
	_, err := s.EnsureLocalNode(ctx, local)
	require.NoError(t, err)
	local.AgentURL = "http://127.0.0.1:2"
	n, err := s.EnsureLocalNode(ctx, local)
	require.NoError(t, err)
	s.append(ctx, event.Event{Kind: event.ConditionChanged, Severity: event.Info, NodeID: n.ID, Message: "x"})
	require.NoError(t, s.Replaceable(ctx), "the first start made this")

	_, err = s.UpdateNode(byKey(ctx), n.ID, NodeInput{Endpoint: new("vpn.example.org")})
	require.NoError(t, err)
	refused := func(what string) {
		t.Helper()
		err := s.Replaceable(ctx)
		require.ErrorIs(t, err, ErrNotEmpty)
		require.Equal(t, "this panel is not empty, it has "+what+": a backup is restored into a new one "+
			"(`wgfleet serve --panel` with an empty data folder), or once these are deleted", err.Error())
	}
	refused("1 node")
	require.NoError(t, s.DeleteNode(ctx, n.ID))
	require.NoError(t, s.Replaceable(ctx))

	_, err = s.ChangeFleetPolicy(ctx, PolicyInput{Mode: set(string(policy.Off))})
	require.NoError(t, err)
	refused("1 policy")
	_, err = s.ChangeFleetPolicy(ctx, PolicyInput{Mode: cleared[string]()})
	require.NoError(t, err)
	require.NoError(t, s.Replaceable(ctx))

	for _, name := range []string{"a", "b"} {
		_, err = s.CreateGroup(ctx, GroupInput{Name: &name})
		require.NoError(t, err)
	}
	_, _, err = s.CreateKey(ctx, "ci", RoleViewer)
	require.NoError(t, err)
	_, _, err = s.CreateChannel(ctx, notify.Input{Name: new("pager"), Kind: new(notify.Webhook), URL: new(notify.Secret("https://example.org/x"))})
	require.NoError(t, err)
	refused("2 groups, 1 API key, 1 notification channel")
}

func TestBackupProblems(t *testing.T) {
	for err, field := range map[error]string{
		backup.ErrPassphrase: "passphrase", backup.ErrNotBackup: "backup", backup.ErrDamaged: "backup", backup.ErrNewer: "backup", store.ErrNewer: "backup",
	} {
		invalid, ok := errors.AsType[*InvalidError](BackupProblem(err))
		require.True(t, ok)
		require.Equal(t, field, invalid.Problems[0].Field)
	}
	require.ErrorIs(t, BackupProblem(store.ErrNoSpace), ErrUnavailable)
	require.Equal(t, errors.ErrUnsupported, BackupProblem(errors.ErrUnsupported))
	require.NoError(t, BackupProblem(nil))
}

// Everything that is secret in a panel is in its backup, and none of it can be read there without the passphrase.
func TestBackupShowsNoSecret(t *testing.T) {
	w := newWorld(t)
	ctx := byKey(t.Context())
	psk, err := engine.GeneratePresharedKey()
	require.NoError(t, err)
	p := w.create("laptop", func(in *PeerInput) { in.PresharedKey = set(psk.Reveal().String()) })
	_, token, err := w.CreateKey(ctx, "ci", RoleAdmin)
	require.NoError(t, err)
	c, _, err := w.CreateChannel(ctx, notify.Input{Name: new("pager"), Kind: new(notify.Webhook), URL: new(notify.Secret("https://example.org/url-token-1234"))})
	require.NoError(t, err)
	var file bytes.Buffer
	sum, err := w.Backup(ctx, &file, testPassphrase)
	require.NoError(t, err)
	private, preshared := p.PrivateKey.Reveal(), psk.Reveal()
	secrets := map[string]string{
		"shared secret": string(testSecret), "private key": private.String(), "private bytes": string(private[:]),
		"preshared key": preshared.String(), "preshared bytes": string(preshared[:]), "token": token, "url": "url-token-1234",
		"channel's secret": string(c.Secret), "passphrase": string(testPassphrase), "node": w.id, "peer": "laptop", "public key": p.PublicKey.String(),
	}
	events, _, err := w.Events(ctx, event.Filter{}, Page{})
	require.NoError(t, err)
	told := w.logs.String()
	for _, e := range events {
		told += e.Message
	}
	for name, secret := range secrets {
		require.NotEmpty(t, secret, name)
		require.NotContains(t, file.String(), secret, name)
		if name != "node" && name != "peer" && name != "public key" {
			require.NotContains(t, told, secret, name)
		}
	}

	// It is all there.
	s, _, again := restoredFrom(t, file.Bytes())
	require.Equal(t, sum, again)
	got, err := s.Peer(ctx, w.id, p.ID)
	require.NoError(t, err)
	require.Equal(t, private, got.PrivateKey.Reveal())
	require.Equal(t, preshared, got.PresharedKey.Reveal())
	k, err := s.Authenticate(ctx, token)
	require.NoError(t, err)
	require.Equal(t, "ci", k.Name)
	n, err := s.Node(ctx, w.id)
	require.NoError(t, err)
	require.Equal(t, testSecret, n.Secret)
	back, err := s.Channel(ctx, c.ID)
	require.NoError(t, err)
	require.Equal(t, c.Secret, back.Secret)
	require.Equal(t, c.URL, back.URL)
	require.True(t, strings.HasSuffix(string(back.URL), "url-token-1234"))

	// And the node is in sync with the panel that was restored.
	report, err := s.Drift(ctx, w.id)
	require.NoError(t, err)
	require.Equal(t, drift.InSync, report.Status, report)
	s.Restored(ctx, again)
	events, _, err = s.Events(ctx, event.Filter{Kinds: []event.Kind{event.BackupRestored}}, Page{})
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Contains(t, events[0].Message, sum.SHA256)
}
