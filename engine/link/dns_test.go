package link

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What wg-quick(8) hands to resolvconf.
func TestResolvLines(t *testing.T) {
	a, b := netip.MustParseAddr("10.7.0.53"), netip.MustParseAddr("fd00:7::53")
	require.Equal(t, "nameserver 10.7.0.53\nnameserver fd00:7::53\nsearch corp.example lab.example\n",
		resolvLines(Config{DNS: []netip.Addr{a, b}, Search: []string{"corp.example", "lab.example"}}))
	require.Equal(t, "nameserver 10.7.0.53\n", resolvLines(Config{DNS: []netip.Addr{a}}))
}

func TestRecordPrefix(t *testing.T) {
	for order, want := range map[string]string{
		"":                                    "",
		"lo*\nwg*\n":                          "lo.",
		"# a comment*\nlo.inet6\n tun* \nwg*": "tun.",
		"eth0\nlo.*\n@(br)*([^.]).inet6\n":    "",
	} {
		require.Equal(t, want, recordPrefix(order), order)
	}
}

func TestUsesResolved(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]bool{
		"nameserver 127.0.0.53\noptions edns0\n":            true,
		"# nameserver 10.0.0.1\n\nnameserver\t127.0.0.54\n": true,
		"nameserver 10.0.0.1\nnameserver 127.0.0.53\n":      false, // programs ask the first
		"nameserver 127.0.0.1\n":                            false,
		"search corp.example\n":                             false,
		"":                                                  false,
		"options edns0\nnameserver 127.0.0.53 # systemd\nfoo\n": true,
	} {
		name := filepath.Join(dir, "resolv.conf")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		require.Equal(t, want, usesResolved(name), text)
	}
	require.False(t, usesResolved(filepath.Join(dir, "none")))
}

const someMounts = `22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /run rw - tmpfs none rw
24 22 0:22 /@/srv /srv/a\040b rw - btrfs /dev/vdb rw
25 22 0:21 /wgfleet/resolv.conf /etc/resolv.conf ro - tmpfs none rw
26 25 0:21 /wgfleet/resolv.conf//deleted /etc/resolv.conf ro - tmpfs none rw
27 22 254:0 /wgfleet/resolv.conf /etc/hosts rw - ext4 /dev/vda rw
28 22 0:21 /wgfleet /mnt rw - tmpfs none rw
29 22 0:21 /other/resolv.conf /etc/resolv.conf ro - tmpfs none rw
`

func TestMountsAreToldApart(t *testing.T) {
	mounts, err := parseMounts(strings.NewReader(someMounts))
	require.NoError(t, err)
	require.Len(t, mounts, 8)
	require.Equal(t, mount{id: "24", device: "0:22", root: "/@/srv", point: "/srv/a b"}, mounts[2])

	ours := mounts.of("/run/wgfleet/resolv.conf")
	require.Equal(t, mounts[3:5], mountTable(ours), "neither a file of that path on another filesystem nor the folder")
	require.False(t, ours[0].deleted)
	require.True(t, ours[1].deleted)

	for path, want := range map[string][2]string{
		"/run/wgfleet":  {"0:21", "/wgfleet"},
		"/run":          {"0:21", "/"},
		"/runner":       {"254:0", "/runner"},
		"/srv/a b/c":    {"0:22", "/@/srv/c"},
		"/mnt/wg0":      {"0:21", "/wgfleet/wg0"},
		"/var/lib/x/wg": {"254:0", "/var/lib/x/wg"},
	} {
		device, root := mounts.origin(path)
		require.Equal(t, want, [2]string{device, root}, path)
	}
}
