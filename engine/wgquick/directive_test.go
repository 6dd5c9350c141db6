package wgquick

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDirectives(t *testing.T) {
	links := func(names ...string) []string { return names }
	for _, c := range []struct {
		name, text          string
		forward, masquerade []string
	}{
		{"none", "[Interface]\nMTU = 1400\n", nil, nil},
		{"any link", "[Interface]\n# wgfleet: forward\n#wgfleet:masquerade any", links(AnyLink), links(AnyLink)},
		{"named links", "[Interface]\n\t# WgFleet :  Forward\teth0,eth1 br-lan, eth0\r\n", links("eth0", "eth1", "br-lan"), nil},
		{"lines add up", "[Interface]\n# wgfleet: forward eth0\n# wgfleet: forward eth1.100\n", links("eth0", "eth1.100"), nil},
		{"any takes in the others", "[Interface]\n# wgfleet: forward eth0\n# wgfleet: forward\n# wgfleet: forward eth1\n", links(AnyLink), nil},
		{"comment behind it", "[Interface]\n# wgfleet: masquerade eth0 # uplink\n# wgfleet: forward# all\n", links(AnyLink), links("eth0")},
		{"switched off", "[Interface]\n## wgfleet: forward\n# # wgfleet: masquerade\n# of wgfleet: forward\n# wgfleet makes this file\n", nil, nil},
		{"behind blank lines and above a peer", "[Interface]\nMTU = 1400\n\n# NAT\n\n# wgfleet: masquerade eth0\n[Peer]\nPublicKey = " + keyA + "\n", nil, links("eth0")},
		{"second section", "[Interface]\n[Peer]\nPublicKey = " + keyA + "\n[Interface]\n# wgfleet: forward\n", links(AnyLink), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, err := parseText(t, c.text).Interface()
			require.NoError(t, err)
			require.Equal(t, c.forward, i.Forward)
			require.Equal(t, c.masquerade, i.Masquerade)
		})
	}
	i, err := parseFixture(t, "router.conf").Interface()
	require.NoError(t, err)
	require.Equal(t, links("eth0", "eth1", "wg0"), i.Forward)
	require.Equal(t, links("eth0"), i.Masquerade)
}

func TestDirectivesThatAreRefused(t *testing.T) {
	const misplaced = "expected this directive in the [Interface] section"
	for text, want := range map[string]string{
		"[Interface]\n# wgfleet: masqerade eth0\n":                              `line 2: # wgfleet: expected forward, masquerade, resolver, publish, allow, deny or limit, got "masqerade"`,
		"[Interface]\n#wgfleet:\n":                                              "line 2: # wgfleet: expected forward, masquerade, resolver, publish, allow, deny or limit",
		"[Interface]\n# wgfleet: forward=eth0\n":                                `line 2: # wgfleet: expected forward, masquerade, resolver, publish, allow, deny or limit, got "forward=eth0"`,
		"[Interface]\n# wgfleet: forward eth0;eth1\n":                           `line 2: # wgfleet: forward: expected ` + wantLinks + `, got "eth0;eth1"`,
		"[Interface]\n# wgfleet: forward ,\n":                                   `line 2: # wgfleet: forward: expected ` + wantLinks + `, got ","`,
		"[Interface]\n# wgfleet: masquerade enp0s31f6.1000000\n":                `line 2: # wgfleet: masquerade: expected ` + wantLinks + `, got "enp0s31f6.1000000"`,
		"[Interface]\n# wgfleet: masquerade all\n":                              `line 2: # wgfleet: masquerade: expected ` + wantLinks + `, got "all"`,
		"[Interface]\n[Peer]\nPublicKey = " + keyA + "\n\n# wgfleet: forward\n": "line 5: # wgfleet: forward: " + misplaced,
		"# wgfleet: forward\n[Interface]\n":                                     "line 1: # wgfleet: forward: " + misplaced,
		"# wgfleet: masquerade\n":                                               "line 1: # wgfleet: masquerade: " + misplaced,
		"[Interface]\n[Router]\n# wgfleet: masquerade\n":                        "line 3: # wgfleet: masquerade: " + misplaced,
		"[Interface]\n# wgfleet: forward " + psk1 + "\n":                        "line 2: # wgfleet: forward: expected " + wantLinks,
		"[Interface]\n# wgfleet: " + psk1 + "\n":                                "line 2: # wgfleet: expected forward, masquerade, resolver, publish, allow, deny or limit",
		"[Interface]\n# wgfleet: masquerade \u00a0\n":                           "line 2: # wgfleet: masquerade: expected " + wantLinks + ", got \"\\u00a0\"",
	} {
		f := parseText(t, text)
		f.Name = "wg0.conf"
		_, err := f.Interface()
		require.EqualError(t, err, "wg0.conf: "+want)
		require.Equal(t, text, string(f.Bytes()))
	}
}

