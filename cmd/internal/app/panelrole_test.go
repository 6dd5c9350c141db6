package app

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wgfleet/wgfleet/panel"
	"github.com/wgfleet/wgfleet/store"
)

// A request that does not end keeps every restoration off, not only the first: it is at work on the panel's store.
func TestRequestThatDoesNotEndKeepsRestorationsOff(t *testing.T) {
	settings, err := Load(Sources{Environ: []string{"WGFLEET_PANEL=true", "WGFLEET_NO_AGENT=true", "WGFLEET_DATA_DIR=" + t.TempDir()}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tasks, ctx := errgroup.WithContext(ctx)
	p := &process{Settings: settings, log: slog.New(slog.DiscardHandler), tasks: tasks}
	role, err := p.newPanelRole(ctx, "")
	require.NoError(t, err)
	role.now().begin(ctx, p)

	var file bytes.Buffer
	_, err = role.now().service.Backup(ctx, &file, testPassphrase)
	require.NoError(t, err)
	restore := func() error {
		run, err := role.enter(ctx)
		require.NoError(t, err)
		defer run.leave()
		_, err = role.Restore(ctx, bytes.NewReader(file.Bytes()), testPassphrase)
		return err
	}
	hanging, err := role.enter(ctx)
	require.NoError(t, err)
	before := hanging.apiNow()
	role.settleWithin = 10 * time.Millisecond
	for range 3 {
		require.ErrorIs(t, restore(), panel.ErrUnavailable)
		require.Same(t, hanging, role.now(), "the same panel goes on")
		require.NoError(t, hanging.records.View(ctx, func(store.Tx) error { return nil }), "its store is open")
		require.NotSame(t, before, hanging.apiNow(), "its streams were ended, and others may begin")
		require.NoDirExists(t, p.file(panelFolder)+".restoring")
	}
	role.making.Lock()
	require.ErrorContains(t, restore(), "another backup is being restored")
	role.making.Unlock()

	hanging.leave()
	role.settleWithin = settleWithin
	require.NoError(t, restore())
	require.NotSame(t, hanging, role.now())
	require.NoError(t, role.stop(ctx))
	cancel()
	require.NoError(t, tasks.Wait())
}
