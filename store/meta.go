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

type schema struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
}

// prepare ends what a crash has cut off, makes sure of the master key before any record is read, and then of the schema.
func (d *db) prepare(list []Migration) error {
	if list == nil {
		list = []Migration{Baseline}
	}
	for i, m := range list {
		if m.Version != i+1 {
			return fmt.Errorf("the store's migrations are out of order: version %d stands at place %d", m.Version, i+1)
		}
	}
	if err := d.recoverJournal(); err != nil {
		return err
	}
	ctx := context.Background()
	if err := d.update(ctx, d.check); err != nil {
		return err
	}
	var at schema
	err := d.View(ctx, func(t Tx) (err error) {
		at, err = readSchema(t.(*tx)) //nolint:forcetypeassert // this store hands out no other
		return err
	})
	if err != nil {
		return fmt.Errorf("read the schema of the store in %s: %w", d.name, err)
	}
	if at.Version > len(list) {
		return fmt.Errorf("%w: %s has schema %d, this program knows %d: run the newer one",
			ErrNewer, d.name, at.Version, len(list))
	}
	for _, m := range list[at.Version:] {
		if err := d.update(ctx, m.run); err != nil {
			return fmt.Errorf("migrate the store in %s to schema %d (%s): %w", d.name, m.Version, m.Name, err)
		}
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
	value, err := json.Marshal(schema{Version: m.Version, Name: m.Name})
	if err != nil {
		return err
	}
	return t.put(schemaKey, value)
}

func readSchema(t *tx) (at schema, err error) {
	value, err := t.get(schemaKey)
	if errors.Is(err, ErrNotFound) {
		return schema{}, nil
	}
	if err != nil {
		return schema{}, err
	}
	if err := json.Unmarshal(value, &at); err != nil || at.Version < 1 {
		return schema{}, fmt.Errorf("%w: it names no schema version", ErrCorrupt)
	}
	return at, nil
}