func TestSetDirective(t *testing.T) {
	for _, c := range []struct{ name, before, directive, value, after string }{
		{"same", "[Interface]\n#wgfleet:FORWARD eth0,eth1\n", "forward", "eth0 eth1", "[Interface]\n#wgfleet:FORWARD eth0,eth1\n"},
		{"same without a name", "[Interface]\n# wgfleet: forward\n", "Forward", "any", "[Interface]\n# wgfleet: forward\n"},
		{"same over lines", "[Interface]\n# wgfleet: forward eth0\n# wgfleet: forward eth1\n", "forward", "eth0, eth1", "[Interface]\n# wgfleet: forward eth0\n# wgfleet: forward eth1\n"},
		{"nothing to remove", "[Interface]\n## wgfleet: forward\n", "forward", " ", "[Interface]\n## wgfleet: forward\n"},
		{"remove", "[Interface]\n# a\n# wgfleet: forward\nMTU = 1400\n# wgfleet: forward eth0 # b\n", "forward", "", "[Interface]\n# a\nMTU = 1400\n"},
		{"spelling and comment stay", "[Interface]\r\n\t#wgfleet : Masquerade  eth0  # up\r\n", "masquerade", "eth1", "[Interface]\r\n\t#wgfleet : Masquerade  eth1  # up\r\n"},
		{"a name where none was", "[Interface]\n# wgfleet: forward # all\n", "forward", "eth0,eth1", "[Interface]\n# wgfleet: forward eth0, eth1 # all\n"},
		{"an unreadable one", "[Interface]\n# wgfleet: forward /\n", "forward", "eth0", "[Interface]\n# wgfleet: forward eth0\n"},
		{"one a line", "[Interface]\n# wgfleet: forward eth0 # a\n# wgfleet: forward eth1 # b\n", "forward", "eth0, eth2, eth3", "[Interface]\n# wgfleet: forward eth0 # a\n# wgfleet: forward eth2 # b\n# wgfleet: forward eth3\n"},
		{"new", "[Interface]\nAddress = 10.0.0.1/24\nPostUp = a\n\n# Bob\n[Peer]\n", "masquerade", "any", "[Interface]\nAddress = 10.0.0.1/24\n# wgfleet: masquerade any\nPostUp = a\n\n# Bob\n[Peer]\n"},
		{"new above another", "[Interface]\n# wgfleet: masquerade\n", "forward", "eth0", "[Interface]\n# wgfleet: forward eth0\n# wgfleet: masquerade\n"},
		{"new section", "# Bob\n[Peer]\n", "forward", "eth0", "[Interface]\n# wgfleet: forward eth0\n\n# Bob\n[Peer]\n"},
		{"last line without end", "[Interface]", "forward", "eth0", "[Interface]\n# wgfleet: forward eth0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := parseText(t, c.before)
			for range 2 { // twice is once
				require.NoError(t, f.SetDirective(c.directive, c.value))
				require.Equal(t, c.after, string(f.Bytes()))
			}
		})
	}
	const text = "[Interface]\n# wgfleet: forward\n"
	for _, c := range []struct{ name, value, err string }{
		{"forwad", "eth0", `# wgfleet: expected forward or masquerade, got "forwad"`},
		{"forward", "eth0\nPostUp = id", "# wgfleet: forward: expected text of one line without control characters"},
		{"forward", "eth0 # x", "# wgfleet: forward: expected a value without #, which begins a comment"},
		{"forward", "$(id)", `# wgfleet: forward: expected ` + wantLinks + `, got "$(id)"`},
	} {
		f := parseText(t, text)
		require.EqualError(t, f.SetDirective(c.name, c.value), c.err)
		require.Equal(t, text, string(f.Bytes()))
	}
}

func TestParseLinks(t *testing.T) {
	for value, want := range map[string][]string{
		"": {AnyLink}, " any\n": {AnyLink}, "eth0,any": {AnyLink}, "eth1, eth0\teth1": {"eth1", "eth0"},
	} {
		got, err := ParseLinks(value)
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", value)
	}
	for _, value := range []string{",", "eth0\neth1", "eth0 # x", "eth0/1", "-eth0", ".."} {
		_, err := ParseLinks(value)
		require.Error(t, err, "%q", value)
	}
}

// TestDirectivesOutliveTheirNeighbours: the removal of the peer below takes none of them along.
func TestDirectivesOutliveTheirNeighbours(t *testing.T) {
	f := parseText(t, "[Interface]\nMTU = 1400\n# wgfleet: forward\n[Peer]\nPublicKey = "+keyA+"\n")
	require.True(t, f.RemovePeer(mustKey(t, keyA)))
	require.NoError(t, f.SetInterface("MTU"))
	require.Equal(t, "[Interface]\n# wgfleet: forward\n", string(f.Bytes()))
}
