package main

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/wgfleet/wgfleet/cmd/internal/app"
	"github.com/wgfleet/wgfleet/cmd/internal/panelclient"
	"github.com/wgfleet/wgfleet/engine"
	"github.com/wgfleet/wgfleet/engine/userspace"
	"github.com/wgfleet/wgfleet/store/backup/backuptest"
)

func TestMain(m *testing.M) {
	backuptest.Cheap()
	testscript.Main(m, map[string]func(){"wgfleet": main})
}

// host is one wgfleet with both roles, as `serve --panel` runs it, and the handle of its devices.
type host struct {
	app.Ready
	backend engine.Backend
}

// startHost runs both roles in this process, on netstack and free ports, until stop is called.
func startHost(dir string) (h host, stop func() error, err error) {
	settings, err := app.Load(app.Sources{Environ: []string{
		"WGFLEET_PANEL=true", "WGFLEET_PANEL_PORT=0", "WG_AGENT_HOST=127.0.0.1", "WG_AGENT_PORT=0",
		"WGFLEET_BACKEND=netstack", "WGFLEET_DATA_DIR=" + dir, "WGFLEET_CONF_DIR=" + filepath.Join(dir, "wireguard"),
	}})
	if err != nil {
		return h, nil, err
	}
	h = host{backend: userspace.NewNetstack(userspace.Options{})}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan app.Ready, 1), make(chan error, 1)
	go func() {
		ended <- app.Run(ctx, settings, app.Streams{
			Out: io.Discard, Log: io.Discard, Version: "test", Backend: h.backend,
			Ready: func(r app.Ready) { ready <- r },
		})
	}()
	stop = func() error {
		cancel()
		return <-ended
	}
	select {
	case h.Ready = <-ready:
		return h, stop, nil
	case err := <-ended:
		cancel()
		return h, nil, err
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			h, stop, err := startHost(filepath.Join(e.WorkDir, ".host"))
			if err != nil {
				return err
			}
			e.Defer(func() {
				if err := stop(); err != nil {
					e.T().Fatal(err)
				}
			})
			e.Setenv("WGFLEET_URL", h.PanelURL)
			e.Setenv("WGFLEET_API_KEY", string(h.AdminKey))
			e.Setenv("AGENT", h.AgentURL)
			e.Setenv("NODE", h.NodeID)
			e.Setenv("DATA", filepath.Join(e.WorkDir, ".host"))
			e.Values["host"] = h
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"device":     deviceCommand,
			"exit":       exitCommand,
			"awaitevent": awaitEventCommand,
			"fresh":      freshCommand,
		},
	})
}

// deviceCommand changes the interface behind the panel's back:
//
//	device drop PEER        removes a peer that the panel knows by name
//	device keepalive PEER   changes its keepalive
//	device stranger PREFIX  adds a peer that the panel does not know
func deviceCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: device drop|keepalive|stranger ARG")
	}
	h := ts.Value("host").(host)
	ctx := context.Background()
	d, err := h.backend.Attach(ctx, "wg0")
	ts.Check(err)
	o, err := d.Observe(ctx)
	ts.Check(err)
	var change engine.PeerChange
	switch args[0] {
	case "stranger":
		key, err := wgtypes.GeneratePrivateKey()
		ts.Check(err)
		prefix, err := engine.ParsePrefix(args[1])
		ts.Check(err)
		change.After = &engine.Peer{PublicKey: key.PublicKey(), AllowedIPs: []netip.Prefix{prefix}}
	default:
		before, ok := engine.Lookup(o.Peers, publicKeyOf(ts, h, args[1]))
		if !ok {
			ts.Fatalf("the device has no peer %s", args[1])
		}
		change.Before = &before
		if args[0] == "keepalive" {
			after := before
			after.PersistentKeepalive += 7
			change.After = &after
		}
	}
	ts.Check(d.Configure(ctx, engine.Changes{Peers: []engine.PeerChange{change}}))
}

