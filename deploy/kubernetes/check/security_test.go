package check_test

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// of the host's agents: all that they have beyond each profile, by the evaluator's own reasons.
var beyond = map[api.Level][]string{
	api.LevelBaseline: {
		"host namespaces: hostNetwork=true",
		"hostPath volumes: volumes \"conf\", \"data\", \"run\", \"sockets\", \"tun\"",
		"hostPort: container \"agent\" uses hostPort 8080",
		"non-default capabilities: container \"agent\" must not include \"NET_ADMIN\" in securityContext.capabilities.add",
	},
	api.LevelRestricted: {
		"host namespaces: hostNetwork=true",
		"hostPort: container \"agent\" uses hostPort 8080",
		"restricted volume types: volumes \"conf\", \"data\", \"run\", \"sockets\", \"tun\" use restricted volume type \"hostPath\"",
		"runAsNonRoot != true: pod or container \"agent\" must set securityContext.runAsNonRoot=true",
		"runAsUser=0: pod must not set runAsUser=0",
		"unrestricted capabilities: container \"agent\" must not include \"NET_ADMIN\" in securityContext.capabilities.add",
	},
}

// security asks what the admission plugin of an API server asks.
func security(b *bundle) []string {
	var f found
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return found{err.Error()}
	}
	forbidden := func(w workload, lv api.LevelVersion) []string {
		var out []string
		for _, r := range evaluator.EvaluatePod(lv, &w.pod.ObjectMeta, &w.pod.Spec) {
			if !r.Allowed {
				out = append(out, strings.TrimSuffix(r.ForbiddenReason+": "+r.ForbiddenDetail, ": "))
			}
		}
		slices.Sort(out)
		return out
	}
	for _, w := range b.workloads {
		ns := b.namespaces[w.meta.Namespace]
		if ns == nil || ns.Labels[api.EnforceLevelLabel] == "" {
			f.add("the namespace of %s enforces no profile", w)
			continue
		}
		enforced, errs := api.PolicyToEvaluate(ns.Labels, api.Policy{})
		if len(errs) > 0 {
			f.add("namespace %s: %v", ns.Name, errs.ToAggregate())
		}
		if no := forbidden(w, enforced.Enforce); len(no) > 0 {
			f.add("%s is refused by its namespace, which is %s: %s", w, enforced.Enforce.Level, strings.Join(no, "; "))
		}
		for _, level := range []api.Level{api.LevelBaseline, api.LevelRestricted} {
			var want []string
			if w.kind == "DaemonSet" {
				want = beyond[level]
			}
			if got := forbidden(w, api.LevelVersion{Level: level, Version: api.LatestVersion()}); !slices.Equal(got, want) {
				f.add("%s is beyond %s by [%s]: expected [%s]", w, level, strings.Join(got, "; "), strings.Join(want, "; "))
			}
		}
		f = append(f, confined(w)...)
	}
	for _, ns := range b.namespaces {
		if level := ns.Labels[api.EnforceLevelLabel]; level != string(api.LevelRestricted) && !slices.ContainsFunc(b.workloads, func(w workload) bool {
			return w.kind == "DaemonSet" && w.meta.Namespace == ns.Name
		}) {
			f.add("namespace %s is %q without need", ns.Name, level)
		}
	}
	return f
}

// confined is what no profile asks for.
func confined(w workload) []string {
	var f found
	if token := w.pod.Spec.AutomountServiceAccountToken; token == nil || *token {
		f.add("%s gets a token of the API server", w)
	}
	c := w.container().SecurityContext
	if c == nil || c.ReadOnlyRootFilesystem == nil || !*c.ReadOnlyRootFilesystem {
		f.add("%s may write to its root", w)
	}
	var add []corev1.Capability
	if w.kind == "DaemonSet" {
		add = []corev1.Capability{"NET_ADMIN"}
	}
	if c == nil || c.Capabilities == nil || !slices.Equal(c.Capabilities.Drop, []corev1.Capability{"ALL"}) || !slices.Equal(c.Capabilities.Add, add) {
		f.add("%s has not just the capabilities %v", w, add)
	}
	if c == nil || c.AllowPrivilegeEscalation == nil || *c.AllowPrivilegeEscalation {
		f.add("%s may gain privileges", w)
	}
	if p := w.pod.Spec.SecurityContext; p == nil || p.SeccompProfile == nil || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		f.add("%s runs without the runtime's seccomp profile", w)
	}
	if r := w.container().Resources; r.Limits.Memory().IsZero() || r.Requests.Memory().IsZero() {
		f.add("%s has no bound of memory", w)
	}
	return f
}
