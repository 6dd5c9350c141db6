package wgquick

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/engine"
)

const (
	keyA = "RvAqoWAQ5E+X/qC87TGQef1fLCG8TMUI+2zAo0EdYGQ="
	keyB = "sPMvT3jCgYrdQhB6oRusZUw2beXPqnOo4XtU9Hbt4fg="
	keyC = "Abjl5yVTtNssPVucyvFhVBF2m5r8AVBnAN60c7cZuEQ="
	psk1 = "CpIpXnHsODU4Vw9rjYl1H0PWpQtNhh1Od8elZghOels="
	psk2 = "VvNEfQPfqLRsd8XxG5dcoWAKvdRdn8xH6xE7r+WKoTk="
)

func secretKey(t testing.TB, s string) engine.SecretKey {
	t.Helper()
	return engine.NewSecretKey(mustKey(t, s))
}

func TestPutPeer(t *testing.T) {
	a := func(change func(*Peer)) Peer {
		p := Peer{PublicKey: mustKey(t, keyA), AllowedIPs: prefixes("10.0.0.1/32")}
		if change != nil {
			change(&p)
		}
		return p
	}
	const head = "[Peer]\nPublicKey = " + keyA + "\n"
	for _, c := range []struct {
		name, before string
		put          Peer
		after        string
	}{
		{"same", head + "allowedips=10.0.0.1\nPersistentKeepalive = off\n", a(nil), head + "allowedips=10.0.0.1\nPersistentKeepalive = off\n"},
		{"same set in another order", head + "AllowedIPs = 10.0.0.1/32, 10.1.0.0/16\n", a(func(p *Peer) { p.AllowedIPs = prefixes("10.1.2.3/16", "10.0.0.1/32") }), head + "AllowedIPs = 10.0.0.1/32, 10.1.0.0/16\n"},
		{"the endpoint is left alone", head + "AllowedIPs = 10.0.0.1/32\nEndpoint = nonsense\n", a(nil), head + "AllowedIPs = 10.0.0.1/32\nEndpoint = nonsense\n"},
		{"a given endpoint", head + "AllowedIPs = 10.0.0.1/32\nEndpoint = a.example:1 # home\n", a(func(p *Peer) { p.Endpoint = "192.0.2.1:5" }), head + "AllowedIPs = 10.0.0.1/32\nEndpoint = 192.0.2.1:5 # home\n"},
		{"keepalive in its place", "[Peer]\nPersistentKeepalive=5\t# s\nPublicKey = " + keyA + "\nAllowedIPs = 10.0.0.1/32\n", a(func(p *Peer) { p.PersistentKeepalive = 25 }), "[Peer]\nPersistentKeepalive=25\t# s\nPublicKey = " + keyA + "\nAllowedIPs = 10.0.0.1/32\n"},
		{"keepalive off", head + "AllowedIPs = 10.0.0.1/32\nPersistentKeepalive = 5\n", a(nil), head + "AllowedIPs = 10.0.0.1/32\n"},
		{"a new preshared key", head + "AllowedIPs = 10.0.0.1/32", a(func(p *Peer) { p.PresharedKey = secretKey(t, psk1) }), head + "PresharedKey = " + psk1 + "\nAllowedIPs = 10.0.0.1/32"},
		{"another preshared key", head + "presharedkey=" + psk1 + "\nAllowedIPs = 10.0.0.1/32", a(func(p *Peer) { p.PresharedKey = secretKey(t, psk2) }), head + "presharedkey=" + psk2 + "\nAllowedIPs = 10.0.0.1/32"},
		{"no preshared key", head + "PresharedKey = " + psk1 + "\nAllowedIPs = 10.0.0.1/32", a(nil), head + "AllowedIPs = 10.0.0.1/32"},
		{"an entry goes", head + "AllowedIPs = 10.0.0.1, 10.2.0.0/16 # lan\nAllowedIPs = 10.3.0.0/16 # lab\n", a(nil), head + "AllowedIPs = 10.0.0.1 # lan\n"},
		{"an entry comes", head + "AllowedIPs = 10.0.0.1/32 # self\nAllowedIPs = 10.3.0.0/16 # lab\n", a(func(p *Peer) { p.AllowedIPs = prefixes("10.0.0.1/32", "fd00::/64", "10.3.0.0/16") }), head + "AllowedIPs = 10.0.0.1/32 # self\nAllowedIPs = 10.3.0.0/16, fd00::/64 # lab\n"},
		{"all entries change", head + "AllowedIPs = 10.9.0.1/32 # self\nAllowedIPs = 10.3.0.0/16\n", a(nil), head + "AllowedIPs = 10.0.0.1/32 # self\n"},
		{"a line that stays whole is not touched", head + "AllowedIPs =10.0.0.1,10.2.0.0/16 # lan\nAllowedIPs = 10.3.0.0/16\n", a(func(p *Peer) { p.AllowedIPs = prefixes("10.0.0.1/32", "10.2.0.0/16") }), head + "AllowedIPs =10.0.0.1,10.2.0.0/16 # lan\n"},
		{"a comment does not pass to the next section", head + "# Name = Alice\nAllowedIPs = 10.0.0.1/32\n[Peer]\nPublicKey = " + keyB + "\n", a(func(p *Peer) { p.AllowedIPs = nil }), head + "# Name = Alice\n\n[Peer]\nPublicKey = " + keyB + "\n"},
		{"no entries", head + "AllowedIPs = 10.9.0.1/32\n", a(func(p *Peer) { p.AllowedIPs = nil }), head},
		{"first entries", head + "Endpoint = a:1\n", a(nil), head + "AllowedIPs = 10.0.0.1/32\nEndpoint = a:1\n"},
		{"unreadable values are replaced", head + "AllowedIPs = x\nPersistentKeepalive = y\nPresharedKey = z\n", a(nil), head + "AllowedIPs = 10.0.0.1/32\n"},
		{"two sections", head + "AllowedIPs = 10.0.0.2/32\nPresharedKey = " + psk1 + "\nPersistentKeepalive = 5\n" + head + "AllowedIPs = 10.0.0.3/32\n", a(func(p *Peer) { p.PersistentKeepalive = 6 }), head + "AllowedIPs = 10.0.0.2/32\n" + head + "AllowedIPs = 10.0.0.1/32\nPersistentKeepalive = 6\n"},
		{"two sections that say it", head + "AllowedIPs = 10.0.0.2/32\nPersistentKeepalive = 5\n" + head + "AllowedIPs = 10.0.0.1/32\n", a(func(p *Peer) { p.PersistentKeepalive = 5 }), head + "AllowedIPs = 10.0.0.2/32\nPersistentKeepalive = 5\n" + head + "AllowedIPs = 10.0.0.1/32\n"},
		{"new in an empty file", "", a(nil), head + "AllowedIPs = 10.0.0.1/32\n"},
		{"new with everything", "[Interface]\r\nMTU = 1400", a(func(p *Peer) {
			p.PresharedKey, p.PersistentKeepalive, p.Endpoint = secretKey(t, psk1), 5, "2001:db8::1:7"
		}), "[Interface]\r\nMTU = 1400\r\n\r\n[Peer]\r\nPublicKey = " + keyA + "\r\nPresharedKey = " + psk1 + "\r\nAllowedIPs = 10.0.0.1/32\r\nEndpoint = [2001:db8::1]:7\r\nPersistentKeepalive = 5\r\n"},
		{"new behind blank lines", "[Interface]\n\n\n", a(nil), "[Interface]\n\n\n" + head + "AllowedIPs = 10.0.0.1/32\n"},
		{"new behind a comment", "[Interface]\n\n# end", a(nil), "[Interface]\n\n# end\n\n" + head + "AllowedIPs = 10.0.0.1/32\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parseText(t, c.before)
			require.NoError(t, f.PutPeer(c.put))
			require.Equal(t, c.after, string(f.Bytes()))
			require.NoError(t, f.PutPeer(c.put))
			require.Equal(t, c.after, string(f.Bytes()), "twice is once")
		})
	}
}

