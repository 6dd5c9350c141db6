package userspace

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"golang.zx2c4.com/wireguard/device"
)

// deviceLogger hands wireguard-go's lines to slog. An error about one peer ("%v - Failed to …") is
// everyday life on a node with roaming clients and stays at debug level.
func deviceLogger(l *slog.Logger, name string) *device.Logger {
	l = l.With("interface", name)
	say := func(level slog.Level, format string, args []any) {
		ctx := context.Background()
		if l.Enabled(ctx, level) {
			l.Log(ctx, level, "wireguard-go", "said", fmt.Sprintf(format, args...))
		}
	}
	return &device.Logger{
		Verbosef: func(format string, args ...any) { say(slog.LevelDebug, format, args) },
		Errorf: func(format string, args ...any) {
			if strings.HasPrefix(format, "%v - ") {
				say(slog.LevelDebug, format, args)
				return
			}
			say(slog.LevelWarn, format, args)
		},
	}
}
