package panel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/drift"
	"github.com/wgfleet/wgfleet/panel/event"
	"github.com/wgfleet/wgfleet/store"
)

// offlineNode is a node that is never contacted: it is disabled.
func offlineNode(t require.TestingT, s *Service, name string) string {
	n, _, err := s.CreateNode(context.Background(), NodeInput{
		Name: &name, AgentURL: new("http://127.0.0.1:1"), IPPoolCIDR: new("10.8.0.0/24"), Enabled: new(false),
	})
	require.NoError(t, err)
	return n.ID
}

// wanted is all that a revision keeps, as records, but for the time of the last change.
func wanted(t require.TestingT, v RevisionState) string {
	peers := map[string]peerRecord{}
	for _, p := range v.Peers {
		p.UpdatedAt = time.Time{}
		peers[p.ID] = recordOfPeer(p.Peer)
	}
	text, err := json.Marshal([]any{recordOfNode(v.Node, 0).desiredRecord, peers})
	require.NoError(t, err)
	return string(text)
}

// present reads the desired state the plain way, without any revision.
func present(t require.TestingT, s *Service, id string) string {
	n, err := s.Node(context.Background(), id)
	require.NoError(t, err)
	peers, _, err := s.Peers(context.Background(), id, Page{})
	require.NoError(t, err)
	require.Len(t, peers, n.PeerCount)
	return wanted(t, RevisionState{Node: n.Node, Peers: peers})
}

func (s *Service) back(ctx context.Context, id string, to uint64) (Rollback, error) {
	plan, err := s.Rollback(ctx, id, to, "")
	if err != nil {
		return plan, err
	}
	return s.Rollback(ctx, id, to, plan.PlanID)
}

// changeAtRandom makes one random change of a node's desired state; it may be refused.
func changeAtRandom(rt *rapid.T, s *Service, id string) error {
	ctx := context.Background()
	peers, _, err := s.Peers(ctx, id, Page{})
	require.NoError(rt, err)
	in := PeerInput{AllowOffline: true}
	switch rapid.IntRange(0, 9).Draw(rt, "what") {
	case 0, 1, 2:
		if rapid.Bool().Draw(rt, "psk") {
			in.PresharedKey = set(AutoPresharedKey)
		}
		if rapid.Bool().Draw(rt, "expires") {
			in.ExpiresAt = set("2999-01-01T00:00:00Z")
		}
		_, err = s.CreatePeer(ctx, id, in)
		return err
	case 3:
		_, err = s.UpdateNode(ctx, id, NodeInput{
			MaxPeers: new(rapid.IntRange(0, 6).Draw(rt, "max")), Weight: new(rapid.IntRange(1, 9).Draw(rt, "weight")),
			Overrides: OverridesInput{MTU: Optional[int]{Set: true, Value: rapid.Ptr(rapid.Just(1400), true).Draw(rt, "mtu")}},
		})
		return err
	case 4:
		_, err = s.ChangeInterface(ctx, id, func(w *InterfaceWish) error {
			w.ListenPort = new(rapid.IntRange(1, 9).Draw(rt, "port"))
			w.Addresses = new(prefixesOf("10.8.0.1/24"))
			return nil
		})
		return err
	case 5:
		v, err := s.Node(ctx, id)
		require.NoError(rt, err)
		_, err = s.back(ctx, id, rapid.Uint64Range(1, v.Revision).Draw(rt, "to"))
		return err
	}
	if len(peers) == 0 {
		return nil
	}
	p := rapid.SampledFrom(peers).Draw(rt, "peer")
	switch rapid.IntRange(0, 3).Draw(rt, "how") {
	case 0:
		return s.DeletePeer(ctx, id, p.ID, true)
	case 1: // a new key
		in.PrivateKey = new(testKey(fmt.Sprint(rapid.IntRange(0, 5).Draw(rt, "key"))).Reveal().String())
	case 2:
		in.Enabled, in.PresharedKey = new(!p.Enabled), cleared[string]()
	case 3:
		in.AllowedIPs = &[]string{fmt.Sprintf("10.8.0.%d/32", rapid.IntRange(2, 9).Draw(rt, "ip"))}
	}
	_, err = s.UpdatePeer(ctx, id, p.ID, in)
	return err
}

