package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/wgfleet/wgfleet/panel"
)

// maxBody is the size of a body, in bytes, over which it is refused (413).
const maxBody = 8 << 20

// optional is a field of a body that can be absent, null or given.
type optional[T any] panel.Optional[T]

func (o *optional[T]) given() any {
	o.Set, o.Value = true, new(T)
	return o.Value
}

func (o *optional[T]) cleared() { o.Set, o.Value = true, nil }

func (optional[T]) inner() reflect.Type { return reflect.TypeFor[T]() }

// clearable is what every optional is.
type clearable interface {
	given() any // sets it to a new zero value and returns the pointer to that
	cleared()   // sets it to null
}

// readBody reads the one JSON object of a request into a struct of pointers and optionals.
func readBody(c *gin.Context, into any, mayBeAbsent bool) error {
	if c.Request.ContentLength > maxBody {
		return errTooLarge
	}
	data, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return errTooLarge
	}
	if err != nil {
		return malformed("The body could not be read to its end.")
	}
	if mayBeAbsent && len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	// A script that creates something sends null for what it leaves out; in a change, null clears.
	return decodeBody(data, into, c.Request.Method == http.MethodPost)
}

// decodeBody is strict: valid UTF-8, one object, no repeated and no unknown field, exact names.
// Where nullIsAbsent, a null that can't clear anything counts as not given; else it is refused.
func decodeBody(data []byte, into any, nullIsAbsent bool) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return malformed("The body is empty: a JSON object is needed.")
	}
	if !utf8.Valid(data) {
		return malformed("The body is not UTF-8.")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return malformed(fmt.Sprintf("The body is not one JSON value: %v.", err))
	}
	if trimmed := bytes.TrimSpace(data); trimmed[0] != '{' {
		return malformed("The body must be a JSON object.")
	}
	if key, ok := repeatedKey(data); ok {
		return malformed(fmt.Sprintf("The field %q is there twice.", key))
	}
	d := decoder{nullIsAbsent: nullIsAbsent}
	d.value("", whole, reflect.ValueOf(into).Elem())
	if len(d.problems) > 0 {
		return &panel.InvalidError{Problems: d.problems}
	}
	return nil
}

type decoder struct {
	nullIsAbsent bool
	problems     []panel.FieldProblem
}

// maxProblems bounds an answer; a body of 8 MiB can have a million.
const maxProblems = 20

func (d *decoder) refuse(path, format string, args ...any) {
	if len(d.problems) == maxProblems {
		return
	}
	d.problems = append(d.problems, panel.FieldProblem{Field: path, Error: fmt.Sprintf(format, args...)})
}

func (d *decoder) value(path string, raw json.RawMessage, v reflect.Value) {
	isNull := string(bytes.TrimSpace(raw)) == "null"
	if o, ok := reflect.TypeAssert[clearable](v.Addr()); ok {
		if isNull {
			o.cleared()
			return
		}
		d.value(path, raw, reflect.ValueOf(o.given()).Elem())
		return
	}
	switch {
	case v.Kind() == reflect.Pointer && isNull:
		if !d.nullIsAbsent {
			d.refuse(path, "can't be null; leave it out to keep what there is")
		}
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(path, raw, v.Elem())
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		d.object(path, raw, v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		d.objects(path, raw, v)
	default:
		if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
			d.refuse(path, "expected %s", expected(v.Type()))
		}
	}
}

func (d *decoder) objects(path string, raw json.RawMessage, v reflect.Value) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		d.refuse(path, "expected a list of objects")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
	for i, element := range list {
		d.object(fmt.Sprintf("%s[%d]", path, i), element, v.Index(i))
	}
}

func (d *decoder) object(path string, raw json.RawMessage, v reflect.Value) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		d.refuse(path, "expected an object")
		return
	}
	fields := map[string]reflect.Value{}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if name := f.Tag.Get("json"); name != "" {
			fields[name] = v.FieldByIndex(f.Index)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		full := strings.TrimPrefix(path+"."+name, ".")
		if f, ok := fields[name]; ok {
			d.value(full, members[name], f)
		} else {
			d.refuse(clip(full), "unknown field")
		}
	}
}

// clip keeps an answer about a name short.
func clip(s string) string {
	const most = 100 // bytes
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func expected(t reflect.Type) string {
	if t == reflect.TypeFor[duration]() {
		return "a time span, for example 30s, 5m or 1h30m"
	}
	switch t.Kind() {
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint32:
		return "a whole number from 0 to 4294967295"
	case reflect.Slice:
		return "a list of texts"
	case reflect.Struct:
		return "a time as in RFC 3339, for example 2026-01-31T12:00:00Z"
	default:
		return "a whole number"
	}
}

// repeatedKey returns a name that an object of valid JSON holds twice. Which of the two a reader
// takes differs, so that none is meant for sure.
func repeatedKey(data []byte) (string, bool) {
	type level struct {
		seen  map[string]bool // nil in a list
		isKey bool            // the next text is a name
	}
	var stack []level
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err != nil {
			return "", false // the end: the JSON is valid
		}
		top := len(stack) - 1
		if name, ok := token.(string); ok && top >= 0 && stack[top].isKey {
			if stack[top].seen[name] {
				return clip(name), true
			}
			stack[top].seen[name] = true
			stack[top].isKey = false
			continue
		}
		switch token {
		case json.Delim('{'):
			stack = append(stack, level{seen: map[string]bool{}, isKey: true})
			continue
		case json.Delim('['):
			stack = append(stack, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:top]
			top--
		}
		if top >= 0 && stack[top].seen != nil {
			stack[top].isKey = true
		}
	}
}
