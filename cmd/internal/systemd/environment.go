package systemd

import (
	"slices"
	"strings"
)

// Environment is a list of KEY=VALUE; a name stands in it once.
type Environment []string

// Get returns the value of a name.
func (e Environment) Get(name string) (string, bool) {
	for _, kv := range e {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v, true
		}
	}
	return "", false
}

// Set gives a name its value, in place of the one that it may have.
func (e *Environment) Set(name, value string) {
	*e = slices.DeleteFunc(*e, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
	*e = append(*e, name+"="+value)
}

// inQuotes are the characters that a backslash can precede between double quotes.
const inQuotes = "\"\\`$"

// ParseEnvironment reads what EnvironmentFile= of systemd.exec(5) reads, as src/basic/env-file.c does:
// quoted and unquoted parts of a value add up, nothing is expanded, a comment begins a line.
func ParseEnvironment(text string) Environment {
	var out Environment
	for rest := text; ; {
		rest = strings.TrimLeft(rest, " \t\r\n")
		if rest == "" {
			return out
		}
		line, after, _ := strings.Cut(rest, "\n")
		equals := strings.IndexByte(line, '=')
		if rest[0] == '#' || rest[0] == ';' || equals < 0 {
			rest = after
			continue
		}
		var value string
		value, rest = envValue(rest[equals+1:])
		out.Set(strings.TrimRight(line[:equals], " \t\r"), value)
	}
}

// envValue reads one value up to its line end and returns what follows.
func envValue(s string) (value, rest string) {
	var b strings.Builder
	for {
		s = strings.TrimLeft(s, " \t\r")
		switch {
		case s == "":
			return b.String(), ""
		case s[0] == '\n':
			return b.String(), s[1:]
		case s[0] == '\'':
			text, after, _ := strings.Cut(s[1:], "'")
			b.WriteString(text)
			s = after
		case s[0] == '"':
			s = envQuoted(&b, s[1:])
		default:
			text, after := envPlain(s)
			return b.String() + text, after
		}
	}
}

func envQuoted(b *strings.Builder, s string) (rest string) {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return s[i+1:]
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		default:
			i++
			if !strings.ContainsRune(inQuotes+"\n", rune(s[i])) {
				b.WriteByte('\\')
			}
			if s[i] != '\n' {
				b.WriteByte(s[i])
			}
		}
	}
	return ""
}

// envPlain reads what is not quoted: to the line end, without the white space before it.
func envPlain(s string) (value, rest string) {
	var b strings.Builder
	keep := 0 // bytes that are no trailing white space
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\n':
			return b.String()[:keep], s[i+1:]
		case c == '\\' && i+1 < len(s):
			i++
			if s[i] != '\n' {
				b.WriteByte(s[i])
			}
			keep = b.Len()
		default:
			b.WriteByte(c)
			if !strings.ContainsRune(" \t\r", rune(c)) {
				keep = b.Len()
			}
		}
	}
	return b.String()[:keep], ""
}

// FormatEnvironment is what ParseEnvironment reads, and a shell too.
func FormatEnvironment(e Environment) string {
	var b strings.Builder
	for _, kv := range e {
		name, value, _ := strings.Cut(kv, "=")
		b.WriteString(name + `="`)
		for i := range len(value) {
			if strings.IndexByte(inQuotes, value[i]) >= 0 {
				b.WriteByte('\\')
			}
			b.WriteByte(value[i])
		}
		b.WriteString("\"\n")
	}
	return b.String()
}
