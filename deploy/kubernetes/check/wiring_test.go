package check_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// found collects sentences.
type found []string

func (f *found) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// matches is strict about a selector that selects everything: none of ours means that.
func matches(s *metav1.LabelSelector, of map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(of))
}

// selected are the workloads of a namespace whose pods have what the selector wants.
func (b *bundle) selected(namespace string, s *metav1.LabelSelector) []workload {
	var out []workload
	for _, w := range b.workloads {
		if w.meta.Namespace == namespace && matches(s, w.pod.Labels) {
			out = append(out, w)
		}
	}
	return out
}

// behind is the one workload of a Service.
func (b *bundle) behind(s *corev1.Service) []workload {
	return b.selected(s.Namespace, &metav1.LabelSelector{MatchLabels: s.Spec.Selector})
}

func inNamespaces(b *bundle) []string {
	var f found
	has := func(what, namespace string) {
		if b.namespaces[namespace] == nil {
			f.add("%s is in the namespace %q, which nothing makes", what, namespace)
		}
	}
	for _, w := range b.workloads {
		has(w.String(), w.meta.Namespace)
	}
	for _, s := range b.services {
		has("Service "+s.Name, s.Namespace)
	}
	for _, p := range b.policies {
		has("NetworkPolicy "+p.Name, p.Namespace)
	}
	for _, m := range b.monitors {
		has("ServiceMonitor "+m.Name, m.Namespace)
	}
	return f
}

func selectors(b *bundle) []string {
	var f found
	for _, w := range b.workloads {
		if !matches(w.selector, w.pod.Labels) {
			f.add("%s does not select its own pods", w)
		}
		if n := len(b.selected(w.meta.Namespace, w.selector)); n > 1 {
			f.add("%s selects pods of others", w)
		}
		if w.set != nil && !slices.ContainsFunc(b.services, func(s *corev1.Service) bool {
			return s.Name == w.set.Spec.ServiceName && s.Namespace == w.meta.Namespace && s.Spec.ClusterIP == corev1.ClusterIPNone &&
				len(b.behind(s)) == 1 && b.behind(s)[0].String() == w.String()
		}) {
			f.add("%s has no headless Service %q", w, w.set.Spec.ServiceName)
		}
	}
	for _, s := range b.services {
		if n := len(b.behind(s)); n != 1 {
			f.add("Service %s selects %d workloads", s.Name, n)
		}
	}
	for _, p := range b.policies {
		if len(b.selected(p.Namespace, &p.Spec.PodSelector)) == 0 {
			f.add("NetworkPolicy %s selects no pods", p.Name)
		}
		for _, rule := range p.Spec.Ingress {
			for _, from := range rule.From {
				if from.PodSelector != nil && from.NamespaceSelector == nil && len(b.selected(p.Namespace, from.PodSelector)) == 0 {
					f.add("NetworkPolicy %s lets in pods that are not there", p.Name)
				}
			}
		}
	}
	return f
}

// ports holds together the names and numbers of ports, on both ends.
func ports(b *bundle) []string {
	var f found
	for _, s := range b.services {
		for _, p := range s.Spec.Ports {
			for _, w := range b.behind(s) {
				if p.TargetPort.Type != intstr.String || w.port(p.TargetPort.StrVal, p.Protocol) == nil {
					f.add("Service %s leads to the port %s %s, which %s does not have", s.Name, p.TargetPort.String(), protocolOf(p.Protocol), w)
				}
			}
		}
	}
	for _, p := range b.policies {
		open := map[string]bool{}
		for _, rule := range p.Spec.Ingress {
			for _, port := range rule.Ports {
				for _, w := range b.selected(p.Namespace, &p.Spec.PodSelector) {
					c := w.port(port.Port.StrVal, *port.Protocol)
					if port.Port.Type != intstr.String || c == nil {
						f.add("NetworkPolicy %s opens the port %s %s, which %s does not have", p.Name, port.Port.String(), *port.Protocol, w)
						continue
					}
					open[w.String()+c.Name] = true
				}
			}
		}
		for _, w := range b.selected(p.Namespace, &p.Spec.PodSelector) {
			for _, c := range w.container().Ports {
				if p.Name == w.meta.Name && !open[w.String()+c.Name] {
					f.add("NetworkPolicy %s closes the port %s of %s", p.Name, c.Name, w)
				}
			}
		}
	}
	return append(f, outward(b)...)
}

