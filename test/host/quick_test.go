//go:build root

package host

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

//go:embed testdata/*.conf
var files embed.FS

// quickHost has a way out by which endpoints are found, a narrow one, a resolver that is registered,
// and the hosts file that the endpoint with a name needs.
func quickHost(t *testing.T, label, name, file string) *host {
	t.Helper()
	h := newHost(t, label)
	h.sh(`
		ip link add eth0 address 02:00:00:00:00:01 type veth peer name far0 address 02:00:00:00:00:02
		ip link add eth1 address 02:00:00:00:00:03 mtu 1400 type veth peer name far1 address 02:00:00:00:00:04 mtu 1400
		for link in eth0 far0 eth1 far1; do ip link set $link up; done
		ip addr add 198.51.100.2/24 dev eth0; ip addr add 2001:db8:1::2/64 dev eth0
		ip addr add 203.0.113.2/24 dev eth1; ip addr add 2001:db8:2::2/64 dev eth1
		ip route add default via 198.51.100.1; ip route add default via 2001:db8:1::1
		ip route add 192.0.2.128/25 via 198.51.100.1 mtu 1300
		echo 198.51.100.77 vpn.example.org >>/etc/hosts
		echo 77 office >>/etc/iproute2/rt_tables
		echo nameserver 192.0.2.53 | resolvconf -a eth0
		mkdir /run/hooks`)
	h.write("/etc/wireguard/"+name+".conf", file)
	return h
}

// whileUp is what a person does to an interface by hand; SaveConfig keeps it.
const whileUp = `
	wg set "$1" peer BSi6YfLbvPPoXq6PcFE5MMqsxZAsPjK0rC0Ig5kMNyU= allowed-ips 192.168.44.0/24 persistent-keepalive 33
	ip addr add 10.44.0.9/32 dev "$1"`

// TestAsWgQuick brings each file up and down by wg-quick and by wgfleet, on equal hosts, and each one's
// interface down by the other. What differs must be in the table on purpose, and what is there be seen.
func TestAsWgQuick(t *testing.T) {
	names, err := fs.Glob(files, "testdata/*.conf")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(names), 14)
	ran := t.Run("files", func(t *testing.T) {
		for _, path := range names {
			name := strings.TrimSuffix(strings.TrimPrefix(path, "testdata/"), ".conf")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				text, err := files.ReadFile(path)
				require.NoError(t, err)
				asWgQuick(t, name, string(text))
			})
		}
	})
	if ran {
		seenAll(t, len(names))
	}
}

func asWgQuick(t *testing.T, name, file string) {
	theirs, ours := quickHost(t, "quick", name, file), quickHost(t, "wgfleet", name, file)
	clean := theirs.snapshot(name)
	require.Empty(t, compare(clean, ours.snapshot(name)), "the hosts are not equal")
	reset := func(h *host) { // what SaveConfig and hooks wrote
		h.sh("rm -rf /run/hooks/*")
		h.write("/etc/wireguard/"+name+".conf", file)
	}
	look := func(h *host) snapshot {
		s := h.snapshot(name)
		if !strings.Contains(strings.ToLower(file), "listenport") { // a free one
			s["device"] = slices.DeleteFunc(s["device"], func(line string) bool { return strings.Contains(line, "listenport") })
		}
		return s
	}
	byHand := func(h *host) {
		if strings.Contains(file, "SaveConfig") {
			h.run("bash", "-euc", whileUp, "while-up", name)
		}
	}
	n := ours.serve("WGFLEET_UP=none")

	theirs.quick(newest, "up", name)
	n.enable(name)
	judge(t, name, "up", compare(look(theirs), look(ours)))

	byHand(theirs)
	byHand(ours)
	theirs.quick(newest, "down", name)
	n.disable(name)
	down := theirs.snapshot(name)
	judge(t, name, "left by wg-quick", compare(clean, down))
	judge(t, name, "down", compare(down, ours.snapshot(name)))

	reset(theirs)
	reset(ours)
	n.enable(name)
	byHand(ours)
	ours.quick(newest, "down", name)
	judge(t, name, "ours, down by wg-quick", compare(down, ours.snapshot(name)))

	theirs.quick(newest, "up", name)
	byHand(theirs)
	other := theirs.serve("WGFLEET_UP=none")
	other.disable(name)
	judge(t, name, "wg-quick's, down by us", compare(down, theirs.snapshot(name)))
}

// judge fails for each change that is not on purpose.
func judge(t *testing.T, name, stage string, changes []change) {
	t.Helper()
	var wrong []string
	for _, c := range changes {
		if !onPurpose(name, stage, c) {
			wrong = append(wrong, c.String())
		}
	}
	if len(wrong) > 0 {
		t.Error(fmt.Sprintf("%s: %d differences:\n", stage, len(wrong)) + strings.Join(wrong, "\n"))
	}
}
