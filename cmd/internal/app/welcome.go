package app

import (
	"fmt"
	"strings"
)

// welcome tells a person what runs here and what to do next. The administrator's key is shown at
// the start that made it, and never again.
func (p *process) welcome(host localHost, keyMade bool) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nThe panel is at %s\n", p.ready.PanelURL)
	if keyMade && !toJournal() { // which keeps it, and shows it to more people than the file does
		fmt.Fprintf(&b, "Administrator's key, shown this once: %s\n", string(p.ready.AdminKey))
	}
	if p.Panel.AdminKey == "" {
		fmt.Fprintf(&b, "The administrator's key is kept in %s\n", p.file(AdminKeyFile))
	}
	node := "NODE"
	if host.node.ID != "" && host.iface.Name == "" {
		node = host.node.Name
		fmt.Fprintf(&b, "This host is the node %s, and its interface %s is not there: put %s.conf back into %s and restart\n",
			node, host.node.WGInterface, host.node.WGInterface, p.ConfDir)
	} else if host.node.ID != "" {
		node = host.node.Name
		fmt.Fprintf(&b, "This host is the node %s: interface %s (%s), UDP port %d, %s\n", node, host.iface.Name, host.iface.Backend,
			host.iface.ListenPort, strings.Join(host.iface.Addresses, ", "))
		if e := host.node.Endpoint; e != "" {
			fmt.Fprintf(&b, "Clients dial %s: name another host below where that is not how they reach this one\n", e)
		}
	}
	b.WriteString("\nNext, in another terminal:\n")
	if p.Panel.AdminKey == "" {
		fmt.Fprintf(&b, "  export WGFLEET_URL=%s WGFLEET_API_KEY=$(cat %s)\n", p.ready.PanelURL, shellQuote(p.file(AdminKeyFile)))
	}
	if host.node.ID == "" {
		b.WriteString("  wgfleet node add NODE --agent-url http://HOST:8080 --secret-file FILE --pool 10.8.0.0/24\n")
	}
	fmt.Fprintf(&b, `  wgfleet node set %[1]s --endpoint HOST     what clients dial to reach it
  wgfleet peer add %[1]s laptop
  wgfleet peer config %[1]s laptop --qr
  wgfleet drift

`, node)
	fmt.Fprint(p.streams.Out, b.String())
}

// shellQuote leaves plain paths as they are.
func shellQuote(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
