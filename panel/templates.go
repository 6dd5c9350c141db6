package panel

import (
	"context"
	"errors"
	"fmt"

	"github.com/wgfleet/wgfleet/store"
)

// Templates lists the templates in the order of their making.
func (s *Service) Templates(ctx context.Context, p Page) (templates []TemplateView, next string, err error) {
	err = s.o.Store.View(ctx, func(tx store.Tx) error {
		templates, next = []TemplateView{}, ""
		for row, err := range templateTable.All(tx, p.Cursor) {
			if err != nil {
				return err
			}
			if p.Limit > 0 && len(templates) == p.Limit {
				next = templates[p.Limit-1].ID
				return nil
			}
			u, err := usersOf(tx, row.ID)
			if err != nil {
				return err
			}
			templates = append(templates, row.Value.template(row.ID).view(u))
		}
		return nil
	})
	return templates, next, pageError(err)
}

func (t Template) view(u users) TemplateView {
	return TemplateView{Template: t, NodeCount: len(u.reached()), PeerCount: u.peerCount()}
}

// Template returns one template.
func (s *Service) Template(ctx context.Context, id string) (TemplateView, error) {
	var v TemplateView
	err := s.o.Store.View(ctx, func(tx store.Tx) error {
		t, err := getTemplate(tx, id)
		if err != nil {
			return err
		}
		u, err := usersOf(tx, id)
		v = t.view(u)
		return err
	})
	return v, err
}

func getTemplate(tx store.Tx, id string) (Template, error) {
	r, err := templateTable.Get(tx, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrKey) {
		return Template{}, notFoundf("there is no template %q", clip(id))
	}
	return r.template(id), err
}

// CreateTemplate adds a template that nobody refers to yet.
func (s *Service) CreateTemplate(ctx context.Context, in TemplateInput) (TemplateView, error) {
	now := s.now()
	id, err := store.NewID(now, s.o.Rand)
	if err != nil {
		return TemplateView{}, err
	}
	if err := in.required(); err != nil {
		return TemplateView{}, err
	}
	t := Template{ID: id, CreatedAt: now, UpdatedAt: now}
	if err := in.apply(&t); err != nil {
		return TemplateView{}, err
	}
	err = s.o.Store.Update(ctx, func(tx store.Tx) error {
		if err := claimName(tx, templateNames, t.Name, id, "template"); err != nil {
			return err
		}
		return templateTable.Put(tx, id, recordOfTemplate(t))
	})
	return TemplateView{Template: t}, err
}

func (in TemplateInput) required() error {
	var p problems
	if in.Name == nil {
		p.add("name", "must be given")
	}
	if in.Kind == nil {
		p.add("kind", "must be given: node or peer")
	}
	return p.err()
}

// UpdateTemplate changes what the input names, for all who refer to the template; no agent is contacted.
func (s *Service) UpdateTemplate(ctx context.Context, id string, in TemplateInput) (TemplateView, error) {
	var v TemplateView
	var revs []revised
	err := s.o.Store.Update(ctx, func(tx store.Tx) error {
		t, u, err := s.changeTemplate(ctx, tx, id, in)
		v, revs = t.view(u), u.revised
		return err
	})
	if err == nil {
		s.tellRevised(ctx, revs...)
	}
	return v, err
}

func (s *Service) changeTemplate(ctx context.Context, tx store.Tx, id string, in TemplateInput) (Template, users, error) {
	t, err := getTemplate(tx, id)
	if err != nil {
		return t, users{}, err
	}
	old := t.Name
	if err := in.apply(&t); err != nil {
		return t, users{}, err
	}
	if err := renameTo(tx, templateNames, old, t.Name, id, "template"); err != nil {
		return t, users{}, err
	}
	t.UpdatedAt = s.now()
	if err := templateTable.Put(tx, id, recordOfTemplate(t)); err != nil {
		return t, users{}, err
	}
	u, err := usersOf(tx, id)
	if err != nil {
		return t, u, err
	}
	u.revised, err = s.reviseUsers(ctx, tx, u, id, "mtu", fmt.Sprintf("template %q was changed", t.Name))
	return t, u, err
}

// DeleteTemplate forgets a template that nobody refers to.
func (s *Service) DeleteTemplate(ctx context.Context, id string) error {
	return s.o.Store.Update(ctx, func(tx store.Tx) error {
		t, err := getTemplate(tx, id)
		if err != nil {
			return err
		}
		u, err := usersOf(tx, id)
		if err != nil {
			return err
		}
		switch nodes, peers := len(u.nodes), u.peerCount(); {
		case nodes > 0:
			return conflictf("%s template %q: give them another one first", counted(nodes, "node uses", "nodes use"), t.Name)
		case peers > 0:
			return conflictf("%s template %q: give them another one first", counted(peers, "peer uses", "peers use"), t.Name)
		}
		return errors.Join(templateNames.Release(tx, nameKey(t.Name), id), templateTable.Delete(tx, id))
	})
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
