package check_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The containers of the unprivileged overlay start with the arguments, variables, files and user of the manifests, answer their
// probes, are found by the ServiceMonitors' paths, and are a fleet after the commands of the README. Both are stopped
// and started once, on the same volumes.
func TestOverlayRuns(t *testing.T) {
	b, err := build(files(t), "monitored/unprivileged")
	require.NoError(t, err)
	shared, admin, master, key := wgfleet(t, "secret"), wgfleet(t, "secret"), wgfleet(t, "genpsk"), wgfleet(t, "genkey")
	secrets := map[string]map[string]string{
		"wgfleet-panel": {"admin-key": admin, "master-key": master},
		"wgfleet-agent": {"secret": shared, "wg0.conf": fmt.Sprintf("[Interface]\nPrivateKey = %sAddress = 10.8.0.1/24\nListenPort = %d\n", key, freePort(t))},
	}
	pods := map[string]*pod{}
	for _, w := range b.workloads {
		p := newPod(t, w, secrets)
		p.start()
		p.probe()
		pods[w.pod.Labels["app.kubernetes.io/component"]] = p
	}
	panel, agent := pods["panel"], pods["agent"]
	cli := commands(t, panel, admin)
	secretFile := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secretFile, []byte(shared), 0o600))

	cli("node", "add", "cluster", "--agent-url", agent.urls["http"], "--secret-file", secretFile, "--endpoint", "vpn.example.com", "--pool", "10.8.0.0/24")
	cli("node", "test", "cluster")
	require.Contains(t, cli("peer", "add", "cluster", "laptop"), "10.8.0.2/32")
	require.Contains(t, cli("peer", "config", "cluster", "laptop"), "Endpoint = vpn.example.com:")
	require.Contains(t, cli("drift"), "in sync")
	require.NoFileExists(t, filepath.Join(panel.root, "var/lib/wgfleet/state/admin.key"), "the keys are the Secret's")
	require.NoFileExists(t, filepath.Join(panel.root, "var/lib/wgfleet/state/master.key"), "the keys are the Secret's")
	scrape(t, b, pods, cli)

	for _, p := range pods {
		p.stop()
	}
	panel.start()
	panel.probe()
	agent.start()
	agent.probe()
	cli = commands(t, panel, admin)
	cli("node", "set", "cluster", "--agent-url", agent.urls["http"]) // only here: the Service's address does not change
	require.Contains(t, cli("drift"), "in sync")
	require.Contains(t, cli("peer", "list", "cluster"), "laptop")
	for _, p := range pods {
		p.stop()
	}
}

// scrape asks what Prometheus asks.
func scrape(t *testing.T, b *bundle, pods map[string]*pod, cli func(args ...string) string) {
	t.Helper()
	var viewer struct{ Key string }
	require.NoError(t, json.Unmarshal([]byte(cli("key", "add", "prometheus", "--json")), &viewer))
	for _, m := range b.monitors {
		for _, e := range m.Spec.Endpoints {
			url := pods[m.Spec.Selector.MatchLabels["app.kubernetes.io/component"]].urls[e.Port] + e.Path
			header := map[string]string{}
			if e.Authorization != nil {
				status, _ := get(t, url, nil)
				require.Equal(t, http.StatusUnauthorized, status, url)
				header["Authorization"] = e.Authorization.Type + " " + viewer.Key
			}
			status, text := get(t, url, header)
			require.Equal(t, http.StatusOK, status, text)
			require.Contains(t, text, "# TYPE ", url)
		}
	}
}

// commands runs the program as a client of the panel, with the administrator's key.
func commands(t *testing.T, panel *pod, admin string) func(args ...string) string {
	t.Helper()
	environ := []string{"WGFLEET_URL=" + panel.urls["http"], "WGFLEET_API_KEY=" + strings.TrimSpace(admin), "HOME=" + t.TempDir()}
	return func(args ...string) string {
		t.Helper()
		return command(t, environ, args...)
	}
}

func wgfleet(t *testing.T, args ...string) string {
	t.Helper()
	return command(t, nil, args...)
}

func command(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = slices.Clone(environ)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	require.NoError(t, err, "%v: %s%s", args, out, said.String())
	return string(out)
}

func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenUDP("udp", nil)
	require.NoError(t, err)
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}
