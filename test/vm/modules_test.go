package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLoadOrder(t *testing.T) {
	all := map[string]module{}
	add := func(name string, depends ...string) {
		all[name] = module{name: name, depends: func() ([]string, error) { return depends, nil }}
	}
	add("wireguard", "udp_tunnel", "curve25519-x86_64")
	add("curve25519_x86_64", "libcurve25519-generic")
	add("libcurve25519_generic")
	add("udp_tunnel")
	add("veth")
	add("one", "two")
	add("two", "one")
	add("lost", "nowhere")

	order, err := loadOrder(all, []string{"wireguard", "udp-tunnel", "veth"})
	require.NoError(t, err)
	var names []string
	for _, m := range order {
		names = append(names, m.name)
	}
	require.Equal(t, []string{"udp_tunnel", "libcurve25519_generic", "curve25519_x86_64", "wireguard", "veth"}, names)
	_, err = loadOrder(all, []string{"one"})
	require.EqualError(t, err, "module one needs itself")
	_, err = loadOrder(all, []string{"lost"})
	require.EqualError(t, err, "the kernel has no module nowhere, needed by lost")
}
