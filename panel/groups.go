package panel

import (
	"context"
	"errors"
	"fmt"

	"github.com/wgfleet/wgfleet/panel/notify"
	"github.com/wgfleet/wgfleet/store"
)

// Groups lists the groups of nodes in the order of their making.
func (s *Service) Groups(ctx context.Context, p Page) (groups []GroupView, next string, err error) {
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		groups, next = []GroupView{}, ""
		for row, err := range groupTable.All(tx, p.Cursor) {
			if err != nil {
				return err
			}
			if p.Limit > 0 && len(groups) == p.Limit {
				next = groups[p.Limit-1].ID
				return nil
			}
			u, err := usersOf(tx, row.ID)
			if err != nil {
				return err
			}
			groups = append(groups, GroupView{Group: row.Value.group(row.ID), NodeCount: len(u.nodes)})
		}
		return nil
	})
	return groups, next, pageError(err)
}

// Group returns one group.
func (s *Service) Group(ctx context.Context, id string) (GroupView, error) {
	var v GroupView
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		var err error
		if v.Group, err = getGroup(tx, id); err != nil {
			return err
		}
		u, err := usersOf(tx, id)
		v.NodeCount = len(u.nodes)
		return err
	})
	return v, err
}

func getGroup(tx store.Tx, id string) (Group, error) {
	r, err := groupTable.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrKey) {
		return Group{}, notFoundf("there is no group %q", clip(id))
	}
	return r.group(id), err
}

// CreateGroup adds a group without nodes.
func (s *Service) CreateGroup(ctx context.Context, in GroupInput) (GroupView, error) {
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return GroupView{}, err
	}
	if in.Name == nil {
		return GroupView{}, Invalid("name", "must be given")
	}
	g := Group{ID: id, CreatedAt: now, UpdatedAt: now}
	if err := in.apply(&g); err != nil {
		return GroupView{}, err
	}
	err = s.o.Store.Update(ctx, func(tx store.Tx) error {
		if err := claimName(tx, groupNames, g.Name, id, "group"); err != nil {
			return err
		}
		return groupTable.Put(tx, id, recordOfGroup(g))
	})
	return GroupView{Group: g}, err
}

// UpdateGroup changes what the input names, for all nodes of the group; no agent is contacted.
func (s *Service) UpdateGroup(ctx context.Context, id string, in GroupInput) (GroupView, error) {
	var v GroupView
	var revs []revised
	err := s.o.Store.Update(ctx, func(tx store.Tx) error {
		g, u, err := s.changeGroup(ctx, tx, id, in)
		v, revs = GroupView{Group: g, NodeCount: len(u.nodes)}, u.revised
		return err
	})
	if err == nil {
		s.tellRevised(ctx, revs...)
	}
	return v, err
}

func (s *Service) changeGroup(ctx context.Context, tx store.Tx, id string, in GroupInput) (Group, users, error) {
	g, err := getGroup(tx, id)
	if err != nil {
		return g, users{}, err
	}
	old := g.Name
	if err := in.apply(&g); err != nil {
		return g, users{}, err
	}
	if err := renameTo(tx, groupNames, old, g.Name, id, "group"); err != nil {
		return g, users{}, err
	}
	g.UpdatedAt = s.now()
	if err := groupTable.Put(tx, id, recordOfGroup(g)); err != nil {
		return g, users{}, err
	}
	u, err := usersOf(tx, id)
	if err != nil {
		return g, u, err
	}
	u.revised, err = s.reviseUsers(ctx, tx, u, id, "override_mtu", fmt.Sprintf("group %q was changed", g.Name))
	return g, u, err
}

// DeleteGroup forgets a group that no node is in and no notification channel names.
func (s *Service) DeleteGroup(ctx context.Context, id string) error {
	return s.o.Store.Update(ctx, func(tx store.Tx) error {
		g, err := getGroup(tx, id)
		if err != nil {
			return err
		}
		u, err := usersOf(tx, id)
		if err != nil {
			return err
		}
		if n := len(u.nodes); n > 0 {
			return conflictf("%s in group %q: take them out of it first", counted(n, "node is", "nodes are"), g.Name)
		}
		c, named, err := notify.NamesGroup(tx, id)
		if err != nil {
			return err
		}
		if named {
			return conflictf("the rules of the notification channel %q name group %q: take it out of them first", c.Name, g.Name)
		}
		return errors.Join(groupNames.Release(tx, nameKey(g.Name), id), groupTable.Delete(tx, id))
	})
}

// claimName makes a name the alone property of a group or template; what is the noun of both.
func claimName(tx store.Tx, names store.Unique, name, id, what string) error {
	err := names.Claim(tx, nameKey(name), id)
	if t, ok := errors.AsType[*store.TakenError](err); ok {
		return conflictf("the name %q belongs to %s %s", name, what, t.Owner)
	}
	return err
}

func renameTo(tx store.Tx, names store.Unique, from, to, id, what string) error {
	if from == to {
		return nil
	}
	if err := names.Release(tx, nameKey(from), id); err != nil {
		return err
	}
	return claimName(tx, names, to, id, what)
}
