package userspace_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/enginetest"
	"github.com/wgfleet/wgfleet/engine/userspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNetstackConformance(t *testing.T) {
	enginetest.RunConformance(t, func(*testing.T) engine.Backend {
		return userspace.NewNetstack(userspace.Options{})
	})
}
