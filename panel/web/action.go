package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
)

// role is who may call a route. The zero value is nobody, and can't be registered.
type role string

const (
	roleOpen   role = "open" // without a key
	roleViewer role = "viewer"
	roleAdmin  role = "admin"
)

// route is one row of the table that both gin's routes and the description are made from.
type route struct {
	method, path string // path with {name} for its parameters
	summary      string
	role         role
	query        []queryParam
	errors       []int // statuses beside those that every such route has
	action
}

func (r route) check() error {
	if !slices.Contains([]role{roleOpen, roleViewer, roleAdmin}, r.role) {
		return fmt.Errorf("web: %s %s has no role: who may call it?", r.method, r.path)
	}
	return nil
}

// queryParam is a parameter after the question mark; kind is its JSON type.
type queryParam struct{ name, kind, doc string }

// action is a handler with the types that it takes and gives, for the description.
type action struct {
	body, data   reflect.Type // none's type for nothing
	bodyOptional bool
	form         bool   // the body is a form with a file in it, no JSON
	media        string // of the answer; "" for the JSON envelope
	streams      bool   // also server-sent events, for those who accept them
	run          func(c *gin.Context) error
}

// none is the body or data of an action that has none: null.
type none struct{}

// MarshalJSON is null.
func (none) MarshalJSON() ([]byte, error) { return []byte("null"), nil }

// answer is what an action gives.
type answer[D any] struct {
	message string
	data    D
	next    string // cursor of the next page
}

func (a answer[D]) write(c *gin.Context) error {
	if a.next != "" {
		c.Header("X-Next-Cursor", a.next)
	}
	return writeJSON(c, http.StatusOK, envelope{Status: true, Message: a.message, Data: a.data})
}

// op makes an action of a typed handler, so that the description can't say other types.
func op[B, D any](h func(c *gin.Context, in B) (answer[D], error)) action {
	return newAction(h, false)
}

// opOptional is op for a body that may be left out.
func opOptional[B, D any](h func(c *gin.Context, in B) (answer[D], error)) action {
	return newAction(h, true)
}

func newAction[B, D any](h func(c *gin.Context, in B) (answer[D], error), optional bool) action {
	a := action{body: reflect.TypeFor[B](), data: reflect.TypeFor[D](), bodyOptional: optional}
	a.run = func(c *gin.Context) error {
		var in B
		if a.body != reflect.TypeFor[none]() {
			if err := readBody(c, &in, optional); err != nil {
				return err
			}
		}
		out, err := h(c, in)
		if err != nil {
			return err
		}
		return out.write(c)
	}
	return a
}

// opStream is op that also answers with server-sent events, which stream writes.
func opStream[B, D any](h func(c *gin.Context, in B) (answer[D], error), stream func(c *gin.Context) error) action {
	a := newAction(h, false)
	whole := a.run
	a.streams = true
	a.run = func(c *gin.Context) error {
		if strings.Contains(c.GetHeader("Accept"), eventStream) {
			return stream(c)
		}
		return whole(c)
	}
	return a
}

// opRaw is an action whose answer is not JSON; h writes it.
func opRaw(media string, h func(c *gin.Context) error) action {
	return action{body: reflect.TypeFor[none](), data: reflect.TypeFor[none](), media: media, run: h}
}

// opFile is an action whose body is JSON and whose answer is a file; h writes it.
func opFile[B any](media string, h func(c *gin.Context, in B) error) action {
	a := action{body: reflect.TypeFor[B](), data: reflect.TypeFor[none](), media: media}
	a.run = func(c *gin.Context) error {
		var in B
		if err := readBody(c, &in, false); err != nil {
			return err
		}
		return h(c, in)
	}
	return a
}

// opForm is an action whose body is a form that B describes; h reads it.
func opForm[B, D any](h func(c *gin.Context) (answer[D], error)) action {
	return action{body: reflect.TypeFor[B](), data: reflect.TypeFor[D](), form: true, run: func(c *gin.Context) error {
		out, err := h(c)
		if err != nil {
			return err
		}
		return out.write(c)
	}}
}

// envelope is every JSON answer.
type envelope struct {
	Status  bool   `json:"status"`
	Message string `json:"message"`
	Data    any    `json:"data"`
}

// writeJSON marshals before it writes, so that a failure can still be answered.
func writeJSON(c *gin.Context, status int, e envelope) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	c.Data(status, "application/json", b.Bytes())
	return nil
}

// each maps a list; the result is never nil, so that it is [] in JSON.
func each[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

// notNil is in, never nil: [] in JSON.
func notNil[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}
