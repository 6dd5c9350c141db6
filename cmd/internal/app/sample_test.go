package app

import (
	"fmt"
	"strings"
)

// sample is the settings file with every setting at its default; sample.yaml is its copy.
func sample() string {
	var b strings.Builder
	b.WriteString("# Settings of `wgfleet serve --config FILE`, each at its default. A variable wins over this file, a flag\n" +
		"# over both. A key that is not known is an error. A setting without a default is commented out.\n")
	section := ""
	for _, s := range settings {
		name, indent := s.key, ""
		if outer, inner, nested := strings.Cut(s.key, "."); nested {
			name, indent = inner, "  "
			if outer != section {
				fmt.Fprintf(&b, "\n%s:", outer)
				section = outer
			}
		}
		fmt.Fprintf(&b, "\n%s# %s [%s]\n", indent, s.help, s.env)
		if s.def == "" {
			fmt.Fprintf(&b, "%s# %s:\n", indent, name)
			continue
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, name, s.def)
	}
	return b.String()
}
