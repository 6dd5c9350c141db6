package wgquick

import (
	"fmt"
	"strings"
)

// ParseError says what is wrong with one line of a file, or with one value of an edit.
type ParseError struct {
	File string // as in File.Name; may be empty
	Line int    // counted from 1; 0 where the value is not from a file
	Key  string // empty where the line has none that is safe to show
	Want string // what was expected
	Got  string // empty for secrets and for what could be one
}

// Error returns one sentence: file, line, key, what was expected.
func (e *ParseError) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File + ": ")
	}
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", e.Line)
	}
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString("expected " + e.Want)
	if e.Got != "" {
		fmt.Fprintf(&b, ", got %q", e.Got)
	}
	return b.String()
}

// want makes the error of a value; who knows the place fills in the rest.
func want(what, got string) *ParseError {
	return &ParseError{Want: what, Got: showable(got)}
}

// longestShown is shorter than any key in base64 or hex, so that a secret in the wrong place
// (a swapped line, a forgotten newline) is not shown either.
const longestShown = 32

func showable(s string) string {
	if len(s) > longestShown {
		return ""
	}
	return s
}

// safeName returns the name of a key as far as it can be shown: text before a '=' may as well be a
// secret that lost its name.
func safeName(name string) string {
	if len(name) > longestShown {
		return ""
	}
	for i := range len(name) {
		c := name[i]
		if c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return ""
		}
	}
	return name
}
