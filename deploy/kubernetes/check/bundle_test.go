// Package check_test holds what deploy/kubernetes promises: every overlay is built as kubectl builds it, decoded as strictly as
// an API server can, judged by Kubernetes' own pod security evaluator, and its containers are started, with the real program.
// No cluster and no network is needed. It is a module of its own, so that Kubernetes' libraries stay out of the program's.
package check_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// overlays are what is built: those that people apply, and each again with monitoring.
var overlays = []string{"overlays/unprivileged", "overlays/host", "monitored/unprivileged", "monitored/host"}

// bundle is what an overlay makes, by kind.
type bundle struct {
	namespaces map[string]*corev1.Namespace
	workloads  []workload
	services   []*corev1.Service
	policies   []*networkingv1.NetworkPolicy
	monitors   []*monitoringv1.ServiceMonitor
	claims     map[string]bool // NAMESPACE/NAME
}

// workload is what makes pods.
type workload struct {
	kind     string
	meta     metav1.ObjectMeta
	selector *metav1.LabelSelector
	pod      corev1.PodTemplateSpec
	set      *appsv1.StatefulSet // nil for others
}

func (w workload) String() string { return w.kind + " " + w.meta.Namespace + "/" + w.meta.Name }

// container returns the one that each pod of ours has.
func (w workload) container() corev1.Container { return w.pod.Spec.Containers[0] }

// port finds a port of the container; nil where there is none of this name and protocol.
func (w workload) port(name string, protocol corev1.Protocol) *corev1.ContainerPort {
	for _, p := range w.container().Ports {
		if p.Name == name && protocolOf(p.Protocol) == protocolOf(protocol) {
			return &p
		}
	}
	return nil
}

func protocolOf(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

// files is a copy of deploy/kubernetes in memory, with two overlays more.
func files(t *testing.T) filesys.FileSystem {
	t.Helper()
	mem := filesys.MakeFsInMemory()
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "check" {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".yaml" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		return mem.WriteFile(name, b)
	}))
	for _, of := range []string{"unprivileged", "host"} {
		require.NoError(t, mem.WriteFile("monitored/"+of+"/kustomization.yaml", []byte(
			"resources: [../../overlays/"+of+"]\ncomponents: [../../components/monitoring]\n")))
	}
	return mem
}

// build makes an overlay.
func build(fs filesys.FileSystem, overlay string) (*bundle, error) {
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, overlay)
	if err != nil {
		return nil, err
	}
	b := &bundle{namespaces: map[string]*corev1.Namespace{}, claims: map[string]bool{}}
	for _, r := range made.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			return nil, err
		}
		object, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.CurId(), err)
		}
		if err := b.add(object); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// decode refuses what Kubernetes does not know, and keys that come twice.
func decode(text []byte) (runtime.Object, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, networkingv1.AddToScheme, monitoringv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	s := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	object, _, err := s.Decode(text, nil, nil)
	return object, err
}

func (b *bundle) add(object runtime.Object) error {
	switch o := object.(type) {
	case *corev1.Namespace:
		b.namespaces[o.Name] = o
	case *appsv1.StatefulSet:
		b.workloads = append(b.workloads, workload{"StatefulSet", o.ObjectMeta, o.Spec.Selector, o.Spec.Template, o})
	case *appsv1.Deployment:
		b.workloads = append(b.workloads, workload{"Deployment", o.ObjectMeta, o.Spec.Selector, o.Spec.Template, nil})
	case *appsv1.DaemonSet:
		b.workloads = append(b.workloads, workload{"DaemonSet", o.ObjectMeta, o.Spec.Selector, o.Spec.Template, nil})
	case *corev1.Service:
		b.services = append(b.services, o)
	case *networkingv1.NetworkPolicy:
		b.policies = append(b.policies, o)
	case *monitoringv1.ServiceMonitor:
		b.monitors = append(b.monitors, o)
	case *corev1.PersistentVolumeClaim:
		b.claims[o.Namespace+"/"+o.Name] = true
	default:
		return fmt.Errorf("%T is new here: say in this test what must hold for it", o)
	}
	return nil
}

// checks find what is wrong with an overlay, a sentence each.
var checks = map[string]func(*bundle) []string{
	"namespaces": inNamespaces,
	"selectors":  selectors,
	"ports":      ports,
	"monitors":   monitors,
	"probes":     probes,
	"images":     images,
	"volumes":    volumes,
	"security":   security,
	"settings":   settings,
	"limits":     limits,
}

func TestOverlays(t *testing.T) {
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) {
			b, err := build(files(t), overlay)
			require.NoError(t, err)
			require.Len(t, b.workloads, 2, "a panel and agents")
			for _, name := range slices.Sorted(maps.Keys(checks)) {
				t.Run(name, func(t *testing.T) { require.Empty(t, checks[name](b)) })
			}
			if strings.HasPrefix(overlay, "monitored/") {
				require.NotEmpty(t, b.monitors)
			}
		})
	}
}

// Kustomize passes over a key that comes twice: the files themselves are decoded too.
func TestFilesAreStrict(t *testing.T) {
	mem := files(t)
	require.NoError(t, mem.Walk("/", func(path string, d fs.FileInfo, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == "kustomization.yaml" {
			return err
		}
		b, err := mem.ReadFile(path)
		if err != nil {
			return err
		}
		for document := range bytes.SplitSeq(b, []byte("\n---\n")) {
			if _, err := decode(document); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		return nil
	}))
}
