package wgquick

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	strictHead = "[Interface]\nPrivateKey = cMyGSLTPIwCIXhH3b84HJYOxmR11/QMQmzQdBm+9lkM=\nListenPort = 51820\n\n"
	strictPeer = "[Peer]\nPublicKey = sPMvT3jCgYrdQhB6oRusZUw2beXPqnOo4XtU9Hbt4fg=\n"
)

// The cases are inputs of "wg syncconf" and what wireguard-tools 1.0.20210914 made of them.
func TestParseStrict(t *testing.T) {
	const (
		inInterface = "PrivateKey, ListenPort or FwMark = value in [Interface]"
		inPeer      = "PublicKey, PresharedKey, AllowedIPs, Endpoint or PersistentKeepalive = value in [Peer]"
	)
	for _, c := range []struct {
		name, text, err string
	}{
		{"with interface", strictHead + strictPeer + "AllowedIPs = 10.8.0.4/32, fd00:8::4/128\nPresharedKey = VvNEfQPfqLRsd8XxG5dcoWAKvdRdn8xH6xE7r+WKoTk=\nPersistentKeepalive = 20\n", ""},
		{"peers only", "\n" + strictPeer, ""},
		{"empty", "", ""},
		{"white space only", "\n\n", ""},
		{"interface only", strictHead, ""},
		{"fwmark", strictHead + "FwMark = 0x10\n", ""},
		{"invalid key", strictHead + "[Peer]\nPublicKey = abc\n", "line 6: PublicKey: expected " + wantKey},
		{"invalid allowed IPs", strictHead + strictPeer + "AllowedIPs = 10.8.0.3/99\n", "line 7: AllowedIPs: expected " + wantAllowedIP + `, got "10.8.0.3/99"`},
		{"wg-quick's keys", "[Interface]\nAddress = 10.8.0.1/24\nDNS = 1.1.1.1\n", "line 2: Address: expected " + inInterface},
		{"unknown key", strictHead + strictPeer + "Foo = bar\n", "line 7: Foo: expected " + inPeer},
		{"key of the other section", strictHead + strictPeer + "ListenPort = 1\n", "line 7: ListenPort: expected " + inPeer},
		{"comments", "# hi\n" + strictHead + strictPeer + "AllowedIPs = 10.8.0.3/32 # inline\n", ""},
		{"peer without key", strictHead + "[Peer]\nAllowedIPs = 10.8.0.3/32\n", "line 5: PublicKey: expected a public key in this [Peer] section"},
		{"peer without allowed IPs", strictHead + strictPeer, ""},
		{"empty AllowedIPs", strictHead + strictPeer + "AllowedIPs = \n", "line 7: AllowedIPs: expected " + wantAllowedIP},
		{"lower case", "[interface]\nlistenport=1\n[peer]\npublickey = sPMvT3jCgYrdQhB6oRusZUw2beXPqnOo4XtU9Hbt4fg=\n", ""},
		{"CRLF", "[Interface]\r\nListenPort = 51820\r\n\r\n[Peer]\r\nPublicKey = sPMvT3jCgYrdQhB6oRusZUw2beXPqnOo4XtU9Hbt4fg=\r\n", ""},
		{"spaces in names", "[ Inter face ]\nListen Port = 5 1\n", ""},
		{"endpoint name", strictHead + strictPeer + "Endpoint = localhost:9\n", ""},
		{"keepalive off", strictHead + strictPeer + "PersistentKeepalive = off\n", ""},
		{"keepalive 65536", strictHead + strictPeer + "PersistentKeepalive = 65536\n", "line 7: PersistentKeepalive: expected " + wantKeepalive + `, got "65536"`},
		{"garbage", "hello world", "line 1: expected [Interface] or [Peer] before anything else"},
		{"key before a section", "ListenPort = 5", "line 1: ListenPort: expected [Interface] or [Peer] before anything else"},
		{"unknown section", strictHead + "[Router]\n", "line 5: expected [Interface] or [Peer]"},
		{"open section", "[Peer\n", "line 1: expected [Interface] or [Peer]"},
		{"not UTF-8", "[Interface]\n# \xff\xfe\n", ""},
		{"byte-order mark", "\ufeff[Interface]\n", "line 1: expected no byte-order mark"},
		{"NUL", "[Interface]\n\x00\n", "line 2: expected text without NUL bytes"},
		{"first of several", "[Interface]\n[Peer]\nPublicKey = x\n[Interface]\nListenPort = x\nFoo = 1\n", "line 3: PublicKey: expected " + wantKey},
		{"interface first", "[Interface]\nListenPort = x\n[Peer]\nPublicKey = x\n", "line 2: ListenPort: expected " + wantPort + `, got "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := ParseStrict([]byte(c.text))
			if c.err != "" {
				require.EqualError(t, err, c.err)
				require.Nil(t, f)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.text, string(f.Bytes()))
		})
	}
}

func TestParseStrictTakesWhatWgShowconfPrints(t *testing.T) {
	f, err := ParseStrict(fixture(t, "showconf.conf"))
	require.NoError(t, err)
	peers, err := f.Peers()
	require.NoError(t, err)
	require.Len(t, peers, 6)
}

// TestDuplicatesAsRecorded: of two sections of one peer the later allowed IPs hold; a prefix of two
// peers is left to the caller.
func TestDuplicatesAsRecorded(t *testing.T) {
	f, err := ParseStrict([]byte(strictHead + strictPeer + "AllowedIPs = 10.8.0.3/32\n\n" + strictPeer + "AllowedIPs = 10.8.0.4/32\n"))
	require.NoError(t, err)
	peers, err := f.Peers()
	require.NoError(t, err)
	require.Len(t, peers, 1)
	require.Equal(t, prefixes("10.8.0.4/32"), peers[0].AllowedIPs)

	f, err = ParseStrict([]byte(strictPeer + "AllowedIPs = 10.8.0.3/32\n[Peer]\nPublicKey = Abjl5yVTtNssPVucyvFhVBF2m5r8AVBnAN60c7cZuEQ=\nAllowedIPs = 10.8.0.3/32\n"))
	require.NoError(t, err)
	peers, err = f.Peers()
	require.NoError(t, err)
	require.Len(t, peers, 2)
	require.Equal(t, peers[0].AllowedIPs, peers[1].AllowedIPs)
}

func TestRecognized(t *testing.T) {
	for name, c := range map[string]struct{ text, err string }{
		"all of wg-quick's keys":       {"# x\n[Interface]\nAddress = 10.8.0.1/24\nDNS = 1.1.1.1\nMTU = 1400\nTable = off\nSaveConfig = true\nPreUp = a\nPostUp = b\nPreDown = c\nPostDown = d\n" + strictPeer, ""},
		"a misspelled key":             {"[Interface]\nAddr = 10.8.0.1/24\n", "line 2: Addr: expected a key of wg-quick(8) for [Interface], such as Address, MTU or PostUp"},
		"a misspelled key of a peer":   {strictHead + strictPeer + "AllowedIP = 10.8.0.2/32\n", "line 7: AllowedIP: expected PublicKey, PresharedKey, AllowedIPs, Endpoint or PersistentKeepalive = value in [Peer]"},
		"a key of the other section":   {strictHead + strictPeer + "MTU = 1400\n", "line 7: MTU: expected PublicKey, PresharedKey, AllowedIPs, Endpoint or PersistentKeepalive = value in [Peer]"},
		"a section that nobody knows":  {"[Interface]\n[Site]\n", "line 2: expected [Interface] or [Peer]"},
		"a line without a sign":        {"[Interface]\nMTU 1400\n", "line 2: expected a key of wg-quick(8) for [Interface], such as Address, MTU or PostUp"},
		"something before any section": {"MTU = 1400\n[Interface]\n", "line 1: MTU: expected [Interface] or [Peer] before anything else"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Parse([]byte(c.text))
			require.NoError(t, err)
			if c.err == "" {
				require.NoError(t, f.Recognized())
				return
			}
			require.EqualError(t, f.Recognized(), c.err)
		})
	}
}
