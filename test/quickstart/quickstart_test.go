//go:build root

package quickstart

import "testing"

func TestQuickstart(t *testing.T) {
	w := newWorld(t)
	w.build()
	w.follow("docs/quickstart.md", "## On a host")
	w.follow("docs/quickstart.md", "### Everything through the tunnel")
}
