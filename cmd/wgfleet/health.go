package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const healthTimeout = 4 * time.Second

func newHealth(con *console) *cobra.Command {
	return &cobra.Command{
		Use: "health [URL]", Short: "Ask an agent or a panel whether it is well, for health checks", Args: usage(0, 1),
		Long: "Ask an agent or a panel whether it is well. The exit status is 0 if it is. Without a URL, this host's is asked: the\n" +
			"agent at WG_AGENT_PORT, or with WGFLEET_NO_AGENT the panel at WGFLEET_PANEL_PORT, over TLS where its certificate is set.",
		Example: "  wgfleet health\n  wgfleet health http://10.0.0.2:8080\n  wgfleet health https://panel.example.com/api",
		RunE: func(c *cobra.Command, args []string) error {
			address, err := localRole(con)
			if len(args) == 1 {
				address, err = args[0], nil
			}
			if err == nil && !strings.HasPrefix(address, "http://") && !strings.HasPrefix(address, "https://") {
				err = fmt.Errorf("%q is no URL: expected http://… or https://…", address)
			}
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context(), healthTimeout)
			defer cancel()
			version, err := askHealth(ctx, address, len(args) == 0)
			if err != nil {
				return fmt.Errorf("%s is not well: %w", address, err)
			}
			con.printf("ok, version %s\n", version)
			return nil
		},
	}
}

// localRole is the agent of this host, or its panel where that is all that runs here.
func localRole(con *console) (string, error) {
	host, port, cert, path := con.getenv("WG_AGENT_HOST"), firstOf(con.getenv("WG_AGENT_PORT"), "8080"), con.getenv("WG_AGENT_TLS_CERT"), ""
	off, err := strconv.ParseBool(firstOf(con.getenv("WGFLEET_NO_AGENT"), "false"))
	if err != nil {
		return "", fmt.Errorf("WGFLEET_NO_AGENT: %q is not known: expected true or false", con.getenv("WGFLEET_NO_AGENT"))
	}
	if off {
		host, port = con.getenv("WGFLEET_PANEL_HOST"), firstOf(con.getenv("WGFLEET_PANEL_PORT"), "10086")
		cert, path = con.getenv("WGFLEET_PANEL_TLS_CERT"), "/api"
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	scheme := "http"
	if cert != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + path, nil
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
	var answer struct {
		Status  any                      // "ok" of an agent, true of a panel
		Version string                   // of an agent
		Data    struct{ Version string } // of a panel
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		hint := ""
		if resp.StatusCode == http.StatusNotFound {
			hint = ": the URL of a panel ends in /api"
		}
		return "", fmt.Errorf("it answered %s%s", resp.Status, hint)
	}
	if answer.Status != "ok" && answer.Status != true {
		return "", fmt.Errorf("it says %v", answer.Status)
	}
	return firstOf(answer.Version, answer.Data.Version), nil
}
