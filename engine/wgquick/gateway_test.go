package wgquick

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
)

func rules(t require.TestingT, texts ...string) []engine.AccessRule {
	var out []engine.AccessRule
	for _, text := range texts {
		r, err := engine.ParseAccessRule(text)
		require.NoError(t, err)
		out = append(out, r)
	}
	return out
}

const gatewayFile = `[Interface]
# wgfleet: allow 10.0.0.0/8 tcp 80,443 # of the office
# wgfleet: allow any udp 53
#wgfleet:deny 10.9.0.0/16
# wgfleet: limit connections=100 rate=10
# wgfleet: limit rate=none
# wgfleet: publish tcp :8443 10.8.0.5:443
# wgfleet: resolver
PrivateKey = ` + psk1 + `

# Name = one
[Peer]
PublicKey = ` + keyA + `
AllowedIPs = 10.8.0.5/32
# wgfleet: allow 127.0.0.1 tcp 5432
# wgfleet: limit bandwidth=10M

[Peer]
PublicKey = ` + keyB + `
`

func TestGateway(t *testing.T) {
	c, err := parseText(t, gatewayFile).Gateway()
	require.NoError(t, err)
	p, err := engine.ParsePublished("tcp :8443 10.8.0.5:443")
	require.NoError(t, err)
	key, err := wgtypes.ParseKey(keyA)
	require.NoError(t, err)
	require.Equal(t, engine.GatewayConfig{
		Access: engine.AccessPolicy{
			Node: engine.Access{
				Allow: rules(t, "10.0.0.0/8 tcp 80,443", "any udp 53"), Deny: rules(t, "10.9.0.0/16"),
				Limits: engine.Limits{Connections: 100, Rate: engine.NoLimit},
			},
			Peers: map[wgtypes.Key]engine.Access{key: {
				Allow: rules(t, "127.0.0.1 tcp 5432"), Limits: engine.Limits{Bandwidth: 10_000_000},
			}},
		},
		Published: []engine.Published{p}, Resolver: true,
	}, c)
	c, err = parseText(t, "[Interface]\n").Gateway()
	require.NoError(t, err)
	require.Equal(t, engine.GatewayConfig{}, c)
}

func TestGatewayRefused(t *testing.T) {
	for text, want := range map[string]string{
		"[Interface]\n# wgfleet: allow example.test\n":                          "line 2: # wgfleet: allow: expected any, an address or a prefix",
		"[Interface]\n# wgfleet: allow\n":                                       "line 2: # wgfleet: allow: expected any, an address or a prefix",
		"[Interface]\n# wgfleet: limit speed=1\n":                               "line 2: # wgfleet: limit: expected connections=",
		"[Interface]\n# wgfleet: resolver 1.1.1.1\n":                            "line 2: # wgfleet: resolver: expected nothing behind this directive, got \"1.1.1.1\"",
		"[Interface]\n# wgfleet: publish tcp 8443 10.8.0.5:443\n":               "line 2: # wgfleet: publish: expected tcp or udp",
		"[Interface]\n[Peer]\nPublicKey = " + keyA + "\n# wgfleet: publish x\n": "line 4: # wgfleet: publish: expected this directive in the [Interface] section",
		"# wgfleet: deny any\n[Interface]\n":                                    "line 1: # wgfleet: deny: expected this directive in the [Interface] or a [Peer] section",
	} {
		f := parseText(t, text)
		_, err := f.Gateway()
		require.ErrorContains(t, err, want)
		_, interfaceErr := f.Interface()
		require.Equal(t, err, interfaceErr, "an interface does not come up with it")
	}
}

func TestSetAccess(t *testing.T) {
	f := parseText(t, gatewayFile)
	key, err := wgtypes.ParseKey(keyA)
	require.NoError(t, err)
	c, err := f.Gateway()
	require.NoError(t, err)
	f.SetAccess(c.Access)
	require.Equal(t, gatewayFile, string(f.Bytes()), "what it says already is not touched")

	f.SetAccess(engine.AccessPolicy{Node: engine.Access{Deny: rules(t, "192.0.2.0/24")}})
	require.Equal(t, `[Interface]
# wgfleet: publish tcp :8443 10.8.0.5:443
# wgfleet: resolver
PrivateKey = `+psk1+`
# wgfleet: deny 192.0.2.0/24

# Name = one
[Peer]
PublicKey = `+keyA+`
AllowedIPs = 10.8.0.5/32

[Peer]
PublicKey = `+keyB+`
`, string(f.Bytes()))
	require.False(t, f.HasPeer(wgtypes.Key{1}))
	require.True(t, f.HasPeer(key))
}

