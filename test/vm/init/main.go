//go:build amd64

// Command init is the first process of the virtual machine that .ci/test-kernel boots: it mounts what
// a program expects, loads the modules of /plan.json, runs its programs one after the other and ends
// the machine with their result; or it becomes the program that the plan says, such as systemd.
//
// It owns the whole machine and refuses to run as anything but process 1. The result is a line
// "vm: exit N" on the console, which a kernel that fell over cannot have written, and the exit status
// of QEMU through its isa-debug-exit device.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// debugExit is the port at which QEMU's isa-debug-exit listens: N makes it exit with 2N+1.
const debugExit = 0xf4

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: this is the first process of a test machine, see .ci/test-kernel")
		os.Exit(2)
	}
	code := 0
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stdout, "vm:", err)
		code = 1
	}
	fmt.Fprintf(os.Stdout, "\nvm: exit %d\n", code)
	if err := powerOff(byte(code)); err != nil {
		fmt.Fprintln(os.Stdout, "vm: power off:", err)
	}
}

func run(out io.Writer) error {
	if err := mounts(); err != nil {
		return err
	}
	b, err := os.ReadFile("/plan.json")
	if err != nil {
		return err
	}
	var plan struct {
		Modules  []string
		Programs [][]string
		Boot     string
	}
	if err := json.Unmarshal(b, &plan); err != nil {
		return err
	}
	for _, m := range plan.Modules {
		if err := load(m); err != nil {
			return err
		}
	}
	if err := loopback(); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	if plan.Boot != "" {
		return fmt.Errorf("%s: %w", plan.Boot, unix.Exec(plan.Boot, []string{plan.Boot}, []string{"PATH=/usr/sbin:/usr/bin"}))
	}
	var failed []error
	for _, p := range plan.Programs {
		start := time.Now()
		err := program(p)
		fmt.Fprintf(out, "vm: %s: %v, %.1f s\n", p[0], result(err), time.Since(start).Seconds())
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

func result(err error) string {
	if err != nil {
		return "FAILED"
	}
	return "passed"
}

func mounts() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"tmpfs", "/tmp"},
		{"tmpfs", "/run"},
		{"tracefs", "/sys/kernel/tracing"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	return nil
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

func program(words []string) error {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	p, err := os.StartProcess(words[0], words, &os.ProcAttr{
		Dir: "/tmp", Env: []string{"PATH=/", "HOME=/tmp", "TMPDIR=/tmp"},
		Files: []*os.File{null, os.Stdout, os.Stdout},
	})
	if err != nil {
		return err
	}
	s, err := p.Wait()
	if err != nil {
		return err
	}
	if !s.Success() {
		return fmt.Errorf("%s: %v", words[0], s)
	}
	return nil
}

// powerOff does not return where QEMU has the device.
func powerOff(code byte) error {
	drained := unix.IoctlSetInt(unix.Stdout, unix.TCSBRK, 1) // tcdrain(3): the last lines are still on their way
	runtime.LockOSThread()                                   // the permission is the thread's
	permitted := unix.Ioperm(debugExit, 1, 1)
	if permitted == nil {
		outb(debugExit, code)
	}
	return errors.Join(drained, permitted, unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

// outb writes a byte to an I/O port: port_amd64.s. Debian's cloud kernel has no /dev/port.
func outb(port uint16, value byte)
