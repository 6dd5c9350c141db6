package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// door is where a role answers, for this process to knock at itself.
type door struct {
	listener net.Listener
	url      string // of what is open to everyone
}

// watch tells systemd that the process is alive for as long as each of its roles answers: a process
// that hangs is started anew.
func (p *process) watch(ctx context.Context) {
	every := p.service.watchdog()
	if every <= 0 {
		return
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // it is this process
	}}
	p.tasks.Go(func() error {
		tick := time.NewTicker(every / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if err := p.knock(ctx, client, every/3); err != nil {
				p.log.Error("a role of this process hangs: systemd will start it anew", "error", oneLine(err))
				continue
			}
			p.service.alive()
		}
	})
}

// knock asks every role, and wants an answer in time. What it is does not matter: a role that wants a
// certificate of its clients says so. An address that is not on this host cannot be asked.
func (p *process) knock(ctx context.Context, client *http.Client, within time.Duration) error {
	for _, d := range p.doors {
		if absent(d.listener) {
			continue
		}
		if err := ask(ctx, client, d.url, within); os.IsTimeout(err) {
			return fmt.Errorf("%s does not answer within %v", d.url, within)
		}
	}
	return nil
}

func ask(ctx context.Context, client *http.Client, url string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