// Whatever is changed: the state of each revision is what it was when it was made, the difference of any
// two leads from one to the other, and the way back gives the state again, or is refused whole.
func TestRevisionsAreWhatWas(t *testing.T) {
	s, _, _ := newService(t, nil)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		id := offlineNode(rt, s, fmt.Sprint("round ", round))
		defer func() { require.NoError(rt, s.DeleteNode(t.Context(), id)) }()
		was := map[uint64]string{1: present(rt, s, id)}
		for range rapid.IntRange(1, 25).Draw(rt, "changes") {
			if err := changeAtRandom(rt, s, id); err != nil {
				require.True(rt, isConflict(err), "%v", err)
			}
			v, err := s.Node(t.Context(), id)
			require.NoError(rt, err)
			if old, made := was[v.Revision]; made {
				require.Equal(rt, old, present(rt, s, id), "no change without a revision")
			}
			was[v.Revision] = present(rt, s, id)
		}
		for number, want := range was {
			got, err := s.Revision(t.Context(), id, number)
			require.NoError(rt, err)
			require.Equal(rt, want, wanted(rt, got), "revision %d", number)
		}
		to := rapid.Uint64Range(1, uint64(len(was))).Draw(rt, "back to")
		before := present(rt, s, id)
		r, err := s.back(t.Context(), id, to)
		if err != nil {
			require.True(rt, isConflict(err), "%v", err)
			require.Equal(rt, before, present(rt, s, id), "refused, yet something changed")
			return
		}
		require.Equal(rt, was[to], present(rt, s, id))
		d, err := s.DiffRevisions(t.Context(), id, to, 0)
		require.NoError(rt, err)
		require.True(rt, d.empty())
		require.Equal(rt, r.Diff.empty(), was[to] == before)
		require.Equal(rt, r.Diff.empty(), r.Revision == r.From)
	})
}

func TestOldRevisionsAreNoLongerKept(t *testing.T) {
	s, db, _ := newService(t, nil)
	id := offlineNode(t, s, "n")
	for i := range keepRevisions + 5 {
		_, err := s.UpdateNode(t.Context(), id, NodeInput{Weight: new(i + 1)})
		require.NoError(t, err)
	}
	list, next, err := s.Revisions(t.Context(), id, Page{Limit: 3})
	require.NoError(t, err)
	require.Equal(t, "204", next)
	require.Equal(t, []uint64{206, 205, 204}, []uint64{list[0].Number, list[1].Number, list[2].Number})
	rest, next, err := s.Revisions(t.Context(), id, Page{Cursor: next})
	require.NoError(t, err)
	require.Empty(t, next)
	require.Len(t, rest, keepRevisions-3)
	oldest := rest[len(rest)-1].Number
	v, err := s.Revision(t.Context(), id, oldest)
	require.NoError(t, err)
	require.Equal(t, int(oldest)-1, v.Node.Weight)
	_, err = s.Revision(t.Context(), id, oldest-1)
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "revision 6 of node n is no longer kept")
	_, err = s.Rollback(t.Context(), id, oldest-1, "")
	require.ErrorContains(t, err, "no longer kept")
	_, err = s.DiffRevisions(t.Context(), id, oldest-1, 0)
	require.ErrorContains(t, err, "no longer kept")
	_, err = s.DiffRevisions(t.Context(), id, 206, 207)
	require.ErrorContains(t, err, "has no revision 207")

	require.NoError(t, s.DeleteNode(t.Context(), id))
	for _, table := range []string{revisionTable.Prefix(), undoTable.Prefix()} {
		require.NoError(t, db.View(t.Context(), func(tx store.Tx) error {
			for r, err := range tx.Scan(table, "") {
				require.NoError(t, err)
				t.Error("left behind: ", r.Key)
			}
			return nil
		}))
	}
}

