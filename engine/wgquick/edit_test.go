package wgquick

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSetInterface(t *testing.T) {
	const secret = "yKC4mI3Kq0N2xxnxzP8gQYrvKYbezRmhmJ+wgrg4R3A="
	for _, c := range []struct {
		name, before string
		key          string
		values       []string
		after        string
	}{
		{"same", "[Interface]\nlistenport=051820 # x\n", "ListenPort", []string{"51820"}, "[Interface]\nlistenport=051820 # x\n"},
		{"same mark", "[Interface]\nFwMark = 0x10\n", "fwmark", []string{"16"}, "[Interface]\nFwMark = 0x10\n"},
		{"same list", "[Interface]\nAddress=10.0.0.1,fd00::1/64\n", "Address", []string{"10.0.0.1/32", "FD00::1/64"}, "[Interface]\nAddress=10.0.0.1,fd00::1/64\n"},
		{"same over lines", "[Interface]\nAddress=10.0.0.1/24\nMTU=1400\nAddress = fd00::1/64\n", "Address", []string{"10.0.0.1/24, fd00::1/64"}, "[Interface]\nAddress=10.0.0.1/24\nMTU=1400\nAddress = fd00::1/64\n"},
		{"nothing to remove", "[Interface]\nMTU =\n", "MTU", nil, "[Interface]\nMTU =\n"},
		{"spelling and comment stay", "[Interface]\n\tmtu\t=\t1400\t# low\r\n", "MTU", []string{"1380"}, "[Interface]\n\tmtu\t=\t1380\t# low\r\n"},
		{"comment without space", "[Interface]\nMTU=1400#low", "MTU", []string{"1380"}, "[Interface]\nMTU=1380#low"},
		{"into an empty value", "[Interface]\nMTU =  # none\n", "MTU", []string{"1380"}, "[Interface]\nMTU = 1380 # none\n"},
		{"an unreadable one", "[Interface]\nMTU = auto\n", "MTU", []string{"1380"}, "[Interface]\nMTU = 1380\n"},
		{"the last counts", "[Interface]\nMTU = 1\n# c\nMTU = 2\n", "MTU", []string{"3"}, "[Interface]\n# c\nMTU = 3\n"},
		{"remove", "[Interface]\nMTU = 1\nTable = off\nMTU = 2\n", "MTU", []string{""}, "[Interface]\nTable = off\n"},
		{"collapse a list", "[Interface]\nDNS = 1.1.1.1, a.example\nDNS = 8.8.8.8\n", "DNS", []string{"9.9.9.9", "b.example"}, "[Interface]\nDNS = 9.9.9.9, b.example\n"},
		{"a list one a line", "[Interface]\nAddress = 10.0.0.1/24 # four\nAddress = fd00::1/64 # six\nMTU = 1400\n", "Address", []string{"10.0.0.1/24", "fd00::2/64", "fd00::3/64"}, "[Interface]\nAddress = 10.0.0.1/24 # four\nAddress = fd00::2/64 # six\nAddress = fd00::3/64\nMTU = 1400\n"},
		{"hooks", "[Interface]\nPostUp = a\nPostDown = z\npostup=b\n\n[Peer]\n", "PostUp", []string{"a", "c # x", "d"}, "[Interface]\nPostUp = a\nPostDown = z\npostup=c # x\nPostUp = d\n\n[Peer]\n"},
		{"fewer hooks", "[Interface]\nPostUp = a\nPostUp = b\nPostUp = c\n", "PostUp", []string{"a"}, "[Interface]\nPostUp = a\n"},
		{"no hooks", "[Interface]\nPostUp = a\nPostUp = b", "PostUp", nil, "[Interface]\n"},
		{"a new key in its place", "[Interface]\n# top\nAddress = 10.0.0.1/24\nPostUp = a\n\n[Peer]\n", "MTU", []string{"1400"}, "[Interface]\n# top\nAddress = 10.0.0.1/24\nMTU = 1400\nPostUp = a\n\n[Peer]\n"},
		{"a new key first", "[Interface]\r\n# top\r\nMTU = 1400", "PrivateKey", []string{secret}, "[Interface]\r\nPrivateKey = " + secret + "\r\n# top\r\nMTU = 1400"},
		{"behind the last line", "[Interface]\nMTU = 1400", "Table", []string{"off"}, "[Interface]\nMTU = 1400\nTable = off\n"},
		{"the last interface section", "[Interface]\nMTU = 1\n[Peer]\n[Interface]\n", "ListenPort", []string{"0"}, "[Interface]\nMTU = 1\n[Peer]\n[Interface]\nListenPort = 0\n"},
		{"new section in an empty file", "", "MTU", []string{"1400"}, "[Interface]\nMTU = 1400\n"},
		{"new section before peers", "# Bob\n[Peer]\n", "MTU", []string{"1400"}, "[Interface]\nMTU = 1400\n\n# Bob\n[Peer]\n"},
		{"new section behind the preface", "# ops\n\n[Peer]\n", "MTU", []string{"1400"}, "# ops\n\n[Interface]\nMTU = 1400\n\n[Peer]\n"},
		{"new section behind a comment", "\ufeff# ops", "MTU", []string{"1400"}, "\ufeff# ops\n\n[Interface]\nMTU = 1400\n"},
		{"nothing makes no section", "# ops", "MTU", nil, "# ops"},
		{"unclamped is the same", "[Interface]\nPrivateKey = qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=\n", "PrivateKey", []string{"qKqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqmo="}, "[Interface]\nPrivateKey = qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parseText(t, c.before)
			require.NoError(t, f.SetInterface(c.key, c.values...))
			require.Equal(t, c.after, string(f.Bytes()))
			require.NoError(t, f.SetInterface(c.key, c.values...))
			require.Equal(t, c.after, string(f.Bytes()), "twice is once")
		})
	}
}

