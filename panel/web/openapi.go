package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"
)

// Names of the description's components.
const (
	schemeBearer   = "bearer"
	schemeOriginal = "original"
	envelopeDoc    = "Every JSON answer is {status, message, data}."
)

// describe makes the OpenAPI document of the routes and the page that shows it.
func describe(routes []route, version string) (document, page []byte, err error) {
	d := &description{doc: &openapi3.T{
		OpenAPI: "3.0.3",
		Info:    &openapi3.Info{Title: "wgfleet panel", Version: orElse(version, "unknown"), Description: envelopeDoc},
		Paths:   openapi3.NewPaths(),
		Components: &openapi3.Components{
			Schemas: openapi3.Schemas{},
			SecuritySchemes: openapi3.SecuritySchemes{
				schemeBearer: {Value: &openapi3.SecurityScheme{Type: "http", Scheme: "bearer"}},
				schemeOriginal: {Value: &openapi3.SecurityScheme{
					Type: "apiKey", In: "header", Name: originalKeyHeader, Description: "as the original panel's clients send it",
				}},
			},
		},
	}}
	for _, r := range routes {
		operation, err := d.operation(r)
		if err != nil {
			return nil, nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
		}
		d.doc.AddOperation(r.path, r.method, operation)
	}
	if document, err = json.Marshal(d.doc); err != nil {
		return nil, nil, fmt.Errorf("encode description: %w", err)
	}
	page, err = renderDocs(d.doc, routes)
	return document, page, err
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

type description struct {
	doc *openapi3.T
}

var pathParam = regexp.MustCompile(`\{(\w+)\}`)

func (d *description) operation(r route) (*openapi3.Operation, error) {
	o := openapi3.NewOperation()
	o.OperationID = operationID(r)
	o.Summary = r.summary
	o.Extensions = map[string]any{"x-role": string(r.role)}
	o.Security = openapi3.NewSecurityRequirements()
	if r.role != roleOpen {
		o.Security.With(openapi3.NewSecurityRequirement().Authenticate(schemeBearer)).
			With(openapi3.NewSecurityRequirement().Authenticate(schemeOriginal))
	}
	for _, m := range pathParam.FindAllStringSubmatch(r.path, -1) {
		o.AddParameter(openapi3.NewPathParameter(m[1]).WithSchema(openapi3.NewStringSchema()))
	}
	for _, q := range r.query {
		o.AddParameter(openapi3.NewQueryParameter(q.name).WithDescription(q.doc).WithSchema(
			&openapi3.Schema{Type: &openapi3.Types{q.kind}}))
	}
	if r.body != reflect.TypeFor[none]() {
		ref, err := d.component(r.body, ofRequest)
		if err != nil {
			return nil, err
		}
		o.RequestBody = &openapi3.RequestBodyRef{Value: openapi3.NewRequestBody().
			WithRequired(!r.bodyOptional).WithContent(openapi3.NewContentWithSchemaRef(ref, []string{bodyMedia(r)}))}
	}
	good, err := d.success(r)
	if err != nil {
		return nil, err
	}
	o.AddResponse(http.StatusOK, good)
	for _, status := range failures(r) {
		o.AddResponse(status, openapi3.NewResponse().WithDescription(http.StatusText(status)).
			WithContent(openapi3.NewContentWithJSONSchema(envelopeOf(problemSchema(status).NewRef()))))
	}
	return o, nil
}

func bodyMedia(r route) string {
	if r.form {
		return "multipart/form-data"
	}
	return "application/json"
}

func (d *description) success(r route) (*openapi3.Response, error) {
	good := openapi3.NewResponse().WithDescription(http.StatusText(http.StatusOK))
	switch r.media {
	case "":
		ref, err := d.component(r.data, ofAnswer)
		if err != nil {
			return nil, err
		}
		content := openapi3.NewContentWithJSONSchema(envelopeOf(ref))
		if r.streams {
			content[eventStream] = openapi3.NewMediaType().WithSchema(openapi3.NewStringSchema())
		}
		return good.WithContent(content), nil
	case "application/json":
		return good.WithContent(openapi3.NewContentWithJSONSchema(openapi3.NewObjectSchema().WithAnyAdditionalProperties())), nil
	default:
		text := openapi3.NewStringSchema()
		if r.media == backupMedia || strings.HasPrefix(r.media, "image/") {
			text.Format = "binary"
		}
		return good.WithContent(openapi3.NewContentWithSchema(text, []string{r.media})), nil
	}
}

// component registers the schema of a named type and refers to it; a list refers to its element.
func (d *description) component(t reflect.Type, side direction) (*openapi3.SchemaRef, error) {
	if t == reflect.TypeFor[none]() {
		return (&openapi3.Schema{Type: &openapi3.Types{"object"}, Nullable: true}).NewRef(), nil
	}
	if t.Kind() == reflect.Slice {
		items, err := d.component(t.Elem(), side)
		if err != nil {
			return nil, err
		}
		array := openapi3.NewArraySchema()
		array.Items = items
		return array.NewRef(), nil
	}
	name := strings.ToUpper(t.Name()[:1]) + strings.TrimSuffix(t.Name()[1:], "Data")
	if _, ok := d.doc.Components.Schemas[name]; !ok {
		schema, err := schemaOf(t, side)
		if err != nil {
			return nil, err
		}
		d.doc.Components.Schemas[name] = schema
	}
	return openapi3.NewSchemaRef("#/components/schemas/"+name, d.doc.Components.Schemas[name].Value), nil
}

func envelopeOf(data *openapi3.SchemaRef) *openapi3.Schema {
	s := openapi3.NewObjectSchema().
		WithProperty("status", openapi3.NewBoolSchema()).
		WithProperty("message", openapi3.NewStringSchema()).
		WithPropertyRef("data", data)
	s.Required = []string{"status", "message", "data"}
	return s
}

// problemSchema is the data of a refusal.
func problemSchema(status int) *openapi3.Schema {
	text := openapi3.NewStringSchema
	switch status {
	case http.StatusUnprocessableEntity:
		entry := openapi3.NewObjectSchema().WithProperty("field", text()).WithProperty("error", text())
		entry.Required = []string{"field", "error"}
		return openapi3.NewArraySchema().WithItems(entry)
	case http.StatusBadGateway:
		s := openapi3.NewObjectSchema().
			WithProperty("node_id", text()).WithProperty("code", text()).WithProperty("reason", text())
		s.Required = []string{"node_id", "code", "reason"}
		return s
	case http.StatusConflict:
		return openapi3.NewObjectSchema().WithProperty("code", text()).WithNullable()
	default:
		return openapi3.NewObjectSchema().WithNullable()
	}
}

// failures are the statuses beside 200 that a route may answer.
func failures(r route) []int {
	out := []int{http.StatusTooManyRequests, http.StatusInternalServerError}
	if r.role != roleOpen {
		out = append(out, http.StatusUnauthorized, http.StatusForbidden,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout)
	}
	if strings.Contains(r.path, "{") {
		out = append(out, http.StatusNotFound)
	}
	if r.body != reflect.TypeFor[none]() {
		out = append(out, http.StatusBadRequest, http.StatusRequestEntityTooLarge)
	}
	if r.body != reflect.TypeFor[none]() || len(r.query) > 0 {
		out = append(out, http.StatusUnprocessableEntity)
	}
	return append(out, r.errors...)
}

// operationID is stable for client generators: get_nodes_by_id_peers.
func operationID(r route) string {
	var parts []string
	for part := range strings.SplitSeq(strings.Trim(strings.TrimPrefix(r.path, "/api"), "/"), "/") {
		if m := pathParam.FindStringSubmatch(part); m != nil {
			part = "by_" + m[1]
		}
		parts = append(parts, strings.ReplaceAll(part, ".", "_"))
	}
	return strings.ToLower(r.method) + "_" + strings.Join(parts, "_")
}

func (s *Server) serveOpenAPI(c *gin.Context) error {
	c.Header("Content-Length", strconv.Itoa(len(s.openAPI)))
	c.Data(http.StatusOK, "application/json", s.openAPI)
	return nil
}