func TestARollbackIsThePlanThatWasShown(t *testing.T) {
	w := newWorld(t)
	ctx := event.WithActor(t.Context(), event.Actor{Kind: event.ActorKey, ID: "k1", Name: "ann"})
	gone := w.create("gone", func(in *PeerInput) { in.PresharedKey = set(AutoPresharedKey) })
	_, err := w.UpdateNode(t.Context(), w.id, NodeInput{AgentURL: new(w.proxy.URL + "/")})
	require.NoError(t, err)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, gone.ID, false))
	heir := w.create("heir", nil)
	require.Equal(t, gone.AllowedIPs, heir.AllowedIPs)
	writes := w.writes.Load()

	plan, err := w.Rollback(ctx, w.id, 2, "")
	require.NoError(t, err)
	require.False(t, plan.Done)
	require.Equal(t, []uint64{5, 2, 5}, []uint64{plan.From, plan.To, plan.Revision})
	require.Len(t, plan.Diff.Peers, 2)
	warnings := strings.Join(plan.Warnings, "\n")
	require.Contains(t, warnings, `peer "gone" (`+gone.PublicKey.String()+`) comes back, with its keys`)
	require.Contains(t, warnings, `10.8.0.2/32 is of peer "heir"`)

	// Somebody else was quicker.
	w.create("other", nil)
	_, err = w.Rollback(ctx, w.id, 2, plan.PlanID)
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, `was at revision 5 and is at 6 by now (6: added peer "other")`)
	_, err = w.Rollback(ctx, w.id, 3, plan.PlanID)
	require.ErrorContains(t, err, "goes back to revision 2, not to 3")
	_, err = w.Rollback(ctx, w.id, 2, "nonsense")
	require.ErrorContains(t, err, "is not known")

	writes += 1 // other's
	plan, err = w.Rollback(ctx, w.id, 2, "")
	require.NoError(t, err)
	done, err := w.Rollback(ctx, w.id, 2, plan.PlanID)
	require.NoError(t, err)
	require.True(t, done.Done)
	require.Equal(t, uint64(7), done.Revision)
	require.Equal(t, plan.Diff, done.Diff)
	require.Equal(t, writes, w.writes.Load(), "the node is not written to")
	back, err := w.Peer(t.Context(), w.id, gone.ID)
	require.NoError(t, err)
	require.True(t, back.PrivateKey.Equal(gone.PrivateKey) && back.PresharedKey.Equal(gone.PresharedKey))
	require.Len(t, w.drift().Missing, 1)
	require.Len(t, w.drift().Unknown, 2)
	r := w.reconcile(ReconcileOptions{Missing: true, PruneOrphaned: true, AllowMassRemoval: true})
	require.True(t, r.Verified)
	require.Len(t, w.peers(), 1)

	told := w.told(w.Service, event.DesiredChanged)
	last := told[len(told)-1]
	require.Equal(t, "rolled back to revision 2: added 1 peers, removed 2 peers", last.Message)
	require.Equal(t, "ann", last.Actor.Name)
	require.Equal(t, uint64(7), last.Revision)
	require.Len(t, told, 7, "one for each revision")
	_, err = w.Rollback(ctx, w.id, 2, plan.PlanID)
	require.ErrorIs(t, err, ErrConflict, "a plan is carried out once")
}

