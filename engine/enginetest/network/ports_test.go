package network

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// The search for a port begins anew at the end, and ends where all are taken.
func TestAWireIsFull(t *testing.T) {
	w := NewWire()
	for port := firstPort; port <= 65535; port++ {
		w.ports[uint16(port)] = new(bind)
	}
	b := w.Bind()
	_, _, err := b.Open(0)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	for _, free := range []uint16{65535, firstPort} {
		delete(w.ports, free)
		_, port, err := b.Open(0)
		require.NoError(t, err)
		require.Equal(t, free, port)
		require.NoError(t, b.Close())
		w.ports[free] = new(bind)
	}
}
