package panel

import (
	"strconv"
	"strings"
)

// maxWaves bounds the waves of a rollout.
const maxWaves = 20

// Rest is the wave that takes all nodes that are left.
const Rest = "rest"

// splitWaves returns how many nodes are in each wave of so many. A wave is a number of nodes, a percentage of all
// of them ("10%", rounded up), or "rest". What no wave takes comes as one more; waves that find nobody left are
// dropped.
func splitWaves(waves []string, nodes int, p *problems) []int {
	if len(waves) > maxWaves {
		p.add("waves", "has %d entries: %d at most", len(waves), maxWaves)
		return nil
	}
	left := nodes
	var sizes []int
	take := func(n int) {
		if n = min(n, left); n > 0 {
			sizes, left = append(sizes, n), left-n
		}
	}
	for i, w := range waves {
		text := strings.Join(strings.Fields(w), "")
		digits, percent := strings.CutSuffix(text, "%")
		n, err := strconv.Atoi(digits)
		switch {
		case text == Rest && i == len(waves)-1:
			take(left)
		case text == Rest:
			p.add("waves", "%q can only come last", Rest)
		case err != nil || n < 1 || percent && n > 100:
			p.add("waves", `%q is no wave: expected a number of nodes, a percentage of them like "10%%", or %q`, clip(w), Rest)
		case percent:
			take((nodes*n + 99) / 100)
		default:
			take(n)
		}
	}
	take(left)
	return sizes
}
