package app

import (
	"regexp"
	"slices"
	"strings"
)

// The syntax is that of python-dotenv, with which the original agent read its .env, so that a
// secret means the same to both. Two things differ from what shells and other libraries do: only
// ${NAME} and ${NAME:-default} are replaced, never $NAME, and a # starts a comment only after
// white space.
var (
	dotenvBlank = regexp.MustCompile(`\A\s*(?:#[^\r\n]*)?(?:\r\n|\n|\r|\z)`)
	dotenvKey   = regexp.MustCompile(`\A\s*(?:export[^\S\r\n]+)?(?:'([^']+)'|([^=#\s]+))[^\S\r\n]*`)
	dotenvValue = regexp.MustCompile(`\A=[^\S\r\n]*(?:'((?:[^'\\]|\\.)*)'|"((?s:[^"\\]|\\.)*)"|([^'"\r\n][^\r\n]*)?)`)
	dotenvEnd   = regexp.MustCompile(`\A[^\S\r\n]*(?:#[^\r\n]*)?(?:\r\n|\n|\r|\z)`)
	dotenvTail  = regexp.MustCompile(`\s+#.*\z`)
	dotenvName  = regexp.MustCompile(`\$\{([^}:]*)(?::-([^}]*))?\}`)
)

// Dotenv adds what the file .env of a folder says to the variables, as serve does with the one of its
// working folder: a variable that is set stays. Without such a file there is nothing to add.
func Dotenv(environ []string, dir string) ([]string, error) { return withDotenv(environ, dir) }

// addDotenv adds what text says to the variables; those that are set stay. A line that can't be read
// is told by its number (from 1); 0 means that all could. A name without "=" is passed over.
func addDotenv(environ []string, text string) (out []string, badLine int) {
	out = slices.Clone(environ)
	given := len(environ)
	line := func(rest string) int { return 1 + strings.Count(text[:len(text)-len(rest)], "\n") }
	for rest := text; rest != ""; {
		if blank := dotenvBlank.FindString(rest); blank != "" {
			rest = rest[len(blank):]
			continue
		}
		start := rest
		key := dotenvKey.FindStringSubmatch(rest)
		if key == nil {
			return nil, line(start)
		}
		rest = rest[len(key[0]):]
		value := dotenvValue.FindStringSubmatchIndex(rest)
		if value != nil {
			name := key[1] + key[2]
			v := dotenvExpand(out, dotenvText(rest, value))
			if _, set := lookup(out[:given], name); !set {
				out = slices.DeleteFunc(out, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
				out = append(out, name+"="+v)
			}
			rest = rest[value[1]:]
		}
		end := dotenvEnd.FindString(rest)
		if rest != "" && end == "" {
			return nil, line(start)
		}
		rest = rest[len(end):]
	}
	return out, 0
}

// dotenvText unquotes what dotenvValue found.
func dotenvText(s string, m []int) string {
	switch {
	case m[2] >= 0:
		return strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(s[m[2]:m[3]])
	case m[4] >= 0:
		return strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`, `\a`, "\a", `\b`, "\b", `\f`, "\f",
			`\n`, "\n", `\r`, "\r", `\t`, "\t", `\v`, "\v").Replace(s[m[4]:m[5]])
	case m[6] >= 0:
		return strings.TrimRight(dotenvTail.ReplaceAllString(s[m[6]:m[7]], ""), " \t")
	}
	return ""
}

func dotenvExpand(environ []string, v string) string {
	return dotenvName.ReplaceAllStringFunc(v, func(ref string) string {
		m := dotenvName.FindStringSubmatch(ref)
		if text, set := lookup(environ, m[1]); set {
			return text
		}
		return m[2]
	})
}
