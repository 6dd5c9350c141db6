//go:build root

// Package migrate moves a host that systemd runs from a stand-in of the original agent to wgfleet and
// back, with the real command. It needs a host of its own: `make test-migrate` makes one.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wgfleet/wgfleet/agent"
	"github.com/wgfleet/wgfleet/agent/client/originaltest"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/kernel"
)

// hold makes the stand-in wait before it ends, as long as the file is there.
const hold = "/run/hold"

// TestMain is also the old agent's program, when it is called as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "main.py" {
		if err := original(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// original is the old agent: it reads .env beside it, has brought up wg1 by itself, answers for wg0,
// and ends on SIGTERM.
func original() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	env, err := os.ReadFile(".env")
	if err != nil {
		return err
	}
	var secret agent.Secret
	for line := range strings.SplitSeq(string(env), "\n") {
		if v, ok := strings.CutPrefix(line, "WG_AGENT_SECRET="); ok {
			secret = agent.Secret(strings.Trim(v, `"`))
		}
	}
	if _, err := os.Stat("/sys/class/net/wg1"); err != nil {
		if out, err := exec.Command("wg-quick", "up", "wg1").CombinedOutput(); err != nil {
			return fmt.Errorf("wg-quick: %w: %s", err, out)
		}
	}
	a := originaltest.New(secret, engine.SecretKey{})
	d, err := kernel.New().Attach(ctx, "wg0")
	if err != nil {
		return err
	}
	seen, err := d.Observe(ctx)
	if err != nil {
		return err
	}
	for _, p := range seen.Peers {
		peer := originaltest.Peer{PresharedKey: p.PresharedKey.RevealText(), Keepalive: p.PersistentKeepalive}
		for _, ip := range p.AllowedIPs {
			peer.AllowedIPs = append(peer.AllowedIPs, ip.String())
		}
		a.Set(p.PublicKey.String(), peer)
	}
	l, err := net.Listen("tcp", "0.0.0.0:"+os.Getenv("WG_AGENT_PORT"))
	if err != nil {
		return err
	}
	go http.Serve(l, a) // it ends with the process
	<-ctx.Done()
	for {
		if _, err := os.Stat(hold); errors.Is(err, os.ErrNotExist) {
			return nil
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // another process removes the file
	}
}
