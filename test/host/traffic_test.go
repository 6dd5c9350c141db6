//go:build root

package host

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// others are the implementations that we speak to; nil is our own.
var others = map[string]func(h *host){
	"debian's wireguard-go": func(h *host) { h.quick(debian, "up", "wg0") },
	"newest wireguard-go":   func(h *host) { h.quick(newest, "up", "wg0") },
	"wgfleet":               func(h *host) { h.serve() },
}

func TestTraffic(t *testing.T) {
	for name, other := range others {
		for underlay, at := range map[string][2]string{
			"IPv4": {outA4 + ":51820", outB4 + ":51820"},
			"IPv6": {"[" + outA6 + "]:51820", "[" + outB6 + "]:51820"},
		} {
			t.Run(name+" over "+underlay, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, 1500)
				l.configure(at[0], at[1], "")
				l.a.serve()
				other(l.b)
				l.a.reaches(inB4, inB6)
				l.b.reaches(inA4, inA6)
				l.a.fetches(l.b.offer(), inB4, "["+inB6+"]")
				l.b.fetches(l.a.offer(), inA4, "["+inA6+"]")
				l.a.measures(l.b, inB4)

				p := l.a.peer()
				require.True(t, p.handshake && p.received && p.sent, p.shown)
				require.Equal(t, at[1], p.endpoint)
				require.Equal(t, inB4+"/32,"+inB6+"/128", p.allowedIPs)
			})
		}
	}
}

// TestNarrowLink: the packets of the tunnel fit the link to the peer, whole and to the byte.
func TestNarrowLink(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1400)
	l.configure(outA4+":51820", outB4+":51820", "")
	l.a.serve()
	l.b.quick(newest, "up", "wg0")
	l.a.reaches(inB4, inB6)

	var links []struct{ MTU int }
	require.NoError(t, json.Unmarshal([]byte(l.a.run("ip", "-j", "link", "show", "wg0")), &links))
	require.Equal(t, 1320, links[0].MTU)
	l.a.run("ping", "-n", "-c", "1", "-W", "5", "-M", "do", "-s", "1292", inB4) // and 28 of headers
	out, err := l.a.try("ping", "-n", "-c", "1", "-W", "5", "-M", "do", "-s", "1293", inB4)
	require.Error(t, err, out)
	require.Contains(t, out, "too long")
	l.a.fetches(l.b.offer(), inB4, "["+inB6+"]")
}

// TestRoaming: either end moves to another address and the tunnel follows.
func TestRoaming(t *testing.T) {
	for name, other := range others {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1500)
			l.configure(outA4+":51820", "", "")
			l.a.serve()
			other(l.b)
			l.b.reaches(inA4)
			require.Equal(t, outB4+":51820", l.a.peer().endpoint)

			move(l.b, outB4, "203.0.113.3", "203.0.113.1")
			l.b.reaches(inA4)
			require.Equal(t, "203.0.113.3:51820", l.a.peer().endpoint)
			l.a.reaches(inB4)

			move(l.a, outA4, "198.51.100.3", "198.51.100.1")
			l.a.reaches(inB4)
			require.Equal(t, "198.51.100.3:51820", l.b.peer().endpoint)
			l.b.reaches(inA4)
		})
	}
}

// move gives the host another address.
func move(h *host, from, to, router string) {
	h.t.Helper()
	h.run("bash", "-euc", `
		ip addr add "$2"/24 dev eth0
		ip addr del "$1"/24 dev eth0
		ip addr replace "$2"/24 dev eth0 # it went with the first one of its subnet
		ip route replace default via "$3"`, "move", from, to, router)
}

// TestLinkLost: the network between the hosts goes away and comes back.
func TestLinkLost(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1500)
	l.configure(outA4+":51820", outB4+":51820", "")
	l.a.serve()
	l.b.quick(newest, "up", "wg0")
	l.a.reaches(inB4, inB6)
	before := l.a.snapshot("wg0")

	l.router.sh("ip link set to-a down")
	_, err := l.a.try("ping", "-n", "-c", "1", "-W", "1", inB4)
	require.Error(t, err)
	l.router.sh("ip link set to-a up")
	l.a.reaches(inB4, inB6)
	require.Empty(t, compare(before, l.a.snapshot("wg0")))
}

// TestHostName: an endpoint may be a name.
func TestHostName(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1500)
	l.configure("", "office.example.org:51820", "")
	l.a.sh("echo " + outB4 + " office.example.org >>/etc/hosts")
	l.a.serve()
	l.b.quick(newest, "up", "wg0")
	l.a.reaches(inB4, inB6)
	require.Equal(t, outB4+":51820", l.a.peer().endpoint)
}
