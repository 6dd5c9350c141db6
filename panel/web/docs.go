package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"
)

const docsStyle = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}` +
	`code,th{font-family:ui-monospace,monospace;font-size:.9em}details{border-top:1px solid #8884;padding:.4rem 0}` +
	`summary{cursor:pointer}table{border-collapse:collapse;margin:.5rem 0}td,th{text-align:left;padding:.1rem 1rem .1rem 0;vertical-align:top}` +
	`.role{float:right;opacity:.7}@media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8cf}}`

// docsPage needs no script and nothing from elsewhere.
var docsPage = template.Must(template.New("docs").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{{.Title}}</title><style>{{.Style}}</style></head><body>
<h1>{{.Title}} {{.Version}}</h1>
<p>{{.Description}} Send a key as <code>Authorization: Bearer KEY</code>. For programs: <a href="/api/openapi.json">/api/openapi.json</a>.</p>
{{range .Operations}}<details id="{{.ID}}"><summary><code><b>{{.Method}}</b> {{.Path}}</code> {{.Summary}} <span class="role">{{.Role}}</span></summary>
{{if .Query}}<p>Query</p><table>{{range .Query}}<tr><th>{{.Name}}</th><td>{{.Type}}</td><td>{{.Doc}}</td></tr>{{end}}</table>{{end}}
{{if .Body}}<p>Body</p><table>{{range .Body}}<tr><th>{{.Name}}</th><td>{{.Type}}</td><td>{{.Doc}}</td></tr>{{end}}</table>{{end}}
{{if .Data}}<p>Data of the answer</p><table>{{range .Data}}<tr><th>{{.Name}}</th><td>{{.Type}}</td><td>{{.Doc}}</td></tr>{{end}}</table>{{end}}
<p>Answers: {{.Statuses}}</p></details>
{{end}}</body></html>
`))

type docsOperation struct {
	ID, Method, Path, Summary, Role, Statuses string
	Query, Body, Data                         []docsField
}

type docsField struct{ Name, Type, Doc string }

// renderDocs makes the page from the description, in the order of the table.
func renderDocs(doc *openapi3.T, routes []route) ([]byte, error) {
	var operations []docsOperation
	for _, r := range routes {
		o := doc.Paths.Value(r.path).GetOperation(r.method)
		d := docsOperation{ID: o.OperationID, Method: r.method, Path: r.path, Summary: o.Summary, Role: string(r.role)}
		d.Statuses = strings.Join(slices.Sorted(maps.Keys(o.Responses.Map())), ", ")
		for _, p := range o.Parameters {
			if p.Value.In == openapi3.ParameterInQuery {
				d.Query = append(d.Query, docsField{p.Value.Name, typeName(p.Value.Schema.Value), p.Value.Description})
			}
		}
		if o.RequestBody != nil {
			d.Body = docsFields(o.RequestBody.Value.Content.Get(bodyMedia(r)).Schema.Value)
		}
		if r.media == "" {
			data := o.Responses.Status(http.StatusOK).Value.Content.Get("application/json").Schema.Value.Properties["data"].Value
			if data.Items != nil {
				data = data.Items.Value
			}
			d.Data = docsFields(data)
		}
		operations = append(operations, d)
	}
	var b bytes.Buffer
	err := docsPage.Execute(&b, map[string]any{
		"Title": doc.Info.Title, "Version": doc.Info.Version, "Description": doc.Info.Description,
		"Style": template.CSS(docsStyle), "Operations": operations,
	})
	if err != nil {
		return nil, fmt.Errorf("render docs: %w", err)
	}
	return b.Bytes(), nil
}

func docsFields(s *openapi3.Schema) []docsField {
	var out []docsField
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p := s.Properties[name].Value
		out = append(out, docsField{name, typeName(p), p.Description})
	}
	return out
}

func typeName(s *openapi3.Schema) string {
	name := "any"
	if s.Type != nil {
		name = strings.Join(s.Type.Slice(), "|")
	}
	if s.Items != nil {
		name = "list of " + typeName(s.Items.Value)
	}
	if s.Nullable && s.Type != nil {
		name += " or null"
	}
	return name
}

// docsPolicy lets in the page's own style and nothing else.
var docsPolicy = func() string {
	sum := sha256.Sum256([]byte(docsStyle))
	return "default-src 'none'; frame-ancestors 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}()

func (s *Server) serveDocs(c *gin.Context) error {
	c.Header("Content-Security-Policy", docsPolicy)
	c.Data(http.StatusOK, "text/html; charset=utf-8", s.docs)
	return nil
}
