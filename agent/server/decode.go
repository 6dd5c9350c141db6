package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/wgfleet/wgfleet/agent"
)

const modelType = "Input should be a valid dictionary or object to extract fields from"

// object is the decoded body of a request: its members by their exact names, the last of a repeated
// name counts, unknown ones are ignored. The problems with its fields are collected, as the
// original's validation does.
type object struct {
	loc      []any
	members  map[string]json.RawMessage
	problems *[]agent.Detail
}

// decodeBody reads a body that must be a JSON object.
func decodeBody(q *request) (*object, error) {
	body := bytes.TrimPrefix(q.body, []byte("\ufeff"))
	o := &object{loc: []any{"body"}, problems: new([]agent.Detail)}
	if len(bytes.TrimSpace(body)) == 0 || string(bytes.TrimSpace(body)) == "null" {
		o.problem("missing", o.loc, "Field required", nil)
		return nil, o.err()
	}
	if !isJSON(q.http.Header.Get("Content-Type")) {
		o.problem("model_attributes_type", o.loc, modelType, nil)
		return nil, o.err()
	}
	if err := checkJSON(body); err != nil {
		return nil, err
	}
	if !o.fill(body) {
		return nil, o.err()
	}
	return o, nil
}

// isJSON accepts what the original reads as JSON: no type at all, or one of JSON's.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	sub, ok := strings.CutPrefix(t, "application/")
	return ok && (sub == "json" || strings.HasSuffix(sub, "+json"))
}

// checkJSON makes the 400 of a body that is no JSON; it keeps the original's detail.
func checkJSON(body []byte) error {
	e := agent.Errorf(agent.CodeMalformed, "the body is not JSON")
	if !utf8.Valid(body) {
		e.Message = "the body is not UTF-8"
		return e
	}
	var raw json.RawMessage
	err := json.Unmarshal(body, &raw)
	if err == nil {
		return nil
	}
	at := int64(len(body))
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && syntax.Offset < at {
		at = max(syntax.Offset-1, 0)
	}
	e.Message = fmt.Sprintf("the body is not JSON: it breaks off or goes wrong at byte %d", at)
	e.Detail = []agent.Detail{{
		Type: "json_invalid", Loc: []any{"body", at}, Msg: "JSON decode error",
		Input: struct{}{}, Ctx: map[string]any{"error": "invalid JSON"},
	}}
	return e
}

// fill reads the members; false where raw is no object.
func (o *object) fill(raw []byte) bool {
	if json.Unmarshal(raw, &o.members) != nil || o.members == nil {
		o.problem("model_attributes_type", o.loc, modelType, echo("", raw))
		return false
	}
	return true
}

func (o *object) problem(kind string, loc []any, msg string, input any) {
	*o.problems = append(*o.problems, agent.Detail{Type: kind, Loc: loc, Msg: msg, Input: input})
}

// at returns the place of a field.
func (o *object) at(field ...any) []any { return append(append([]any{}, o.loc...), field...) }

// err returns the 422 for what was found, or nil.
func (o *object) err() error {
	if len(*o.problems) == 0 {
		return nil
	}
	first := (*o.problems)[0]
	name := "body"
	if len(first.Loc) > 1 {
		name = strings.Trim(strings.ReplaceAll(fmt.Sprint(first.Loc[1:]), " ", "."), "[]")
	}
	e := agent.Errorf(agent.CodeInvalidField, "%s: %s", name, first.Msg)
	e.Detail = *o.problems
	return e
}

// require notes a missing field.
func (o *object) require(field string) {
	if _, given := o.members[field]; !given {
		o.problem("missing", o.at(field), "Field required", o.echoAll())
	}
}

// given returns a member that is there and, where null means not given, is not null.
func (o *object) given(field string, nullIsAbsent bool) (json.RawMessage, bool) {
	raw, there := o.members[field]
	return raw, there && !(nullIsAbsent && isNull(raw))
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// text reads a string.
func (o *object) text(field string, nullIsAbsent bool) *string {
	raw, given := o.given(field, nullIsAbsent)
	if !given {
		return nil
	}
	var s string
	if isNull(raw) || json.Unmarshal(raw, &s) != nil {
		o.problem("string_type", o.at(field), "Input should be a valid string", echo(field, raw))
		return nil
	}
	return &s
}

// texts reads a list of strings.
func (o *object) texts(field string, nullIsAbsent bool) *[]string {
	raw, given := o.given(field, nullIsAbsent)
	if !given {
		return nil
	}
	var items []json.RawMessage
	if isNull(raw) || json.Unmarshal(raw, &items) != nil {
		o.problem("list_type", o.at(field), "Input should be a valid list", echo(field, raw))
		return nil
	}
	out := make([]string, 0, len(items))
	for i, item := range items {
		var s string
		if isNull(item) || json.Unmarshal(item, &s) != nil {
			o.problem("string_type", o.at(field, i), "Input should be a valid string", echo(field, item))
			continue
		}
		out = append(out, s)
	}
	return &out
}

// boolean reads true or false; absent is false.
func (o *object) boolean(field string) bool {
	raw, given := o.given(field, true)
	if !given {
		return false
	}
	var b bool
	if json.Unmarshal(raw, &b) != nil {
		o.problem("bool_type", o.at(field), "Input should be a valid boolean", echo(field, raw))
	}
	return b
}

// objects reads a list of objects; their problems become o's.
func (o *object) objects(field string) ([]*object, bool) {
	raw, given := o.given(field, true)
	if !given {
		return nil, false
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil {
		o.problem("list_type", o.at(field), "Input should be a valid list", nil)
		return nil, true
	}
	out := make([]*object, 0, len(items))
	for i, item := range items {
		child := &object{loc: o.at(field, i), problems: o.problems}
		if child.fill(item) {
			out = append(out, child)
		}
	}
	return out, true
}
