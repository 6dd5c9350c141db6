package check_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// readyWithin is far longer than a start takes on a busy machine.
const readyWithin = time.Minute

// pod is the container of a workload as a kubelet would run it, without a container runtime: the program in a root that it
// can't write to, with the volumes in their places, by the user of the manifest, with no capability.
type pod struct {
	t       *testing.T
	spec    corev1.PodSpec
	root    string
	environ []string
	urls    map[string]string // by the port's name in the manifest
	cmd     *exec.Cmd
	ended   chan error
}

// newPod lays out what the pod sees. Secrets are by name and key.
func newPod(t *testing.T, w workload, secrets map[string]map[string]string) *pod {
	t.Helper()
	p := &pod{t: t, spec: w.pod.Spec, root: t.TempDir(), environ: imageEnv(t)}
	require.NoError(t, os.Chmod(p.root, 0o755))
	b, err := os.ReadFile(program)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.root, "wgfleet"), b, 0o755))
	for _, m := range w.container().VolumeMounts {
		v, ok := volumeOf(w, m.Name)
		require.True(t, ok)
		dir := filepath.Join(p.root, m.MountPath)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		if v.Secret != nil {
			p.secret(dir, v.Secret, secrets[v.Secret.SecretName])
			continue
		}
		p.group(dir, 0o2775)
	}
	for _, e := range w.container().Env {
		require.Nil(t, e.ValueFrom)
		p.environ = append(p.environ, e.Name+"="+e.Value)
	}
	// The ports of the machine that the test runs on are not ours to take.
	for _, name := range []string{"WG_AGENT_PORT", "WGFLEET_PANEL_PORT"} {
		require.NotContains(t, strings.Join(p.environ, "\n"), name)
		p.environ = append(p.environ, name+"=0")
	}
	return p
}

// imageEnv are the variables of the image.
func imageEnv(t *testing.T) []string {
	t.Helper()
	dockerfile, err := os.ReadFile("../../../Dockerfile")
	require.NoError(t, err)
	require.Contains(t, string(dockerfile), "\nENTRYPOINT [\"/wgfleet\"]\n")
	var out []string
	for _, m := range regexp.MustCompile(`(?m)^ENV (\w+=\S+)$`).FindAllStringSubmatch(string(dockerfile), -1) {
		out = append(out, m[1])
	}
	require.NotEmpty(t, out)
	return out
}

// secret lays files as a kubelet does: behind a link that an update moves, root's, for the group to read.
func (p *pod) secret(dir string, s *corev1.SecretVolumeSource, data map[string]string) {
	p.t.Helper()
	const version = "..2026_01_01_00_00_00.1"
	for _, item := range s.Items {
		text, has := data[item.Key]
		require.True(p.t, has, "Secret %s has no key %s", s.SecretName, item.Key)
		file := filepath.Join(dir, version, item.Path)
		require.NoError(p.t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(p.t, os.WriteFile(file, []byte(text), 0o400))
		p.group(file, os.FileMode(*s.DefaultMode)|0o040)
		top, _, _ := strings.Cut(item.Path, "/")
		if err := os.Symlink(path.Join("..data", top), filepath.Join(dir, top)); err != nil {
			require.ErrorIs(p.t, err, os.ErrExist)
		}
	}
	require.NoError(p.t, os.Symlink(version, filepath.Join(dir, "..data")))
}

// group gives a path to the pod's group. Only root can; for others everything is theirs, and nobody else's.
func (p *pod) group(name string, mode os.FileMode) {
	p.t.Helper()
	if os.Geteuid() == 0 {
		require.NoError(p.t, os.Chown(name, 0, int(*p.spec.SecurityContext.FSGroup)))
	} else {
		mode &^= 0o077
	}
	require.NoError(p.t, syscall.Chmod(name, uint32(mode)))
}

// user is the manifest's; who is not root has it in a user namespace.
func (p *pod) user() *syscall.SysProcAttr {
	s := p.spec.SecurityContext
	uid, gid := int(*s.RunAsUser), int(*s.RunAsGroup)
	a := &syscall.SysProcAttr{
		Chroot: p.root, Pdeathsig: syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid), Groups: []uint32{uint32(*s.FSGroup)}},
	}
	if os.Geteuid() != 0 {
		a.Cloneflags = syscall.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: os.Geteuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: os.Getegid(), Size: 1}}
		a.Credential.Groups, a.Credential.NoSetGroups = nil, true
	}
	return a
}

// start runs the container's arguments until the program says that it is ready.
func (p *pod) start() {
	p.t.Helper()
	p.cmd = exec.Command("/wgfleet", p.spec.Containers[0].Args...)
	p.cmd.Dir, p.cmd.Env, p.cmd.SysProcAttr = "/", p.environ, p.user()
	log, err := p.cmd.StderrPipe()
	require.NoError(p.t, err)
	require.NoError(p.t, p.cmd.Start())
	ended := make(chan error, 1)
	p.ended = ended
	ready := make(chan map[string]string, 1)
	go func() {
		var said strings.Builder
		for lines := bufio.NewScanner(log); lines.Scan(); {
			said.WriteString(lines.Text() + "\n")
			var line struct {
				Msg      string
				AgentURL string `json:"agent_url"`
				PanelURL string `json:"panel_url"`
			}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "wgfleet is ready" {
				ready <- map[string]string{help["WG_AGENT_PORT"].def: line.AgentURL, help["WGFLEET_PANEL_PORT"].def: line.PanelURL}
			}
		}
		err := p.cmd.Wait()
		if err != nil {
			p.t.Logf("what it said:\n%s", said.String())
		}
		ended <- err
		close(ended)
	}()
	process := p.cmd.Process
	p.t.Cleanup(func() {
		process.Kill()
		for range ended {
		}
	})
	p.urls = map[string]string{}
	select {
	case byNumber := <-ready:
		for _, port := range p.spec.Containers[0].Ports {
			// Another address than that of loopback: who listens there alone is not called by a kubelet.
			p.urls[port.Name] = strings.Replace(byNumber[strconv.Itoa(int(port.ContainerPort))], "127.0.0.1", "127.0.0.2", 1)
		}
	case err := <-p.ended:
		require.FailNow(p.t, "it ended before it was ready", "%v", err)
	case <-time.After(readyWithin):
		require.FailNow(p.t, "it never was ready")
	}
}

// stop does what a kubelet does first, and gives it the manifest's time.
func (p *pod) stop() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case err := <-p.ended:
		require.NoError(p.t, err, "a signal is no failure")
	case <-time.After(time.Duration(*p.spec.TerminationGracePeriodSeconds) * time.Second):
		require.FailNow(p.t, "it did not stop in time")
	}
}

// probe asks what a kubelet asks.
func (p *pod) probe() {
	p.t.Helper()
	c := p.spec.Containers[0]
	for name, probe := range map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
		status, body := get(p.t, p.urls[probe.HTTPGet.Port.StrVal]+probe.HTTPGet.Path, nil)
		require.Equal(p.t, http.StatusOK, status, "the %s probe: %s", name, body)
	}
}

func get(t *testing.T, url string, header map[string]string) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	for name := range maps.Keys(header) {
		req.Header.Set(name, header[name])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(text)
}
