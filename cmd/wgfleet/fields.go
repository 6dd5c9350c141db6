package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// field is one member of a request body that a flag gives.
type field struct {
	flag  string
	key   string // in the body; a dot leads into an object within
	kind  fieldKind
	clear bool // --clear may name it: the node's or the panel's default holds again
	help  string
}

type fieldKind int

const (
	word fieldKind = iota
	number
	list    // comma list
	boolean // true where the flag stands alone
	fromFile
	hooksFile // JSON in a file
	moment    // a time, or how long until then
)

// fields are the flags of a command that makes or changes something; only given ones are sent.
type fields []field

func (fs fields) add(c *cobra.Command, withClear bool) {
	for _, f := range fs {
		switch f.kind {
		case number:
			c.Flags().Int(f.flag, 0, f.help)
		case list:
			c.Flags().StringSlice(f.flag, nil, f.help)
		case boolean:
			c.Flags().Bool(f.flag, false, f.help)
		default:
			c.Flags().String(f.flag, "", f.help)
		}
	}
	if withClear {
		c.Flags().StringSlice("clear", nil, "drop fields, so that the default holds again: "+strings.Join(fs.clearable(), ", "))
	}
}

func (fs fields) clearable() []string {
	var out []string
	for _, f := range fs {
		if f.clear {
			out = append(out, f.flag)
		}
	}
	return out
}

// body collects what was given.
func (fs fields) body(con *console, c *cobra.Command) (map[string]any, error) {
	body := map[string]any{}
	if err := fs.collect(con, c, body); err != nil {
		return nil, err
	}
	if c.Flags().Lookup("clear") == nil {
		return body, nil
	}
	cleared, err := c.Flags().GetStringSlice("clear")
	if err != nil {
		return nil, fmt.Errorf("--clear: %w", err)
	}
	for _, name := range cleared {
		if !fs.clearInto(name, body) {
			return nil, fmt.Errorf("--clear: %q can't be cleared: expected one of %s", name, strings.Join(fs.clearable(), ", "))
		}
	}
	return body, nil
}

// change is body of a command that changes something: at least one field.
func (fs fields) change(con *console, c *cobra.Command) (map[string]any, error) {
	body, err := fs.body(con, c)
	if err == nil && len(body) == 0 {
		err = fmt.Errorf("nothing to change: see `%s --help`", c.CommandPath())
	}
	return body, err
}

// collect puts what was given into a body.
func (fs fields) collect(con *console, c *cobra.Command, body map[string]any) error {
	for _, f := range fs {
		given := c.Flags().Lookup(f.flag)
		if given == nil || !given.Changed {
			continue
		}
		v, err := f.value(con, c)
		if err != nil {
			return fmt.Errorf("--%s: %w", f.flag, err)
		}
		put(body, f.key, v)
	}
	return nil
}

// clearInto clears the field of a flag, where it is one of these that can be.
func (fs fields) clearInto(name string, body map[string]any) bool {
	i := slices.IndexFunc(fs, func(f field) bool { return f.clear && f.flag == name })
	if i >= 0 {
		body[fs[i].key] = nil
	}
	return i >= 0
}

// put sets a member, of an object within where the key has a dot.
func put(body map[string]any, key string, v any) {
	outer, inner, nested := strings.Cut(key, ".")
	if !nested {
		body[key] = v
		return
	}
	within, ok := body[outer].(map[string]any)
	if !ok {
		within = map[string]any{}
		body[outer] = within
	}
	put(within, inner, v)
}

func (f field) value(con *console, c *cobra.Command) (any, error) {
	text := c.Flags().Lookup(f.flag).Value.String()
	switch f.kind {
	case number:
		return strconv.Atoi(text)
	case list:
		return c.Flags().GetStringSlice(f.flag)
	case boolean:
		return strconv.ParseBool(text)
	case fromFile:
		b, err := readFile(con, text)
		return strings.TrimSpace(string(b)), err
	case hooksFile:
		b, err := readFile(con, text)
		if err != nil {
			return nil, err
		}
		if !json.Valid(b) {
			return nil, errors.New(`the file holds no JSON: expected for example {"post_up": ["true"]}`)
		}
		return json.RawMessage(b), nil
	case moment:
		return parseMoment(text, time.Now())
	default:
		return text, nil
	}
}

// parseMoment reads a time of RFC 3339, or one that lies so far ahead: 30d, 12h, 1h30m. It returns the
// first kind in UTC, to the second.
func parseMoment(text string, now time.Time) (string, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		ahead, bad := parseAhead(text)
		if bad != nil {
			return "", fmt.Errorf("%q is no time: expected for example 2026-12-31T00:00:00Z, 30d or 12h", text)
		}
		t = now.Add(ahead)
	}
	return t.UTC().Format(time.RFC3339), nil
}

// parseAhead is time.ParseDuration with whole days as well.
func parseAhead(text string) (time.Duration, error) {
	days, isDays := strings.CutSuffix(text, "d")
	if !isDays {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	return time.Duration(n) * 24 * time.Hour, err
}

// readFile reads a file; "-" is standard input.
func readFile(con *console, path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(con.in)
	}
	return os.ReadFile(path)
}
