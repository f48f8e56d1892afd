package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"apogee/compat/properties"
	"apogee/compat/tlsconf"
	"apogee/remoting"
)

// A server is what serve runs: a name server, a broker, or both.
type server interface {
	// Start returns when clients are served.
	Start() error
	// Shutdown ends it: at once what can be, and what is under way before ctx ends.
	Shutdown(ctx context.Context) error
	// Success are the lines that Java prints when it is up.
	Success() []string
}

// shutdownWait bounds what requests under way may take when a signal ends the server. What goes to disk then is not bounded by it.
const shutdownWait = 10 * time.Second

// serve runs a server until SIGTERM, SIGINT or SIGHUP. A second signal ends the process at once.
func serve(c *cli.Context, kind string, build func(log *slog.Logger) (server, error)) error {
	if os.Getenv("GOGC") == "" { // it wins
		defer tuneHeap()()
	}
	log, started, logFile, err := openLog(c, kind)
	if err != nil {
		return exit(exitFailure, err)
	}
	defer logFile.Close()
	toFile := c.String("log-dir") != ""
	stopProfile, err := profileCPU(c.String("cpu-profile"))
	if err != nil {
		return exit(exitFailure, err)
	}
	defer func() {
		if err := stopProfile(); err != nil {
			log.Error("the profile is not complete", "err", err)
		}
	}()

	signals := []os.Signal{syscall.SIGTERM, syscall.SIGINT}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(c.Context, signals...)
	defer stop()
	context.AfterFunc(ctx, stop)

	s, err := build(log)
	if err != nil {
		return err
	}
	defer pidFile(kind, log)()
	if err := s.Start(); err != nil {
		started() // run shows the error on stderr; here it goes to the log file, if there is one
		if toFile {
			log.Error("start failed", "err", err)
		}
		return exit(exitFailure, err)
	}
	for _, line := range s.Success() {
		fmt.Fprintln(c.App.Writer, line)
		if toFile { // else the reader of the log sees the line anyway
			log.Info(line)
		}
	}
	started()
	<-ctx.Done()
	log.Info("stopping")
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWait)
	defer cancel()
	if err := s.Shutdown(wait); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		if toFile {
			log.Error("stop failed", "err", err)
		}
		return exit(exitFailure, err)
	}
	log.Info("stopped")
	return nil
}

// serialization is what the process sends; it always reads both. Anything but the one name is JSON, as in Java.
func serialization(settings *properties.File) (remoting.Serialization, string) {
	if v, _ := settings.Get(properties.KeySerializeType); v == "ROCKETMQ" {
		return remoting.RocketMQ, v
	}
	return remoting.JSON, "JSON"
}

// tlsPolicy makes what the ports of a server use from the tls.* keys.
func tlsPolicy(c *tlsconf.Config, log *slog.Logger) (*remoting.TLSPolicy, error) {
	mode := c.ServerMode()
	if mode == "disabled" {
		return nil, nil
	}
	get, err := c.Server(os.ReadFile, time.Now, log)
	if err != nil {
		return nil, exit(exitFailure, fmt.Errorf("TLS: %w", err))
	}
	return &remoting.TLSPolicy{Mode: mode, Config: get}, nil
}

// home is the user's folder, where Java keeps what no setting places elsewhere.
func home() string {
	if dir, err := os.UserHomeDir(); err == nil {
		return dir
	}
	return "."
}

// printAndExit is -p and -m: it prints the settings and tells whether that is all there is to do.
func printAndExit(c *cli.Context, w io.Writer, kind properties.Server, settings *properties.File, targets ...any) (done bool, err error) {
	if !c.Bool("printConfigItem") && !c.Bool("printImportantConfig") {
		return false, nil
	}
	return true, properties.Print(w, kind, !c.Bool("printConfigItem"), settings, targets...)
}

// noArguments refuses what follows the options: it was meant to be one.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usageError(c, fmt.Errorf("unexpected argument: %s", strings.Join(c.Args().Slice(), " ")), true)
	}
	return nil
}
