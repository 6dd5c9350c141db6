package wgquick

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func mustKey(t testing.TB, s string) wgtypes.Key {
	t.Helper()
	k, err := engine.ParseKey(s)
	require.NoError(t, err)
	return k
}

func TestInterfaceOfFixtures(t *testing.T) {
	for _, c := range []struct {
		file string
		want Interface // the private key is checked apart
	}{
		{"ops-dns.conf", Interface{
			Addresses: prefixes("10.8.0.1/24", "fd00:8::1/64"), ListenPort: new(51820), FwMark: new(uint32(0x1234)),
			DNS: []netip.Addr{netip.MustParseAddr("10.8.0.53")}, MTU: new(1380), Table: "off",
			PreUp: []string{"true preup"}, PostUp: []string{"touch /tmp/postup-%i", "true second postup"},
			PreDown: []string{"touch /tmp/predown-%i"}, PostDown: []string{"true postdown"},
		}},
		{"road-warrior.conf", Interface{
			Addresses: prefixes("10.8.0.2/32", "fd00:8::2/128"), MTU: new(1380), Search: []string{"corp.example.com"},
			DNS: []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd00:8::1")},
		}},
		{"save-config.conf", Interface{
			Addresses: prefixes("10.11.0.1/24"), ListenPort: new(51820), FwMark: new(uint32(0)), SaveConfig: true,
		}},
		{"crlf.conf", Interface{Addresses: prefixes("10.12.0.1/24"), ListenPort: new(51820)}},
		{"lower-case.conf", Interface{
			Addresses: prefixes("10.15.0.1/24"), ListenPort: new(51820), MTU: new(1400), PostUp: []string{"touch /run/%i"},
		}},
		{"comments-everywhere.conf", Interface{Addresses: prefixes("10.16.0.1/24", "fd00:16::1/64"), ListenPort: new(51820)}},
		{"tabs-and-spaces.conf", Interface{
			Addresses: prefixes("10.18.0.1/24", "10.18.1.1/24", "fd00:18::1/64"), ListenPort: new(51820),
		}},
		{"byte-order-mark.conf", Interface{Addresses: prefixes("10.19.0.1/24")}},
		{"repeated.conf", Interface{Addresses: prefixes("10.20.0.1/24"), ListenPort: new(51820), MTU: new(1420)}},
		{"hooks.conf", Interface{
			Addresses: prefixes("10.10.0.1/24"),
			PreUp:     []string{`/usr/local/bin/check "%i" && true`},
			PostUp: []string{
				`iptables -A INPUT -p udp --dport 51820 -m comment --comment "#wg %i" -j ACCEPT`,
				`wg set %i private-key <(pass show wg/%i)`, `echo a=b=c`,
			},
			PreDown: []string{`logger "%i goes down" # tell them`},
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			got, err := parseFixture(t, c.file).Interface()
			require.NoError(t, err)
			require.False(t, got.PrivateKey.IsZero())
			got.PrivateKey = engine.SecretKey{}
			require.Equal(t, c.want, got)
		})
	}
}

func TestInterfaceAbsentKeys(t *testing.T) {
	got, err := parseFixture(t, "peers-only.conf").Interface()
	require.NoError(t, err)
	require.Equal(t, Interface{}, got)

	got, err = parseText(t, "[Interface]\nMTU = 1400\nMTU =\nTable=off\nTable = # auto\nDNS =\nAddress = ,\nPostUp =\n").Interface()
	require.NoError(t, err)
	require.Equal(t, Interface{}, got)
}

