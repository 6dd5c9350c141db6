package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
)

// console is where a person sits: streams, and what is known of them.
type console struct {
	in       io.Reader
	out      io.Writer
	err      io.Writer
	terminal bool // a person can be asked: standard input and error are terminals
	colour   bool
	environ  []string
}

func newConsole(in, out, err *os.File) *console {
	_, noColour := os.LookupEnv("NO_COLOR")
	return &console{
		in: in, out: out, err: err,
		terminal: isTerminal(in) && isTerminal(err),
		colour:   isTerminal(out) && !noColour && os.Getenv("TERM") != "dumb",
		environ:  os.Environ(),
	}
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// getenv returns a variable, "" where it is not set.
func (c *console) getenv(name string) string {
	for _, kv := range c.environ {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			return v
		}
	}
	return ""
}

// Colours of SGR, see console_codes(4).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

func (c *console) paint(sgr, s string) string {
	if !c.colour {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

func (c *console) printf(format string, args ...any) { fmt.Fprintf(c.out, format, args...) }

// hint tells a person what to do next, beside the output proper.
func (c *console) hint(format string, args ...any) { fmt.Fprintf(c.err, format+"\n", args...) }

// json prints v for programs.
func (c *console) json(v any) error {
	e := json.NewEncoder(c.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print JSON: %w", err)
	}
	return nil
}

// table prints aligned columns; an empty cell becomes a dash.
func (c *console) table(head []string, rows [][]string) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			if cells[i] = printable(cell); cells[i] == "" {
				cells[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the table: %w", err)
	}
	return nil
}

// members prints the members of a JSON object, one a line, in their order.
func (c *console) members(data json.RawMessage) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("the panel's answer can't be read: %w", err)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return fmt.Errorf("the panel's answer can't be read: %w", err)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return fmt.Errorf("the panel's answer can't be read: %w", err)
		}
		text := string(value)
		switch text {
		case "null", "[]", `""`:
			text = "-"
		default:
			if value[0] == '"' {
				if err := json.Unmarshal(value, &text); err != nil {
					return fmt.Errorf("the panel's answer can't be read: %w", err)
				}
			}
		}
		fmt.Fprintf(w, "%v\t%s\n", name, printable(text))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print the members: %w", err)
	}
	return nil
}

// printable drops control characters: names come from others and must not drive the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, s)
}

// plain puts a value of the API into words: texts and numbers as they are, a list as [a b], the
// rest as JSON.
func plain(v any) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case string:
		return printable(v)
	case []string:
		return "[" + printable(strings.Join(v, " ")) + "]"
	case []any:
		parts := make([]string, len(v))
		for i, part := range v {
			parts[i] = plain(part)
		}
		return "[" + strings.Join(parts, " ") + "]"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return printable(fmt.Sprint(v))
	}
	return printable(string(b))
}

// confirm asks a question that only y or yes agrees to. Without a terminal nobody can answer.
func (c *console) confirm(ctx context.Context, question string) error {
	if !c.terminal {
		return errors.New("this needs a yes, and standard input is no terminal: give --yes")
	}
	fmt.Fprintf(c.err, "%s [y/N] ", question)
	answer, err := waitFor(ctx, func() (string, error) { return bufio.NewReader(c.in).ReadString('\n') })
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("not confirmed: nothing was changed")
	}
	return nil
}

// waitFor runs read and gives up when ctx ends; the read itself ends with the process.
func waitFor[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := read()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
