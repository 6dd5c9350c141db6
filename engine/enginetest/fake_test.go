package enginetest_test

import (
	"testing"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
)

func TestFakeConformance(t *testing.T) {
	enginetest.RunConformance(t, func(*testing.T) engine.Backend { return enginetest.NewFake() })
}
