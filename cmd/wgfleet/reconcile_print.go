package main

import (
	"fmt"
	"strings"

	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
)

// signs stand before the steps of a plan, by what they do.
var signs = map[string]struct{ sign, sgr string }{
	"add": {"+", green}, "update": {"~", yellow}, "remove": {"-", red}, "adopt": {"=", bold},
	"accept": {"=", bold}, "interface": {"~", yellow},
}

func (c *console) printPlan(p step) {
	name := c.paint(bold, printable(p.node.Name))
	if p.count() == 0 {
		c.printf("%s: nothing to do\n", name)
	} else {
		c.printf("%s: add %d, update %d, remove %d, adopt %d%s\n", name, len(p.Added), len(p.Updated), len(p.Removed), len(p.Adopted), p.besides())
	}
	for _, s := range p.Plan.Actions {
		sign := signs[s.Op]
		c.printf("  %s %s\n", c.paint(sign.sgr, sign.sign), strings.TrimSpace(s.ID+" "+printable(s.Name)))
		for _, m := range s.Changes {
			c.printf("      %s: %s becomes %s\n", m.Field, plain(m.Actual), plain(m.Expected))
		}
		for _, t := range s.Takes {
			c.printf("      %s %s from peer %s, which the panel does not know\n", c.paint(red, "takes"), t.Prefix, t.From)
		}
		c.printf("      impact: %s\n", printable(s.Impact))
	}
	for _, b := range p.Plan.Blocked {
		c.printf("  %s can't %s %s: %s\n", c.paint(red, "!"), b.Op, b.ID, printable(b.Reason))
	}
	for _, w := range p.Plan.Warnings {
		c.hint("  warning: %s", printable(w))
	}
	c.printInterface(p)
}

// besides counts what not every reconciliation has.
func (s step) besides() string {
	text := ""
	if n := len(s.Accepted); n > 0 {
		text += fmt.Sprintf(", accept %d", n)
	}
	if n := len(s.Interface); n > 0 {
		text += fmt.Sprintf(", interface %d", n)
	}
	return text
}

// printInterface shows what differs of the interface itself and is left as it is.
func (c *console) printInterface(p step) {
	if p.Residual == nil || len(p.Residual.Interface) == 0 || len(p.Interface)+len(p.Accepted) > 0 {
		return
	}
	for _, m := range p.Residual.Interface {
		c.printf("  ! interface %s: expected %s, is %s\n", m.Field, plain(m.Expected), plain(m.Actual))
	}
	c.hint("  the interface's own settings are put right only with --interface")
}

func (c *console) printResult(s step) {
	verdict := c.paint(green, "verified")
	if !s.Verified {
		verdict = c.paint(red, "not verified")
	}
	c.printf("%s: added %d, updated %d, removed %d, adopted %d%s, %d errors, %s\n", c.paint(bold, printable(s.node.Name)),
		len(s.Added), len(s.Updated), len(s.Removed), len(s.Adopted), s.besides(), len(s.Errors), verdict)
	for _, e := range s.Errors {
		c.printf("  %s %s %s: %s\n", c.paint(red, "!"), e.Action, e.Peer, printable(e.Error))
	}
	if n := len(s.leftAlone()); n > 0 {
		c.hint("  %d peers that the panel does not know were left alone (--prune removes, --adopt takes them over)", n)
	}
}

// leftAlone are the unknown peers that nothing was taken from.
func (s step) leftAlone() []panelclient.UnknownPeer {
	if s.Residual == nil {
		return nil
	}
	robbed := map[string]bool{}
	for _, t := range s.takes() {
		robbed[t.From] = true
	}
	var left []panelclient.UnknownPeer
	for _, p := range s.Residual.Unknown {
		if !robbed[p.PublicKey] {
			left = append(left, p)
		}
	}
	return left
}
