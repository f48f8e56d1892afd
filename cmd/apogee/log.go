package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

// logFlags are the flags of every server that say where its log goes.
func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{
			Name: "log-dir", EnvVars: []string{"APOGEE_LOG_DIR"},
			Usage: "write the log to a file in `DIR` and not to stderr; the scripts use ~/logs/rocketmqlogs",
		},
		&cli.StringFlag{
			Name: "log-level", EnvVars: []string{"APOGEE_LOG_LEVEL"}, Value: "info", Usage: "debug, info, warn or error",
		},
	}
}

// openLog makes the logger of a server. With a log file, problems found before the server is up are also shown on stderr; started
// ends that.
func openLog(c *cli.Context, name string) (log *slog.Logger, started func(), closer io.Closer, err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.String("log-level"))); err != nil {
		return nil, nil, nil, fmt.Errorf("log-level %q: allowed are debug, info, warn and error", c.String("log-level"))
	}
	options := &slog.HandlerOptions{Level: level}
	dir := c.String("log-dir")
	if dir == "" {
		return slog.New(slog.NewTextHandler(c.App.ErrWriter, options)), func() {}, io.NopCloser(nil), nil
	}
	file, err := openRotating(filepath.Join(dir, name+".log"), logSize, logKeep)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("log file: %w", err)
	}
	both := &startHandler{
		Handler: slog.NewTextHandler(file, options),
		console: slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: slog.LevelWarn}),
		quiet:   make(chan struct{}),
	}
	return slog.New(both), func() { close(both.quiet) }, file, nil
}

// startHandler writes to a file, and until quiet is closed also to the console what is a warning or worse.
type startHandler struct {
	slog.Handler
	console slog.Handler
	quiet   chan struct{}
}

func (h *startHandler) Handle(ctx context.Context, r slog.Record) error {
	select {
	case <-h.quiet:
	default:
		if h.console.Enabled(ctx, r.Level) {
			_ = h.console.Handle(ctx, r.Clone())
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (h *startHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &startHandler{h.Handler.WithAttrs(attrs), h.console.WithAttrs(attrs), h.quiet}
}

func (h *startHandler) WithGroup(name string) slog.Handler {
	return &startHandler{h.Handler.WithGroup(name), h.console.WithGroup(name), h.quiet}
}
