package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/gin-gonic/gin"
)

// private reports whether nobody on the way could read what the caller sent: it came over TLS, or from this host to
// itself. A proxy on this host may have taken it from anywhere; one that is trusted says whether that was TLS.
func (s *Server) private(c *gin.Context) bool {
	r := c.Request
	if r.TLS != nil {
		return true
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if err != nil || !ok || !remote.Addr().Unmap().IsLoopback() || !local.IP.IsLoopback() {
		return false
	}
	if !forwarded(r.Header) {
		return true
	}
	return s.trusts(remote.Addr().Unmap()) && r.Header.Get("X-Forwarded-Proto") == "https"
}

// forwarding are the headers that proxies add.
var forwarding = []string{
	"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Server",
	"X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip", "True-Client-Ip", "Cf-Connecting-Ip",
}

// forwarded reports whether a proxy says that it is one.
func forwarded(h http.Header) bool {
	return slices.ContainsFunc(forwarding, func(name string) bool { return len(h.Values(name)) > 0 })
}

func (s *Server) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// prefixesOf reads what gin has taken already: addresses and prefixes.
func prefixesOf(proxies []string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range proxies {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
		} else if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}