// What would break a rule is refused whole.
func TestRollbacksThatAreRefused(t *testing.T) {
	s, _, _ := newService(t, nil)
	for name, c := range map[string]struct {
		since func(id string)
		want  string
	}{
		"the name is another's": {func(id string) {
			_, err := s.UpdateNode(t.Context(), id, NodeInput{Name: new("renamed")})
			require.NoError(t, err)
			offlineNode(t, s, "n")
		}, `the name "n" belongs to node n (`},
		"too many peers": {func(id string) {
			// As an adoption did it, whom max_peers does not stop.
			_, err := s.changeNode(t.Context(), id, func(n *Node) error { n.MaxPeers = 1; return nil })
			require.NoError(t, err)
		}, "would have 2 peers, and its max_peers at revision 4 is 1"},
		"the key is the node's own": {func(id string) {
			peers, _, err := s.Peers(t.Context(), id, Page{})
			require.NoError(t, err)
			require.NoError(t, s.o.Store.Update(t.Context(), func(tx store.Tx) error {
				r, err := getNode(tx, id)
				if err != nil {
					return err
				}
				r.SeenPublicKey = peers[0].PublicKey.String()
				return nodeTable.Put(tx, id, r)
			}))
		}, "is the node's own"},
	} {
		t.Run(name, func(t *testing.T) {
			id := offlineNode(t, s, "n")
			var peers []PeerView
			for range 2 {
				p, err := s.CreatePeer(t.Context(), id, PeerInput{AllowOffline: true})
				require.NoError(t, err)
				peers = append(peers, p)
			}
			c.since(id)
			to, err := s.Node(t.Context(), id)
			require.NoError(t, err)
			if name == "the name is another's" {
				to.Revision--
			}
			for _, p := range peers {
				require.NoError(t, s.DeletePeer(t.Context(), id, p.ID, true))
			}
			before := present(t, s, id)
			_, err = s.Rollback(t.Context(), id, to.Revision, "")
			require.ErrorIs(t, err, ErrConflict)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, before, present(t, s, id))
			all, err := s.allNodes(t.Context())
			require.NoError(t, err)
			for _, n := range all {
				require.NoError(t, s.DeleteNode(t.Context(), n.ID))
			}
		})
	}
}

// Of many who carry out plans of one revision at the same time, one does; the others learn why not.
func TestOneRollbackWins(t *testing.T) {
	s, _, _ := newService(t, nil)
	id := offlineNode(t, s, "n")
	_, err := s.UpdateNode(t.Context(), id, NodeInput{Weight: new(7)})
	require.NoError(t, err)
	var mu sync.Mutex
	var won, lost int
	var wg sync.WaitGroup
	var plans []string
	for range 8 {
		plan, err := s.Rollback(t.Context(), id, 1, "")
		require.NoError(t, err)
		plans = append(plans, plan.PlanID)
	}
	for _, planID := range plans {
		wg.Go(func() {
			_, err := s.Rollback(t.Context(), id, 1, planID)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, ErrConflict):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, []int{1, 7}, []int{won, lost})
}

// A change that does not fit into one row, and one that adoption makes, which tells of it by itself.
func TestBigRevisions(t *testing.T) {
	w := newWorld(t)
	var strangers []engine.PeerChange
	for i := range 450 {
		strangers = append(strangers, engine.PeerChange{After: &engine.Peer{
			PublicKey: publicKey(fmt.Sprint("s", i)), AllowedIPs: prefixesOf(fmt.Sprintf("10.9.%d.%d/32", i/250, i%250)),
		}})
	}
	w.write(strangers...)
	r := w.reconcile(ReconcileOptions{AdoptUnknown: true})
	require.Len(t, r.Adopted, 450)
	list, _, err := w.Revisions(t.Context(), w.id, Page{})
	require.NoError(t, err)
	require.Equal(t, "taken over from the node: added 50 peers", list[0].Summary)
	require.Len(t, list, 4)
	require.Len(t, w.told(w.Service, event.DesiredChanged), 1, "the node's creation")

	full := present(t, w.Service, w.id)
	_, err = w.back(t.Context(), w.id, 1)
	require.NoError(t, err)
	rows := 0
	require.NoError(t, w.store.View(t.Context(), func(tx store.Tx) error {
		head, err := revisionTable.In(w.id).Get(tx, revisionID(5))
		rows = head.Rows
		return err
	}))
	require.Greater(t, rows, 1)
	_, err = w.back(t.Context(), w.id, 4)
	require.NoError(t, err)
	require.Equal(t, full, present(t, w.Service, w.id))
	require.Equal(t, drift.InSync, w.drift().Status, "as adopted, untouched")
}

// Each field of a node is either what revisions keep or known not to be, and each of a peer shows in a
// difference.
func TestNoFieldIsForgotten(t *testing.T) {
	notWished := []string{
		"is_panel_node", "agent_id", "speaks_v2", "trust", "seen_public_key", "seen_listen_port", "revision", "peer_count", "created_at", "updated_at",
	}
	record := reflect.TypeFor[nodeRecord]()
	for f := range record.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		require.True(t, f.Anonymous || slices.Contains(notWished, name) || slices.Contains(fixedFields, name), name)
	}
	desired := reflect.TypeFor[desiredRecord]()
	interfaceFields := reflect.TypeFor[wishRecord]().NumField()
	require.Len(t, nodeFields(desiredRecord{}), desired.NumField()-1+interfaceFields)
	require.Len(t, peerFields(nil), reflect.TypeFor[peerRecord]().NumField()-3, "all but its times, and where its key is from")
}

