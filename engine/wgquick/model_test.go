package wgquick

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"

	"github.com/wgfleet/wgfleet/engine"
)

// model is the simplest thing that edits can be compared with.
type model struct {
	peers  map[wgtypes.Key]Peer
	iface  map[string][]string
	access engine.AccessPolicy
}

func newModel(t require.TestingT, f *File) model {
	m := model{peers: make(map[wgtypes.Key]Peer), iface: make(map[string][]string)}
	for _, p := range bare(t, f) {
		m.peers[p.PublicKey] = p
	}
	i, err := f.Interface()
	require.NoError(t, err)
	m.iface = texts(i)
	c, err := f.Gateway()
	require.NoError(t, err)
	if m.access = c.Access; m.access.Peers == nil {
		m.access.Peers = make(map[wgtypes.Key]engine.Access)
	}
	return m
}

// bare returns the peers in normal form, without name and line.
func bare(t require.TestingT, f *File) []Peer {
	peers, err := f.Peers()
	require.NoError(t, err)
	for i := range peers {
		peers[i].Name, peers[i].Line = "", 0
		peers[i].AllowedIPs = engine.NormalizePrefixes(peers[i].AllowedIPs)
	}
	return peers
}

// texts returns an interface as SetInterface takes it.
func texts(i Interface) map[string][]string {
	out := make(map[string][]string)
	put := func(key string, values ...string) {
		if len(values) > 0 && values[0] != "" {
			out[key] = values
		}
	}
	if !i.PrivateKey.IsZero() {
		put("PrivateKey", i.PrivateKey.Clamped().Reveal().String())
	}
	if i.ListenPort != nil {
		put("ListenPort", strconv.Itoa(*i.ListenPort))
	}
	if i.FwMark != nil {
		put("FwMark", strconv.FormatUint(uint64(*i.FwMark), 10))
	}
	if i.MTU != nil {
		put("MTU", strconv.Itoa(*i.MTU))
	}
	var list []string
	for _, a := range i.Addresses {
		list = append(list, a.String())
	}
	put("Address", list...)
	list = nil
	for _, a := range i.DNS {
		list = append(list, a.String())
	}
	put("DNS", append(list, i.Search...)...)
	put("Table", i.Table)
	if i.SaveConfig {
		put("SaveConfig", "true")
	}
	put("PreUp", i.PreUp...)
	put("PostUp", i.PostUp...)
	put("PreDown", i.PreDown...)
	put("PostDown", i.PostDown...)
	put("forward", i.Forward...)
	put("masquerade", i.Masquerade...)
	return out
}

// setKey sets what texts returns.
func setKey(f *File, key string, values ...string) error {
	if lookupDirective(key) != keyDirective {
		return f.SetDirective(key, strings.Join(values, ", "))
	}
	return f.SetInterface(key, values...)
}

func (m model) check(t require.TestingT, f *File) {
	again, err := Parse(f.Bytes())
	require.NoError(t, err)
	for _, g := range []*File{f, again} {
		got := newModel(t, g)
		require.Equal(t, m.iface, got.iface)
		require.Equal(t, m.peers, got.peers)
		require.Equal(t, m.access, got.access)
	}
	require.Equal(t, string(f.Bytes()), string(again.Bytes()))
	require.Len(t, again.peers, len(f.peers), "the index is that of the file")
}

