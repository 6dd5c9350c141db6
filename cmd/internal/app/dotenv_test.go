package app

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What python-dotenv makes of each, so that a .env of the original agent means the same here.
func TestDotenvSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"K=v":                         "v",
		"K = v ":                      "v",
		"export K=v":                  "v",
		"  K=v\r\nL=w":                "v",
		"'K'=v":                       "v",
		"K=":                          "",
		"K= # comment":                "# comment",
		"K=v # comment":               "v",
		"K=v#not a comment":           "v#not a comment",
		"K='v # in' # out":            "v # in",
		`K="a\nb"`:                    "a\nb",
		`K='a\nb'`:                    `a\nb`,
		`K="say \"hi\""`:              `say "hi"`,
		`K='it\'s'`:                   "it's",
		"K=\"two\nlines\"":            "two\nlines",
		"K=pa$$w$WORD$":               "pa$$w$WORD$",
		"K=${HOME}/x":                 "/h/x",
		"K=${NONE}x":                  "x",
		"K=${NONE:-fallback}":         "fallback",
		"A=1\nK=${A}${HOME}":          "1/h",
		"K=first\nK=second":           "second",
		"\n# K=no\n\nK=yes\n# K=no\n": "yes",
		"K=a=b=c":                     "a=b=c",
		"K=ü ö":                       "ü ö",
	} {
		out, bad := addDotenv([]string{"HOME=/h"}, text)
		require.Zero(t, bad, text)
		got, set := lookup(out, "K")
		require.True(t, set, text)
		require.Equal(t, want, got, text)
	}
	for text, line := range map[string]int{"K='open": 1, "A=1\nno equals sign here": 2, "=v": 1, "K=\"a\" b": 1} {
		_, bad := addDotenv(nil, text)
		require.Equal(t, line, bad, text)
	}
	out, bad := addDotenv([]string{"K=set"}, "K=new\nNAME\n")
	require.Zero(t, bad)
	require.Equal(t, []string{"K=set"}, out)
}

func FuzzDotenv(f *testing.F) {
	f.Add("K=v # c\nexport L=\"x\\n\"\n'M'='y'")
	f.Fuzz(func(t *testing.T, text string) {
		before := []string{"K=set", "HOME=/h"}
		out, bad := addDotenv(before, text)
		if bad != 0 {
			return
		}
		require.Equal(t, before, out[:len(before)], "what is set stays")
	})
}
