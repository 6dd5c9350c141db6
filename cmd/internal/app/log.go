package app

import (
	"io"
	"log/slog"
)

// newLogger writes JSON lines, with the level names of the original agent.
func newLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.LevelKey && a.Value.Any() == slog.LevelWarn {
				return slog.String(slog.LevelKey, "WARNING")
			}
			return a
		},
	}))
}
