package migrate

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSplitWords(t *testing.T) {
	for text, want := range map[string][]string{
		"":                     nil,
		"  A=1\tB=2 ":          {"A=1", "B=2"},
		`"A=x y" 'B=z "w"' C=`: {"A=x y", `B=z "w"`, "C="},
		`A=a\ b "B=\"q\""`:     {"A=a b", `B="q"`},
		`A="" ""`:              {"A=", ""},
	} {
		require.Equal(t, want, splitWords(text), text)
	}
}
