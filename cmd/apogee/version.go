package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is Apogee's own.
const version = "0.1.0"

// The version that Apogee shows to clients and other servers: MQVersion V5_5_0 (spec: remoting.md 2.6).
const (
	wireVersion     = 513
	wireVersionName = "V5_5_0"
)

// commit is set by the linker in bin/common.sh.
var commit string

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print versions: Apogee's, Go's, and the one shown on the wire",
		Action: func(c *cli.Context) error {
			_, err := fmt.Fprintf(c.App.Writer, "apogee %s (commit %s, %s, %s/%s)\nRocketMQ remoting version %s (%d)\n",
				version, commitText(), runtime.Version(), runtime.GOOS, runtime.GOARCH, wireVersionName, wireVersion)
			return err
		},
	}
}

func commitText() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
