package link

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWantedRoutes(t *testing.T) {
	p := netip.MustParsePrefix
	others := map[netip.Prefix]bool{p("10.8.0.0/24"): true, p("fd00::/64"): true}
	for _, c := range []struct {
		name    string
		allowed []netip.Prefix
		want    []netip.Prefix
	}{
		{"none", nil, []netip.Prefix{}},
		{"the interface's own subnet covers its peers", []netip.Prefix{p("10.8.0.2/32"), p("fd00::2/128"), p("10.8.0.0/24")}, []netip.Prefix{}},
		{
			"longest first, nested kept, repeats not",
			[]netip.Prefix{p("10.0.0.0/8"), p("10.9.0.0/16"), p("10.9.0.0/16"), p("192.168.7.9/32")},
			[]netip.Prefix{p("192.168.7.9/32"), p("10.9.0.0/16"), p("10.0.0.0/8")},
		},
		{"wider than the subnet is not covered", []netip.Prefix{p("10.8.0.0/23")}, []netip.Prefix{p("10.8.0.0/23")}},
		{"default routes are passed over", []netip.Prefix{p("0.0.0.0/0"), p("::/0"), p("0.0.0.0/1")}, []netip.Prefix{p("0.0.0.0/1")}},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, wanted(c.allowed, others)) })
	}
}
