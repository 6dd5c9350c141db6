//go:build root

package net

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

func bits(s sample) float64    { return s.bitsPerSecond }
func packets(s sample) float64 { return s.packetsPerSecond }
func cpu(s sample) float64     { return s.cpuPerGiB }

// claim is one line of the table of ratios: the better of one and eight streams is no cheat, all are listed.
type claim struct {
	what       string
	over       string // path
	under      string
	modes      []string
	by         func(sample) float64
	floor, aim string
}

var claims = []claim{
	{"netstack receive, ours / upstream", "netstack, ours", "netstack, upstream", []string{"TCP 1 up", "TCP 8 up"}, bits, "1.5", "2"},
	{"netstack receive, ours / our TUN", "netstack, ours", "TUN, ours", []string{"TCP 1 up", "TCP 8 up"}, bits, "", "1"},
	{"netstack send, ours / upstream", "netstack, ours", "netstack, upstream", []string{"TCP 1 down", "TCP 8 down"}, bits, "1.3", "3"},
	{"netstack send, ours / our TUN", "netstack, ours", "TUN, ours", []string{"TCP 1 down", "TCP 8 down"}, bits, "", "0.9"},
	{"netstack to netstack, one process", "one process, ours", "one process, upstream", []string{"TCP 1 up", "TCP 8 up"}, bits, "1.5", "3"},
	{"gateway upload / our TUN path", "to a target: gateway", "to a target: TUN", []string{"TCP 1 up", "TCP 8 up"}, bits, "0.85", "1"},
	{"gateway download / our TUN path", "to a target: gateway", "to a target: TUN", []string{"TCP 1 down", "TCP 8 down"}, bits, "0.5", "0.9"},
	{"TUN, ours / plain wireguard-go: TCP", "TUN, ours", "TUN, plain wireguard-go", []string{"TCP 1 up", "TCP 8 up", "TCP 1 down", "TCP 8 down"}, bits, "0.97", "1.1"},
	{"TUN, ours / plain wireguard-go: packets of 64 bytes", "TUN, ours", "TUN, plain wireguard-go", []string{"UDP 64 down", "UDP 64"}, packets, "1.0", "1.4"},
}

// report is the whole result as a page.
func (r results) report() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The data plane, measured\n\n%s, %s, %d cores, %s.\n", time.Now().UTC().Format("2006-01-02"), runtime.GOARCH, runtime.NumCPU(), runtime.Version())
	fmt.Fprintf(&b, "%s. %s.\n", kernel(), versions())
	fmt.Fprintf(&b, "%d rounds in rotated order, samples of %s, MTU %d; medians. All processes of a path share the machine's cores: only ratios of one run mean something.\n", rounds, measure, mtu)
	b.WriteString("\n## Ratios\n\n| | " + "ratio, by kind of traffic | floor | aim |\n| --- | --- | --- | --- |\n")
	for _, c := range claims {
		var cells []string
		for _, m := range c.modes {
			over, under := median(r[c.over][m], c.by), median(r[c.under][m], c.by)
			cells = append(cells, fmt.Sprintf("%s: %.2f", m, over/under))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.what, strings.Join(cells, ", "), c.floor, c.aim)
	}
	b.WriteString("\n## Medians\n\nGbit/s of payload (lowest to highest); for datagrams also thousands of packets a second; CPU seconds a GiB of all processes.\n\n| path | " + strings.Join(names(), " | ") + " |\n|" + strings.Repeat(" --- |", len(modes)+1) + "\n")
	for _, p := range paths {
		cells := []string{p.name}
		for _, m := range modes {
			all := r[p.name][m.name]
			if len(all) == 0 {
				cells = append(cells, "")
				continue
			}
			values := make([]float64, len(all))
			for i, s := range all {
				values[i] = s.bitsPerSecond / 1e9
			}
			cell := fmt.Sprintf("%.2f (%.2f–%.2f)", median(all, bits)/1e9, slices.Min(values), slices.Max(values))
			if m.udp {
				cell += fmt.Sprintf(", %.0f k/s", median(all, packets)/1e3)
			}
			cells = append(cells, cell+fmt.Sprintf(", %.1f s", median(all, cpu)))
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	return b.String()
}

func names() []string {
	var out []string
	for _, m := range modes {
		out = append(out, m.name)
	}
	return out
}

func kernel() string {
	out, err := exec.Command("uname", "-sr").Output()
	if err != nil {
		return "an unknown kernel"
	}
	return strings.TrimSpace(string(out))
}

// versions are those of the modules that matter, and of this code.
func versions() string {
	out := []string{"wgfleet " + os.Getenv("WGFLEET_BENCH_COMMIT")}
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == "golang.zx2c4.com/wireguard" || m.Path == "gvisor.dev/gvisor" {
			out = append(out, m.Path+" "+m.Version)
		}
	}
	return strings.Join(out, ", ")
}