// Where the last line does not end, what comes behind it is a line of its own all the same, and ends as the others do.
func TestSetAccessBehindAnOpenEnd(t *testing.T) {
	for before, want := range map[string]string{
		"[Peer]\nPublicKey = " + keyA:                    "[Peer]\nPublicKey = " + keyA + "\n# wgfleet: deny any\n",
		"[Interface]\r\n[Peer]\r\nPublicKey = " + keyA:   "[Interface]\r\n[Peer]\r\nPublicKey = " + keyA + "\r\n# wgfleet: deny any\r\n",
		"[Peer]\nPublicKey = " + keyA + " # of a laptop": "[Peer]\nPublicKey = " + keyA + " # of a laptop\n# wgfleet: deny any\n",
	} {
		f := parseText(t, before)
		f.SetAccess(engine.AccessPolicy{Peers: map[wgtypes.Key]engine.Access{mustKey(t, keyA): {Deny: rules(t, "any")}}})
		require.Equal(t, want, string(f.Bytes()))
	}
}

// An edit of a peer leaves its directives to the letter, a removal takes them along.
func TestEditsOfAPeerKeepItsDirectives(t *testing.T) {
	f := parseText(t, gatewayFile)
	key, err := wgtypes.ParseKey(keyA)
	require.NoError(t, err)
	before, err := f.Gateway()
	require.NoError(t, err)
	require.NoError(t, f.PutPeer(Peer{
		PublicKey: key, PersistentKeepalive: 25, PresharedKey: secretKey(t, psk2), AllowedIPs: prefixes("10.8.0.6/32"), Endpoint: "192.0.2.1:5",
	}))
	require.Contains(t, string(f.Bytes()), "# wgfleet: allow 127.0.0.1 tcp 5432\n# wgfleet: limit bandwidth=10M\n")
	after, err := f.Gateway()
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.True(t, f.RemovePeer(key))
	require.NotContains(t, string(f.Bytes()), "5432")
	after, err = f.Gateway()
	require.NoError(t, err)
	require.Empty(t, after.Access.Peers)
	require.Equal(t, before.Access.Node, after.Access.Node)
}

// Whatever a file says, its access is what was set, its peers are what they were, and a peer that goes takes its own with it.
func TestSetAccessChangesNothingElse(t *testing.T) {
	lines := []string{
		"[Interface]\n", "[Peer]\nPublicKey = " + keyA + "\n", "[Peer]\nPublicKey = " + keyB + "\n", "AllowedIPs = 10.0.0.1/32\n", "# Name = x\n",
		"# wgfleet: allow 10.7.0.0/16\n", "# wgfleet: limit rate=7\n", "\n", "# a comment\n", "PersistentKeepalive = 5\n",
	}
	rapid.Check(t, func(t *rapid.T) {
		text := "[Interface]\nPrivateKey = " + psk1 + "\n"
		for _, l := range rapid.SliceOfN(rapid.SampledFrom(lines), 0, 15).Draw(t, "lines") {
			text += l
		}
		f, err := Parse([]byte(text))
		require.NoError(t, err)
		peers, err := f.Peers()
		require.NoError(t, err)
		node, own := drawAccess.Draw(t, "node"), drawAccess.Draw(t, "own")
		policy := engine.AccessPolicy{Node: node, Peers: map[wgtypes.Key]engine.Access{}}
		for _, p := range peers {
			policy.Peers[p.PublicKey] = own
		}
		f.SetAccess(policy)
		again, err := Parse(f.Bytes())
		require.NoError(t, err)
		c, err := again.Gateway()
		require.NoError(t, err)
		require.True(t, sameAccess(node, c.Access.Node))
		isPeers, err := again.Peers()
		require.NoError(t, err)
		require.Len(t, isPeers, len(peers))
		for i, p := range peers {
			p.Line, isPeers[i].Line = 0, 0
			p.Name, isPeers[i].Name = "", "" // a comment behind a blank line may go to whatever follows it
			require.Equal(t, p, isPeers[i])
			require.True(t, sameAccess(own, c.Access.Peers[p.PublicKey]), "%s", f.Bytes())
		}
		for _, p := range peers {
			again.RemovePeer(p.PublicKey)
		}
		c, err = again.Gateway()
		require.NoError(t, err)
		require.Empty(t, c.Access.Peers)
		require.True(t, sameAccess(node, c.Access.Node))
	})
}
