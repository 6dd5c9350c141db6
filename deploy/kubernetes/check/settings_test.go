package check_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// program is the real one, built from this tree; help is what `serve --help` says of each setting.
var (
	program string
	help    map[string]setting // by variable
)

// buildWithin is for a machine that has built nothing yet, and is busy.
const buildWithin = 10 * time.Minute

type setting struct {
	flag   string
	toggle bool // its flag needs no value
	def    string
}

var helpLine = regexp.MustCompile(`(?m)^ +--([a-z-]+)(\[=true\|false\])? .*\[\$([A-Z_]+)(?:, [a-z_.]+)?\](?: \(default "?([^")]*)"?\))?$`)

func TestMain(m *testing.M) {
	code, err := withProgram(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withProgram(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "wgfleet-deploy-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "wgfleet")
	ctx, cancel := context.WithTimeout(context.Background(), buildWithin)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./cmd/wgfleet")
	build.Dir, build.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("build the program: %w\n%s", err, out)
	}
	text, err := exec.CommandContext(ctx, program, "serve", "--help").Output()
	if err != nil {
		return 0, fmt.Errorf("ask for the settings: %w", err)
	}
	help = map[string]setting{}
	for _, l := range helpLine.FindAllStringSubmatch(string(text), -1) {
		help[l[3]] = setting{flag: l[1], toggle: l[2] != "", def: l[4]}
	}
	if len(help) < 40 || help["WG_AGENT_PORT"] != (setting{"agent-port", false, "8080"}) || !help["WGFLEET_PANEL"].toggle {
		return 0, fmt.Errorf("the settings in the help are not understood any more: %v", help)
	}
	return m.Run(), nil
}

// given is what a container's variables and arguments say of a setting, else its default.
func given(c corev1.Container, variable string) string {
	value := help[variable].def
	for _, e := range c.Env {
		if e.Name == variable {
			value = e.Value
			if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
				value = e.ValueFrom.FieldRef.FieldPath
			}
		}
	}
	for i, arg := range c.Args {
		name, text, has := strings.Cut(arg, "=")
		if name != "--"+help[variable].flag {
			continue
		}
		switch {
		case has:
			value = text
		case help[variable].toggle:
			value = "true"
		case i+1 < len(c.Args):
			value = c.Args[i+1]
		}
	}
	return value
}

// settings are those that the program has, and the numbers of ports are those that it then listens on.
func settings(b *bundle) []string {
	var f found
	for _, w := range b.workloads {
		c := w.container()
		if links := w.pod.Spec.EnableServiceLinks; links == nil || *links {
			f.add("%s has service links: a Service named wgfleet-panel sets WGFLEET_PANEL_PORT", w)
		}
		if len(c.Command) > 0 || len(c.Args) == 0 || c.Args[0] != "serve" || len(c.EnvFrom) > 0 {
			f.add("%s does not run the image's program as `serve`, or takes variables from elsewhere", w)
			continue
		}
		for _, e := range c.Env {
			if _, known := help[e.Name]; !known {
				f.add("%s sets %s, which is no setting", w, e.Name)
			}
		}
		for i := 1; i < len(c.Args); i++ {
			name, _, has := strings.Cut(c.Args[i], "=")
			known, toggle := flagOf(name)
			if !known {
				f.add("%s is run with %s, which is no flag", w, c.Args[i])
			} else if !toggle && !has {
				i++ // its value
			}
		}
		host, port := "WG_AGENT_HOST", "WG_AGENT_PORT"
		if given(c, "WGFLEET_NO_AGENT") == "true" {
			host, port = "WGFLEET_PANEL_HOST", "WGFLEET_PANEL_PORT"
		}
		if p := w.port("http", corev1.ProtocolTCP); p == nil || fmt.Sprint(p.ContainerPort) != given(c, port) {
			f.add("%s listens on %s: its port http is another", w, given(c, port))
		}
		if h := given(c, host); h != "0.0.0.0" && h != "status.hostIP" {
			f.add("%s listens on %s, where nobody calls it", w, h)
		}
	}
	return f
}

func flagOf(name string) (known, toggle bool) {
	for _, s := range help {
		if "--"+s.flag == name {
			return true, s.toggle
		}
	}
	return false, false
}

// volumes hold each path that a setting names, where it may be read or written.
func volumes(b *bundle) []string {
	var f found
	for _, w := range b.workloads {
		c, spec := w.container(), w.pod.Spec
		files, folders := map[string]bool{}, map[string]bool{}
		for _, m := range c.VolumeMounts {
			v, ok := volumeOf(w, m.Name)
			switch {
			case !ok:
				f.add("%s mounts the volume %s, which is not there", w, m.Name)
			case v.Secret != nil:
				for _, item := range v.Secret.Items {
					files[path.Join(m.MountPath, item.Path)] = true
				}
				if !m.ReadOnly || v.Secret.DefaultMode == nil || *v.Secret.DefaultMode != 0o400 {
					f.add("%s mounts the Secret %s not for its reading alone", w, v.Secret.SecretName)
				}
			case v.PersistentVolumeClaim != nil && !b.claims[w.meta.Namespace+"/"+v.PersistentVolumeClaim.ClaimName]:
				f.add("%s claims %s, which is not there", w, v.PersistentVolumeClaim.ClaimName)
			case !m.ReadOnly:
				folders[m.MountPath] = true
			}
		}
		for _, v := range spec.Volumes {
			if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name }) {
				f.add("%s mounts the volume %s nowhere", w, v.Name)
			}
		}
		for _, e := range c.Env {
			switch {
			case strings.HasSuffix(e.Name, "_FILE") && !files[e.Value]:
				f.add("%s: %s names %s, which no Secret holds", w, e.Name, e.Value)
			case e.Name == "WGFLEET_SEED_DIR" && !files[e.Value+"/wg0.conf"]:
				f.add("%s: no Secret holds %s/wg0.conf", w, e.Value)
			case e.Name == "WGFLEET_CONF_DIR" && !folders[e.Value]:
				f.add("%s: %s is not a volume", w, e.Value)
			}
		}
		// A volume with a group belongs to root: the program could not close it to others.
		data, grouped := given(c, "WGFLEET_DATA_DIR"), spec.SecurityContext != nil && spec.SecurityContext.FSGroup != nil
		if grouped && !folders[path.Dir(data)] || !grouped && !folders[data] {
			f.add("%s: the data folder %s is not where it can be", w, data)
		}
	}
	return f
}

func volumeOf(w workload, name string) (corev1.Volume, bool) {
	if i := slices.IndexFunc(w.pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name }); i >= 0 {
		return w.pod.Spec.Volumes[i], true
	}
	return corev1.Volume{}, w.set != nil && slices.ContainsFunc(w.set.Spec.VolumeClaimTemplates, func(c corev1.PersistentVolumeClaim) bool {
		return c.Name == name
	})
}

// limits: the gateway refuses flows before the kernel ends the process.
func limits(b *bundle) []string {
	var f found
	for _, w := range b.workloads {
		c := w.container()
		if given(c, "WGFLEET_BACKEND") != "netstack" {
			continue
		}
		memory, err := resource.ParseQuantity(given(c, "WGFLEET_GATEWAY_MEMORY"))
		if err != nil || memory.Cmp(*c.Resources.Limits.Memory()) >= 0 {
			f.add("%s: the gateway's memory %s is not below the container's %s", w, given(c, "WGFLEET_GATEWAY_MEMORY"), c.Resources.Limits.Memory())
		}
	}
	return f
}
