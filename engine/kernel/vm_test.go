//go:build vm

package kernel_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/kernel"
)

// The links of a kernel that has WireGuard pass the suite of all backends.
func TestKernelConformance(t *testing.T) {
	require.NoError(t, kernel.New().Usable())
	enginetest.RunConformance(t, func(*testing.T) engine.Backend { return kernel.New() })
}
