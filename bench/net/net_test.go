//go:build root

package net

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Times of one sample. quick is for seeing that the harness works.
var (
	quick   = os.Getenv("WGFLEET_BENCH_QUICK") != ""
	warm    = 200 * time.Millisecond
	measure = 500 * time.Millisecond
	rounds  = 5
)

// path is one way of carrying packets. Its mode says from where to where.
type path struct {
	name string
	// begin starts the processes: who drives, who receives what is sent, the address to send to, and whose processor time counts.
	begin func(l *lab) setup
}

type setup struct {
	near, far *process
	to        string
	back      string // where far reaches near; "": it does not
	all       []*process
}

// mode is one kind of traffic.
type mode struct {
	name, command string
	amount        int // of streams, or bytes of a datagram
	down          bool
	udp           bool
}

var modes = []mode{
	{"TCP 1 up", "send", 1, false, false},
	{"TCP 8 up", "send", 8, false, false},
	{"TCP 1 down", "fetch", 1, true, false},
	{"TCP 8 down", "fetch", 8, true, false},
	{"UDP 64", "flood", 64, false, true},
	{"UDP 1200", "flood", 1200, false, true},
	{"UDP 64 down", "flood", 64, true, true},
	{"UDP 1200 down", "flood", 1200, true, true},
}

// node is a path on which a client on a TUN speaks with the node itself.
func node(name, kind string) path {
	return path{name, func(l *lab) setup {
		var n *process
		var all []*process
		if kind == "plain" {
			all = append(all, l.plain("node"))
		} else {
			r := l.wireguard("node")
			r.Kind = kind
			n = l.role("node", r)
			all = append(all, n)
		}
		if kind == "plain" || kind == "tun" { // who speaks is a process of its own, as it is on a host
			n = l.role("node", role{Kind: "kernel", Address: nodeIn})
			all = append(all, n)
		}
		c, near := l.client()
		return setup{near: near, far: n, to: nodeIn, back: clientIn, all: append(all, c, near)}
	}}
}

// beyond is a path from a client on a TUN through the node to a target.
func beyond(name, kind string) path {
	return path{name, func(l *lab) setup {
		target := l.role("target", role{Kind: "kernel", Address: targetAddr})
		r := l.wireguard("node")
		r.Kind = kind
		n := l.role("node", r)
		c, near := l.client()
		return setup{near: near, far: target, to: targetAddr, all: []*process{n, c, near, target}}
	}}
}

// inside is a path between two ends in one process.
func inside(name, kind string) path {
	return path{name, func(l *lab) setup {
		p := l.role("node", role{Kind: kind})
		return setup{near: p, far: p, to: nodeIn, all: []*process{p}}
	}}
}

// client is the plain wireguard-go on a TUN, and who sends there.
func (l *lab) client() (c, near *process) {
	return l.plain("client"), l.role("client", role{Kind: "kernel", Address: clientIn})
}

var paths = []path{
	node("netstack, upstream", "upstream"),
	node("netstack, ours", "ours"),
	node("TUN, plain wireguard-go", "plain"),
	node("TUN, ours", "tun"),
	beyond("to a target: gateway", "gateway"),
	beyond("to a target: TUN", "tun"),
	inside("one process, upstream", "pair-upstream"),
	inside("one process, ours", "pair-ours"),
}

// sample is what one measurement gave.
type sample struct {
	bitsPerSecond, packetsPerSecond, cpuPerGiB float64
}

type results map[string]map[string][]sample // by path and mode

func TestBenchNet(t *testing.T) {
	if quick {
		warm, measure, rounds = 100*time.Millisecond, 200*time.Millisecond, 1
	}
	l := newLab(t)
	all := make(results)
	if only := os.Getenv("WGFLEET_BENCH_ONLY"); only != "" {
		paths = slices.DeleteFunc(paths, func(p path) bool { return !strings.Contains(p.name, only) })
	}
	for _, p := range paths {
		all[p.name] = make(map[string][]sample)
	}
	for round := range rounds {
		for i := range paths {
			p := paths[(i+round)%len(paths)]
			t.Logf("round %d of %d: %s", round+1, rounds, p.name)
			s := p.begin(l)
			for j := range modes {
				m := modes[(j+round)%len(modes)]
				if m.udp && m.down && s.back == "" {
					continue
				}
				got := s.sample(t, m)
				require.Positive(t, got.bitsPerSecond, "%s carries nothing: %s", p.name, m.name)
				all[p.name][m.name] = append(all[p.name][m.name], got)
			}
			for _, one := range s.all {
				one.stop()
			}
		}
	}
	text := all.report()
	fmt.Println(text)
	if !quick && os.Getenv("WGFLEET_BENCH_ONLY") == "" {
		require.NoError(t, os.WriteFile(os.Getenv("WGFLEET_BENCH_OUT"), []byte(text), 0o644))
	}
}

// sample begins one kind of traffic, lets it run for a while and measures.
func (s setup) sample(t *testing.T, m mode) sample {
	receiver := s.far
	if m.down && s.near != s.far {
		receiver = s.near
	}
	sender, to := s.near, s.to
	if m.udp && m.down {
		sender, to = s.far, s.back
	}
	require.Equal(t, "begun", sender.ask(fmt.Sprintf("%s %s %d", m.command, to, m.amount)))
	read := func() (bytes, packets int64, cpu time.Duration, at time.Time) {
		_, err := fmt.Sscan(receiver.ask(tellOf(m, s)), &bytes, &packets)
		require.NoError(t, err)
		for _, p := range s.all {
			cpu += p.cpu()
		}
		return bytes, packets, cpu, time.Now()
	}
	pause(t, warm)
	for begin := time.Now(); ; { // the first handshake may take as long as its repetition
		if b, _, _, _ := read(); b > 0 || time.Since(begin) > 20*time.Second {
			break
		}
		pause(t, 100*time.Millisecond)
	}
	b0, n0, c0, t0 := read()
	pause(t, measure)
	b1, n1, c1, t1 := read()
	require.Equal(t, "stopped", sender.ask("stop"))
	pause(t, 200*time.Millisecond) // queues empty
	seconds, bytes := t1.Sub(t0).Seconds(), float64(b1-b0)
	return sample{
		bitsPerSecond: 8 * bytes / seconds, packetsPerSecond: float64(n1-n0) / seconds,
		cpuPerGiB: (c1 - c0).Seconds() / max(bytes, 1) * (1 << 30),
	}
}

// tellOf is how the receiver is asked: in one process, by which end.
func tellOf(m mode, s setup) string {
	if s.near == s.far && m.down {
		return "tell near"
	}
	return "tell"
}

func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func median(of []sample, by func(sample) float64) float64 {
	if len(of) == 0 {
		return math.NaN()
	}
	values := make([]float64, len(of))
	for i, s := range of {
		values[i] = by(s)
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}