func TestPutPeerRefuses(t *testing.T) {
	good := Peer{PublicKey: mustKey(t, keyA)}
	for want, change := range map[string]func(*Peer){
		"PublicKey: expected a key of 32 bytes in base64, 44 characters that is not all zero": func(p *Peer) { p.PublicKey = wgtypes.Key{} },
		"PersistentKeepalive: expected " + wantKeepalive:                                      func(p *Peer) { p.PersistentKeepalive = 65536 },
		"AllowedIPs: expected " + wantAllowedIP:                                               func(p *Peer) { p.AllowedIPs = []netip.Prefix{{}} },
		"Endpoint: expected " + wantEndpoint + `, got "a\n[Peer]:5"`:                          func(p *Peer) { p.Endpoint = "a\n[Peer]:5" },
		"Endpoint: expected " + wantEndpoint + `, got "a#b:5"`:                                func(p *Peer) { p.Endpoint = "a#b:5" },
	} {
		p := good
		change(&p)
		f := New()
		require.EqualError(t, f.PutPeer(p), want)
		require.Empty(t, f.Bytes())
	}
}

func TestRemovePeer(t *testing.T) {
	section := func(key string) string { return "[Peer]\nPublicKey = " + key + "\n" }
	for _, c := range []struct{ name, before, after string }{
		{"the only one", section(keyA), ""},
		{"the last", "[Interface]\n\n" + section(keyA), "[Interface]\n"},
		{"the last without newline", "[Interface]\n\n[Peer]\nPublicKey = " + keyA, "[Interface]\n"},
		{"in the middle", section(keyB) + "\n" + section(keyA) + "\n" + section(keyC), section(keyB) + "\n" + section(keyC)},
		{"the first", section(keyA) + "\n\n" + section(keyC), section(keyC)},
		{"without blank lines", section(keyB) + section(keyA) + section(keyC), section(keyB) + section(keyC)},
		{"a blank line only before", section(keyB) + "\n" + section(keyA) + section(keyC), section(keyB) + "\n" + section(keyC)},
		{"a blank line only behind", section(keyB) + section(keyA) + "\n" + section(keyC), section(keyB) + "\n" + section(keyC)},
		{"its comments go", section(keyB) + "\n# Alice\n#laptop\n" + section(keyA) + "# trailing\n\n# Carol\n" + section(keyC), section(keyB) + "\n# Carol\n" + section(keyC)},
		{"its neighbours' comments stay", section(keyB) + "# of B\n\n# -- office --\n\n" + section(keyA) + "\n# -- home --\n\n" + section(keyC), section(keyB) + "# of B\n\n# -- office --\n\n# -- home --\n\n" + section(keyC)},
		{"a comment between two is the next one's", section(keyA) + "# C\n" + section(keyC), "# C\n" + section(keyC)},
		{"blank lines and unknown keys inside", "[Peer]\n\nFoo = 1\n\n# c\n\nPublicKey = " + keyA + "\n\nBar\n\n" + section(keyC), section(keyC)},
		{"both of two sections", section(keyA) + "\n" + section(keyC) + "\n" + section(keyA), section(keyC)},
		{"the byte-order mark stays", "\ufeff" + section(keyA) + "\n" + section(keyC), "\ufeff" + section(keyC)},
		{"lower case", "[peer]\npublickey=" + keyA + "\n", ""},
		{"another section is not touched", "[Interface]\nPublicKey = " + keyA + "\n", "[Interface]\nPublicKey = " + keyA + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parseText(t, c.before)
			require.Equal(t, c.before != c.after, f.RemovePeer(mustKey(t, keyA)))
			require.Equal(t, c.after, string(f.Bytes()))
			require.False(t, f.RemovePeer(mustKey(t, keyA)))
		})
	}
}

// TestPutThenRemoveIsNothing for every fixture that ends in a line.
func TestPutThenRemoveIsNothing(t *testing.T) {
	for _, name := range allFixtures(t) {
		f := parseFixture(t, name)
		before := string(f.Bytes())
		require.NoError(t, f.PutPeer(Peer{PublicKey: mustKey(t, keyC), AllowedIPs: prefixes("10.99.0.1/32")}))
		require.True(t, f.RemovePeer(mustKey(t, keyC)))
		if strings.HasSuffix(before, "\n\n") { // a blank line that was there serves as the one between
			before = strings.TrimSuffix(before, "\n")
		} else if before != "" && !strings.HasSuffix(before, "\n") {
			before += "\n"
		}
		require.Equal(t, before, string(f.Bytes()), name)
	}
}
