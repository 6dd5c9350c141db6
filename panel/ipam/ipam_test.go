package ipam

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	slices.SortFunc(out, Compare)
	return out
}

func TestNext(t *testing.T) {
	for name, c := range map[string]struct {
		pool string
		used []string
		want string // "": exhausted
	}{
		"the first is the node's own":       {"10.8.0.0/24", nil, "10.8.0.2"},
		"a pool with host bits":             {"10.8.0.1/24", nil, "10.8.0.2"},
		"a gap":                             {"10.8.0.0/24", []string{"10.8.0.2/32", "10.8.0.4/32"}, "10.8.0.3"},
		"the node's own among the used":     {"10.8.0.0/24", []string{"10.8.0.1/32", "10.8.0.2/32"}, "10.8.0.3"},
		"a wider prefix is jumped":          {"10.0.0.0/8", []string{"10.0.0.0/9", "10.128.0.0/16"}, "10.129.0.0"},
		"one that covers the pool":          {"10.8.0.0/24", []string{"10.0.0.0/8"}, "10.8.0.2"},
		"a default route":                   {"10.8.0.0/24", []string{"0.0.0.0/0", "10.8.0.2/32"}, "10.8.0.3"},
		"an IPv6 default route":             {"fd00::/64", []string{"::/0", "fd00::2/128"}, "fd00::3"},
		"the pool itself":                   {"10.8.0.0/24", []string{"10.8.0.0/24", "10.8.0.2/32"}, "10.8.0.3"},
		"halves of a pool":                  {"10.8.0.0/24", []string{"10.8.0.0/25", "10.8.0.128/25"}, ""},
		"nested in a wider one":             {"10.8.0.0/24", []string{"10.8.0.0/25", "10.8.0.3/32"}, "10.8.0.128"},
		"other pools and families":          {"10.8.0.0/24", []string{"10.7.0.0/16", "fd00::/8", "192.168.0.0/16"}, "10.8.0.2"},
		"the broadcast address is not ours": {"10.8.0.0/30", []string{"10.8.0.2/32"}, ""},
		"the last one":                      {"10.8.0.0/29", []string{"10.8.0.2/31", "10.8.0.4/31"}, "10.8.0.6"},
		"a pool of two":                     {"10.8.0.0/31", nil, "10.8.0.1"},
		"a pool of two, both used":          {"10.8.0.0/31", []string{"10.8.0.1/32"}, ""},
		"a pool of one":                     {"10.8.0.0/32", nil, ""},
		"IPv6":                              {"fd00::/64", nil, "fd00::2"},
		"IPv6 has no broadcast address":     {"fd00::/126", []string{"fd00::2/128"}, "fd00::3"},
		"IPv6 of two":                       {"fd00::/127", nil, "fd00::1"},
		"IPv6 of one":                       {"fd00::/128", nil, ""},
		"all of IPv4":                       {"0.0.0.0/0", []string{"0.0.0.0/1"}, "128.0.0.0"},
		"the end of the address space":      {"255.255.255.254/31", []string{"255.255.255.255/32"}, ""},
		"the end of IPv6":                   {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", nil, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Next(netip.MustParsePrefix(c.pool), slices.Values(prefixes(c.used...)))
			if c.want == "" {
				require.ErrorIs(t, err, ErrExhausted)
				require.ErrorContains(t, err, c.pool)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got.String())
		})
	}
}

func TestOwn(t *testing.T) {
	require.Equal(t, "10.8.0.1/24", Own(netip.MustParsePrefix("10.8.0.0/24")).String())
	require.Equal(t, "fd00::1/64", Own(netip.MustParsePrefix("fd00::7/64")).String())
	require.Equal(t, "10.8.0.4/31", Own(netip.MustParsePrefix("10.8.0.4/31")).String())
}

// oracle tries every address of a small pool.
func oracle(pool netip.Prefix, used []netip.Prefix) (netip.Addr, bool) {
	pool = pool.Masked()
	var usable []netip.Addr
	for a := pool.Addr(); a.IsValid() && pool.Contains(a); a = a.Next() {
		usable = append(usable, a)
	}
	if len(usable) > 2 {
		usable = usable[1:]
		if pool.Addr().Is4() {
			usable = usable[:len(usable)-1]
		}
	}
	for _, a := range usable[1:] {
		if !slices.ContainsFunc(used, func(p netip.Prefix) bool { return p.Bits() > pool.Bits() && p.Contains(a) }) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func TestNextIsTheLowestFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := netip.MustParseAddr(rapid.SampledFrom([]string{"10.8.7.0", "255.255.255.0", "fd00::ff00", "0.0.0.0"}).Draw(t, "base"))
		length := rapid.IntRange(base.BitLen()-7, base.BitLen()).Draw(t, "length")
		pool := netip.PrefixFrom(base, length)
		used := rapid.SliceOf(rapid.Custom(func(t *rapid.T) netip.Prefix {
			b := base.AsSlice()
			b[len(b)-1] = rapid.Byte().Draw(t, "host")
			a, _ := netip.AddrFromSlice(b)
			return netip.PrefixFrom(a, rapid.IntRange(base.BitLen()-8, base.BitLen()).Draw(t, "bits")).Masked()
		})).Draw(t, "used")
		slices.SortFunc(used, Compare)
		want, ok := oracle(pool, used)
		got, err := Next(pool, slices.Values(used))
		if !ok {
			require.ErrorIs(t, err, ErrExhausted)
			return
		}
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func BenchmarkNext(b *testing.B) {
	used := make([]netip.Prefix, 10_000)
	a := netip.MustParseAddr("10.0.0.2")
	for i := range used {
		used[i], a = netip.PrefixFrom(a, 32), a.Next()
	}
	for _, pool := range []string{"10.0.0.0/18", "10.0.0.0/8", "fd00::/64"} {
		b.Run(pool, func(b *testing.B) {
			p := netip.MustParsePrefix(pool)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Next(p, slices.Values(used)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
