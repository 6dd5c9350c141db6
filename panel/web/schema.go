package web

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3gen"
)

// direction is the side of an exchange that a type is of: an answer holds all of its fields, a
// request may leave out all that are not marked required and may hold no other.
type direction int

const (
	ofAnswer direction = iota
	ofRequest
)

// schemaOf describes a type by its json tags, and by doc, format, default and required.
func schemaOf(t reflect.Type, side direction) (*openapi3.SchemaRef, error) {
	g := openapi3gen.NewGenerator(openapi3gen.SchemaCustomizer(
		func(_ string, t reflect.Type, tag reflect.StructTag, s *openapi3.Schema) error {
			return customize(t, tag, s, side)
		}))
	ref, err := g.GenerateSchemaRef(t)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", t, err)
	}
	clearNames(ref)
	return ref, nil
}

func customize(t reflect.Type, tag reflect.StructTag, s *openapi3.Schema, side direction) error {
	if o, ok := reflect.TypeAssert[interface{ inner() reflect.Type }](reflect.Zero(t)); ok {
		ref, err := schemaOf(o.inner(), side)
		if err != nil {
			return err
		}
		*s = *ref.Value
		s.Nullable = true
	} else if t.Kind() == reflect.Struct {
		s.Required = requiredFields(t, side)
		if side == ofRequest {
			s.WithoutAdditionalProperties()
		}
	}
	if t == reflect.TypeFor[duration]() {
		*s = *openapi3.NewStringSchema()
	}
	if t.Kind() == reflect.Interface {
		s.Nullable = true // any value
	}
	if doc := tag.Get("doc"); doc != "" {
		s.Description = doc
	}
	if format := tag.Get("format"); format != "" && t.Kind() == reflect.String {
		s.Format = format
	}
	if d := tag.Get("default"); d != "" && t.Kind() == reflect.Bool {
		s.Default = d == "true"
	}
	return nil
}

func requiredFields(t reflect.Type, side direction) []string {
	var names []string
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		if side == ofRequest && f.Tag.Get("required") == "true" ||
			side == ofAnswer && !strings.Contains(options, "omit") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// clearNames makes every schema a value: the generator leaves Go's type names as references.
func clearNames(ref *openapi3.SchemaRef) {
	if ref == nil {
		return
	}
	ref.Ref = ""
	if ref.Value == nil {
		return
	}
	for _, p := range ref.Value.Properties {
		clearNames(p)
	}
	if items := ref.Value.Items; items != nil {
		items.Value.Description = "" // the tag of the list's field reached them as well
		clearNames(items)
	}
	clearNames(ref.Value.AdditionalProperties.Schema)
}