func TestInterfaceForTheEngine(t *testing.T) {
	f, err := Parse([]byte("[Interface]\nListenPort = 51820\nFwMark = 0x20\nMTU = 1400\nAddress = 10.8.0.1/24, 10.8.0.1/24\nPrivateKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	require.NoError(t, err)
	i, err := f.Interface()
	require.NoError(t, err)
	require.Equal(t, engine.Interface{
		Name: "wg0", ListenPort: 51820, FwMark: 0x20, MTU: 1400, Addresses: prefixes("10.8.0.1/24"), PrivateKey: i.PrivateKey.Clamped(),
	}, i.Engine("wg0"))
	require.False(t, i.PrivateKey.Equal(i.Engine("wg0").PrivateKey), "it is clamped")
	require.Equal(t, engine.Interface{Name: "wg1", Addresses: []netip.Prefix{}}, Interface{}.Engine("wg1"), "the device chooses")
}

func TestPeersOfFixtures(t *testing.T) {
	peers, err := parseFixture(t, "ops.conf").Peers()
	require.NoError(t, err)
	require.Len(t, peers, 2)
	require.Equal(t, Peer{
		PublicKey:           mustKey(t, "8QKs+HbgAJ198QA60UVKakUoluRcryjGytPpD/TaUVo="),
		AllowedIPs:          prefixes("10.8.0.9/32"),
		PersistentKeepalive: 25,
		Line:                17,
	}, peers[0])
	require.Equal(t, "192.0.2.7:51820", peers[1].Endpoint)
	require.Equal(t, "u0tjezYuohxFaOtVgfCgBHf1b91wTylmNh8iWiXiuYk=", peers[1].PresharedKey.Reveal().String())
	require.Equal(t, prefixes("10.8.0.10/32", "192.168.77.0/24", "fd00:8::10/128"), peers[1].AllowedIPs)
	require.Equal(t, netip.MustParseAddrPort("192.0.2.7:51820"), peers[1].Engine().Endpoint)

	peers, err = parseFixture(t, "ipv6-only.conf").Peers()
	require.NoError(t, err)
	require.Equal(t, prefixes("2001:db8:8::a/128"), peers[0].AllowedIPs)
	require.Equal(t, prefixes("2001:db8:8::b/128"), peers[1].AllowedIPs)
	require.Equal(t, "[2001:db8::1]:51820", peers[0].Endpoint)

	peers, err = parseFixture(t, "comments-everywhere.conf").Peers()
	require.NoError(t, err)
	require.Len(t, peers, 2)
	require.Equal(t, "Alice", peers[0].Name)
	require.Equal(t, 19, peers[0].Line)
	require.Equal(t, prefixes("10.16.0.2/32"), peers[0].AllowedIPs)
	require.Equal(t, "Carol", peers[1].Name)

	peers, err = parseFixture(t, "site-to-site.conf").Peers()
	require.NoError(t, err)
	require.Equal(t, "porto", peers[0].Name)
	require.Equal(t, prefixes("192.168.254.2/32", "10.20.0.0/16", "10.21.0.0/16"), peers[0].AllowedIPs)

	peers, err = parseFixture(t, "tabs-and-spaces.conf").Peers()
	require.NoError(t, err)
	require.Equal(t, prefixes("10.18.0.2/32", "10.18.0.3/32"), peers[0].AllowedIPs)
	require.Empty(t, peers[1].AllowedIPs)

	peers, err = parseFixture(t, "road-warrior.conf").Peers()
	require.NoError(t, err)
	require.Equal(t, "vpn.example.com:51820", peers[0].Endpoint)
	require.False(t, peers[0].Engine().Endpoint.IsValid(), "a host name is not looked up")
}

// TestRepeatedPeerIsMerged: the later section replaces the allowed IPs, and the other values only
// where it gives them.
func TestRepeatedPeerIsMerged(t *testing.T) {
	peers, err := parseFixture(t, "repeated.conf").Peers()
	require.NoError(t, err)
	require.Len(t, peers, 2)
	require.Equal(t, prefixes("10.20.0.4/32"), peers[0].AllowedIPs)
	require.Equal(t, 25, peers[0].PersistentKeepalive)
	require.False(t, peers[0].PresharedKey.IsZero())
	require.Equal(t, "198.51.100.7:51820", peers[0].Endpoint)
	require.Equal(t, 10, peers[0].Line)
}

func TestErrorsNameThePlace(t *testing.T) {
	f := parseFixture(t, "odd-values.conf")
	_, err := f.Interface()
	require.EqualError(t, err, `odd-values.conf: line 3: MTU: expected a number of bytes from 1 to 65535, got "auto"`)
	_, err = f.Peers()
	require.EqualError(t, err, `odd-values.conf: line 7: AllowedIPs: expected addresses with a prefix length, `+
		`separated by commas, such as 10.8.0.2/32, fd00::2/128, got "10.21.0.2/33"`)
	require.Equal(t, string(fixture(t, "odd-values.conf")), string(f.Bytes()), "it can still be printed")
}

func TestValuesOutOfTheGrammar(t *testing.T) {
	const key = "RvAqoWAQ5E+X/qC87TGQef1fLCG8TMUI+2zAo0EdYGQ="
	for key, values := range map[string][]string{
		"ListenPort":  {"", "-1", "+1", "65536", "0x10", "1_0", "99999999999999999999", "http"},
		"FwMark":      {"", "-1", "0x", "0X10", "0x100000000", "4294967296", "on"},
		"MTU":         {"0", "auto", "65536", "14 00"},
		"Table":       {"a b", "-1", "a;b"},
		"SaveConfig":  {"", "yes", "1"},
		"Address":     {"10.0.0.1/33", "10.0.0", "fe80::1%eth0/64", "10.0.0.1/24 x", "10.0.0.1/24,\u00a010.0.0.2/24"},
		"DNS":         {"1.1.1", "::g", "exa$mple"},
		"PrivateKey":  {"", "abc", key[:43], key + "=", "RvAqoWAQ5E+X/qC87TGQef1fLCG8TMUI+2zAo0EdYGR="},
		"AllowedIPs ": {"", ",", "10.0.0.0/8,", "10.0.0.0/8 10.1.0.0/16", "10.0.0.0/33", "::/129", "+10.0.0.0/8", "10.0.0.1/255.0.0.0", "(none)", "\u00a010.0.0.0/8"},
		"Endpoint ":   {"", "host", "host:", ":1", "host:0", "host:65536", "[::1]", "[::1:5", "[1.2.3.4]:5", "[host]:5", "ho st/:5", "-h:5", "::1:x"},
		"PersistentKeepalive ": {
			"", "-1", "65536", "25.0", "on",
		},
		"PresharedKey ": {"", "none"},
		"PublicKey ":    {"", "RvAqoWAQ5E+X/qC87TGQef1fLCG8TMUI+2zAo0EdYGR="},
	} {
		for _, v := range values {
			var err error
			if key[len(key)-1] == ' ' {
				_, err = parseText(t, "[Peer]\nPublicKey = RvAqoWAQ5E+X/qC87TGQef1fLCG8TMUI+2zAo0EdYGQ=\n"+key+"= "+v+"\n").Peers()
			} else {
				_, err = parseText(t, "[Interface]\n\n"+key+" = "+v+"\n").Interface()
			}
			require.ErrorContains(t, err, "line 3: "+trimmed(key)+": expected ", "%s = %s", key, v)
		}
	}
}

func TestValuesInTheGrammar(t *testing.T) {
	const head = "[Peer]\nPublicKey = RvAqoWAQ5E+X/qC87TGQef1fLCG8TMUI+2zAo0EdYGQ=\n"
	for value, want := range map[string]string{
		"192.0.2.1:1": "192.0.2.1:1", "host.example:65535": "host.example:65535", "[2001:db8::1]:51820": "[2001:db8::1]:51820",
		"2001:db8::1:51820": "[2001:db8::1]:51820", "[fe80::1%eth0]:5": "[fe80::1%eth0]:5",
	} {
		peers, err := parseText(t, head+"Endpoint = "+value+"\n").Peers()
		require.NoError(t, err)
		require.Equal(t, want, peers[0].Endpoint)
	}
	for value, want := range map[string][]netip.Prefix{
		"10.1.2.3/8": prefixes("10.0.0.0/8"), "::ffff:10.0.0.1": prefixes("10.0.0.1/32"), "::/0,0.0.0.0/0": prefixes("::/0", "0.0.0.0/0"),
		"10.0.0.1,10.0.0.1/32": prefixes("10.0.0.1/32"),
	} {
		peers, err := parseText(t, head+"AllowedIPs = "+value+"\n").Peers()
		require.NoError(t, err)
		require.Equal(t, want, peers[0].AllowedIPs)
	}
	for value, want := range map[string]uint32{"0x1F": 31, "OFF": 0, "010": 10, "0xffffffff": 1<<32 - 1} {
		i, err := parseText(t, "[Interface]\nFwMark="+value).Interface()
		require.NoError(t, err)
		require.Equal(t, want, *i.FwMark)
	}
	peers, err := parseText(t, head+"PersistentKeepalive = Off\nPresharedKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").Peers()
	require.NoError(t, err)
	require.Zero(t, peers[0].PersistentKeepalive)
	require.True(t, peers[0].PresharedKey.IsZero())
}

// TestSpaceWithinKeys: wg(8) takes it, wg-quick(8) does not.
func TestSpaceWithinKeys(t *testing.T) {
	i, err := parseText(t, "[Interface]\nListen Port = 5\nPost Up = id\nM TU = 1400\n").Interface()
	require.NoError(t, err)
	require.Equal(t, Interface{ListenPort: new(5)}, i)
}

func TestPeerWithoutPublicKey(t *testing.T) {
	_, err := parseText(t, "[Interface]\n[Peer]\nAllowedIPs = 10.8.0.3/32\n").Peers()
	require.EqualError(t, err, "line 2: PublicKey: expected a public key in this [Peer] section")
}

func TestNewPeerKeepsTheEndpoint(t *testing.T) {
	p := engine.Peer{
		PublicKey: mustKey(t, "RvAqoWAQ5E+X/qC87TGQef1fLCG8TMUI+2zAo0EdYGQ="), AllowedIPs: prefixes("10.0.0.0/8"),
		PersistentKeepalive: 5, Endpoint: netip.MustParseAddrPort("[2001:db8::1]:5"),
	}
	require.Equal(t, p, NewPeer(p).Engine())
}
