// Command apogee is RocketMQ's name server and broker in one binary, with the tools that belong to them.
//
// This package reads flags, environment and files, builds the servers from them and runs them until a signal ends them. It decides
// exit codes and what is printed; what a server does is in the packages namesrv and broker. Start at [newApp] for the commands and at
// [serve] for the life of a server.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"apogee/bench"
)

// Exit codes as Java's scripts see them (spec: behaviour.md 1): System.exit takes them modulo 256.
const (
	exitUsage   = 1
	exitFailure = 255 // Java -1: the server could not start
	exitConfig  = 253 // Java -3: name server list or broker id cannot be used
	exitMode    = 252 // Java -4: settings that exclude each other
)

// exitError is an error with the exit code that it shall end the process with.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func exit(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

func main() { os.Exit(run(os.Args, os.Stdout, os.Stderr)) }

// run is main without the process: it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	err := newApp(stdout, stderr).Run(splitDefinitions(args))
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, err)
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitUsage
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:  "apogee",
		Usage: "RocketMQ's name server and broker, on Java's protocol and files",
		Description: "Examples:\n" +
			"  apogee standalone                             both servers in one process, nothing to configure\n" +
			"  apogee namesrv                                a name server on port 9876\n" +
			"  apogee broker -n 127.0.0.1:9876               a broker on port 10911 that registers there\n" +
			"  apogee broker -c conf/broker.conf -p          every setting that this broker would run with\n" +
			"  apogee store inspect ~/store                  what a data directory holds\n" +
			"\nbin/mqnamesrv, bin/mqbroker and bin/mqshutdown do the same under the names that RocketMQ users know.",
		Version:                   version,
		HideVersion:               true, // there is a command for it
		HideHelpCommand:           true,
		Writer:                    stdout,
		ErrWriter:                 stderr,
		DisableSliceFlagSeparator: true,
		ExitErrHandler:            func(*cli.Context, error) {}, // run decides
		OnUsageError:              usageError,
		CommandNotFound:           func(*cli.Context, string) {}, // needsCommand says so
		Action:                    needsCommand,
		Commands: []*cli.Command{
			namesrvCommand(),
			brokerCommand(),
			standaloneCommand(),
			storeCommand(),
			replicaCommand(),
			bench.Command(),
			versionCommand(),
		},
	}
	settle(app.Commands)
	return app
}

// settle gives every command the same manners: no command help in lists (there is --help), and usage errors as everywhere.
func settle(commands []*cli.Command) {
	for _, c := range commands {
		c.HideHelpCommand = true
		c.OnUsageError = usageError
		if c.Action == nil && len(c.Subcommands) > 0 {
			c.Action = needsCommand
		}
		settle(c.Subcommands)
	}
}

// needsCommand is the action of a command that only has others below it.
func needsCommand(c *cli.Context) error {
	if c.Args().Present() && c.Args().First() != "help" {
		return usageError(c, fmt.Errorf("unknown command: %s", c.Args().First()), false)
	}
	if c.Command == nil || c.Command.Name == c.App.Name {
		return cli.ShowAppHelp(c)
	}
	return cli.ShowSubcommandHelp(c)
}

// usageError says what is wrong with the command line, in Java's words where it has some, and shows the usage.
func usageError(c *cli.Context, err error, _ bool) error {
	if option, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: "); ok {
		err = fmt.Errorf("Unrecognized option: %s", option)
	}
	if c.Command == nil || c.Command.Name == c.App.Name {
		cli.HelpPrinter(c.App.ErrWriter, cli.AppHelpTemplate, c.App)
	} else {
		template := cli.CommandHelpTemplate
		if len(c.Command.Subcommands) > 0 {
			template = cli.SubcommandHelpTemplate
		}
		cli.HelpPrinter(c.App.ErrWriter, template, c.Command)
		if slices.Contains(lookCommands, c.Command.Name) {
			return noLook(err)
		}
	}
	return exit(exitUsage, err)
}

// splitDefinitions turns Java's -Dname=value into -D name=value, which is what the flag parser can read.
func splitDefinitions(args []string) []string {
	out := make([]string, 0, len(args))
	for i, a := range args {
		if a == "--" {
			return append(out, args[i:]...)
		}
		if rest, ok := strings.CutPrefix(a, "-D"); ok && strings.Contains(rest, "=") && rest[0] != '=' {
			out = append(out, "-D", rest)
			continue
		}
		out = append(out, a)
	}
	return out
}