// outward: the panel may call its agents, wherever those are.
func outward(b *bundle) []string {
	var f found
	for _, p := range b.policies {
		to := map[string]bool{}
		for _, rule := range p.Spec.Egress {
			for _, port := range rule.Ports {
				to[port.Port.String()] = true
			}
		}
		for _, w := range b.workloads {
			http := w.port("http", corev1.ProtocolTCP)
			if len(p.Spec.Egress) > 0 && w.pod.Labels["app.kubernetes.io/component"] == "agent" && (http == nil || !to[fmt.Sprint(http.ContainerPort)]) {
				f.add("NetworkPolicy %s lets nobody call %s", p.Name, w)
			}
		}
	}
	return f
}

// monitors find each workload once, by a port that its Service has.
func monitors(b *bundle) []string {
	var f found
	scraped := map[string]int{}
	for _, m := range b.monitors {
		n := 0
		for _, s := range b.services {
			if !slices.Contains(namespacesOf(m), s.Namespace) || !matches(&m.Spec.Selector, s.Labels) {
				continue
			}
			n++
			for _, e := range m.Spec.Endpoints {
				if !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == e.Port }) {
					f.add("ServiceMonitor %s wants the port %q, which Service %s does not have", m.Name, e.Port, s.Name)
				}
			}
			for _, w := range b.behind(s) {
				scraped[w.String()] += len(m.Spec.Endpoints)
			}
		}
		if n == 0 {
			f.add("ServiceMonitor %s selects no Service", m.Name)
		}
	}
	for _, w := range b.workloads {
		if n := scraped[w.String()]; len(b.monitors) > 0 && n != 1 {
			f.add("%s is scraped %d times", w, n)
		}
	}
	return f
}

func namespacesOf(m *monitoringv1.ServiceMonitor) []string {
	if names := m.Spec.NamespaceSelector.MatchNames; len(names) > 0 {
		return names
	}
	return []string{m.Namespace}
}

func probes(b *bundle) []string {
	var f found
	for _, w := range b.workloads {
		c := w.container()
		for name, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
			switch {
			case p == nil || p.HTTPGet == nil:
				f.add("%s has no %s probe by HTTP", w, name)
			case p.HTTPGet.Port.Type != intstr.String || w.port(p.HTTPGet.Port.StrVal, corev1.ProtocolTCP) == nil:
				f.add("the %s probe of %s asks the port %s, which is not there", name, w, p.HTTPGet.Port.String())
			}
		}
	}
	return f
}

// versionInDockerfile is what the image is made as, where nobody says otherwise.
var versionInDockerfile = regexp.MustCompile(`(?m)^ARG VERSION=(\S+)$`)

func images(b *bundle) []string {
	var f found
	dockerfile, err := os.ReadFile("../../../Dockerfile")
	version := versionInDockerfile.FindSubmatch(dockerfile)
	if err != nil || version == nil {
		f.add("the Dockerfile says no version: %v", err)
		return f
	}
	want := "wgfleet:" + string(version[1])
	for _, w := range b.workloads {
		for _, c := range slices.Concat(w.pod.Spec.InitContainers, w.pod.Spec.Containers) {
			if c.Image != want {
				f.add("%s runs the image %s: expected %s", w, c.Image, want)
			}
		}
		if n := len(w.pod.Spec.Containers) + len(w.pod.Spec.InitContainers); n != 1 {
			f.add("%s has %d containers: say in this test what the others are", w, n)
		}
	}
	return f
}