func publicKeyOf(ts *testscript.TestScript, h host, name string) wgtypes.Key {
	c, err := panelclient.New(panelclient.Options{URL: h.PanelURL, Key: string(h.AdminKey)})
	ts.Check(err)
	_, p, err := findPeer(context.Background(), c, h.NodeID, name)
	ts.Check(err)
	k, err := wgtypes.ParseKey(p.PublicKey)
	ts.Check(err)
	return k
}

// exitCommand runs wgfleet and demands an exit status: exit 2 drift --json.
func exitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit STATUS ARG…")
	}
	err := ts.Exec("wgfleet", args[1:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("wgfleet %s ended with %s, expected %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// Every command has an example and a sentence, and each example names commands and flags that exist.
func TestHelp(t *testing.T) {
	root := newRoot(&console{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	var walk func(path []string)
	walk = func(path []string) {
		c, _, err := root.Find(path)
		require.NoError(t, err)
		require.NotEmpty(t, c.Short, path)
		require.NotEmpty(t, c.Example, path)
		for line := range strings.SplitSeq(c.Example, "\n") {
			if args, ok := strings.CutPrefix(strings.TrimSpace(line), "wgfleet "); ok {
				args, _, _ = strings.Cut(args, " |")
				found, _, err := root.Find(strings.Fields(args))
				require.NoError(t, err, line)
				require.NotEqual(t, root, found, line)
				for word := range strings.FieldsSeq(args) {
					if name, isFlag := strings.CutPrefix(word, "--"); isFlag {
						name, _, _ = strings.Cut(name, "=")
						require.NotNil(t, found.Flag(name), line)
					}
				}
			}
		}
		for _, sub := range c.Commands() {
			if sub.Name() != "help" && sub.Name() != "completion" {
				walk(append(slices.Clone(path), sub.Name()))
			}
		}
	}
	walk(nil)
}

func TestConfirm(t *testing.T) {
	for answer, agreed := range map[string]bool{"y\n": true, "YES\n": true, "\n": false, "n\n": false, "": false, "yellow\n": false} {
		var asked bytes.Buffer
		con := &console{in: strings.NewReader(answer), out: io.Discard, err: &asked, terminal: true}
		err := con.confirm(t.Context(), "Remove it?")
		require.Equal(t, agreed, err == nil, answer)
		require.Equal(t, "Remove it? [y/N] ", asked.String())
	}
	con := &console{in: strings.NewReader("y\n"), out: io.Discard, err: io.Discard}
	require.ErrorContains(t, con.confirm(t.Context(), "Remove it?"), "give --yes", "nobody is there to answer")
}

// A prompt does not keep Ctrl-C waiting.
func TestInterruptedPrompt(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer w.Close()
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	con := &console{in: r, out: io.Discard, err: io.Discard}
	require.Equal(t, exitInterrupted, run(ctx, con, []string{"pubkey"}))
}

func TestColour(t *testing.T) {
	con := &console{}
	require.Equal(t, "text", con.paint(red, "text"))
	con.colour = true
	require.Equal(t, "\x1b[31mtext\x1b[0m", con.paint(red, "text"))
	require.Equal(t, "name[31m", printable("na\x1bme\x07[31m"), "names do not drive the terminal")
}

// awaitEventCommand waits until an event of the kind is in the log: awaitevent KIND.
func awaitEventCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: awaitevent KIND")
	}
	h := ts.Value("host").(host)
	c, err := panelclient.New(panelclient.Options{URL: h.PanelURL, Key: string(h.AdminKey)})
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	query := url.Values{"kind": {args[0]}, "since": {"2000-01-01T00:00:00Z"}}
	for e, err := range c.Stream(ctx, eventsPath, query, "") {
		ts.Check(err)
		if e.Data != nil {
			return
		}
	}
}

// freshCommand starts another host in a folder and makes it the one that the commands ask: fresh DIR.
func freshCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fresh DIR")
	}
	h, stop, err := startHost(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Defer(func() { ts.Check(stop()) })
	ts.Setenv("WGFLEET_URL", h.PanelURL)
	ts.Setenv("WGFLEET_API_KEY", string(h.AdminKey))
}
