package panel

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/panel/event"
)

// One panel holds a request at each of a thousand nodes: what that costs while nothing happens, panel and agents
// together, and how long one change on one node takes to show.
func BenchmarkThousandNodesHeld(b *testing.B) {
	const nodes = 1000
	w := newWorld(b)
	hosts := []*host{w.host}
	for i := 1; i < nodes; i++ {
		h := newHost(b, nil)
		_, _, err := w.CreateNode(b.Context(), NodeInput{Name: new(fmt.Sprint("node ", i)), AgentURL: &h.direct.URL, Secret: new(testSecret)})
		require.NoError(b, err)
		hosts = append(hosts, h)
	}
	ctx, stop := context.WithCancel(b.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := w.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	defer run.Wait()
	defer stop()
	settled := time.NewTimer(20 * time.Second) // all have been looked at and are held
	<-settled.C

	var before, after syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &before))
	const quiet = 30 * time.Second
	<-time.After(quiet)
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	cpu := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	b.ReportMetric(100*cpu.Seconds()/quiet.Seconds(), "%cpu-quiet")

	var slowest, total time.Duration
	for i := range b.N {
		h := hosts[(i*37)%nodes]
		last, err := w.LastEvent(b.Context())
		require.NoError(b, err)
		began := time.Now()
		h.write(engine.PeerChange{After: &engine.Peer{PublicKey: publicKey(fmt.Sprint("stranger ", i))}})
		w.await(last, func(e event.Event) bool { return e.Kind == event.DriftChanged })
		took := time.Since(began)
		slowest, total = max(slowest, took), total+took
	}
	b.ReportMetric(total.Seconds()/float64(b.N), "s-to-show")
	b.ReportMetric(slowest.Seconds(), "s-slowest")
}
