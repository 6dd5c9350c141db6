package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNothingIsRunWithoutAPlan(t *testing.T) {
	var said bytes.Buffer
	require.ErrorContains(t, run(nil, &said), "usage")
	require.ErrorContains(t, run([]string{"-out", "x", "-init", "y", "-modules-in", "m", "-boot", "/b", "z"}, &said), "usage", "programs or a system")
	require.ErrorContains(t, run([]string{"-out", "x", "-init", "y", "-modules-in", t.TempDir() + "/none", "z"}, &said), "none")
}
