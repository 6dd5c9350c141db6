package link

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/wgfleet/wgfleet/engine"
)

// hookGrace is how long the output of a hook is read after it ended: it may have left a daemon that
// holds its end open.
const hookGrace = time.Second

// hookEnv are the variables that a hook sees. The process itself has secrets in others.
var hookEnv = []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ"}

// RunHook runs one PreUp, PostUp, PreDown or PostDown command of wg-quick(8), with %i replaced already;
// the shell is bash where there is one. Each line of its output becomes one line of the log, without
// what looks like a key. It ends with everything it started when ctx does. The error has the exit
// status and the last line of the output.
func RunHook(ctx context.Context, command, ifname string, logger *slog.Logger) error {
	return runProgram(ctx, "hook", ifname, exec.CommandContext(ctx, shell(), "-c", command), logger)
}

// runProgram runs cmd, made with ctx, as RunHook says; what names it in the log and in the error.
func runProgram(ctx context.Context, what, ifname string, cmd *exec.Cmd, logger *slog.Logger) error {
	out := &lineLog{log: logger.With("interface", ifname, "program", what)}
	cmd.Stdout, cmd.Stderr = out, out // one writer: exec never writes to it from two goroutines
	cmd.WaitDelay = hookGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = []string{} // nil would be all that the process has
	for _, name := range hookEnv {
		if v, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	err := cmd.Run()
	out.end()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s of %s: ended before it was done: %w", what, ifname, ctx.Err())
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // done; a daemon holds its output
		return nil
	case out.last != "":
		return fmt.Errorf("%s of %s: %w: %s", what, ifname, err, out.last)
	}
	return fmt.Errorf("%s of %s: %w", what, ifname, err)
}

func shell() string {
	const bash = "/bin/bash"
	if _, err := os.Stat(bash); err == nil {
		return bash
	}
	return "/bin/sh"
}

// maxLine is where a line of output is cut.
const maxLine = 4 << 10

// lineLog logs what is written to it, line by line, and keeps the last line that says anything.
type lineLog struct {
	log  *slog.Logger
	part []byte
	last string
}

func (l *lineLog) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		advance, line, _ := bufio.ScanLines(p, false)
		if advance == 0 {
			l.keep(p)
			break
		}
		l.keep(line)
		l.end()
		p = p[advance:]
	}
	return n, nil
}

func (l *lineLog) keep(p []byte) {
	l.part = append(l.part, p[:min(len(p), maxLine-len(l.part))]...)
}

func (l *lineLog) end() {
	if line := engine.RedactKeys(string(bytes.TrimSpace(l.part))); line != "" {
		l.log.Info("program output", "said", line)
		l.last = line
	}
	l.part = l.part[:0]
}
