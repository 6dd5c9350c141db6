package server

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// integer reads a number as leniently as the original: 25, "25", " 25 ", 25.0 and true.
func (o *object) integer(field string, nullIsAbsent bool) *int {
	raw, given := o.given(field, nullIsAbsent)
	if !given {
		return nil
	}
	n, kind := laxInt(raw)
	switch kind {
	case "":
		return &n
	case "int_parsing":
		o.problem(kind, o.at(field), "Input should be a valid integer, unable to parse string as an integer", echo(field, raw))
	case "int_from_float":
		o.problem(kind, o.at(field), "Input should be a valid integer, got a number with a fractional part", echo(field, raw))
	default:
		o.problem(kind, o.at(field), "Input should be a valid integer", echo(field, raw))
	}
	return nil
}

// laxInt returns the number, or the kind of problem. Numbers beyond any use are cut to an end of
// the range of int: they are refused by who knows the field.
func laxInt(raw json.RawMessage) (int, string) {
	var v any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return 0, "int_type"
	}
	switch v := v.(type) {
	case bool:
		if v {
			return 1, ""
		}
		return 0, ""
	case json.Number:
		return numberInt(string(v))
	case string:
		s := strings.TrimSpace(v)
		if n, err := strconv.Atoi(strings.TrimPrefix(s, "+")); err == nil && !strings.HasPrefix(s, "+-") && !strings.HasPrefix(s, "++") {
			return n, ""
		}
		return 0, "int_parsing"
	}
	return 0, "int_type"
}

func numberInt(s string) (int, string) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, ""
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case err == nil && f != math.Trunc(f):
		return 0, "int_from_float"
	case f >= math.MaxInt:
		return math.MaxInt, ""
	case f <= math.MinInt:
		return math.MinInt, ""
	}
	return int(f), ""
}