// Of keys no answer, event, error or log line tells more than that they are there.
func TestRevisionsTellNoSecret(t *testing.T) {
	w := newWorld(t)
	p := w.create("ann", func(in *PeerInput) { in.PresharedKey = set(AutoPresharedKey) })
	q, err := w.UpdatePeer(t.Context(), w.id, p.ID, PeerInput{PresharedKey: set(AutoPresharedKey), PrivateKey: new(testKey("new").Reveal().String())})
	require.NoError(t, err)
	_, err = w.UpdateNode(t.Context(), w.id, NodeInput{Secret: new(testSecret + " another")})
	require.NoError(t, err)
	require.NoError(t, w.DeletePeer(t.Context(), w.id, p.ID, true))
	plan, err := w.Rollback(t.Context(), w.id, 2, "")
	require.NoError(t, err)
	var said strings.Builder
	list, _, err := w.Revisions(t.Context(), w.id, Page{})
	require.NoError(t, err)
	d, err := w.DiffRevisions(t.Context(), w.id, 2, 3)
	require.NoError(t, err)
	require.Contains(t, d.Peers[0].Changes, FieldChange{"preshared_key", "set", "different"})
	require.Contains(t, d.Peers[0].Changes, FieldChange{"private_key", "set", "different"})
	v, err := w.Revision(t.Context(), w.id, 2)
	require.NoError(t, err)
	fmt.Fprintf(&said, "%+v %+v %+v %+v %+v", list, d, plan, v.Peers, w.told(w.Service, event.DesiredChanged))
	said.WriteString(w.logs.String())
	for _, key := range []engine.SecretKey{p.PrivateKey, p.PresharedKey, q.PrivateKey, q.PresharedKey} {
		require.False(t, key.IsZero())
		require.NotContains(t, said.String(), key.Reveal().String())
	}
	require.NotContains(t, said.String(), string(testSecret))
	require.Contains(t, said.String(), "changed secret of the node")
}

// What a node inherits is not in its revisions: a change of a group is one that changes nothing of the node
// itself, and a group that is gone is a way back that is refused.
func TestRevisionsAndWhatIsInherited(t *testing.T) {
	s, _, _ := newService(t, nil)
	id := offlineNode(t, s, "n")
	g, err := s.CreateGroup(t.Context(), GroupInput{Name: new("west")})
	require.NoError(t, err)
	_, err = s.UpdateNode(t.Context(), id, NodeInput{GroupID: set(g.ID)})
	require.NoError(t, err)
	_, err = s.UpdateGroup(t.Context(), g.ID, GroupInput{Overrides: ValuesInput{MTU: set(1400)}})
	require.NoError(t, err)
	list, _, err := s.Revisions(t.Context(), id, Page{Limit: 2})
	require.NoError(t, err)
	require.Equal(t, `group "west" was changed`, list[0].Summary)
	require.Equal(t, "changed group_id of the node", list[1].Summary)
	d, err := s.DiffRevisions(t.Context(), id, 2, 3)
	require.NoError(t, err)
	require.True(t, d.empty())
	told, _, err := s.Events(t.Context(), event.Filter{NodeID: id, Kinds: []event.Kind{event.DesiredChanged}}, Page{})
	require.NoError(t, err)
	require.Len(t, told, 3)

	_, err = s.back(t.Context(), id, 1)
	require.NoError(t, err)
	require.NoError(t, s.DeleteGroup(t.Context(), g.ID), "nobody is in it any more")
	_, err = s.Rollback(t.Context(), id, 3, "")
	require.ErrorIs(t, err, ErrConflict)
	require.ErrorContains(t, err, "what was wanted at revision 3 is not possible any more: group_id: there is no group")
}
