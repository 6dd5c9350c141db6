//go:build root

package host

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// onTheWay is what an interface has around it that does not go with its link.
const onTheWay = `DNS = 10.8.0.2, corp.example.org
PostUp = echo up %i >>/run/hooks.log
PostDown = echo down %i >>/run/hooks.log
`

// wholeNetwork makes a send everything to b, so that rules, a firewall and a resolver are set.
func wholeNetwork(l *lab) {
	l.configure(outA4+":51820", outB4+":51820", onTheWay)
	l.a.sh("sed -i 's,^AllowedIPs.*,AllowedIPs = 0.0.0.0/0\\, ::/0,' /etc/wireguard/wg0.conf")
	l.a.sh("echo nameserver 192.0.2.53 | resolvconf -a eth0")
}

// TestRestart ends the agent in both ways. The next one brings up the same, once; traffic goes on, and
// nothing is left when the interface goes down.
func TestRestart(t *testing.T) {
	for name, end := range map[string]func(*node){
		"kill":      (*node).kill,
		"terminate": (*node).stop,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, 1500)
			wholeNetwork(l)
			clean := l.a.snapshot("wg0")
			n := l.a.serve()
			l.b.quick(newest, "up", "wg0")
			l.a.reaches(inB4, inB6)
			up := l.a.snapshot("wg0")

			for range 2 {
				end(n)
				n = l.a.serve()
				l.a.reaches(inB4, inB6)
				require.Empty(t, texts(compare(up, l.a.snapshot("wg0"))), "after the restart")
			}
			n.disable("wg0")
			require.Empty(t, texts(compare(clean, l.a.snapshot("wg0"))), "after disable")
		})
	}
}

// TestTerminated: where the device lives in the process, nothing of the interface stays when that is
// told to end: rules or a resolver without the device would cut the host off.
func TestTerminated(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1500)
	wholeNetwork(l)
	clean := l.a.snapshot("wg0")
	n := l.a.serve()
	l.b.quick(newest, "up", "wg0")
	l.a.reaches(inB4)
	n.stop()
	require.Empty(t, texts(compare(clean, l.a.snapshot("wg0"))))
	l.a.reaches(outB4, outB6)
}

// TestWgQuickAfterCrash: what a killed agent leaves does not stop wg-quick(8).
func TestWgQuickAfterCrash(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1500)
	wholeNetwork(l)
	clean := l.a.snapshot("wg0")
	n := l.a.serve()
	l.b.quick(newest, "up", "wg0")
	l.a.reaches(inB4)
	n.kill()
	l.a.quick(newest, "up", "wg0")
	l.a.reaches(inB4)
	l.a.quick(newest, "down", "wg0")
	require.Empty(t, texts(compare(clean, l.a.snapshot("wg0"))))
}

// TestTakenOver: an interface that wg-quick(8) brought up is driven as it is. Nothing is changed by
// looking, and it stays when the agent goes.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1500)
	wholeNetwork(l)
	clean := l.a.snapshot("wg0")
	l.a.quick(debian, "up", "wg0")
	l.b.quick(newest, "up", "wg0")
	l.a.reaches(inB4, inB6)
	up := l.a.snapshot("wg0")

	n := l.a.serve()
	require.Empty(t, compare(up, l.a.snapshot("wg0")))
	n.stop()
	require.Empty(t, compare(up, l.a.snapshot("wg0")))
	n = l.a.serve()
	n.kill()
	l.a.reaches(inB4, inB6)
	require.Empty(t, compare(up, l.a.snapshot("wg0")))

	n = l.a.serve()
	added := l.a.newKey().public
	a := n.do(http.MethodPost, "/v1/wg/wg0/peers", map[string]any{"public_key": added, "allowed_ips": []string{"10.8.0.77/32"}})
	require.Equal(t, http.StatusOK, a.status, a.body)
	require.Contains(t, l.a.run("wg", "show", "wg0", "allowed-ips"), added+"\t10.8.0.77/32")
	l.a.reaches(inB4, inB6)
	n.disable("wg0")
	left := slices.DeleteFunc(compare(clean, l.a.snapshot("wg0")), func(c change) bool { return c.section == "file" }) // the new peer
	require.Empty(t, texts(left))
}

// TestWithoutPanel: a client that the panel made is served on when the panel is gone, and by an agent
// that starts without it.
func TestWithoutPanel(t *testing.T) {
	t.Parallel()
	l := newLab(t, 1500)
	l.configure("", "", "")
	n := l.a.serve()
	panel := l.router.wgfleet([]string{"serve", "--panel", "--no-agent"})
	cli := func(args ...string) string {
		l.router.t.Helper()
		return l.router.run(append([]string{"env", "WGFLEET_API_KEY=" + adminKey, wgfleet}, args...)...)
	}
	l.router.write("/run/secret", secret)
	cli("node", "add", "office", "--agent-url", "http://"+outA4+":8080", "--secret-file", "/run/secret",
		"--endpoint", outA4, "--pool", "10.8.0.0/24,fd42::/64")
	cli("peer", "add", "office", "laptop")
	l.b.write("/etc/wireguard/wg0.conf", cli("peer", "config", "office", "laptop"))
	l.b.quick(newest, "up", "wg0")
	l.b.reaches(inA4, inA6)

	panel.kill()
	l.b.reaches(inA4, inA6)
	n.kill()
	l.a.serve()
	l.b.reaches(inA4, inA6)
}

// texts leaves out src_valid_mark, which wg-quick(8) does not set back either: others may need it.
func texts(changes []change) (out []string) {
	for _, c := range changes {
		if !strings.Contains(c.line, "src_valid_mark") {
			out = append(out, c.String())
		}
	}
	return out
}
