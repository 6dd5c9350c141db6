//go:build root

package host

import (
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const goodFile = `[Interface]
PrivateKey = cMyGSLTPIwCIXhH3b84HJYOxmR11/QMQmzQdBm+9lkM=
ListenPort = 51820
Address = 10.8.0.1/24, fd42::1/64

[Peer]
PublicKey = FxLCnpOgnclmFehzOtOQQM8AXPWI6ARM9kcYAncGmoQ=
AllowedIPs = 10.8.0.2/32
`

// refusal is a file that must not come up. What is said names all of words.
type refusal struct {
	lines  string // of the [Interface] after its key, which is in line 3
	code   string // "": not fixed
	words  []string
	occupy func(h *host)
}

var refusals = map[string]refusal{
	"a port that is no number": {
		lines: "ListenPort = banana",
		words: []string{"/etc/wireguard/wrong.conf", "line 4", "ListenPort", "expected", `"banana"`},
	},
	"an address with too many bits": {
		lines: "ListenPort = 51900\nAddress = 10.9.0.1/33",
		words: []string{"/etc/wireguard/wrong.conf", "line 5", "Address", "expected", `"10.9.0.1/33"`},
	},
	"a key that wg-quick does not know": {
		lines: "IPAddress = 10.9.0.1/24",
		words: []string{"/etc/wireguard/wrong.conf", "line 4", "IPAddress", "expected"},
	},
	"allowed IPs of a peer": {
		lines: "[Peer]\nPublicKey = FxLCnpOgnclmFehzOtOQQM8AXPWI6ARM9kcYAncGmoQ=\nAllowedIPs = 10.9.0.0/24, office",
		words: []string{"/etc/wireguard/wrong.conf", "line 6", "AllowedIPs", "expected", `"office"`},
	},
	"a table that is not there": {
		lines: "Table = nowhere\n[Peer]\nPublicKey = FxLCnpOgnclmFehzOtOQQM8AXPWI6ARM9kcYAncGmoQ=\nAllowedIPs = 10.9.0.0/24",
		words: []string{"table", "nowhere", "expected"},
	},
	"a port of another interface": {
		lines: "ListenPort = 51820",
		code:  "port_in_use",
		words: []string{"51820"},
	},
	"a port of another program": {
		lines: "ListenPort = 5353",
		code:  "port_in_use",
		words: []string{"5353"},
		occupy: func(h *host) {
			require.NoError(h.t, h.inside(func() error {
				c, err := new(net.ListenConfig).ListenPacket(h.t.Context(), "udp", ":5353")
				if err == nil {
					h.t.Cleanup(func() { c.Close() })
				}
				return err
			}))
		},
	},
	"an address of another interface": {
		lines: "Address = 10.8.0.1/24",
		code:  "address_in_use",
		words: []string{"10.8.0.1", "good"},
	},
	"an address of another link": {
		lines:  "Address = fd77::5/64",
		code:   "address_in_use",
		words:  []string{"fd77::5", "other0"},
		occupy: func(h *host) { h.run("ip", "addr", "add", "fd77::5/64", "dev", "other0") },
	},
	"a route that is there": {
		lines:  "[Peer]\nPublicKey = FxLCnpOgnclmFehzOtOQQM8AXPWI6ARM9kcYAncGmoQ=\nAllowedIPs = 192.168.77.0/24",
		words:  []string{"192.168.77.0/24", "other0"},
		occupy: func(h *host) { h.run("ip", "addr", "add", "192.168.77.1/24", "dev", "other0") },
	},
	"a hook that fails": {
		lines: "Address = 10.9.0.1/24\nPostUp = ip route add 192.168.66.0/24 dev %i; echo no such luck; exit 3",
		words: []string{"PostUp", "wrong", "no such luck", "3"},
	},
}

// TestRefused: what can't come up is refused in one sentence, through the API and at the start, and
// all else stays as it was.
func TestRefused(t *testing.T) {
	for name, r := range refusals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, "refuse")
			h.sh("ip link add other0 type veth peer name far0; ip link set other0 up; ip link set far0 up")
			h.write("/etc/wireguard/good.conf", goodFile)
			h.write("/etc/wireguard/wrong.conf", "# line 1\n[Interface]\nPrivateKey = 8FVDUbxdG9ZXKDsfHyXtXeYxkBTi4bRpBJPeJ4H9Vng=\n"+r.lines+"\n")
			if r.occupy != nil {
				r.occupy(h)
			}
			n := h.serve("WGFLEET_UP=good")
			before := h.snapshot("wrong")

			a := n.do(http.MethodPost, "/v1/wg/wrong/enable", nil)
			sentence, code := a.say()
			require.GreaterOrEqual(t, a.status, http.StatusBadRequest, a.body)
			if r.code != "" {
				require.Equal(t, r.code, code, a.body)
				require.Equal(t, http.StatusConflict, a.status, a.body)
			}
			oneSentence(t, sentence, r.words)
			require.Empty(t, texts(compare(before, h.snapshot("wrong"))))

			n.stop()
			n = h.serve("WGFLEET_UP=good,wrong")
			require.Empty(t, texts(compare(before, h.snapshot("wrong"))))
			var complaints []string
			for line := range strings.Lines(n.log()) {
				if strings.Contains(line, `"level":"ERROR"`) {
					complaints = append(complaints, strings.ReplaceAll(line, `\"`, `"`))
				}
			}
			require.Len(t, complaints, 1)
			for _, word := range r.words {
				require.Contains(t, complaints[0], word)
			}
		})
	}
}

