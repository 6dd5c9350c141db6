// Command wgfleet keeps a fleet of WireGuard nodes as it should be: it runs the agent and panel
// roles (serve), and asks a panel what is wrong and to put it right (drift, reconcile).
//
// This package owns arguments, exit statuses and what a person reads; one file a command. It talks
// to a panel through panelclient and starts roles through app. It refuses to guess: a prompt that
// nobody can answer is an error, and so is a name that two things have.
//
// Exit statuses: 0 done or in sync, 1 error, 2 drift, 3 unknown, 130 interrupted. Errors are one
// line on standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Set by the linker, see the Makefile.
var (
	version = "v0.1.0-dev"
	commit  = "unknown"
)

// Exit statuses.
const (
	exitError       = 1
	exitDrift       = 2
	exitUnknown     = 3
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// exitStatus ends the program with a status and nothing more to say.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the default action is back: a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, newConsole(os.Stdin, os.Stdout, os.Stderr), os.Args[1:]))
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, con *console, args []string) int {
	root := newRoot(con)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		return exitInterrupted
	}
	printError(con.err, err)
	return exitError
}

// printError writes one line an error; joined ones are lines already.
func printError(w io.Writer, err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(w, "wgfleet: "+line)
	}
}
