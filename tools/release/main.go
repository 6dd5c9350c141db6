// Command release makes what people download of one commit: static binaries, archives, packages,
// checksums, bills of materials and the notes of the version.
//
// It owns the folder dist. Everything comes from the commit, read by git archive, and from the Go
// module proxy; what lies in the working tree has no part in it. The same commit and version give
// the same bytes on every machine: one Go toolchain, no paths, no host names, and one time, the
// commit's. It refuses a version of another form, a tree that is not clean, a tag of that name on
// another commit, and a version that CHANGELOG.md does not tell of. dist is replaced whole, by a
// rename, or left as it was. Errors are one line on standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, log io.Writer) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.SetOutput(log)
	version := flags.String("version", "", "version to make, such as v1.2.3")
	repo := flags.String("repo", ".", "the checkout")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("there is no argument %q: say -version and -repo", flags.Arg(0))
	}
	dir, err := filepath.Abs(*repo)
	if err != nil {
		return err
	}
	r, err := prepare(ctx, dir, *version)
	if err != nil {
		return err
	}
	r.log = log
	if err := r.make(ctx); err != nil {
		if ctx.Err() != nil {
			return errors.New("interrupted: dist is as it was")
		}
		return err
	}
	return nil
}