func oneSentence(t *testing.T, sentence string, words []string) {
	t.Helper()
	require.NotContains(t, sentence, "\n")
	require.NotEmpty(t, sentence)
	for _, word := range words {
		require.Contains(t, sentence, word)
	}
}

// TestUnable: where the host lets us not do it, the start fails with one sentence and what another
// agent has up stays.
func TestUnable(t *testing.T) {
	for name, c := range map[string]struct {
		before string
		run    []string
		words  []string
	}{
		"no capability":         {run: []string{"setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"}, words: []string{"CAP_NET_ADMIN"}},
		"another user":          {run: []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "-all"}, words: []string{"CAP_NET_ADMIN"}},
		"no TUN device":         {before: "mount -t tmpfs none /dev/net", words: []string{"/dev/net/tun", "not there"}},
		"a TUN device for root": {before: "mount -t tmpfs none /dev/net; mknod -m 600 /dev/net/tun c 10 200", run: []string{"setpriv", "--reuid", "65534", "--clear-groups"}, words: []string{"/dev/net/tun", "CAP_NET_ADMIN"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, "unable")
			h.write("/etc/wireguard/good.conf", goodFile)
			h.serve()
			before := h.snapshot("good")
			if c.before != "" {
				h.sh(c.before)
			}
			h.sh("mkdir -m 777 /run/other")
			args := append(append([]string{"env"}, environment("WG_AGENT_SECRET="+secret, "WGFLEET_BACKEND=tun", "WG_AGENT_PORT=0",
				"WGFLEET_DATA_DIR=/run/other/data", "WGFLEET_CONF_DIR=/run/other/conf")...), c.run...)
			cmd := h.command(t.Context(), append(args, wgfleet, "serve")...)
			var complaint strings.Builder
			cmd.Stderr = &complaint
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Run(), &exit)
			require.Equal(t, 1, exit.ExitCode())
			lines := strings.Split(strings.TrimSpace(complaint.String()), "\n")
			oneSentence(t, lines[len(lines)-1], append(c.words, "tun"))
			require.NotContains(t, lines[len(lines)-1], `"level"`)
			require.Empty(t, compare(before, h.snapshot("good")))
		})
	}
}
