package panel

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestWaves(t *testing.T) {
	for _, c := range []struct {
		waves []string
		nodes int
		want  []int
	}{
		{nil, 5, []int{5}},
		{nil, 0, nil},
		{[]string{"rest"}, 5, []int{5}},
		{[]string{"1", "10 %", "rest"}, 50, []int{1, 5, 44}},
		{[]string{"1", "10%"}, 11, []int{1, 2, 8}},
		{[]string{"1", "100%", "rest"}, 3, []int{1, 2}},
		{[]string{"7"}, 3, []int{3}},
	} {
		var p problems
		require.Equal(t, c.want, splitWaves(c.waves, c.nodes, &p), "%v", c)
		require.NoError(t, p.err())
	}
	for _, bad := range [][]string{{"0"}, {"-1"}, {"rest", "1"}, {"101%"}, {""}, {"half"}, {"1.5"}, make([]string, maxWaves+1)} {
		var p problems
		splitWaves(bad, 10, &p)
		require.ErrorContains(t, p.err(), "waves: ", "%q", bad)
	}
}

// Whatever the waves, each node is in one.
func TestWavesTakeAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := rapid.IntRange(0, 2000).Draw(t, "nodes")
		waves := rapid.SliceOfN(rapid.SampledFrom([]string{"1", "3", "10%", "33 %", "100%", "500"}), 0, maxWaves).Draw(t, "waves")
		var p problems
		sum := 0
		for _, n := range splitWaves(waves, nodes, &p) {
			require.Positive(t, n)
			sum += n
		}
		require.NoError(t, p.err())
		require.Equal(t, nodes, sum)
	})
}