func TestSetInterfaceRefuses(t *testing.T) {
	const text = "[Interface]\nPostUp = a\n"
	for _, c := range []struct{ key, value, err string }{
		{"Foo", "x", "Foo: expected a key of the [Interface] section"},
		{"PublicKey", "x", "PublicKey: expected a key of the [Interface] section"},
		{"MTU\nPostUp", "1", "expected a key of the [Interface] section"},
		{"Address", "10.0.0.1/24\nPostUp = id", "Address: expected text of one line without control characters"},
		{"PostUp", "true\nPostDown = id", "PostUp: expected text of one line without control characters"},
		{"PostUp", "true\rPostDown = id", "PostUp: expected text of one line without control characters"},
		{"PostUp", "true\x00", "PostUp: expected text of one line without control characters"},
		{"Table", "off # x", "Table: expected a value without #, which begins a comment"},
		{"ListenPort", "70000", `ListenPort: expected a port number from 0 to 65535, got "70000"`},
		{"PrivateKey", "(hidden)", "PrivateKey: expected a key of 32 bytes in base64, 44 characters"},
	} {
		f := parseText(t, text)
		require.EqualError(t, f.SetInterface(c.key, c.value), c.err)
		require.Equal(t, text, string(f.Bytes()))
	}
	require.EqualError(t, New().SetInterface("MTU", "1400", "1500"), `MTU: expected one value, got "2"`)
}

// TestNewFileIsCanonical: whatever the order of the calls.
func TestNewFileIsCanonical(t *testing.T) {
	f := New()
	const key = "yKC4mI3Kq0N2xxnxzP8gQYrvKYbezRmhmJ+wgrg4R3A="
	require.NoError(t, f.PutPeer(Peer{
		PublicKey: mustKey(t, "RvAqoWAQ5E+X/qC87TGQef1fLCG8TMUI+2zAo0EdYGQ="), AllowedIPs: prefixes("0.0.0.0/0", "::/0"),
		PersistentKeepalive: 21, Endpoint: "vpn.example.com:51820",
	}))
	for _, kv := range [][]string{
		{"PostDown", "b"}, {"DNS", "1.1.1.1"}, {"MTU", "1420"}, {"PrivateKey", key}, {"PostUp", "a", "a2"}, {"Address", "10.8.0.2/32", "fd00::2/128"},
	} {
		require.NoError(t, f.SetInterface(kv[0], kv[1:]...))
	}
	require.Equal(t, strings.Join([]string{
		"[Interface]", "Address = 10.8.0.2/32, fd00::2/128", "PrivateKey = " + key, "DNS = 1.1.1.1", "MTU = 1420",
		"PostUp = a", "PostUp = a2", "PostDown = b", "",
		"[Peer]", "PublicKey = RvAqoWAQ5E+X/qC87TGQef1fLCG8TMUI+2zAo0EdYGQ=", "AllowedIPs = 0.0.0.0/0, ::/0",
		"Endpoint = vpn.example.com:51820", "PersistentKeepalive = 21", "",
	}, "\n"), string(f.Bytes()))
}
