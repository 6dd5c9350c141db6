package check_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	panelFile      = "base/panel/statefulset.yaml"
	agentFile      = "base/agent/deployment.yaml"
	nodeFile       = "base/node/daemonset.yaml"
	panelService   = "base/panel/service.yaml"
	agentService   = "base/agent/service.yaml"
	panelPolicy    = "base/panel/networkpolicy.yaml"
	agentPolicy    = "base/agent/networkpolicy.yaml"
	panelNamespace = "base/panel/namespace.yaml"
	monitorFile    = "components/monitoring/servicemonitor.yaml"
)

// Each check sees what it is there for: one edit of one file, and what is said of it.
var broken = []struct{ check, file, old, by, says string }{
	{"decode", panelFile, "terminationGracePeriodSeconds:", "terminationGracePeriod:", "unknown field"},
	{"decode", nodeFile, "hostNetwork: true", "hostnetwork: true", `unknown field "spec.template.spec.hostnetwork"`},
	{"decode", agentFile, "replicas: 1", "replicas: one", "cannot unmarshal"},
	{"decode", agentFile, "256Mi", "256Mb", "quantities must match"},
	{"decode", monitorFile, "interval: 30s", "intervall: 30s", `unknown field "spec.endpoints[0].intervall"`},
	{"decode", panelFile, "serviceName:", "hostUsers: true\n  serviceName:", `unknown field "spec.hostUsers"`},

	{"namespaces", "components/monitoring/networkpolicy.yaml", "namespace: wgfleet", "namespace: elsewhere", `"elsewhere", which nothing makes`},

	{"selectors", panelFile, "component: panel\n  template", "component: panels\n  template", "does not select its own pods"},
	{"selectors", agentFile, "      app.kubernetes.io/component: agent\n  template", "  template", "selects pods of others"},
	{"selectors", panelFile, "serviceName: wgfleet-panel-headless", "serviceName: wgfleet-panel", `no headless Service "wgfleet-panel"`},
	{"selectors", agentService, "    app.kubernetes.io/component: agent\n  ports", "    app.kubernetes.io/component: agents\n  ports", "selects 0 workloads"},
	{"selectors", agentService, "    app.kubernetes.io/component: agent\n  ports", "  ports", "selects 2 workloads"},
	{"selectors", panelPolicy, "component: panel\n  policyTypes", "component: panels\n  policyTypes", "NetworkPolicy wgfleet-panel selects no pods"},
	{"selectors", agentPolicy, "component: panel\n", "component: panels\n", "lets in pods that are not there"},

	{"ports", panelService, "targetPort: http", "targetPort: web", "leads to the port web TCP"},
	{"ports", agentService, "protocol: UDP", "protocol: TCP", "leads to the port wireguard TCP"},
	{"ports", agentPolicy, "port: wireguard", "port: wg", "opens the port wg UDP"},
	{"ports", agentPolicy, "{protocol: UDP, port: wireguard}", "{protocol: TCP, port: http}", "closes the port wireguard"},
	{"ports", panelPolicy, "port: 8080", "port: 8081", "lets nobody call Deployment"},
	{"ports", nodeFile, "containerPort: 8080", "containerPort: 8088", "lets nobody call DaemonSet"},

	{"monitors", monitorFile, "component: panel\n", "component: panels\n", "ServiceMonitor wgfleet-panel selects no Service"},
	{"monitors", monitorFile, "port: http", "port: metrics", `wants the port "metrics"`},
	{"monitors", monitorFile, "matchNames: [wgfleet, wgfleet-nodes]", "matchNames: [wgfleet]", "scraped 0 times"},
	{"monitors", "base/panel/service.yaml", "panel-headless\n  labels:\n", "panel-headless\n  labels:\n    app.kubernetes.io/component: panel\n", "scraped 2 times"},

	{"probes", panelFile, "readinessProbe:\n            httpGet: {path: /api/health, port: http}", "readinessProbe:\n            httpGet: {path: /api/health, port: web}", "asks the port web"},
	{"probes", nodeFile, "readinessProbe:\n            httpGet: {path: /health, port: http}", "readinessProbe:\n            tcpSocket: {port: http}", "has no readiness probe"},

	{"images", "components/image/kustomization.yaml", "newTag: v0.1.0-dev", "newTag: latest", "runs the image wgfleet:latest"},
	{"images", agentFile, "image: wgfleet\n", "image: wgfleet-agent\n", "runs the image wgfleet-agent"},

	{"volumes", agentFile, "- name: data\n              mountPath", "- name: date\n              mountPath", "mounts the volume date, which is not there"},
	{"volumes", agentFile, "claimName: wgfleet-agent", "claimName: agent", "claims agent"},
	{"volumes", agentFile, "interfaces/wg0.conf", "wg0.conf", "no Secret holds /run/secrets/wgfleet/interfaces/wg0.conf"},
	{"volumes", panelFile, "path: master-key", "path: masterkey", "WGFLEET_MASTER_KEY_FILE names"},
	{"volumes", panelFile, "/var/lib/wgfleet/state", "/var/lib/wgfleet", "the data folder /var/lib/wgfleet is not where"},
	{"volumes", nodeFile, "mountPath: /etc/wireguard", "mountPath: /etc/wg", "/etc/wireguard is not a volume"},
	{"volumes", nodeFile, "defaultMode: 0400", "defaultMode: 0444", "not for its reading alone"},

	{"security", panelNamespace, "    pod-security.kubernetes.io/enforce: restricted\n", "", "enforces no profile"},
	{"security", panelNamespace, "enforce: restricted", "enforce: privileged", "is \"privileged\" without need"},
	{"security", panelNamespace, "enforce-version: latest", "enforce-version: newest", "enforce-version"},
	{"security", "base/node/namespace.yaml", "enforce: privileged", "enforce: baseline", "refused by its namespace, which is baseline"},
	{"security", agentFile, "drop: [ALL]", "drop: [NET_RAW]", "refused by its namespace, which is restricted"},
	{"security", panelFile, "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot != true"},
	{"security", nodeFile, "add: [NET_ADMIN]", "add: [NET_ADMIN, SYS_ADMIN]", "SYS_ADMIN"},
	{"security", nodeFile, "hostNetwork: true", "hostNetwork: true\n      hostPID: true", "hostPID=true"},
	{"security", nodeFile, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "may write to its root"},
	{"security", nodeFile, "automountServiceAccountToken: false", "automountServiceAccountToken: true", "token of the API server"},
	{"security", nodeFile, "limits: {memory: 256Mi}", "limits: {}", "no bound of memory"},

	{"settings", panelFile, "WGFLEET_ADMIN_KEY_FILE", "WGFLEET_ADMIN_FILE", "sets WGFLEET_ADMIN_FILE, which is no setting"},
	{"settings", panelFile, "--no-agent", "--no-agents", "--no-agents, which is no flag"},
	{"settings", panelFile, "enableServiceLinks: false", "enableServiceLinks: true", "service links"},
	{"settings", panelFile, "value: 0.0.0.0", "value: 127.0.0.1", "where nobody calls it"},
	{"settings", nodeFile, "containerPort: 8080", "containerPort: 8088", "listens on 8080"},
	{"settings", agentFile, "args: [serve]", "args: [demo]", "as `serve`"},

	{"limits", agentFile, "value: 192M", "value: 300M", "is not below"},
}

func TestChecksSee(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range broken {
		t.Run(c.check+"/"+c.says, func(t *testing.T) {
			fs := files(t)
			text, err := fs.ReadFile(c.file)
			require.NoError(t, err)
			require.Contains(t, string(text), c.old)
			require.NoError(t, fs.WriteFile(c.file, []byte(strings.Replace(string(text), c.old, c.by, 1))))
			overlay := "monitored/unprivileged"
			if strings.Contains(c.file, "node") || strings.Contains(c.by, "matchNames") {
				overlay = "monitored/host"
			}
			b, err := build(fs, overlay)
			if c.check == "decode" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.Contains(t, strings.Join(checks[c.check](b), "\n"), c.says)
		})
		seen[c.check] = true
	}
	for name := range checks {
		require.True(t, seen[name], "nothing shows that the check %s sees anything", name)
	}
}
