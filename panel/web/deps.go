package web

import (
	"context"
	"io"
	"iter"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/panel/notify"
	"github.com/wgfleet/wgfleet/panel/policy"
)

// UseCases are all that the API offers: *panel.Service.
type UseCases interface {
	Nodes
	Interfaces
	Presets
	Peers
	Drift
	Rollouts
	Rules
	Events
	Revisions
	Keys
	Notifications
	Backups
}

// Nodes are the use cases behind /api/nodes.
type Nodes interface {
	Nodes(ctx context.Context, p panel.Page) (nodes []panel.NodeView, next string, err error)
	Node(ctx context.Context, id string) (panel.NodeView, error)
	// CreateNode returns the secret as well where it was made here: it is shown that once.
	CreateNode(ctx context.Context, in panel.NodeInput) (n panel.NodeView, madeSecret string, err error)
	UpdateNode(ctx context.Context, id string, in panel.NodeInput) (panel.NodeView, error)
	DeleteNode(ctx context.Context, id string) error
	TestNode(ctx context.Context, id string) (panel.NodeTest, error)
	// PreviewNode says what UpdateNode would do, and stores nothing.
	PreviewNode(ctx context.Context, id string, in panel.NodeInput) (panel.Preview, error)
	// EffectiveSettings are the node's, or with a peer's id that peer's.
	EffectiveSettings(ctx context.Context, nodeID, peerID string) ([]panel.EffectiveField, error)
}

// Presets are the use cases behind /api/groups and /api/templates.
type Presets interface {
	Groups(ctx context.Context, p panel.Page) (groups []panel.GroupView, next string, err error)
	Group(ctx context.Context, id string) (panel.GroupView, error)
	CreateGroup(ctx context.Context, in panel.GroupInput) (panel.GroupView, error)
	UpdateGroup(ctx context.Context, id string, in panel.GroupInput) (panel.GroupView, error)
	DeleteGroup(ctx context.Context, id string) error
	// PreviewGroup says what UpdateGroup would do, and stores nothing.
	PreviewGroup(ctx context.Context, id string, in panel.GroupInput) (panel.Preview, error)

	Templates(ctx context.Context, p panel.Page) (templates []panel.TemplateView, next string, err error)
	Template(ctx context.Context, id string) (panel.TemplateView, error)
	CreateTemplate(ctx context.Context, in panel.TemplateInput) (panel.TemplateView, error)
	UpdateTemplate(ctx context.Context, id string, in panel.TemplateInput) (panel.TemplateView, error)
	DeleteTemplate(ctx context.Context, id string) error
	PreviewTemplate(ctx context.Context, id string, in panel.TemplateInput) (panel.Preview, error)
}

// Interfaces are the use cases behind /api/nodes/{id}/interface.
type Interfaces interface {
	Interface(ctx context.Context, nodeID string) (panel.InterfaceWish, error)
	// ChangeInterface changes the wish as it is stored, in one transaction, and returns what is wanted
	// then. change may be called more than once.
	ChangeInterface(ctx context.Context, nodeID string, change func(*panel.InterfaceWish) error) (panel.InterfaceWish, error)
	// SyncInterface writes the wish to the node.
	SyncInterface(ctx context.Context, nodeID string) error
	EnableInterface(ctx context.Context, nodeID string, up bool) error
}

// Peers are the use cases behind /api/nodes/{id}/peers and /api/peers.
type Peers interface {
	Peers(ctx context.Context, nodeID string, p panel.Page) (peers []panel.PeerView, next string, err error)
	SearchPeers(ctx context.Context, q string, p panel.Page) (peers []panel.PeerView, next string, err error)
	Peer(ctx context.Context, nodeID, peerID string) (panel.PeerView, error)
	// CreatePeer takes a node id, or "auto".
	CreatePeer(ctx context.Context, node string, in panel.PeerInput) (panel.PeerView, error)
	UpdatePeer(ctx context.Context, nodeID, peerID string, in panel.PeerInput) (panel.PeerView, error)
	DeletePeer(ctx context.Context, nodeID, peerID string, allowOffline bool) error
	// ClientConfig is the client's wg-quick(8) file; panel.ErrNoPrivateKey where it can't be made.
	ClientConfig(ctx context.Context, nodeID, peerID string) (panel.ClientFile, error)
	// ClientConfigFetched is told that the client got this file.
	ClientConfigFetched(ctx context.Context, f panel.ClientFile)
}

// Drift are the use cases behind /api/drift.
type Drift interface {
	Drift(ctx context.Context, nodeID string) (drift.Report, error)
	// DriftAll looks at all nodes side by side; disabled ones are in it as unknown.
	DriftAll(ctx context.Context) ([]drift.Report, error)
	// Reconcile refuses a plan that is not o.PlanID, where that is given, with panel.ErrConflict.
	Reconcile(ctx context.Context, nodeID string, o panel.ReconcileOptions) (panel.ReconcileResult, error)
	// PlanAll plans for these nodes, or for all enabled ones, side by side.
	PlanAll(ctx context.Context, nodeIDs []string, o panel.ReconcileOptions) ([]panel.NodePlan, error)
	// FleetPolicy is what was said of all nodes.
	FleetPolicy(ctx context.Context) (policy.Input, error)
	ChangeFleetPolicy(ctx context.Context, in panel.PolicyInput) (policy.Input, error)
}

