package sizing

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wgfleet/wgfleet/test/binary"
)

// process is a running `wgfleet serve` on netstack, on ports that were free.
type process struct {
	b       *testing.B
	home    string
	started time.Duration // until it answered

	*binary.Process
}

// readyWithin is how long the start may take.
const readyWithin = 5 * time.Minute

// serve starts a process with that home and waits until it answers. It ends with the benchmark.
func serve(b *testing.B, home string, args ...string) *process {
	b.Helper()
	p := &process{b: b, home: home}
	began := time.Now()
	p.Process = binary.Start(b, binary.Options{Within: readyWithin, Args: append([]string{"serve"}, args...), Env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "WG_AGENT_SECRET=" + secret, "WG_AGENT_HOST=127.0.0.1", "WG_AGENT_PORT=0",
		"WGFLEET_PANEL_PORT=0", "WGFLEET_ADMIN_KEY=" + secret, "WGFLEET_BACKEND=netstack", "WGFLEET_RATE_LIMIT=off",
		"WG_AGENT_LOG_LEVEL=INFO", "WGFLEET_DATA_DIR=" + filepath.Join(home, "data"), "WGFLEET_CONF_DIR=" + filepath.Join(home, "wireguard"),
	}})
	p.started = time.Since(began)
	return p
}

// memory returns a field of /proc/PID/status in MB, as VmRSS (what it has now) or VmHWM (the most that it had).
func (p *process) memory(field string) float64 {
	p.b.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	require.NoError(p.b, err)
	for line := range strings.Lines(string(b)) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == field+":" {
			kB, err := strconv.ParseFloat(words[1], 64)
			require.NoError(p.b, err)
			return kB * 1024 / 1e6
		}
	}
	p.b.Fatalf("no %s", field)
	return 0
}

// ticks a second in /proc/PID/stat: USER_HZ, see proc(5).
const ticks = 100

// cpu returns the seconds of processor that it used so far.
func (p *process) cpu() float64 {
	p.b.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	require.NoError(p.b, err)
	_, rest, _ := bytes.Cut(b, []byte(") ")) // the name may hold spaces
	words := strings.Fields(string(rest))
	user, err := strconv.ParseFloat(words[11], 64)
	require.NoError(p.b, err)
	system, err := strconv.ParseFloat(words[12], 64)
	require.NoError(p.b, err)
	return (user + system) / ticks
}

// disk returns what the data folder takes, in MB of blocks: files may have holes.
func (p *process) disk() float64 {
	p.b.Helper()
	var blocks int64
	err := filepath.WalkDir(filepath.Join(p.home, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			blocks += st.Blocks
		}
		return nil
	})
	require.NoError(p.b, err)
	return float64(blocks) * 512 / 1e6
}

// idle waits, and returns what of one processor the processes used meanwhile, in percent.
func idle(processes ...*process) []float64 {
	before := make([]float64, len(processes))
	for i, p := range processes {
		before[i] = p.cpu()
	}
	<-time.After(window)
	used := make([]float64, len(processes))
	for i, p := range processes {
		used[i] = 100 * (p.cpu() - before[i]) / window.Seconds()
	}
	return used
}
