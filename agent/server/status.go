package server

import (
	"context"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/mem"
	"github.com/shirou/gopsutil/v4/net"

	"github.com/wgfleet/wgfleet/agent"
)

// activeWithin is how old the handshake of an active peer may be.
const activeWithin = 3 * time.Minute

// hostSampler measures the host, at most once a second, and waits for nothing: the CPU's share is
// that since the sample before.
type hostSampler struct {
	mu   sync.Mutex // protects what follows
	at   time.Time
	last agent.System
}

func newHostSampler() *hostSampler { return &hostSampler{} }

// sample returns the figures. What can't be read here stays zero.
func (h *hostSampler) sample(ctx context.Context) agent.System {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Since(h.at) < time.Second {
		return h.last
	}
	var out agent.System
	if p, err := cpu.PercentWithContext(ctx, 0, false); err == nil && len(p) > 0 {
		out.CPUPercent = p[0]
	}
	if v, err := mem.VirtualMemoryWithContext(ctx); err == nil {
		out.Memory = agent.Memory{Total: v.Total, Available: v.Available, Percent: v.UsedPercent, Used: v.Used}
	}
	if u, err := disk.UsageWithContext(ctx, "/"); err == nil {
		out.Disk = agent.Disk{Total: u.Total, Used: u.Used, Free: u.Free, Percent: u.UsedPercent}
	}
	if n, err := net.IOCountersWithContext(ctx, false); err == nil && len(n) > 0 {
		out.Network = agent.Traffic{
			BytesSent: n[0].BytesSent, BytesRecv: n[0].BytesRecv,
			PacketsSent: n[0].PacketsSent, PacketsRecv: n[0].PacketsRecv,
		}
	}
	h.last, h.at = out, time.Now()
	return out
}

// status is GET /v1/status.
func (s *Server) status(ctx context.Context, _ *request) (*answer, error) {
	now := s.o.Now()
	out := agent.NodeStatus{
		Status: "ok", Timestamp: now.Unix(), Uptime: int64(now.Sub(s.started).Seconds()), Version: s.o.Version,
		System: s.host.sample(ctx),
	}
	out.WireGuard.Interfaces = make(map[string]agent.InterfaceStatus)
	for _, i := range s.observeAll(ctx) {
		st := agent.InterfaceStatus{Status: "up", PeerCount: len(i.Peers)}
		for _, p := range i.Stats {
			st.TotalRxBytes += p.RxBytes
			st.TotalTxBytes += p.TxBytes
			if !p.LastHandshake.IsZero() && now.Sub(p.LastHandshake) < activeWithin {
				st.ActivePeers++
			}
		}
		out.WireGuard.Interfaces[i.Interface.Name] = st
	}
	out.WireGuard.InterfaceCount = len(out.WireGuard.Interfaces)
	return ok(out)
}