// Rollouts are the use cases behind /api/drift/rollouts.
type Rollouts interface {
	StartRollout(ctx context.Context, in panel.RolloutInput) (panel.Rollout, error)
	Rollouts(ctx context.Context) ([]panel.Rollout, error)
	Rollout(ctx context.Context, id string) (panel.Rollout, error)
	// FollowRollout yields it whenever it is another, until it has ended or ctx has.
	FollowRollout(ctx context.Context, id string) (iter.Seq[panel.Rollout], error)
	CancelRollout(ctx context.Context, id string) (panel.Rollout, error)
}

// Rules are the use cases behind /api/drift/rules.
type Rules interface {
	Rules(ctx context.Context, p panel.Page) (rules []panel.Rule, next string, err error)
	Rule(ctx context.Context, id string) (panel.Rule, error)
	CreateRule(ctx context.Context, in panel.RuleInput) (panel.Rule, error)
	UpdateRule(ctx context.Context, id string, in panel.RuleInput) (panel.Rule, error)
	DeleteRule(ctx context.Context, id string) error
}

// Events are the use cases behind /api/events.
type Events interface {
	Events(ctx context.Context, f event.Filter, p panel.Page) (events []event.Event, next string, err error)
	NodeEvents(ctx context.Context, nodeID string, f event.Filter, p panel.Page) (events []event.Event, next string, err error)
	// LastEvent is the id of the newest one.
	LastEvent(ctx context.Context) (string, error)
	// FollowEvents yields what comes after an event until ctx ends, whose cause is the last pair.
	FollowEvents(ctx context.Context, after string) iter.Seq2[event.Event, error]
}

// Revisions are the use cases behind /api/nodes/{id}/revisions.
type Revisions interface {
	Revisions(ctx context.Context, nodeID string, p panel.Page) (list []panel.Revision, next string, err error)
	Revision(ctx context.Context, nodeID string, number uint64) (panel.RevisionState, error)
	// DiffRevisions compares with the present revision where to is 0.
	DiffRevisions(ctx context.Context, nodeID string, from, to uint64) (panel.RevisionDiff, error)
	// Rollback makes a plan, or carries out the one that is named: panel.ErrConflict where the node has
	// changed since.
	Rollback(ctx context.Context, nodeID string, to uint64, planID string) (panel.Rollback, error)
}

// Keys are the use cases behind /api/keys, and the door.
type Keys interface {
	Keys(ctx context.Context, p panel.Page) (keys []panel.Key, next string, err error)
	// CreateKey returns the key itself: it is shown that once.
	CreateKey(ctx context.Context, name, role string) (k panel.Key, token string, err error)
	DeleteKey(ctx context.Context, id string) error
	// Authenticate returns who a token belongs to, or panel.ErrUnauthorized.
	Authenticate(ctx context.Context, token string) (panel.Key, error)
}

// Backups are the use cases behind /api/backup.
type Backups interface {
	// Backup writes nothing where it refuses the passphrase.
	Backup(ctx context.Context, w io.Writer, p panel.Passphrase) (panel.BackupSummary, error)
}

// Restorer puts another panel in the place of this one, and is therefore no use case of a panel: the one that was asked
// is gone afterwards.
type Restorer interface {
	// Restorable is panel.ErrNotEmpty where there is something to lose.
	Restorable(ctx context.Context) error
	// Restore reads a backup to its end; on an error nothing has changed.
	Restore(ctx context.Context, r io.Reader, p panel.Passphrase) (panel.BackupSummary, error)
}

// Notifications are the use cases behind /api/notifications.
type Notifications interface {
	Channels(ctx context.Context, p panel.Page) (channels []notify.Channel, next string, err error)
	Channel(ctx context.Context, id string) (notify.Channel, error)
	// CreateChannel and UpdateChannel return the secret as well where it was made here: it is shown that once.
	CreateChannel(ctx context.Context, in notify.Input) (c notify.Channel, madeSecret notify.Secret, err error)
	UpdateChannel(ctx context.Context, id string, in notify.Input) (c notify.Channel, madeSecret notify.Secret, err error)
	DeleteChannel(ctx context.Context, id string) error
	// TestChannel sends a test now; a receiver that fails is no error.
	TestChannel(ctx context.Context, id string) (notify.Delivery, error)
	// Deliveries lists what a channel was sent, the newest first.
	Deliveries(ctx context.Context, id string, p panel.Page) (deliveries []notify.Delivery, next string, err error)
}
