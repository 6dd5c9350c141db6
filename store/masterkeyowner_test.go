package store

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFileOfRootMayBeReadByItsGroup(t *testing.T) {
	const root, other, us = 0, 1000, 65532
	require.Equal(t, fs.FileMode(0o037), openTo(root, us))
	for _, c := range [][2]uint32{{us, us}, {other, us}, {root, root}, {other, root}} {
		require.Equal(t, fs.FileMode(0o077), openTo(c[0], c[1]), "owner %d, process of %d", c[0], c[1])
	}
}
