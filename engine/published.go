package engine

import (
	"fmt"
	"net/netip"
	"strings"
)

// wantPublished is what a published port has to look like, for errors.
const wantPublished = "tcp or udp, where the host listens (0.0.0.0:8443, [::1]:53 or :8443) and the peer's address and port (10.8.0.5:443)"

// ParsePublished reads what String prints: "tcp :8443 10.8.0.5:443". Errors: *FieldError.
func ParsePublished(text string) (Published, error) {
	fail := func() (Published, error) {
		return Published{}, &FieldError{Field: "publish", Reason: fmt.Sprintf("%.60q is not one: expected %s", text, wantPublished)}
	}
	words := strings.Fields(text)
	if len(words) != 3 {
		return fail()
	}
	p := Published{Protocol: protocolWords[words[0]]}
	if p.Protocol != ProtocolTCP && p.Protocol != ProtocolUDP {
		return fail()
	}
	listen := words[1]
	all := strings.HasPrefix(listen, ":")
	if all {
		listen = "0.0.0.0" + listen
	}
	var err, targetErr error
	p.Listen, err = netip.ParseAddrPort(listen)
	p.Target, targetErr = netip.ParseAddrPort(words[2])
	if err != nil || targetErr != nil || p.Listen.Port() == 0 || p.Target.Port() == 0 || p.Target.Addr().Is4In6() || p.Target.Addr().Zone() != "" {
		return fail()
	}
	if all {
		p.Listen = netip.AddrPortFrom(netip.Addr{}, p.Listen.Port())
	}
	return p, nil
}

// String is what ParsePublished reads.
func (p Published) String() string {
	listen := p.Listen.String()
	if !p.Listen.Addr().IsValid() {
		listen = fmt.Sprintf(":%d", p.Listen.Port())
	}
	return fmt.Sprintf("%s %s %s", p.Protocol, listen, p.Target)
}
