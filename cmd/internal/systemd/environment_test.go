package systemd

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The expectations are what systemd 252 gives to a service.
func TestEnvFileIsReadAsSystemdDoes(t *testing.T) {
	for text, want := range map[string]Environment{
		"":                          nil,
		"A=1\nB=2":                  {"A=1", "B=2"},
		"# A=1\n; B=2\n\n  C=3":     {"C=3"},
		"no assignment\nA=1":        {"A=1"},
		"A=1\nA=2":                  {"A=2"},
		"A = x y  \nB=":             {"A=x y", "B="},
		`A="x y" 'z'w`:              {"A=x yzw"},
		`A="a\"b\\c\$d\e" # hash`:   {`A=a"b\c$d\e# hash`},
		"A='a\\b\nc'\nB=1":          {"A=a\\b\nc", "B=1"},
		"A=x\\\ny\\ \nB=\"1\\\n2\"": {"A=xy ", "B=12"},
		"A=$HOME `x`":               {"A=$HOME `x`"},
		"A=\"open":                  {"A=open"},
		"A=1\r\nB=2\r\n":            {"A=1", "B=2"},
	} {
		require.Equal(t, want, ParseEnvironment(text), text)
	}
}

func TestEnvFileRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Environment{"A=" + rapid.String().Draw(t, "a"), "B=" + rapid.StringOf(rapid.RuneFrom([]rune(" \t\n\r\"'\\$`#;=%x"))).Draw(t, "b")}
		require.Equal(t, want, ParseEnvironment(FormatEnvironment(want)))
	})
}
