package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"apogee/compat/properties"
	"apogee/store"
	"apogee/store/doctor"
	"apogee/store/foreign"
	"apogee/store/vfs"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "is this directory safe to open, with what settings, and what will change", ArgsUsage: "[DIR]",
		Description: "It compares what a data directory is with what a broker's configuration says: sizes of files, where queues are, features that were\n" +
			"in use, how the last broker stopped, room on the disk, permissions. It tells what the next start would read and change, who wrote the\n" +
			"directory, and what would stand against giving it back to a Java broker. Nothing is written. Whether all that is inside is sound says\n" +
			"apogee store verify.\n\n" +
			"Exit codes: 0 safe to open, 1 not with this configuration, 2 it could not be looked at.\n\n" +
			"Examples:\n" +
			"  apogee store doctor -c conf/broker.conf              the directory that the file names\n" +
			"  apogee store doctor -c conf/broker.conf /data/store  another one, or a copy of it\n" +
			"  apogee store doctor --json ~/store | jq -r .verdict",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "configFile", Aliases: []string{"c"}, Usage: "the broker's `FILE` of properties; without, Java's defaults"},
			&cli.StringFlag{Name: "commitlog", Usage: "folder of the commit log where it is not below DIR (storePathCommitLog)"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: runDoctor,
	}
}

func runDoctor(c *cli.Context) error {
	dir, err := doctorsPlace(c)
	if err != nil {
		return err
	}
	p, err := openPlace(c, dir)
	if err != nil {
		return err
	}
	o := doctor.Options{Root: p.root, Log: p.log, Holder: p.holder, Now: time.Now, Setting: p.settings.Get, Conf: store.Defaults(), Timer: 104857600}
	if _, err := properties.Bind(p.settings, &o.Conf); err != nil {
		return noLook(err)
	}
	if text, ok := p.settings.Get("mappedFileSizeTimerLog"); ok {
		if o.Timer, err = strconv.ParseInt(text, 10, 64); err != nil {
			return noLook(fmt.Errorf("mappedFileSizeTimerLog: %w", err))
		}
	}
	if o.Foreign, err = foreign.Look(foreign.Place{FS: vfs.OS(), Root: dir, Log: p.logDir, Setting: p.settings.Get}); err != nil {
		return noLook(err)
	}
	o.Access = func(name string) error {
		return unix.Access(filepath.Join(dir, filepath.FromSlash(name)), unix.R_OK|unix.W_OK)
	}
	o.Usage = func() (map[string]vfs.Usage, error) {
		out := map[string]vfs.Usage{}
		for _, d := range []string{dir, p.logDir} {
			if d == "" {
				continue
			}
			u, err := vfs.OS().DiskUsage(d)
			if err != nil {
				return nil, err
			}
			out[d] = u
		}
		return out, nil
	}
	r, err := doctor.Run(c.Context, o)
	if err != nil {
		return noLook(fmt.Errorf("%s: %w", dir, err))
	}
	if c.Bool("json") {
		err = printJSON(c.App.Writer, r)
	} else {
		printReport(c.App.Writer, dir, r)
	}
	if err == nil && !r.Safe {
		return exit(exitFound, errors.New(r.Verdict))
	}
	return err
}

// doctorsPlace is the directory to look at: the argument, or what the configuration names.
func doctorsPlace(c *cli.Context) (string, error) {
	if c.NArg() > 1 {
		return "", usageError(c, errors.New("expected DIR"), true)
	}
	if c.NArg() == 1 {
		return c.Args().First(), nil
	}
	file := c.String("configFile")
	if file == "" {
		return "", usageError(c, errors.New("expected DIR, or -c with a file that names it"), true)
	}
	settings, err := readProperties(file)
	if err != nil {
		return "", noLook(err)
	}
	if dir, ok := settings.Get("storePathRootDir"); ok {
		return dir, nil
	}
	return filepath.Join(home(), "store"), nil
}

func printReport(w io.Writer, dir string, r *doctor.Report) {
	fmt.Fprintf(w, "%s\nwritten by: %s\n\n", dir, r.Writer)
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%-5s %-18s %s\n", c.Status, c.Name, c.Text)
		if c.Fix != "" {
			fmt.Fprintf(w, "%-24s -> %s\n", "", c.Fix)
		}
	}
	fmt.Fprintln(w, "\nOpening it with Apogee changes:")
	for _, change := range r.Changes {
		fmt.Fprintf(w, "  %s\n", change)
	}
	fmt.Fprintf(w, "\nVERDICT: %s\n", r.Verdict)
}
