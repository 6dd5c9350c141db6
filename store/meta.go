package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// The store's own records.
const (
	checkKey  = metaSpace + "check"  // opens with the right master key only
	schemaKey = metaSpace + "schema" // the newest migration that was applied
)

// Migration takes the records from the schema of the version before to its own, in one transaction.
type Migration struct {
	Version int
	Name    string
	Apply   func(Tx) error
}

// Baseline is version 1: records as the first release writes them. A list of migrations begins with it.
var Baseline = Migration{Version: 1, Name: "baseline", Apply: func(Tx) error { return nil }}

// Schema says how the records are written: the newest migration that they went through.
type Schema struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
}

// Schema implements Store.
func (d *db) Schema() Schema { return d.schema }

// migrations is the list, nil for Baseline alone, and makes sure of its order.
func migrations(list []Migration) ([]Migration, error) {
	if list == nil {
		list = []Migration{Baseline}
	}
	for i, m := range list {
		if m.Version != i+1 {
			return nil, fmt.Errorf("the store's migrations are out of order: version %d stands at place %d", m.Version, i+1)
		}
	}
	return list, nil
}

// upgrade makes sure of the store and brings its schema up to the newest migration.
func (d *db) upgrade(o Options) error {
	list, err := migrations(o.Migrations)
	if err != nil {
		return err
	}
	at, err := d.inspect()
	if err != nil {
		return err
	}
	if at.Version > len(list) {
		return fmt.Errorf("%w: %s has schema %d, this program knows %d: %s",
			ErrNewer, d.name, at.Version, len(list), wayBack(o, len(list)))
	}
	if o.Copies != "" && at.Version > 0 && at.Version < len(list) {
		if err := d.copyBefore(o, at.Version); err != nil {
			return fmt.Errorf("keep a copy of the store in %s before it is migrated: %w", d.name, err)
		}
	}
	return d.migrate(list, at)
}

// inspect ends what a crash has cut off, makes sure of the master key before any record is read, and then of the schema.
func (d *db) inspect() (at Schema, err error) {
	if err := d.recoverJournal(); err != nil {
		return at, err
	}
	ctx := context.Background()
	if err := d.update(ctx, d.check); err != nil {
		return at, err
	}
	err = d.View(ctx, func(t Tx) (err error) {
		at, err = readSchema(t.(*tx)) //nolint:forcetypeassert // this store hands out no other
		return err
	})
	if err != nil {
		err = fmt.Errorf("read the schema of the store in %s: %w", d.name, err)
	}
	return at, err
}

// migrate runs the migrations that the records have not been through.
func (d *db) migrate(list []Migration, at Schema) error {
	d.schema = at
	for _, m := range list[at.Version:] {
		if err := d.update(context.Background(), m.run); err != nil {
			return fmt.Errorf("migrate the store in %s to schema %d (%s): %w", d.name, m.Version, m.Name, err)
		}
		d.schema = m.schema()
	}
	return nil
}

func (d *db) check(t *tx) error {
	_, err := t.get(checkKey)
	switch {
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("%w in %s: give the key that the store was made with", ErrSealed, d.name)
	case !errors.Is(err, ErrNotFound):
		return err
	}
	for _, err := range t.scan("", "") {
		if err == nil || errors.Is(err, ErrCorrupt) {
			err = fmt.Errorf("%w: %s has records but no check record", ErrCorrupt, d.name)
		}
		return err
	}
	return t.put(checkKey, nil)
}

func (m Migration) run(t *tx) error {
	if err := m.Apply(t); err != nil {
		return err
	}
	return m.schema().put(t)
}

func (m Migration) schema() Schema { return Schema{Version: m.Version, Name: m.Name} }

func (at Schema) put(t *tx) error {
	value, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return t.put(schemaKey, value)
}

func readSchema(t *tx) (at Schema, err error) {
	value, err := t.get(schemaKey)
	if errors.Is(err, ErrNotFound) {
		return Schema{}, nil
	}
	if err != nil {
		return Schema{}, err
	}
	if err := json.Unmarshal(value, &at); err != nil || at.Version < 1 {
		return Schema{}, fmt.Errorf("%w: it names no schema version", ErrCorrupt)
	}
	return at, nil
}