var (
	drawPrefix = rapid.Custom(func(t *rapid.T) netip.Prefix {
		if rapid.Bool().Draw(t, "v6") {
			a := netip.AddrFrom16([16]byte{0: 0xfd, 15: rapid.Byte().Draw(t, "last")})
			return netip.PrefixFrom(a, rapid.SampledFrom([]int{0, 64, 128}).Draw(t, "bits")).Masked()
		}
		a := netip.AddrFrom4([4]byte{10, 0, rapid.ByteRange(0, 3).Draw(t, "third"), rapid.ByteRange(0, 3).Draw(t, "last")})
		return netip.PrefixFrom(a, rapid.SampledFrom([]int{0, 24, 32}).Draw(t, "bits")).Masked()
	})
	drawKey = rapid.Custom(func(t *rapid.T) wgtypes.Key {
		return wgtypes.Key{0: rapid.ByteRange(1, 12).Draw(t, "key"), 31: 0x40}
	})
	drawPeer = rapid.Custom(func(t *rapid.T) Peer {
		p := Peer{
			PublicKey:           drawKey.Draw(t, "public key"),
			AllowedIPs:          engine.NormalizePrefixes(rapid.SliceOfN(drawPrefix, 0, 4).Draw(t, "allowed IPs")),
			PersistentKeepalive: rapid.SampledFrom([]int{0, 0, 1, 25, 65535}).Draw(t, "keepalive"),
			Endpoint:            rapid.SampledFrom([]string{"", "", "192.0.2.1:5", "[2001:db8::1]:5", "host.example:5"}).Draw(t, "endpoint"),
		}
		if rapid.Bool().Draw(t, "psk") {
			p.PresharedKey = engine.NewSecretKey(drawKey.Draw(t, "preshared key"))
		}
		return p
	})
	drawAccess = rapid.Custom(func(t *rapid.T) engine.Access {
		list := func(label string) []engine.AccessRule {
			return rules(t, rapid.SliceOfN(rapid.SampledFrom([]string{"any", "10.0.0.0/8", "10.1.2.3 tcp 80", "fd00::/8 udp 1-9"}), 0, 2).Draw(t, label)...)
		}
		return engine.Access{Allow: list("allow"), Deny: list("deny"), Limits: engine.Limits{
			Connections: rapid.IntRange(-1, 3).Draw(t, "connections"), Rate: rapid.IntRange(-1, 3).Draw(t, "rate"),
			Bandwidth: rapid.Int64Range(-1, 5000).Draw(t, "bandwidth"),
		}}
	})
	interfaceValues = map[string][][]string{
		"Address":    {nil, {"10.8.0.1/24"}, {"10.8.0.1/24", "fd00::1/64"}, {"fd00::1/64"}},
		"DNS":        {nil, {"1.1.1.1", "corp.example"}, {"fd00::53"}},
		"ListenPort": {nil, {"0"}, {"51820"}},
		"FwMark":     {nil, {"0"}, {"51820"}},
		"MTU":        {nil, {"1280"}, {"1420"}},
		"Table":      {nil, {"off"}, {"123"}},
		"SaveConfig": {nil, {"true"}},
		"PostUp":     {nil, {"a"}, {"a", "b # c"}, {"b # c", "a", "d"}},
		"PreDown":    {nil, {"echo a=b"}, {"x", "x"}},
		"forward":    {nil, {"any"}, {"eth0"}, {"eth1", "eth0"}},
		"masquerade": {nil, {"any"}, {"eth0"}, {"eth0", "wg-1", "br=0"}},
	}
)

// TestEditsEqualTheModel: any sequence of edits of any fixture means what the same sequence makes
// of a map, in memory and after printing and parsing.
func TestEditsEqualTheModel(t *testing.T) {
	starts := []string{gatewayFile, strings.TrimSpace(gatewayFile)}
	for _, name := range allFixtures(t) {
		if name != "odd-values.conf" { // it can't be interpreted, so it has no model
			starts = append(starts, string(fixture(t, name)))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		f, err := Parse([]byte(rapid.SampledFrom(starts).Draw(t, "file")))
		require.NoError(t, err)
		m := newModel(t, f)
		known := func() []wgtypes.Key {
			keys := []wgtypes.Key{drawKey.Draw(t, "some key")}
			peers, err := f.Peers()
			require.NoError(t, err)
			for _, p := range peers {
				keys = append(keys, p.PublicKey)
			}
			return keys
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				p := drawPeer.Draw(t, "peer")
				p.PublicKey = rapid.SampledFrom(known()).Draw(t, "which")
				require.NoError(t, f.PutPeer(p))
				if p.Endpoint == "" {
					p.Endpoint = m.peers[p.PublicKey].Endpoint
				}
				m.peers[p.PublicKey] = p
			},
			"remove": func(t *rapid.T) {
				key := rapid.SampledFrom(known()).Draw(t, "which")
				_, there := m.peers[key]
				require.Equal(t, there, f.RemovePeer(key))
				delete(m.peers, key)
				delete(m.access.Peers, key)
			},
			"access": func(t *rapid.T) {
				wanted := engine.AccessPolicy{Node: m.access.Node, Peers: maps.Clone(m.access.Peers)}
				a, key := drawAccess.Draw(t, "access"), rapid.SampledFrom(known()).Draw(t, "which")
				switch {
				case rapid.Bool().Draw(t, "of the node"):
					wanted.Node = a
				case a.IsZero():
					delete(wanted.Peers, key)
				case f.HasPeer(key):
					wanted.Peers[key] = a
				}
				f.SetAccess(wanted)
				m.access = wanted
			},
			"set": func(t *rapid.T) {
				keys := make([]string, 0, len(interfaceValues))
				for k := range interfaceValues {
					keys = append(keys, k)
				}
				slices.Sort(keys)
				key := rapid.SampledFrom(keys).Draw(t, "key")
				values := rapid.SampledFrom(interfaceValues[key]).Draw(t, "values")
				require.NoError(t, setKey(f, key, values...))
				if len(values) == 0 {
					delete(m.iface, key)
				} else {
					m.iface[key] = values
				}
			},
			"": func(t *rapid.T) { m.check(t, f) },
		})
	})
}
