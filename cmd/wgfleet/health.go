package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

const healthTimeout = 4 * time.Second

func newHealth(con *console) *cobra.Command {
	return &cobra.Command{
		Use: "health [AGENT-URL]", Short: "Ask an agent whether it is well, for health checks", Args: usage(0, 1),
		Long: "Ask an agent whether it is well. The exit status is 0 if it is. Without a URL, the agent on this\n" +
			"host is asked, at WG_AGENT_PORT, over TLS where WG_AGENT_TLS_CERT is set.",
		Example: "  wgfleet health\n  wgfleet health http://10.0.0.2:8080",
		RunE: func(c *cobra.Command, args []string) error {
			address := localAgent(con)
			if len(args) == 1 {
				address = args[0]
			}
			ctx, cancel := context.WithTimeout(c.Context(), healthTimeout)
			defer cancel()
			version, err := askHealth(ctx, address, len(args) == 0)
			if err != nil {
				return fmt.Errorf("the agent at %s is not well: %w", address, err)
			}
			con.printf("ok, version %s\n", version)
			return nil
		},
	}
}

func localAgent(con *console) string {
	host := con.getenv("WG_AGENT_HOST")
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	scheme := "http"
	if con.getenv("WG_AGENT_TLS_CERT") != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, firstOf(con.getenv("WG_AGENT_PORT"), "8080"))
}

// askHealth sends no secret, so on this host the name in the certificate is of no matter.
func askHealth(ctx context.Context, address string, local bool) (version string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/health", nil)
	if err != nil {
		return "", err
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: local, MinVersion: tls.VersionTLS12}, //nolint:gosec // see above
	}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct{ Status, Version string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("it answered %s", resp.Status)
	}
	if answer.Status != "ok" {
		return "", fmt.Errorf("it says %q", answer.Status)
	}
	return answer.Version, nil
}
