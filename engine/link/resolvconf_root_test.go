//go:build root

package link

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ownOpenresolv lays Debian's openresolv over the folders into which its package goes, on a host that
// got homeDNS from a DHCP client.
func ownOpenresolv(t *testing.T) {
	t.Helper()
	dir := resolvers(t) + "/openresolv"
	ownHost(t, dir+"/etc")
	cover(t, "overlay", "/usr/lib", "overlay", "lowerdir="+dir+"/lib:/usr/lib")
	cover(t, "overlay", "/usr/sbin", "overlay", "lowerdir="+dir+"/sbin:/usr/sbin")
	cmd := exec.Command("resolvconf", "-a", "eth0.dhcp")
	cmd.Stdin = strings.NewReader("nameserver " + homeDNS + "\nsearch home.example\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}

// What wg-quick or we brought up, the other can take down; the file is the same in between.
func TestResolvconfAsWgQuickSetsIt(t *testing.T) {
	for _, order := range []string{"", "lo.*\ntun*\nwg*\n"} {
		ownOpenresolv(t)
		if order != "" {
			require.NoError(t, os.MkdirAll(filepath.Dir(interfaceOrder), 0o755))
			require.NoError(t, os.WriteFile(interfaceOrder, []byte(order), 0o644))
		}
		h, log := dnsHost(t)
		c := wg0DNS()
		quick := map[string]func(){
			"up":   func() { wgQuick(t, "set_dns", c) },
			"down": func() { wgQuick(t, "unset_dns", c) },
		}
		ours := map[string]func(){
			"up":        func() { require.NoError(t, h.setDNS(t.Context(), c)) },
			"down":      func() { require.NoError(t, h.unsetDNS(t.Context(), c)) },
			"DNS taken": func() { require.NoError(t, h.unsetDNS(t.Context(), Config{Interface: "wg0"})) },
		}
		before := readFile(t, "/etc/resolv.conf")
		require.Contains(t, before, homeDNS)
		quick["up"]()
		up := readFile(t, "/etc/resolv.conf")
		require.Contains(t, up, tunnelDNS)
		require.Contains(t, up, "search corp.example lab.example")
		require.NotContains(t, up, homeDNS)
		quick["down"]()
		require.Equal(t, before, readFile(t, "/etc/resolv.conf"))

		for _, both := range [][2]func(){
			{ours["up"], ours["down"]},
			{ours["up"], quick["down"]},
			{quick["up"], ours["down"]},
			{ours["up"], ours["DNS taken"]},
		} {
			both[0]()
			require.Equal(t, up, readFile(t, "/etc/resolv.conf"))
			both[1]()
			require.Equal(t, before, readFile(t, "/etc/resolv.conf"))
		}
		require.Contains(t, log.String(), "by=/usr/sbin/resolvconf")
	}
}

func TestResolvconfHasNothingToTakeBack(t *testing.T) {
	ownOpenresolv(t)
	h, log := dnsHost(t)
	before := readFile(t, "/etc/resolv.conf")
	for _, c := range []Config{wg0DNS(), {Interface: "wg0"}, {Interface: "wg0", Search: []string{"corp.example"}}} {
		require.NoError(t, h.unsetDNS(t.Context(), c))
	}
	require.NoError(t, h.setDNS(t.Context(), Config{Interface: "wg0", Search: []string{"corp.example"}}), "domains alone are nothing")
	require.Equal(t, before, readFile(t, "/etc/resolv.conf"))
	require.Empty(t, log.String())
}

func TestResolvconfFails(t *testing.T) {
	ownHost(t)
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(bin+"/resolvconf", []byte("#!/bin/sh\necho out of ink >&2; exit 3\n"), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	h, _ := dnsHost(t)
	require.EqualError(t, h.setDNS(t.Context(), wg0DNS()), "resolvconf of wg0: exit status 3: out of ink")
	require.EqualError(t, h.unsetDNS(t.Context(), wg0DNS()), "resolvconf of wg0: exit status 3: out of ink")
}
