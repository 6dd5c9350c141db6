package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/wgfleet/wgfleet/agent/client"
)

// pause is the time between two looks at an agent that starts.
const pause = 100 * time.Millisecond

// final is an error that waiting does not mend.
type final struct{ error }

// waitUntil asks until it goes well, it is final, or patience or ctx ends; then the last error counts.
func (o Options) waitUntil(ctx context.Context, ask func(context.Context) error) error {
	timeout, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		err := ask(timeout)
		if _, isFinal := errors.AsType[final](err); err == nil || isFinal {
			return err
		}
		select {
		case <-timeout.Done():
			return errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// waitForOurs waits until our unit answers signed requests with the peers that were there before.
func (p *Plan) waitForOurs(ctx context.Context) error {
	c, err := p.client()
	if err != nil {
		return err
	}
	err = p.o.waitUntil(ctx, func(ctx context.Context) error {
		err := p.askOurs(ctx, c)
		if err == nil {
			return nil
		}
		state, serr := p.o.Systemd.State(ctx, unitName)
		if serr == nil && (!state.IsActive() || state.Sub == "auto-restart") {
			return final{errors.New("it does not start: `journalctl -u wgfleet` says why")}
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s does not answer as it should: %w", unitName, err)
	}
	return nil
}

func (p *Plan) askOurs(ctx context.Context, c *client.Client) error {
	h, err := c.Health(ctx)
	if err != nil {
		return err
	}
	if h.AgentID == "" {
		return fmt.Errorf("another program answers at %s", p.Settings.url())
	}
	for name, digest := range p.before {
		seen, err := c.Dump(ctx, name, client.Query{})
		if err != nil {
			return err
		}
		if seen.Digest != digest {
			return final{fmt.Errorf("interface %s has other peers than before", name)}
		}
	}
	return nil
}

// waitForOld waits until the old agent answers.
func (o Options) waitForOld(ctx context.Context, u *recordedUnit) error {
	err := o.waitUntil(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.URL+"/health", nil)
		if err != nil {
			return err
		}
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("it answered %s", strings.ToLower(resp.Status))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s was started but does not answer at %s: %w: `journalctl -u %[1]s` says why", u.Name, u.URL, err)
	}
	return nil
}
